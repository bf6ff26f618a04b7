"""dW and its SVD, factored against dense: time, memory and error.

The rival forms each pole's product, subtracts, and calls LAPACK in float32: its best case. Ratios are the rival's time
over ours, medians of calls taken in turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median

import pandas as pd
import torch
from torch import Tensor

from bench.tables import NONE, median_seconds, table
from dwatlas.delta.algebra import Delta, Factored, Matrix, difference, energy, inner, svd
from dwatlas.seeds import torch_generator

REPEATS = {1024: 5, 2048: 3, 4096: 1}
"""Width → how often both sides are timed; the dense SVD at width 4096 takes about ten seconds."""
OUR_REPEATS = 15
PAIR_RANKS = (16, 64, 128)
"""Rank bounds of a LoRA pair's dW: r = 8, 32 and 64."""
LEAST_RATIO, LEAST_WIDTHS = 100, {16: 1024, 64: 4096}
"""How many times as fast as dense it must be, and from which width on, by rank."""
SINGULAR_VALUE_DIFFERENCE = 1e-4
EXACT_ERROR = 1e-6
SHRINK = 600
"""‖W‖ / ‖dW‖ of the error's measurement."""
NAME, THREADS = "weight", 2


def measure() -> pd.DataFrame:
    """Ratios, memory and errors at each width and pair rank, and the error of merging in bfloat16."""
    torch.set_num_threads(THREADS)
    lines = [line for width in REPEATS for rank in PAIR_RANKS for line in compared(width, rank)]
    return table([*lines, *merge_errors(1024, 16)])


def compared(width: int, rank: int) -> list[tuple]:
    """The lines of one width and pair rank."""
    poles = [pole(width, rank // 2, side, scale=1.0) for side in ("pos", "neg")]
    factored, dense = difference(*poles)[NAME], dense_difference(*poles)
    form = in_turn(lambda: difference(*poles), lambda: dense_difference(*poles), REPEATS[width])
    spectra: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    decompose = in_turn(
        lambda: spectra.update(ours=svd(Factored(factored.left, factored.right))),
        lambda: spectra.update(rival=torch.linalg.svd(dense, full_matrices=False)),
        REPEATS[width],
    )
    products = in_turn(lambda: gram(factored, factored), lambda: dense_products(dense, dense), REPEATS[width])
    ours, rival = (sum(times) for times in zip(form, decompose, strict=True))
    limit = LEAST_RATIO if width >= LEAST_WIDTHS.get(rank, math.inf) else NONE
    at = f"width {width}, rank {rank}"
    return [
        (f"dW and SVD, {at}: factored", "ms", 1e3 * ours, NONE, False),
        (f"dW and SVD, {at}: dense", "ms", 1e3 * rival, NONE, False),
        (f"dW and SVD, {at}: ratio", "×", rival / ours, limit, True),
        (f"dW alone, {at}: ratio", "×", form[1] / form[0], NONE, True),
        (f"SVD alone, {at}: ratio", "×", decompose[1] / decompose[0], limit, True),
        (f"norm and inner product, {at}: ratio", "×", (form[1] + products[1]) / (form[0] + products[0]), NONE, True),
        (f"norm and inner product, {at}, dW at hand: ratio", "×", products[1] / products[0], NONE, True),
        (f"memory of dW, {at}: factored", "MB", megabytes(factored.left, factored.right), NONE, False),
        (f"memory of dW, {at}: dense", "MB", megabytes(dense), NONE, False),
        (f"memory of its SVD, {at}: factored", "MB", megabytes(*spectra["ours"]), NONE, False),
        (f"memory of its SVD, {at}: dense", "MB", megabytes(*spectra["rival"]), NONE, False),
        (
            f"singular values, {at}: difference over s₁",
            "",
            disagreement(spectra["ours"][1], spectra["rival"][1]),
            SINGULAR_VALUE_DIFFERENCE,
            False,
        ),
    ]


def pole(width: int, r: int, side: str, scale: float) -> Delta:
    """One pole's change as a LoRA adapter of rank r gives it: normal factors, entries of variance ``scale``²."""
    generator = torch_generator("bench delta", width, r, side)
    left = torch.randn(width, r, generator=generator) * (scale / r**0.5)
    return {NAME: Factored(left, torch.randn(r, width, generator=generator))}


def dense_difference(positive: Delta, negative: Delta) -> Tensor:
    """dW [out, in] as the difference of two products."""
    return positive[NAME].left @ positive[NAME].right - negative[NAME].left @ negative[NAME].right


def megabytes(*tensors: Tensor) -> float:
    """Memory of tensors."""
    return sum(tensor.nbytes for tensor in tensors) / 1e6


def gram(first: Matrix, second: Matrix) -> tuple[float, float]:
    """‖X‖² and ⟨X, Y⟩ by small Gram matrices."""
    return energy(first), inner(first, second)


def dense_products(first: Tensor, second: Tensor) -> tuple[float, float]:
    """The same from all entries, in float32."""
    return float(torch.dot(first.view(-1), first.view(-1))), float(torch.dot(first.view(-1), second.view(-1)))


def in_turn(ours: Callable[[], object], rival: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds of both, called in turn; ours, being short, ``OUR_REPEATS`` times a turn."""
    ours()
    pairs = [(median_seconds(ours, OUR_REPEATS), median_seconds(rival, 1)) for _ in range(repeats)]
    return median(first for first, _ in pairs), median(second for _, second in pairs)


def disagreement(ours: Tensor, rival: Tensor) -> float:
    """The largest difference between the singular values of both forms, over the largest singular value."""
    return float((ours - rival[: len(ours)]).abs().max() / rival[0])


def merge_errors(width: int, rank: int) -> list[tuple]:
    """Relative errors of dW: merged into bfloat16 weights and subtracted, and kept as float32 factors."""
    base = torch.randn(width, width, generator=torch_generator("bench base", width)).bfloat16()
    scale = 1 / (SHRINK * 2**0.5)
    positive, negative = (pole(width, rank // 2, side, scale) for side in ("pos", "neg"))
    exact = positive[NAME].left.double() @ positive[NAME].right.double()
    exact -= negative[NAME].left.double() @ negative[NAME].right.double()
    merged = [(base.float() + side[NAME].dense()).bfloat16().double() for side in (positive, negative)]
    size = f"‖dW‖ = ‖W‖ / {SHRINK}"
    return [
        (
            f"error of dW, bfloat16 merges subtracted, {size}",
            "%",
            100 * error(merged[0] - merged[1], exact),
            NONE,
            False,
        ),
        (
            f"error of dW, factors, {size}",
            "",
            error(difference(positive, negative)[NAME].dense(), exact),
            EXACT_ERROR,
            False,
        ),
    ]


def error(value: Tensor, exact: Tensor) -> float:
    """‖value − exact‖ / ‖exact‖."""
    return float((value.double() - exact).norm() / exact.norm())
