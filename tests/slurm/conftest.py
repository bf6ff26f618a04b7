"""The small study of tests/study, in shards, run without Slurm and through it, there with two jobs cancelled."""

from __future__ import annotations

import os
import shutil

import pytest
from calls import call, new_run
from cluster import PROGRAMS, running_cluster

from copies import snakemake
from study.small import Run


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
    """The study on Slurm in three calls: in the first, without retries, a job of ``train`` is cancelled, in the second
    one of ``ablate``; the third finds all there.

    ``calls`` holds what each of them printed, the status it returned and the job that was cancelled.
    """
    run = new_run(tmp_path_factory.mktemp("slurm"))
    run.calls = [
        call(cluster, run, "train", "--retries", 0, "--slurm-array-jobs", "ablate"),
        call(cluster, run, "ablate"),
        call(cluster, run, ""),
    ]
    return run
