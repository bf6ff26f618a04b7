"""Records as typed frames."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa


def frame_of(records: list[dict], schema: pa.Schema, keys: list[str]) -> pd.DataFrame:
    """Records as a frame with the schema's columns and types, sorted by ``keys``, which tell all lines apart."""
    table = pa.Table.from_pandas(pd.DataFrame(records, columns=schema.names), schema=schema, preserve_index=False)
    return table.to_pandas().sort_values(keys, ignore_index=True)
