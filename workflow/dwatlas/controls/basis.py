"""Control ``basis``: the component with random bases of the same dimensions in place of its own.

The null for "this basis is special": a subspace of k of d dimensions holds a share of any dW, more of it the larger k
is. The lens makes the same crop in Haar-random orthonormal bases, shared between matrices as its own are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from dwatlas.controls.base import Control, StandIn, Target

if TYPE_CHECKING:
    import numpy as np


class Basis(Control):
    """The same crop in random bases."""

    kind: Literal["basis"] = "basis"

    shared_by: ClassVar = "crop"

    def draw(self, target: Target, rng: np.random.Generator) -> StandIn:
        split = target.lens.at_random(target.given, target.component, rng)
        return StandIn(split.keep, split.drop)
