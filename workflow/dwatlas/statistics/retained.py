"""The study's result tables: retained performance of every part, with intervals, tests and controls."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dwatlas.statistics import schemas
from dwatlas.statistics.arrays import FULL, GROUP, SIZES, ZERO, Absent, Part, score_arrays
from dwatlas.statistics.controls import control_records
from dwatlas.statistics.doses import dose_records
from dwatlas.statistics.effects import Effects, measure_effects
from dwatlas.statistics.frames import frame_of
from dwatlas.statistics.intervals import ESTIMANDS, Array, effect_interval, fieller
from dwatlas.statistics.testing import benjamini_hochberg, p_value

FAMILY = [*GROUP, "lens", "mode", "effect", "estimand"]

_EFFECT = [*GROUP, *Part._fields, "effect"]


@dataclass(frozen=True)
class Tables:
    """Frames with exactly the columns and types of ``schemas``, sorted by their key columns."""

    retained: pd.DataFrame
    seeds: pd.DataFrame
    controls: pd.DataFrame
    doses: pd.DataFrame


def summarise(scores: pd.DataFrame, absent: Collection[Absent] = ()) -> Tables:
    """The tables of a study from its score rows (``SCORE_SCHEMA``): any models, behaviours and adapters, all seeds.

    A part of an ``absent`` lens is compared with the full dW of the seeds that it has; ``n_seeds`` says how many.

    R = N̄/D̄ is a ratio of means over seeds and items; p asks whether the part contributes (N̄ ≠ 0 where it is kept,
    N̄ ≠ D̄ where it is dropped), q adjusts it within (model, behaviour, adapter, eval, lens, mode, effect, estimand).

    Raises ``UserError`` naming the cell where scores are missing, doubled or not finite.
    """
    retained, seeds, controls, doses = [], [], [], []
    for array in score_arrays(scores, absent):
        group = dict(zip(GROUP, array.group, strict=True))
        doses += [group | record for record in dose_records(array)]
        if array.is_capability:
            continue
        effects = measure_effects(array)
        for kind in effects.values:
            stand_ins = list(control_records(effects, kind))
            controls += [group | record for record in stand_ins]
            seeds += [group | record for record in _seed_records(effects, kind)]
            retained += [group | record for record in _retained_records(effects, kind, stand_ins)]
    table = frame_of(retained, schemas.RETAINED_SCHEMA, [*_EFFECT, "estimand"])
    table["q"] = table.groupby(FAMILY)["p"].transform(benjamini_hochberg)
    return Tables(
        retained=table,
        seeds=frame_of(seeds, schemas.SEEDS_SCHEMA, [*_EFFECT, "seed"]),
        controls=frame_of(controls, schemas.CONTROLS_SCHEMA, [*_EFFECT, "control"]),
        doses=frame_of(doses, schemas.DOSES_SCHEMA, [*GROUP, "control", "draw", "seed", "alpha", "metric"]),
    )


def _seed_records(effects: Effects, kind: str) -> Iterator[dict]:
    nats = effects.values[kind].mean(axis=1)
    for part, places in effects.parts().items():
        for place, full in zip(places, effects.same_seeds(FULL, places), strict=True):
            line = effects.lines.loc[place, ["seed", "energy_frac"]]
            numbers = {"effect_nats": nats[place], "full_effect_nats": nats[full]}
            yield {**part._asdict(), "effect": kind, **line, **numbers}


def _retained_records(effects: Effects, kind: str, stand_ins: list[dict]) -> Iterator[dict]:
    for part, places in effects.parts().items():
        N, D = effects.values[kind][places], effects.values[kind][effects.same_seeds(FULL, places)]
        shape = {"n_seeds": N.shape[0], "n_items": N.shape[1], "full_effect_nats": D.mean()}
        sizes = effects.lines.loc[places, SIZES].mean()
        for estimand in ESTIMANDS:
            estimates = _estimates(part, N, D, estimand)
            control = _control_columns(part, stand_ins, estimates["verdict"])
            yield {**part._asdict(), "effect": kind, "estimand": estimand, **shape, **estimates, **control, **sizes}


def _estimates(part: Part, N: Array, D: Array, estimand: str) -> dict:
    covariance = ESTIMANDS[estimand]
    effect, effect_lo, effect_hi = effect_interval(N, covariance)
    retained, lo, hi, g, verdict = fieller(N, D, covariance)
    return {
        "effect_nats": effect,
        "effect_lo": effect_lo,
        "effect_hi": effect_hi,
        "retained": retained,
        "lo": lo,
        "hi": hi,
        "g": g,
        "verdict": verdict,
        "p": np.nan if part == ZERO else p_value(D - N if part.mode == "drop" else N, covariance),
        "q": np.nan,
    }


def _control_columns(part: Part, stand_ins: list[dict], verdict: str) -> dict:
    """The part's structural control (in units of R), else its norm control, else nulls."""
    own = [record for record in stand_ins if (record["lens"], record["component"], record["mode"]) == part]
    if not own:
        return {"control": "", "control_mean": np.nan, "control_sd": np.nan, "control_percentile": np.nan}
    chosen = min(own, key=lambda record: (record["control"] == "norm", record["control"]))
    unit = np.nan if verdict == "not_identified" else chosen["full_effect_nats"]
    return {
        "control": chosen["control"],
        "control_mean": chosen["mean_nats"] / unit,
        "control_sd": chosen["sd_nats"] / abs(unit),
        "control_percentile": chosen["percentile"],
    }
