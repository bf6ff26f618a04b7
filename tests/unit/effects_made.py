"""Effects made from arrays: the full dW's, and parts' of lenses."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dwatlas.statistics.arrays import SIZES
from dwatlas.statistics.effects import Effects


def effects_of(D, parts=None):
    """Effects (seeds × items) of the full dW and of parts: (lens, component, mode) → array."""
    arrays = {("anchors", "full", "full"): np.asarray(D, dtype=float), **(parts or {})}
    lines = [
        {"lens": lens, "component": component, "mode": mode, "control": "", "stands_for": "", "draw": -1, "seed": seed,
         **dict.fromkeys(SIZES, 0.5)}
        for (lens, component, mode), array in arrays.items()
        for seed in range(len(array))
    ]  # fmt: skip
    return Effects(pd.DataFrame(lines), {"antisymmetric": np.concatenate(list(arrays.values()))})
