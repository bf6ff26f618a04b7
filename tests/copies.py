"""The project in a folder of its own, so that a test's runs touch nothing of the checkout."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "workflow", "config", "profiles", "envs")


def copy_project(folder: Path) -> Path:
    """All that a study needs, without results."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, folder / part)
    return folder


def start(folder: Path, *arguments: object, **environment: str) -> subprocess.Popen:
    """Start Snakemake in ``folder``; both its streams are one."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PATH": path} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def snakemake(folder: Path, *arguments: object, fails: bool = False, **environment: str) -> str:
    """Run Snakemake in ``folder`` and return what it printed; it must succeed, or fail where ``fails``."""
    run = start(folder, *arguments, **environment)
    output = run.communicate()[0]
    assert bool(run.returncode) == fails, output
    return output


def job_counts(output: str) -> dict[str, int]:
    """Rule → number of jobs, from the first table that a dry run prints."""
    table = output.partition("Job stats:")[2].partition("total")[0]
    lines = [line.split() for line in table.splitlines()]
    return {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdigit()}


def hashes(folder: Path) -> dict[str, str]:
    """Path → sha256 of every artefact below ``folder``; logs and benchmarks are none."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "logs" not in file.relative_to(folder).parts
    }
