"""Random subsets of a prescribed energy."""

from __future__ import annotations

import numpy as np


def matching_units(
    energies: list[float], target: float, rng: np.random.Generator, tries: int, tolerance: float
) -> list[int]:
    """Indices of a random subset whose energies sum to about ``target``: the best prefix of a random order.

    Of ``tries`` random orders the first whose best prefix is within ``tolerance``·target is taken, else the closest.
    At least one index is returned, unless ``target`` is 0.
    """
    if target <= 0:
        return []
    values = np.asarray(energies)
    best, best_error = [], np.inf
    for _ in range(tries):
        order = rng.permutation(len(values))
        errors = np.abs(np.cumsum(values[order]) - target)
        size = int(errors.argmin()) + 1
        if errors[size - 1] < best_error:
            best, best_error = sorted(order[:size].tolist()), float(errors[size - 1])
        if best_error <= tolerance * target:
            break
    return best
