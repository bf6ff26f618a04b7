r"""LoKr: low-rank Kronecker product (LyCORIS, Yeh et al. 2023, arXiv:2309.14859; KronA, arXiv:2212.10650).

θ = W + s·w1 ⊗ w2 with w1 [a, c], w2 [b, d], out = a·b, in = c·d and s = alpha / r. The sides are split as evenly as
they can be (a ≤ b and c ≤ d), or with a and c as close as they can be to a number that is given. w1 is zero at the
start. w2 is itself a product w2_a·w2_b of rank r where r is less than half of its larger side, and so is w1 if
``decompose_both`` is set; else they are trained whole.

The rank of a Kronecker product is the product of the ranks, so that of dW is at most twice r·min(a, c) where w2 is
decomposed. dW is factored, with (X·Y) ⊗ (Z·V) = (X ⊗ Z)·(Y ⊗ V), where that is smaller than the matrix, else dense.

Coordinates, with Δ the difference and a bar the mean of the poles. *Factors*:

    dW = s·Δw1 ⊗ w̄2 + s·w̄1 ⊗ Δw2        first-factor and second-factor

exactly, as the interaction of Δw1 and Δw2 is even under an exchange of the poles. *Matrices*, if a factor is decomposed
anywhere: Δ of one of the trained matrices, the means of the others; what is left are the products of three Δ, the
``interaction``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters.base import Adapter, Pair
from dwatlas.delta.multilinear import one_difference, three_differences
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Matrix
    from dwatlas.train.checkpoint import Checkpoint

    Factor = tuple[Tensor, ...]
    """A factor of the Kronecker product: whole, or the two matrices whose product it is."""

FACTORS = ("first-factor", "second-factor")
WHOLE = {"w1": ("w1",), "w2": ("w2",)}
DECOMPOSED = {"w1": ("w1_a", "w1_b"), "w2": ("w2_a", "w2_b")}


class LoKr(Adapter):
    """Kronecker product of a small matrix and one of low rank."""

    kind: Literal["lokr"] = "lokr"
    r: int = Field(4, ge=1, description="Rank of the factors that are decomposed.")
    alpha: float = Field(4, gt=0, description="Scale numerator: s = alpha / r.")
    decompose_both: bool = Field(False, description="Decompose the first factor too, where r is small enough.")
    decompose_factor: int | None = Field(
        None, ge=1, description="Size of the first factor to come close to, by default the square root of each side."
    )

    peft: ClassVar = "LoKrConfig"
    size: ClassVar = "r"

    def rank(self, site: Site) -> int:
        ranks = [min(*shape, self.r if len(names) > 1 else max(shape)) for shape, names in self._layout(site)]
        return min(2 * ranks[0] * ranks[1], *site.shape)

    def trainable(self, site: Site) -> int:
        return sum(
            self.r * sum(shape) if len(names) > 1 else shape[0] * shape[1] for shape, names in self._layout(site)
        )

    def sizes(self, anatomy: Anatomy) -> range:
        """Up to the rank from which on every factor is whole."""
        longest = max(max(shape) for site in self.sites(anatomy) for shape, _ in self._layout(site))
        return range(1, -(-longest // 2) + 1)

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {
            "r": self.r,
            "alpha": self.alpha,
            "decompose_both": self.decompose_both,
            "decompose_factor": self.decompose_factor or -1,
        }

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Matrix:
        return self._sum([self._factors(pole, site)])

    def contrast(self, pair: Pair, site: Site) -> Matrix:
        (first, second), (minus_first, minus_second) = self._poles(pair, site)
        return self._sum([(first, second), ((-minus_first[0], *minus_first[1:]), minus_second)])

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        found = {name for site in self.sites(anatomy) for _, names in self._layout(site) for name in names}
        ways = {"factors": FACTORS}
        if found - {"w1", "w2"}:
            order = (name for factor in ("w1", "w2") for name in (*WHOLE[factor], *DECOMPOSED[factor]))
            ways["matrices"] = (*(name for name in order if name in found), "interaction")
        return ways

    def part(self, component: str, pair: Pair, site: Site) -> Matrix | None:
        pos, neg = self._poles(pair, site)
        if component in FACTORS:
            signs = (-1, 1) if component == FACTORS[0] else (1, -1)
            first, second = (_joined(*both) for both in zip(pos, neg, signs, strict=True))
            return self._sum([((first[0] / 2, *first[1:]), second)])
        names = [name for _, factor in self._layout(site) for name in factor]
        flat_pos, flat_neg = [*pos[0], *pos[1]], [*neg[0], *neg[1]]
        if component == "interaction":
            terms = three_differences(flat_pos, flat_neg)
        else:
            terms = [one_difference(flat_pos, flat_neg, names.index(component))] if component in names else []
        cut = len(pos[0])
        return self._sum([(term[:cut], term[cut:]) for term in terms]) if terms else None

    def _layout(self, site: Site) -> tuple[tuple[tuple[int, int], tuple[str, ...]], ...]:
        """Shape and trained matrices of w1 and of w2."""
        (a, b), (c, d) = (_split(length, self.decompose_factor) for length in site.shape)
        first = DECOMPOSED if self.decompose_both and 2 * self.r < max(a, c) else WHOLE
        second = DECOMPOSED if 2 * self.r < max(b, d) else WHOLE
        return ((a, c), first["w1"]), ((b, d), second["w2"])

    def _poles(self, pair: Pair, site: Site) -> list[tuple[Factor, Factor]]:
        return [self._factors(pole, site) for pole in (pair.pos, pair.neg)]

    def _factors(self, pole: Checkpoint, site: Site) -> tuple[Factor, Factor]:
        """w1 and w2, float64."""
        return tuple(tuple(pole.get(site.path, f"lokr_{name}") for name in names) for _, names in self._layout(site))

    def _sum(self, terms: Iterable[tuple[Factor, Factor]]) -> Matrix:
        """The sum of s·w1 ⊗ w2 over terms."""
        import torch

        from dwatlas.delta.algebra import Dense, Factored

        scale = self.alpha / self.r
        pairs = [(_two(first), _two(second)) for first, second in terms]
        shapes = [(one[0].shape[0] * two[0].shape[0], one[1].shape[1] * two[1].shape[1]) for one, two in pairs]
        ranks = sum(one[0].shape[1] * two[0].shape[1] for one, two in pairs)
        if ranks * sum(shapes[0]) >= shapes[0][0] * shapes[0][1]:
            return Dense((scale * sum(torch.kron(one[0] @ one[1], two[0] @ two[1]) for one, two in pairs)).float())
        left = torch.cat([torch.kron(one[0], two[0]) for one, two in pairs], dim=1)
        right = torch.cat([torch.kron(one[1], two[1]) for one, two in pairs])
        return Factored((scale * left).float(), right.float())


def _two(factor: Factor) -> tuple[Tensor, Tensor]:
    """A factor as a product of two matrices of as small a rank as is known of it."""
    import torch

    if len(factor) == 2:
        return factor
    (whole,) = factor
    rows, columns = whole.shape
    one = torch.eye(min(rows, columns), dtype=whole.dtype)
    return (one, whole) if rows <= columns else (whole, one)


def _joined(pos: Factor, neg: Factor, sign: int) -> Factor:
    """The sum or difference of both poles' factors."""
    import torch

    if len(pos) == 1:
        return (pos[0] + sign * neg[0],)
    return torch.cat([pos[0], sign * neg[0]], dim=1), torch.cat([pos[1], neg[1]])


def _split(length: int, wanted: int | None) -> tuple[int, int]:
    """Two numbers whose product is ``length``, as PEFT chooses them: the wanted one if it divides it, else the smaller
    of the pair that is most even among those that do not exceed it."""
    if wanted is not None and length % wanted == 0:
        return wanted, length // wanted
    divisors = (number for number in range(1, int(length**0.5) + 1) if length % number == 0)
    smaller = max(number for number in divisors if wanted is None or number <= wanted)
    return smaller, length // smaller
