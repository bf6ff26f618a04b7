r"""C3A: circular convolution adaptation (Chen et al. 2024, arXiv:2407.19342).

θ = W + τ with τ made of circulant blocks of size b: the kernel w [out/b, in/b, b] is trained, zero at the start, and

    τ[m·b + i, n·b + j] = w[m, n, (j − i) mod b] / in.

b must divide the inputs and outputs of every matrix; by default it is their greatest common divisor, as PEFT advises,
which gives the fewest parameters. dW is dense, in general of full rank. The factor 1/in makes it small, so C3A wants a
learning rate of ten to a hundred times LoRA's.

PEFT does the convolution in float32 whatever the model's precision; here τ is exact.

Coordinates: the kernels' entries, each of them b entries of dW, sorted in every matrix by |Δw|: the largest hundredth,
the rest of the largest tenth, and all others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters.base import Adapter, Pair, check_divides, divisors
from dwatlas.delta.ranked import in_share, shares
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Dense
    from dwatlas.train.checkpoint import Checkpoint


class C3a(Adapter):
    """Trained circulant blocks."""

    kind: Literal["c3a"] = "c3a"
    block_size: int | None = Field(
        None, ge=1, description="Size of the blocks, by default the greatest that fits; a smaller one trains more."
    )

    peft: ClassVar = "C3AConfig"
    size: ClassVar = "block_size"

    def parameters(self, anatomy: Anatomy) -> int:
        return sum(math.prod(site.shape) for site in self.sites(anatomy)) // self._size(anatomy)

    def sizes(self, anatomy: Anatomy) -> list[int]:
        return divisors(self._common(anatomy))

    def check(self, anatomy: Anatomy) -> None:
        widths = {site.module: math.gcd(*site.shape) for site in self.sites(anatomy)}
        check_divides("block_size", self._size(anatomy), widths, self.sizes(anatomy))

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {"block_size": self._size(anatomy), "init_weights": True}

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Dense:
        return _circulant(self._kernel(pole, site), site)

    def contrast(self, pair: Pair, site: Site) -> Dense:
        return _circulant(self._difference(pair, site), site)

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        most = max(math.prod(site.shape) for site in self.sites(anatomy)) // self._size(anatomy)
        return {"coefficients": shares(most)}

    def part(self, component: str, pair: Pair, site: Site) -> Dense:
        import torch

        difference = self._difference(pair, site)
        index = in_share(component, difference.abs().flatten())
        chosen = torch.zeros_like(difference)
        chosen.view(-1)[index] = difference.flatten()[index]
        return _circulant(chosen, site)

    def _common(self, anatomy: Anatomy) -> int:
        return math.gcd(*(length for site in self.sites(anatomy) for length in site.shape))

    def _size(self, anatomy: Anatomy) -> int:
        return self.block_size or self._common(anatomy)

    def _difference(self, pair: Pair, site: Site) -> Tensor:
        """Δw [out/b, in/b, b], float64."""
        return self._kernel(pair.pos, site) - self._kernel(pair.neg, site)

    @staticmethod
    def _kernel(pole: Checkpoint, site: Site) -> Tensor:
        """w [out/b, in/b, b], float64."""
        return pole.get(site.path, "c3a_kernel")


def _circulant(kernel: Tensor, site: Site) -> Dense:
    """The matrix [out, in] of circulant blocks that a kernel [out/b, in/b, b] stands for."""
    import torch

    from dwatlas.delta.algebra import Dense

    along = torch.arange(kernel.shape[2])
    shift = (along - along[:, None]) % len(along)
    blocks = kernel[:, :, shift].permute(0, 2, 1, 3).reshape(site.shape)
    return Dense((blocks / site.shape[1]).float())
