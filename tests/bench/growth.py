"""How a scan's time grows with components, rows, values of α and blocks, in straight lines; its memory stays flat."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch

from bench.scan import FromTheEmbeddings, Setting, seconds
from bench.tables import NONE, table
from dwatlas.lenses.modules import Modules
from dwatlas.models.anatomy import Anatomy
from dwatlas.scoring.steer import Edit

ANATOMY = Anatomy(layers=4, hidden=256, intermediate=768, heads=4, kv_heads=2, head_dim=64)
SETTING = Setting(ANATOMY, 8_000, 40, "cpu")
COMPONENTS = SETTING.components(Modules())
REPEATS, THREADS, OFF_THE_LINE, MORE_MEMORY = 3, 2, 15, 50
STEPS = (2, 4, 6, 8)


def measure() -> pd.DataFrame:
    """Slopes with the largest distance from the line, and the memory that many components take beyond one."""
    torch.set_num_threads(THREADS)
    return table([*memory(), *(line for name, work in GROWTH.items() for line in growth(name, work))])


def growth(name: str, work: Callable[[int], Callable[[], object]]) -> Iterator[tuple]:
    """Slope and straightness of the time of ``work(size)()`` over ``STEPS``; the least time of a few counts."""
    calls = [work(size) for size in STEPS]
    rounds = [[seconds(call) for call in calls] for _ in range(REPEATS)]
    times = np.min(rounds, axis=0)
    slope, start = np.polyfit(STEPS, times, 1)
    off = np.abs(times - (start + slope * np.array(STEPS))).max() / times.max()
    yield f"time for each of {STEPS[0]}–{STEPS[-1]} {name}", "ms", 1e3 * slope, NONE, False
    yield "… and the farthest from a straight line, of the longest time", "%", 100 * off, OFF_THE_LINE, False


def components(number: int) -> Callable[[], object]:
    """Score that many components, kept and dropped."""
    prepared = SETTING.prepare()
    edits = [SETTING.edits(Modules(), name) for name in COMPONENTS[:number]]
    return lambda: [prepared.score(one) for one in edits]


def rows(tens: int) -> Callable[[], object]:
    """Score a component on that many tens of dilemmas."""
    setting = Setting(ANATOMY, SETTING.vocabulary, 10 * tens, "cpu")
    return partial(setting.prepare().score, setting.edits(Modules(), COMPONENTS[0]))


def alphas(number: int) -> Callable[[], object]:
    """Score the full dW at that many values of α, one by one."""
    prepared = SETTING.prepare()
    edits = [Edit(SETTING.delta, alpha) for alpha in np.linspace(0.5, 2, number)]
    return lambda: [prepared.score([edit]) for edit in edits]


def blocks(number: int) -> Callable[[], object]:
    """Score the base model of that many blocks, computing them all."""
    setting = Setting(ANATOMY.model_copy(update={"layers": number}), SETTING.vocabulary, 40, "cpu")
    prepared = setting.prepare(edits_at_once=1)
    passes, scorer = prepared.passes, prepared.scorer
    every = FromTheEmbeddings(passes.blocks, passes.packing, scorer.references, scorer.store)
    return replace(prepared, passes=every).score


GROWTH = {"components": components, "tens of dilemmas": rows, "values of α": alphas, "blocks": blocks}


def memory() -> Iterator[tuple]:
    """What the process grows by from the second component to the last."""
    components(2)()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    components(len(COMPONENTS))()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    yield f"memory that {len(COMPONENTS)} components take beyond 2", "MB", grown, MORE_MEMORY, False
