r"""VeRA: vector-based random matrix adaptation (Kopiczko et al. 2023, arXiv:2310.11454).

θ = W + diag(b)·B·diag(d)·A. A [r, in] and B [out, r] are random, frozen, and shared by all matrices (each takes the
first columns and rows that it needs of the largest); b [out], zero at the start, and d [r], constant at the start, are
trained, at about ten times LoRA's learning rate. The checkpoint holds A and B. As both poles have the same A, the pair
has the rank of one pole:

    dW = (diag(b⁺)·B·diag(d⁺) − diag(b⁻)·B·diag(d⁻))·A        rank ≤ r

Coordinates. *Sides*, with Δ the difference and a bar the mean of the poles:

    dW = diag(Δb)·B·diag(d̄)·A + diag(b̄)·B·diag(Δd)·A        the b-side and the d-side

exactly: the interaction of Δb and Δd is even under an exchange of the poles and has no part in dW. *Ranks*: the r
products of a column of the first bracket with a row of A, sorted in every matrix by size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters.base import Adapter, Pair
from dwatlas.delta.multilinear import one_difference
from dwatlas.delta.ranked import in_step, steps
from dwatlas.models.anatomy import Anatomy, Site
from dwatlas.seeds import torch_seed

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Matrix
    from dwatlas.train.checkpoint import Checkpoint

SIDES = ("b-side", "d-side")


class Vera(Adapter):
    """Two trained vectors around shared random matrices."""

    kind: Literal["vera"] = "vera"
    r: int = Field(32, ge=1, description="Rank; the paper takes 256 and more.")
    d_initial: float = Field(0.1, gt=0, description="Value of d at the start.")

    peft: ClassVar = "VeraConfig"
    size: ClassVar = "r"

    def rank(self, site: Site) -> int:
        return min(self.r, *site.shape)

    def trainable(self, site: Site) -> int:
        return site.shape[0] + self.r

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        key = torch_seed("projection", self.kind, seed)
        return {"r": self.r, "d_initial": self.d_initial, "projection_prng_key": key}

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Matrix:
        from dwatlas.delta.algebra import product

        left, right = self._projections(pole, site)
        return product(_scaled(left, *self._vectors(pole, site)), right)

    def contrast(self, pair: Pair, site: Site) -> Matrix:
        from dwatlas.delta.algebra import product

        return product(*self._factors(pair, site))

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        return {"sides": SIDES, "ranks": steps("rank", self.r)}

    def part(self, component: str, pair: Pair, site: Site) -> Matrix:
        from dwatlas.delta.algebra import product

        if component in SIDES:
            left, right = self._projections(pair.pos, site)
            poles = (self._vectors(pole, site) for pole in (pair.pos, pair.neg))
            return product(_scaled(left, *one_difference(*poles, SIDES.index(component))), right)
        left, right = self._factors(pair, site)
        index = in_step(component, left.norm(dim=0) * right.norm(dim=1))
        return product(left[:, index], right[index])

    def _factors(self, pair: Pair, site: Site) -> tuple[Tensor, Tensor]:
        """The bracket [out, r] and A [r, in] of dW, float64."""
        left, right = self._projections(pair.pos, site)
        pos, neg = (_scaled(left, *self._vectors(pole, site)) for pole in (pair.pos, pair.neg))
        return pos - neg, right

    @staticmethod
    def _projections(pole: Checkpoint, site: Site) -> tuple[Tensor, Tensor]:
        """B [out, r] and A [r, in], float64."""
        left, right = pole.shared("vera_B"), pole.shared("vera_A")
        return left[: site.shape[0]], right[:, : site.shape[1]]

    @staticmethod
    def _vectors(pole: Checkpoint, site: Site) -> tuple[Tensor, Tensor]:
        """b [out] and d [r], float64."""
        return pole.get(site.path, "vera_lambda_b"), pole.get(site.path, "vera_lambda_d")


def _scaled(left: Tensor, b: Tensor, d: Tensor) -> Tensor:
    """diag(b)·B·diag(d) [out, r]."""
    return b[:, None] * left * d
