"""What a study stated beforehand: its primary eval, effect, contrast and family, and which results these are.

A statement tells a finding that was looked for from one that turned up: with hundreds of components, kinds of effect
and contrasts something always turns up. Its hash goes into the results; given out before the ablations run, in a commit
or a registry, it proves that the statement was not made afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from dwatlas.provenance import canonical_json
from dwatlas.statement import digest
from dwatlas.statistics import schemas
from dwatlas.statistics.arrays import FULL
from dwatlas.statistics.frames import frame_of

_MATCHED = {"eval": "eval", "effect": "effect", "estimand": "estimand", "family": "lens"}
"""Key of the statement → column of the results."""


def registration(statement: Mapping | None) -> pd.DataFrame:
    """Frame of ``REGISTRATION_SCHEMA``: the statement with its hash; empty where the study made none."""
    lines = [] if statement is None else [_line(statement)]
    return frame_of(lines, schemas.REGISTRATION_SCHEMA, ["sha256"])


def _line(statement: Mapping) -> dict:
    own = {"statement": canonical_json(statement), "sha256": digest(statement), "margin": statement["margin"]}
    return {**statement["primary"], **own}


def marked(table: pd.DataFrame, statement: Mapping | None) -> pd.DataFrame:
    """``table`` (``retained`` or ``contrasts``) with the column ``primary``: which lines the statement is about."""
    if statement is None:
        return table.assign(primary=False)
    primary = statement["primary"]
    mask = pd.Series(True, index=table.index)
    for key, column in _MATCHED.items():
        mask &= table[column] == primary[key]
    name, column = primary["contrast"], "contrast" if "contrast" in table else "mode"
    mask &= table[column] == (FULL.mode if name == "effect" else name)
    if "structural" in table:
        mask &= table["structural"] | (table["control"] == "")
    return table.assign(primary=mask)
