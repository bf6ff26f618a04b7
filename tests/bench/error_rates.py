"""Errors and power of the tests, by simulation: many components at once, and adapters against seed noise.

Families have H components, a fifth of them with an effect of 3 between-seed SDs (up or down), and variances that differ
by s₀²/σ² ~ χ²(4)/4. Components of a seed are independent, or correlate by ±0.7 through one factor of the seed.

Adapters are A = 4, each with S seeds and the profile of 8 components that all share (SD 0.2), seed noise that adapters
share (SD 0.1) and their own (SD 0.1); where they differ, by profiles of their own (SD 0.1), or by one adapter that
scatters three times as far. The F test is given the first component.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, ttest_1samp

from bench.tables import pages, table, wide
from dwatlas.seeds import rng
from dwatlas.statistics.blocks import dispersion_p, f_test, noise_ceiling, permutation_p
from dwatlas.statistics.moderated import adjust, moderate, two_sided_p

LEVEL = 0.05
ROUNDING = 1e-9
FAMILIES, SIZES, FEW_SEEDS, CORRELATIONS = 1000, (24, 300), (3, 5), (0.0, 0.7)
EFFECT, TRUE_SHARE, SPREAD_DF = 3.0, 0.2, 4
MOST_FALSE = 0.06
STUDIES, SEEDS, ADAPTERS, COMPONENTS, PERMUTATIONS = 400, (3, 5, 10), 4, 8, 199
COMMON_SD, SHARED_SD, OWN_SD, DIFFERENCE_SD, WIDER = 0.2, 0.1, 0.1, 0.1, 3.0
SIZE_WITHIN = 0.08


def measure() -> pd.DataFrame:
    """False discovery rates and type-I errors against their limits; prints the tables of the docs."""
    many, noise = pd.DataFrame(families()), pd.DataFrame(seed_noise())
    design = "H = " + many["components"].astype(str) + ", ρ = " + many["correlation"].astype(str)
    shown = {
        "Many components: type-I error at 5 %, false discovery rate, power": wide(
            many.assign(design=design + ", S = " + many["seeds"].astype(str)),
            "procedure",
            "design",
            ["size", "fdr", "power"],
        ),
        "Is it only seed noise? Type-I error at 5 %, power": wide(
            noise.assign(design="S = " + noise["seeds"].astype(str)), "test", "design", ["size", "power"]
        ),
    }
    print(pages(shown), flush=True)
    lines = [
        (f"false discovery rate, {row.components} components, ρ = {row.correlation}, S = {row.seeds}", row.fdr)
        for row in many[many["procedure"] == RULE].itertuples()
    ]
    sizes = [(f"type-I error, {row.test}, S = {row.seeds}", row.size) for row in noise.itertuples()]
    limited = [(*line, MOST_FALSE) for line in lines] + [(*line, SIZE_WITHIN) for line in sizes]
    return table([(what, "", value, most, False) for what, value, most in limited])


RULE = "moderated t, rule"


def families(repetitions: int = FAMILIES) -> Iterator[dict]:
    """Type-I error at 5 %, false discovery rate and power at q < 0.05 of every procedure and design."""
    for number, correlation, seeds in product(SIZES, CORRELATIONS, FEW_SEEDS):
        draw = rng("bench", "families", number, str(correlation), seeds)
        L, true = simulate(repetitions, number, seeds, correlation, draw)
        for procedure, (p, q) in _procedures(L).items():
            found = q < LEVEL
            yield {
                "procedure": procedure,
                "components": number,
                "correlation": correlation,
                "seeds": seeds,
                "size": np.mean(p[:, ~true] < LEVEL),
                "fdr": np.mean((found & ~true).sum(axis=1) / np.maximum(found.sum(axis=1), 1)),
                "power": np.mean(found[:, true]),
            }


def simulate(
    families: int, number: int, seeds: int, correlation: float, draw: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Contrasts (families × components × seeds) in between-seed SDs, and which components have an effect."""
    factor = draw.choice([-1, 1], size=(families, number, 1)) * draw.normal(size=(families, 1, seeds))
    noise = np.sqrt(correlation) * factor + np.sqrt(1 - correlation) * draw.normal(size=(families, number, seeds))
    sd = np.sqrt(SPREAD_DF / draw.chisquare(SPREAD_DF, size=(families, number, 1)))
    true = np.arange(number) < round(TRUE_SHARE * number)
    effect = EFFECT * true[:, None] * draw.choice([-1, 1], size=(families, number, 1))
    return sd * noise + effect, true


def _procedures(L: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """p and q (families × components) of every procedure."""
    plain, found = ttest_1samp(L, 0, axis=-1).pvalue, moderate(L)
    independent = (L.shape[-1] - 1) * L.shape[-2]
    capped = found._replace(df=np.minimum(found.prior_df + L.shape[-1] - 1, independent))
    p = two_sided_p(found)
    return {
        "plain t, BH": (plain, false_discovery_control(plain, axis=-1)),
        "moderated t as in limma, BH": (two_sided_p(capped), false_discovery_control(two_sided_p(capped), axis=-1)),
        "moderated t, BH": (p, false_discovery_control(p, axis=-1)),
        "moderated t, BY": (p, false_discovery_control(p, axis=-1, method="by")),
        RULE: (p, np.stack([adjust(*family)[0] for family in zip(p, L, strict=True)])),
    }


def seed_noise(studies: int = STUDIES) -> Iterator[dict]:
    """How often each test finds a difference at 5 % where there is none (size) and where there is one (power)."""
    for seeds, (name, (test, difference)) in product(SEEDS, TESTS.items()):
        rates = {}
        for what, differs in (("size", False), ("power", True)):
            draw = rng("bench", "seed noise", name, seeds, what)
            values = (adapters(seeds, draw, difference if differs else "") for _ in range(studies))
            rates[what] = np.mean([test(own, draw) for own in values])
        yield {"test": name, "seeds": seeds, "difference": difference, **rates}


def adapters(seeds: int, draw: np.random.Generator, difference: str) -> np.ndarray:
    """Profiles (adapters × seeds × components); ``difference`` is empty, ``profiles`` or ``scatter``."""
    scale = np.ones(ADAPTERS)
    scale[0] = WIDER if difference == "scatter" else 1.0
    values = COMMON_SD * draw.normal(size=COMPONENTS) + SHARED_SD * draw.normal(size=(1, seeds, COMPONENTS))
    own = OWN_SD * scale[:, None, None] * draw.normal(size=(ADAPTERS, seeds, COMPONENTS))
    differences = DIFFERENCE_SD * draw.normal(size=(ADAPTERS, 1, COMPONENTS)) if difference == "profiles" else 0.0
    return values + own + differences


def _below_ceiling(values: np.ndarray, draw: np.random.Generator) -> bool:
    return noise_ceiling(values, np.ones(values.shape[:2])).hi < 1


TESTS = {
    "PERMANOVA": (lambda x, draw: permutation_p(x, draw, PERMUTATIONS) <= LEVEL + ROUNDING, "profiles"),
    "F test": (lambda x, draw: f_test(x[..., 0])[1] <= LEVEL, "profiles"),
    "ρ* below 1": (_below_ceiling, "profiles"),
    "PERMDISP": (lambda x, draw: dispersion_p(x, draw, PERMUTATIONS) <= LEVEL + ROUNDING, "scatter"),
}
