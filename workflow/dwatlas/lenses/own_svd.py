r"""Lens ``own_svd``: how few of dW's own singular directions carry the behaviour?

dW = U·S·Vᵀ in every tensor. The directions are ranked by size: those of each tensor by themselves, or with ``pooled``
those of all tensors together, the largest s_i of the whole dW first. Components, of n directions in a ranking:

    top-k         the k largest; k = 1, 2, 4, … below n
    energy-e      the fewest largest that hold at least e % of ‖dW‖² (of each tensor; pooled: of the whole dW)
    quartile-q    those ranked ⌊(q−1)·n/4⌋ + 1 … ⌊q·n/4⌋, the largest quarter first
    middle        the second and third quarter
    tail-k        all but the k largest

keep = Σ_{i in part} s_i·u_i·v_iᵀ; drop = the other directions; nothing is lost.

What it cannot tell: a low-rank dW is concentrated in its own SVD by construction, so a large R_keep at small k is no
finding by itself. The null is ``sub``: random subspaces inside span(dW) of equal energy (a random set of all tensors'
directions, so it is the pooled lens's null as it stands). ``spec`` has the component's singular values and random
singular vectors, ``scale`` is all of dW at the component's energy, ``norm`` is Gaussian noise of the same per-tensor
norms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from dwatlas.lenses.base import Given, Lens, Split, distinct
from dwatlas.models.anatomy import Anatomy

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from dwatlas.adapters.base import Adapter

_Number = Annotated[int, Field(ge=1)]
_PerCent = Annotated[int, Field(ge=1, le=100)]


class OwnSvd(Lens):
    """Ranges of dW's singular directions, by size: leading, middle and trailing."""

    kind: Literal["own_svd"] = "own_svd"
    pooled: bool = Field(False, description="Rank the directions of all tensors together, not of each by itself.")
    top: tuple[_Number, ...] | None = Field(
        None, description="Numbers of leading directions to keep; 1, 2, 4, … when left out."
    )
    energies: tuple[_PerCent, ...] = Field(
        (1, 5, 10, 25, 50, 75, 90, 99), description="Energy levels in per cent of ‖dW‖²."
    )
    quartiles: bool = Field(True, description="Whether there are quarters of the directions, and the middle half.")
    tails: tuple[_Number, ...] = Field((1, 4), description="Numbers of leading directions to leave out.")

    controls: ClassVar = ("sub", "spec", "scale", "norm")
    choosing: ClassVar = frozenset({"top", "energies", "quartiles", "tails"})
    spectral: ClassVar = True

    _distinct = field_validator("top", "energies", "tails")(distinct)

    def names(self, adapter: Adapter, anatomy: Anatomy) -> list[str]:
        ranks = [adapter.rank(site) for site in adapter.sites(anatomy)]
        number = sum(ranks) if self.pooled else max(ranks)
        doubling = tuple(2**power for power in range(number.bit_length()))
        quarters = [*(f"quartile-{quarter}" for quarter in (1, 2, 3, 4)), "middle"]
        return [
            *(f"top-{k}" for k in (doubling if self.top is None else self.top) if k < number),
            *(f"energy-{level}" for level in self.energies),
            *(quarters if self.quartiles and number >= 4 else ()),
            *(f"tail-{k}" for k in self.tails if k < number),
        ]

    def split(self, given: Given, component: str) -> Split:
        import torch

        from dwatlas.delta.algebra import svd

        spectra = {name: svd(matrix) for name, matrix in given.delta.items()}
        keep, drop = {}, {}
        for ranking in [list(spectra)] if self.pooled else [[name] for name in spectra]:
            values = torch.cat([spectra[name].s for name in ranking])
            order = values.argsort(descending=True, stable=True)
            first, end = _ranks(component, values[order])
            chosen = torch.zeros(len(values), dtype=torch.bool)
            chosen[order[first:end]] = True
            parts = chosen.split([len(spectra[name].s) for name in ranking])
            for name, inside in zip(ranking, parts, strict=True):
                for side, directions in ((keep, inside), (drop, ~inside)):
                    if directions.any():
                        side[name] = spectra[name].part(directions)
        return Split(keep, drop)


def _ranks(component: str, values: Float[Tensor, " n"]) -> tuple[int, int]:
    """Where a component begins and ends in a ranking of singular values, descending."""
    word, _, number = component.partition("-")
    size = len(values)
    if word == "top":
        return 0, int(number)
    if word == "tail":
        return int(number), size
    if word == "energy":
        share = values.double().square().cumsum(0)
        return 0, int((share < int(number) / 100 * share[-1]).sum()) + 1 if size else 0
    first, last = (2, 3) if word == "middle" else (int(number), int(number))
    return (first - 1) * size // 4, last * size // 4
