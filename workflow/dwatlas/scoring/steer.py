"""Put α·dW on a model for the duration of a block, without ever rounding it into low-precision weights.

A float32 weight is replaced by the new tensor W + α·dW and put back afterwards. A weight in lower precision keeps its
value and its layer computes y = W·x + α·dW·x in float32, rounded once at the end: in bf16, (W + dW) − W keeps only
75 % of a delta whose entries are 1/600 of W's, and a side branch added to an output that is already rounded loses
every change of less than half a unit in the last place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from dwatlas.delta.algebra import Delta, Factored, Matrix
from dwatlas.errors import UserError


@contextmanager
def steered(model: nn.Module, delta: Delta, alpha: float) -> Iterator[None]:
    """The model computes with θ₀ + α·dW inside the block; afterwards its weights are the very same tensors."""
    with ExitStack() as undo:
        for name, matrix in delta.items():
            module = _linear(model, name, matrix)
            if module.weight.dtype == torch.float32:
                undo.callback(setattr, module, "weight", module.weight)
                change = matrix.dense().to(module.weight.device)
                module.weight = nn.Parameter(module.weight + alpha * change, requires_grad=False)
            else:
                undo.enter_context(_side_branch(module, matrix, alpha))
        yield


def _linear(model: nn.Module, name: str, matrix: Matrix) -> nn.Linear:
    path = name.removesuffix(".weight")
    try:
        module = model.get_submodule(path)
    except AttributeError as missing:
        raise UserError(f"delta: {name} is not in the model; was it made from another model?") from missing
    if tuple(module.weight.shape) != matrix.shape:
        raise UserError(f"delta: {name} is {matrix.shape}, the model's is {tuple(module.weight.shape)}")
    return module


@contextmanager
def _side_branch(module: nn.Linear, matrix: Matrix, alpha: float) -> Iterator[None]:
    device = module.weight.device
    factors = (matrix.right, matrix.left) if isinstance(matrix, Factored) else (matrix.values,)
    factors = [factor.to(device) for factor in factors]

    def forward(inputs):
        change = exact = inputs.float()
        for factor in factors:
            change = nn.functional.linear(change, factor)
        bias = None if module.bias is None else module.bias.float()
        return (nn.functional.linear(exact, module.weight.float(), bias) + alpha * change).to(inputs.dtype)

    module.forward = forward
    try:
        yield
    finally:
        del module.forward
