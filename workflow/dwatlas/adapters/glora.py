r"""GLoRA: generalised LoRA (Chavan et al. 2023, arXiv:2306.07967), its weight terms: a scaling of W and a shift.

θ = W + W ⊙ A + B. With ``form`` lora, A = A_l·A_r and B = B_l·B_r are of rank r and τ is dense. With vector, A = a·1ᵀ
scales and B = b·1ᵀ shifts whole rows: τ = diag(a)·W + b·1ᵀ, a diagonal scale and a matrix of rank 1. With constant, a
and b are one number each. The left factors (a, b) are zero at the start. GLoRA's further terms change biases and are
left out.

Coordinates. *Terms*: ``scaling`` W ⊙ ΔA and ``shift`` ΔB. With lora also *factors*, the two sides of each
(``delta.factors``): W ⊙ (ΔA_l·Ā_r), W ⊙ (Ā_l·ΔA_r), ΔB_l·B̄_r, B̄_l·ΔB_r.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters._products import two_factors
from dwatlas.adapters.base import Adapter, Pair
from dwatlas.errors import UserError
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Factored, Matrix
    from dwatlas.delta.factors import Contrast, Product
    from dwatlas.train.checkpoint import Checkpoint

TERMS = {"scaling": "glora_A", "shift": "glora_B"}


class Glora(Adapter):
    """A scaling of the base weight and a shift."""

    kind: Literal["glora"] = "glora"
    form: Literal["lora", "vector", "constant"] = Field(
        "lora", description="What scales and shifts: matrices of rank r, one number per output, or one number."
    )
    r: int = Field(4, ge=1, description="Rank of both matrices of the form lora.")

    peft: ClassVar = "GloraConfig"
    size: ClassVar = "r"

    def trainable(self, site: Site) -> int:
        return 2 * {"lora": self.r * sum(site.shape), "vector": site.shape[0], "constant": 1}[self.form]

    def sizes(self, anatomy: Anatomy) -> Sequence[int]:
        if self.form != "lora":
            raise UserError(f"trainable_parameters: the form {self.form} has no size to choose; leave it out")
        return super().sizes(anatomy)

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {"r": self.r, "config_A_B": self.form, "config_C": "none", "config_D_E": "none"}

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Matrix:
        from dwatlas.delta.algebra import total

        products = {term: self._product(pole, site, name).factored for term, name in TERMS.items()}
        return total(self._matrix(term, each, weights[site.name]) for term, each in products.items())

    def contrast(self, pair: Pair, site: Site) -> Matrix:
        from dwatlas.delta.algebra import total

        return total(self.part(term, pair, site) for term in TERMS)

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        ways = {"terms": tuple(TERMS)}
        if self.form == "lora":
            ways["factors"] = tuple(f"{term}-{side}" for term in TERMS for side in ("left", "right"))
        return ways

    def part(self, component: str, pair: Pair, site: Site) -> Matrix:
        term, _, side = component.partition("-")
        pairing = self._pairing(pair, site, TERMS[term])
        return self._matrix(term, getattr(pairing, side or "whole"), pair.weights[site.name])

    def _matrix(self, term: str, factors: Factored, weight: Tensor) -> Matrix:
        """W ⊙ (P·Q) or P·Q in the structure of its form, float32."""
        from dwatlas.delta.algebra import Blocks, Dense

        if term == "shift":
            return factors
        scale = factors.left.double() @ factors.right.double()
        if self.form == "lora":
            return Dense((weight.double() * scale).float())
        return Blocks(scale[:, :1, None].float(), "out", weight)

    def _pairing(self, pair: Pair, site: Site, name: str) -> Contrast:
        from dwatlas.delta.factors import Contrast

        return Contrast(*(self._product(pole, site, name) for pole in (pair.pos, pair.neg)))

    def _product(self, pole: Checkpoint, site: Site, name: str) -> Product:
        """The matrix of a term as a product."""
        if self.form == "lora":
            return two_factors(pole.get(site.path, f"{name}.Xd"), pole.get(site.path, f"{name}.Xu"))
        rows, columns = site.shape
        left = pole.get(site.path, f"{name}.X").reshape(-1, 1).expand(rows, 1)
        return two_factors(left, left.new_ones(1, columns))
