r"""Many components at once: moderated t-tests, and false discovery rates that heed shared seed noise.

With few seeds the variance of one component is hardly known, but that of its neighbours says much about it. Components
of one family are taken to have variances σ²_c with s₀²/σ²_c ~ χ²(d₀)/d₀, so that with d = S − 1

    s̃²_c = (d₀·s₀² + d·s²_c)/(d₀ + d),    t_c = L̄_c/√(s̃²_c/S)  on  min(d₀ + d, d_pooled) degrees of freedom,

where d₀ and s₀² match the mean and the variance of log s²_c (digamma and trigamma). What all components of a seed share
makes their s² err together, which many components cannot average out: the pooled variance has, with ρ̄² the mean squared
correlation between components,

    d_pooled = d·H/(1 + (H − 1)·ρ̄²),

which is limma's d·H where they are independent. Correlations are estimated from residuals, which have S − 1 dimensions
only: of independent components r² has the distribution Beta(½, (S − 2)/2), with mean 1/(S − 1), which is taken off.

References: Smyth (2004), "Linear models and empirical Bayes methods for assessing differential expression in microarray
experiments"; Ritchie et al. (2015), "limma powers differential expression analyses" (the cap on the degrees of
freedom); Benjamini and Hochberg (1995); Benjamini and Yekutieli (2001), "The control of the false discovery rate in
multiple testing under dependency".
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import polygamma, psi, stdtr
from scipy.stats import beta, false_discovery_control

Family = Float[np.ndarray, "*families components seeds"]
Values = Float[np.ndarray, "*families components"]

Method = Literal["bh", "by"]

FEWEST_SEEDS = 3
FEWEST_COMPONENTS = 5
STRONG = 0.5
CONSTANT = 1e-10
NEWTON_STEPS = 12


class Moderated(NamedTuple):
    """Means over seeds, their variances s̃²/S, and what the variances were shrunk to.

    ``mean`` and ``variance`` (nats²) are families × components, the others one number a family. ``prior_df`` is 0 where
    variances were not shrunk and infinite where they differ by no more than chance.
    """

    mean: Values
    variance: Values
    df: Float[np.ndarray, " *families"]
    prior_df: Float[np.ndarray, " *families"]
    prior_variance: Float[np.ndarray, " *families"]


def moderate(L: Family) -> Moderated:
    """Means of the contrast ``L`` over seeds, with variances shrunk within each family.

    Below ``FEWEST_SEEDS`` seeds or ``FEWEST_COMPONENTS`` components that vary it is the plain t-test; with one seed the
    variance is NaN. A component that does not vary is left out when the prior is estimated, one with a value missing
    has a mean and a variance of NaN.
    """
    seeds = L.shape[-1]
    mean = L.mean(axis=-1)
    if seeds < 2:
        nothing = np.full(mean.shape[:-1], np.nan)
        return Moderated(mean, np.full_like(mean, np.nan), nothing, 0 * nothing, nothing)
    d = seeds - 1
    s2 = L.var(axis=-1, ddof=1)
    varies = _varies(L)
    number = varies.sum(axis=-1)
    d0, s02 = _prior(np.where(varies, s2, 1.0), varies, number, d)
    d0 = np.where((number < FEWEST_COMPONENTS) | (seeds < FEWEST_SEEDS), 0.0, d0)
    weight = np.where(np.isinf(d0), 1.0, d0 / (np.where(np.isinf(d0), 0.0, d0) + d))[..., None]
    shrunk = np.where(weight > 0, weight * s02[..., None], 0.0) + (1 - weight) * s2
    df = np.where(d0 > 0, np.minimum(d0 + d, _pooled_df(L, number, d)), float(d))
    return Moderated(mean, shrunk / seeds, df, d0, np.where(d0 > 0, s02, np.nan))


def two_sided_p(found: Moderated) -> Values:
    """p of the hypothesis that the mean is zero; NaN where it is zero without variance."""
    return 2 * _upper_tail(found, np.abs(found.mean))


def one_sided_p(found: Moderated) -> Values:
    """p of the hypothesis that the mean is not above zero; NaN where it is zero without variance."""
    return _upper_tail(found, found.mean)


def adjust(p: Float[np.ndarray, " components"], L: Family) -> tuple[Float[np.ndarray, " components"], Method]:
    """q of each p of one family with the contrast ``L`` (components × seeds), and how they were adjusted.

    Benjamini-Hochberg (``bh``), or Benjamini-Yekutieli (``by``), which holds under any dependence, where
    ``shared_correlation`` exceeds ``STRONG`` or cannot be estimated. A p of NaN stays NaN and does not count as a test.
    """
    tested = np.isfinite(p)
    method: Method = "bh" if shared_correlation(L[tested]) <= STRONG or tested.sum() < 2 else "by"
    q = np.full(len(p), np.nan)
    if tested.any():
        q[tested] = false_discovery_control(p[tested], method=method)
    return q, method


def shared_correlation(L: Float[np.ndarray, "components seeds"]) -> float:
    """Median |ρ| between the components' deviations from their means; NaN below three seeds or two components.

    √((m − m₀)/(1 − m₀)), at least 0, with m the median of r² over pairs and m₀ that of independent components: √m₀ is
    0.71 with 3 seeds and 0.5 with 4.
    """
    U = _unit_residuals(L[_varies(L)])
    number, seeds = U.shape
    if seeds < FEWEST_SEEDS or number < 2:
        return np.nan
    r2 = ((U @ U.T) ** 2)[np.triu_indices(number, 1)]
    expected = beta.median(0.5, (seeds - 2) / 2)
    return float(np.sqrt(max(np.median(r2) - expected, 0.0) / (1 - expected)))


def trigamma_inverse(y: Float[np.ndarray, " *families"]) -> Float[np.ndarray, " *families"]:
    """x with ψ′(x) = y > 0, by Newton's method on 1/ψ′, which is nearly linear (Smyth 2004, appendix)."""
    x = 0.5 + 1 / y
    for _ in range(NEWTON_STEPS):
        trigamma = polygamma(1, x)
        x = x + trigamma * (1 - trigamma / y) / polygamma(2, x)
    return x


