"""What the study stated beforehand as primary, as a table: one line per tested component of each adapter."""

from __future__ import annotations

import pandas as pd

from dwatlas.tables.order import in_order
from dwatlas.tables.study import CELL, StudyTables

COLUMNS = [*CELL, "lens", "contrast", "component", "rival", "effect", "estimand", "n_seeds", "nats", "value", "lo",
           "hi", "p", "q", "verdict"]  # fmt: skip


def primary(tables: StudyTables) -> pd.DataFrame:
    """The lines of ``retained`` and ``contrasts`` that the statement is about; empty where there is none.

    ``value`` with ``lo`` and ``hi`` is what the contrast is of the full effect: R of a part that is kept or dropped,
    the contrast over D̄ otherwise; for the full dW itself it is the effect in nats.
    """
    kept, found = (frame[frame["primary"].astype(bool)] for frame in (tables.retained, tables.contrasts))
    full = kept["mode"] == "full"
    own = kept.assign(contrast=kept["mode"].where(~full, "effect"), rival="", nats=kept["effect_nats"])
    for column, nats in (("value", "effect_nats"), ("lo", "effect_lo"), ("hi", "effect_hi")):
        own[column] = kept[nats].where(full, kept["retained" if column == "value" else column])
    both = pd.concat([own[COLUMNS], found.rename(columns={"ratio": "value"})[COLUMNS]])
    return in_order(both, [*CELL, "lens", "component", "rival"])
