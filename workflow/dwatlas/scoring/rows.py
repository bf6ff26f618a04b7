"""Score rows: one line per (cell, eval row), the contract between scoring and statistics.

``lr = logp_yes − logp_no`` in nats. Rows of a ``completion`` eval (a capability) have ``nll`` and ``correct`` and
no ``lr``. ``mode`` says which weights were scored: ``zero`` (base), ``full`` (α·dW), ``keep`` (α·dW_c), ``drop``
(α·(dW − dW_c)), ``potency`` (α·dW_c at the norm of dW), ``control`` (a stand-in of kind ``control`` for the kept or
dropped part, ``stands_for``).
"""

import pyarrow as pa

SCORE_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("behaviour", pa.string()),
        ("adapter", pa.string()),
        ("seed", pa.int32()),
        ("lens", pa.string()),
        ("component", pa.string()),
        ("mode", pa.string()),
        ("control", pa.string()),
        ("stands_for", pa.string()),
        ("draw", pa.int32()),
        ("alpha", pa.float64()),
        ("eval", pa.string()),
        ("item", pa.string()),
        ("row", pa.string()),
        ("label", pa.int8()),
        ("lr", pa.float32()),
        ("logp_yes", pa.float32()),
        ("logp_no", pa.float32()),
        ("pmass", pa.float32()),
        ("kl_base", pa.float32()),
        ("nll", pa.float32()),
        ("correct", pa.bool_()),
        ("energy_frac", pa.float64()),
        ("norm_frac", pa.float64()),
        ("rank", pa.int32()),
        ("rank_frac", pa.float64()),
        ("nuclear_frac", pa.float64()),
        ("params_frac", pa.float64()),
    ]
)

CELL = ["model", "behaviour", "adapter", "seed", "lens", "component", "mode", "control", "stands_for", "draw", "alpha"]
ROW = ["eval", "item", "row"]

SHARES_SCHEMA = pa.schema(
    [
        *(SCORE_SCHEMA.field(name) for name in ("model", "behaviour", "adapter", "seed", "lens", "component", "eval")),
        ("share_nats", pa.float64()),
    ]
)
"""Additive shares: ⟨G, dW_c⟩ of one component in the antisymmetric effect on one eval, in nats
(``scoring.attribution``). One line per component and effect eval, sorted by ``SHARE``, and one for the component
``delta.table.WHOLE``, dW itself."""
SHARE = SHARES_SCHEMA.names[:-1]
