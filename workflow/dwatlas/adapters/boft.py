r"""BOFT: orthogonal fine-tuning by butterfly factors (Liu et al. 2023, arXiv:2311.06243).

θ = diag(s)·W·Q with Q = Q₁·Q₂ ⋯ Q_m, an orthogonal matrix [in, in] of m butterfly factors, and a scale s [out] of the
outputs. A factor is block-diagonal in an order of the inputs of its own: a block of factor i joins two halves of b/2
inputs that are 2^{i−1} halves apart, so that m factors turn 2^{m−1}·b inputs together. A block is the Cayley transform
of a skew-symmetric ½(A − Aᵀ) with A [b, b] trained. A = 0 and s = 1 at the start. With m = 1 it is OFT with a scale.
dW = diag(s⁺)·W·Q⁺ − diag(s⁻)·W·Q⁻ is dense and of full rank.

PEFT builds the factors with CUDA code that it compiles when it can; where it cannot it takes m = 1, with a warning.
Here PyTorch builds them, for every m and on every device. So a PEFT that has not compiled its code refuses a checkpoint
with m > 1 (``size mismatch``); one with m = 1, the default here and there, loads in all.

Coordinates, with Δ the difference and a bar the mean of the poles:

    dW = diag(Δs)·W·Q̄ + diag(s̄)·W·ΔQ        scale, and what is turned

exactly: the interaction of Δs and ΔQ is even under an exchange of the poles. What is turned is taken apart further.
*Pair* (m = 1), with C the mean rotation of the poles (see ``dwatlas.delta.rotation``):

    rotation = W·Cᵀ·ΔQ        the base, turned by half of the pair's rotation Q⁻ᵀQ⁺ less turned back by half
    remainder        the rest: what the drift of both poles, their common rotation C and scale s̄, makes of it

*Factors* (m > 1): the poles' factors are exchanged one by one, diag(s̄)·W·Q₁⁺ ⋯ Q⁺_{i−1}·ΔQ_i·Q⁻_{i+1} ⋯ Q⁻_m, and a
factor's part is the mean of its terms in this order and in the one with the poles exchanged. Nothing is left over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters.base import Adapter, Pair, check_divides, divisors
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from jaxtyping import Float
    from peft import PeftConfig
    from torch import Tensor

    from dwatlas.delta.algebra import Blocks, Dense
    from dwatlas.train.checkpoint import Checkpoint


class Boft(Adapter):
    """Butterfly rotations of the inputs and scales of the outputs."""

    kind: Literal["boft"] = "boft"
    block_size: int = Field(
        4, ge=2, multiple_of=2, description="Inputs in a block, b; b·2^(m-1) divides the width of every input."
    )
    butterfly_factors: int = Field(
        1,
        ge=1,
        description="Factors, m. With more than 1 a checkpoint loads only in a PEFT that has compiled its CUDA code.",
    )

    peft: ClassVar = "BOFTConfig"
    size: ClassVar = "block_size"

    def check(self, anatomy: Anatomy) -> None:
        sizes = [size * self._reach for size in self.sizes(anatomy)]
        times = f" (times {self._reach}, for {self.butterfly_factors} butterfly_factors)" if self._reach > 1 else ""
        check_divides(f"block_size{times}", self.block_size * self._reach, self._widths(anatomy), sizes)

    def sizes(self, anatomy: Anatomy) -> list[int]:
        width = math.gcd(*self._widths(anatomy).values())
        return [size for size in divisors(width) if size % 2 == 0 and width % (size * self._reach) == 0]

    def trainable(self, site: Site) -> int:
        return self.butterfly_factors * site.shape[1] * self.block_size + site.shape[0]

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {"boft_block_size": self.block_size, "boft_n_butterfly_factor": self.butterfly_factors}

    def peft_config(self, anatomy: Anatomy, seed: int) -> PeftConfig:
        from peft.tuners.boft import layer

        layer._FBD_CUDA = _BlockDiagonal
        return super().peft_config(anatomy, seed)

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Dense:
        return _dense(self._trained(pole, site, weights) - weights[site.name].double())

    def contrast(self, pair: Pair, site: Site) -> Dense:
        pos, neg = (self._trained(pole, site, pair.weights) for pole in (pair.pos, pair.neg))
        return _dense(pos - neg)

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        if self.butterfly_factors == 1:
            return {"pair": ("scale", "rotation", "remainder")}
        return {"factors": ("scale", *(f"factor-{index + 1}" for index in range(self.butterfly_factors)))}

    def part(self, component: str, pair: Pair, site: Site) -> Dense | Blocks:
        from dwatlas.delta.algebra import Blocks
        from dwatlas.delta.rotation import between

        weight = pair.weights[site.name].double()
        (scales, pos), (minus_scales, neg) = (self._factors(pole, site) for pole in (pair.pos, pair.neg))
        mean = (scales + minus_scales) / 2
        if component == "scale":
            return _dense((scales - minus_scales) * (self._turned(weight, pos) + self._turned(weight, neg)) / 2)
        if component.startswith("factor-"):
            place = int(component.removeprefix("factor-")) - 1
            step = [pos[place] - neg[place]]
            there = self._turned(weight, [*pos[:place], *step, *neg[place + 1 :]])
            back = self._turned(weight, [*neg[:place], *step, *pos[place + 1 :]])
            return _dense(mean * (there + back) / 2)
        rotation = between(pos[0], neg[0])
        if component == "rotation":
            return Blocks(rotation.float(), "in", pair.weights[site.name])
        whole = mean * self._turned(weight, [pos[0] - neg[0]])
        return _dense(whole - self._turned(weight, [rotation]))

    @property
    def _reach(self) -> int:
        """Blocks that the last factor reaches across."""
        return 2 ** (self.butterfly_factors - 1)

    def _widths(self, anatomy: Anatomy) -> dict[str, int]:
        """Width of the inputs by projection."""
        return {site.module: site.shape[1] for site in self.sites(anatomy)}

    def _factors(self, pole: Checkpoint, site: Site) -> tuple[Float[Tensor, "out 1"], Float[Tensor, "m n b b"]]:
        """s and the blocks of each Q_i, float64."""
        from dwatlas.delta.rotation import cayley

        trained = pole.get(site.path, "boft_R")
        return pole.get(site.path, "boft_s"), cayley((trained.mT - trained) / 2)

    def _trained(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Float[Tensor, "out in"]:
        """θ, float64."""
        scales, factors = self._factors(pole, site)
        return scales * self._turned(weights[site.name].double(), factors)

    def _turned(self, weight: Float[Tensor, "out in"], factors: Iterable[Tensor]) -> Float[Tensor, "out in"]:
        """W·Q₁ ⋯ Q_m for factors given by their blocks [n, b, b]."""
        import torch

        for index, blocks in enumerate(factors):
            order = self._order(weight.shape[1], index)
            parts = weight[:, order].reshape(len(weight), len(blocks), -1)
            weight = torch.einsum("ani,nij->anj", parts, blocks).reshape(weight.shape)[:, order.argsort()]
        return weight

    def _order(self, width: int, index: int) -> Tensor:
        """The inputs in the order of the blocks of factor ``index`` (from 0): pairs of half-blocks 2^index apart."""
        import torch

        halves = torch.arange(2 ** (index + 1)).reshape(2, -1).T.flatten()
        return torch.arange(width).reshape(-1, len(halves), self.block_size // 2)[:, halves].flatten()


class _BlockDiagonal:
    """What PEFT's CUDA code does, in PyTorch: blocks [m, n, b, b] to block-diagonal matrices [m, n·b, n·b] and back."""

    @staticmethod
    def forward(blocks: Tensor) -> list[Tensor]:
        import torch

        return [torch.stack([torch.block_diag(*factor) for factor in blocks])]

    @staticmethod
    def backward(gradient: Tensor, blocks: Tensor) -> list[Tensor]:
        import torch

        count, size = blocks.shape[1:3]
        square = gradient.reshape(len(blocks), count, size, count, size)
        return [torch.diagonal(square, dim1=1, dim2=3).permute(0, 3, 1, 2).contiguous()]


def _dense(values: Float[Tensor, "out in"]) -> Dense:
    from dwatlas.delta.algebra import Dense

    return Dense(values.float())
