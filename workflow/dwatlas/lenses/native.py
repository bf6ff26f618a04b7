"""Lens ``native``: in which of the adapter's own degrees of freedom does the behaviour sit?

Components: what the adapter's method declares as its coordinates (each adapter's file says how they are defined):
magnitude and direction of DoRA, strengths and directions of DeLoRA, ranks of LoRA, rotation and what remains of OFT,
gates of IA3, … keep = the exact weight edit that a coordinate stands for; drop = dW without it. Where a method offers
several ways to take dW apart, the parts of each sum to dW; what is left over when factors multiply is a component of
its own (``interaction``).

What it cannot tell: coordinates differ in energy by construction, and their definition is the method's, so two adapters
can be compared in them only where their coordinates mean the same (the lens ``polar`` is for that). Each component is
held against random subspaces inside span(dW) of the same energy (control ``sub``) and against Gaussian noise of the
same per-tensor norms (``norm``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from dwatlas.errors import UserError
from dwatlas.lenses.base import Given, Lens, Need, Split, without
from dwatlas.models.anatomy import Anatomy

if TYPE_CHECKING:
    from dwatlas.adapters.base import Adapter


class Native(Lens):
    """The adapter's own coordinates."""

    kind: Literal["native"] = "native"

    controls: ClassVar = ("sub", "norm")

    @property
    def needs(self) -> tuple[Need, ...]:
        return ("pair",)

    def names(self, adapter: Adapter, anatomy: Anatomy) -> list[str]:
        found = [name for names in adapter.coordinates(anatomy).values() for name in names]
        if not found:
            raise UserError(f"{adapter.kind} has no coordinates of its own; leave this lens or this adapter out")
        return found

    def split(self, given: Given, component: str) -> Split:
        sites = given.adapter.sites(given.anatomy)
        parts = {site.name: given.adapter.part(component, given.pair, site) for site in sites}
        return without(given.delta, {name: part for name, part in parts.items() if part is not None})
