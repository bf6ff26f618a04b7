"""Eval rows as an artefact, and their manifest: the hash that every scored cell is held to."""

from __future__ import annotations

import hashlib
import json

import pandas as pd
import pyarrow as pa

from dwatlas.errors import UserError
from dwatlas.provenance import canonical_json

EVAL_SCHEMA = pa.schema(
    [
        ("eval", pa.string()),
        ("item", pa.string()),
        ("row", pa.string()),
        ("label", pa.int8()),
        ("messages", pa.string()),
        ("prefill", pa.string()),
        ("answer", pa.string()),
    ]
)


def tabulate(name: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows as stored: messages as JSON, sorted by item and row; ``UserError`` when a row is named twice."""
    frame = rows.assign(eval=name, messages=[canonical_json(messages) for messages in rows["messages"]])
    frame = frame.sort_values(["item", "row"], ignore_index=True)[EVAL_SCHEMA.names]
    twice = frame.loc[frame.duplicated(["item", "row"]), "row"]
    if len(twice):
        raise UserError(f"evals.{name}: row {twice.iloc[0]!r} occurs twice; name each row once")
    if frame.empty:
        raise UserError(f"evals.{name}: has no rows")
    return frame


def messages(frame: pd.DataFrame) -> pd.DataFrame:
    """Stored rows with their messages decoded."""
    return frame.assign(messages=[json.loads(text) for text in frame["messages"]])


def manifest_hash(frame: pd.DataFrame) -> str:
    """sha256 over all that defines the rows."""
    return hashlib.sha256(frame[EVAL_SCHEMA.names].to_json(orient="values").encode()).hexdigest()
