"""The study's result tables: retained performance of every part, with intervals, tests and controls."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dwatlas.seeds import rng
from dwatlas.statistics import schemas
from dwatlas.statistics.arrays import FULL, GROUP, SIZES, Absent, Part, score_arrays
from dwatlas.statistics.bands import critical_value
from dwatlas.statistics.bootstrap import crossed_bootstrap
from dwatlas.statistics.contrasts import component_energies, contrast_records, family_effects
from dwatlas.statistics.controls import control_records
from dwatlas.statistics.design import design_records
from dwatlas.statistics.doses import dose_records
from dwatlas.statistics.effects import Effects, Family, by_unit, measure_effects
from dwatlas.statistics.families import nested_families
from dwatlas.statistics.frames import frame_of
from dwatlas.statistics.intervals import ESTIMANDS, Array, effect_interval, fieller, seed_covariance
from dwatlas.statistics.names import MARGIN
from dwatlas.statistics.registration import marked
from dwatlas.statistics.reliability import reliability_records
from dwatlas.statistics.testing import two_sided
from dwatlas.statistics.variance import variance_records

_STREAM = "retained"
_EFFECT = [*GROUP, *Part._fields, "effect"]
_KEYS = {
    "retained": [*_EFFECT, "estimand"],
    "contrasts": [*GROUP, "lens", "component", "rival", "contrast", "control", "effect", "estimand"],
    "seeds": [*_EFFECT, "seed"],
    "controls": [*_EFFECT, "control"],
    "doses": [*GROUP, "control", "draw", "seed", "alpha", "metric"],
    "variance": [*GROUP, "effect", "facet"],
    "reliability": [*GROUP, "lens", "mode", "effect"],
    "design": [*GROUP, "lens", "mode", "effect", "estimand", "n_seeds"],
}
_FRACTIONS = ["energy_frac", "rank_frac", "params_frac"]


@dataclass(frozen=True)
class Tables:
    """Frames with exactly the columns and types of ``schemas``, sorted by their key columns."""

    retained: pd.DataFrame
    contrasts: pd.DataFrame
    seeds: pd.DataFrame
    controls: pd.DataFrame
    doses: pd.DataFrame
    variance: pd.DataFrame
    reliability: pd.DataFrame
    design: pd.DataFrame

    @classmethod
    def joined(cls, parts: Sequence[Tables]) -> Tables:
        """The tables of different (model, behaviour, adapter) as one."""
        frames = {name: pd.concat([getattr(part, name) for part in parts]) for name in _KEYS}
        return cls(**{name: frame.sort_values(_KEYS[name], ignore_index=True) for name, frame in frames.items()})


def summarise(
    scores: pd.DataFrame,
    absent: Collection[Absent] = (),
    shares: pd.DataFrame | None = None,
    nulls: Mapping[str, str] | None = None,
    matched: Collection[str] = (),
    margin: float = MARGIN,
    trainings: int = 1,
    statement: Mapping | None = None,
) -> Tables:
    """The tables of a study from its score rows (``SCORE_SCHEMA``): any models, behaviours and adapters, all seeds.

    A part of an ``absent`` lens is compared with the full dW of the seeds that it has; ``n_seeds`` says how many.
    ``shares`` are the additive shares (``SHARES_SCHEMA``), where there are any; ``nulls`` is lens → kind of its
    structural control, ``matched`` are the kinds whose draws have about the energy of what they stand for.

    R = N̄/D̄ is a ratio of means over seeds and items; p asks whether the part contributes (N̄ ≠ 0 where it is kept,
    N̄ ≠ D̄ where it is dropped), q adjusts it within its family (``statistics.testing``), as the contrasts' are
    (``statistics.contrasts``; ``margin`` is their Δ). ``trainings`` seeds in a row share one draw of the training data:
    intervals and tests are then over draws of the data (``Effects``). ``statement`` says which lines are primary
    (``statistics.registration``).

    Raises ``UserError`` naming the cell where scores are missing, doubled or not finite.
    """
    nulls = {FULL.lens: "norm", **(nulls or {})}
    additive = {} if shares is None else dict(list(by_unit(shares, ["share_nats"], trainings).groupby(GROUP)))
    retained, contrasts, seeds, controls, doses = [], [], [], [], []
    variance, reliability, design = [], [], []
    for array in score_arrays(scores, absent):
        group = dict(zip(GROUP, array.group, strict=True))
        doses += [group | record for record in dose_records(array, trainings)]
        if array.is_capability:
            continue
        effects = measure_effects(array, trainings).at_energies_of_parts(matched)
        units, of_seed = effects.in_units(), effects.seeds[effects.parts[FULL]] // trainings
        for kind in effects.values:
            stand_ins = list(control_records(effects, kind))
            controls += [group | record for record in stand_ins]
            seeds += [group | record for record in _seed_records(effects, kind, nulls)]
            kept = _retained_records(units, kind, stand_ins, nulls, (*array.group, kind))
            retained += [group | record for record in kept]
            found = contrast_records(units, kind, nulls, additive.get(array.group), margin)
            contrasts += [group | record for record in found]
            reliable = list(reliability_records(units, kind))
            variance += [group | record for record in variance_records(effects, kind, of_seed)]
            reliability += [group | record for record in reliable]
            design += [group | record for record in design_records(units, kind, reliable)]
    return Tables(
        retained=marked(frame_of(retained, schemas.RETAINED_SCHEMA, _KEYS["retained"]), statement),
        contrasts=marked(frame_of(contrasts, schemas.CONTRASTS_SCHEMA, _KEYS["contrasts"]), statement),
        seeds=frame_of(seeds, schemas.SEEDS_SCHEMA, _KEYS["seeds"]),
        controls=frame_of(controls, schemas.CONTROLS_SCHEMA, _KEYS["controls"]),
        doses=frame_of(doses, schemas.DOSES_SCHEMA, _KEYS["doses"]),
        variance=frame_of(variance, schemas.VARIANCE_SCHEMA, _KEYS["variance"]),
        reliability=frame_of(reliability, schemas.RELIABILITY_SCHEMA, _KEYS["reliability"]),
        design=frame_of(design, schemas.DESIGN_SCHEMA, _KEYS["design"]),
    )


def _seed_records(effects: Effects, kind: str, nulls: Mapping[str, str]) -> Iterator[dict]:
    nats, sizes = effects.values[kind].mean(axis=1), effects.lines[_FRACTIONS].to_numpy()
    for part, places in effects.parts.items():
        null = dict.fromkeys(effects.seeds[places], np.nan)
        if (draws := effects.stand_ins.get((part, nulls.get(part.lens)))) is not None:
            lines, means = effects.over_draws(kind, draws)
            null |= dict(zip(effects.seeds[lines], means.mean(axis=1), strict=True))
        for place, full in zip(places, effects.same_seeds(FULL, places), strict=True):
            seed = effects.seeds[place]
            numbers = {"effect_nats": nats[place], "full_effect_nats": nats[full], "null_nats": null[seed]}
            fractions = dict(zip(_FRACTIONS, sizes[place], strict=True))
            yield {**part._asdict(), "effect": kind, "seed": seed, **numbers, **fractions}


def _retained_records(
    effects: Effects, kind: str, stand_ins: list[dict], nulls: Mapping[str, str], stream: tuple[str, ...]
) -> Iterator[dict]:
    structural = {
        Part(record["lens"], record["component"], record["mode"]): record
        for record in stand_ins
        if nulls.get(record["lens"]) == record["control"]
    }
    for family in effects.families:
        for estimand in ESTIMANDS:
            columns = _family_columns(effects, kind, family, estimand, stream)
            for place, component in enumerate(family.components):
                part = Part(family.lens, component, family.mode)
                own = {name: values[place] for name, values in columns.items()}
                control = _control_columns(structural.get(part), own["verdict"])
                yield {**part._asdict(), "effect": kind, "estimand": estimand, **own, **control}


def _family_columns(
    effects: Effects, kind: str, family: Family, estimand: str, stream: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """The columns of ``RETAINED_SCHEMA`` for all components of a family."""
    N, D = family_effects(effects, kind, family)
    covariance, items = ESTIMANDS[estimand], N.mean(axis=-2)
    effect, effect_lo, effect_hi = effect_interval(N, covariance)
    interval = fieller(N, D, covariance)
    columns = {
        "n_seeds": N.shape[-2],
        "n_trainings": effects.n_trainings(family.lines[0]),
        "n_items": N.shape[-1],
        "effect_nats": effect,
        "effect_lo": effect_lo,
        "effect_hi": effect_hi,
        "opposite_items": np.mean(items * np.sign(effect)[:, None] < 0, axis=-1),
        "full_effect_nats": D.mean(),
        "retained": interval.estimate,
        **{name: getattr(interval, name) for name in ("lo", "hi", "g", "verdict")},
        **two_sided(D - N if family.mode == "drop" else N, estimand)._asdict(),
    }
    generator = rng(_STREAM, *stream, family.lens, family.mode)
    if estimand == "fixed_rows":
        columns |= _bands(N, D, nested_families(component_energies(effects, family.lens)), family, generator)
    elif (interval.verdict != "not_identified").any():
        columns |= dict(zip(("bootstrap_lo", "bootstrap_hi"), crossed_bootstrap(N, D, generator), strict=True))
    sizes = effects.lines[SIZES].to_numpy()[family.lines].mean(axis=1)
    columns |= dict(zip(SIZES, sizes.T, strict=True))
    return {name: np.broadcast_to(values, len(N)) for name, values in columns.items()}


def _bands(
    N: Array, D: Array, nested: Mapping[str, list[str]], family: Family, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """``band_lo`` and ``band_hi`` of the components that are members of a nested family; NaN for the others."""
    bands = np.full((2, len(N)), np.nan)
    for names in nested.values():
        if set(names) <= set(family.components):
            members = [family.components.index(name) for name in names]
            ratio = N[members].mean(axis=(-2, -1), keepdims=True) / D.mean()
            critical = critical_value((N[members] - ratio * D).mean(axis=-1), generator)
            interval = fieller(N[members], D, seed_covariance, critical)
            bands[:, members] = interval.lo, interval.hi
    return {"band_lo": bands[0], "band_hi": bands[1]}


def _control_columns(record: dict | None, verdict: str) -> dict:
    """The part's structural control (``record``) in units of R; nulls where it has none."""
    if record is None:
        return {"control": "", "control_mean": np.nan, "control_sd": np.nan, "control_percentile": np.nan}
    unit = np.nan if verdict == "not_identified" else record["full_effect_nats"]
    return {
        "control": record["control"],
        "control_mean": record["mean_nats"] / unit,
        "control_sd": record["sd_nats"] / abs(unit),
        "control_percentile": record["percentile"],
    }
