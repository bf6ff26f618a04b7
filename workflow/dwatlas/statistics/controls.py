"""The random stand-ins of each part: what an arbitrary part of its size does to the score."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dwatlas.statistics.arrays import FULL, Part
from dwatlas.statistics.effects import Effects

_SIZES = ["energy_frac", "rank_frac", "params_frac"]


def control_records(effects: Effects, kind: str) -> Iterator[dict]:
    """One record per part and kind of control, pooled over (seed, draw) pairs; columns of ``CONTROLS_SCHEMA``.

    Mean, SD and quantiles are of the stand-in's own effect in nats, averaged over items (for a dropped part, the
    effect of dW without the stand-in); ``z`` is how many SDs the part's own mean lies above theirs. ``percentile`` is
    100 × the share of pairs in which the part of the same seed exceeds the stand-in, ties counting half, and
    ``randomisation_p`` is (1 + #{E_rand ≥ E})/(K + 1) for the part's mean E among K stand-ins (Phipson and Smyth 2010,
    "Permutation p-values should never be zero"). What these two compare points along the full effect: the effect of
    what is kept, the loss D − N of what is dropped, and the magnitude |D| of the full dW.
    """
    nats = effects.values[kind].mean(axis=1)
    sizes = effects.lines[_SIZES].to_numpy()
    for (part, control), draws in effects.stand_ins.items():
        places = effects.parts[part]
        random, own = nats[draws], nats[effects.same_seeds(part, draws)]
        full, full_of_draw = (nats[effects.same_seeds(FULL, lines)] for lines in (places, draws))
        strength, rival = (_strength(part, e, full.mean(), full_of_draw) for e in (own, random))
        whole = abs(nats[places].mean()) if part == FULL else _strength(part, nats[places], full.mean(), full).mean()
        sd = random.std(ddof=1) if len(draws) > 1 else np.nan
        yield {
            **part._asdict(),
            "effect": kind,
            "control": control,
            "n_draws": len(draws),
            "mean_nats": random.mean(),
            "sd_nats": sd,
            "q05_nats": np.quantile(random, 0.05),
            "q95_nats": np.quantile(random, 0.95),
            "full_effect_nats": full.mean(),
            "z": (nats[places].mean() - random.mean()) / sd if sd else np.nan,
            "percentile": 100 * np.mean((strength > rival) + (strength == rival) / 2),
            "randomisation_p": (1 + np.sum(rival >= whole)) / (len(draws) + 1),
            **dict(zip(_SIZES, sizes[draws].mean(axis=0), strict=True)),
        }


def _strength(part: Part, nats: np.ndarray, full_mean: float, full: np.ndarray) -> np.ndarray:
    if part == FULL:
        return np.abs(nats)
    return np.sign(full_mean) * (full - nats if part.mode == "drop" else nats)
