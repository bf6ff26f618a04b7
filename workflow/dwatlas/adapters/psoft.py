r"""PSOFT: orthogonal fine-tuning in the principal subspace (Wu et al. 2025, arXiv:2505.11235).

θ = W + B·(R − I)·A with W's r largest singular values and vectors as frozen factors, A = V_rᵀ [r, in] and B = U_r·S_r
[out, r], and a trained R [r, r] between them:

    R = diag(b)·O·diag(a),    O = (I + Q)(I − Q)⁻¹,    Q skew-symmetric with r(r − 1)/2 trained entries

Q = 0 and a = b = 1 at the start. (PEFT's scale alpha / r cancels: B is divided by it.) dW = B·(R⁺ − R⁻)·A, rank ≤ r.

A and B are not trained, and PEFT does not save them: it makes them again from W, in float32, whenever it loads a
checkpoint. The signs of singular vectors are arbitrary, so another library or device may make others, and PEFT then
loads another model without a word. Here they are kept with the checkpoint (``psoft_A``, ``psoft_B``), which PEFT leaves
unread, and dW is made from those that were trained with.

Coordinates. *Factors*: with Δ the difference and a bar the mean of the poles

    dR = diag(Δb)·Ō·diag(ā) + diag(b̄)·ΔO·diag(ā) + diag(b̄)·Ō·diag(Δa) + ¼·diag(Δb)·ΔO·diag(Δa)

output-scale, rotation (core where it need not be orthogonal), input-scale and interaction; with one scale only there is
no interaction. With no scale, the pair's rotation about the base and the remainder, as in OFT:
rotation = B·Cᵀ(O⁺ − O⁻)·A with C the mean rotation of the poles (see ``dwatlas.delta.rotation``). *Directions*: W's
principal directions on the output side, one for each row of dR, sorted in every matrix by size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters.base import Adapter, Pair
from dwatlas.delta.ranked import in_step, steps
from dwatlas.errors import UserError
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from jaxtyping import Float
    from peft import PeftModel
    from torch import Tensor

    from dwatlas.delta.algebra import Factored
    from dwatlas.train.checkpoint import Checkpoint


class Psoft(Adapter):
    """Rotation and scales between the base's principal factors."""

    kind: Literal["psoft"] = "psoft"
    r: int = Field(8, ge=2, description="Rank of the principal subspace; at most the smaller side of every matrix.")
    orthogonal: bool = Field(True, description="Whether O is a rotation; else it is any matrix [r, r].")
    output_scale: bool = Field(True, description="Train b, the scales on the output side.")
    input_scale: bool = Field(True, description="Train a, the scales on the input side.")
    factors: Literal["psoft_init", "pissa_init"] = Field(
        "psoft_init", description="Where the singular values are: all in B, or their roots in A and B (pissa_init)."
    )
    svd: Literal["full", "lowrank"] = Field(
        "full", description="How the factors are made; lowrank is faster, randomised (by seed) and inexact."
    )

    peft: ClassVar = "PsoftConfig"
    size: ClassVar = "r"

    def check(self, anatomy: Anatomy) -> None:
        for site in self.sites(anatomy):
            if self.r > min(site.shape):
                raise UserError(f"r: {self.r} is more than {site.module} has room for; give at most {min(site.shape)}")

    def sizes(self, anatomy: Anatomy) -> range:
        return range(2, min(min(site.shape) for site in self.sites(anatomy)) + 1)

    def rank(self, site: Site) -> int:
        return self.r

    def trainable(self, site: Site) -> int:
        inner = self.r * (self.r - 1) // 2 if self.orthogonal else self.r**2
        return inner + self.r * (self.output_scale + self.input_scale)

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        how = {"ab_svd_init": self.factors, "psoft_svd": self.svd, "random_seed": seed if self.svd == "lowrank" else 0}
        parts = {"psoft_orth": self.orthogonal, "psoft_mag_b": self.output_scale, "psoft_mag_a": self.input_scale}
        return {"r": self.r, "psoft_alpha": self.r} | how | parts

    def frozen(self, model: PeftModel) -> dict[str, Tensor]:
        return {
            f"{name}.psoft_{side}": getattr(module, f"_psoft_{side}_cache")["default"]
            for name, module in model.named_modules()
            if hasattr(module, "psoft_R")
            for side in "AB"
        }

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Factored:
        import torch

        output, turn, entry = self._trained(pole, site)
        return _edit(output * turn * entry - torch.eye(self.r), pole, site)

    def contrast(self, pair: Pair, site: Site) -> Factored:
        return _edit(self._difference(pair, site), pair.pos, site)

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        turn = "rotation" if self.orthogonal else "core"
        output, entry = ("output-scale",) * self.output_scale, ("input-scale",) * self.input_scale
        interaction = ("interaction",) * (self.output_scale and self.input_scale)
        ways = {"directions": steps("direction", self.r)}
        if output or entry:
            return {"factors": (*output, turn, *entry, *interaction)} | ways
        return {"pair": ("rotation", "remainder")} | ways if self.orthogonal else ways

    def part(self, component: str, pair: Pair, site: Site) -> Factored:
        from dwatlas.delta.algebra import Factored

        if component.startswith("direction-"):
            left, right = _factors(pair.pos, site)
            rows = self._difference(pair, site) @ right
            index = in_step(component, left.norm(dim=0) * rows.norm(dim=1))
            return Factored(left[:, index].float(), rows[index].float())
        if not (self.output_scale or self.input_scale):
            return _edit(self._turned(component, pair, site), pair.pos, site)
        poles = zip(self._trained(pair.pos, site), self._trained(pair.neg, site), strict=True)
        means, differences = zip(*(((pos + neg) / 2, pos - neg) for pos, neg in poles), strict=True)
        if component == "interaction":
            return _edit(differences[0] * differences[1] * differences[2] / 4, pair.pos, site)
        place = {"output-scale": 0, "rotation": 1, "core": 1, "input-scale": 2}[component]
        one, two, three = (*means[:place], differences[place], *means[place + 1 :])
        return _edit(one * two * three, pair.pos, site)

    def _turned(self, component: str, pair: Pair, site: Site) -> Float[Tensor, "r r"]:
        """The pair's rotation without scales, or what remains."""
        from dwatlas.delta.rotation import between

        pos, neg = (self._trained(pole, site)[1] for pole in (pair.pos, pair.neg))
        rotation = between(pos, neg)
        return rotation if component == "rotation" else pos - neg - rotation

    def _difference(self, pair: Pair, site: Site) -> Float[Tensor, "r r"]:
        """dR."""
        (output, turn, entry), (minus_output, minus_turn, minus_entry) = (
            self._trained(pole, site) for pole in (pair.pos, pair.neg)
        )
        return output * turn * entry - minus_output * minus_turn * minus_entry

    def _trained(self, pole: Checkpoint, site: Site) -> tuple[Tensor, Tensor, Tensor]:
        """b [r, 1], O [r, r] and a [1, r], whose product entry by entry is R, float64; 1 for a scale not trained."""
        import torch

        from dwatlas.delta.rotation import cayley, skew

        inner = pole.get(site.path, "psoft_R.weight")
        one = torch.ones(self.r, dtype=inner.dtype)
        output = pole.get(site.path, "psoft_R.vector_b") if self.output_scale else one
        entry = pole.get(site.path, "psoft_R.vector_a") if self.input_scale else one
        return output[:, None], cayley(-skew(inner, self.r)) if self.orthogonal else inner, entry[None, :]


def _factors(pole: Checkpoint, site: Site) -> tuple[Float[Tensor, "out r"], Float[Tensor, "r in"]]:
    """B and A, float64."""
    return pole.get(site.path, "psoft_B"), pole.get(site.path, "psoft_A")


def _edit(inner: Float[Tensor, "r r"], pole: Checkpoint, site: Site) -> Factored:
    """B·inner·A."""
    from dwatlas.delta.algebra import Factored

    left, right = _factors(pole, site)
    return Factored((left @ inner).float(), right.float())
