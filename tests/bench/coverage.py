"""How often nominal 95 % intervals hold the truth, by simulation: ratios of means, and bands over whole curves.

A study has S seeds × 219 items, D_si = δ + a_i + b_s + e_si and N_si = R·D_si + a'_i + b'_s + e'_si in nats, with
δ = 0.7 and R = 0.6: items vary in both (a, a'), seeds vary in both (b, b'), and so does what is left (e, e'). In regime
A items dominate, in B seeds; seed effects are normal or Student's t on 4 degrees of freedom, scaled to the same SD.
For the estimand E1 (these items, new seeds) the truth is the ratio that the drawn items have over all seeds, for E2
(new items, new seeds) it is R. An interval that is unbounded, or null because D is not identified, holds every truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.tables import pages, table, wide
from dwatlas.seeds import rng
from dwatlas.statistics.bands import critical_value
from dwatlas.statistics.bootstrap import crossed_bootstrap
from dwatlas.statistics.intervals import CONFIDENCE, fieller, fieller_crossed, fieller_seeds, seed_covariance

REPETITIONS, CHUNK = 4000, 100
ITEMS, EFFECT, RATIO = 219, 0.7, 0.6
SEEDS, FEWEST_LIMITED = (2, 3, 5, 10), 3
OWN_ITEMS, OWN_SEEDS, RESIDUAL = 0.2, 0.5, 0.5
HEAVY = 4
WITHIN = {("Fieller, seeds", "E1"): (0.93, 0.98), ("Fieller, crossed", "E2"): (0.92, 0.97)}
BAND_SEEDS, BAND_REPETITIONS, MEMBERS = (8, 10), 1000, 8
BAND_LEAST = 0.93


class Regime(NamedTuple):
    """SD of items in nats, coefficient of variation of seeds, and whether seed effects are heavy-tailed."""

    item_sd: float
    seed_cv: float
    heavy: bool


REGIMES = {
    "A, normal": Regime(2.0, 0.26, False),
    "A, t₄": Regime(2.0, 0.26, True),
    "B, normal": Regime(1.0, 0.43, False),
    "B, t₄": Regime(1.0, 0.43, True),
}


def measure() -> pd.DataFrame:
    """Coverage of the two headline intervals and of bands against their limits; prints the tables of the docs."""
    cells, bands = pd.DataFrame(intervals()), pd.DataFrame(curves())
    cells["design"] = cells["regime"] + ", S = " + cells["seeds"].astype(str)
    headline = [pair in WITHIN for pair in zip(cells["method"], cells["estimand"], strict=True)]
    shown = {
        "Coverage of nominal 95 % intervals, E1; E2": wide(cells, "design", "method", ["coverage"], "estimand"),
        "Share of Fieller's intervals that are bounded, and the coverage of these (seeds: E1, crossed: E2)": wide(
            cells[headline], "design", "method", ["bounded", "coverage_bounded"]
        ),
        "Simultaneous coverage of a curve": bands.round(3),
    }
    print(pages(shown), flush=True)
    lines = []
    for (method, estimand), (least, most) in WITHIN.items():
        own = cells[(cells["method"] == method) & (cells["estimand"] == estimand)]
        own = own[own["seeds"] >= FEWEST_LIMITED]
        for regime, found in own.groupby("regime")["coverage"]:
            what = f"coverage, {method}, {estimand}, {regime}"
            lines += [(f"{what}: least", "", found.min(), least, True), (f"{what}: most", "", found.max(), most, False)]
    lines += [(f"coverage, bands, S = {row.seeds}", "", row.band, BAND_LEAST, True) for row in bands.itertuples()]
    return table(lines)


def intervals(repetitions: int = REPETITIONS) -> Iterator[dict]:
    """Coverage, and the share of bounded intervals with the coverage among these, of every method and cell."""
    for (name, regime), seeds in product(REGIMES.items(), SEEDS):
        draw = rng("bench", "coverage", name, seeds)
        found = [list(_held(regime, seeds, CHUNK, draw)) for _ in range(repetitions // CHUNK)]
        for chunks in zip(*found, strict=True):
            method, estimand = chunks[0][:2]
            held, bounded = (np.concatenate([chunk[k] for chunk in chunks]) for k in (2, 3))
            yield {
                "method": method,
                "regime": name,
                "estimand": estimand,
                "seeds": seeds,
                "coverage": held.mean(),
                "bounded": bounded.mean(),
                "coverage_bounded": held[bounded].mean() if bounded.any() else np.nan,
            }


def simulate(regime: Regime, seeds: int, studies: int, draw: np.random.Generator) -> tuple[np.ndarray, ...]:
    """N and D (studies × seeds × items) and the ratios that the drawn items have over all seeds."""
    seed_sd = regime.seed_cv * EFFECT
    a, own_a = regime.item_sd * draw.normal(size=(2, studies, 1, ITEMS)) * np.array([1, OWN_ITEMS])[:, None, None, None]
    b, own_b = seed_sd * _unit(regime, draw, (2, studies, seeds, 1)) * np.array([1, OWN_SEEDS])[:, None, None, None]
    e, own_e = RESIDUAL * draw.normal(size=(2, studies, seeds, ITEMS))
    D = EFFECT + a + b + e
    N = RATIO * D + own_a + own_b + own_e
    return N, D, RATIO + own_a.mean(axis=(1, 2)) / (EFFECT + a.mean(axis=(1, 2)))


def _unit(regime: Regime, draw: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    if not regime.heavy:
        return draw.normal(size=shape)
    return draw.standard_t(HEAVY, size=shape) / np.sqrt(HEAVY / (HEAVY - 2))


def _held(regime: Regime, seeds: int, studies: int, draw: np.random.Generator) -> Iterator[tuple]:
    N, D, fixed = simulate(regime, seeds, studies, draw)
    for method, interval in METHODS.items():
        lo, hi = interval(N, D, draw)
        for estimand, truth in (("E1", fixed), ("E2", RATIO)):
            yield method, estimand, ~((lo > truth) | (hi < truth)), np.isfinite(lo) & np.isfinite(hi)


def _percentiles(axis: int) -> Callable[..., tuple]:
    """Intervals from resampling one axis, the other as it is: the mean over it is all that there is of it."""

    def interval(N: np.ndarray, D: np.ndarray, draw: np.random.Generator) -> tuple:
        N, D = (x.mean(axis=3 - axis) for x in (N, D))
        n = N.shape[1]
        weights = draw.multinomial(n, np.full(n, 1 / n), size=1000)
        ratios = (N @ weights.T) / (D @ weights.T)
        return tuple(np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=1))

    return interval


METHODS = {
    "Fieller, seeds": lambda N, D, draw: fieller_seeds(N, D)[1:3],
    "Fieller, crossed": lambda N, D, draw: fieller_crossed(N, D)[1:3],
    "bootstrap, crossed, percentile": lambda N, D, draw: crossed_bootstrap(N, D, draw),
    "bootstrap, seeds, percentile": _percentiles(1),
    "bootstrap, items, percentile": _percentiles(2),
}


def curves(repetitions: int = BAND_REPETITIONS) -> Iterator[dict]:
    """Simultaneous coverage of a nested family's curve by bands, and by intervals for one member at a time.

    The members' ratios rise from 0.3 to 0.95. Each has seed noise of its own on top of that of the smaller ones, as
    nested parts have, so that neighbours are alike; seed effects of D are those of regime B.
    """
    truth = np.linspace(0.3, 0.95, MEMBERS)
    for seeds in BAND_SEEDS:
        draw = rng("bench", "bands", seeds)
        held, single, c = [], [], []
        for _ in range(repetitions):
            D = EFFECT + REGIMES["B, normal"].seed_cv * EFFECT * draw.normal(size=seeds)
            steps = 0.05 * draw.normal(size=(MEMBERS, seeds)).cumsum(axis=0)
            N = truth[:, None] * D + steps
            X = N - (N.mean(axis=1) / D.mean())[:, None] * D
            c.append(critical_value(X, draw))
            for result, critical in ((held, c[-1]), (single, None)):
                R = fieller(N[..., None], D[:, None], seed_covariance, critical)
                result.append(not ((R.lo > truth) | (R.hi < truth)).any())
        yield {"seeds": seeds, "band": np.mean(held), "single intervals": np.mean(single), "median c": np.median(c)}
