r"""LoRA: low-rank adaptation (Hu et al. 2021, arXiv:2106.09685).

θ = W + s·B·A with A [r, in], B [out, r] and s = alpha / r (rsLoRA, arXiv:2312.03732: s = alpha / √r). A is
drawn at random, B is zero, so the adapter is no change at the start. One pole's change τ = s·B·A is exactly of
rank r, and the difference of a pair keeps the factors:

    dW = s·(B⁺A⁺ − B⁻A⁻) = [s·B⁺, −s·B⁻] · [A⁺; A⁻]        rank ≤ 2r
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dwatlas.adapters.base import Adapter, target_pattern
from dwatlas.errors import UserError
from dwatlas.files import read_json, read_tensors
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from peft import PeftConfig

    from dwatlas.delta.algebra import Delta


class Lora(Adapter):
    """Low-rank adaptation; ``rank_stabilised`` gives rsLoRA."""

    kind: Literal["lora"] = "lora"
    r: int = Field(8, ge=1, description="Rank.")
    alpha: float = Field(16, gt=0, description="Scale numerator: s = alpha / r.")
    rank_stabilised: bool = Field(False, description="Use s = alpha / √r (rsLoRA).")

    @property
    def scale(self) -> float:
        """s, the factor in front of B·A."""
        return self.alpha / (math.sqrt(self.r) if self.rank_stabilised else self.r)

    def rank(self, site: Site) -> int:
        return min(2 * self.r, *site.shape)

    def peft_config(self, anatomy: Anatomy) -> PeftConfig:
        from peft import LoraConfig

        return LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,
            use_rslora=self.rank_stabilised,
            target_modules=target_pattern(self.sites(anatomy)),
            task_type="CAUSAL_LM",
        )

    def change(self, checkpoint: Path, anatomy: Anatomy) -> Delta:
        from dwatlas.delta.algebra import Factored

        config = read_json(checkpoint / "adapter_config.json")
        if (config["r"], config["lora_alpha"], config["use_rslora"]) != (self.r, self.alpha, self.rank_stabilised):
            raise UserError(f"{checkpoint}: trained with another rank or scale than the catalogue says; train it again")
        tensors = read_tensors(checkpoint / "adapter_model.safetensors")
        delta: Delta = {}
        for site in self.sites(anatomy):
            stem = f"base_model.model.{site.name.removesuffix('.weight')}"
            a, b = tensors[f"{stem}.lora_A.weight"].float(), tensors[f"{stem}.lora_B.weight"].float()
            delta[site.name] = Factored(self.scale * b, a)
        return delta
