"""Processes of a running study: its jobs found by their command lines, killed as a machine's faults kill them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

PATIENCE = 240
"""Seconds after which a test gives up waiting."""
PRINTED = "printed.txt"
NOT_COPIED = shutil.ignore_patterns("__pycache__", "log", "scripts")


def copy_finished(source: Path, folder: Path) -> Path:
    """A finished study with Snakemake's records of it."""
    return shutil.copytree(source, folder, ignore=NOT_COPIED, dirs_exist_ok=True)


def begin(folder: Path, *arguments: object, **environment: str) -> subprocess.Popen:
    """Start Snakemake in a process group of its own; it prints into a file, which outlives it as a pipe does not.

    It obeys Ctrl-C even where these tests were started in a shell's background, which ignores it for all they start.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with open(folder / PRINTED, "w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *map(str, arguments)],
            cwd=folder,
            env=os.environ | {"PATH": path} | environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def printed(folder: Path) -> str:
    """What the last ``begin`` printed so far."""
    return (folder / PRINTED).read_text(errors="replace")


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE) -> object:
    """The first true value of ``condition``; fails after ``seconds``."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited for {seconds} s in vain")


def jobs(folder: Path, *rules: str) -> list[psutil.Process]:
    """The living jobs of the study in ``folder``, those of ``rules`` only where any are named."""
    return [process for process, rule in _processes(folder, "dwatlas.jobs") if not rules or rule in rules]


def snakemakes(folder: Path) -> list[psutil.Process]:
    """The living Snakemakes that work in ``folder``."""
    return [process for process, _ in _processes(folder, "snakemake")]


def kill(*processes: psutil.Process | subprocess.Popen) -> None:
    """SIGKILL to each that still lives."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def _processes(folder: Path, module: str) -> Iterator[tuple[psutil.Process, str]]:
    """The living processes that run a module in ``folder``, with the first argument of each."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = process.cmdline()
            ours = command[1:3] == ["-m", module] and process.cwd() == str(folder)
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                yield process, command[3]
