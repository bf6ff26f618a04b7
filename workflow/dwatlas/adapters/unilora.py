r"""Uni-LoRA: every entry of every LoRA factor is one of the entries of one short vector (Li et al. 2025,
arXiv:2506.00799).

θ = W + B·A with A [r, in] and B [out, r] filled from v [length], the only thing that is trained: each entry of a factor
is v_j / √n_j, for a j that is drawn at random and fixed, n_j the number of entries that share it. dW = B⁺A⁺ − B⁻A⁻ has
rank ≤ 2r.

Start: v is drawn from ±``start``. A product of two factors from one vector is zero only at v = 0, where its gradient is
zero too; with the default, τ is less than a hundred-thousandth of W at the start.

Coordinates. *Ranks* and *sides*: LoRA's. *Entries*: both factors are linear in v, so dW = ΔB·Ā + B̄·ΔA is a sum over
the entries of Δv; sorted over the whole model by |Δv_j|: the largest hundredth, the rest of the largest tenth, others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters._products import ProductAdapter, two_factors
from dwatlas.adapters.base import Pair
from dwatlas.delta.ranked import SHARES, in_share
from dwatlas.models.anatomy import Anatomy, Site
from dwatlas.seeds import torch_seed

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Matrix
    from dwatlas.delta.factors import Product
    from dwatlas.train.checkpoint import Checkpoint

TRAINED = "unilora_theta_d"


class UniLora(ProductAdapter):
    """One vector for the whole model."""

    kind: Literal["unilora"] = "unilora"
    r: int = Field(4, ge=1, description="Rank.")
    length: int = Field(256, ge=1, description="Length of the vector: all trained numbers of the model.")
    start: float = Field(1e-3, gt=0, description="Bound of the vector's entries at the start.")

    peft: ClassVar = "UniLoraConfig"
    size: ClassVar = "length"

    def parameters(self, anatomy: Anatomy) -> int:
        return self.length

    def sizes(self, anatomy: Anatomy) -> range:
        return range(1, self.r * sum(sum(site.shape) for site in self.sites(anatomy)) + 1)

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {
            "r": self.r,
            "theta_d_length": self.length,
            "init_theta_d_bound": self.start,
            "proj_seed": torch_seed("places", self.kind, seed),
            "save_indices": True,
        }

    def product(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Product:
        return two_factors(*_filled(pole.shared(TRAINED), pole, site))

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        return super().coordinates(anatomy) | {"entries": SHARES}

    def part(self, component: str, pair: Pair, site: Site) -> Matrix:
        import torch

        from dwatlas.delta.algebra import product

        if component not in SHARES:
            return super().part(component, pair, site)
        plus, minus = (pole.shared(TRAINED) for pole in (pair.pos, pair.neg))
        index = in_share(component, (plus - minus).abs())
        chosen = torch.zeros_like(plus).index_copy(0, index, (plus - minus)[index])
        (left, right), (mean_left, mean_right) = (
            _filled(vector, pair.pos, site) for vector in (chosen, (plus + minus) / 2)
        )
        return product(torch.cat([left, mean_left], dim=1), torch.cat([mean_right, right]))


def _filled(vector: Tensor, pole: Checkpoint, site: Site) -> list[Tensor]:
    """B [out, r] and A [r, in] filled from a vector, float64."""
    places, scales = (
        [pole.get(site.path, f"unilora_{what}_{side}") for side in "BA"] for what in ("indices", "scales")
    )
    return [scale * vector[place.long()] for place, scale in zip(places, scales, strict=True)]
