"""What a study of S seeds can detect, from a pilot's variance: power of t-tests on linear contrasts over seeds.

With d = mean/SD of a contrast over seeds, t the critical value on ν df and s² the sample variance over the true one
(ν·s² is χ² on ν df), the power is a mean over s of normal probabilities,

    two-sided              E_s[Φ(√S·d − t·s) + Φ(−√S·d − t·s)]
    one-sided              E_s[Φ(√S·d − t·s)]
    equivalence (TOST)     E_s[max(0, 2Φ(√S·m − t·s) − 1)]     true mean 0, margin ±m in SDs

taken by Gauss–Legendre quadrature over quantiles of s². Libraries take the first two from the noncentral t, which is
null or wrong at the small α of corrected tests and few df (scipy 1.17, statsmodels 0.15: null for 30 seeds, d = 1,
α = .05/300); elsewhere they agree (tested).

References: Cohen (1988), "Statistical power analysis for the behavioral sciences"; Schuirmann (1987), "A comparison of
the two one-sided tests procedure and the power approach".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.special import gammaincinv, ndtr, stdtrit

from dwatlas.statistics.arrays import FULL, Part
from dwatlas.statistics.design import half_width
from dwatlas.statistics.effects import Effects
from dwatlas.statistics.intervals import verdict_of
from dwatlas.statistics.reliability import MODES
from dwatlas.statistics.variance import variance_components

ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 1000
"""Seeds beyond which none are looked for."""

_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(200)
_POWER_OF_POINTS = 6
"""Quantiles are taken at u⁶, densely where s is small: there the power is, at a small α on few df."""

Means = Float[np.ndarray, "parts seeds"]


class Spread(NamedTuple):
    """SD over seeds, in nats, of a typical contrast of one kind, and whether a pilot's ablations gave it."""

    sd: float
    measured: bool


def t_power(d: float, seeds: int, alpha: float = ALPHA, sides: int = 2, arms: int = 1) -> float:
    """Power of a t-test at a true mean of ``d`` SDs: paired or of one sample, or of two ``arms`` of so many seeds each.

    Zero below two seeds.
    """
    if seeds < 2:
        return 0.0
    df, shift = arms * (seeds - 1), d * np.sqrt(seeds / arms)
    bar = _bars(df, alpha / sides)
    above = ndtr(shift - bar)
    return _mean(above + ndtr(-shift - bar) if sides == 2 else above)


def equivalence_power(margin: float, seeds: int, alpha: float = ALPHA) -> float:
    """Power of two one-sided tests that a mean lies within ± ``margin`` SDs where it is 0; zero below two seeds."""
    if seeds < 2:
        return 0.0
    return _mean(np.maximum(2 * ndtr(margin * np.sqrt(seeds) - _bars(seeds - 1, alpha)) - 1, 0))


def smallest_d(seeds: int, alpha: float = ALPHA, arms: int = 1, power: float = POWER) -> float:
    """The smallest mean in SDs that a two-sided t-test finds with ``power``; infinite below two seeds."""
    if seeds < 2:
        return np.inf
    return float(np.exp(brentq(lambda log_d: t_power(np.exp(log_d), seeds, alpha, arms=arms) - power, -9, 18)))


def seeds_needed(power_of: Callable[[int], float], power: float = POWER) -> float:
    """The fewest seeds at which ``power_of`` reaches ``power``; NaN where more than ``MOST_SEEDS`` are needed."""
    found = bisect_left(range(2, MOST_SEEDS + 1), power, key=power_of) + 2
    return float(found) if found <= MOST_SEEDS else np.nan


def _bars(df: int, tail: float) -> Float[np.ndarray, " points"]:
    """t·s at the quadrature's quantiles of s."""
    quantiles = ((_POINTS + 1) / 2) ** _POWER_OF_POINTS
    return stdtrit(df, 1 - tail) * np.sqrt(2 * gammaincinv(df / 2, quantiles) / df)


