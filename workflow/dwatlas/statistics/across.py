"""What holds across independently trained cells: aggregates of R and of wins, never over items.

A cell is a (model, behaviour, adapter) that was trained with several seeds; a block is a (model, behaviour), whose
adapters share the data of each seed. A cell takes part where its full effect is identified over seeds (g < 1); the
others are named. Effects are antisymmetric.

A cell's value for one seed is R̂ + (N_s − R̂·D_s)/D̄ (``blocks.profiles``), so that no seed's own effect is divided by.
Every cell's seeds are values of equal weight, so a cell with more seeds counts for more.

**What is resampled.** Whole seeds within each block, with replacement: a sample has the same seeds for all adapters,
components and modes of the block, and blocks are drawn independently. R̂ and D̄ stay those of the data. Cells are
fixed: intervals are for new seeds of these cells, not for new models, behaviours or adapters.

**How far to trust the intervals.** Percentile intervals over few seeds are too short. The nominal 95 % interval of
the interquartile mean covers it in 83–87 % of simulated studies at 3 seeds, in 88–92 % at 5 and in 92–93 % at 10
(1,000 studies of 2 adapters in each of 3 blocks; seed SD of D 30 %, of N − R·D 10 or 20 % of D̄, correlated by .5
between the adapters of a block; R of the cells spread by .05 or .3); that of P(beats) in 85 %, 90–92 % and
93–94 % (600 studies, the part ahead by .5 or 1 SD). Where a part and its stand-in, or two adapters, do not overlap,
the interval of P is a point, which says nothing about the next seed. Inside few cells there is nothing to aggregate:
below three the aggregates are null, and figures show the seeds.

References: Agarwal et al. (2021), arXiv:2108.13264 (interquartile mean, profiles, P(improvement)); Sellam et al.
(2022), arXiv:2106.16163 (seeds resampled jointly).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from dwatlas.seeds import rng
from dwatlas.statistics import schemas
from dwatlas.statistics.aggregates import interquartile_mean, performance
from dwatlas.statistics.arrays import FULL
from dwatlas.statistics.blocks import profiles
from dwatlas.statistics.effects import SHOWN_EFFECT
from dwatlas.statistics.frames import frame_of
from dwatlas.statistics.intervals import gate, seed_covariance, verdict_of
from dwatlas.statistics.ranking import direction, improvement, improvements, percentile_interval, resamples

BLOCK = ["model", "behaviour"]
CELL = [*BLOCK, "adapter"]
ALL = "(all)"
FEWEST_CELLS = 3
FEWEST_BLOCKS = 2
TAUS = np.arange(-5, 31) / 20
"""τ of the performance profiles: −0.25 to 1.5 in steps of 0.05."""

Block = tuple[str, str]


@dataclass(frozen=True)
class Across:
    """Frames with exactly the columns and types of ``schemas``, sorted by their key columns."""

    across: pd.DataFrame
    improvement: pd.DataFrame
    performance: pd.DataFrame


@dataclass(frozen=True)
class TrainedCell:
    """The components of one lens and mode in one cell: effects in nats over its seeds, and bootstrap weights."""

    name: tuple[str, str, str]
    components: list[str]
    N: Float[np.ndarray, "seeds components"]
    D: Float[np.ndarray, " seeds"]
    null: Float[np.ndarray, "seeds components"]
    weights: Int[np.ndarray, "resamples seeds"]

    @cached_property
    def verdict(self) -> str:
        """Whether the full effect over these seeds is identified."""
        return str(verdict_of(gate(self.D[:, None], seed_covariance)))

    @cached_property
    def is_known(self) -> bool:
        """Whether ratios over the full effect may be made."""
        return self.verdict != "not_identified"

    @cached_property
    def values(self) -> Float[np.ndarray, "seeds components"]:
        """R of each seed and component, linearised."""
        return profiles(self.N[None], self.D[None])[0]

    @cached_property
    def stand_ins(self) -> Float[np.ndarray, "seeds components"]:
        """R of each seed's mean structural stand-in, linearised; NaN where a component has none."""
        return profiles(self.null[None], self.D[None])[0]

    @cached_property
    def resampled(self) -> Float[np.ndarray, "resamples components"]:
        """R of each component in each bootstrap sample, NaN in one without a seed of this cell."""
        number = self.weights.sum(axis=1, keepdims=True)
        sums = self.weights @ self.values
        return np.divide(sums, number, out=np.full_like(sums, np.nan), where=number > 0)


