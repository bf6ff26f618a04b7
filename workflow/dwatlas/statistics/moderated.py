r"""Many components at once: moderated t-tests, and false discovery rates that heed what components share.

With few seeds the variance of one component is hardly known, but those of its neighbours say much about it. Components
of one family are taken to have variances σ²_c with s₀²/σ²_c ~ χ²(d₀)/d₀, so that with d = S − 1

    s̃²_c = (d₀·s₀² + d·s²_c)/(d₀ + d),    t_c = L̄_c/√(s̃²_c/S)  on  min(d₀ + d, d_pooled) degrees of freedom,

where d₀ and s₀² match the mean and the variance of log s²_c (digamma and trigamma). What the components of a seed share
makes their s² err together, and no number of components averages that out. So the cap on the degrees of freedom is that
of a sum of H correlated s² (Box), with r̄² the mean squared correlation between the components' residuals as it is seen,

    d_pooled = d·H/(1 + (H − 1)·r̄²).

Residuals have d dimensions, and independent components r̄² ≈ 1/d, so d_pooled is about d² at most. limma caps at d·H,
as for independent components; where two components correlate by ±0.7 through a factor of the seed, its tests at 5 %
reject 9 % of true hypotheses at S = 3 (300 components), and these 5 % (``docs/statistics.md``).

References: Smyth (2004), "Linear models and empirical Bayes methods for assessing differential expression in microarray
experiments"; Ritchie et al. (2015), "limma powers differential expression analyses"; Box (1954), "Some theorems on
quadratic forms applied in the study of analysis of variance problems, I"; Benjamini and Hochberg (1995); Benjamini and
Yekutieli (2001), "The control of the false discovery rate in multiple testing under dependency".
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import polygamma, psi, stdtr
from scipy.stats import beta, false_discovery_control

Family = Float[np.ndarray, "*families components seeds"]
Values = Float[np.ndarray, "*families components"]
Numbers = Float[np.ndarray, " *families"]
Method = Literal["bh", "by"]

FEWEST_COMPONENTS = 20
FEWEST_SEEDS = 3
STRONG = 0.5
NEGLIGIBLE = 1e-5
_ROUNDING = 1e-12
_NEWTON_STEPS = 12


class Moderated(NamedTuple):
    """Means over seeds, their variances s̃²/S, and what the variances were shrunk to.

    ``mean`` and ``variance`` are families × components, the others one number a family. ``prior_df`` is 0 where nothing
    was shrunk and infinite where variances differ by no more than chance; ``prior_variance`` is NaN where nothing was.
    """

    mean: Values
    variance: Values
    df: Numbers
    prior_df: Numbers
    prior_variance: Numbers


def moderate(L: Family) -> Moderated:
    """Means of the contrast ``L`` over seeds, with variances shrunk within each family.

    It is the plain t-test where fewer than ``FEWEST_COMPONENTS`` components vary (a dozen parts that overlap and differ
    in size say little of each other's variance, and their tests would say more than their intervals) and below
    ``FEWEST_SEEDS`` seeds; with one seed variances are NaN. Components that hardly vary (s² below ``NEGLIGIBLE`` of the
    family's median: rounding) or lack a seed (NaN) do not count for the prior; a component that is zero throughout
    keeps a variance of zero.
    """
    seeds = L.shape[-1]
    d, mean = seeds - 1, L.mean(axis=-1)
    if d < 1:
        nothing = np.full(mean.shape[:-1], np.nan)
        return Moderated(mean, np.full_like(mean, np.nan), nothing, nothing, nothing)
    varies = _varies(L)
    s2 = np.where(_constant(L), 0.0, L.var(axis=-1, ddof=1))
    d0, s02 = _prior(s2, varies, d)
    d0 = np.where((varies.sum(axis=-1) < FEWEST_COMPONENTS) | (seeds < FEWEST_SEEDS), 0.0, d0)
    own = np.where(np.isinf(d0), 0.0, d / (np.where(np.isinf(d0), 1.0, d0) + d))[..., None]
    shrunk = np.where(own < 1, own * s2 + (1 - own) * np.where(np.isnan(s2), np.nan, s02[..., None]), s2)
    shrunk = np.where((s2 == 0) & (mean == 0), 0.0, shrunk)
    df = np.where(d0 > 0, np.minimum(d0 + d, pooled_df(L)), float(d))
    return Moderated(mean, shrunk / seeds, df, d0, np.where(d0 > 0, s02, np.nan))


def two_sided_p(found: Moderated) -> Values:
    """p of the hypothesis that the mean is zero; NaN where it is zero without variance."""
    return 2 * _upper_tail(np.abs(found.mean), found)


def one_sided_p(found: Moderated) -> Values:
    """p of the hypothesis that the mean is not above zero; NaN where it is zero without variance."""
    return _upper_tail(found.mean, found)


def adjust(p: Float[np.ndarray, " components"], L: Family) -> tuple[Float[np.ndarray, " components"], Method]:
    """q of each p of one family with the contrast ``L`` (components × seeds), and how they were adjusted.

    Benjamini-Yekutieli (``by``), which holds under any dependence, where ``shared_correlation`` exceeds ``STRONG`` or
    cannot be estimated (below three seeds), else Benjamini-Hochberg (``bh``). A p of NaN stays so and is not counted.
    """
    tested = np.isfinite(p)
    method: Method = "bh" if tested.sum() < 2 or shared_correlation(L[tested]) <= STRONG else "by"
    q = np.full(len(p), np.nan)
    if tested.any():
        q[tested] = false_discovery_control(p[tested], method=method)
    return q, method


def shared_correlation(L: Float[np.ndarray, "components seeds"]) -> float:
    """Median |ρ| between the components' deviations from their means; NaN below three seeds.

    √((m − m₀)/(1 − m₀)), at least 0, with m the median of r² over pairs and m₀ that of independent components,
    r² ~ Beta(½, (S − 2)/2): √m₀ is 0.71 with 3 seeds and 0.5 with 4. 0 where fewer than two components vary.
    """
    seeds = L.shape[1]
    if seeds < FEWEST_SEEDS:
        return np.nan
    U = _unit_residuals(L[_varies(L)])
    if len(U) < 2:
        return 0.0
    r2 = ((U @ U.T) ** 2)[np.triu_indices(len(U), 1)]
    independent = beta.median(0.5, (seeds - 2) / 2)
    return float(np.sqrt(max(np.median(r2) - independent, 0.0) / (1 - independent)))


def pooled_df(L: Family) -> Numbers:
    """Degrees of freedom of the families' mean s²: d·H²/ΣΣr², r between residuals of the components that vary."""
    U = _unit_residuals(L)
    number, d = _varies(L).sum(axis=-1), L.shape[-1] - 1
    squares = np.sum(np.einsum("...cs,...ct->...st", U, U) ** 2, axis=(-2, -1))
    return d * number**2 / np.where(number > 0, squares, np.nan)


def trigamma_inverse(y: Numbers) -> Numbers:
    """x with ψ′(x) = y > 0, by Newton's method on 1/ψ′, which is nearly linear (Smyth 2004, appendix)."""
    x = 0.5 + 1 / np.asarray(y, dtype=float)
    for _ in range(_NEWTON_STEPS):
        trigamma = polygamma(1, x)
        x = x + trigamma * (1 - trigamma / y) / polygamma(2, x)
    return x


def _prior(s2: Values, varies: Bool[np.ndarray, "*families components"], d: int) -> tuple[Numbers, Numbers]:
    """d₀ and s₀² of each family from the variances of the components that vary."""
    number = np.maximum(varies.sum(axis=-1), 2)
    e = np.log(np.where(varies, s2, 1.0)) - psi(d / 2) + np.log(d / 2)
    centre = np.sum(e, axis=-1, where=varies) / number
    beyond = np.sum((e - centre[..., None]) ** 2, axis=-1, where=varies) / (number - 1) - polygamma(1, d / 2)
    half = trigamma_inverse(np.where(beyond > 0, beyond, 1.0))
    pooled = np.sum(s2, axis=-1, where=varies) / number
    s02 = np.where(beyond > 0, np.exp(centre + psi(half) - np.log(half)), pooled)
    return np.where(beyond > 0, 2 * half, np.inf), s02


def _constant(L: Family) -> Bool[np.ndarray, "*families components"]:
    return L.std(axis=-1) <= _ROUNDING * np.abs(L).max(axis=-1)


def _varies(L: Family) -> Bool[np.ndarray, "*families components"]:
    s2 = np.where(_constant(L) | np.isnan(L).any(axis=-1), np.inf, L.var(axis=-1))
    number = np.isfinite(s2).sum(axis=-1, keepdims=True)
    if not s2.size:
        return np.isfinite(s2)
    median = np.take_along_axis(np.sort(s2, axis=-1), np.maximum(number - 1, 0) // 2, axis=-1)
    return np.isfinite(s2) & (s2 > NEGLIGIBLE * median)


def _unit_residuals(L: Family) -> Family:
    """Deviations from the mean over seeds at length 1; 0 for components that do not vary."""
    residuals = np.where(_varies(L)[..., None], L - L.mean(axis=-1, keepdims=True), 0.0)
    norms = np.linalg.norm(residuals, axis=-1, keepdims=True)
    return residuals / np.where(norms > 0, norms, 1.0)


def _upper_tail(mean: Values, found: Moderated) -> Values:
    with np.errstate(divide="ignore", invalid="ignore"):
        t = mean / np.sqrt(found.variance)
    return stdtr(found.df[..., None], -t)
