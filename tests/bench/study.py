"""Time the default study from nothing and hold time and memory against their limits.

Installation is not counted; the study runs in a folder of its own.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pandas as pd

from bench.tables import NONE, table
from copies import copy_project, snakemake

CORES = 2
STUDY_SECONDS, DRY_RUN_SECONDS, SECOND_RUN_SECONDS, JOB_MEGABYTES = 600, 3, 5, 2000
DONE = "Nothing to be done"


def measure() -> pd.DataFrame:
    """Times of the study, of planning it and of running it again; the most memory of each rule's jobs."""
    with tempfile.TemporaryDirectory() as name:
        folder = copy_project(Path(name))
        dry, _ = timed(folder, "-n", "-q")
        study, _ = timed(folder, "--cores", CORES, "--benchmark-extended")
        second, printed = timed(folder, "--cores", CORES)
        if DONE not in printed:
            raise SystemExit(f"the second run did not say {DONE!r}:\n{printed}")
        jobs = pd.concat(pd.read_csv(file, sep="\t") for file in (folder / "results/logs").rglob("*.benchmark.tsv"))
    lines = [("study", "s", study, STUDY_SECONDS), ("dry run", "s", dry, DRY_RUN_SECONDS)]
    lines.append(("second run", "s", second, SECOND_RUN_SECONDS))
    work = jobs.groupby("rule_name")["s"].agg(["sum", "size"]).sort_values("sum", ascending=False)
    lines += [(f"`{rule}`: {jobs} jobs", "s", total, NONE) for rule, total, jobs in work.itertuples()]
    peaks = jobs.groupby("rule_name")["max_rss"].max().sort_values(ascending=False)
    lines += [(f"memory of `{rule}`", "MB", peak, JOB_MEGABYTES) for rule, peak in peaks.items()]
    return table([(*line, False) for line in lines])


def timed(folder: Path, *arguments: object) -> tuple[float, str]:
    """Seconds that a Snakemake call takes, and what it prints."""
    started = time.perf_counter()
    printed = snakemake(folder, *arguments)
    return time.perf_counter() - started, printed
