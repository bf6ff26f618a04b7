r"""GraLoRA: granular low-rank adaptation (Jung et al. 2025, arXiv:2505.20355).

θ = W + τ with every matrix cut into k × k blocks (``blocks`` k), each with a low-rank change of its own:

    τ[j, n] = s·B_jn·A_jn        B_jn [out/k, r/k], A_jn [r/k, in/k], s = alpha / (r + hybrid_r)

and, with ``hybrid_r``, s·B·A of that rank added over the whole matrix as in LoRA. A is drawn at random, B is zero, so
the adapter is no change at the start. It trains as many parameters as LoRA of rank r + hybrid_r, but its change has a
rank of up to k·r + hybrid_r: all blocks together are one product of factors that are zero outside their block. The
difference of a pair, with Δ the difference and a bar the mean of the poles, is

    dW = s·(B⁺A⁺ − B⁻A⁻) = s·[ΔB, B̄]·[Ā; ΔA]        rank ≤ 2·(k·r + hybrid_r)

Coordinates. *Sides*: s·ΔB·Ā and s·B̄·ΔA, as in LoRA. *Blocks*, sorted in every matrix by size, and the part of rank
hybrid_r, if any, as ``hybrid``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters.base import Pair
from dwatlas.adapters.lora import TwoFactors
from dwatlas.delta.ranked import in_step, steps
from dwatlas.errors import UserError
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Matrix
    from dwatlas.delta.factors import Product
    from dwatlas.train.checkpoint import Checkpoint


class Gralora(TwoFactors):
    """Low-rank adaptation of every block of a matrix."""

    kind: Literal["gralora"] = "gralora"
    r: int = Field(8, ge=1, description="Rank that LoRA of the same size has; a multiple of blocks.")
    alpha: float = Field(16, gt=0, description="Scale numerator: s = alpha / (r + hybrid_r).")
    blocks: int = Field(2, ge=1, description="Blocks along each side of a matrix; divides all widths.")
    hybrid_r: int = Field(0, ge=0, description="Rank of a change of the whole matrix beside that of its blocks.")

    peft: ClassVar = "GraloraConfig"

    @property
    def scale(self) -> float:
        return self.alpha / (self.r + self.hybrid_r)

    def check(self, anatomy: Anatomy) -> None:
        widths = sorted({width for site in self.sites(anatomy) for width in site.shape})
        if any(width % self.blocks for width in widths):
            said = ", ".join(map(str, widths))
            raise UserError(f"blocks: {self.blocks} does not divide the model's widths {said}; give a divisor of all")
        if self.r % self.blocks:
            raise UserError(f"r: {self.r} is no multiple of blocks, {self.blocks}; give one")

    def sizes(self, anatomy: Anatomy) -> Sequence[int]:
        return super().sizes(anatomy)[self.blocks - 1 :: self.blocks]

    def rank(self, site: Site) -> int:
        return min(2 * (self.blocks * self.r + self.hybrid_r), *site.shape)

    def trainable(self, site: Site) -> int:
        return (self.r + self.hybrid_r) * sum(site.shape)

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {"r": self.r, "alpha": self.alpha, "gralora_k": self.blocks, "hybrid_r": self.hybrid_r}

    def product(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Product:
        """s·B·A of a pole: r/k terms of every block (j, n) in this order, then those of the whole matrix."""
        import torch

        left, right = self._scattered(pole, site)
        if self.hybrid_r:
            left = torch.cat([left, pole.get(site.path, "gralora_B_general.weight")], dim=1)
            right = torch.cat([right, pole.get(site.path, "gralora_A_general.weight")])
        return self.scaled(left, right)

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        hybrid = ("hybrid",) if self.hybrid_r else ()
        return {"sides": ("A-side", "B-side"), "blocks": (*steps("block", self.blocks**2), *hybrid)}

    def part(self, component: str, pair: Pair, site: Site) -> Matrix:
        import torch

        if component.endswith("side"):
            return super().part(component, pair, site)
        pairing = self.pairing(pair, site)
        terms = torch.arange(self.blocks * self.r + self.hybrid_r)
        if component == "hybrid":
            return pairing.at(terms[self.blocks * self.r :]).whole
        blocks = terms[: self.blocks * self.r].reshape(self.blocks**2, -1)
        squares = pairing.at(blocks.flatten()).whole.dense().double().square()
        cut = squares.reshape(self.blocks, site.shape[0] // self.blocks, self.blocks, site.shape[1] // self.blocks)
        return pairing.at(blocks[in_step(component, cut.sum(dim=(1, 3)).flatten())].flatten()).whole

    def _scattered(self, pole: Checkpoint, site: Site) -> tuple[Tensor, Tensor]:
        """The blocks' factors [out, k·r] and [k·r, in], zero outside their block.

        PEFT stores A as [n, in/k, r] and B as [j, r, out/k]. Block (j, n) has the columns j·r/k … of A_n and the rows
        n·r/k … of B_j.
        """
        import torch

        k, part = self.blocks, self.r // self.blocks
        rights = pole.get(site.path, "gralora_A").reshape(k, site.shape[1] // k, k, part)
        lefts = pole.get(site.path, "gralora_B").reshape(k, k, part, site.shape[0] // k)
        same = torch.eye(k, dtype=torch.float64)
        left = torch.einsum("jnto,ji->iojnt", lefts, same)
        right = torch.einsum("nwjt,nm->jntmw", rights, same)
        return left.reshape(site.shape[0], k * self.r), right.reshape(k * self.r, site.shape[1])
