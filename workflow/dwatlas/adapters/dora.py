r"""DoRA: weight-decomposed low-rank adaptation (Liu et al. 2024, arXiv:2402.09353).

θ = diag(m)·V with V = diag(1/n)·(W + s·B·A), n [out] the norms of the rows of W + s·B·A and m [out] trained magnitudes.
m starts as the norms of W's rows and B as zero, so the adapter is no change at the start. With the gain c = m/n

    τ  = diag(c − 1)·W + diag(c)·s·B·A                      a scale of the outputs and a matrix of rank r
    dW = diag(c⁺ − c⁻)·W + s·(diag(c⁺)B⁺A⁺ − diag(c⁻)B⁻A⁻)   full rank

Coordinates, with Δ the difference and a bar the mean of the poles. *Polar*, the method's own decomposition:

    dW = diag(Δm)·V̄ + diag(m̄)·ΔV        magnitude and direction

exactly: the interaction diag(Δm)·ΔV is even under an exchange of the poles and has no part in dW. *Terms*: the gain
diag(Δc)·W of the base's own rows, and the ranks of the low-rank term, sorted in every matrix by size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from dwatlas.adapters.base import Pair
from dwatlas.adapters.lora import Lora
from dwatlas.delta.ranked import steps
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Blocks, Matrix
    from dwatlas.delta.factors import Contrast, Product
    from dwatlas.train.checkpoint import Checkpoint


class Dora(Lora):
    """Low-rank adaptation of the rows' directions, with their magnitudes trained apart."""

    kind: Literal["dora"] = "dora"

    def rank(self, site: Site) -> int:
        return min(site.shape)

    def trainable(self, site: Site) -> int:
        return super().trainable(site) + site.shape[0]

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return super().settings(anatomy, seed) | {"use_dora": True}

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Matrix:
        from dwatlas.delta.algebra import total

        one = self._pole(pole, site, weights)
        return total([one.times(one.gain).factored, _rows(one.gain - 1, weights[site.name])])

    def contrast(self, pair: Pair, site: Site) -> Matrix:
        from dwatlas.delta.algebra import total

        return total([self._low_rank(pair, site).whole, self._gain(pair, site)])

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        return {"polar": ("magnitude", "direction"), "terms": ("gain", *steps("rank", self.r))}

    def part(self, component: str, pair: Pair, site: Site) -> Matrix:
        if component == "gain":
            return self._gain(pair, site)
        if component.startswith("rank"):
            return self._low_rank(pair, site).step(component)
        return self._polar(component, pair, site)

    def _polar(self, component: str, pair: Pair, site: Site) -> Matrix:
        """diag(Δm)·V̄ or diag(m̄)·ΔV."""
        from dwatlas.delta.algebra import add
        from dwatlas.delta.factors import Contrast

        pos, neg = self._poles(pair, site)
        if component == "magnitude":
            half = (pos.magnitude - neg.magnitude) / 2
            rows = _rows(half / pos.norms + half / neg.norms, pair.weights[site.name])
            return add(add(rows, pos.times(half / pos.norms).factored), neg.times(half / neg.norms).factored)
        mean = (pos.magnitude + neg.magnitude) / 2
        rows = _rows(mean / pos.norms - mean / neg.norms, pair.weights[site.name])
        return add(rows, Contrast(pos.times(mean / pos.norms), neg.times(mean / neg.norms)).whole)

    def _gain(self, pair: Pair, site: Site) -> Blocks:
        """diag(Δc)·W."""
        pos, neg = self._poles(pair, site)
        return _rows(pos.gain - neg.gain, pair.weights[site.name])

    def _low_rank(self, pair: Pair, site: Site) -> Contrast:
        """s·(diag(c⁺)B⁺A⁺ − diag(c⁻)B⁻A⁻)."""
        from dwatlas.delta.factors import Contrast

        pos, neg = self._poles(pair, site)
        return Contrast(pos.times(pos.gain), neg.times(neg.gain))

    def _poles(self, pair: Pair, site: Site) -> tuple[_Pole, _Pole]:
        return self._pole(pair.pos, site, pair.weights), self._pole(pair.neg, site, pair.weights)

    def _pole(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> _Pole:
        product = self.product(pole, site, weights)
        moved = weights[site.name].double() + (product.left * product.values) @ product.right
        return _Pole(pole.get(site.path, "lora_magnitude_vector"), moved.norm(dim=1), product)


@dataclass(frozen=True)
class _Pole:
    """m [out], n [out] and s·B·A of one pole, float64."""

    magnitude: Tensor
    norms: Tensor
    product: Product

    @property
    def gain(self) -> Tensor:
        """c = m/n."""
        return self.magnitude / self.norms

    def times(self, scale: Tensor) -> Product:
        """diag(scale)·s·B·A."""
        return replace(self.product, left=scale[:, None] * self.product.left)


def _rows(scale: Tensor, weight: Tensor) -> Blocks:
    """diag(scale)·W."""
    from dwatlas.delta.algebra import Blocks

    return Blocks(scale.float()[:, None, None], "out", weight)
