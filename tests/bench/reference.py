"""The straightforward algorithm: the yardstick that the workflow's scoring is held against, in speed and in numbers.

For each edit and each α, zero included: add α·dW_c to the weights, run every row's full prompt in batches of 8 in file
order with left padding, take the logits of the whole sequence at the last position, subtract α·dW_c again. Nothing of
``dwatlas.scoring`` is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from dwatlas.models.anatomy import Anatomy

BATCH_SIZE = 8
DRIFT = 1e-6
"""Adding and subtracting in floating point does not give the same weights back; a larger change is warned of."""


@torch.no_grad()
def score_all(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    edits: Mapping[str, Mapping[str, Tensor]],
    alphas: Sequence[float],
    yes_ids: list[int],
    no_ids: list[int],
    batch_size: int = BATCH_SIZE,
) -> dict[tuple[str, float], Tensor]:
    """(edit, α) → scores [rows, 3] in nats, float32 on the CPU: lr, logp_yes, logp_no.

    ``texts`` are whole prompts, special tokens and all; an edit maps weights' names to dense changes [out, in].
    Afterwards the weights are what they were; a ``RuntimeWarning`` when they had drifted by more than ``DRIFT``.
    """
    batches = encode(tokenizer, texts, batch_size, model.device)
    parameters = dict(model.named_parameters())
    before = {name: parameters[name].clone() for name in {name for edit in edits.values() for name in edit}}
    scores = {}
    for edit_name, edit in edits.items():
        for alpha in alphas:
            add(parameters, edit, alpha)
            scores[edit_name, alpha] = torch.cat([score(model, batch, yes_ids, no_ids) for batch in batches])
            add(parameters, edit, -alpha)
    changed = max((drift(parameters[name], weight) for name, weight in before.items()), default=0.0)
    if changed > DRIFT:
        warnings.warn(f"adding and subtracting changed a weight by {changed:.1g}", RuntimeWarning, stacklevel=2)
    for name, weight in before.items():
        parameters[name].copy_(weight)
    return scores


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], batch_size: int, device: torch.device
) -> list[BatchEncoding]:
    """Batches of ``texts`` in their order, each padded on the left to its longest."""
    options = {"padding": True, "padding_side": "left", "add_special_tokens": False, "return_tensors": "pt"}
    firsts = range(0, len(texts), batch_size)
    return [tokenizer(texts[first : first + batch_size], **options).to(device) for first in firsts]


def add(parameters: Mapping[str, Tensor], edit: Mapping[str, Tensor], alpha: float) -> None:
    """θ ← θ + α·dW_c, in place."""
    for name, change in edit.items():
        parameters[name].add_(change.to(parameters[name].device), alpha=alpha)


def score(model: PreTrainedModel, batch: BatchEncoding, yes_ids: list[int], no_ids: list[int]) -> Tensor:
    """lr, logp_yes, logp_no [rows, 3] of one batch with the model's present weights."""
    mask = batch["attention_mask"]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=batch["input_ids"], attention_mask=mask, position_ids=positions, use_cache=False).logits
    logp = logits[:, -1].float().log_softmax(-1)
    yes, no = logp[:, yes_ids].logsumexp(-1), logp[:, no_ids].logsumexp(-1)
    return torch.stack([yes - no, yes, no], dim=1).cpu()


def drift(weight: Tensor, before: Tensor) -> float:
    """The largest absolute change of an entry."""
    return float((weight - before).abs().max())


def cost_on_paper(anatomy: Anatomy, vocabulary: int, lengths: list[int], batch_size: int = BATCH_SIZE) -> float:
    """Floating-point operations (2 per multiply-add) of the matrix products of one cell, padding included.

    ``lengths`` are the rows' tokens, in file order. Scores and values of attention are counted as whole t × t matrices.
    """
    weights = sum(rows * columns for rows, columns in (site.shape for site in anatomy.sites()))
    per_token = weights + anatomy.hidden * vocabulary
    per_pair = 2 * anatomy.layers * anatomy.heads * anatomy.head_dim
    batches = [lengths[first : first + batch_size] for first in range(0, len(lengths), batch_size)]
    padded = [(len(batch), max(batch)) for batch in batches]
    return 2.0 * sum(rows * (length * per_token + length**2 * per_pair) for rows, length in padded)
