r"""Bias-only fine-tuning: BitFit (Ben Zaken et al. 2022, arXiv:2106.10199), for models without biases in the form of
BEFT (arXiv:2509.15974): y = W·x + b₀ + b with a trained b [out].

θ = b₀ + b, where b₀ is the base model's bias, zero where it has none; dW = b⁺ − b⁻, a vector. Where the base has no
bias PEFT cannot merge b into it, but the difference is exact all the same: it is scored as an added bias. The default
is the down projection, which adds to the residual stream, as in the weight-steering paper (arXiv:2511.05408).

Coordinates: the entries, sorted by |dW|: the largest hundredth, the rest of the largest tenth, and all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters.base import Adapter, Pair
from dwatlas.delta.ranked import SHARES, in_share
from dwatlas.models.anatomy import PROJECTIONS, Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Dense, Sparse
    from dwatlas.train.checkpoint import Checkpoint


class Bias(Adapter):
    """Biases added to projections."""

    kind: Literal["bias"] = "bias"
    target_modules: tuple[str, ...] = Field(
        ("down_proj",), min_length=1, description=f"Projections whose bias it trains, of {', '.join(PROJECTIONS)}."
    )

    peft: ClassVar = "BeftConfig"

    def sites(self, anatomy: Anatomy) -> tuple[Site, ...]:
        return tuple(
            replace(site, name=f"{site.path}.bias", shape=(site.shape[0], 1)) for site in super().sites(anatomy)
        )

    def trainable(self, site: Site) -> int:
        return site.shape[0]

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {}

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Dense:
        from dwatlas.delta.algebra import Dense

        return Dense(pole.get(site.path, "beft_bias").float().reshape(-1, 1))

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        return {"entries": SHARES}

    def part(self, component: str, pair: Pair, site: Site) -> Sparse:
        import torch

        from dwatlas.delta.algebra import Sparse

        values = self.contrast(pair, site).dense().flatten()
        index = in_share(component, values.abs())
        return Sparse(torch.stack([index, torch.zeros_like(index)]), values[index], site.shape)