def across(seeds: pd.DataFrame) -> Across:
    """The aggregates of a study from its frame ``seeds`` (``schemas``)."""
    lines = seeds[seeds["effect"] == SHOWN_EFFECT]
    weights = {block: _block_weights(block, own["seed"]) for block, own in lines.groupby(BLOCK)}
    full = lines[(lines["lens"] == FULL.lens) & (lines["mode"] == FULL.mode)]
    found, profiled = [], []
    for (name, lens, mode), parts in lines[lines["lens"] != FULL.lens].groupby(["eval", "lens", "mode"]):
        about = {"eval": name, "lens": lens, "mode": mode}
        cells = [_cell(key, own, weights[key[:2]]) for key, own in parts.groupby(CELL)]
        cells = [cell for cell in cells if cell.components]
        found += [about | {"effect": SHOWN_EFFECT} | record for record in _part_records(cells, mode)]
        profiled += [about | record for record in _profile_records(cells)]
    better = [
        {"eval": name} | record for name, own in full.groupby("eval") for record in _improvement_records(own, weights)
    ]
    return Across(
        across=frame_of(found, schemas.ACROSS_SCHEMA, ["eval", "lens", "component", "mode", "effect"]),
        improvement=frame_of(better, schemas.IMPROVEMENT_SCHEMA, ["eval", "adapter", "rival"]),
        performance=frame_of(profiled, schemas.PERFORMANCE_SCHEMA, [*CELL, "eval", "lens", "mode", "tau"]),
    )


def _block_weights(block: Block, seeds: pd.Series) -> pd.DataFrame:
    """How often each bootstrap sample has each seed of a block: one column per seed, ascending."""
    names = sorted(seeds.unique().tolist())
    return pd.DataFrame(resamples(rng("across", *block, *names), len(names)), columns=names)


def _cell(name: tuple[str, str, str], lines: pd.DataFrame, weights: pd.DataFrame) -> TrainedCell:
    wide = lines.pivot(index="seed", columns="component", values="effect_nats").dropna(axis=1)
    null = lines.pivot(index="seed", columns="component", values="null_nats")[wide.columns]
    D = lines.drop_duplicates("seed").set_index("seed")["full_effect_nats"].loc[wide.index]
    return TrainedCell(
        name, wide.columns.tolist(), wide.to_numpy(), D.to_numpy(), null.to_numpy(), weights[wide.index].to_numpy()
    )


def _part_records(cells: list[TrainedCell], mode: str) -> Iterator[dict]:
    for component in sorted({component for cell in cells for component in cell.components}):
        having = [(cell, cell.components.index(component)) for cell in cells if component in cell.components]
        known = [(cell, place) for cell, place in having if cell.is_known]
        compared = [(cell, place) for cell, place in known if not np.isnan(cell.null[:, place]).any()]
        yield {
            "component": component,
            "n_cells": len(known),
            "n_blocks": len({cell.name[:2] for cell, _ in known}),
            "n_seeds": min((len(cell.D) for cell, _ in known), default=0),
            **dict(zip(("iqm", "lo", "hi"), _iqm(known), strict=True)),
            **dict(zip(("beats", "beats_lo", "beats_hi"), _beats(compared, mode), strict=True)),
            "left_out": ", ".join("/".join(cell.name) for cell, _ in having if not cell.is_known),
        }


def _iqm(parts: list[tuple[TrainedCell, int]]) -> tuple[float, float, float]:
    """Interquartile mean of R over cells and seeds, and its interval."""
    if len(parts) < FEWEST_CELLS:
        return np.nan, np.nan, np.nan
    values = np.concatenate([cell.values[:, place] for cell, place in parts])
    weights = np.hstack([cell.weights for cell, _ in parts])
    estimate = float(interquartile_mean(values, np.ones(len(values), dtype=int)))
    return estimate, *percentile_interval(interquartile_mean(values, weights))