def _mean(values: Float[np.ndarray, " points"]) -> float:
    weights = _WEIGHTS * ((_POINTS + 1) / 2) ** (_POWER_OF_POINTS - 1)
    return float(np.average(values, weights=weights))


def pilot_summary(effects: Effects, kind: str, seeds: int) -> dict:
    """The pilot's full effect with its SDs in nats, and what a study of so many ``seeds`` is to expect of it."""
    D = effects.values[kind][effects.parts[FULL]]
    seed, item, residual = (facet.variance for facet in variance_components(D).values())
    known = seeds > 1 and min(D.shape) > 1
    halves = {
        name: half_width(seed, item, residual, seeds, D.shape[1], name) if known else np.nan
        for name in ("fixed_rows", "new_items")
    }
    g = (halves["fixed_rows"] / D.mean()) ** 2 if D.mean() else np.nan
    return {
        "pilot_seeds": effects.seeds[effects.parts[FULL]].tolist(),
        "n_items": D.shape[1],
        "effect_nats": float(D.mean()),
        "seed_sd": np.sqrt(max(seed, 0)),
        "item_sd": np.sqrt(max(item, 0)),
        "residual_sd": np.sqrt(max(residual, 0)),
        "g": float(g),
        "verdict": verdict_of(g),
        "half_width": halves,
    }


def power_records(effects: Effects, kind: str, seeds: int, margin: float, sizes: Mapping[str, int]) -> Iterator[dict]:
    """What a study of so many ``seeds`` can say of the parts of one adapter's dW, from a pilot of two seeds or more.

    ``sizes`` is lens → number of components. ``contrast`` is

        effect        D̄ ≠ 0: its power
        contributes   a part's L̄ ≠ 0: the smallest share of D̄ that is found (``detectable``); for each lens also with α
                      divided by its number of components (Bonferroni)
        redundant     R_drop > 1 − ``margin`` where R_drop = 1: the power of the one-sided test
        nothing       |R_keep| < ``margin`` where R_keep = 0: the power of two one-sided tests
        between       two parts differ: the smallest difference of their shares

    and ``seeds_needed`` those for a power of 80 %, of ``contributes`` and ``between`` for a share of ``margin``. Shares
    are null where the study is to expect D̄ not identified. The SD of a part's contrast over seeds (``sd_nats``) is the
    median of those that the pilot ablated (``measured``); where it ablated none, that of D: a part is assumed to vary
    from seed to seed as the whole does.
    """
    D = effects.values[kind][effects.parts[FULL]].mean(axis=1)
    whole = Spread(float(D.std(ddof=1)), True)
    unit = abs(D.mean()) if pilot_summary(effects, kind, seeds)["verdict"] != "not_identified" else np.nan
    spreads = typical_spreads(effects, kind, margin, whole.sd)
    yield _power_record("effect", "", whole, seeds, lambda n: t_power(_in_sds(abs(D.mean()), whole.sd), n))
    own = spreads["contributes"]
    yield _share_record("contributes", "", own, seeds, unit, margin, ALPHA)
    for lens, number in sizes.items():
        yield _share_record("contributes", lens, own, seeds, unit, margin, ALPHA / number)
    tests = {"redundant": lambda m, n: t_power(m, n, sides=1), "nothing": equivalence_power}
    for contrast, power in tests.items():
        d = _in_sds(margin * unit, spreads[contrast].sd)
        yield _power_record(contrast, "", spreads[contrast], seeds, lambda n, d=d, power=power: power(d, n))
    yield _share_record("between", "", spreads["between"], seeds, unit, margin, ALPHA)


