"""Train one pole of an adapter on its answers: AdamW, loss on the answer's tokens only.

Next to a plain loop over full logits this computes logits for the answers' tokens alone, pads little, since batches
hold examples of similar length, needs no attention mask, and reads the losses back only now and then, so that a GPU
is not made to wait after every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerBase, get_linear_schedule_with_warmup

from dwatlas.adapters.base import Adapter
from dwatlas.errors import UserError
from dwatlas.train.batches import Batch, Example, batch_of, by_length, examples_of, training_order

TRAIN_SCHEMA = pa.schema([("step", pa.int32()), ("split", pa.string()), ("loss", pa.float32())])
DIVERGED, COLLAPSED = 10.0, 1.5
"""Training fails when the loss of a step exceeds its first value this many times, or the mean loss of the last quarter
of the steps does: a model that was driven into a corner answers like a uniform guess, at a finite loss."""
READ_EVERY = 10
"""Steps between two looks at the losses."""


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
    adapter: Adapter,
    rng: np.random.Generator,
    say: Callable[[str], None],
    lengths: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Train in place and return the losses (columns of ``TRAIN_SCHEMA``; ``split`` is train or held_out).

    ``lengths`` [pairs] say which pairs are alike in length (by default the tokens of each).
    Raises ``UserError`` with the step when the loss is not finite or grows tenfold.
    """
    settings = adapter.training
    examples, others = examples_of(tokenizer, pairs), examples_of(tokenizer, held_out)
    if not examples:
        raise UserError("no answers to train on; ask more questions or lower training.held_out_share")
    if lengths is None:
        lengths = [len(example.ids) for example in examples]
    pad = tokenizer.pad_token_id
    start = held_out_loss(model, others, settings.batch_size, pad)
    order = training_order(lengths, settings.batch_size, settings.steps, rng)
    batches = (batch_of([examples[index] for index in chosen], pad, model.device) for chosen in order)
    model.train()
    losses = _train(model, batches, adapter, say)
    model.eval()
    final = held_out_loss(model, others, settings.batch_size, pad)
    if others and not math.isfinite(final):
        raise UserError(f"held-out loss is {final} at step {settings.steps}; lower training.learning_rate")
    log = [(0, "held_out", start), *((step, "train", loss) for step, loss in enumerate(losses, start=1))]
    return pd.DataFrame([*log, (settings.steps, "held_out", final)], columns=TRAIN_SCHEMA.names)


def answer_loss(model: PeftModel, batch: Batch) -> Tensor:
    """Mean cross-entropy over the answers' tokens, in nats, float32."""
    causal = model.get_base_model()
    hidden = causal.get_decoder()(input_ids=batch.inputs, use_cache=False)[0]
    logits = causal.get_output_embeddings()(hidden.flatten(0, 1).index_select(0, batch.positions)).float()
    softcap = getattr(causal.config.get_text_config(), "final_logit_softcapping", None)
    return cross_entropy(softcap * torch.tanh(logits / softcap) if softcap else logits, batch.targets)


@torch.no_grad()
def held_out_loss(model: PeftModel, examples: list[Example], batch_size: int, pad: int) -> float:
    """Mean loss per answer token over held-out examples, in nats; NaN when there are none."""
    total, tokens = 0.0, 0
    for chosen in by_length([len(example.ids) for example in examples], batch_size):
        batch = batch_of([examples[index] for index in chosen], pad, model.device)
        total += answer_loss(model, batch).item() * len(batch.targets)
        tokens += len(batch.targets)
    return total / tokens if tokens else math.nan


def _train(model: PeftModel, batches: Iterable[Batch], adapter: Adapter, say: Callable[[str], None]) -> list[float]:
    """One optimiser step per batch; returns the loss of every step, without the method's own penalty."""
    settings = adapter.training
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    schedule = get_linear_schedule_with_warmup(optimiser, settings.warmup_steps, settings.steps)
    losses: list[float] = []
    unread: list[Tensor] = []
    for step, batch in enumerate(batches, start=1):
        loss = answer_loss(model, batch)
        optimiser.zero_grad()
        (loss + adapter.penalty(model)).backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
        optimiser.step()
        schedule.step()
        adapter.after_step(model, step)
        unread.append(loss.detach())
        report = step % max(settings.steps // 4, 1) == 0
        if report or step == settings.steps or len(unread) == READ_EVERY:
            losses += torch.stack(unread).tolist()
            unread.clear()
            _check(losses)
        if report:
            say(f"step {step}/{settings.steps}, loss {losses[-1]:.3f}")
    late = np.mean(losses[-max(settings.steps // 4, 1) :])
    if late > COLLAPSED * max(losses[0], 1.0):
        raise UserError(
            f"loss rose from {losses[0]:.4g} to {late:.4g} at step {settings.steps}; lower training.learning_rate"
        )
    return losses


def _check(losses: list[float]) -> None:
    """Raise ``UserError`` at the first loss that is not finite or ten times the first."""
    for step, loss in enumerate(losses, start=1):
        if not math.isfinite(loss) or loss > DIVERGED * max(losses[0], 1.0):
            raise UserError(f"loss is {loss:.4g} at step {step}; lower training.learning_rate")
