r"""Additive shares of an effect: integrated gradients along α (Sundararajan et al. 2017, arXiv:1703.01365).

The antisymmetric effect of dW on a score f is a sum over any parts that make up dW:

    ½[f(θ₀ + dW) − f(θ₀ − dW)] = Σ_c ⟨G, dW_c⟩        G = ½ ∫₋₁¹ ∂f/∂θ(θ₀ + α·dW) dα

G does not depend on the parts, so one backward pass for each of a few α (Gauss–Legendre nodes) serves all components of
all lenses. A share says how much a part contributes beside the others; it is no ablation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from dwatlas.delta.algebra import Delta, Dense, inner
from dwatlas.errors import UserError
from dwatlas.scoring.blocks import replaced_forwards
from dwatlas.scoring.scorer import Prepared
from dwatlas.scoring.steer import Edit, layer

POINTS = 16


def mean_gradient(prepared: Prepared, delta: Delta, weights: Tensor, points: int = POINTS) -> Delta:
    """G for f = Σ weights · lr over the rows of a yes-or-no eval (``weights`` [rows]); float32, on the CPU.

    ``points`` is even: then no node is 0, where there is no dW to differentiate by.
    """
    total: dict[str, Tensor] = {}
    for alpha, length in zip(*np.polynomial.legendre.leggauss(points), strict=True):
        for name, gradient in _gradient(prepared, Edit(delta, float(alpha)), weights).items():
            total[name] = total.get(name, 0) + float(length) / 2 * gradient
    return {name: Dense(gradient.cpu()) for name, gradient in total.items()}


def share(gradient: Delta, part: Delta) -> float:
    """⟨G, dW_c⟩ of one part, in the units of f."""
    return sum(inner(gradient[name], matrix) for name, matrix in part.items())


def _gradient(prepared: Prepared, edit: Edit, weights: Tensor) -> dict[str, Tensor]:
    """∂f/∂W [out, in] of every edited weight, at θ₀ + α·dW."""
    leaves: dict[str, Tensor] = {}

    @contextmanager
    def differentiable(model: nn.Module, edits: Sequence[Edit]) -> Iterator[None]:
        (one,) = edits
        forwards = {}
        for name, matrix in one.delta.items():
            module = layer(model, name, matrix)
            if not isinstance(module, nn.Linear) or name.endswith(".bias"):
                raise UserError(f"delta: {name} is no linear layer's weight; additive shares are of those only")
            change = matrix.dense().to(module.weight.device)
            leaves[name] = (module.weight.float() + one.alpha * change).requires_grad_()
            forwards[module] = _Linear(leaves[name], module.bias)
        with replaced_forwards(forwards):
            yield

    with torch.enable_grad():
        for batch, hidden in prepared.passes.final([edit], put=differentiable):
            lr = prepared.choice(hidden[:, :, -1])["lr"][0]
            (lr @ weights[batch.rows].to(lr)).backward(retain_graph=True)  # the batches share the stem's graph
    return {name: leaf.grad for name, leaf in leaves.items()}


class _Linear:
    """y = W·x + b with a float32 W."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        self.weight, self.bias = weight, None if bias is None else bias.float()

    def __call__(self, inputs: Tensor) -> Tensor:
        return nn.functional.linear(inputs.float(), self.weight, self.bias).to(inputs.dtype)
