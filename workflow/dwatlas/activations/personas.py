"""Activations of the base model under opposite personas, and of the same questions without any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dwatlas.activations.capture import capture
from dwatlas.activations.matched import MOST, contrasts, matched
from dwatlas.pairs.poles import POLES
from dwatlas.pairs.sample import generate
from dwatlas.train.batches import Example, example_of

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from dwatlas.models.anatomy import Anatomy

ASKED_AT_ONCE = 64
"""Questions answered side by side."""


def persona_activations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    anatomy: Anatomy,
    pairs: pd.DataFrame,
    personas: dict[str, list[str]],
    max_new_tokens: int,
) -> dict[str, Tensor]:
    """The base model's activations, float32, with L layers, 2L + 1 points, n pairs and m questions.

    ``contrast.last, contrast.answer`` [2L + 1, n, d]: positive − negative pole, each pole's persona as the system's
    turn and its own sampled answer. From the questions without persona, answered greedily: ``attention`` [L, m, d],
    what attention adds to the stream, as mean over the answer; ``gate`` [L, intermediate], the mean of act(W_gate·x)
    over answers' tokens; ``sink`` [2L + 1, d], the mean at the first token.
    """
    poles = {
        pole: [
            example_of(tokenizer, line.prompt, line.answer, personas[pole][line.persona]) for line in side.itertuples()
        ]
        for pole, side in matched(pairs).items()
    }
    pos, neg = (capture(model, anatomy, poles[pole], tokenizer.pad_token_id) for pole in POLES)
    plain = answered(model, tokenizer, list(dict.fromkeys(pairs["prompt"]))[:MOST], max_new_tokens)
    neutral = capture(model, anatomy, plain, tokenizer.pad_token_id)
    return contrasts(pos, neg) | {
        "attention": neutral.answer[1::2] - neutral.answer[:-1:2],
        "gate": neutral.gate,
        "sink": neutral.first.mean(1),
    }


def answered(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: list[str], max_new_tokens: int
) -> list[Example]:
    """Questions with the model's own greedy answers of at most ``max_new_tokens``, finished or not."""
    examples = []
    for first in range(0, len(questions), ASKED_AT_ONCE):
        asked = questions[first : first + ASKED_AT_ONCE]
        chats = [[{"role": "user", "content": question}] for question in asked]
        tokens = generate(model, tokenizer, chats, max_new_tokens, do_sample=False)
        answers = [tokenizer.decode(answer, skip_special_tokens=True).strip() for answer in tokens]
        examples += [example_of(tokenizer, *both) for both in zip(asked, answers, strict=True)]
    return examples
