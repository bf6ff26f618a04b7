"""Control ``norm`` (C_norm): Gaussian noise with the component's norm in every tensor.

It answers "would any change of this size, in these tensors, do the same?". Scored at both signs of α, its
antisymmetric effect has mean 0 by construction, so its spread is the yardstick for an effect of this size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from dwatlas.controls.base import Control, StandIn, Target

if TYPE_CHECKING:
    import numpy as np


class Norm(Control):
    """Gaussian noise, norms matched per tensor."""

    kind: Literal["norm"] = "norm"

    shared_by: ClassVar = "nothing"

    def draw(self, target: Target, rng: np.random.Generator) -> StandIn:
        import math

        import torch

        from dwatlas.delta import algebra

        keep, part = {}, target.part
        for name in sorted(part):
            noise = torch.from_numpy(rng.standard_normal(part[name].shape))
            scale = math.sqrt(algebra.energy(part[name])) / float(noise.norm())
            keep[name] = algebra.Dense((scale * noise).float())
        return StandIn(keep, None)
