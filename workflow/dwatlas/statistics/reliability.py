"""Do seeds tell the same components apart? Agreement of seeds as raters, and generalisability over seeds and items.

For each lens and mode, targets are the components c, raters the seeds s: what a component alone does (``keep``), or
what is lost without it, D − N (``drop``), in nats. With mean squares of the component × seed table of item means

    ICC(A,1) = (MS_c − MS_e)/(MS_c + (S−1)·MS_e + S/C·(MS_s − MS_e))      one seed
    ICC(A,S) = (MS_c − MS_e)/(MS_c + (MS_s − MS_e)/C)                     the mean of S seeds
    W = 12·Σ(R_c − R̄)²/(S²(C³ − C) − S·Σ(t³ − t))                         ranks, ties corrected; p is Friedman's

A component × seed × item layout without replication is the G-study (object of measurement: component),

    Eρ² = σ²_c/(σ²_c + σ²_cs/S + σ²_ci/I + σ²_csi/(S·I)),

the share of the variance between components' means that new seeds and new items would repeat; variances below zero
count as zero there. Intervals are delete-one-seed jackknife (t on S − 1 df; null below three seeds), each replicate
evaluated for S seeds and cut at the ends of what the coefficient can be. Components are neither independent nor a
random sample: intervals are about new seeds, for these components.

Everything comes from two Gram matrices of seeds, of component means and of what is left when component and item means
are taken out, so that leaving out a seed costs nothing.

References: McGraw and Wong (1996), "Forming inferences about some intraclass correlation coefficients"; Kendall and
Babington Smith (1939), "The problem of m rankings"; Brennan (2001), "Generalizability theory".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import chdtrc
from scipy.stats import rankdata

from dwatlas.statistics.arrays import FULL
from dwatlas.statistics.effects import Effects, Family
from dwatlas.statistics.jackknife import half_width, without_each

Profiles = Float[np.ndarray, "components seeds items"]
Seeds = Bool[np.ndarray, " seeds"]

MODES = ("keep", "drop")
DEPENDABLE = 0.8
"""The G-coefficient that counts as dependable."""


class Variances(NamedTuple):
    """Variance components of a G-study in nats², as estimated."""

    component: float
    component_seed: float
    component_item: float
    residual: float

    def g_coefficient(self, seeds: int, items: int) -> float:
        """Eρ² of means over so many seeds and items; NaN where nothing varies."""
        own, with_seed, with_item, rest = np.maximum(self, 0.0)
        total = own + with_seed / seeds + with_item / items + rest / (seeds * items)
        return float(own / total) if total > 0 else np.nan

    def seeds_needed(self, items: int, least: float = DEPENDABLE) -> float:
        """The fewest seeds whose Eρ² at these items reaches ``least``; NaN where no number of seeds does."""
        own, with_seed, with_item, rest = np.maximum(self, 0.0)
        room = own / least - own - with_item / items
        if not room > 0:
            return np.nan
        return float(max(np.ceil(round((with_seed + rest / items) / room, 9)), 1))


@dataclass(frozen=True)
class Layout:
    """Sums of products of seeds: of component means (``between``) and of the component × item deviations
    (``within``), with every seed's own mean and ranks of the components; any subset's statistics follow."""

    shape: tuple[int, int, int]
    between: Float[np.ndarray, "seeds seeds"]
    within: Float[np.ndarray, "seeds seeds"]
    means: Float[np.ndarray, " seeds"]
    ranks: Float[np.ndarray, "components seeds"]

    def mean_squares(self, kept: Seeds) -> tuple[float, float, float, float, float]:
        """MS of components, seeds, component × seed, component × item and residual, of ``kept`` seeds, in the scale of
        single scores."""
        (components, _, items), seeds = self.shape, int(kept.sum())
        between, within = (gram[np.ix_(kept, kept)] for gram in (self.between, self.within))
        own, crossed = between.sum() / seeds, np.trace(between) - between.sum() / seeds
        with_item, rest = within.sum() / seeds, np.trace(within) - within.sum() / seeds
        means = self.means[kept] - self.means[kept].mean()
        cells = (components - 1) * max(items - 1, 1)
        return (
            items * own / (components - 1),
            items * components * float(means @ means) / (seeds - 1),
            items * crossed / ((components - 1) * (seeds - 1)),
            with_item / cells,
            rest / (cells * (seeds - 1)),
        )

    def variances(self, kept: Seeds) -> Variances:
        """Variance components of the G-study from ``kept`` seeds; null where there is one item."""
        (_, _, items), seeds = self.shape, int(kept.sum())
        own, _, with_seed, with_item, rest = self.mean_squares(kept)
        if items < 2:
            return Variances(*[np.nan] * 4)
        return Variances(
            (own - with_seed - with_item + rest) / (seeds * items),
            (with_seed - rest) / items,
            (with_item - rest) / seeds,
            rest,
        )

    def icc(self, kept: Seeds, raters: int) -> float:
        """ICC(A,1) of ``kept`` seeds, stepped up to the mean of ``raters`` (Spearman–Brown; exact for agreement)."""
        components, seeds = self.shape[0], int(kept.sum())
        own, seed, crossed, _, _ = self.mean_squares(kept)
        whole = own + (seeds - 1) * crossed + seeds / components * (seed - crossed)
        if not whole:
            return np.nan
        single = (own - crossed) / whole
        stepped_up = 1 + (raters - 1) * single
        return float(raters * single / stepped_up) if stepped_up else np.nan

    def concordance(self, kept: Seeds, raters: int) -> float:
        """Kendall's W of ``kept`` seeds, corrected for ties; NaN where every seed ranks all components alike.

        W depends on how many seeds there are, W = (1 + (S−1)·r̄)/S with r̄ the mean rank correlation; it is given for
        ``raters`` seeds.
        """
        components, seeds = self.shape[0], int(kept.sum())
        ranks = self.ranks[:, kept] - (components + 1) / 2
        possible = seeds * np.sum(ranks**2)
        if not possible:
            return np.nan
        W = float(np.sum(ranks.sum(axis=1) ** 2) / possible)
        correlation = (seeds * W - 1) / (seeds - 1)
        return (1 + (raters - 1) * correlation) / raters


def layout(profiles: Profiles) -> Layout:
    """The sums that reliability is computed from."""
    means = profiles.mean(axis=2)
    deviations = profiles - means[:, :, None] - (profiles.mean(axis=0) - means.mean(axis=0)[:, None])
    flat = deviations.transpose(1, 0, 2).reshape(profiles.shape[1], -1)
    centred = means - means.mean(axis=0)
    return Layout(profiles.shape, centred.T @ centred, flat @ flat.T, means.mean(axis=0), rankdata(means, axis=0))


def reliability_records(effects: Effects, kind: str) -> Iterator[dict]:
    """One record per lens and mode; columns of ``RELIABILITY_SCHEMA``. Lenses of one component have none."""
    for family in effects.families:
        if family.mode in MODES and len(family.components) > 1:
            record = _record(_profiles(effects, kind, family))
            yield {"lens": family.lens, "mode": family.mode, "effect": kind, **record}


def _profiles(effects: Effects, kind: str, family: Family) -> Profiles:
    values, lines = effects.values[kind], family.lines
    if family.mode == "keep":
        return values[lines]
    return values[effects.same_seeds(FULL, lines[0])] - values[lines]


def _record(profiles: Profiles) -> dict:
    (components, seeds, items), sums = profiles.shape, layout(profiles)
    shape = {"n_seeds": seeds, "n_items": items, "n_components": components}
    everyone = np.ones(seeds, dtype=bool)
    if seeds < 2:
        return shape
    variances, W = sums.variances(everyone), sums.concordance(everyone, seeds)
    estimates = {
        "icc": lambda kept: sums.icc(kept, 1),
        "icc_mean": lambda kept: sums.icc(kept, seeds),
        "kendall_w": lambda kept: sums.concordance(kept, seeds),
        "g_coefficient": lambda kept: sums.variances(kept).g_coefficient(seeds, items),
    }
    found = {}
    for name, of in estimates.items():
        found[name] = of(everyone)
        half = half_width(without_each(of, seeds))
        found[f"{name}_lo"], found[f"{name}_hi"] = np.clip([found[name] - half, found[name] + half], *_RANGES[name])
    return {
        **shape,
        **found,
        "friedman_p": float(chdtrc(components - 1, seeds * (components - 1) * W)),
        "component_variance": variances.component,
        "component_seed_variance": variances.component_seed,
        "component_item_variance": variances.component_item,
        "residual_variance": variances.residual,
        "seeds_needed": variances.seeds_needed(items),
    }


_RANGES = {"icc": (-1, 1), "icc_mean": (-np.inf, 1), "kendall_w": (0, 1), "g_coefficient": (0, 1)}