def _beats(parts: list[tuple[TrainedCell, int]], mode: str) -> tuple[float, float, float]:
    """P(the part does more than its stand-in), over all pairs of a cell's seeds, averaged over cells; its interval.

    More is a larger R where a part is kept, a smaller one where it is dropped. Both are linearised R, as effects in
    nats also differ by how strong a seed is as a whole.
    """
    if len(parts) < FEWEST_CELLS:
        return np.nan, np.nan, np.nan
    found, sampled = [], []
    more = -1 if mode == "drop" else 1
    for cell, place in parts:
        part, stand_in = more * cell.values[:, place], more * cell.stand_ins[:, place]
        found.append(improvement(part, stand_in))
        sampled.append(improvements(part, stand_in, cell.weights, cell.weights))
    return float(np.mean(found)), *percentile_interval(_mean_over(sampled))


def _mean_over(sampled: list[np.ndarray]) -> np.ndarray:
    """Mean over cells in each bootstrap sample, of those that have seeds in it; samples × …, empty ones left out."""
    mean = np.ma.masked_invalid(np.stack(sampled)).mean(axis=0)
    return mean.data[~np.ma.getmaskarray(mean).reshape(len(mean), -1).any(axis=1)]


def _profile_records(cells: list[TrainedCell]) -> Iterator[dict]:
    shares, sampled = [], []
    for cell in cells:
        about = {**dict(zip(CELL, cell.name, strict=True)), "n_cells": 1, "n_seeds": len(cell.D)}
        about |= {"n_components": len(cell.components), "verdict": cell.verdict}
        if not cell.is_known:
            yield from (about | {"tau": tau} for tau in TAUS)
            continue
        there = cell.weights.any(axis=1)
        drawn = np.full((len(there), len(TAUS)), np.nan)
        drawn[there] = performance(cell.resampled[there], TAUS)
        shares.append(performance(cell.values.mean(axis=0), TAUS))
        sampled.append(drawn)
        yield from _profile(about, shares[-1], drawn[there])
    if len(shares) >= FEWEST_CELLS:
        known = [cell for cell in cells if cell.is_known]
        about = {**dict.fromkeys(CELL, ALL), "n_cells": len(known), "n_seeds": min(len(cell.D) for cell in known)}
        about |= {"n_components": min(len(cell.components) for cell in known), "verdict": "identified"}
        yield from _profile(about, np.mean(shares, axis=0), _mean_over(sampled))


def _profile(about: dict, shares: np.ndarray, sampled: np.ndarray) -> Iterator[dict]:
    for place, (tau, share) in enumerate(zip(TAUS, shares, strict=True)):
        lo, hi = percentile_interval(sampled[:, place])
        yield about | {"tau": tau, "share": share, "lo": lo, "hi": hi}


def _improvement_records(full: pd.DataFrame, weights: Mapping[Block, pd.DataFrame]) -> Iterator[dict]:
    """Of the full effects on one eval: each adapter against each rival, over the blocks that have both.

    The larger effect is that in the direction of the block's identified adapters.
    """
    wide = {
        block: own.pivot(index="adapter", columns="seed", values="effect_nats") for block, own in full.groupby(BLOCK)
    }
    towards = {block: _towards(effects) for block, effects in wide.items()}
    for adapter, rival in permutations(sorted(full["adapter"].unique()), 2):
        both = [block for block, effects in wide.items() if adapter in effects.index and rival in effects.index]
        known = [block for block in both if towards[block]]
        if len(known) < FEWEST_BLOCKS:
            continue
        found, sampled, sizes = [], [], []
        for block in known:
            a, b = (towards[block] * wide[block].loc[name].dropna() for name in (adapter, rival))
            found.append(improvement(a.to_numpy(), b.to_numpy()))
            drawn = (weights[block][x.index].to_numpy() for x in (a, b))
            sampled.append(improvements(a.to_numpy(), b.to_numpy(), *drawn))
            sizes += [len(a), len(b)]
        lo, hi = percentile_interval(_mean_over(sampled))
        yield {
            "adapter": adapter,
            "rival": rival,
            "n_cells": len(known),
            "n_seeds": min(sizes),
            "improvement": float(np.mean(found)),
            "lo": lo,
            "hi": hi,
            "left_out": ", ".join("/".join(block) for block in both if block not in known),
        }


def _towards(effects: pd.DataFrame) -> float:
    """+1 or −1, the direction of a block's identified effects (adapters × seeds), 0 where there are none."""
    rows = [row.dropna().to_numpy() for _, row in effects.iterrows()]
    known = [D for D in rows if verdict_of(gate(D[:, None], seed_covariance)) != "not_identified"]
    return direction(np.concatenate(known)) if known else 0.0
