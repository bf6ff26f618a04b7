"""Control ``scale`` (C_scale): all of dW, scaled down to the component's energy.

With e the component's share of ‖dW‖², √e·dW stands in for the component and √(1 − e)·dW for the rest: what is left of
the effect when nothing but the size changes. It is the same in every draw, so one is made for each seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from dwatlas.controls.base import Control, StandIn, Target

if TYPE_CHECKING:
    import numpy as np


class Scale(Control):
    """dW at the component's size."""

    kind: Literal["scale"] = "scale"

    shared_by: ClassVar = "nothing"
    random: ClassVar = False

    def draw(self, target: Target, rng: np.random.Generator) -> StandIn:
        from dwatlas.delta.algebra import total_energy

        delta = target.given.delta
        whole = total_energy(delta)
        share = min(target.energy / whole, 1.0) if whole else 0.0
        keep, drop = ({name: matrix.scaled(size**0.5) for name, matrix in delta.items()} for size in (share, 1 - share))
        return StandIn(keep, drop)
