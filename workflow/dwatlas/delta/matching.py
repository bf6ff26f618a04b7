"""Random subsets of a prescribed energy."""

from __future__ import annotations

import numpy as np


def matching_units(
    energies: list[float], target: float, rng: np.random.Generator, tries: int, tolerance: float
) -> list[int]:
    """Indices of a random subset whose energies sum to about ``target``: the best prefix of a random order.

    Of ``tries`` random orders the first whose best prefix is within ``tolerance`` of what is kept and of what is left
    is taken, else the closest. The subset is never empty, and never everything unless ``target`` is the whole.
    """
    values = np.asarray(energies)
    whole = values.sum()
    if target >= whole * (1 - 1e-6):
        return list(range(len(values)))
    allowed = tolerance * min(target, whole - target)
    best, best_error = [], np.inf
    for _ in range(tries):
        order = rng.permutation(len(values))
        errors = np.abs(np.cumsum(values[order])[: max(len(values) - 1, 1)] - target)
        size = int(errors.argmin()) + 1
        if errors[size - 1] < best_error:
            best, best_error = sorted(order[:size].tolist()), float(errors[size - 1])
        if best_error <= allowed:
            break
    return best
