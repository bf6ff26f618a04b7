"""What a lens declares, is given and returns. One file per lens; the catalogue gives names to its configurations.

A lens *declares* its options (Pydantic fields), the controls its findings need (``controls``, the structural null
first), what it must be given beside dW (``needs``) and, from the adapter and the model's sizes alone, the names of its
components (``names``). It is *given* the exact dW and what it asked for, and one component's name, and *returns* the
two parts of dW (``split``): the component, and everything but it. It knows nothing of scoring or statistics.

For its controls a lens also says what random stand-ins are made of: ``units``, the smallest parts that it knows
(control ``mask``), and ``at_random``, a component with random bases in place of its own (control ``basis``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.models.anatomy import Anatomy
from dwatlas.registry import Plugin

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import Tensor

    from dwatlas.adapters.base import Adapter, Pair
    from dwatlas.delta.algebra import Delta

NOTHING = 1e-12
"""Share of a tensor's energy below which a part is rounding error: 1e-6 of its norm."""

Need = Literal["pair", "persona_activations", "steered_activations"]
"""What a lens may ask for beside dW: the trained poles; the base model's activations under opposite personas; those of
the model steered by dW to either side."""
Axis = Literal["adapters", "seeds", "behaviours"]


@dataclass(frozen=True)
class Given:
    """What a lens takes apart, and what it may look at.

    ``weights`` are the base model's tensors, read when asked for. ``activations`` are those that the lens needs (tensor
    name → float32), ``others`` dW of the runs that differ in the lens's axis, never the scored one.
    """

    delta: Delta
    anatomy: Anatomy | None = None
    adapter: Adapter | None = None
    weights: Mapping[str, Tensor] | None = None
    pair: Pair | None = None
    activations: Mapping[str, Tensor] | None = None
    others: tuple[Delta, ...] = ()
    _kept: dict = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: object, make: Callable[[], object]):
        """What ``make`` gives, computed once for all components and draws."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


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
    potency: ClassVar[bool] = False
    """Whether each component is also scored alone at the norm of dW."""
    spectral: ClassVar[bool] = False
    """Whether components are sets of dW's singular directions, so that their nuclear norms are worth knowing."""

    components: tuple[str, ...] | None = Field(
        None, min_length=1, description="Names of the components to score; all of the lens's when left out."
    )

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the lens must be given beside dW, the base weights, the adapter and the model's sizes."""
        return ()

    @property
    def axis(self) -> Axis | None:
        """In what the other runs differ whose dW the lens must be given."""
        return None

    def names(self, adapter: Adapter, anatomy: Anatomy) -> list[str]:
        """All components of the lens for an adapter of a model, in display order."""
        raise NotImplementedError

    def split(self, given: Given, component: str) -> Split:
        """The component's part of dW, and the rest."""
        raise NotImplementedError

    def units(self, given: Given) -> list[str]:
        """Names of the smallest parts that together are dW: by default its tensors."""
        return sorted(given.delta)

    def union(self, given: Given, units: set[str]) -> Split:
        """Some of the smallest parts together, and the others."""
        return by_tensor(given.delta, units)

    def crop(self, component: str) -> str:
        """What a component has in common with those that share its random bases; by default nothing."""
        return component

    def at_random(self, given: Given, component: str, rng: np.random.Generator) -> Split:
        """The component with random bases of the same sizes in place of its own."""
        raise NotImplementedError


def distinct(values: tuple | None) -> tuple | None:
    """Validator of options that name components: a value that is named twice would make the same component twice."""
    if values and len(set(values)) < len(values):
        raise ValueError("names a value twice")
    return values


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
