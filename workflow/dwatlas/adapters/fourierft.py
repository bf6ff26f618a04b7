r"""FourierFT: a few coefficients of the weight change's Fourier transform (Gao et al. 2024, arXiv:2405.03003).

θ = W + s·Re(F⁻¹(C)) with C [out, in] zero but for n trained real coefficients, zero at the start, at random places that
are drawn once and are the same for all matrices of one shape. A coefficient c at (p, q) is a plane wave,

    s·c / (out·in) · cos(2π(p·i/out + q·j/in)) = s·c / (out·in) · (cos_p[i]·cos_q[j] − sin_p[i]·sin_q[j]),

of rank 2, and all waves are of one size. So dW = s·(Cos·ΔC·Cosᵀ − Sin·ΔC·Sinᵀ) / (out·in) has a rank of at most 2n,
and of twice the number of different p, or q; it is factored where that is smaller than the matrix, else dense.

PEFT does the transform in float32 whatever the model's precision; here it is in float64.

Coordinates: the coefficients, sorted in every matrix by |Δc|: the largest hundredth, the rest of the largest tenth, and
all others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.adapters.base import Adapter, Pair
from dwatlas.delta.ranked import in_share, shares
from dwatlas.errors import UserError
from dwatlas.models.anatomy import Anatomy, Site
from dwatlas.seeds import torch_seed

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.algebra import Matrix
    from dwatlas.train.checkpoint import Checkpoint


class FourierFt(Adapter):
    """Trained Fourier coefficients at random places."""

    kind: Literal["fourierft"] = "fourierft"
    n_frequency: int = Field(256, ge=1, description="Coefficients of each matrix; the paper takes 1,000.")
    scaling: float = Field(150, gt=0, description="Factor s; the paper takes 300 for language models.")

    peft: ClassVar = "FourierFTConfig"
    size: ClassVar = "n_frequency"
    spectrum: ClassVar = "fourierft_spectrum"

    def rank(self, site: Site) -> int:
        return min(2 * self.n_frequency, *site.shape)

    def trainable(self, site: Site) -> int:
        return self.n_frequency

    def sizes(self, anatomy: Anatomy) -> range:
        return range(1, min(math.prod(site.shape) for site in self.sites(anatomy)) + 1)

    def check(self, anatomy: Anatomy) -> None:
        if self.n_frequency > (most := self.sizes(anatomy)[-1]):
            raise UserError(f"n_frequency: {self.n_frequency}, but the smallest matrix has {most} entries; give fewer")

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return {
            "n_frequency": self.n_frequency,
            "scaling": self.scaling,
            "random_loc_seed": torch_seed("places", self.kind, seed),
            "init_weights": True,
        }

    def change(self, pole: Checkpoint, site: Site, weights: Mapping[str, Tensor]) -> Matrix:
        return self.matrix(pole, site, self.coefficients(pole, site))

    def contrast(self, pair: Pair, site: Site) -> Matrix:
        return self.matrix(pair.pos, site, self._difference(pair, site))

    def coordinates(self, anatomy: Anatomy) -> dict[str, tuple[str, ...]]:
        return {"coefficients": shares(self.n_frequency)}

    def part(self, component: str, pair: Pair, site: Site) -> Matrix:
        values = self._difference(pair, site)
        return self.matrix(pair.pos, site, values, in_share(component, values.abs()))

    def matrix(self, pole: Checkpoint, site: Site, values: Tensor, index: Tensor | slice = slice(None)) -> Matrix:
        """The weight change [out, in] that those of the coefficients ``values`` [n] make which ``index`` chooses."""
        import torch

        from dwatlas.delta.algebra import Dense, Factored

        rows, columns = self.places(pole, site)[:, index]
        spectrum = torch.zeros(site.shape, dtype=torch.float64)
        spectrum[rows, columns] = self.scaling * values[index]
        rows, columns = rows.unique(), columns.unique()
        if 2 * min(len(rows), len(columns)) * sum(site.shape) >= math.prod(site.shape):
            return Dense(torch.fft.ifft2(spectrum).real.float())
        chosen = spectrum[rows[:, None], columns] / math.prod(site.shape)
        (cos_out, sin_out), (cos_in, sin_in) = _waves(rows, site.shape[0]), _waves(columns, site.shape[1])
        left, right = torch.cat([cos_out, -sin_out]), torch.cat([cos_in, sin_in])
        if len(rows) <= len(columns):
            right = torch.cat([chosen @ cos_in, chosen @ sin_in])
        else:
            left = torch.cat([chosen.T @ cos_out, -chosen.T @ sin_out])
        return Factored(left.T.float(), right.float())

    def places(self, pole: Checkpoint, site: Site) -> Tensor:
        """Rows and columns [2, n] of the coefficients: PEFT draws them anew with the seed that the checkpoint names."""
        import torch

        generator = torch.Generator().manual_seed(pole.config["random_loc_seed"])
        order = torch.randperm(math.prod(site.shape), generator=generator)[: self.n_frequency]
        return torch.stack([order // site.shape[1], order % site.shape[1]])

    def coefficients(self, pole: Checkpoint, site: Site) -> Tensor:
        """c [n], float64."""
        return pole.get(site.path, self.spectrum)

    def _difference(self, pair: Pair, site: Site) -> Tensor:
        """Δc [n], float64."""
        return self.coefficients(pair.pos, site) - self.coefficients(pair.neg, site)


def _waves(frequencies: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """cos and sin of 2π·p·i/length [frequencies, length], float64."""
    import torch

    angles = 2 * math.pi / length * (frequencies[:, None] * torch.arange(length) % length).double()
    return angles.cos(), angles.sin()
