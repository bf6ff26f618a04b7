"""Time the default study from nothing and hold time and memory against their limits.

``python tests/bench/study.py [Snakemake arguments]`` prints a table, writes ``results/bench/study.parquet`` and ends
with exit code 1 when a limit is missed. Installation is not counted; the study runs in a folder of its own.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd

from copies import ROOT, copy_project, snakemake

CORES = 2
STUDY_SECONDS, DRY_RUN_SECONDS, SECOND_RUN_SECONDS, JOB_MEGABYTES = 600, 3, 5, 2000
DONE = "Nothing to be done"


def main(arguments: list[str]) -> int:
    """Measure, print, store; 1 when a limit is missed."""
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(copy_project(Path(folder)), arguments)
    measured["kept"] = measured["measured"] <= measured["limit"]
    print(measured.to_string(index=False, float_format="{:.1f}".format))
    path = ROOT / "results/bench/study.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    measured.to_parquet(path, index=False)
    return int(not measured["kept"].all())


def measure(folder: Path, arguments: list[str]) -> pd.DataFrame:
    """One line per limit: ``what, unit, measured, limit``."""
    dry, _ = timed(folder, "-n", "-q", *arguments)
    study, _ = timed(folder, "--cores", CORES, "--benchmark-extended", *arguments)
    second, printed = timed(folder, "--cores", CORES, *arguments)
    if DONE not in printed:
        raise SystemExit(f"the second run did not say {DONE!r}:\n{printed}")
    seconds = [
        ("study", study, STUDY_SECONDS),
        ("dry run", dry, DRY_RUN_SECONDS),
        ("second run", second, SECOND_RUN_SECONDS),
    ]
    lines = [(what, "s", value, limit) for what, value, limit in seconds]
    lines += [(f"memory of {rule}", "MB", peak, JOB_MEGABYTES) for rule, peak in peaks(folder).items()]
    return pd.DataFrame(lines, columns=["what", "unit", "measured", "limit"]).astype({"limit": float})


def timed(folder: Path, *arguments: object) -> tuple[float, str]:
    """Seconds that a Snakemake call takes, and what it prints."""
    started = time.perf_counter()
    printed = snakemake(folder, *arguments)
    return time.perf_counter() - started, printed


def peaks(folder: Path) -> pd.Series:
    """Rule → the most memory (max_rss, MB) that one of its jobs held."""
    jobs = pd.concat(pd.read_csv(file, sep="\t") for file in (folder / "results/logs").rglob("*.benchmark.tsv"))
    return jobs.groupby("rule_name")["max_rss"].max().sort_values(ascending=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
