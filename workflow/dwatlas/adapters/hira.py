r"""HiRA: Hadamard high-rank adaptation (Huang et al., ICLR 2025): a low-rank matrix scales the base weight's entries.

θ = W + W ⊙ (B·A) with A [r, in] drawn at random and B [out, r] zero at the start. The product has rank r, τ = W ⊙ (B·A)
in general full rank, so dW = W ⊙ (B⁺A⁺ − B⁻A⁻) is dense.

Coordinates: LoRA's, each multiplied by W entry by entry. *Ranks*: W ⊙ (b_i⁺a_i⁺ − b_i⁻a_i⁻), sorted in every matrix by
the size of the bracket. *Sides*: W ⊙ (ΔB·Ā) and W ⊙ (B̄·ΔA), which sum to dW (``delta.factors``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters._products import ProductAdapter, two_factors
from dwatlas.adapters.base import Pair
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Dense, Factored
    from dwatlas.delta.factors import Product
    from dwatlas.train.checkpoint import Checkpoint


class Hira(ProductAdapter):
    """The base weight, scaled entry by entry by a low-rank matrix."""

    kind: Literal["hira"] = "hira"
    initialisation: Literal["kaiming", "gaussian"] = Field("kaiming", description="How A is drawn; B is zero.")

    peft: ClassVar = "HiraConfig"

    def rank(self, site: Site) -> int:
        return min(site.shape)

    def trainable(self, site: Site) -> int:
        return self.r * sum(site.shape)

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {"r": self.r, "init_weights": "gaussian" if self.initialisation == "gaussian" else True}

    def product(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Product:
        return two_factors(pole.get(site.path, "hira_B"), pole.get(site.path, "hira_A"))

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Dense:
        return _scaling(super().change(pole, site, weights), weights[site.name])

    def contrast(self, pair: Pair, site: Site) -> Dense:
        return _scaling(super().contrast(pair, site), pair.weights[site.name])

    def part(self, component: str, pair: Pair, site: Site) -> Dense:
        return _scaling(super().part(component, pair, site), pair.weights[site.name])


def _scaling(scale: Factored, weight: Tensor) -> Dense:
    """W ⊙ scale."""
    from dwatlas.delta.algebra import Dense

    return Dense((weight.double() * (scale.left.double() @ scale.right.double())).float())
