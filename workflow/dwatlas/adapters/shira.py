r"""SHiRA: sparse high-rank adaptation (Bhardwaj et al. 2024, arXiv:2406.13175).

θ = W + τ with τ zero but for r·(out + in) trained entries, as many as LoRA of rank r has, zero at the start, at random
places that are drawn once and are the same for all matrices of one shape. The checkpoint holds the places. dW is
sparse, at the same places, and in general of full rank.

Coordinates: the entries, sorted in every matrix by |dW|: the largest hundredth, the rest of the largest tenth, and all
others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters.base import Adapter, Pair
from dwatlas.delta.ranked import SHARES, in_share
from dwatlas.errors import UserError
from dwatlas.models.anatomy import Anatomy, Site
from dwatlas.seeds import torch_seed

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Sparse
    from dwatlas.train.checkpoint import Checkpoint


class Shira(Adapter):
    """Trained weights at random places."""

    kind: Literal["shira"] = "shira"
    r: int = Field(8, ge=1, description="Number of entries of each matrix, in parameters of LoRA of this rank.")

    peft: ClassVar = "ShiraConfig"
    size: ClassVar = "r"

    def trainable(self, site: Site) -> int:
        return self.r * sum(site.shape)

    def sizes(self, anatomy: Anatomy) -> range:
        return range(1, min(math.prod(site.shape) // sum(site.shape) for site in self.sites(anatomy)) + 1)

    def check(self, anatomy: Anatomy) -> None:
        if self.r not in (fitting := self.sizes(anatomy)):
            most = fitting[-1] if fitting else 0
            raise UserError(f"r: {self.r}, but r·(out + in) fits every matrix up to r = {most} only; give less")

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {"r": self.r, "random_seed": torch_seed("places", self.kind, seed)}

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Sparse:
        from dwatlas.delta.algebra import Sparse

        places = pole.get(site.path, "shira_indices").long()
        return Sparse(places, pole.get(site.path, "shira_weight").float(), site.shape)

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        return {"weights": SHARES}

    def part(self, component: str, pair: Pair, site: Site) -> Sparse:
        from dwatlas.delta.algebra import Sparse

        whole = self.contrast(pair, site)
        index = in_share(component, whole.values.abs())
        return Sparse(whole.indices[:, index], whole.values[index], site.shape)
