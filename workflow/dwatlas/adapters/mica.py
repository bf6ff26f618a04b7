r"""MiCA: minor component adaptation (arXiv:2604.01694): LoRA whose B is frozen at the base weight's smallest singular
directions.

θ = W + s·B·A with B [out, r] the left singular vectors of W with the r smallest singular values, never trained, A [r,
in] zero at the start, and s = alpha / r. Both poles have the same B, so dW = s·B·(A⁺ − A⁻) has rank ≤ r and lies in the
span of B.

Coordinates: *ranks*, the minor directions of W: s·b_i·(a_i⁺ − a_i⁻), sorted in every matrix by size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dwatlas.adapters.base import Pair
from dwatlas.adapters.lora import TwoFactors
from dwatlas.delta.ranked import in_step, steps
from dwatlas.errors import UserError
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from dwatlas.delta.algebra import Factored


class Mica(TwoFactors):
    """LoRA inside the base weight's minor left singular directions."""

    kind: Literal["mica"] = "mica"

    def rank(self, site: Site) -> int:
        return min(self.r, *site.shape)

    def trainable(self, site: Site) -> int:
        return self.r * site.shape[1]

    def sizes(self, anatomy: Anatomy) -> range:
        return range(1, min(min(site.shape) for site in self.sites(anatomy)) + 1)

    def check(self, anatomy: Anatomy) -> None:
        if self.r not in (sizes := self.sizes(anatomy)):
            raise UserError(f"r: {self.r} is more than the smallest side of a weight; give at most {sizes[-1]}")

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return super().settings(anatomy, seed) | {"init_lora_weights": "mica"}

    def contrast(self, pair: Pair, site: Site) -> Factored:
        return self.pairing(pair, site).right

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        return {"ranks": steps("rank", self.r)}

    def part(self, component: str, pair: Pair, site: Site) -> Factored:
        pairing = self.pairing(pair, site)
        return pairing.at(in_step(component, pairing.energies)).right
