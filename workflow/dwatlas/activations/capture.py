"""Run a model over chats and keep what its residual stream holds at the 2L + 1 points (see ``models.stream``).

A point is read where the model reads it, at the input of the norm behind it: so it is the sum of everything written so
far, before any final norm, in every architecture. Sequences are padded on the right; under causal attention no token
sees the padding, and every token keeps its position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dwatlas.errors import UserError
from dwatlas.models.anatomy import Anatomy
from dwatlas.models.stream import point_norms
from dwatlas.train.batches import Example, by_length

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import nn
    from transformers import PreTrainedModel

BATCH_SIZE = 32
"""Sequences run side by side, each with others of about its length."""


@dataclass(frozen=True)
class Captured:
    """The residual stream at every point, float32: at each example's ``last`` token of the prompt, as mean over its
    ``answer``'s tokens (end of turn included), and at its ``first`` token. ``gate`` is the mean of act(W_gate·x) over
    all answers' tokens, each counted once."""

    last: Float[Tensor, "points n d"]
    answer: Float[Tensor, "points n d"]
    first: Float[Tensor, "points n d"]
    gate: Float[Tensor, "layers intermediate"]


@torch.no_grad()
def capture(model: PreTrainedModel, anatomy: Anatomy, examples: Sequence[Example], pad: int) -> Captured:
    """What the model computes on ``examples``; ``pad`` is the token that fills up."""
    parts: dict[str, list[Tensor]] = {name: [] for name in ("last", "answer", "first", "gate")}
    batches = by_length([len(example.ids) for example in examples], BATCH_SIZE)
    for chosen in batches:
        for name, part in _run(model, anatomy, [examples[index] for index in chosen], pad).items():
            parts[name].append(part)
    order = torch.tensor([index for chosen in batches for index in chosen]).argsort()
    residual = {name: torch.cat(parts[name], dim=1)[:, order] for name in ("last", "answer", "first")}
    answers = sum(len(example.ids) - example.prompt for example in examples)
    return Captured(**residual, gate=torch.stack(parts["gate"]).sum(0) / answers)


def _run(model: PreTrainedModel, anatomy: Anatomy, examples: list[Example], pad: int) -> dict[str, Tensor]:
    """One batch of n examples: ``last``, ``answer``, ``first`` [points, n, d], and ``gate`` [layers, intermediate]
    summed over tokens."""
    ids, answers = _padded(examples, pad)
    ids, answers = ids.to(model.device), answers.to(model.device)
    ends = torch.tensor([example.prompt - 1 for example in examples], device=model.device)
    rows = torch.arange(len(examples), device=model.device)
    counts = answers.sum(1, keepdim=True)
    found: dict[tuple[str, int], Tensor] = {}

    def residual(index: int, hidden: Float[Tensor, "n t d"]) -> None:
        found["last", index] = hidden[rows, ends]
        found["answer", index] = (hidden.float() * answers[..., None]).sum(1) / counts
        found["first", index] = hidden[:, 0]

    def gate(index: int, act: nn.Module, outputs: Float[Tensor, "n t m"]) -> None:
        found["gate", index] = act(outputs)[answers].float().sum(0)

    with _watched(model, anatomy, residual, gate):
        model.base_model(input_ids=ids, use_cache=False)
    sizes = {"last": 2 * anatomy.layers + 1, "gate": anatomy.layers}
    sizes |= {"answer": sizes["last"], "first": sizes["last"]}
    return {
        name: torch.stack([found[name, index] for index in range(size)]).float().cpu() for name, size in sizes.items()
    }


def _padded(examples: list[Example], pad: int) -> tuple[Int[Tensor, "n t"], Bool[Tensor, "n t"]]:
    """Token ids, and which of them are an answer's."""
    ids = pad_sequence([torch.tensor(example.ids) for example in examples], batch_first=True, padding_value=pad)
    places = torch.arange(ids.shape[1])
    starts, ends = torch.tensor([(example.prompt, len(example.ids)) for example in examples]).T[:, :, None]
    return ids, (places >= starts) & (places < ends)


@contextmanager
def _watched(
    model: PreTrainedModel,
    anatomy: Anatomy,
    residual: Callable[[int, Tensor], None],
    gate: Callable[[int, nn.Module, Tensor], None],
) -> Iterator[None]:
    """Show every point of the stream and every gate's outputs as the model computes them.

    Raises ``UserError`` when the model's modules are not named as expected.
    """
    try:
        both_sides = hasattr(model.get_submodule(f"{anatomy.prefix}.0"), "pre_feedforward_layernorm")
        norms = [model.get_submodule(name) for name in point_norms(anatomy, both_sides)]
        mlps = [model.get_submodule(f"{anatomy.prefix}.{layer}.mlp") for layer in range(anatomy.layers)]
        gates = [(mlp.gate_proj, mlp.act_fn) for mlp in mlps]
    except AttributeError as missing:
        raise UserError(
            f"models of type {model.config.model_type} are not supported: {missing}; leave out lenses of activations"
        ) from missing
    with ExitStack() as hooks:
        for index, norm in enumerate(norms):
            hooks.callback(norm.register_forward_pre_hook(partial(_input, residual, index)).remove)
        for index, (module, act) in enumerate(gates):
            hooks.callback(module.register_forward_hook(partial(_output, partial(gate, index, act))).remove)
        yield


def _input(show: Callable[[int, Tensor], None], index: int, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    show(index, inputs[0])


def _output(show: Callable[[Tensor], None], module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    show(output)
