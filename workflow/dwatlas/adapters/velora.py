r"""VeLoRA: LoRA that trains on compressed activations (Miles et al. 2024, arXiv:2405.17991).

θ = W + s·B·A as in LoRA, and dW the same. Only the gradient of A differs: the input of A is kept as one number for each
of ``groups`` groups of features, its projection on a direction that all groups share, and rebuilt from it when the
gradient is taken. So it asks what a coarser gradient does to the same parameterisation. The paper takes the direction
from the data, so that each pole has its own; the default here is one drawn at random, which both poles share.

Coordinates: LoRA's ranks and sides.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dwatlas.adapters.lora import Lora
from dwatlas.models.anatomy import Anatomy


class Velora(Lora):
    """LoRA with gradients of A from compressed activations."""

    kind: Literal["velora"] = "velora"
    groups: int = Field(8, ge=1, description="Groups of features; fewer compress more.")
    direction: Literal["random", "batch_average", "batch_average_once"] = Field(
        "random", description="The direction of projection: drawn at random, every batch's mean, or the first batch's."
    )
    gradient_scale: float = Field(1.0, gt=0, description="Factor on the rebuilt activations.")

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        compression = {"num_groups": self.groups, "scale": self.gradient_scale, "init_type": self.direction}
        return super().settings(anatomy, seed) | {"velora_config": compression}
