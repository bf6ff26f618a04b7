"""Lens ``modules``: which kind of weight matrix carries the behaviour?

Components: each projection over all layers (``q_proj`` …) and the families ``attention``, ``mlp``, ``read`` (matrices
that read the residual stream: q, k, v, gate, up) and ``write`` (those that write to it: o, down). keep = dW restricted
to the family; drop = dW without it.

What it cannot tell: families differ in size and energy, and adapters spread energy differently over them. So each
component is held against random sets of tensors of the same energy (control ``mask``) and against Gaussian noise of
the same per-tensor norms (``norm``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from dwatlas.lenses.base import Lens, Split, Touched, by_tensor
from dwatlas.models.anatomy import FAMILIES, PROJECTIONS

if TYPE_CHECKING:
    from dwatlas.delta.algebra import Delta


class Modules(Lens):
    """Families of projections, and each projection."""

    kind: Literal["modules"] = "modules"

    controls: ClassVar = ("mask", "norm")

    def names(self, touched: tuple[Touched, ...]) -> list[str]:
        present = {one.site.module for one in touched}
        families = [name for name, members in FAMILIES.items() if present & set(members)]
        return families + [module for module in PROJECTIONS if module in present]

    def split(self, delta: Delta, component: str) -> Split:
        members = FAMILIES.get(component, (component,))
        return by_tensor(delta, {name for name in delta if name.split(".")[-2] in members})
