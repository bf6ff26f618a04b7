"""The small study of tests/study, in shards, run without Slurm and through it, there with two jobs cancelled."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cluster import PROGRAMS, Cluster, Job, running_cluster, wait_for

from copies import copy_project, snakemake, start
from study.small import STUDY, Run, write_study

SHARDED = STUDY | {"lenses": ["layers"], "evals": ["claims"], "components_per_job": 2}
SECONDS = 300
PROFILE = ("--workflow-profile", "profiles/slurm")
NO_ACCOUNTING = ("--slurm-status-command", "squeue")
"""The test's Slurm keeps no accounts: its queue alone knows what became of a job."""
PACE = ("--jobs", 4, "--latency-wait", 5, "--seconds-between-status-checks", 1)
PACE = (*PACE, "--slurm-init-seconds-before-status-checks", 1)


@pytest.fixture(scope="session")
def cluster():
    """A Slurm of this session's own."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing or os.geteuid():
        reason = f"not installed: {', '.join(missing)}" if missing else "needs root"
        pytest.fail(f"Slurm's test: {reason}; use `make test-slurm` as root on Debian or Ubuntu", pytrace=False)
    with running_cluster() as made:
        yield made


@pytest.fixture(scope="session")
def local(tmp_path_factory) -> Run:
    """The study run on this machine."""
    run = new_run(tmp_path_factory.mktemp("local"))
    snakemake(run.folder, "--cores", 2, *run.arguments)
    return run


@pytest.fixture(scope="session")
def cancelled(cluster, tmp_path_factory) -> Run:
    """The study on Slurm in three calls: a train job is cancelled, retries are off; an ablate job is; nothing is.

    Has what each of them ``printed``, what it ``returned`` and the job that was ``cancelled`` in it.
    """
    run = new_run(tmp_path_factory.mktemp("slurm"))
    run.printed, run.returned, run.cancelled = {}, {}, {}
    for call, rule, more in (("first", "train", ("--retries", 0)), ("second", "ablate", ()), ("third", "", ())):
        arguments = (*PROFILE, *NO_ACCOUNTING, *PACE, *more, *run.arguments)
        run.printed[call], run.returned[call], run.cancelled[call] = on_slurm(cluster, run.folder, arguments, rule)
    return run


def new_run(folder: Path) -> Run:
    return Run(folder=copy_project(folder), arguments=write_study(folder, SHARDED))


def on_slurm(cluster: Cluster, folder: Path, arguments: tuple, rule: str) -> tuple[str, int, Job | None]:
    """One call of Snakemake, in which the first job of ``rule`` is cancelled while it runs: output, status, job."""
    process = start(folder, *arguments, **cluster.environment, OMP_NUM_THREADS="1")
    with ThreadPoolExecutor() as pool:
        output = pool.submit(process.communicate)
        try:
            job = cancel_one(cluster, rule) if rule else None
            return output.result(SECONDS)[0], process.returncode, job
        finally:
            process.kill()


def cancel_one(cluster: Cluster, rule: str) -> Job:
    """Cancel the first job of ``rule`` as soon as its program runs."""

    def at_work() -> list[Job]:
        return [job for job in cluster.jobs(rule, "RUNNING") if job.id in cluster.devices()]

    job = wait_for(at_work, SECONDS, f"a job of {rule} runs")[0]
    cluster.cancel(job)
    return job
