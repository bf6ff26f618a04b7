r"""OFT: orthogonal fine-tuning (Qiu et al. 2023, arXiv:2306.07280; the input-side form of OFTv2, arXiv:2506.19847).

θ = W·Q: the inputs are rotated by a block-diagonal orthogonal Q [in, in], in blocks of b neighbouring inputs. A block
is the Cayley transform of a skew-symmetric A with b(b − 1)/2 trained entries, zero at the start:

    Q = (I + A)(I − A)⁻¹        or its Neumann series of t terms, I − 2A + 2A² − … ± Aᵗ⁻¹, which is not quite orthogonal
                                (and turns the other way, as PEFT writes it)

dW = W·(Q⁺ − Q⁻): W times a block-diagonal matrix; of full rank, and the norms of W's rows are those of θ.

Coordinates. *Pair*: with C the mean rotation of the poles (see ``dwatlas.delta.rotation``)

    rotation = W·Cᵀ(Q⁺ − Q⁻)        the base, turned by half of the pair's rotation P = Q⁻ᵀQ⁺ less turned back by half
    remainder = W·(I − Cᵀ)(Q⁺ − Q⁻)        what the rotation that both poles share, their drift, makes of it

so the remainder is zero when the poles turn the base by equal angles in opposite ways. *Blocks*: W·(Q⁺ − Q⁻) by block,
sorted in every matrix by size (not where all blocks share one rotation).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters.base import Adapter, Pair, check_divides, divisors
from dwatlas.delta.ranked import in_step, steps
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from dwatlas.delta.algebra import Blocks, Matrix
    from dwatlas.train.checkpoint import Checkpoint


class Oft(Adapter):
    """Block-diagonal rotations of the inputs."""

    kind: Literal["oft"] = "oft"
    block_size: int = Field(8, ge=2, description="Inputs that are rotated together; divides the width of every input.")
    block_share: bool = Field(False, description="One rotation for all blocks of a matrix.")
    neumann_terms: int | None = Field(
        None, ge=4, description="Terms of the Neumann series, faster and not quite orthogonal; none: exact Cayley."
    )

    peft: ClassVar = "OFTConfig"
    size: ClassVar = "block_size"

    def check(self, anatomy: Anatomy) -> None:
        check_divides("block_size", self.block_size, self._widths(anatomy), self.sizes(anatomy))

    def sizes(self, anatomy: Anatomy) -> list[int]:
        return divisors(math.gcd(*self._widths(anatomy).values()))[1:]

    def trainable(self, site: Site) -> int:
        blocks = 1 if self.block_share else site.shape[1] // self.block_size
        return blocks * self.block_size * (self.block_size - 1) // 2

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        neumann = self.neumann_terms is not None
        terms = {"num_cayley_neumann_terms": self.neumann_terms} if neumann else {}
        shape = {"oft_block_size": self.block_size, "block_share": self.block_share}
        return shape | {"use_cayley_neumann": neumann} | terms

    def rotations(self, pole: Checkpoint, site: Site) -> Float[Tensor, "n b b"]:
        """The blocks of Q, float64."""
        from dwatlas.delta.rotation import cayley, skew

        generator = skew(pole.get(site.path, "oft_R.weight"), self.block_size)
        turned = cayley(-generator) if self.neumann_terms is None else self._series(-generator)
        return turned.expand(site.shape[1] // self.block_size, -1, -1)

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Blocks:
        import torch

        return self._edit(self.rotations(pole, site) - torch.eye(self.block_size), site, weights)

    def contrast(self, pair: Pair, site: Site) -> Blocks:
        return self._edit(self.rotations(pair.pos, site) - self.rotations(pair.neg, site), site, pair.weights)

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        ways = {"pair": ("rotation", "remainder")}
        if not self.block_share:
            ways["blocks"] = steps("block", max(self._widths(anatomy).values()) // self.block_size)
        return ways

    def part(self, component: str, pair: Pair, site: Site) -> Matrix:
        import torch

        from dwatlas.delta.rotation import between

        pos, neg = (self.rotations(pole, site) for pole in (pair.pos, pair.neg))
        if component in ("rotation", "remainder"):
            rotation = between(pos, neg)
            return self._edit(rotation if component == "rotation" else pos - neg - rotation, site, pair.weights)
        sizes = pair.weights[site.name].double().reshape(site.shape[0], -1, self.block_size).transpose(0, 1) @ (
            pos - neg
        )
        chosen = torch.zeros(len(pos), 1, 1, dtype=pos.dtype)
        chosen[in_step(component, sizes.flatten(1).norm(dim=1))] = 1.0
        return self._edit(chosen * (pos - neg), site, pair.weights)

    @staticmethod
    def _edit(blocks: Float[Tensor, "n b b"], site: Site, weights: Mapping[str, Tensor]) -> Blocks:
        """W·blocks."""
        from dwatlas.delta.algebra import Blocks

        return Blocks(blocks.float(), "in", weights[site.name])

    def _series(self, generator: Float[Tensor, "n b b"]) -> Float[Tensor, "n b b"]:
        """I + 2G + 2G² + … + 2Gᵗ⁻² + Gᵗ⁻¹."""
        import torch

        power = torch.eye(self.block_size, dtype=generator.dtype).expand_as(generator)
        series = power
        for exponent in range(1, self.neumann_terms):
            power = power @ generator
            series = series + (2.0 if exponent < self.neumann_terms - 1 else 1.0) * power
        return series

    def _widths(self, anatomy: Anatomy) -> dict[str, int]:
        """Width of the inputs by projection."""
        return {site.module: site.shape[1] for site in self.sites(anatomy)}
