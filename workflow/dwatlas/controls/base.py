"""What a control declares and does: a random stand-in for a component, drawn many times.

A control is given the exact dW, the split whose keep part it stands in for and a random generator, and returns the
stand-in's own split. ``drop`` is ``None`` for stand-ins that are not a part of dW, for which dropping has no meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dwatlas.registry import Plugin

if TYPE_CHECKING:
    import numpy as np

    from dwatlas.delta.algebra import Delta
    from dwatlas.lenses.base import Split


@dataclass(frozen=True)
class StandIn:
    """One draw: the random part, and the rest of dW where the random part is part of dW."""

    keep: Delta
    drop: Delta | None


class Control(Plugin):
    """Base of all controls."""

    needs_energy_only: ClassVar[bool]
    """Whether a draw depends on the component's energy alone: components of about the same energy then share draws."""

    def draw(self, delta: Delta, split: Split, rng: np.random.Generator) -> StandIn:
        """One random stand-in for ``split.keep``."""
        raise NotImplementedError
