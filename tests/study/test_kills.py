"""SIGKILL at random moments: the next run goes on and ends with the bytes of an undisturbed one.

A round deletes a little of a finished study, runs it again and kills several times: the job that has to run (the
victim), Snakemake alone, whose jobs live on as orphans, or both. DWATLAS_KILL_ROUNDS says how many rounds are run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from processes import begin, copy_finished, jobs, kill, printed, snakemakes, wait_for
from small import Run

from copies import ROOT, hashes, snakemake
from dwatlas.logs import is_held

ROUNDS = int(os.environ.get("DWATLAS_KILL_ROUNDS", "4"))
KILLS = 2
"""Kills in a round."""
STARTED, AT_WORK = 1.5, 0.7
"""Seconds: a kill comes up to as long after its victim has started, or has begun its work, and before it can end."""
WAITS = "another process is still making this"
PARTIAL = "making tables and figures of what is there"


def delete_adapter(run: Run, draw: np.random.Generator) -> list[Path]:
    """Delete one seed's adapter pair and dW; returns the targets to make again."""
    pair = run.adapted.with_name(f"seed-{draw.integers(2)}")
    for file in [*pair.glob("*/adapter_*"), *pair.glob("*/train.parquet"), *pair.glob("delta.*")]:
        file.unlink()
    return [pair / "delta.safetensors"]


