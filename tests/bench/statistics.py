"""Time and memory of a large study's statistics, from score files to result tables.

300 components kept and dropped × 5 adapters × 10 seeds × 438 rows (219 items of two), in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.tables import table
from dwatlas.scoring.rows import CELL, SCORE_SCHEMA
from dwatlas.seeds import rng

COMPONENTS, ADAPTERS, SEEDS, ITEMS = 300, 5, 10, 219
SECONDS, GIGABYTES = 30.0, 2.0
_MEASURED = """
import json, resource, sys, time
from dwatlas import paths
from dwatlas.delta.table import OVERLAP_SCHEMA
from dwatlas.files import write_table
from dwatlas.jobs.base import Job
from dwatlas.jobs.retained import work
folder, files = sys.argv[1], sys.argv[2:]
spec = {"cell": {"study": "large"}, "allow_mixed_versions": True, "absent": [], "nulls": {}, "matched": [],
        "margin": 0.1, "trainings": 1, "statement": None, "headline": "claims",
        "trainable": {"made": {f"adapter-{k}": 1 for k in range(len(files))}}}
started = time.perf_counter()
overlap = f"{folder}/overlap.parquet"
write_table(overlap, OVERLAP_SCHEMA.empty_table().to_pandas(), OVERLAP_SCHEMA)
outputs = {name: f"{folder}/{name}.parquet" for name in paths.RESULTS}
work(Job("retained", spec, "", {"scores": files, "overlap": [overlap]}, outputs))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(json.dumps([time.perf_counter() - started, peak]))
"""


def measure() -> pd.DataFrame:
    """Seconds and gigabytes, reading and writing included."""
    with tempfile.TemporaryDirectory() as folder:
        files = [_written(Path(folder), f"adapter-{number}") for number in range(ADAPTERS)]
        ended = subprocess.run([sys.executable, "-c", _MEASURED, folder, *files], check=True, capture_output=True)
    seconds, gigabytes = json.loads(ended.stdout.splitlines()[-1])
    what = f"{COMPONENTS} components × {ADAPTERS} adapters × {SEEDS} seeds × {2 * ITEMS} rows"
    return table([(what, "s", seconds, SECONDS, False), (f"{what}, peak memory", "GB", gigabytes, GIGABYTES, False)])


def _written(folder: Path, adapter: str) -> str:
    """A file of scores: each component has a share of the full effect, with noise of seeds and items."""
    random = rng("bench", "statistics", adapter)
    names = [f"part-{number:03d}" for number in range(COMPONENTS)]
    parts = [("anchors", "zero", "zero", 0.0), *(("anchors", "full", "full", alpha) for alpha in (-1.0, 1.0))]
    parts += [("parts", name, mode, alpha) for name, mode, alpha in product(names, ("keep", "drop"), (-1.0, 1.0))]
    lines = pd.DataFrame([(seed, *part) for seed in range(SEEDS) for part in parts],
                         columns=["seed", "lens", "component", "mode", "alpha"])  # fmt: skip
    kept = dict(zip(names, random.dirichlet(np.ones(COMPONENTS)), strict=True)) | {"full": 1.0, "zero": 0.0}
    share = np.abs((lines["mode"] == "drop") - lines["component"].map(kept)).to_numpy()
    full = 3.0 + 0.5 * random.normal(size=(SEEDS, 1)) + random.normal(size=ITEMS)
    h = (lines["alpha"].to_numpy() * share)[:, None] * full[lines["seed"]] + 0.1 * random.normal(
        size=(len(lines), ITEMS)
    )
    order = lines.sort_values([name for name in CELL if name in lines]).index
    cells, rows = lines.loc[order].reset_index(drop=True), 2 * ITEMS
    items = [f"item-{number:03d}" for number in range(ITEMS)]
    label = np.tile(np.array([1, -1], dtype=np.int8), len(cells) * ITEMS)
    values = {
        "model": "made", "behaviour": "agreement", "adapter": adapter, "eval": "claims", "control": "",
        "stands_for": "", "draw": -1, "energy_frac": 0.1, "norm_frac": 0.3, "rank": 4, "rank_frac": 0.1,
        "nuclear_frac": 0.1, "params_frac": 0.1, "pmass": 0.9, "kl_base": 0.1,
    }  # fmt: skip
    columns = {name: _constant(value, len(label), SCORE_SCHEMA.field(name).type) for name, value in values.items()}
    columns |= {name: _repeated(cells[name], rows) for name in cells}
    columns |= {
        "item": _coded(np.tile(np.repeat(np.arange(ITEMS), 2), len(cells)), items),
        "row": _coded(np.tile(np.arange(rows), len(cells)), [f"{item}/{sign}" for item in items for sign in "+-"]),
        "label": pa.array(label),
        "lr": pa.array(np.repeat(h[order], 2, axis=1).ravel() * label, pa.float32()),
    }
    fields = [columns.get(field.name, pa.nulls(len(label), field.type)) for field in SCORE_SCHEMA]
    path = folder / f"{adapter}.parquet"
    pq.write_table(pa.table([column.cast(field.type) for column, field in zip(fields, SCORE_SCHEMA, strict=True)],
                            schema=SCORE_SCHEMA), path, compression="zstd")  # fmt: skip
    return str(path)


def _constant(value: object, number: int, kind: pa.DataType) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), number)


def _coded(codes: np.ndarray, names: list) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), names)


def _repeated(values: pd.Series, times: int) -> pa.Array:
    codes, names = pd.factorize(values)
    return _coded(np.repeat(codes, times), list(names))
