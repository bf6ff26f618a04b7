r"""OLoRA: orthonormal low-rank adaptation (Büyükakyüz 2024, arXiv:2406.01775).

θ = W_res + s·B·A with s = alpha / r. With the QR decomposition W = Q·R, B starts as the first r columns of Q, which
are orthonormal, and A as the first r rows of R, and the base becomes W_res = W − s·B₀A₀: no change at the start. All
that is said of τ, dW, their rank ≤ 2r and the coordinates in ``pissa`` holds here too, with this start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dwatlas.adapters.pissa import Pissa
from dwatlas.models.anatomy import Anatomy

if TYPE_CHECKING:
    from torch import Tensor

    from dwatlas.delta.factors import Product


class Olora(Pissa):
    """Low-rank adaptation that starts from the base weight's QR decomposition."""

    kind: Literal["olora"] = "olora"

    def settings(self, anatomy: Anatomy, seed: int) -> dict[str, object]:
        return super().settings(anatomy, seed) | {"init_lora_weights": "olora"}

    def start(self, weight: Tensor) -> Product:
        import torch

        q, r = torch.linalg.qr(weight.float())
        return self.scaled(q[:, : self.r].double(), r[: self.r].double())