def delete_scores(run: Run, draw: np.random.Generator) -> list[Path]:
    """Delete one lens's manifests and about half of its components and controls."""
    lens = run.adapted.with_name(f"seed-{draw.integers(2)}") / "scores" / draw.choice(["layers", "own_svd"])
    manifests = [lens / "components.json", lens / "controls.parquet"]
    parts = sorted({*lens.glob("*.parquet"), *lens.glob("controls/*.parquet")} - {*manifests})
    for file in [*manifests, *draw.choice(parts, len(parts) // 2, replace=False)]:
        file.unlink()
    return [manifests[0]]


def delete_study(run: Run, draw: np.random.Generator) -> list[Path]:
    """Delete the study's scores, statistics, tables and one of its figures."""
    figure = draw.choice(sorted((run.of_study / "figures").glob("*.png")))
    for file in [*run.of_study.glob("*.parquet"), *run.of_study.glob("scores/*/*/*"), *run.of_study.glob("tables/*")]:
        file.unlink()
    figure.unlink()
    return [figure, run.of_study / "tables/tables.json"]


VICTIMS: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "train": (delete_adapter, ("train",)),
    "ablate": (delete_scores, ("ablate",)),
    "aggregate": (delete_study, ("gather", "retained", "tables", "figures")),
    "Snakemake": (delete_scores, ("ablate",)),
}
"""Victim → what is deleted, and the rules whose jobs it can be."""


@pytest.fixture
def run(finished, tmp_path) -> Run:
    """A copy of the finished study to kill, with Snakemake's records."""
    copied = Run(folder=copy_finished(finished.folder, tmp_path / "study"), arguments=finished.arguments)
    yield copied
    while alive := snakemakes(copied.folder) + jobs(copied.folder):
        kill(*alive)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_killed_at_random_moments_a_study_ends_with_the_same_bytes(finished, run, number):
    draw = np.random.default_rng(np.random.SeedSequence([2026, number]))
    victim = list(VICTIMS)[number % len(VICTIMS)]
    delete, rules = VICTIMS[victim]
    targets = [path.relative_to(run.folder) for path in delete(run, draw)]
    hooks = ["--no-hooks"] if draw.random() < 0.7 else []  # without them no tables of what is there are made
    command = ["--cores", 2, *hooks, *run.arguments, "--", *targets]
    whom = ["Snakemake"] if victim == "Snakemake" else ["job", "both"]
    kept: dict[Path, int] = {}
    hits = 0
    for _ in range(KILLS):
        hits += strike(run, command, rules, draw, draw.choice(whom))
        kept |= finished_parts(run)
        unlock(run)
    snakemake(run.folder, *command)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    snakemake(run.folder, "--cores", 2, *run.arguments)
    assert "Nothing to be done" in snakemake(run.folder, "-n", *run.arguments)
    assert artefacts(run) == artefacts(finished)
    assert hits and len(temporaries(run)) <= 2 * hits


def test_a_job_that_outlives_snakemake_is_waited_for_and_its_work_is_kept(finished, run):
    layers = run.adapted / "scores/layers"
    for file in layers.rglob("*.*"):
        file.unlink()
    log = run.results / "logs/runs/tiny-small/agreement/lora-small/seed-0/layers.log"
    command = ["--cores", 1, *run.arguments, "--", (layers / "components.json").relative_to(run.folder)]
    first = begin(run.folder, *command)
    wait_for(lambda: list(layers.glob("[!.]*.parquet")))
    (orphan,) = jobs(run.folder, "ablate")
    orphan.suspend()
    kill(first)
    first.wait()
    unlock(run)
    second = begin(run.folder, *command)
    wait_for(lambda: WAITS in printed(run.folder) or second.poll() is not None)
    assert WAITS in printed(run.folder) and orphan.is_running()
    orphan.resume()
    assert second.wait() == 0
    assert not orphan.is_running()
    assert " scored" not in log.read_text() and log.read_text().count("was done already") >= 4
    assert artefacts(run) == artefacts(finished)


def test_a_job_that_begins_after_its_run_ended_makes_nothing(copied, plan):
    ended = subprocess.Popen(["true"])
    ended.wait()
    cell, made = SimpleNamespace(eval="claims"), plan()
    told = ["--spec", made.spec("evals")(cell), "--code", made.code("evals")(cell), "--outputs", "rows=new.parquet"]
    job = [sys.executable, "-m", "dwatlas.jobs", "evals", *told]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow"), "DWATLAS_STARTED_BY": str(ended.pid)}
    run = subprocess.run(job, env=environment, capture_output=True, text=True)
    assert run.returncode == 1 and "the run that started this job has ended before it began" in run.stderr
    assert not Path("new.parquet").exists()


def strike(run: Run, command: list, rules: tuple[str, ...], draw: np.random.Generator, whom: str) -> bool:
    """Start the run, wait for a job of ``rules`` and kill it, Snakemake or both at a random moment; False if all ended.

    Where the job alone is killed, Snakemake may go on to make tables of what is there, and is killed at that.
    """
    process = begin(run.folder, *command)
    begun, seconds = (is_at_work, AT_WORK) if draw.random() < 0.7 else (lambda run: jobs(run.folder, *rules), STARTED)
    wait_for(lambda: begun(run) or process.poll() is not None)
    time.sleep(draw.uniform(0, seconds))
    wait_for(lambda: jobs(run.folder, *rules) or process.poll() is not None)
    if process.poll() is not None:
        return False
    victims = {"job": jobs(run.folder, *rules), "Snakemake": [process], "both": [process, *jobs(run.folder)]}[whom]
    kill(*victims)
    if whom == "job":
        wait_for(lambda: process.poll() is not None or PARTIAL in printed(run.folder))
        time.sleep(draw.uniform(0, 2 * STARTED))
        kill(process)
    process.wait()
    wait_for(lambda: not snakemakes(run.folder))
    return True


def is_at_work(run: Run) -> bool:
    """Whether a job has begun its work: it has its lock then."""
    return any(is_held(lock.with_suffix(".log")) for lock in (run.results / "logs").rglob("*.lock"))


def finished_parts(run: Run) -> dict[Path, int]:
    """Components and groups of controls that are done, with the time that each was written."""
    parts = run.adapted.parent.glob("seed-*/scores/*/**/*.parquet")
    return {path: path.stat().st_mtime_ns for path in parts if path.name[0] != "." and path.name != "controls.parquet"}


def unlock(run: Run) -> None:
    """What the README says to do after Snakemake was killed."""
    if any((run.folder / ".snakemake/locks").glob("*")):
        snakemake(run.folder, "--unlock", *run.arguments)


def artefacts(run: Run) -> dict[str, str]:
    """Hashes of all but what killed writers left: files that begin with a dot."""
    return {path: sha256 for path, sha256 in hashes(run.results).items() if not is_hidden(path)}


def temporaries(run: Run) -> list[str]:
    """Files of killed writers."""
    return [path for path in hashes(run.results) if is_hidden(path)]


def is_hidden(path: str) -> bool:
    return any(part[0] == "." for part in Path(path).parts)
