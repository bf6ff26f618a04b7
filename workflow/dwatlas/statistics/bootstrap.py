r"""The crossed bootstrap (Multi-Bootstrap): new seeds and new items at once, as a check on Fieller's crossed interval.

Each sample draws seeds and items independently, with weights u_s and v_i that count how often each was drawn, and has
R* = Σ_si u_s·v_i·N_si / Σ_si u_s·v_i·D_si. All parts share the weights. The interval is from the 2.5 % to the 97.5 %
quantile of R*. It is a check and no more: with few seeds its coverage is below nominal where seeds dominate the noise
(``docs/statistics.md``), and an unidentified denominator does not show.

References: Sellam et al. (2021), "The MultiBERTs", arXiv 2106.16163; Owen and Eckles (2012), "Bootstrapping data arrays
of arbitrary order".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from dwatlas.statistics.intervals import CONFIDENCE

SAMPLES = 1000
CHUNK = 2**23


class Percentiles(NamedTuple):
    """Bounds of each part's percentile interval."""

    lo: Float[np.ndarray, " parts"]
    hi: Float[np.ndarray, " parts"]


def crossed_bootstrap(
    N: Float[np.ndarray, "parts seeds items"],
    D: Float[np.ndarray, "seeds items"] | Float[np.ndarray, "parts seeds items"],
    generator: np.random.Generator,
    number: int = SAMPLES,
) -> Percentiles:
    """Percentile intervals of N̄/D̄ (effects in nats, paired by seed and item), ``D`` of all parts or of each.

    NaN where there are fewer than two seeds or two items, and where the full effect is zero in a sample.
    """
    parts, seeds, items = N.shape
    if min(seeds, items) < 2:
        return Percentiles(np.full(parts, np.nan), np.full(parts, np.nan))
    u, v = (generator.multinomial(n, np.full(n, 1 / n), size=number) / n for n in (seeds, items))
    common = _weighted_means(D[None], u, v) if D.ndim == 2 else None
    bounds = np.empty((2, parts))
    step = max(1, CHUNK // (seeds * number))
    for start in range(0, parts, step):
        chunk = slice(start, start + step)
        full = _weighted_means(D[chunk], u, v) if common is None else common
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = _weighted_means(N[chunk], u, v) / full
        ratios[~np.isfinite(ratios)] = np.nan
        bounds[:, chunk] = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=1)
    return Percentiles(*bounds)


def _weighted_means(
    x: Float[np.ndarray, "parts seeds items"], u: Float[np.ndarray, "n seeds"], v: Float[np.ndarray, "n items"]
) -> Float[np.ndarray, "parts n"]:
    """Σ_si u_s·v_i·x_si of every sample."""
    return np.einsum("psn,ns->pn", x @ v.T, u)
