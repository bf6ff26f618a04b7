"""Control ``mask`` (C_mask): random sets of the lens's smallest parts that hold about the same energy as the component.

The null for claims about layers, modules and heads: does *this* set carry more than any set with the same share of
‖dW‖²? The smallest parts are tensors, or the slices that the lens cuts them into. The set is the best prefix of a
random order of them: the one whose energy is closest to the component's. Of ``tries`` random orders the first within
``tolerance`` is taken, else the closest. The tolerance is as wide as the range of energies that share draws: a narrower
one would take the same few sets again and again wherever parts have energies of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from dwatlas.controls.base import Control, StandIn, Target
from dwatlas.lenses.base import NOTHING

if TYPE_CHECKING:
    import numpy as np

    from dwatlas.lenses.base import Given, Lens


class Mask(Control):
    """Random sets of parts, of equal energy."""

    kind: Literal["mask"] = "mask"
    tries: int = 32
    tolerance: float = 0.12

    shared_by: ClassVar = "energy"

    def draw(self, target: Target, rng: np.random.Generator) -> StandIn:
        from dwatlas.delta.matching import matching_units

        lens, given = target.lens, target.given
        energies = given.once("energies of units", lambda: _energies(lens, given))
        units = list(energies)
        chosen = matching_units(list(energies.values()), target.energy, rng, self.tries, self.tolerance)
        parts = lens.union(given, {units[index] for index in chosen})
        return StandIn(parts.keep, parts.drop)


def _energies(lens: Lens, given: Given) -> dict[str, float]:
    """The energy of each smallest part that has any: a stand-in without could not be brought to a part's energy."""
    from dwatlas.delta.algebra import total_energy

    least = NOTHING * total_energy(given.delta)
    energies = {unit: total_energy(lens.union(given, {unit}).keep) for unit in lens.units(given)}
    return {unit: energy for unit, energy in energies.items() if energy > least}
