"""The pairs whose activations are contrasted: a question's answers of both poles, sampled under personas of the same
number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from dwatlas.activations.capture import Captured
from dwatlas.errors import UserError
from dwatlas.pairs.poles import POLES

if TYPE_CHECKING:
    from torch import Tensor

MOST = 256
"""Pairs that are looked at, the first of the file."""


def matched(pairs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Both poles' lines, matched by question and sample, at most ``MOST`` each, in the file's order.

    Raises ``UserError`` when no question has an answer of both poles.
    """
    keys = ["question_id", "sample"]
    sides = {pole: pairs[pairs["pole"] == pole] for pole in POLES}
    both = sides["pos"][keys].merge(sides["neg"][keys]).head(MOST)
    if both.empty:
        raise UserError("pairs: no question has answers of both poles; ask more questions or take more samples")
    return {pole: both.merge(side) for pole, side in sides.items()}


def contrasts(pos: Captured, neg: Captured) -> dict[str, Tensor]:
    """Positive − negative pole, pair by pair."""
    return {"contrast.last": pos.last - neg.last, "contrast.answer": pos.answer - neg.answer}
