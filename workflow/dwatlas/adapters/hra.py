r"""HRA: Householder reflection adaptation (Yuan, Liu and Xu 2024, arXiv:2405.17484).

θ = W·H with H = H₁·H₂ ⋯ H_r, the product of r reflections H_i = I − 2·u_i·u_iᵀ of the inputs, u_i [in] a trained vector
of length 1. The vectors are drawn at random, each twice in a row, and two equal reflections cancel: no change at the
start. (r must be even; Gram-Schmidt, PEFT's ``apply_GS``, has no such start and is left out.) H leaves all but the span
of the u_i as it is. With an orthonormal basis N [in, k] of the span of both poles' vectors, k ≤ 2r, and h = Nᵀ·H·N

    dW = W·N·(h⁺ − h⁻)·Nᵀ        rank ≤ 2r

Coordinates. *Pair*: with C the mean rotation of the poles (see ``dwatlas.delta.rotation``)

    rotation = W·Cᵀ(H⁺ − H⁻)        the base, turned by half of the pair's rotation H⁻ᵀH⁺ less turned back by half
    remainder = W·(I − Cᵀ)(H⁺ − H⁻)        what the rotation that both poles share, their drift, makes of it

*Reflections*: one pole's are exchanged for the other's one by one,

    dW = Σ_i W·H₁⁺ ⋯ H⁺_{i−1}·(H⁺_i − H⁻_i)·H⁻_{i+1} ⋯ H⁻_r

and a reflection's part is the mean of its terms in this order and in the one with the poles exchanged, so that it
changes sign with them; sorted in every matrix by size. Nothing is left over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters.base import Adapter, Pair
from dwatlas.delta.ranked import in_step, steps
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from dwatlas.delta.algebra import Factored
    from dwatlas.train.checkpoint import Checkpoint


class Hra(Adapter):
    """Products of reflections of the inputs."""

    kind: Literal["hra"] = "hra"
    r: int = Field(8, ge=2, multiple_of=2, description="Reflections; an even number.")

    peft: ClassVar = "HRAConfig"
    size: ClassVar = "r"

    def rank(self, site: Site) -> int:
        return min(2 * self.r, *site.shape)

    def sizes(self, anatomy: Anatomy) -> range:
        return range(2, min(min(site.shape) for site in self.sites(anatomy)) + 1, 2)

    def trainable(self, site: Site) -> int:
        return self.r * site.shape[1]

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {"r": self.r}

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Factored:
        import torch

        vectors = self._vectors(pole, site)
        basis, _ = torch.linalg.qr(vectors)
        return _edit(_product(_reflections(vectors, basis)) - torch.eye(basis.shape[1]), basis, site, weights)

    def contrast(self, pair: Pair, site: Site) -> Factored:
        basis, pos, neg = self._poles(pair, site)
        return _edit(_product(pos) - _product(neg), basis, site, pair.weights)

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        return {"pair": ("rotation", "remainder"), "reflections": steps("reflection", self.r)}

    def part(self, component: str, pair: Pair, site: Site) -> Factored:
        from dwatlas.delta.rotation import between

        basis, pos, neg = self._poles(pair, site)
        if component in ("rotation", "remainder"):
            plus, minus = _product(pos), _product(neg)
            rotation = between(plus, minus)
            inner = rotation if component == "rotation" else plus - minus - rotation
            return _edit(inner, basis, site, pair.weights)
        parts = (_exchanges(pos, neg) - _exchanges(neg, pos)) / 2
        projected = pair.weights[site.name].double() @ basis
        chosen = in_step(component, (projected @ parts).flatten(1).norm(dim=1))
        return _edit(parts[chosen].sum(0), basis, site, pair.weights)

    def _vectors(self, pole: Checkpoint, site: Site) -> Float[Tensor, "in r"]:
        """The u_i, float64."""
        vectors = pole.get(site.path, "hra_u")
        return vectors / vectors.norm(dim=0)

    def _poles(
        self, pair: Pair, site: Site
    ) -> tuple[Float[Tensor, "in k"], Float[Tensor, "r k k"], Float[Tensor, "r k k"]]:
        """The basis N and both poles' reflections in it."""
        import torch

        pos, neg = (self._vectors(pole, site) for pole in (pair.pos, pair.neg))
        basis, _ = torch.linalg.qr(torch.cat([pos, neg], dim=1))
        return basis, _reflections(pos, basis), _reflections(neg, basis)


def _reflections(vectors: Float[Tensor, "in r"], basis: Float[Tensor, "in k"]) -> Float[Tensor, "r k k"]:
    """Nᵀ·H_i·N for every i."""
    import torch

    inside = (basis.T @ vectors).T
    return torch.eye(basis.shape[1], dtype=basis.dtype) - 2 * inside[:, :, None] * inside[:, None, :]


def _product(reflections: Float[Tensor, "r k k"]) -> Float[Tensor, "k k"]:
    import torch

    return torch.linalg.multi_dot(tuple(reflections))


def _exchanges(first: Float[Tensor, "r k k"], second: Float[Tensor, "r k k"]) -> Float[Tensor, "r k k"]:
    """The r terms F₁ ⋯ F_{i−1}·(F_i − S_i)·S_{i+1} ⋯ S_r, which sum to F₁ ⋯ F_r − S₁ ⋯ S_r."""
    import torch

    identity = torch.eye(first.shape[-1], dtype=first.dtype)
    before, after = [identity], [identity]
    for one, other in zip(first, second.flip(0), strict=True):
        before.append(before[-1] @ one)
        after.append(other @ after[-1])
    return torch.stack(before[:-1]) @ (first - second) @ torch.stack(after[-2::-1])


def _edit(
    inner: Float[Tensor, "k k"], basis: Float[Tensor, "in k"], site: Site, weights: Mapping[str, Tensor]
) -> Factored:
    """W·N·inner·Nᵀ."""
    from dwatlas.delta.algebra import Factored

    return Factored((weights[site.name].double() @ basis @ inner).float(), basis.T.float())
