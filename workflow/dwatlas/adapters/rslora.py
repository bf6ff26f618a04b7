r"""rsLoRA: rank-stabilised LoRA (Kalajdzievski 2023, arXiv:2312.03732): LoRA with s = alpha / √r."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from dwatlas.adapters.lora import Lora
from dwatlas.models.anatomy import Anatomy


class RsLora(Lora):
    """LoRA whose scale falls with √r, so that the rank does not set the size of the gradient."""

    kind: Literal["rslora"] = "rslora"
    alpha: float = Field(16, gt=0, description="Scale numerator: s = alpha / √r.")

    @property
    def scale(self) -> float:
        return self.alpha / math.sqrt(self.r)

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return super().settings(anatomy, seed) | {"use_rslora": True}
