"""Calls of Snakemake on the test's Slurm, with a job cancelled on the way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from cluster import Cluster, Job, wait_for

from copies import copy_project, start
from study.small import STUDY, Run, write_study

SHARDED = STUDY | {"lenses": ["layers"], "evals": ["claims"], "components_per_job": 2, "control_draws": 40}
SECONDS = 420
PROFILE = ("--workflow-profile", "profiles/slurm")
NO_ACCOUNTING = ("--slurm-status-command", "squeue")
"""The test's Slurm keeps no accounts: its queue alone knows what became of a job."""
PACE = ("--jobs", 4, "--latency-wait", 5, "--seconds-between-status-checks", 1)
PACE = (*PACE, "--slurm-init-seconds-before-status-checks", 1)
LOGS = {"train": "seed-{0}/train.log", "ablate": "seed-{0}/{1}{2}.log"}
IN_THE_MIDDLE = {"train": "pos step", "ablate": "1/2 "}
"""What a job has logged when half of its work is done: steps of the first pole, one of two components."""


class Call(NamedTuple):
    """A call of Snakemake that has ended."""

    printed: str
    status: int
    cancelled: Job | None


def new_run(folder: Path) -> Run:
    return Run(folder=copy_project(folder), arguments=write_study(folder, SHARDED))


def call(cluster: Cluster, run: Run, cancel: str, *more: object) -> Call:
    """Run Snakemake on Slurm; the first job of the rule ``cancel`` is cancelled in the middle of its work."""
    arguments = (*PROFILE, *NO_ACCOUNTING, *PACE, *run.arguments, *more)
    process = start(run.folder, *arguments, **cluster.environment, OMP_NUM_THREADS="1")
    with ThreadPoolExecutor() as pool:
        output = pool.submit(process.communicate)
        try:
            job = cancel_one(cluster, run.folder, cancel) if cancel else None
            return Call(output.result(SECONDS)[0], process.returncode, job)
        finally:
            process.kill()


def cancel_one(cluster: Cluster, folder: Path, rule: str) -> Job:
    """Cancel the first job of ``rule`` that has logged ``IN_THE_MIDDLE``."""

    def at_work() -> list[Job]:
        return [job for job in cluster.jobs(rule, "RUNNING") if IN_THE_MIDDLE[rule] in log_of(job, folder)]

    job = wait_for(at_work, SECONDS, f"a job of {rule} is at work")[0]
    cluster.cancel(job)
    return job


def log_of(job: Job, folder: Path) -> str:
    """What a job of ``train`` or ``ablate`` has logged so far."""
    wildcards = job.comment.rpartition("lora-small_")[2].split("_")
    log = folder / "results/logs/runs/tiny-small/agreement/lora-small" / LOGS[job.rule].format(*wildcards)
    return log.read_text() if log.is_file() else ""
