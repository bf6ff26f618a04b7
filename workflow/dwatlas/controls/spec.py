"""Control ``spec`` (C_spec): the component's singular values with random singular vectors.

Per tensor of the component with singular values S, U·S·Vᵀ with U and V Haar-random. It answers "would any change of
this size, rank and spectrum, in these tensors, do the same?", where Gaussian noise (``norm``) has full rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from dwatlas.controls.base import Control, StandIn, Target

if TYPE_CHECKING:
    import numpy as np


class Spec(Control):
    """Rank and spectrum matched per tensor."""

    kind: Literal["spec"] = "spec"

    shared_by: ClassVar = "nothing"

    def draw(self, target: Target, rng: np.random.Generator) -> StandIn:
        from dwatlas.delta.algebra import SVD, svd
        from dwatlas.delta.bases import haar

        keep = {}
        for name in sorted(target.part):
            matrix = target.part[name]
            s = svd(matrix).s
            u, v = (haar(size, len(s), rng).float() for size in matrix.shape)
            keep[name] = SVD(u, s, v.T).part(slice(None))
        return StandIn(keep, None)
