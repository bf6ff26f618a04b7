"""What a lens declares, is given and returns. One file per lens; the catalogue gives names to its configurations.

A lens *declares* its options (Pydantic fields), the controls its findings need (``controls``, the structural null
first) and, from the sites an adapter touches alone, the names of its components (``names``). It is *given* the exact
dW and one component's name, and *returns* the two parts of dW (``split``): the component, and everything but it.
It knows nothing of models, scoring or statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from dwatlas.models.anatomy import Site
from dwatlas.registry import Plugin

if TYPE_CHECKING:
    from dwatlas.delta.algebra import Delta


@dataclass(frozen=True)
class Touched:
    """A weight matrix that the adapter touches and the largest rank that dW can have there."""

    site: Site
    rank: int


@dataclass(frozen=True)
class Split:
    """A component (``keep``) and the rest of dW (``drop``): keep + drop = dW, tensors without a part left out."""

    keep: Delta
    drop: Delta


class Lens(Plugin):
    """Base of all lenses."""

    controls: ClassVar[tuple[str, ...]]
    choosing: ClassVar[frozenset[str]] = frozenset()
    """Options that say which components there are, and change none of them: a component is not scored again when they
    change."""

    components: tuple[str, ...] | None = Field(
        None, min_length=1, description="Names of the components to score; all of the lens's when left out."
    )

    def names(self, touched: tuple[Touched, ...]) -> list[str]:
        """All components of the lens for an adapter that touches these matrices, in display order."""
        raise NotImplementedError

    def split(self, delta: Delta, component: str) -> Split:
        """The component's part of dW, and the rest."""
        raise NotImplementedError


def by_tensor(delta: Delta, kept: set[str]) -> Split:
    """Split a delta into the tensors named in ``kept`` and the others."""
    return Split(
        keep={name: matrix for name, matrix in delta.items() if name in kept},
        drop={name: matrix for name, matrix in delta.items() if name not in kept},
    )
