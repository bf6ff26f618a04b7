"""The random stand-ins of each part: what an arbitrary part of its size does to the score."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dwatlas.statistics.arrays import FULL, Part
from dwatlas.statistics.effects import Effects


def control_records(effects: Effects, kind: str) -> Iterator[dict]:
    """One record per part and kind of control, pooled over (seed, draw) pairs; columns of ``CONTROLS_SCHEMA``.

    Mean, SD and quantiles are of the stand-in's own effect in nats, averaged over items (for a dropped part, the
    effect of dW without the stand-in). ``percentile`` is 100 × the share of pairs in which the part of the same seed
    exceeds the stand-in, ties counting half. What is compared points along the full effect: the effect of what is
    kept, the loss D − N of what is dropped, and the magnitude |D| of the full dW.
    """
    nats = effects.values[kind].mean(axis=1)
    energy = effects.lines["energy_frac"].to_numpy()
    parts = effects.parts()
    for (part, control), draws in effects.stand_ins().items():
        random, own = nats[draws], nats[effects.same_seeds(part, draws)]
        full = nats[effects.same_seeds(FULL, parts[part])]
        full_of_draw = nats[effects.same_seeds(FULL, draws)]
        strength, rival = (_strength(part, e, full.mean(), full_of_draw) for e in (own, random))
        yield {
            **part._asdict(),
            "effect": kind,
            "control": control,
            "n_draws": len(draws),
            "mean_nats": random.mean(),
            "sd_nats": random.std(ddof=1) if len(draws) > 1 else np.nan,
            "q05_nats": np.quantile(random, 0.05),
            "q95_nats": np.quantile(random, 0.95),
            "full_effect_nats": full.mean(),
            "percentile": 100 * np.mean((strength > rival) + (strength == rival) / 2),
            "energy_frac": energy[draws].mean(),
        }


def _strength(part: Part, nats: np.ndarray, full_mean: float, full: np.ndarray) -> np.ndarray:
    if part == FULL:
        return np.abs(nats)
    return np.sign(full_mean) * (full - nats if part.mode == "drop" else nats)
