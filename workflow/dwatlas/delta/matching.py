"""Random subsets of a prescribed energy."""

from __future__ import annotations

import numpy as np


def matching_units(
    energies: list[float], target: float, rng: np.random.Generator, tries: int, tolerance: float
) -> list[int]:
    """Indices of a random subset whose energies sum to about ``target``: the best prefix of a random order.

    Closeness is that of the odds e/(1 − e) of the shares e of all energy, so that a subset of a thousandth of what was
    asked for is not close. Of ``tries`` random orders the first whose best prefix has odds within a factor of
    1 + ``tolerance`` is taken, else the closest. The subset is never empty, and never everything unless ``target`` is
    the whole. Energies are positive.
    """
    values = np.asarray(energies)
    whole = values.sum()
    if target >= whole * (1 - 1e-6):
        return list(range(len(values)))
    wanted, allowed = _log_odds(target / whole), np.log1p(tolerance)
    best, best_error = [], np.inf
    for _ in range(tries):
        order = rng.permutation(len(values))
        errors = np.abs(_log_odds(np.cumsum(values[order])[: max(len(values) - 1, 1)] / whole) - wanted)
        size = int(errors.argmin()) + 1
        if not best or errors[size - 1] < best_error:
            best, best_error = sorted(order[:size].tolist()), float(errors[size - 1])
        if best_error <= allowed:
            break
    return best


def _log_odds(share: np.ndarray | float) -> np.ndarray:
    return np.log(share) - np.log(np.maximum(1 - np.asarray(share), np.finfo(float).eps))
