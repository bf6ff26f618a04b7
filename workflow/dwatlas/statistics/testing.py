"""Tests of linear contrasts of effects: no test divides. t-tests, moderated over a family, and adjusted within it.

A family is one contrast of all components of one lens, for one (model, behaviour, adapter, eval), kind of effect and
estimand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import stdtr
from scipy.stats import false_discovery_control

from dwatlas.statistics import moderated
from dwatlas.statistics.intervals import ESTIMANDS, RESOLUTION, Array, Estimand, PerPart

Family = Float[np.ndarray, "components seeds items"]


class Tested(NamedTuple):
    """p-values of a family [components]: of plain t-tests, of moderated ones, and adjusted.

    Moderated tests (``statistics.moderated``) are for the estimand ``fixed_rows``, and NaN for ``new_items``. ``q``
    adjusts them, or else ``p``; ``adjusted`` says how, ``bh`` or ``by``. Contrasts that are all zero have NaN.
    """

    p: PerPart
    p_moderated: PerPart
    q: PerPart
    adjusted: np.ndarray


def two_sided(L: Family, estimand: str) -> Tested:
    """Tests of the hypothesis that the mean of the contrast ``L`` is zero."""
    L = _beyond_rounding(L)
    return _tested(_p(L, estimand, p_value, moderated.two_sided_p), L)


def above_zero(L: Family, estimand: str) -> Tested:
    """Tests of the hypothesis that the mean of the contrast ``L`` is not above zero."""
    L = _beyond_rounding(L)
    return _tested(_p(L, estimand, one_sided_p, moderated.one_sided_p), L)


def within(L: Family, bound: Array, estimand: str) -> Tested:
    """Tests of the hypothesis that the mean of ``L`` is not within ± that of ``bound`` [seeds, items], which is above
    zero: two one-sided tests, of which the larger p counts (Schuirmann 1987)."""
    sides = [bound + sign * L for sign in (-1, 1)]
    p = np.stack([_p(side, estimand, one_sided_p, moderated.one_sided_p) for side in sides])
    farther = np.argmax(p[:, 0], axis=0)
    return _tested(p.max(axis=0), np.stack(sides)[farther, np.arange(len(L))])


def p_value(contrast: Array, covariance: Estimand) -> PerPart:
    """Two-sided p that the mean of ``contrast`` [*parts, seeds, items] is zero; NaN where all of it is."""
    return 2 * _upper_tail(np.abs(contrast.mean(axis=(-2, -1))), contrast, covariance)


def one_sided_p(contrast: Array, covariance: Estimand) -> PerPart:
    """p that the mean of ``contrast`` [*parts, seeds, items] is not above zero; NaN where all of it is zero."""
    return _upper_tail(contrast.mean(axis=(-2, -1)), contrast, covariance)


def benjamini_hochberg(p: pd.Series) -> pd.Series:
    """q of each p of one family; a null p has a null q and does not count as a test."""
    tested = p.dropna()
    q = false_discovery_control(tested, method="bh") if len(tested) else []
    return pd.Series(q, index=tested.index, dtype=float).reindex(p.index)


def _beyond_rounding(L: Family) -> Family:
    """``L`` with zeros for components whose seeds' means are no larger than what rounding makes of nothing: they have
    no p, and no part in what a family shares."""
    nothing = np.abs(L.mean(axis=-1)).max(axis=-1) <= RESOLUTION
    return np.where(nothing[:, None, None], 0.0, L)


def _p(L: Family, estimand: str, plain: Callable, shrunk: Callable) -> Float[np.ndarray, "2 components"]:
    """The plain and the moderated p of each component."""
    p = plain(L, ESTIMANDS[estimand])
    if estimand != "fixed_rows":
        return np.stack([p, np.full_like(p, np.nan)])
    return np.stack([p, np.where(np.isnan(p), np.nan, shrunk(moderated.moderate(L.mean(axis=-1))))])


def _tested(p: Float[np.ndarray, "2 components"], L: Family) -> Tested:
    q, method = moderated.adjust(np.where(np.isnan(p[1]), *p), L.mean(axis=-1))
    return Tested(*p, q, np.full(len(q), method))


def _upper_tail(mean: PerPart, contrast: Array, covariance: Estimand) -> PerPart:
    V, df = covariance(contrast, contrast)
    with np.errstate(divide="ignore", invalid="ignore"):
        tail = stdtr(df, -mean / np.sqrt(V))
    certain = np.where(mean == 0, np.nan, mean < 0)
    return np.where(V == 0, certain, tail)[()]
