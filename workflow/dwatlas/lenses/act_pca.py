r"""Lens ``act_pca``: does dW act along the directions in which activations differ between the poles?

A contrast is h⁺ − h⁻ of one question: the residual stream under the positive pole less that under the negative one.
Contrasts C [n, d] are taken at the last token of the prompt (``last``) or as mean over the answer's tokens
(``answer``), at a matrix's own point of the stream (``cumulative``) or as what its block adds, the difference between
the points after and before it (``block``). With the *uncentred* SVD C = A·S·Uᵀ (Gram matrix CᵀC, no mean subtracted)
the first k right singular vectors are the component ``answer-cumulative-k`` …; the mean direction is among them, which
PCA with centring would remove. Readers are projected on their input side, writers on their output side
(``_residual``): keep = dW·Q or P·dW; drop = the complement; potency = the projection at the norm of dW.

``source: persona`` takes the base model under opposite personas, which no trained adapter has touched. With
``source: steered`` the contrasts are those of the model with + dW and − dW: an oracle, its components named
``oracle-…``, that tells how well any basis of activations could do.

What it cannot tell: k of d dimensions hold a share of any dW, more the larger k is, so every component is held
against Haar-random subspaces of the same dimensions, shared between matrices in the same way (``basis``), and against
Gaussian noise of the same per-tensor norms (``norm``). Random subspaces hold less of dW's energy than these do, so it
is also held against all of dW at the component's energy (``scale``). The oracle's basis is what dW does, so that dW
acts in it is no finding; its excess is only a ceiling for the persona's. Where the contrast is exactly zero (the last
token of the prompt at the input of the model, which is the same for both poles) there is no basis, and the matrices
there are no part of the component. A subspace in which activations *differ* need not be one through which they *act*:
small R_keep says that dW works elsewhere, not that the persona is not represented there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from dwatlas.lenses._residual import Residual, Shared
from dwatlas.lenses.base import Given, Need, distinct
from dwatlas.models.anatomy import Anatomy

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from dwatlas.adapters.base import Adapter

_ORACLE = "oracle-"
_Dimension = Annotated[int, Field(ge=1)]


class ActPca(Residual):
    """Leading directions of activation contrasts."""

    kind: Literal["act_pca"] = "act_pca"
    source: Literal["persona", "steered"] = Field(
        "persona",
        description="What is contrasted: the base model under opposite personas, or the model steered by dW (oracle).",
    )
    tokens: tuple[Literal["last", "answer"], ...] = Field(
        ("last", "answer"), min_length=1, description="The prompt's last token, or the mean over the answer."
    )
    streams: tuple[Literal["cumulative", "block"], ...] = Field(
        ("cumulative", "block"), min_length=1, description="The whole stream at each point, or what each block adds."
    )
    dimensions: tuple[_Dimension, ...] = Field(
        (1, 2, 4, 8, 16, 32, 64), min_length=1, description="Numbers of leading directions."
    )

    choosing: ClassVar = frozenset({"tokens", "streams", "dimensions"})

    _distinct = field_validator("tokens", "streams", "dimensions")(distinct)

    @property
    def needs(self) -> tuple[Need, ...]:
        return (f"{self.source}_activations",)

    def names(self, adapter: Adapter, anatomy: Anatomy) -> list[str]:
        if not self._touches(adapter, anatomy):
            return []
        prefix = _ORACLE if self.source == "steered" else ""
        sizes = [size for size in self.dimensions if size < anatomy.hidden]
        return [f"{prefix}{token}-{stream}-{k}" for token in self.tokens for stream in self.streams for k in sizes]

    def shared(self, component: str) -> Shared:
        return "block" if "-block-" in component else "point"

    def bases(self, given: Given, component: str) -> list[Float[Tensor, "d k"]]:
        token, stream, size = component.removeprefix(_ORACLE).split("-")
        directions = given.once((self, token, stream), lambda: self._directions(given, token, stream))
        return [one[:, : int(size)] for one in directions]

    def _directions(self, given: Given, token: str, stream: str) -> list[Float[Tensor, "d k"]]:
        """Right singular vectors of every block's or point's contrasts, as many as are asked for."""
        contrasts = given.activations[f"contrast.{token}"].double()
        if stream == "block":
            contrasts = contrasts[2::2] - contrasts[:-1:2]
        return [_leading(one, max(self.dimensions)) for one in contrasts]


def _leading(contrasts: Float[Tensor, "n d"], most: int) -> Float[Tensor, "d k"]:
    """The first ``most`` right singular vectors, without those of singular values that are float32's rounding."""
    import torch

    _, s, vh = torch.linalg.svd(contrasts, full_matrices=False)
    noise = max(contrasts.shape) * torch.finfo(torch.float32).eps * s[0]
    return vh[: min(most, int((s > noise).sum()))].T
