"""Lens ``modules``: which kind of weight matrix carries the behaviour?

Components: each projection (or norm) over all layers (``q_proj`` …) and the families ``attention``, ``mlp``, ``read``
(matrices that read the residual stream: q, k, v, gate, up) and ``write`` (those that write to it: o, down). keep = dW
restricted to the family; drop = dW without it.

What it cannot tell: families differ in size and energy, and adapters spread energy differently over them. So each
component is held against random sets of tensors of the same energy (control ``mask``) and against Gaussian noise of
the same per-tensor norms (``norm``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from dwatlas.lenses.base import Given, Lens, Split, by_tensor
from dwatlas.models.anatomy import FAMILIES, NORMS, PROJECTIONS, Anatomy

if TYPE_CHECKING:
    from dwatlas.adapters.base import Adapter


class Modules(Lens):
    """Families of projections, and each projection."""

    kind: Literal["modules"] = "modules"

    controls: ClassVar = ("mask", "norm")

    def names(self, adapter: Adapter, anatomy: Anatomy) -> list[str]:
        present = {site.module for site in adapter.sites(anatomy)}
        families = [name for name, members in FAMILIES.items() if present & set(members)]
        return families + [module for module in PROJECTIONS + NORMS if module in present]

    def split(self, given: Given, component: str) -> Split:
        members = FAMILIES.get(component, (component,))
        return by_tensor(given.delta, {name for name in given.delta if name.split(".")[-2] in members})
