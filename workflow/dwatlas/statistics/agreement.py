"""Do seeds and adapters agree on where the effect lies? Rank correlations between all pairs of (adapter, seed)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement, product

import pandas as pd

from dwatlas.statistics import schemas
from dwatlas.statistics.additivity import unit_ranks
from dwatlas.statistics.effects import SHOWN_EFFECT
from dwatlas.statistics.frames import frame_of

CELL = ["model", "behaviour", "eval", "lens", "mode"]
UNIT = ["adapter", "seed"]


def agreement(seeds: pd.DataFrame) -> pd.DataFrame:
    """Frame of ``AGREEMENT_SCHEMA`` from the frame ``seeds`` (``schemas``): Spearman's ρ of the units' profiles.

    A profile is the effect left with each component alone (``keep``), or lost without it, D − N (``drop``), in nats;
    the antisymmetric effect.
    """
    lines = seeds[(seeds["effect"] == SHOWN_EFFECT) & seeds["mode"].isin(["keep", "drop"])]
    lost = lines["full_effect_nats"] - lines["effect_nats"]
    lines = lines.assign(value=lines["effect_nats"].where(lines["mode"] == "keep", lost))
    records = [
        dict(zip(CELL, key, strict=True)) | record for key, cell in lines.groupby(CELL) for record in _records(cell)
    ]
    return frame_of(records, schemas.AGREEMENT_SCHEMA, [*CELL, *UNIT, "other_adapter", "other_seed"])


def _records(cell: pd.DataFrame) -> Iterator[dict]:
    profiles = {
        name: own.pivot(index="seed", columns="component", values="value").dropna(axis=1)
        for name, own in cell.groupby("adapter")
    }
    for adapter, other in combinations_with_replacement(profiles, 2):
        common = profiles[adapter].columns.intersection(profiles[other].columns)
        one, two = (profiles[name][common] for name in (adapter, other))
        r = unit_ranks(one.to_numpy()) @ unit_ranks(two.to_numpy()).T
        pairs = product(enumerate(one.index), enumerate(two.index))
        yield from (
            {"adapter": adapter, "seed": seed, "other_adapter": other, "other_seed": later, "spearman": r[row, column]}
            for (row, seed), (column, later) in pairs
            if adapter != other or seed < later
        )
