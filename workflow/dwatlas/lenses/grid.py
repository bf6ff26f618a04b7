"""Lens ``grid``: in which layer and which projection at once does the behaviour sit?

Components: every weight that the adapter touches, by layer and projection (or norm): ``layer-3.down_proj``. keep = dW
of that tensor alone; drop = dW without it. The components sum to dW.

What it cannot tell: tensors differ in size and energy, and one with more energy moves the model more. So each component
is held against random sets of tensors of the same energy (control ``mask``) and against Gaussian noise of the same
norm in that tensor (``norm``). With few tensors there are few sets of a given energy: read ``norm`` first where the
draws of ``mask`` are alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from dwatlas.lenses.base import Given, Lens, Split, by_tensor
from dwatlas.models.anatomy import Anatomy, place

if TYPE_CHECKING:
    from dwatlas.adapters.base import Adapter


class Grid(Lens):
    """Each projection of each layer."""

    kind: Literal["grid"] = "grid"

    controls: ClassVar = ("mask", "norm")

    def names(self, adapter: Adapter, anatomy: Anatomy) -> list[str]:
        return list(dict.fromkeys(f"layer-{site.layer}.{site.module}" for site in adapter.sites(anatomy)))

    def split(self, given: Given, component: str) -> Split:
        places = {name: place(name) for name in given.delta}
        return by_tensor(
            given.delta, {name for name, at in places.items() if f"layer-{at.layer}.{at.module}" == component}
        )
