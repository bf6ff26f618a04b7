"""What planning and running jobs cost beside the jobs' own work.

Dry runs of studies of about a thousand and ten thousand jobs (one component a job), the time per job from the two, the
part of it that is this package's, and what a run of the small study of ``tests/study`` takes beyond its jobs' own time.
"""

from __future__ import annotations

import tempfile
import time
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import yaml
from snakemake.utils import update_config

from bench.tables import NONE, table
from copies import copy_project, job_counts, snakemake
from dwatlas.study import Plan
from study.small import STUDY, write_study

SIZES = ((3, 11), (10, 33))
"""Adapters and seeds that give about a thousand and ten thousand jobs."""


def measure() -> pd.DataFrame:
    """Seconds of both dry runs, milliseconds per job, and overhead per job of a real run."""
    with tempfile.TemporaryDirectory() as folder:
        project = copy_project(Path(folder))
        runs = [dry_run(project, many(*size)) for size in SIZES]
        own = own_seconds_per_job(project, many(*SIZES[-1]))
        overhead, run = real_overhead(project)
    (few, few_seconds), (most, most_seconds) = runs
    slope = (most_seconds - few_seconds) / (most - few)
    return table(
        [
            *[(f"dry run of {jobs} jobs", "s", seconds, NONE, False) for jobs, seconds in runs],
            ("dry run: each further job", "ms", 1e3 * slope, NONE, False),
            ("dry run: of that, specs, fingerprints and paths", "ms", 1e3 * own, NONE, False),
            (f"real run of {run} jobs on one core: overhead per job", "ms", 1e3 * overhead, NONE, False),
        ]
    )


def many(adapters: int, seeds: int) -> dict:
    """A study of all lenses with one component a job: 30 jobs for each adapter and seed."""
    entries = {f"many-{number}": {"kind": "lora", "r": 8, "alpha": 1 + number} for number in range(adapters)}
    return {
        "study": "many",
        "adapters": list(entries),
        "seeds": list(range(seeds)),
        "components_per_job": 1,
        "catalogue": {"adapters": entries},
    }


def dry_run(project: Path, study: dict) -> tuple[int, float]:
    """Number of jobs and seconds of a dry run."""
    printed, seconds = timed(project, "-n", "-q", "rules", *write_study(project, study))
    return sum(job_counts(printed).values()), seconds


def own_seconds_per_job(project: Path, study: dict) -> float:
    """Seconds that an ablation job's spec, fingerprint and paths take, each asked for once."""
    config = yaml.safe_load((project / "config/config.yaml").read_text())
    update_config(config, study)
    plan = Plan(config, project / "config/catalogue")
    jobs = [
        SimpleNamespace(model=model, behaviour=behaviour, adapter=adapter, seed=str(seed), lens=lens, shard=shard)
        for model, behaviour, adapter, seed, lens in product(
            plan.study.models, plan.study.behaviours, plan.study.adapters, plan.study.seeds, plan.study.lenses
        )
        for shard in plan.shards(model, adapter, lens)
    ]
    asked = [plan.spec("ablate"), plan.code("ablate"), plan.rows, plan.base, plan.scoring_files]
    started = time.perf_counter()
    for job, ask in product(jobs, asked):
        ask(job)
    return (time.perf_counter() - started) / len(jobs)


def real_overhead(project: Path) -> tuple[float, int]:
    """Seconds per job that a run takes beyond its jobs' own time, Snakemake's start included; number of jobs."""
    _, wall = timed(project, "--cores", 1, *write_study(project, STUDY))
    jobs = pd.concat(pd.read_csv(file, sep="\t") for file in (project / "results/logs").rglob("*.benchmark.tsv"))
    return (wall - jobs["s"].sum()) / len(jobs), len(jobs)


def timed(project: Path, *arguments: object) -> tuple[str, float]:
    """What a Snakemake call prints, and its seconds."""
    started = time.perf_counter()
    printed = snakemake(project, *arguments)
    return printed, time.perf_counter() - started
