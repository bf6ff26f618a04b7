r"""MiSS: matrix shard sharing, formerly Bone (Kang and Yin 2024, arXiv:2409.15371).

θ = W + τ with a small trained D that is repeated over W. D starts as zero, so the adapter is no change at the start. By
``variant``, with T_r [r, in] the identity repeated along the inputs, T_r[i, c] = 1 where c ≡ i mod r:

    balanced    τ = Dᵀ·T_r              D [r, out]             rank ≤ r
    mini        τ = T_mᵀ·Dᵀ·T_r         D [r, m], m = mini_r   rank ≤ min(r, m); m divides the outputs
    bat         τ_ij = (W_ij + I)·D_i   D [out/r, r, r]        full rank; r divides inputs and outputs

where i and j number the r × r blocks of a matrix's rows and columns. τ is linear in D, so the difference of a pair is
the change of ΔD = D⁺ − D⁻, and its rank is bounded as that of one pole.

Coordinates. *Ranks* (balanced, mini): the rows of ΔD, each the change that all inputs c ≡ i mod r share, sorted in
every matrix by size. *Blocks* (bat): the blocks of rows, sorted by size; *terms* (bat): the change I·ΔD_i that all
blocks of a row share, and the change W_ij·ΔD_i that depends on the base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters.base import Adapter, Pair
from dwatlas.delta.ranked import in_step, steps
from dwatlas.errors import UserError
from dwatlas.models.anatomy import Anatomy, Site

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Factored, Matrix
    from dwatlas.train.checkpoint import Checkpoint


class Miss(Adapter):
    """A small matrix that is added to every part of the weight."""

    kind: Literal["miss"] = "miss"
    r: int = Field(8, ge=1, description="Rank: the period with which inputs share a change.")
    variant: Literal["balanced", "mini", "bat"] = Field("balanced", description="How the trained matrix is repeated.")
    mini_r: int = Field(1, ge=1, description="Variant mini: the period with which outputs share a change.")

    peft: ClassVar = "MissConfig"
    size: ClassVar = "r"

    def check(self, anatomy: Anatomy) -> None:
        sites = self.sites(anatomy)
        if self.r not in self.sizes(anatomy):
            fits = "divides all widths" if self.variant == "bat" else "is at most the smallest input width"
            raise UserError(
                f"r: {self.r} does not fit the model; give one that {fits}, such as {self.sizes(anatomy)[-1]}"
            )
        if self.variant == "mini" and any(site.shape[0] % self.mini_r for site in sites):
            widths = ", ".join(map(str, sorted({site.shape[0] for site in sites})))
            raise UserError(f"mini_r: {self.mini_r} does not divide the output widths {widths}; give a divisor of all")

    def sizes(self, anatomy: Anatomy) -> Sequence[int]:
        sites = self.sites(anatomy)
        up_to = range(1, min(site.shape[1] for site in sites) + 1)
        if self.variant != "bat":
            return up_to
        return [size for size in up_to if not any(width % size for site in sites for width in site.shape)]

    def rank(self, site: Site) -> int:
        bounds = {"balanced": (self.r,), "mini": (self.r, self.mini_r), "bat": ()}
        return min(*bounds[self.variant], *site.shape)

    def trainable(self, site: Site) -> int:
        return self.r * (self.mini_r if self.variant == "mini" else site.shape[0])

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        drawn = True if self.variant == "balanced" else self.variant
        return {"r": self.r, "mini_r": self.mini_r, "init_weights": drawn}

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Matrix:
        return self._spread(pole.get(site.path, "miss_block"), site, weights)

    def contrast(self, pair: Pair, site: Site) -> Matrix:
        return self._spread(self._difference(pair, site), site, pair.weights)

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        if self.variant != "bat":
            return {"ranks": steps("rank", self.r)}
        most = max(site.shape[0] // self.r for site in self.sites(anatomy))
        return {"blocks": steps("block", most), "terms": ("shared", "weighted")}

    def part(self, component: str, pair: Pair, site: Site) -> Matrix | None:
        import torch

        from dwatlas.delta.algebra import Dense, Factored

        difference = self._difference(pair, site)
        if component == "shared":
            return self._tiled(difference.flatten(0, 1), site)
        if component == "weighted":
            return Dense(_weighted(difference, pair.weights[site.name].double()).float())
        if self.variant != "bat":
            index = in_step(component, difference.square().sum(1))
            whole = self._tiled(self._outputs(difference, site), site)
            return Factored(whole.left[:, index], whole.right[index])
        rows = self.contrast(pair, site).values.reshape(len(difference), -1)
        index = in_step(component, rows.double().square().sum(1))
        part = torch.zeros_like(rows)
        part[index] = rows[index]
        return Dense(part.reshape(site.shape)) if len(index) else None

    def _difference(self, pair: Pair, site: Site) -> Tensor:
        """ΔD, float64."""
        return pair.pos.get(site.path, "miss_block") - pair.neg.get(site.path, "miss_block")

    def _spread(self, shard: Tensor, site: Site, weights: Mapping[str, Tensor]) -> Matrix:
        """The change that a trained D stands for."""
        from dwatlas.delta.algebra import Dense, Factored, add

        if self.variant == "bat":
            return add(
                Dense(_weighted(shard, weights[site.name].double()).float()), self._tiled(shard.flatten(0, 1), site)
            )
        if self.variant == "mini" and self.mini_r < self.r:
            return Factored(
                _repeated(self.mini_r, site.shape[0]).T.float(), (shard.T @ _repeated(self.r, site.shape[1])).float()
            )
        return self._tiled(self._outputs(shard, site), site)

    def _outputs(self, shard: Tensor, site: Site) -> Tensor:
        """Dᵀ [out, r], repeated along the outputs where the variant does so."""
        return shard.T.repeat(site.shape[0] // shard.shape[1], 1)

    def _tiled(self, left: Tensor, site: Site) -> Factored:
        """L·T_r with L [out, r]."""
        from dwatlas.delta.algebra import Factored

        return Factored(left.float(), _repeated(self.r, site.shape[1]).float())


def _repeated(period: int, width: int) -> Tensor:
    """T [period, width]: the identity repeated, the last time perhaps in part; float64."""
    import torch

    return torch.eye(period, dtype=torch.float64).repeat(1, -(-width // period))[:, :width]


def _weighted(shard: Tensor, weight: Tensor) -> Tensor:
    """W_ij·D_i for every r × r block of W [out, in], with D [out/r, r, r]."""
    import torch

    blocks, r, _ = shard.shape
    return torch.einsum("iajc,icb->iajb", weight.reshape(blocks, r, -1, r), shard).reshape(weight.shape)
