r"""PVeRA: VeRA whose scales of the inner dimensions are drawn anew at every training step (arXiv:2512.07703).

θ = W + diag(b)·B·diag(d)·A with A [r, in] and B [out, r] drawn at random, shared by all modules (cut to their shapes)
and never trained; d [r] and b [out] are. In training, d·A·x is the mean of a normal variable whose log-variance is a
second such map with scales of its own; after training PEFT takes the mean, so the variance is in no weight, though its
r scales are trained and counted. b is zero at the start. dW = diag(b⁺)·B·diag(d⁺)·A − … has rank ≤ 2r.

Coordinates. *Ranks*: the inner dimensions, sorted in every matrix by size. *Sides* (``delta.factors``): ``b-side`` and
``d-side``, the contrast of the one at the mean of the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters._products import ProductAdapter, two_factors
from dwatlas.models.anatomy import Anatomy, Site
from dwatlas.seeds import torch_seed

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.factors import Product
    from dwatlas.train.checkpoint import Checkpoint


class Pvera(ProductAdapter):
    """Scales of fixed random factors, with noise in training."""

    kind: Literal["pvera"] = "pvera"
    r: int = Field(32, ge=1, description="Inner dimensions.")
    d_initial: float = Field(0.1, gt=0, description="d at the start.")

    peft: ClassVar = "PveraConfig"
    sides: ClassVar = ("d-side", "b-side")

    def trainable(self, site: Site) -> int:
        return site.shape[0] + 2 * self.r

    def sizes(self, anatomy: Anatomy) -> range:
        return range(1, 1025)

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        keys = {name: torch_seed(name, self.kind, seed) for name in ("projection_prng_key", "generator_seed")}
        return {"r": self.r, "d_initial": self.d_initial} | keys

    def product(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Product:
        rows, columns = site.shape
        b, d = pole.get(site.path, "pvera_lambda_b"), pole.get(site.path, "pvera_lambda_d")[: self.r]
        left, right = pole.shared("pvera_B")[:rows], pole.shared("pvera_A")[: self.r, :columns]
        return two_factors(b[:, None] * left, d[:, None] * right)
