"""What a lens declares, is given and returns. One file per lens; the catalogue gives names to its configurations.

A lens *declares* its options (Pydantic fields), the controls its findings need (``controls``, the structural null
first) and, from the adapter and the model's sizes alone, the names of its components (``names``). It is *given* the
exact dW, with ``needs_pair`` the trained pair that it is of, and one component's name, and *returns* the two parts of
dW (``split``): the component, and everything but it. It knows nothing of scoring or statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from dwatlas.models.anatomy import Anatomy
from dwatlas.registry import Plugin

if TYPE_CHECKING:
    from dwatlas.adapters.base import Adapter, Pair
    from dwatlas.delta.algebra import Delta

NOTHING = 1e-12
"""Share of a tensor's energy below which a part is rounding error: 1e-6 of its norm."""


@dataclass(frozen=True)
class Given:
    """What a lens takes apart: dW and, for lenses that need it, the trained pair, its adapter and the model's sizes."""

    delta: Delta
    pair: Pair | None = None
    adapter: Adapter | None = None
    anatomy: Anatomy | None = None


@dataclass(frozen=True)
class Split:
    """A component (``keep``) and the rest of dW (``drop``): keep + drop = dW, tensors without a part left out."""

    keep: Delta
    drop: Delta


class Lens(Plugin):
    """Base of all lenses."""

    controls: ClassVar[tuple[str, ...]]
    needs_pair: ClassVar[bool] = False
    """Whether dW is not enough: it also looks at the two poles, the base weights and the adapter's own parameters."""
    choosing: ClassVar[frozenset[str]] = frozenset()
    """Options that say which components there are, and change none of them: a component is not scored again when they
    change."""

    components: tuple[str, ...] | None = Field(
        None, min_length=1, description="Names of the components to score; all of the lens's when left out."
    )

    def names(self, adapter: Adapter, anatomy: Anatomy) -> list[str]:
        """All components of the lens for an adapter of a model, in display order."""
        raise NotImplementedError

    def split(self, given: Given, component: str) -> Split:
        """The component's part of dW, and the rest."""
        raise NotImplementedError


def without(delta: Delta, keep: Delta) -> Split:
    """A component and the rest of dW; tensors of which a part is the whole are left out of the other part."""
    from dwatlas.delta.algebra import add, energy

    rest = {name: add(matrix, keep[name], scale=-1.0) if name in keep else matrix for name, matrix in delta.items()}
    return Split(
        *(
            {name: one for name, one in part.items() if energy(one) > NOTHING * energy(delta[name])}
            for part in (keep, rest)
        )
    )


def by_tensor(delta: Delta, kept: set[str]) -> Split:
    """Split a delta into the tensors named in ``kept`` and the others."""
    return Split(
        keep={name: matrix for name, matrix in delta.items() if name in kept},
        drop={name: matrix for name, matrix in delta.items() if name not in kept},
    )
