r"""How much the dW of different runs have in common.

    ``cosine``           ⟨dW, dW'⟩/(‖dW‖·‖dW'‖) over all tensors, 0 on average for random matrices.
    ``left``, ``right``  φ(k) = ‖U_kᵀ·V_k‖²_F / k of the k leading left (right) singular directions of two dW, U and V,
                         in the same tensor (Hu et al. 2021, arXiv:2106.09685, §7.2): 1 for the same subspace. Where one
                         has i and the other j ≤ k directions it is ‖U_iᵀ·V_j‖²_F / min(i, j), and for random subspaces
                         of d dimensions max(i, j)/d on average. Means over tensors.
    ``angle-left``,      the largest principal angle between the same subspaces, in degrees: arccos of the smallest
    ``angle-right``      singular value of U_iᵀ·V_j (Björck & Golub 1973). 0 where one holds the other, 90 where a
                         direction of the smaller is at right angles to all of the other; good to 0.05 degrees. For
                         random subspaces by ``DRAWS`` draws. Means over tensors.
    ``cka``              alignment of what they do, dW·x, on fixed inputs (``delta.cka``), for random dW of the same
                         spectra by draws. Mean over the tensors that are projections.

Each has its ``null``, what random stand-ins give. A dW is compared as a whole, never its factors, which are free up to
an invertible matrix between them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh

from dwatlas.delta.algebra import Delta, Matrix, energy, inner, svd
from dwatlas.delta.cka import outputs, random_gram, unit_gram
from dwatlas.seeds import rng

if TYPE_CHECKING:
    from torch import Tensor

DIMENSIONS = (1, 2, 4, 8, 16, 32, 64)
DRAWS = 200
"""Random subspaces for the null of the largest principal angle."""


def overlaps(
    runs: int,
    tensors: Iterable[str],
    read: Callable[[int, str], Delta],
    inputs: Callable[[str], Tensor | None],
    stream: Callable[[int, str], np.random.Generator],
) -> Iterator[tuple[int, int, dict]]:
    """(first run, second run, ``measure``, ``k``, ``value`` and ``null``) for every pair of ``runs`` runs.

    ``read(run, tensor)`` gives a run's dW of one tensor (empty where it does not change it), ``inputs(tensor)`` the
    tensor's inputs [n, in] if it has any, ``stream(run, tensor)`` the random numbers of its stand-ins; one tensor of
    all runs is in memory at a time.
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
        x = inputs(tensor)
        if x is not None:
            for first, second, value, null in _alignments(matrices, x, [stream(run, tensor) for run in range(runs)]):
                found[first, second, "cka", 0].append((value, null))
    for first, second in combinations(range(runs), 2):
        scale = np.sqrt(energies[first] * energies[second])
        if scale:
            yield first, second, {"measure": "cosine", "k": 0, "value": inners[first, second] / scale, "null": 0.0}
    for (first, second, measure, k), pairs in found.items():
        value, null = np.mean(pairs, axis=0)
        yield first, second, {"measure": measure, "k": k, "value": value, "null": null}


def _subspaces(pair: Sequence[Matrix]) -> Iterator[tuple[str, int, float, float]]:
    """φ(k) and the largest angle of one tensor with their nulls, for every k up to the larger rank."""
    spectra = [svd(matrix) for matrix in pair]
    ranks = [len(spectrum.s) for spectrum in spectra]
    if min(ranks) == 0 or min(pair[0].shape) == 1:
        return
    crosses = {
        "left": (spectra[0].u.double().T @ spectra[1].u.double(), pair[0].shape[0]),
        "right": (spectra[0].vh.double() @ spectra[1].vh.double().T, pair[0].shape[1]),
    }
    for side, (cross, width) in crosses.items():
        cosines = cross.numpy()
        squares = np.square(cosines).cumsum(0).cumsum(1)
        for k in DIMENSIONS:
            if k <= max(ranks):
                i, j = (min(k, rank) for rank in ranks)
                yield side, k, squares[i - 1, j - 1] / min(i, j), max(i, j) / width
                yield f"angle-{side}", k, largest_angle(cosines[:i, :j]), random_angle(width, min(i, j), max(i, j))


def largest_angle(cross: np.ndarray) -> float:
    """The largest principal angle, in degrees, between subspaces whose orthonormal bases U and V have UᵀV = ``cross``
    [i, j]."""
    return float(np.degrees(np.arccos(min(np.linalg.svd(cross, compute_uv=False)[-1], 1.0))))


@cache
def random_angle(width: int, small: int, large: int) -> float:
    """The mean largest principal angle, in degrees, between a random subspace of ``small`` dimensions and any of
    ``large``, of ``width`` dimensions in all.

    A random subspace is spanned by Gaussian columns G [width, small] and the other by the first ``large`` axes: their
    squared cosines are the eigenvalues of G₁ᵀG₁ relative to GᵀG, G₁ the first ``large`` rows.
    """
    generator, angles = rng("principal angles", width, small, large), []
    for _ in range(DRAWS):
        G = generator.standard_normal((width, small))
        least = eigh(G[:large].T @ G[:large], G.T @ G, eigvals_only=True)[0]
        angles.append(np.degrees(np.arccos(np.sqrt(np.clip(least, 0, 1)))))
    return float(np.mean(angles))


def _alignments(
    matrices: Sequence[Matrix | None], x: Tensor, streams: Sequence[np.random.Generator]
) -> Iterator[tuple[int, int, float, float]]:
    """CKA of one tensor's outputs and its null, for every two runs whose outputs vary."""
    own, random = {}, {}
    for run, matrix in enumerate(matrices):
        gram = unit_gram(outputs(matrix, x)) if matrix else None
        if gram is not None:
            own[run], random[run] = gram, random_gram(matrix, x, streams[run])
    for first, second in combinations(own, 2):
        yield first, second, float(own[first] @ own[second]), float(random[first] @ random[second])
