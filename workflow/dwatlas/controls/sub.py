r"""Control ``sub`` (C_sub): random subspaces inside span(dW) that hold about the same energy as the component.

The null for "the largest singular directions are special". Per tensor dW = U·S·Vᵀ of rank n; a Haar-random
orthonormal basis Q [n, n] of the span gives n random directions U·q, each with energy ‖S·q‖². The stand-in is the
projection of dW on the best prefix of a random order of all tensors' directions: the one whose energy is closest to
the component's, U·Q_c·Q_cᵀ·S·Vᵀ per tensor. What is left, U·(I − Q_c·Q_cᵀ)·S·Vᵀ, is its drop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from dwatlas.controls.base import Control, StandIn, Target

if TYPE_CHECKING:
    import numpy as np


class Sub(Control):
    """Random subspaces inside span(dW) of equal energy."""

    kind: Literal["sub"] = "sub"
    tries: int = 32
    tolerance: float = 0.02

    shared_by: ClassVar = "energy"

    def draw(self, target: Target, rng: np.random.Generator) -> StandIn:
        from dwatlas.delta.algebra import Factored, svd
        from dwatlas.delta.bases import haar
        from dwatlas.delta.matching import matching_units

        delta = target.given.delta
        spectra, bases, units, energies = {}, {}, [], []
        for name in sorted(delta):
            spectra[name] = svd(delta[name])
            size = len(spectra[name].s)
            bases[name] = haar(size, size, rng)
            units += [(name, column) for column in range(size)]
            energies += (spectra[name].s.double()[:, None] * bases[name]).square().sum(0).tolist()
        chosen = {units[index] for index in matching_units(energies, target.energy, rng, self.tries, self.tolerance)}
        keep, drop = {}, {}
        for name, spectrum in spectra.items():
            for side, inside in ((keep, True), (drop, False)):
                columns = [column for column in range(len(spectrum.s)) if ((name, column) in chosen) == inside]
                if columns:
                    q = bases[name][:, columns]
                    right = (q.T * spectrum.s.double()) @ spectrum.vh.double()
                    side[name] = Factored((spectrum.u.double() @ q).float(), right.float())
        return StandIn(keep, drop)