def _prior(s2: Values, varies: Values, number: np.ndarray, d: int) -> tuple[np.ndarray, np.ndarray]:
    """d₀ and s₀² of each family from the variances of the components that vary."""
    number = np.maximum(number, 2)
    e = np.where(varies, np.log(s2) - psi(d / 2) + np.log(d / 2), 0.0)
    centre = e.sum(axis=-1) / number
    spread = np.where(varies, e - centre[..., None], 0.0)
    beyond = (spread**2).sum(axis=-1) / (number - 1) - polygamma(1, d / 2)
    differ = beyond > 0
    half = trigamma_inverse(np.where(differ, beyond, 1.0))
    s02 = np.where(differ, np.exp(centre + psi(half) - np.log(half)), (s2 * varies).sum(axis=-1) / number)
    return np.where(differ, 2 * half, np.inf), s02


def _pooled_df(L: Family, number: np.ndarray, d: int) -> np.ndarray:
    U = _unit_residuals(L)
    within = np.einsum("...cs,...ct->...st", U, U)
    pairs = np.maximum(number * (number - 1), 1)
    r2 = ((within**2).sum(axis=(-2, -1)) - number) / pairs
    rho2 = np.maximum(r2 - 1 / d, 0.0) / (1 - 1 / d) if d > 1 else 1.0
    return d * number / (1 + (number - 1) * rho2)


def _varies(L: Family) -> np.ndarray:
    return L.std(axis=-1) > CONSTANT * np.abs(L).max(axis=-1)


def _unit_residuals(L: Family) -> Family:
    """Deviations from the mean over seeds at length 1, those of components that do not vary 0."""
    residuals = np.where(_varies(L)[..., None], L - L.mean(axis=-1, keepdims=True), 0.0)
    norms = np.linalg.norm(residuals, axis=-1, keepdims=True)
    return residuals / np.where(norms > 0, norms, 1.0)


def _upper_tail(found: Moderated, mean: Values) -> Values:
    with np.errstate(divide="ignore", invalid="ignore"):
        t = mean / np.sqrt(found.variance)
    return stdtr(found.df[..., None], -t)
