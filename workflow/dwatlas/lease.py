"""GPU leases: on one machine, every job that asks for GPUs has devices of its own for as long as it lives.

Snakemake counts GPUs and does not say which one a job may use. A lease is a lock (``flock``) on one file per device and
slot, in a folder of this machine and user. The kernel releases it when the last process that has the file open ends, in
whatever way: after SIGKILL nothing has to be cleaned up, and a job that outlives Snakemake keeps its devices.
"""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

from dwatlas.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
JOBS_PER_GPU = "DWATLAS_JOBS_PER_GPU"
SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "SGE_TASK_ID", "OAR_JOB_ID", "FLUX_JOB_ID", "_CONDOR_JOB_AD")
"""Variables that are set in the jobs of a cluster's scheduler, which has given them their devices."""
POLL = 0.5
"""Seconds from one try to the next."""
PATIENCE = 30.0
"""Seconds of waiting after which a job says what it waits for."""


def acquire(number: int) -> None:
    """Lease ``number`` GPUs for the life of this process, waiting for them, and name them in CUDA_VISIBLE_DEVICES.

    To be called once, before torch looks for GPUs. 0 hides all GPUs. Where there is no GPU, or a cluster's scheduler
    has given devices already, nothing is done. Devices with fewer jobs on them come first; several are got all at once
    or not at all.

    Raises ``UserError`` when the machine has fewer GPUs, DWATLAS_JOBS_PER_GPU is no whole number ≥ 1, or nothing can be
    locked.
    """
    if number < 1:
        os.environ[VISIBLE] = ""
    elif not any(name in os.environ for name in SCHEDULERS):
        slots, devices = _jobs_per_gpu(), _devices()
        if number > len(devices) > 0:
            raise UserError(
                f"resources.gpu: {number} asked for, there are {len(devices)} ({', '.join(devices)}); ask for at most "
                f"{len(devices)} with --set-resources RULE:gpu={len(devices)}"
            )
        if devices:
            os.environ[VISIBLE] = ",".join(_wait(number, devices, slots))


def _jobs_per_gpu() -> int:
    text = os.environ.get(JOBS_PER_GPU, "1")
    if not (text.isdecimal() and int(text)):
        raise UserError(f"{JOBS_PER_GPU}: {text!r} is no number of jobs; give a whole number from 1 up")
    return int(text)


def _devices() -> list[str]:
    """The GPUs that jobs may use, as CUDA_VISIBLE_DEVICES names them; like CUDA, none from the first bad name on."""
    visible = os.environ.get(VISIBLE)
    if visible is None:
        return _installed()
    names = (name.strip() for name in visible.split(","))
    return list(dict.fromkeys(takewhile(lambda name: name not in ("", "-1"), names)))


def _installed() -> list[str]:
    """Numbers of the machine's GPUs; none where ``nvidia-smi`` is missing or fails."""
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    gpus = [line for line in listing.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(gpus))]


def _wait(number: int, devices: list[str], slots: int) -> list[str]:
    """Try until ``number`` devices are leased; return them."""
    folder = Path(tempfile.gettempdir(), f"dwatlas-gpus-{os.getuid()}")
    patience_ends = time.monotonic() + PATIENCE
    try:
        _make_private(folder)
        while True:
            leased, holders = _try(number, devices, slots, folder)
            if leased:
                return leased
            if time.monotonic() > patience_ends:
                patience_ends = float("inf")
                _say_what_for(number, devices, holders)
            time.sleep(POLL)
    except OSError as error:
        raise UserError(
            f"{error.filename or folder}: cannot be locked ({error.strerror}); set TMPDIR to a folder on this machine "
            "that you may write to"
        ) from error


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
        raise UserError(f"{folder}: is not a folder of yours; remove it, or set TMPDIR to another folder")


def _try(number: int, devices: list[str], slots: int, folder: Path) -> tuple[list[str], list[str]]:
    """The devices leased, none if fewer than ``number`` have a free slot; and the ids of the processes on the others.

    Every slot is locked to see how many are free, and those not needed are let go. Locks that are kept are never
    closed, so that they last as long as the process and the workers that it forks.
    """
    free: dict[str, list[int]] = {device: [] for device in devices}
    holders = []
    with _one_at_a_time(folder):
        for device in devices:
            for slot in range(slots):
                file = os.open(folder / f"{device.replace('/', '_')}-{slot}", os.O_RDWR | os.O_CREAT, 0o600)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    free[device].append(file)
                except BlockingIOError:
                    holders.append(os.pread(file, 20, 0).decode())
                    os.close(file)
        leased = sorted((device for device in devices if free[device]), key=lambda device: -len(free[device]))[:number]
        if len(leased) < number:
            leased = []
        for device in leased:
            _sign(free[device].pop())
        for file in (file for files in free.values() for file in files):
            os.close(file)
    return leased, holders


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep other processes from choosing meanwhile: they would see this one's passing locks as taken slots."""
    file = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _sign(file: int) -> None:
    """Leave this process's id in a lock's file, for those who wait."""
    os.ftruncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)


def _say_what_for(number: int, devices: list[str], holders: list[str]) -> None:
    gpus = "a GPU" if number == 1 else f"{number} GPUs"
    processes = ", ".join(dict.fromkeys(holders))
    print(f"waiting for {gpus} of {', '.join(devices)}: taken by processes {processes}", file=sys.stderr, flush=True)
