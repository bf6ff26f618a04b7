"""Control ``mask`` (C_mask): random sets of tensors that hold about the same energy as the component.

The null for claims about layers and modules: does *this* set of matrices carry more than any set with the same share
of ‖dW‖²? The set is the best prefix of a random order of the tensors: the one whose energy is closest to the
component's. Of ``tries`` random orders the first within ``tolerance`` is taken, else the closest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from dwatlas.controls.base import Control, StandIn

if TYPE_CHECKING:
    import numpy as np

    from dwatlas.delta.algebra import Delta


class Mask(Control):
    """Random tensors of equal energy."""

    kind: Literal["mask"] = "mask"
    tries: int = 32
    tolerance: float = 0.05

    needs_energy_only: ClassVar = True

    def draw(self, delta: Delta, part: Delta, energy: float, rng: np.random.Generator) -> StandIn:
        from dwatlas.delta import algebra
        from dwatlas.delta.matching import matching_units
        from dwatlas.lenses.base import by_tensor

        names = sorted(delta)
        energies = [algebra.energy(delta[name]) for name in names]
        chosen = matching_units(energies, energy, rng, self.tries, self.tolerance)
        parts = by_tensor(delta, {names[index] for index in chosen})
        return StandIn(parts.keep, parts.drop)
