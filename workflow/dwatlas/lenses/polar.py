r"""Lens ``polar``: is the behaviour in a rotation of the weights, in their magnitudes, or in neither?

The same for every adapter, so that families can be compared. A weight matrix of one pole is carried onto the other's in
two steps: the orthogonal matrix Q that brings it closest (orthogonal Procrustes, Schönemann 1966: Q = U·Vᵀ of the SVD
of θ⁺·θ⁻ᵀ), then the factors c that match the norms of its rows:

    θ⁺ = Qθ⁻ + (diag(c) − I)·Qθ⁻ + residual        rotation: Qθ⁻ − θ⁻, magnitude: (diag(c) − I)·Qθ⁻

Q acts on the outputs where a matrix has at most as many outputs as inputs, else on the inputs (Q is then unique), and
c on the norms of rows (outputs) or of columns (inputs), as ``norms`` says. Each part is the mean of the step from − to
+ and of minus the step from + to −, so that the parts change sign when the poles are exchanged, as dW does. Rotation +
magnitude + residual = dW. A vector (norm weights, a bias) is not rotated.

What it cannot tell: any small dW has a rotation part. For a square W with equal singular values it is what is
antisymmetric in dW·Wᵀ, half of the energy of a random dW. So each component is held against random subspaces inside
span(dW) of the same energy (control ``sub``) and against Gaussian noise of the same per-tensor norms (``norm``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.lenses.base import Given, Lens, Need, Split, without
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from dwatlas.adapters.base import Adapter
    from dwatlas.train.checkpoint import Checkpoint


class Polar(Lens):
    """Rotation, magnitude and residual of every weight matrix."""

    kind: Literal["polar"] = "polar"
    norms: Literal["rows", "columns"] = Field("rows", description="Whose norms the magnitude is: rows or columns.")

    controls: ClassVar = ("sub", "norm")

    @property
    def needs(self) -> tuple[Need, ...]:
        return ("pair",)

    def names(self, adapter: Adapter, anatomy: Anatomy) -> list[str]:
        matrices = any(min(site.shape) > 1 for site in adapter.sites(anatomy))
        return ["rotation", "magnitude", "residual"] if matrices else ["magnitude"]

    def split(self, given: Given, component: str) -> Split:
        from dwatlas.delta.algebra import Dense

        keep = {}
        for site in given.adapter.sites(given.anatomy):
            pos, neg = (self._pole(given, pole, site) for pole in (given.pair.pos, given.pair.neg))
            up, down = self._step(neg, pos), self._step(pos, neg)
            rotation, magnitude = ((there - back) / 2 for there, back in zip(up, down, strict=True))
            parts = {"rotation": rotation, "magnitude": magnitude, "residual": pos - neg - rotation - magnitude}
            keep[site.name] = Dense(parts[component].float())
        return without(given.delta, keep)

    @staticmethod
    def _pole(given: Given, pole: Checkpoint, site: Site) -> Float[Tensor, "out in"]:
        """θ of one pole, float64; a bias that the base model does not have is zero there."""
        change = given.adapter.change(pole, site, given.pair.weights).dense().double()
        base = given.pair.weights
        return change + base[site.name].double().reshape(change.shape) if site.name in base else change

    def _step(
        self, start: Float[Tensor, "out in"], end: Float[Tensor, "out in"]
    ) -> tuple[Float[Tensor, "out in"], Float[Tensor, "out in"]]:
        """Rotation and magnitude on the way from one matrix to another."""
        import torch

        moved = start
        if min(start.shape) > 1:
            wide = start.shape[0] <= start.shape[1]
            u, _, vh = torch.linalg.svd(end @ start.T if wide else start.T @ end)
            moved = u @ vh @ start if wide else start @ (u @ vh)
        across = 1 if self.norms == "rows" else 0
        factors = end.norm(dim=across, keepdim=True) / moved.norm(dim=across, keepdim=True)
        return moved - start, (factors.nan_to_num(nan=1.0, posinf=1.0) - 1) * moved
