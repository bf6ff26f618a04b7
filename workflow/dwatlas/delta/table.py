"""Columns of the tables about dW: ``delta.parquet``, one line per tensor and one for all of them together, and
``overlap.parquet``, one line per pair of runs and measure (``delta.overlap``)."""

import pyarrow as pa

WHOLE = "(all)"
"""The name of dW as a whole where tables name its parts."""
DELTA_SCHEMA = pa.schema(
    [
        ("tensor", pa.string()),
        ("layer", pa.int32()),
        ("module", pa.string()),
        ("out_features", pa.int64()),
        ("in_features", pa.int64()),
        ("rank", pa.int32()),
        ("norm", pa.float64()),
        ("energy_frac", pa.float64()),
        ("effective_rank", pa.float64()),
        ("nuclear_norm", pa.float64()),
        ("pos_norm", pa.float64()),
        ("neg_norm", pa.float64()),
        ("pole_cosine", pa.float64()),
        ("common_drift", pa.float64()),
    ]
)
OVERLAP_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("behaviour", pa.string()),
        ("adapter", pa.string()),
        ("seed", pa.int32()),
        ("other_adapter", pa.string()),
        ("other_seed", pa.int32()),
        ("measure", pa.string()),
        ("k", pa.int32()),
        ("value", pa.float64()),
        ("null", pa.float64()),
    ]
)
