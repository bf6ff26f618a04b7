"""Run a model over chats and keep what its residual stream holds at the 2L + 1 points (see ``models.stream``).

A point is read where the model reads it, at the input of the norm behind it: so it is the sum of everything written so
far, before any final norm, in every architecture. Sequences are padded on the right; under causal attention no token
sees the padding, and every token keeps its position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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
    found: dict[str, list[Tensor]] = {name: [] for name in ("last", "answer", "first", "gate")}

    def residual(hidden: Float[Tensor, "n t d"]) -> None:
        found["last"].append(hidden[rows, ends])
        found["answer"].append((hidden.float() * answers[..., None]).sum(1) / counts)
        found["first"].append(hidden[:, 0])

    def gate(activations: Float[Tensor, "n t m"]) -> None:
        found["gate"].append(activations[answers].float().sum(0))

    with _watched(model, anatomy, residual, gate):
        model.base_model(input_ids=ids, use_cache=False)
    return {name: torch.stack(seen).float().cpu() for name, seen in found.items()}


def _padded(examples: list[Example], pad: int) -> tuple[Int[Tensor, "n t"], Bool[Tensor, "n t"]]:
    """Token ids, and which of them are an answer's."""
    ids = pad_sequence([torch.tensor(example.ids) for example in examples], batch_first=True, padding_value=pad)
    places = torch.arange(ids.shape[1])
    starts, ends = torch.tensor([(example.prompt, len(example.ids)) for example in examples]).T[:, :, None]
    return ids, (places >= starts) & (places < ends)


@contextmanager
def _watched(
    model: PreTrainedModel, anatomy: Anatomy, residual: Callable[[Tensor], None], gate: Callable[[Tensor], None]
) -> Iterator[None]:
    """Show every point of the stream and every gate's activations in the order in which the model computes them.

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
        for norm in norms:
            hook = norm.register_forward_pre_hook(lambda module, inputs: residual(inputs[0]))
            hooks.callback(hook.remove)
        for module, act in gates:
            hook = module.register_forward_hook(lambda module, inputs, output, act=act: gate(act(output)))
            hooks.callback(hook.remove)
        yield
