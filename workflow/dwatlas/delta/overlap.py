r"""How much the dW of different runs have in common.

    ``left``, ``right``  φ(k) = ‖U_kᵀ·V_k‖²_F / k of the k leading left (right) singular directions of two dW, U and V,
                         in the same tensor (Hu et al. 2021, arXiv:2106.09685, §7.2): 1 for the same subspace. Where one
                         has i and the other j ≤ k directions it is ‖U_iᵀ·V_j‖²_F / min(i, j), and for random subspaces
                         of d dimensions max(i, j)/d on average: ``null``. Means over tensors.
    ``cosine``           ⟨dW, dW'⟩/(‖dW‖·‖dW'‖) over all tensors, 0 on average for random matrices.

A dW is compared as a whole, never its factors, which are free up to an invertible matrix between them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations

import numpy as np

from dwatlas.delta.algebra import Delta, Matrix, energy, inner, svd

DIMENSIONS = (1, 2, 4, 8, 16, 32, 64)


def overlaps(runs: int, tensors: Iterable[str], read: Callable[[int, str], Delta]) -> Iterator[tuple[int, int, dict]]:
    """(first run, second run, ``measure``, ``k``, ``value`` and ``null``) for every pair of ``runs`` runs.

    ``read(run, tensor)`` gives a run's dW of one tensor (empty where it does not change it); one tensor of all runs is
    in memory at a time.
    """
    inners, energies = np.zeros((runs, runs)), np.zeros(runs)
    found: dict[tuple, list[tuple[float, float]]] = defaultdict(list)
    for tensor in tensors:
        matrices = [read(run, tensor).get(tensor) for run in range(runs)]
        for run, matrix in enumerate(matrices):
            energies[run] += energy(matrix) if matrix else 0.0
        for first, second in combinations(range(runs), 2):
            pair = matrices[first], matrices[second]
            if all(pair):
                inners[first, second] += inner(*pair)
                for measure, k, value, null in _subspaces(pair):
                    found[first, second, measure, k].append((value, null))
    for first, second in combinations(range(runs), 2):
        scale = np.sqrt(energies[first] * energies[second])
        if scale:
            yield first, second, {"measure": "cosine", "k": 0, "value": inners[first, second] / scale, "null": 0.0}
    for (first, second, measure, k), pairs in found.items():
        value, null = np.mean(pairs, axis=0)
        yield first, second, {"measure": measure, "k": k, "value": value, "null": null}


def _subspaces(pair: Sequence[Matrix]) -> Iterator[tuple[str, int, float, float]]:
    """φ(k) and its null of one tensor, for every k up to the larger rank."""
    spectra = [svd(matrix) for matrix in pair]
    ranks = [len(spectrum.s) for spectrum in spectra]
    if min(ranks) == 0 or min(pair[0].shape) == 1:
        return
    crosses = {
        "left": (spectra[0].u.double().T @ spectra[1].u.double(), pair[0].shape[0]),
        "right": (spectra[0].vh.double() @ spectra[1].vh.double().T, pair[0].shape[1]),
    }
    for measure, (cross, width) in crosses.items():
        squares = cross.square().cumsum(0).cumsum(1).numpy()
        for k in DIMENSIONS:
            if k <= max(ranks):
                i, j = min(k, ranks[0]), min(k, ranks[1])
                yield measure, k, squares[i - 1, j - 1] / min(i, j), max(i, j) / width
