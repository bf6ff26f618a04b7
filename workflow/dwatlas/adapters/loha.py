r"""LoHa: low-rank Hadamard product (FedPara, Hyeon-Woo et al. 2021, arXiv:2108.06098; LyCORIS, arXiv:2309.14859).

θ = W + s·(w1_a·w1_b) ∘ (w2_a·w2_b) with w_a [out, r], w_b [r, in] and s = alpha / r; w2_b is zero at the start. The
product of the entries is again one of two factors: the columns of the left one are the r² products of a column of w1_a
with one of w2_a, the rows of the right one those of w1_b with w2_b. So one pole's change has a rank of at most r² and
dW one of at most 2r²; it is factored where that is smaller than the matrix, else dense.

Coordinates, with Δ the difference and a bar the mean of the poles. *Factors*, P = w1_a·w1_b and Q = w2_a·w2_b:

    dW = s·ΔP ∘ Q̄ + s·P̄ ∘ ΔQ        first-factor and second-factor

exactly, as the interaction of ΔP and ΔQ is even under an exchange of the poles. *Matrices*: Δ of one of the four w, the
means of the others; what is left are the products of three Δ and one mean, the ``interaction``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters.base import Adapter, Pair
from dwatlas.delta.multilinear import one_difference, three_differences
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Matrix
    from dwatlas.train.checkpoint import Checkpoint

FACTORS = ("first-factor", "second-factor")
MATRICES = ("w1_a", "w1_b", "w2_a", "w2_b")


class LoHa(Adapter):
    """Product of the entries of two low-rank matrices."""

    kind: Literal["loha"] = "loha"
    r: int = Field(8, ge=1, description="Rank of each of the two matrices; that of their product is up to r².")
    alpha: float = Field(8, gt=0, description="Scale numerator: s = alpha / r.")

    peft: ClassVar = "LoHaConfig"
    size: ClassVar = "r"

    def rank(self, site: Site) -> int:
        return min(2 * self.r**2, *site.shape)

    def trainable(self, site: Site) -> int:
        return 2 * self.r * sum(site.shape)

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {"r": self.r, "alpha": self.alpha}

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Matrix:
        return self._sum([self._matrices(pole, site)])

    def contrast(self, pair: Pair, site: Site) -> Matrix:
        pos, neg = self._poles(pair, site)
        return self._sum([pos, (-neg[0], *neg[1:])])

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        return {"factors": FACTORS, "matrices": (*MATRICES, "interaction")}

    def part(self, component: str, pair: Pair, site: Site) -> Matrix:
        pos, neg = self._poles(pair, site)
        if component == "interaction":
            return self._sum(three_differences(pos, neg))
        if component in MATRICES:
            return self._sum([one_difference(pos, neg, MATRICES.index(component))])
        signs = (-1, 1) if component == FACTORS[0] else (1, -1)
        left, right = _joined(pos[:2], neg[:2], signs[0])
        return self._sum([(left / 2, right, *_joined(pos[2:], neg[2:], signs[1]))])

    def _poles(self, pair: Pair, site: Site) -> list[tuple[Tensor, ...]]:
        return [self._matrices(pole, site) for pole in (pair.pos, pair.neg)]

    @staticmethod
    def _matrices(pole: Checkpoint, site: Site) -> tuple[Tensor, ...]:
        """The four w, float64."""
        return tuple(pole.get(site.path, f"hada_{name}") for name in MATRICES)

    def _sum(self, terms: Iterable[Sequence[Tensor]]) -> Matrix:
        """The sum of s·(w1_a·w1_b) ∘ (w2_a·w2_b) over terms of four matrices."""
        import torch

        from dwatlas.delta.algebra import product

        lefts, rights = [], []
        for first_left, first_right, second_left, second_right in terms:
            lefts.append((first_left[:, :, None] * second_left[:, None]).flatten(1))
            rights.append((first_right[:, None] * second_right).flatten(0, 1))
        return product(self.alpha / self.r * torch.cat(lefts, dim=1), torch.cat(rights))


def _joined(pos: Sequence[Tensor], neg: Sequence[Tensor], sign: int) -> tuple[Tensor, Tensor]:
    """Factors of the sum or difference of both poles' products of two matrices."""
    import torch

    return torch.cat([pos[0], sign * neg[0]], dim=1), torch.cat([pos[1], neg[1]])
