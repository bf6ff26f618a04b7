"""Activations of the model steered by dW to either side: what dW does, an oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dwatlas.activations.capture import capture
from dwatlas.activations.matched import contrasts, matched
from dwatlas.scoring.steer import Edit, steered
from dwatlas.train.batches import example_of

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from dwatlas.delta.algebra import Delta
    from dwatlas.models.anatomy import Anatomy


def steered_activations(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, anatomy: Anatomy, pairs: pd.DataFrame, delta: Delta
) -> dict[str, Tensor]:
    """``contrast.last, contrast.answer`` [2L + 1, n, d], float32: the model with + dW on the positive pole's answers −
    the model with − dW on the negative pole's, without personas."""
    found = {}
    for (pole, side), alpha in zip(matched(pairs).items(), (1.0, -1.0), strict=True):
        examples = [example_of(tokenizer, line.prompt, line.answer) for line in side.itertuples()]
        with steered(model, [Edit(delta, alpha)]):
            found[pole] = capture(model, anatomy, examples, tokenizer.pad_token_id)
    return contrasts(*found.values())
