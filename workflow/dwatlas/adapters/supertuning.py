r"""Super-Tuning (arXiv:2607.09287): trains the weights of largest magnitude, and with ``r`` a LoRA besides ("Supra").

θ = W + S + s·B·A with S sparse: its places are the ``permille`` thousandths of W that are largest (or smallest) in
magnitude, its values are trained and zero at the start; s = alpha / r. Both poles have the same places, so dW = ΔS +
s·(B⁺A⁺ − B⁻A⁻) is sparse, or sparse plus a matrix of rank ≤ 2r.

Coordinates. *Entries* (without ``r``): the trained places, sorted in every matrix by |ΔS|: the largest hundredth, the
rest of the largest tenth, all others. *Terms* (with ``r``): ``sparse`` and ``low-rank``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters._products import two_factors
from dwatlas.adapters.base import Adapter, Pair
from dwatlas.delta.ranked import in_share, shares
from dwatlas.errors import UserError
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Matrix, Sparse
    from dwatlas.delta.factors import Product
    from dwatlas.train.checkpoint import Checkpoint


class Supertuning(Adapter):
    """The weights of largest magnitude, and a LoRA if wanted."""

    kind: Literal["supertuning"] = "supertuning"
    permille: int = Field(10, ge=1, le=1000, description="Thousandths of every matrix's weights that it trains.")
    largest: bool = Field(True, description="Train the largest weights; false: the smallest.")
    r: int | None = Field(None, ge=1, description="Rank of the LoRA besides; none: no LoRA.")
    alpha: float | None = Field(None, gt=0, description="Scale numerator of the LoRA, s = alpha / r; none: s = 2.")

    peft: ClassVar = "SupertuningConfig"
    size: ClassVar = "permille"

    def trainable(self, site: Site) -> int:
        return self._places(site) + (self.r or 0) * sum(site.shape)

    def sizes(self, anatomy: Anatomy) -> list[int]:
        smallest = min(self.sites(anatomy), key=lambda site: site.shape[0] * site.shape[1])
        return [size for size in range(1, 1001) if self.model_copy(update={"permille": size})._places(smallest)]

    def check(self, anatomy: Anatomy) -> None:
        if self.permille < (least := self.sizes(anatomy)[0]):
            raise UserError(f"permille: {self.permille} leaves nothing to train in the smallest weight; give {least}")

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        lora = {} if self.r is None else {"r": self.r, "lora_alpha": self._scale * self.r}
        return {"sparsity": self._sparsity, "select_top": self.largest} | lora

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Matrix:
        from dwatlas.delta.algebra import total

        sparse = self._sparse(pole, site, self._values(pole, site))
        return sparse if self.r is None else total([sparse, self._product(pole, site).factored])

    def contrast(self, pair: Pair, site: Site) -> Matrix:
        from dwatlas.delta.algebra import total

        sparse = self._sparse(pair.pos, site, self._difference(pair, site))
        return sparse if self.r is None else total([sparse, self.part("low-rank", pair, site)])

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        if self.r is not None:
            return {"terms": ("sparse", "low-rank")}
        return {"entries": shares(max(self._places(site) for site in self.sites(anatomy)))}

    def part(self, component: str, pair: Pair, site: Site) -> Matrix | None:
        from dwatlas.delta.factors import Contrast

        if component == "low-rank":
            return Contrast(*(self._product(pole, site) for pole in (pair.pos, pair.neg))).whole
        difference = self._difference(pair, site)
        if component == "sparse":
            return self._sparse(pair.pos, site, difference)
        index = in_share(component, difference.abs())
        return self._sparse(pair.pos, site, difference, index) if index.numel() else None

    @property
    def _sparsity(self) -> float:
        return 1 - self.permille / 1000

    @property
    def _scale(self) -> float:
        return 2.0 if self.alpha is None else self.alpha / self.r

    def _places(self, site: Site) -> int:
        """Number of trained places, as PEFT counts them."""
        return int(site.shape[0] * site.shape[1] * (1 - self._sparsity))

    def _difference(self, pair: Pair, site: Site) -> Tensor:
        return self._values(pair.pos, site) - self._values(pair.neg, site)

    def _product(self, pole: Checkpoint, site: Site) -> Product:
        """s·B·A."""
        left, right = (pole.get(site.path, f"supertuning_lora_{name}.weight") for name in "BA")
        return two_factors(self._scale * left, right)

    @staticmethod
    def _values(pole: Checkpoint, site: Site) -> Tensor:
        return pole.get(site.path, "supertuning_values")

    @staticmethod
    def _sparse(pole: Checkpoint, site: Site, values: Tensor, index: Tensor | slice = slice(None)) -> Sparse:
        """The values, of those at the places of ``index``, at their places."""
        import torch

        from dwatlas.delta.algebra import Sparse

        places = pole.get(site.path, "supertuning_indices").long()[index]
        columns = site.shape[1]
        return Sparse(torch.stack([places // columns, places % columns]), values[index].float(), site.shape)
