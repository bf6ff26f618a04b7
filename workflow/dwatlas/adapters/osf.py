r"""OSF: orthogonal subspace fine-tuning (Nayak et al. 2025, arXiv:2504.07097): trains the base weight's minor singular
directions and keeps the others.

W = U₁S₁V₁ + U₂S₂V₂ with the ``r`` smallest singular values in the second term. θ = U₁S₁V₁ + U·diag(s)·V with U [out,
r], s [r] and V [r, in] trained from U₂, S₂, V₂, their gradients kept orthogonal to the first term's directions. PEFT
counts the directions that it keeps; ``r`` here is the number that it trains. τ = U·diag(s)·V − U₂S₂V₂ has rank ≤ 2r and
so has a pair's dW, in which the start cancels.

Coordinates. *Ranks*: u_i⁺s_i⁺v_i⁺ − u_i⁻s_i⁻v_i⁻, sorted in every matrix by size. *Factors*, with Δ the difference of
the poles and a bar their mean: ``left`` ΔU·s̄·V̄, ``values`` Ū·Δs·V̄, ``right`` Ū·s̄·ΔV, and ``interaction``
¼·ΔU·Δs·ΔV, what remains of a product of three.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from dwatlas.adapters._products import ProductAdapter
from dwatlas.adapters.base import Pair
from dwatlas.delta.ranked import steps
from dwatlas.errors import UserError
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Factored
    from dwatlas.delta.factors import Product
    from dwatlas.train.checkpoint import Checkpoint

FACTORS = ("left", "values", "right", "interaction")


class Osf(ProductAdapter):
    """The base weight's minor singular directions."""

    kind: Literal["osf"] = "osf"

    peft: ClassVar = "OSFConfig"

    def trainable(self, site: Site) -> int:
        return self.r * (sum(site.shape) + 1)

    def sizes(self, anatomy: Anatomy) -> range:
        return range(1, min(min(site.shape) for site in self.sites(anatomy)))

    def check(self, anatomy: Anatomy) -> None:
        if self.r not in (sizes := self.sizes(anatomy)):
            raise UserError(f"r: {self.r} leaves nothing to keep in the smallest weight; give at most {sizes[-1]}")

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {"rank_pattern": {rf"\.{site.module}$": min(site.shape) - self.r for site in self.sites(anatomy)}}

    def product(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Product:
        from dwatlas.delta.factors import Product

        return Product(*(pole.get(site.path, f"osf_svd_params.{name}_low") for name in "USV"))

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Factored:
        import torch

        from dwatlas.delta.factors import Contrast, Product

        trained = self.product(pole, site, weights)
        u, s, vh = torch.linalg.svd(weights[site.name].double(), full_matrices=False)
        u, s, vh = u[:, -self.r :], s[-self.r :], vh[-self.r :]
        turned = torch.where((u * trained.left).sum(0) < 0, -1.0, 1.0)
        return Contrast(trained, Product(turned * u, s, turned[:, None] * vh)).whole

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        return {"ranks": steps("rank", self.r), "factors": FACTORS}

    def part(self, component: str, pair: Pair, site: Site) -> Factored:
        pairing = self.pairing(pair, site)
        return getattr(pairing, component) if component in FACTORS else pairing.step(component)
