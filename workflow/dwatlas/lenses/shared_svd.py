r"""Lens ``shared_svd``: is the behaviour in directions that other runs found as well?

The other runs differ from the scored one in one thing: the adapter, the seed, or the behaviour (``over``). Their dW,
each divided by its norm, are stacked tensor by tensor, side by side for the left basis, one above the other for the
right one:

    [dW₁ … dW_m] = U·S·Vᵀ  (left basis: columns of U)      [dW₁; …; dW_m] = U·S·Vᵀ  (right basis: columns of V)

Components: ``left-K`` U_K·U_Kᵀ·dW (projects outputs), ``right-K`` dW·V_K·V_Kᵀ (inputs) and ``both-K``, on both sides;
K = 1, 2, 4, …, 64 below the model's width. Where the others' dW together have fewer directions, the basis has those.
The scored dW is never among the others, so it cannot explain itself. keep = the projection; drop = dW without it.

What it cannot tell: a subspace of K of d dimensions holds a share of any dW. So each component is held against random
subspaces of the same dimensions (control ``basis``), against all of dW at the component's energy (``scale``), as
random subspaces hold less of it, and against Gaussian noise of the same per-tensor norms (``norm``). Another seed of
the same adapter shares directions, too: compare with the entry over seeds, and with the overlaps within adapters in
the figure `overlap`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from dwatlas.lenses._projection import Projection, Sides
from dwatlas.lenses.base import Axis, Given, distinct
from dwatlas.models.anatomy import Anatomy

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from dwatlas.adapters.base import Adapter


class SharedSvd(Projection):
    """Bases from other runs' dW."""

    kind: Literal["shared_svd"] = "shared_svd"
    over: Axis = Field("adapters", description="In what the other runs differ: adapters, seeds or behaviours.")
    sources: tuple[str | int, ...] | None = Field(
        None, min_length=1, description="Adapters, seeds or behaviours that make the bases; by default the study's."
    )
    dimensions: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 2, 4, 8, 16, 32, 64), min_length=1, description="Dimensions K of the subspaces."
    )

    controls: ClassVar = ("basis", "scale", "norm")
    choosing: ClassVar = frozenset({"dimensions"})

    _distinct = field_validator("dimensions")(distinct)

    @property
    def axis(self) -> Axis:
        return self.over

    def names(self, adapter: Adapter, anatomy: Anatomy) -> list[str]:
        return [f"{side}-{k}" for side in ("left", "right", "both") for k in self.dimensions if k < anatomy.hidden]

    def sides(self, given: Given, component: str, rng: np.random.Generator | None = None) -> dict[str, Sides]:
        from dwatlas.delta.bases import haar

        side, k = component.split("-")[0], int(component.split("-")[1])
        found = {}
        for name, (left, right) in given.once("shared bases", lambda: _shared(given)).items():
            bases = [basis[:, :k] for basis in (left, right)]
            if rng is not None:
                bases = [haar(*basis.shape, rng) for basis in bases]
            found[name] = Sides(bases[0] if side != "right" else None, bases[1] if side != "left" else None)
        return found


def _shared(given: Given) -> dict[str, tuple[Tensor, Tensor]]:
    """Left [out, m] and right [in, m] basis of every matrix that other runs change, most important direction first."""
    from dwatlas.delta.algebra import svd, total_energy

    norms = [total_energy(other) ** 0.5 for other in given.others]
    found = {}
    for name in sorted(given.delta):
        spectra = [
            (svd(other[name]), norm) for other, norm in zip(given.others, norms, strict=True) if name in other and norm
        ]
        if min(given.delta[name].shape) > 1 and any(len(spectrum.s) for spectrum, _ in spectra):
            found[name] = (
                _directions([spectrum.u * spectrum.s / norm for spectrum, norm in spectra]),
                _directions([spectrum.vh.T * spectrum.s / norm for spectrum, norm in spectra]),
            )
    return found


def _directions(columns: list[Tensor]) -> Tensor:
    """Left singular vectors [d, m] of matrices side by side, without those that are rounding errors."""
    import torch

    stacked = torch.cat(columns, dim=1).double()
    u, s, _ = torch.linalg.svd(stacked, full_matrices=False)
    return u[:, s > max(stacked.shape) * torch.finfo(torch.float32).eps * s[0]].float()
