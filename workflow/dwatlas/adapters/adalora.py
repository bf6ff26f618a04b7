r"""AdaLoRA: adaptive budget allocation (Zhang et al. 2023, arXiv:2303.10512).

θ = W + s·B·diag(λ)·A with A [R, in], B [out, R], R = ``init_r`` and s = alpha / (R + 10⁻⁵). A and B are drawn at random
and kept near orthonormal by a penalty; λ starts as zero, so the adapter is no change at the start. While it trains, a
budget that falls from R to ``target_share``·R terms per matrix on average is given to the terms that matter most in
the whole model, and the λ of the others are set to zero. Each pole prunes by its own gradients. A pole's rank at a
matrix is what it kept there, anything from 0 to R, and

    dW = s·(B⁺diag(λ⁺)A⁺ − B⁻diag(λ⁻)A⁻)        rank ≤ 2R

The checkpoint holds the kept terms only, and which they are. For the coordinates, a term that one pole pruned has λ = 0
there, and the vectors of the pole that kept it: pruning is a change of λ alone.

Coordinates, with Δ the difference of the poles. *Factors*, one at a time around the midpoint of the poles: ``values``
Δλ, ``left-directions`` ΔB, ``right-directions`` ΔA, and what they do together, ¼·s·ΔB·diag(Δλ)·ΔA, as ``interaction``.
*Ranks*: the terms i, which mean the same in both poles as these start alike, sorted in every matrix by size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dwatlas.adapters.base import Adapter, Pair
from dwatlas.delta.ranked import steps
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor

    from dwatlas.delta.algebra import Factored
    from dwatlas.delta.factors import Contrast, Product
    from dwatlas.train.checkpoint import Checkpoint

PARTS = {
    "values": "values",
    "left-directions": "left",
    "right-directions": "right",
    "interaction": "interaction",
}
"""Components, and what they are of a contrast of products."""


class Adalora(Adapter):
    """Low-rank adaptation in the form of an SVD, whose ranks are given to the matrices that need them."""

    kind: Literal["adalora"] = "adalora"
    init_r: int = Field(12, ge=1, description="Rank R of every matrix at the start.")
    target_share: float = Field(2 / 3, gt=0, le=1, description="Share of the ranks that is kept; 1 prunes nothing.")
    alpha: float = Field(16, gt=0, description="Scale numerator: s = alpha / init_r.")
    orthogonality: float = Field(0.5, ge=0, description="Weight of the penalty that keeps A and B near orthonormal.")
    warmup_share: float = Field(0.1, ge=0, lt=1, description="Share of the steps before the budget begins to fall.")
    final_share: float = Field(
        0.3,
        ge=0,
        lt=1,
        description="Share of the steps after it has fallen. A training of one step prunes nothing.",
    )
    interval: int = Field(1, ge=1, description="Steps between two allocations.")
    smoothing: float = Field(0.85, gt=0, lt=1, description="Weight of the past in the importance of a term (β₁).")
    uncertainty: float = Field(0.85, gt=0, lt=1, description="Weight of the past in its uncertainty (β₂).")

    peft: ClassVar = "AdaLoraConfig"
    size: ClassVar = "init_r"

    @model_validator(mode="after")
    def _phases(self) -> Self:
        if self.warmup_share + self.final_share >= 1:
            raise ValueError("warmup_share and final_share leave no step to prune in; give less than 1 together")
        return self

    @property
    def target_r(self) -> int:
        """Ranks per matrix that are kept on average."""
        return max(1, round(self.target_share * self.init_r))

    @property
    def final_steps(self) -> int:
        """Steps after the budget has fallen."""
        return int(self.final_share * self.training.steps)

    @property
    def prunes(self) -> bool:
        """Whether there is anything to prune, and a step before it that shows what matters."""
        return self.target_r < self.init_r and self.training.steps - self.final_steps > 1

    def rank(self, site: Site) -> int:
        return min(2 * self.init_r, *site.shape)

    def trainable(self, site: Site) -> int:
        return self.init_r * (sum(site.shape) + 1)

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {
            "init_r": self.init_r,
            "target_r": self.target_r,
            "lora_alpha": self.alpha,
            "orth_reg_weight": self.orthogonality,
            "total_step": self.training.steps,
            "tinit": int(self.warmup_share * self.training.steps),
            "tfinal": self.final_steps,
            "deltaT": self.interval,
            "beta1": self.smoothing,
            "beta2": self.uncertainty,
        }

    def penalty(self, model: PeftModel) -> Tensor:
        """The mean over all A and B of ‖A·Aᵀ − I‖_F and ‖Bᵀ·B − I‖_F, times ``orthogonality``."""
        import torch

        distances = []
        for name, factor in model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                gram = factor @ factor.T if "lora_A" in name else factor.T @ factor
                distances.append((gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).norm())
        return self.orthogonality * torch.stack(distances).mean()

    def after_step(self, model: PeftModel, step: int) -> None:
        """Let PEFT measure the terms' importance and set those to zero that are beyond the budget."""
        if self.prunes:
            model.base_model.update_and_allocate(step)

    def product(self, pole: Checkpoint, site: Site, other: Checkpoint | None = None) -> Product:
        """B·diag(s·λ)·A of a pole with all R terms; those that it pruned have the ``other`` pole's vectors, or none."""
        import torch

        from dwatlas.delta.factors import Product

        vectors = torch.zeros(self.init_r, sum(site.shape), dtype=torch.float64)
        values = torch.zeros(self.init_r, dtype=torch.float64)
        for one in (other, pole) if other else (pole,):
            left, right = one.get(site.path, "lora_B"), one.get(site.path, "lora_A")
            vectors[_kept(one, site, len(right))] = torch.cat([left.T, right], dim=1)
        scale = self.alpha / (self.init_r + 1e-5)
        value = pole.get(site.path, "lora_E").flatten()
        values[_kept(pole, site, len(value))] = scale * value
        return Product(vectors[:, : site.shape[0]].T, values, vectors[:, site.shape[0] :])

    def pairing(self, pair: Pair, site: Site) -> Contrast:
        """The poles' products over the terms that at least one of them kept."""
        from dwatlas.delta.factors import Contrast

        both = Contrast(self.product(pair.pos, site, pair.neg), self.product(pair.neg, site, pair.pos))
        return both.at(((both.pos.values != 0) | (both.neg.values != 0)).nonzero().flatten())

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Factored:
        return self.product(pole, site).factored

    def contrast(self, pair: Pair, site: Site) -> Factored:
        return self.pairing(pair, site).whole

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        return {"factors": tuple(PARTS), "ranks": steps("rank", self.init_r)}

    def part(self, component: str, pair: Pair, site: Site) -> Factored:
        pairing = self.pairing(pair, site)
        return getattr(pairing, PARTS[component]) if component in PARTS else pairing.step(component)


def _kept(pole: Checkpoint, site: Site, number: int) -> list[int]:
    """Which of the terms the ``number`` terms in a checkpoint are."""
    pattern = {name.removesuffix(".default"): kept for name, kept in (pole.config["rank_pattern"] or {}).items()}
    kept = pattern.get(f"{site.path}.lora_E", [True] * number)
    return [index for index, one in enumerate(kept) if one]
