r"""Lens ``base_svd``: does the behaviour sit where the base weight is large?

The base weight of each tensor is W = U₀·S₀·V₀ᵀ with S₀ descending and r = min(out, in) directions. In these bases dW
has the coordinates U₀ᵀ·dW·V₀. Each size k cuts them into four, which with what lies outside the bases sum to dW:

    ``block-k``         U_k·U_kᵀ·dW·V_k·V_kᵀ          the k largest directions on both sides
    ``rows-k-only``     U_k·U_kᵀ·dW·V_r−k·V_r−kᵀ      the k largest of the outputs, the other r − k of the inputs
    ``columns-k-only``  U_r−k·U_r−kᵀ·dW·V_k·V_kᵀ      the other r − k of the outputs, the k largest of the inputs
    ``tail-k``          U_r−k·U_r−kᵀ·dW·V_r−k·V_r−kᵀ  the others on both sides
    ``outside``         dW − U₀·U₀ᵀ·dW·V₀·V₀ᵀ         of a rectangular W: the inputs (or outputs) it does not use at all

It projects on both sides. keep = the part; drop = dW without it. Vectors (norm weights, biases) have no such bases and
are in drop.

What it cannot tell: a block of k of d directions holds some of any dW, and the tail most of it. So each component is
held against the same crop in Haar-random orthonormal bases (control ``basis``), against all of dW at the component's
energy (``scale``), as random bases need not hold as much energy, and against Gaussian noise of the same per-tensor
norms (``norm``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from dwatlas.lenses._projection import Projection, Sides, beyond
from dwatlas.lenses.base import Given, Split, distinct, without
from dwatlas.models.anatomy import Anatomy

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from dwatlas.adapters.base import Adapter

OUTSIDE = "outside"


class BaseSvd(Projection):
    """Blocks of dW in the base weight's singular bases."""

    kind: Literal["base_svd"] = "base_svd"
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 4, 16), min_length=1, description="How many of the base weight's largest directions a block has."
    )

    controls: ClassVar = ("basis", "scale", "norm")
    choosing: ClassVar = frozenset({"sizes"})

    _distinct = field_validator("sizes")(distinct)

    def names(self, adapter: Adapter, anatomy: Anatomy) -> list[str]:
        shapes = [site.shape for site in adapter.sites(anatomy) if min(site.shape) > 1]
        most = max((min(shape) for shape in shapes), default=0)
        words = ("block-{}", "rows-{}-only", "columns-{}-only", "tail-{}")
        blocks = [word.format(k) for k in self.sizes if k < most for word in words]
        return blocks + [OUTSIDE] * any(rows != columns for rows, columns in shapes)

    def sides(self, given: Given, component: str, rng: np.random.Generator | None = None) -> dict[str, Sides]:
        word, number = component.split("-")[:2]
        k, found = int(number), {}
        for name, (u, v) in self._bases(given, rng, k if word == "block" else None).items():
            outputs = u[:, :k] if word in ("block", "rows") else u[:, k:]
            inputs = v[:, :k] if word in ("block", "columns") else v[:, k:]
            found[name] = Sides(outputs, inputs)
        return found

    def split(self, given: Given, component: str) -> Split:
        return self._outside(given) if component == OUTSIDE else super().split(given, component)

    def at_random(self, given: Given, component: str, rng: np.random.Generator) -> Split:
        return self._outside(given, rng) if component == OUTSIDE else super().at_random(given, component, rng)

    def _outside(self, given: Given, rng: np.random.Generator | None = None) -> Split:
        """What no product of the bases reaches: the longer side's complement."""
        keep = {}
        for name, (u, v) in self._bases(given, rng).items():
            rows, columns = given.delta[name].shape
            if rows != columns:
                sides = Sides(inputs=v) if rows < columns else Sides(outputs=u)
                keep[name] = beyond(given.delta[name], sides)
        return without(given.delta, keep)

    @staticmethod
    def _bases(
        given: Given, rng: np.random.Generator | None = None, most: int | None = None
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """U₀ [out, r] and V₀ [in, r] of every matrix, or random ones, of which ``most`` directions do."""
        from dwatlas.delta.bases import haar

        matrices = {name: matrix.shape for name, matrix in sorted(given.delta.items()) if min(matrix.shape) > 1}
        if rng is not None:
            sizes = {name: min(*shape, most or max(shape)) for name, shape in matrices.items()}
            return {name: tuple(haar(size, sizes[name], rng) for size in shape) for name, shape in matrices.items()}
        return given.once("base SVD", lambda: {name: _singular(given.weights[name]) for name in matrices})


def _singular(weight: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    u, _, vh = torch.linalg.svd(weight.double(), full_matrices=False)
    return u.float(), vh.T.float()
