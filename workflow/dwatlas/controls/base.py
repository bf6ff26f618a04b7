"""What a control declares and does: a random stand-in for a component, drawn many times.

A control is given the exact dW, the part it stands in for, the energy that the stand-in must have and a random
generator, and returns the stand-in's own split. ``drop`` is ``None`` for stand-ins that are not a part of dW, for which
dropping has no meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dwatlas.registry import Plugin

if TYPE_CHECKING:
    import numpy as np

    from dwatlas.delta.algebra import Delta


@dataclass(frozen=True)
class StandIn:
    """One draw: the random part, and the rest of dW where the random part is part of dW."""

    keep: Delta
    drop: Delta | None


class Control(Plugin):
    """Base of all controls."""

    needs_energy_only: ClassVar[bool]
    """Whether a draw depends on the component's energy alone: components of about the same energy then share draws."""

    def draw(self, delta: Delta, part: Delta, energy: float, rng: np.random.Generator) -> StandIn:
        """One random stand-in for ``part``, of about ``energy`` (‖·‖²_F)."""
        raise NotImplementedError
