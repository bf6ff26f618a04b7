"""Train one pole of an adapter on its answers: AdamW, loss on the answer's tokens only."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerBase, get_linear_schedule_with_warmup

from dwatlas.adapters.base import Training
from dwatlas.errors import UserError
from dwatlas.models.load import encode

TRAIN_SCHEMA = pa.schema([("step", pa.int32()), ("split", pa.string()), ("loss", pa.float32())])
DIVERGED, COLLAPSED = 10.0, 1.5
"""Training fails when the loss of a step exceeds its first value this many times, or the mean loss of the last quarter
of the steps does: a model that was driven into a corner answers like a uniform guess, at a finite loss."""

Example = tuple[list[int], int]
"""Token ids of prompt and answer, and how many of them are the prompt's."""


def examples_of(tokenizer: PreTrainedTokenizerBase, pairs: pd.DataFrame) -> list[Example]:
    """Chat-format every pair without a system prompt."""
    examples = []
    for line in pairs.itertuples():
        chat = [{"role": "user", "content": line.prompt}]
        prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template([*chat, {"role": "assistant", "content": line.answer}], tokenize=False)
        if not whole.startswith(prompt):
            raise UserError("tokenizer: its chat template changes the prompt when an answer follows; use another")
        prompt_ids, answer_ids = encode(tokenizer, prompt), encode(tokenizer, whole[len(prompt) :])
        examples.append((prompt_ids + answer_ids, len(prompt_ids)))
    return examples


def split_held_out(pairs: pd.DataFrame, share: float, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and held-out pairs: whole questions are held out, the same for both poles."""
    questions = np.sort(pairs["question_id"].unique())
    held = rng.permutation(questions)[: round(share * len(questions))]
    chosen = pairs["question_id"].isin(held)
    return pairs[~chosen], pairs[chosen]


def fit(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: pd.DataFrame,
    held_out: pd.DataFrame,
    settings: Training,
    rng: np.random.Generator,
    say: Callable[[str], None],
) -> pd.DataFrame:
    """Train in place and return the losses (columns of ``TRAIN_SCHEMA``; ``split`` is train or held_out).

    Raises ``UserError`` with the step when the loss is not finite or grows tenfold.
    """
    examples = examples_of(tokenizer, pairs)
    if not examples:
        raise UserError("no answers to train on; ask more questions or lower training.held_out_share")
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = get_linear_schedule_with_warmup(optimiser, settings.warmup_steps, settings.steps)
    log = [{"step": 0, "split": "held_out", "loss": held_out_loss(model, tokenizer, held_out, settings.batch_size)}]
    model.train()
    first = None
    for step, chosen in enumerate(_order(len(examples), settings, rng), start=1):
        loss = _loss(model, [examples[index] for index in chosen], tokenizer.pad_token_id)
        value = loss.item()
        first = value if first is None else first
        if not math.isfinite(value) or value > DIVERGED * max(first, 1.0):
            raise UserError(f"loss is {value:.4g} at step {step}; lower training.learning_rate")
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
        optimiser.step()
        schedule.step()
        log.append({"step": step, "split": "train", "loss": value})
        if step % max(settings.steps // 4, 1) == 0:
            say(f"step {step}/{settings.steps}, loss {value:.3f}")
    late = np.mean([line["loss"] for line in log[-max(settings.steps // 4, 1) :]])
    if late > COLLAPSED * max(first, 1.0):
        raise UserError(
            f"loss rose from {first:.4g} to {late:.4g} at step {settings.steps}; lower training.learning_rate"
        )
    model.eval()
    final = held_out_loss(model, tokenizer, held_out, settings.batch_size)
    if len(held_out) and not math.isfinite(final):
        raise UserError(f"held-out loss is {final} at step {settings.steps}; lower training.learning_rate")
    return pd.DataFrame([*log, {"step": settings.steps, "split": "held_out", "loss": final}])


@torch.no_grad()
def held_out_loss(model: PeftModel, tokenizer: PreTrainedTokenizerBase, pairs: pd.DataFrame, batch_size: int) -> float:
    """Mean loss per answer token over held-out pairs, in nats; NaN when there are none."""
    examples = examples_of(tokenizer, pairs)
    total, tokens = 0.0, 0
    for first in range(0, len(examples), batch_size):
        batch = examples[first : first + batch_size]
        count = sum(len(ids) - prompt for ids, prompt in batch)
        total += _loss(model, batch, tokenizer.pad_token_id).item() * count
        tokens += count
    return total / tokens if tokens else math.nan


def _order(size: int, settings: Training, rng: np.random.Generator):
    """Indices of each step's batch: one random order of all examples after another."""
    queue: list[int] = []
    for _ in range(settings.steps):
        while len(queue) < settings.batch_size:
            queue += rng.permutation(size).tolist()
        yield queue[: settings.batch_size]
        queue = queue[settings.batch_size :]


def _loss(model: PeftModel, batch: list[Example], pad: int) -> torch.Tensor:
    """Mean cross-entropy over the answer tokens of a right-padded batch, float32."""
    length = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([ids + [pad] * (length - len(ids)) for ids, _ in batch], device=model.device)
    position = torch.arange(length, device=model.device)
    starts = torch.tensor([prompt for _, prompt in batch], device=model.device)[:, None]
    ends = torch.tensor([len(ids) for ids, _ in batch], device=model.device)[:, None]
    answer = ((position >= starts) & (position < ends))[:, 1:]
    logits = model(input_ids=ids, attention_mask=(position < ends).long()).logits[:, :-1]
    return cross_entropy(logits[answer].float(), ids[:, 1:][answer])
