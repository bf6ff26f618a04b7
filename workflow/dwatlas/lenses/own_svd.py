r"""Lens ``own_svd``: how few of dW's own singular directions carry the behaviour?

Per tensor, dW = U·S·Vᵀ with S descending. Components: ``top-k`` (the k largest directions of every tensor; k = 1, 2,
4, … below the rank), ``energy-e`` (per tensor, the fewest largest directions that hold at least e % of ‖dW‖²) and
``tail-k`` (all but the k largest). keep = Σ_{i in part} s_i·u_i·v_iᵀ; drop = the other directions; nothing is lost.

What it cannot tell: a low-rank dW is concentrated in its own SVD by construction, so a large R_keep at small k is no
finding by itself. The null is ``sub``: random subspaces inside span(dW) of equal energy; ``norm`` is Gaussian noise of
the same per-tensor norms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from dwatlas.lenses.base import Given, Lens, Split
from dwatlas.models.anatomy import Anatomy

if TYPE_CHECKING:
    from dwatlas.adapters.base import Adapter
    from dwatlas.delta.algebra import SVD

_Number = Annotated[int, Field(ge=1)]
_PerCent = Annotated[int, Field(ge=1, le=100)]


class OwnSvd(Lens):
    """Leading and trailing singular directions of each tensor's dW."""

    kind: Literal["own_svd"] = "own_svd"
    top: tuple[_Number, ...] = Field((1, 2, 4, 8, 16, 32), description="Numbers of leading directions to keep.")
    energies: tuple[_PerCent, ...] = Field(
        (50, 90, 99), description="Energy levels in per cent of each tensor's ‖dW‖²."
    )
    tails: tuple[_Number, ...] = Field((1, 4), description="Numbers of leading directions to leave out.")

    controls: ClassVar = ("sub", "norm")
    choosing: ClassVar = frozenset({"top", "energies", "tails"})

    @field_validator("top", "energies", "tails")
    @classmethod
    def _once(cls, numbers: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(numbers)) < len(numbers):
            raise ValueError("names a number twice")
        return numbers

    def names(self, adapter: Adapter, anatomy: Anatomy) -> list[str]:
        rank = max(adapter.rank(site) for site in adapter.sites(anatomy))
        return (
            [f"top-{k}" for k in self.top if k < rank]
            + [f"energy-{level}" for level in self.energies]
            + [f"tail-{k}" for k in self.tails if k < rank]
        )

    def split(self, given: Given, component: str) -> Split:
        from dwatlas.delta.algebra import svd

        keep, drop = {}, {}
        for name, matrix in given.delta.items():
            spectrum = svd(matrix)
            size = len(spectrum.s)
            head = min(self._head(spectrum, component), size)
            for part, chosen in ((keep, slice(0, head)), (drop, slice(head, size))):
                if chosen.stop > chosen.start:
                    part[name] = spectrum.part(chosen)
        return Split(drop, keep) if component.startswith("tail-") else Split(keep, drop)

    @staticmethod
    def _head(spectrum: SVD, component: str) -> int:
        """How many leading directions the component is about."""
        word, number = component.split("-")
        if word in ("top", "tail"):
            return int(number)
        share = spectrum.s.double().square().cumsum(0)
        return int((share < int(number) / 100 * share[-1]).sum()) + 1 if len(share) else 0
