"""Bring a study's scored cells together and hold each of them to its eval's manifest, and shares to their lens."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import pandas as pd

from dwatlas.errors import UserError
from dwatlas.scoring.rows import CELL


def check_manifest(scores: pd.DataFrame, rows: pd.DataFrame, source: str) -> None:
    """Every cell of one eval must have exactly the eval's rows; ``UserError`` names the file and what differs."""
    wanted = pd.MultiIndex.from_frame(rows[["item", "row"]])
    (name,) = rows["eval"].unique()
    counts = scores.groupby(CELL, sort=False).size()
    present = pd.MultiIndex.from_frame(scores[["item", "row"]].drop_duplicates())
    strangers, missing = present.difference(wanted), wanted.difference(present)
    if len(strangers) or len(missing):
        example = (strangers if len(strangers) else missing)[0]
        kind = "row that the eval has not" if len(strangers) else "row missing"
        raise UserError(f"{source}: its rows differ from the manifest of eval {name} ({kind}: {example[1]}); delete it")
    if not (counts == len(wanted)).all() or scores.duplicated([*CELL, "item", "row"]).any():
        raise UserError(f"{source}: a cell of eval {name} lacks rows or has some twice; delete it and run again")


def check_shares(shares: pd.DataFrame, components: Iterable[str], evals: Iterable[str], source: str) -> None:
    """A file of additive shares must have each component once for each eval; ``UserError`` names what differs."""
    there, wanted = pd.MultiIndex.from_frame(shares[["component", "eval"]]), set(product(components, evals))
    for what, some in (
        ("is missing", wanted.difference(there)),
        ("is none of the study's", set(there) - wanted),
        ("is there twice", set(there[there.duplicated()])),
    ):
        if some:
            component, name = min(some)
            raise UserError(f"{source}: the share of {component} in eval {name} {what}; delete it and run again")
