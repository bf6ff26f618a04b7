"""Differences of two products of factors, and their parts, without loss of precision.

A pole's change is L·diag(v)·R; for a pair, with Δ the difference and a bar the mean of the poles,

    L⁺diag(v⁺)R⁺ − L⁻diag(v⁻)R⁻ = L̄·diag(Δv)·R̄ + ΔL·diag(v̄)·R̄ + L̄·diag(v̄)·ΔR + ¼·ΔL·diag(Δv)·ΔR

exactly: each factor changes alone around the midpoint of the poles, and the last term is their interaction. With v the
same in both it vanishes. What both poles have in common, such as their start, cancels before anything is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from dwatlas.delta.algebra import Factored
from dwatlas.delta.ranked import in_step

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


@dataclass(frozen=True)
class Product:
    """L·diag(v)·R with L [out, k], v [k] and R [k, in], float64."""

    left: Float[Tensor, "out k"]
    values: Float[Tensor, " k"]
    right: Float[Tensor, "k in"]

    def at(self, index: Int[Tensor, " n"]) -> Product:
        """The terms v_i·l_i·r_i with these indices."""
        return Product(self.left[:, index], self.values[index], self.right[index])

    @property
    def factored(self) -> Factored:
        """(L·diag(v))·R."""
        return Factored((self.left * self.values).float(), self.right.float())


@dataclass(frozen=True)
class Contrast:
    """The difference of two products whose k terms correspond."""

    pos: Product
    neg: Product

    @property
    def whole(self) -> Factored:
        """All of it, of rank ≤ 2k: (LV)⁺R⁺ − (LV)⁻R⁻ = Δ(LV)·R̄ + mean(LV)·ΔR."""
        lefts, mean_lefts, rights, mean_rights = self._folded()
        return Factored(torch.cat([lefts, mean_lefts], dim=1).float(), torch.cat([mean_rights, rights]).float())

    @property
    def values(self) -> Factored:
        """L̄·diag(Δv)·R̄."""
        return Product(_mean(self, "left"), _difference(self, "values"), _mean(self, "right")).factored

    @property
    def left(self) -> Factored:
        """ΔL·diag(v̄)·R̄."""
        return Product(_difference(self, "left"), _mean(self, "values"), _mean(self, "right")).factored

    @property
    def right(self) -> Factored:
        """L̄·diag(v̄)·ΔR."""
        return Product(_mean(self, "left"), _mean(self, "values"), _difference(self, "right")).factored

    @property
    def interaction(self) -> Factored:
        """¼·ΔL·diag(Δv)·ΔR."""
        return Product(_difference(self, "left"), _difference(self, "values") / 4, _difference(self, "right")).factored

    @property
    def strengths(self) -> Factored:
        """½·(L⁺diag(Δv)R⁺ + L⁻diag(Δv)R⁻): the values change, the rest keeps the mean of its two products."""
        half = _difference(self, "values") / 2
        lefts = torch.cat([self.pos.left * half, self.neg.left * half], dim=1)
        return Factored(lefts.float(), torch.cat([self.pos.right, self.neg.right]).float())

    @property
    def directions(self) -> Factored:
        """L⁺diag(v̄)R⁺ − L⁻diag(v̄)R⁻: what ``strengths`` leaves."""
        mean = _mean(self, "values")
        return Contrast(replace(self.pos, values=mean), replace(self.neg, values=mean)).whole

    def at(self, index: Int[Tensor, " n"]) -> Contrast:
        """The terms with these indices."""
        return Contrast(self.pos.at(index), self.neg.at(index))

    def step(self, component: str) -> Factored:
        """The terms that belong to a step of the terms sorted by size (``ranked.steps``)."""
        return self.at(in_step(component, self.energies)).whole

    @property
    def energies(self) -> Float[Tensor, " k"]:
        """‖v_i⁺·l_i⁺r_i⁺ − v_i⁻·l_i⁻r_i⁻‖² of every term."""
        lefts, mean_lefts, rights, mean_rights = self._folded()
        squares = lefts.square().sum(0) * mean_rights.square().sum(1)
        squares = squares + mean_lefts.square().sum(0) * rights.square().sum(1)
        return squares + 2 * (lefts * mean_lefts).sum(0) * (rights * mean_rights).sum(1)

    def _folded(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Δ(LV), mean(LV), ΔR, R̄."""
        pos, neg = (one.left * one.values for one in (self.pos, self.neg))
        return pos - neg, (pos + neg) / 2, _difference(self, "right"), _mean(self, "right")


def _difference(pair: Contrast, name: str) -> Tensor:
    return getattr(pair.pos, name) - getattr(pair.neg, name)


def _mean(pair: Contrast, name: str) -> Tensor:
    return (getattr(pair.pos, name) + getattr(pair.neg, name)) / 2
