"""Lens ``layers``: which depth carries the behaviour?

Components: every layer that the adapter touches (``layer-3``), and bands of consecutive layers of about equal number
(thirds by default: ``band-1-of-3`` is the earliest). keep = dW restricted to those layers; drop = dW without them.

What it cannot tell: a layer index is depth, not mechanism, and a layer with more energy moves the model more. So each
component is held against random sets of tensors of the same energy (control ``mask``) and against Gaussian noise of
the same per-tensor norms (``norm``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.lenses.base import Given, Lens, Split, by_tensor
from dwatlas.models.anatomy import Anatomy, place

if TYPE_CHECKING:
    from dwatlas.adapters.base import Adapter


class Layers(Lens):
    """Each layer, and bands of depth."""

    kind: Literal["layers"] = "layers"
    bands: int = Field(3, ge=0, description="Number of bands of depth beside the single layers; 0 for none.")

    controls: ClassVar = ("mask", "norm")
    choosing: ClassVar = frozenset({"bands"})

    def names(self, adapter: Adapter, anatomy: Anatomy) -> list[str]:
        layers = sorted({site.layer for site in adapter.sites(anatomy)})
        return [f"layer-{layer}" for layer in layers] + [
            f"band-{band + 1}-of-{self.bands}" for band in range(self.bands) if self._band(layers, band)
        ]

    def split(self, given: Given, component: str) -> Split:
        layer_of = {name: place(name).layer for name in given.delta}
        word, number = component.split("-")[:2]
        wanted = {int(number)} if word == "layer" else set(self._band(sorted(set(layer_of.values())), int(number) - 1))
        return by_tensor(given.delta, {name for name, layer in layer_of.items() if layer in wanted})

    def _band(self, layers: list[int], band: int) -> list[int]:
        """The layers of one band: layer at position i of n belongs to band ⌊i·bands/n⌋."""
        return [layer for position, layer in enumerate(layers) if position * self.bands // len(layers) == band]
