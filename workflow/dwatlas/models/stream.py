r"""What stands between a block's weights and the residual stream: norms and their gains γ.

The stream of a model with L blocks has 2L + 1 points: 2l is the input of block l, 2l + 1 lies between its attention and
its MLP, 2L is what the final norm gets. Every point is read through a norm, so a reader (q, k, v, gate, up) gets
γ ⊙ h / rms(h); a writer (o, down) adds its output y to the stream, in models with norms on both sides of a layer
(Gemma 2 and 3) γ ⊙ y / rms(y). Gemma's γ is 1 + the norm's weight.

A direction u of the stream therefore arrives at a reader as γ ⊙ u, and leaves a writer as u/γ. Where γ = 0 nothing
passes: such a coordinate is in no subspace of a writer's outputs.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from dwatlas.errors import UserError
from dwatlas.models.anatomy import ATTENTION, Anatomy, parent, point
from dwatlas.provenance import readable

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from dwatlas.models.weights import Weights

NO_GAIN = 1e-6
"""A gain smaller than this share of the largest lets nothing pass."""
_ONE_PLUS = {"gemma", "gemma2", "gemma3", "gemma3_text", "vaultgemma"}
"""Types of models whose norms multiply by 1 + weight."""


def point_norms(anatomy: Anatomy, both_sides: bool) -> list[str]:
    """Dotted names of the norms that read the points of the stream, [2L + 1]; ``both_sides`` for models with a norm
    before and after every layer."""
    middle = "pre_feedforward_layernorm" if both_sides else "post_attention_layernorm"
    blocks = range(anatomy.layers)
    norms = [f"{anatomy.prefix}.{layer}.{norm}" for layer in blocks for norm in ("input_layernorm", middle)]
    return [*norms, f"{_body(anatomy)}.norm"]


class Stream:
    """The residual stream's coordinates in a model's weights. Everything is float64."""

    def __init__(self, anatomy: Anatomy, weights: Weights):
        self.anatomy, self.weights = anatomy, weights
        self.both_sides = f"{anatomy.prefix}.0.pre_feedforward_layernorm.weight" in weights
        self.norms = point_norms(anatomy, self.both_sides)
        self._gains: dict[str, Tensor] = {}

    @cached_property
    def _offset(self) -> float:
        """What is added to a norm's weight; ``UserError`` when the model's type cannot be read."""
        path = self.weights.folder / "config.json"
        with readable(path, "JSON"):
            kind = json.loads(path.read_text(encoding="utf-8")).get("model_type")
        return 1.0 if kind in _ONE_PLUS else 0.0

    def gain(self, norm: str) -> Float[Tensor, " n"]:
        """γ of a norm; entries that are next to nothing are 0."""
        if norm not in self._gains:
            gain = self.weights[f"{norm}.weight"].double() + self._offset
            self._gains[norm] = torch.where(gain.abs() > NO_GAIN * gain.abs().max(), gain, 0.0)
        return self._gains[norm]

    def reads_through(self, layer: int, module: str) -> str:
        """The norm in front of a reader."""
        return self.norms[point(layer, module)]

    def writes_through(self, layer: int, module: str) -> str | None:
        """The norm behind a writer; ``None`` in models without."""
        norm = "post_attention_layernorm" if module in ATTENTION else "post_feedforward_layernorm"
        return f"{self.anatomy.prefix}.{layer}.{norm}" if self.both_sides else None

    def arriving(self, basis: Float[Tensor, "d k"], norm: str) -> Float[Tensor, "d k"]:
        """An orthonormal basis of span(γ ⊙ U): a subspace of the stream, as readers behind the norm get it."""
        return span(self.gain(norm)[:, None] * basis.double())

    def leaving(self, basis: Float[Tensor, "d k"], norm: str | None) -> Float[Tensor, "d k"]:
        """An orthonormal basis of span(U / γ): what a writer in front of the norm must put out to write into U."""
        if norm is None:
            return basis.double()
        gain = self.gain(norm)
        return span(torch.where(gain != 0, 1 / gain, 0.0)[:, None] * basis.double())

    def reader(self, layer: int, module: str) -> Float[Tensor, "out d"]:
        """W·diag(γ): a reader as the stream meets it."""
        return self._weight(layer, module) * self.gain(self.reads_through(layer, module))

    def writer(self, layer: int, module: str) -> Float[Tensor, "d in"]:
        """diag(γ)·W (W in models without a norm behind): a writer as the stream meets it."""
        norm, weight = self.writes_through(layer, module), self._weight(layer, module)
        return weight if norm is None else self.gain(norm)[:, None] * weight

    def unembedding(self) -> Float[Tensor, "vocabulary d"]:
        """The output head (the embedding where they are tied) times diag(γ) of the final norm."""
        heads = (name for name in self.weights if name.rpartition(".")[0].endswith("lm_head"))
        name = next(heads, f"{_body(self.anatomy)}.embed_tokens.weight")
        return self.weights[name].double() * self.gain(self.norms[-1])

    def head_gain(self, layer: int, norm: str) -> Float[Tensor, " e"]:
        """γ of the norm on queries (``q_norm``) or keys (``k_norm``) of a head; ones in models without."""
        name = f"{self.anatomy.prefix}.{layer}.self_attn.{norm}"
        if f"{name}.weight" not in self.weights:
            return torch.ones(self.anatomy.head_dim, dtype=torch.float64)
        gain = self.gain(name)
        if len(gain) != self.anatomy.head_dim:
            raise UserError(f"{self.weights.folder}: {name} spans several heads; models of this type are not supported")
        return gain

    def _weight(self, layer: int, module: str) -> Float[Tensor, "out in"]:
        return self.weights[f"{self.anatomy.prefix}.{layer}.{parent(module)}.{module}.weight"].double()


def span(columns: Float[Tensor, "d n"]) -> Float[Tensor, "d k"]:
    """An orthonormal basis of the columns' span, float64; columns that add no dimension are passed over."""
    q, r = torch.linalg.qr(columns.double())
    sizes = torch.diagonal(r).abs()
    if not len(sizes):
        return q
    return q[:, sizes > len(columns) * torch.finfo(torch.float64).eps * columns.norm(dim=0).max()]


def _body(anatomy: Anatomy) -> str:
    return anatomy.prefix.rpartition(".")[0]
