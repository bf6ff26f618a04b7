r"""BD-LoRA: LoRA with one block-diagonal factor, as sharded serving wants it (PEFT's ``BdLoraConfig``).

θ = W + s·B·A with s = alpha / r. Where a projection reads the residual stream (q, k, v, gate, up), B [out, r] is
block-diagonal with ``blocks`` blocks [out/n, r/n]; where it writes to it (o, down), A [r, in] is. So block j of the
output (input) is changed by ranks of its own, and the blocks of dW = s·(B⁺A⁺ − B⁻A⁻) have disjoint rows (columns).
Rank ≤ 2r.

Coordinates: LoRA's *ranks* and *sides*, and the *blocks*, in their order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dwatlas.adapters.base import Pair
from dwatlas.adapters.lora import TwoFactors
from dwatlas.errors import UserError
from dwatlas.models.anatomy import READ, WRITE, Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Matrix
    from dwatlas.delta.factors import Product
    from dwatlas.train.checkpoint import Checkpoint


class BdLora(TwoFactors):
    """LoRA with a block-diagonal factor."""

    kind: Literal["bdlora"] = "bdlora"
    blocks: int = Field(2, ge=2, description="Blocks of the block-diagonal factor; divides r and the blocked side.")

    def trainable(self, site: Site) -> int:
        rows, columns = site.shape
        if site.module in WRITE:
            return self.r * (rows + columns // self.blocks)
        return self.r * (rows // self.blocks + columns)

    def sizes(self, anatomy: Anatomy) -> range:
        return range(self.blocks, max(max(site.shape) for site in self.sites(anatomy)) + 1, self.blocks)

    def check(self, anatomy: Anatomy) -> None:
        if self.r % self.blocks:
            raise UserError(f"r: {self.r} is no multiple of blocks, {self.blocks}; change one")
        for site in self.sites(anatomy):
            side = site.shape[1] if site.module in WRITE else site.shape[0]
            if side % self.blocks:
                raise UserError(f"blocks: {self.blocks} does not divide {side}, a side of {site.module}; change it")

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        blocked = {"target_modules_bd_a": list(WRITE), "target_modules_bd_b": list(READ), "nblocks": self.blocks}
        return super().settings(anatomy, seed) | {"use_bdlora": blocked}

    def product(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Product:
        import torch

        left, right = pole.get(site.path, "lora_B.weight"), pole.get(site.path, "lora_A.weight")
        if site.module in WRITE:
            return self.scaled(left, torch.block_diag(*right.chunk(self.blocks)))
        return self.scaled(torch.block_diag(*left.chunk(self.blocks)), right)

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        return super().coordinates(anatomy) | {"blocks": tuple(f"block-{j + 1}" for j in range(self.blocks))}

    def part(self, component: str, pair: Pair, site: Site) -> Matrix:
        import torch

        if not component.startswith("block-"):
            return super().part(component, pair, site)
        block = int(component.removeprefix("block-")) - 1
        return self.pairing(pair, site).at(torch.arange(self.r).chunk(self.blocks)[block]).whole
