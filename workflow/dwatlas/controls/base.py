"""What a control declares and does: a random stand-in for a component, drawn many times.

A control is given what the stand-in stands for and a random generator, and returns the stand-in's own split. ``drop``
is ``None`` for stand-ins that are not a part of dW, for which dropping has no meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from dwatlas.registry import Plugin

if TYPE_CHECKING:
    import numpy as np

    from dwatlas.delta.algebra import Delta
    from dwatlas.lenses.base import Given, Lens


@dataclass(frozen=True)
class Target:
    """What is stood in for: a lens's component, its part of dW, and the energy (‖·‖²_F) that a stand-in must have."""

    given: Given
    part: Delta
    energy: float
    component: str
    lens: Lens | None = None


@dataclass(frozen=True)
class StandIn:
    """One draw: the random part, and what is left where the random part is dropped, if that has a meaning."""

    keep: Delta
    drop: Delta | None


class Control(Plugin):
    """Base of all controls."""

    shared_by: ClassVar[Literal["nothing", "energy", "crop"]]
    """Which components share draws: none; those of about the same energy, to which the effects of the draws are then
    scaled (``statistics.effects``); those whose random bases are alike."""
    random: ClassVar[bool] = True
    """Whether draws differ; one is enough where they do not."""

    def draw(self, target: Target, rng: np.random.Generator) -> StandIn:
        """One stand-in for the target."""
        raise NotImplementedError
