"""Adapters compared within each (model, behaviour): what each does, which is better, and is it more than seed noise?

All adapters of a seed share its training data, so comparisons are paired by seed and use the seeds that all compared
adapters have. Effects are antisymmetric, in nats. A (model, behaviour) with one adapter is measured, and compared with
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pandas as pd

from dwatlas.seeds import rng
from dwatlas.statistics import schemas
from dwatlas.statistics.arrays import FULL
from dwatlas.statistics.blocks import (
    FEWEST_COMPONENTS,
    dispersion_p,
    f_test,
    noise_ceiling,
    permutation_p,
    profiles,
    pseudo_f,
    smallest_p,
    variance_shares,
)
from dwatlas.statistics.effects import SHOWN_EFFECT
from dwatlas.statistics.frames import frame_of
from dwatlas.statistics.intervals import gate, mean_interval, seed_covariance, verdict_of
from dwatlas.statistics.measures import measure_records, seed_measures
from dwatlas.statistics.ranking import (
    direction,
    improvement,
    improvement_interval,
    mean_rank_intervals,
    ranks,
    resamples,
    shares_of_extremes,
)
from dwatlas.statistics.testing import benjamini_hochberg, p_value

CELL = ["model", "behaviour"]
_STREAM = "comparison"
_PER_SEED = ["adapter", "seed"]


@dataclass(frozen=True)
class Comparison:
    """Frames with exactly the columns and types of ``schemas``, sorted by their key columns."""

    adapters: pd.DataFrame
    ranking: pd.DataFrame
    noise: pd.DataFrame


def compare(
    seeds: pd.DataFrame, doses: pd.DataFrame, headline: str, trainable: Mapping[str, Mapping[str, int]]
) -> Comparison:
    """The comparison of a study's adapters from its frames ``seeds`` and ``doses`` (``schemas``).

    ``headline`` is the eval that transfer is relative to; ``trainable`` is model → adapter → trainable parameters.
    """
    seeds = seeds[seeds["effect"] == SHOWN_EFFECT]
    measures, ranking, noise = [], [], []
    for key, lines in seeds.groupby(CELL):
        cell = dict(zip(CELL, key, strict=True))
        own = seed_measures(lines, doses[(doses[CELL] == pd.Series(cell)).all(axis=1)])
        measures += measure_records(own, headline)
        if lines["adapter"].nunique() < 2:
            continue
        for name, evaluated in lines.groupby("eval"):
            effects = _full_effects(evaluated)
            measures += [cell | record for record in _rank_records(effects, name, (*key, name))]
            ranking += [cell | record for record in _pair_records(effects, name, (*key, name))]
            noise += [cell | record for record in _noise_records(evaluated, effects, name, (*key, name))]
    for record in measures:
        record["headline"] = record["eval"] == headline
        record["trainable"] = trainable[record["model"]][record["adapter"]]
    pairs = frame_of(ranking, schemas.RANKING_SCHEMA, [*CELL, "eval", "adapter", "rival"])
    pairs["q"] = pairs.groupby([*CELL, "eval"])["p"].transform(benjamini_hochberg)
    return Comparison(
        adapters=frame_of(measures, schemas.ADAPTERS_SCHEMA, [*CELL, "adapter", "measure", "eval"]),
        ranking=pairs,
        noise=frame_of(noise, schemas.NOISE_SCHEMA, [*CELL, "eval", "lens", "mode"]),
    )


def _full_effects(evaluated: pd.DataFrame) -> pd.DataFrame:
    """Effects of the full dW, adapters × seeds, NaN where a seed is missing."""
    return _of(evaluated, FULL.lens, FULL.mode).pivot(index="adapter", columns="seed", values="effect_nats")


def _of(lines: pd.DataFrame, lens: str, mode: str) -> pd.DataFrame:
    return lines[(lines["lens"] == lens) & (lines["mode"] == mode)]


def _rank_records(effects: pd.DataFrame, name: str, stream: tuple[str, ...]) -> Iterator[dict]:
    common = effects.dropna(axis=1)
    seeds = common.shape[1]
    if not seeds:
        return
    E = common.to_numpy()
    strengths = direction(E) * E
    weights = resamples(rng(_STREAM, "ranks", *stream), seeds)
    means, (los, his) = ranks(strengths).mean(axis=1), mean_rank_intervals(strengths, weights)
    bests, worsts = shares_of_extremes(strengths, weights)
    los, his, bests, worsts = (values if seeds > 1 else np.full(len(E), np.nan) for values in (los, his, bests, worsts))
    for place, adapter in enumerate(common.index):
        about = {"adapter": adapter, "eval": name, "n_seeds": seeds, "verdict": ""}
        yield about | {"measure": "mean_rank", "value": means[place], "lo": los[place], "hi": his[place]}
        yield about | {"measure": "best", "value": bests[place]}
        yield about | {"measure": "worst", "value": worsts[place]}


def _pair_records(effects: pd.DataFrame, name: str, stream: tuple[str, ...]) -> Iterator[dict]:
    towards = direction(effects.stack().to_numpy())
    for adapter, rival in permutations(effects.index, 2):
        both = effects.loc[[adapter, rival]].dropna(axis=1)
        seeds = both.shape[1]
        if not seeds:
            continue
        a, b = towards * both.to_numpy()
        difference, lo, hi = mean_interval(a - b)
        low, high = np.nan, np.nan
        if seeds > 1:
            weights = resamples(rng(_STREAM, "pairs", *stream, *both.columns.tolist()), seeds)
            low, high = improvement_interval(a, b, weights)
        yield {
            "eval": name,
            "adapter": adapter,
            "rival": rival,
            "n_seeds": seeds,
            "direction": int(towards),
            "difference": difference,
            "lo": lo,
            "hi": hi,
            "p": p_value((a - b)[:, None], seed_covariance) if seeds > 1 else np.nan,
            "improvement": improvement(a, b),
            "improvement_lo": low,
            "improvement_hi": high,
        }


def _noise_records(
    evaluated: pd.DataFrame, effects: pd.DataFrame, name: str, stream: tuple[str, ...]
) -> Iterator[dict]:
    yield {"eval": name, "lens": FULL.lens, "mode": FULL.mode} | _effect_noise(effects, stream)
    unknown = [adapter for adapter, row in effects.iterrows() if not _is_identified(row)]
    for (lens, mode), parts in evaluated[evaluated["lens"] != FULL.lens].groupby(["lens", "mode"]):
        line = _profile_noise(parts, list(effects.index), unknown, (*stream, lens, mode))
        yield {"eval": name, "lens": lens, "mode": mode} | line


def _is_identified(effects: pd.Series) -> bool:
    D = effects.dropna().to_numpy()[:, None]
    return verdict_of(gate(D, seed_covariance)) != "not_identified"


def _effect_noise(effects: pd.DataFrame, stream: tuple[str, ...]) -> dict:
    common = effects.dropna(axis=1)
    adapters, seeds = common.shape
    shape = {"n_adapters": adapters, "n_seeds": seeds, "n_components": 1, "left_out": ""}
    if seeds < 2:
        return shape | _not_identified(f"the adapters have {seeds} seed{'s' * (seeds != 1)} in common, fewer than 2")
    E = common.to_numpy()
    F, p = f_test(E)
    return {**shape, **_identified(E[..., None], stream), **variance_shares(E)._asdict(), "f": F, "p": p}


def _profile_noise(parts: pd.DataFrame, adapters: list[str], unknown: list[str], stream: tuple[str, ...]) -> dict:
    there = set(parts["adapter"])
    compared = [adapter for adapter in adapters if adapter in there and adapter not in unknown]
    left_out = ", ".join(adapter for adapter in adapters if adapter not in compared)
    shape = {"n_adapters": len(compared), "n_seeds": 0, "n_components": 0, "left_out": left_out}
    if len(compared) < 2:
        return shape | _not_identified(f"the full effects of {len(compared)} adapters are identified, fewer than 2")
    wide = parts[parts["adapter"].isin(compared)].pivot(index="component", columns=_PER_SEED, values="effect_nats")
    seeds = [seed for seed in sorted(parts["seed"].unique()) if all((name, seed) in wide for name in compared)]
    shape["n_seeds"] = len(seeds)
    if len(seeds) < 2:
        return shape | _not_identified(f"the adapters share {len(seeds)} seed{'s' * (len(seeds) != 1)}, fewer than 2")
    columns = pd.MultiIndex.from_product([compared, seeds])
    shared = wide[columns].dropna()
    shape["n_components"] = len(shared)
    if len(shared) < FEWEST_COMPONENTS:
        few = f"{len(shared)} component{'s' * (len(shared) != 1)}"
        return shape | _not_identified(f"the adapters share {few}, fewer than {FEWEST_COMPONENTS}")
    full = parts.drop_duplicates(_PER_SEED).set_index(_PER_SEED)["full_effect_nats"]
    N = shared.to_numpy().T.reshape(len(compared), len(seeds), -1)
    D = full[columns].to_numpy().reshape(len(compared), len(seeds))
    ceiling = noise_ceiling(N, D)
    found = _identified(profiles(N, D), stream)
    agreement = {"within_r": ceiling.within, "between_r": ceiling.between}
    return shape | found | agreement | {"rho": ceiling.rho, "rho_lo": ceiling.lo, "rho_hi": ceiling.hi}


def _identified(values: np.ndarray, stream: tuple[str, ...]) -> dict:
    return {
        "verdict": "identified",
        "why": "",
        "f": pseudo_f(values),
        "permutation_p": permutation_p(values, rng(_STREAM, "labels", *stream)),
        "smallest_p": smallest_p(*values.shape[:2]),
        "dispersion_p": dispersion_p(values, rng(_STREAM, "dispersion", *stream)),
    }


def _not_identified(why: str) -> dict:
    return {"verdict": "not_identified", "why": why}
