"""What adapters have in common whose τ is a product of two trained factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from dwatlas.adapters.base import Adapter, Pair
from dwatlas.delta.ranked import steps
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Matrix
    from dwatlas.delta.factors import Contrast, Product
    from dwatlas.train.checkpoint import Checkpoint


class ProductAdapter(Adapter):
    """τ = P·Q with P [out, r] and Q [r, in]; coordinates are its ranks and its two sides (``delta.factors``)."""

    r: int = Field(8, ge=1, description="Rank.")

    size: ClassVar = "r"
    sides: ClassVar = ("A-side", "B-side")
    """Names of the contrasts of Q and of P."""

    def product(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Product:
        """P·Q of a pole."""
        raise NotImplementedError

    def pairing(self, pair: Pair, site: Site) -> Contrast:
        """P⁺Q⁺ − P⁻Q⁻."""
        from dwatlas.delta.factors import Contrast

        return Contrast(*(self.product(pole, site, pair.weights) for pole in (pair.pos, pair.neg)))

    def rank(self, site: Site) -> int:
        return min(2 * self.r, *site.shape)

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Matrix:
        return self.product(pole, site, weights).factored

    def contrast(self, pair: Pair, site: Site) -> Matrix:
        return self.pairing(pair, site).whole

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        return {"ranks": steps("rank", self.r), "sides": self.sides}

    def part(self, component: str, pair: Pair, site: Site) -> Matrix:
        pairing = self.pairing(pair, site)
        right, left = self.sides
        if component == right:
            return pairing.right
        if component == left:
            return pairing.left
        return pairing.step(component)


def two_factors(left: Tensor, right: Tensor) -> Product:
    """L·R of factors [out, r] and [r, in], float64."""
    from dwatlas.delta.factors import Product

    return Product(left, left.new_ones(left.shape[1]), right)
