r"""Full fine-tuning of the projections: every weight is trained, with no parameterisation between.

θ = W + τ with τ [out, in] dense. PEFT has no method of this name; its LN-tuning trains a copy of any module that is
named, so that class, given the projections, is full fine-tuning, and the checkpoint loads in PEFT as any other.

Coordinates: the weights themselves, sorted in every matrix by |dW|: the largest hundredth, the rest of the largest
tenth, and all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from dwatlas.adapters.base import Adapter, Pair
from dwatlas.delta.ranked import SHARES, in_share
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Dense, Sparse
    from dwatlas.train.checkpoint import Checkpoint


class Full(Adapter):
    """All weights of the projections."""

    kind: Literal["full"] = "full"

    peft: ClassVar = "LNTuningConfig"

    def trainable(self, site: Site) -> int:
        return site.shape[0] * site.shape[1]

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {}

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Dense:
        from dwatlas.delta.algebra import Dense

        return Dense((self._trained(pole, site) - weights[site.name].double()).float())

    def contrast(self, pair: Pair, site: Site) -> Dense:
        from dwatlas.delta.algebra import Dense

        return Dense((self._trained(pair.pos, site) - self._trained(pair.neg, site)).float())

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        return {"weights": SHARES}

    def part(self, component: str, pair: Pair, site: Site) -> Sparse:
        import torch

        from dwatlas.delta.algebra import Sparse

        values = self.contrast(pair, site).values
        index = in_share(component, values.abs().flatten())
        places = torch.stack([index // values.shape[1], index % values.shape[1]])
        return Sparse(places, values.flatten()[index], tuple(values.shape))

    @staticmethod
    def _trained(pole: Checkpoint, site: Site) -> Tensor:
        """θ [out, in], float64."""
        return pole.get(site.path, "ln_tuning_layers.weight")