def adapters_record(a: Mapping[int, float], b: Mapping[int, float], seeds: int) -> dict:
    """The smallest difference in nats that a study of so many ``seeds`` finds between two adapters' full effects.

    ``a`` and ``b`` are pilot seed → effect in nats. Paired by seed where two pilot seeds or more are common; else two
    independent samples with the mean of their variances, which asks for more.
    """
    common = sorted(set(a) & set(b))
    paired = len(common) > 1
    if paired:
        sd, arms = np.std([a[seed] - b[seed] for seed in common], ddof=1), 1
    else:
        sd, arms = np.sqrt(np.mean([np.var(list(one.values()), ddof=1) for one in (a, b)])), 2
    difference = abs(np.mean(list(a.values())) - np.mean(list(b.values())))
    d = _in_sds(difference, sd)
    return {
        "paired": paired,
        "sd_nats": float(sd),
        "detectable_nats": smallest_d(seeds, arms=arms) * float(sd),
        "difference_nats": float(difference),
        "power": t_power(d, seeds, arms=arms),
        "seeds_needed": seeds_needed(lambda n: t_power(d, n, arms=arms)),
    }


def typical_spreads(effects: Effects, kind: str, margin: float, assumed: float) -> dict[str, Spread]:
    """Contrast of a part → the median over the pilot's parts of its SD over seeds; ``assumed`` where it has none."""
    sds: dict[str, list[float]] = {"contributes": [], "redundant": [], "nothing": [], "between": []}
    for mode, (N, D) in _profiles(effects, kind):
        contributes = D - N if mode == "drop" else N
        sds["contributes"] += contributes.std(axis=1, ddof=1).tolist()
        sds["between"] += _pair_sds(contributes)
        sds["redundant"] += (N - (1 - margin) * D).std(axis=1, ddof=1).tolist() if mode == "drop" else []
        sds["nothing"] += N.std(axis=1, ddof=1).tolist() if mode == "keep" else []
    return {
        contrast: Spread(float(np.median(some)), True) if some else Spread(assumed, False)
        for contrast, some in sds.items()
    }


def _profiles(effects: Effects, kind: str) -> Iterator[tuple[str, tuple[Means, Means]]]:
    """Mode, and effects of all parts of a lens and of the full dW in the same seeds, where there are two or more."""
    nats, groups = effects.values[kind].mean(axis=1), {}
    for part, lines in effects.parts.items():
        if part.mode in MODES and len(lines) > 1:
            groups.setdefault((part.lens, part.mode), []).append(part)
    for (_, mode), parts in groups.items():
        yield mode, _means(effects, nats, parts)


def _means(effects: Effects, nats: np.ndarray, parts: list[Part]) -> tuple[Means, Means]:
    lines = np.stack([effects.parts[part] for part in parts])
    return nats[lines], np.broadcast_to(nats[effects.same_seeds(FULL, lines[0])], lines.shape)


def _pair_sds(values: Means) -> list[float]:
    """SD over seeds of the difference of every two parts."""
    centred = values - values.mean(axis=1, keepdims=True)
    products = centred @ centred.T / (values.shape[1] - 1)
    own = np.diag(products)
    squares = (own[:, None] + own - 2 * products)[np.triu_indices(len(values), 1)]
    return np.sqrt(np.maximum(squares, 0)).tolist()


def _share_record(
    contrast: str, lens: str, spread: Spread, seeds: int, unit: float, margin: float, alpha: float
) -> dict:
    nats, d = smallest_d(seeds, alpha) * spread.sd, _in_sds(margin * unit, spread.sd)
    return {
        **_about(contrast, lens, spread),
        "alpha": alpha,
        "detectable": nats / unit,
        "detectable_nats": nats,
        "seeds_needed": np.nan if np.isnan(d) else seeds_needed(lambda n: t_power(d, n, alpha)),
    }


def _power_record(contrast: str, lens: str, spread: Spread, seeds: int, power_of: Callable[[int], float]) -> dict:
    at = power_of(seeds)
    needed = np.nan if np.isnan(at) else seeds_needed(power_of)
    return {**_about(contrast, lens, spread), "alpha": ALPHA, "power": at, "seeds_needed": needed}


def _in_sds(nats: float, sd: float) -> float:
    return nats / sd if sd else np.inf


def _about(contrast: str, lens: str, spread: Spread) -> dict:
    return {"contrast": contrast, "lens": lens, "sd_nats": spread.sd, "measured": spread.measured}
