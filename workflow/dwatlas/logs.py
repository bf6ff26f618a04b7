"""A job's log: what the job said last, and beside it the lock that keeps others off its artefacts while it lives.

The lock is an advisory one on an open file, which the kernel gives back when the process ends in any way. So a job
that outlived its Snakemake is waited for, and can never overwrite what a later one made. The log itself cannot be
locked: Snakemake deletes it before it starts a job.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.2
DONE = ": done in "


@contextmanager
def alone(path: str | Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of the job with this log, after waiting for the process that has it."""
    file = lock_file(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "a") as opened:
        told = False
        while not _lock(opened, fcntl.LOCK_EX):
            if not told:
                say("another process is still making this; waiting for it to end")
            told = True
            time.sleep(POLL_SECONDS)
        yield


def is_held(path: str | Path) -> bool:
    """Whether a job with this log is at work."""
    file = lock_file(path)
    if not file.is_file():
        return False
    with open(file) as opened:
        return not _lock(opened, fcntl.LOCK_SH)


def last_words(path: str | Path) -> str | None:
    """Why the job with this log did not finish; None when it never started, or finished."""
    path = Path(path)
    if not path.is_file():
        return None
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if lines and DONE in lines[-1]:
        return None
    said = next((line.partition(": error: ")[2] for line in reversed(lines) if ": error: " in line), None)
    return said or f"it ended without a word, as a killed job does; see {path}"


def lock_file(log: str | Path) -> Path:
    """The file that is locked for a log's job."""
    return Path(log).with_suffix(".lock")


def _lock(opened, kind: int) -> bool:
    """Whether the lock was free. A file system without locks has none to wait for."""
    try:
        fcntl.flock(opened, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
