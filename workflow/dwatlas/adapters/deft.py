r"""DEFT: decompositional efficient fine-tuning (PEFT's ``DeftConfig``): removes a subspace of the outputs and injects
another content into it.

θ = (I − Q·Kᵀ)·W + s·Q·R with Q, K [out, r] made from a trained P and R [r, in] trained; s = alpha / r, or 1 without
alpha. With ``projector`` relu Q = P and K = max(P, 0); with qr Q = K, the orthonormal factor of P. R starts at KᵀW/s,
so the adapter is no change at the start, and

    τ = Q·M        M = s·R − Kᵀ·W        rank r, a pair's dW ≤ 2r

PEFT computes this in float32 in whatever precision the model is; here it is float64 from the same tensors.

Coordinates. *Ranks*: q_i⁺m_i⁺ − q_i⁻m_i⁻, sorted in every matrix by size. *Terms*, with Δ and bar as in
``delta.factors``: ``directions`` ΔQ·M̄, ``injection`` s·Q̄·ΔR and ``removal`` −Q̄·ΔKᵀ·W, which sum to dW.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters._products import ProductAdapter, two_factors
from dwatlas.adapters.base import Pair
from dwatlas.delta.ranked import steps
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Matrix
    from dwatlas.delta.factors import Product
    from dwatlas.train.checkpoint import Checkpoint


class Deft(ProductAdapter):
    """A subspace of the outputs removed, another content injected."""

    kind: Literal["deft"] = "deft"
    alpha: float | None = Field(None, gt=0, description="Scale numerator of the injection, s = alpha / r; none: s = 1.")
    projector: Literal["relu", "qr"] = Field("relu", description="How P becomes a projector: P·max(P, 0)ᵀ or Q·Qᵀ.")

    peft: ClassVar = "DeftConfig"

    def rank(self, site: Site) -> int:
        return min(2 * self._rank(site), *site.shape)

    def trainable(self, site: Site) -> int:
        return self._rank(site) * sum(site.shape)

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {"r": self.r, "alpha": self.alpha, "decomposition_method": self.projector}

    def product(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Product:
        outputs, inputs = self._projector(pole, site)
        return two_factors(outputs, self._injection(pole, site) - inputs.T @ weights[site.name].double())

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        largest = max(self._rank(site) for site in self.sites(anatomy))
        return {"ranks": steps("rank", largest), "terms": ("directions", "injection", "removal")}

    def part(self, component: str, pair: Pair, site: Site) -> Matrix:
        if component.startswith("rank-"):
            return super().part(component, pair, site)
        if component == "directions":
            return self.pairing(pair, site).left
        (outputs, inputs), (minus_outputs, minus_inputs) = (self._projector(one, site) for one in (pair.pos, pair.neg))
        mean = (outputs + minus_outputs) / 2
        if component == "injection":
            return two_factors(mean, self._injection(pair.pos, site) - self._injection(pair.neg, site)).factored
        return two_factors(mean, (minus_inputs - inputs).T @ pair.weights[site.name].double()).factored

    def _rank(self, site: Site) -> int:
        return min(self.r, site.shape[0])

    def _projector(self, pole: Checkpoint, site: Site) -> tuple[Tensor, Tensor]:
        """Q and K [out, r], float64."""
        import torch

        trained = pole.get(site.path, "deft_P")
        if self.projector == "relu":
            return trained, trained.relu()
        outputs = torch.linalg.qr(trained).Q
        return outputs, outputs

    def _injection(self, pole: Checkpoint, site: Site) -> Tensor:
        """s·R [r, in], float64."""
        scale = self.alpha / self._rank(site) if self.alpha else 1.0
        return scale * pole.get(site.path, "deft_R")
