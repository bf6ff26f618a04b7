"""GPU leases between real processes, on pretended devices: jobs run through the real entry point."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from copies import ROOT
from dwatlas import lease
from dwatlas.errors import UserError

PROBE = """
import json, os, sys, time
from pathlib import Path

AT_IMPORT = {"visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "torch": "torch" in sys.modules, "pid": os.getpid()}

def work(job):
    seen = Path(job.outputs["seen"])
    part = seen.with_suffix(".part")
    part.write_text(json.dumps(AT_IMPORT | {"inputs": job.inputs, "memory": job.memory}))
    part.rename(seen)
    ends = time.monotonic() + 30
    while not Path("end").exists() and time.monotonic() < ends:
        time.sleep(0.02)
"""
"""A job that tells what it saw when it was imported, and lives until there is a file ``end``."""
SNAKEFILE = """
rule probe:
    output: "job-{number}.json"
    params: job=os.environ["PROBE"]
    resources: gpu=1
    shell: "{params.job} --gpu {resources.gpu} --outputs seen={output} 2>&1 | tee job-{wildcards.number}.log"
"""
WAIT = 0.6
"""Seconds in which a job has started and, where it waits, tried more than once."""


def until(true):
    """Wait for ``true()`` and return its value."""
    ends = time.monotonic() + 15
    while not (value := true()):
        assert time.monotonic() < ends, "did not happen in 15 s"
        time.sleep(0.02)
    return value


class Run:
    """A process, what it has printed, and, if it is a probe, what it saw once it had its devices."""

    def __init__(self, process: subprocess.Popen, log: Path, seen: Path | None = None):
        self.process, self.log, self.seen = process, log, seen

    @property
    def printed(self) -> str:
        return self.log.read_text()

    @property
    def report(self) -> dict:
        until(lambda: self.seen.exists() or self.process.poll())
        assert self.seen.exists(), self.printed
        return json.loads(self.seen.read_text())

    @property
    def visible(self) -> str | None:
        return self.report["visible"]

    @property
    def waits(self) -> bool:
        return self.process.poll() is None and not self.seen.exists()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Machine:
    """A folder to work in, with its own folder for locks and pretended devices."""

    def __init__(self, folder: Path, package: Path, code: str):
        self.folder, self.runs = folder, []
        for name in ("tmp", "bin"):
            (folder / name).mkdir()
        self.environment = {"PYTHONPATH": str(package), "TMPDIR": str(folder / "tmp"), "PATH": str(folder / "bin")}
        self.probe = [sys.executable, *"-m dwatlas.jobs probe --spec {} --code".split(), code]

    def start(self, *command: str, seen: Path | None = None, **environment: str) -> Run:
        """Start a process; both its streams go to a file."""
        log = self.folder / f"log-{len(self.runs)}"
        with log.open("w") as file:
            process = subprocess.Popen(
                command, env=self.environment | environment, cwd=self.folder, stdout=file, stderr=subprocess.STDOUT
            )
        self.runs.append(Run(process, log, seen))
        return self.runs[-1]

    def python(self, script: str, **environment: str) -> Run:
        """Start a script."""
        return self.start(sys.executable, "-c", script, **environment)

    def job(self, gpu: int | str, *arguments: str, **environment: str) -> Run:
        """Start the probe with so many GPUs."""
        seen = self.folder / f"seen-{len(self.runs)}.json"
        command = (*self.probe, "--gpu", str(gpu), "--outputs", f"seen={seen}", *arguments)
        return self.start(*command, seen=seen, **environment)

    def jobs(self, number: int, **environment: str) -> list[Run]:
        """Start jobs with a GPU each, each after the one before has its own."""
        runs = []
        for _ in range(number):
            runs.append(self.job(1, **environment))
            assert runs[-1].visible
        return runs

    def pretend_nvidia_smi(self, text: str, code: int = 0) -> None:
        script = self.folder / "bin/nvidia-smi"
        script.write_text(f"#!/bin/sh\ntest \"$*\" = -L || exit 2\necho '{text}'\nexit {code}\n")
        script.chmod(0o755)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A folder with a copy of the package that has the probe among its jobs; those that wait try often."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "workflow/dwatlas", folder / "dwatlas", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "dwatlas/jobs/probe.py").write_text(PROBE)
    copied = folder / "dwatlas/lease.py"
    copied.write_text(copied.read_text() + "\n\nPOLL = 0.1\n")
    return folder


@pytest.fixture(scope="module")
def code(package) -> str:
    """The probe's code fingerprint."""
    script = "from dwatlas.fingerprint import job_fingerprint as code; print(code('probe', {}), end='')"
    return subprocess.check_output([sys.executable, "-c", script], env={"PYTHONPATH": str(package)}, text=True)


@pytest.fixture
def machine(tmp_path, package, code):
    machine = Machine(tmp_path, package, code)
    yield machine
    (tmp_path / "end").touch()
    for run in machine.runs:
        run.kill()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """This process as a job on a machine with devices 0 and 1 and no scheduler; returns where locks would be."""
    for name in (*lease.SCHEDULERS, lease.JOBS_PER_GPU):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(lease.VISIBLE, "0,1")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"dwatlas-gpus-{os.getuid()}"


def test_four_jobs_on_two_devices_are_never_two_on_one_and_a_killed_one_frees_its_device(machine):
    jobs = [machine.job(1, CUDA_VISIBLE_DEVICES="0,3") for _ in range(4)]

    def running() -> list[Run]:
        return [job for job in jobs if job.process.poll() is None and job.seen.exists()]

    for _ in range(2):
        until(lambda: len(running()) == 2)
        time.sleep(WAIT)
        assert sorted(job.visible for job in running()) == ["0", "3"]
        running()[0].kill()
    until(lambda: len(running()) == 2)
    assert sorted(job.visible for job in running()) == ["0", "3"]


def test_many_short_jobs_at_once_never_share_a_device(machine):
    """Each marks its device as used by a file that must not be there yet."""
    script = (
        "import os, time; from dwatlas import lease; lease.POLL = 0.01; lease.acquire(1)\n"
        "device = 'used-' + os.environ['CUDA_VISIBLE_DEVICES']\n"
        "os.close(os.open(device, os.O_CREAT | os.O_EXCL)); time.sleep(0.05); os.unlink(device); print(device)"
    )
    runs = [machine.python(script, CUDA_VISIBLE_DEVICES="0,1") for _ in range(10)]
    assert [run.process.wait() for run in runs] == [0] * 10, [run.printed for run in runs]
    assert {run.printed for run in runs} == {"used-0\n", "used-1\n"}


def test_a_job_does_not_choose_while_another_does(machine):
    """Else two that look for free slots at once would each take the other's look for a lease, and wait for nothing."""
    folder = machine.folder / f"tmp/dwatlas-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700)
    choosing = os.open(folder, os.O_RDONLY)
    fcntl.flock(choosing, fcntl.LOCK_EX)
    job = machine.job(1, CUDA_VISIBLE_DEVICES="0")
    time.sleep(WAIT)
    assert job.waits
    os.close(choosing)
    assert job.visible == "0"


def test_jobs_that_outlive_snakemake_keep_their_devices(machine):
    (machine.folder / "Snakefile").write_text(SNAKEFILE)
    environment = {"HOME": str(machine.folder), "PATH": os.environ["PATH"], "PROBE": shlex.join(machine.probe)}
    two = {"CUDA_VISIBLE_DEVICES": "0,1"}
    seen = [machine.folder / f"job-{number}.json" for number in (1, 2)]
    command = (sys.executable, *"-m snakemake --cores 2 job-1.json job-2.json".split())
    snakemake = machine.start(*command, **environment, **two)
    first, second = (Run(snakemake.process, snakemake.log, path).report for path in seen)
    assert sorted((first["visible"], second["visible"])) == ["0", "1"]
    snakemake.kill()
    late = machine.job(1, **two)
    time.sleep(WAIT)
    assert late.waits
    os.kill(second["pid"], signal.SIGKILL)
    assert late.visible == second["visible"]


def test_two_jobs_per_gpu_fill_the_least_used_device_first(machine):
    two = {"CUDA_VISIBLE_DEVICES": "0,1", "DWATLAS_JOBS_PER_GPU": "2"}
    jobs = machine.jobs(4, **two)
    assert [job.visible for job in jobs] == ["0", "1", "0", "1"]
    fifth = machine.job(1, **two)
    time.sleep(WAIT)
    assert fifth.waits
    fifth.kill()
    for job in jobs[1:]:
        job.kill()
    assert [job.visible for job in machine.jobs(2, **two)] == ["1", "0"]


def test_two_gpus_are_leased_together_or_not_at_all(machine):
    three = {"CUDA_VISIBLE_DEVICES": "0,1,2"}
    holders = machine.jobs(2, **three)
    wide = machine.job(2, **three)
    time.sleep(WAIT)
    assert wide.waits
    assert machine.job(1, **three).visible == "2"
    holders[0].kill()
    time.sleep(WAIT)
    assert wide.waits
    holders[1].kill()
    assert wide.visible == "0,1"


def test_a_job_of_two_gpus_has_two_different_ones(machine):
    assert machine.job(2, CUDA_VISIBLE_DEVICES="0,1", DWATLAS_JOBS_PER_GPU="2").visible == "0,1"


@pytest.mark.parametrize(
    ("child", "keeps"),
    [
        ("child = subprocess.Popen(['/bin/sleep', '30']).pid", False),
        ("child = os.fork() or os.execv('/bin/sleep', ['sleep', '30'])", False),
        ("child = os.fork() or time.sleep(30)", True),
    ],
)
def test_a_forked_worker_keeps_the_device_of_its_job_and_another_program_does_not(machine, child, keeps):
    """A worker is the same program and may use the device."""
    script = f"import os, subprocess, time; from dwatlas import lease; lease.acquire(1)\n{child}\nprint(child)"
    parent = machine.python(script, CUDA_VISIBLE_DEVICES="0")
    parent.process.wait()
    job = machine.job(1, CUDA_VISIBLE_DEVICES="0")
    if keeps:
        time.sleep(WAIT)
        assert job.waits
    else:
        assert job.visible == "0"
    os.kill(int(parent.printed), signal.SIGKILL)
    assert job.visible == "0"


def test_a_job_that_waits_long_says_once_what_it_waits_for(machine):
    (holder,) = machine.jobs(1, CUDA_VISIBLE_DEVICES="GPU-8932f937")
    script = "from dwatlas import lease; lease.POLL = lease.PATIENCE = 0.05; lease.acquire(1)"
    waiting = machine.python(script, CUDA_VISIBLE_DEVICES="GPU-8932f937")
    until(lambda: waiting.printed)
    time.sleep(0.2)
    holder.kill()
    assert waiting.process.wait() == 0
    assert waiting.printed == f"waiting for a GPU of GPU-8932f937: taken by processes {holder.process.pid}\n"


@pytest.mark.parametrize("name", ["GPU-8932f937-d72c-4106", "MIG-GPU-8932f937/1/0", "7"])
def test_a_device_keeps_the_name_that_the_user_gave_it(machine, name):
    assert machine.job(1, CUDA_VISIBLE_DEVICES=f" {name} , {name}").visible == name


def test_without_the_variable_the_devices_are_those_that_nvidia_smi_lists(machine):
    split = "  MIG 1g.10gb Device  0: (UUID: MIG-1)"
    machine.pretend_nvidia_smi(f"GPU 0: NVIDIA H100 (UUID: GPU-1)\n{split}\nGPU 1: NVIDIA H100 (UUID: GPU-2)")
    assert [job.visible for job in machine.jobs(2)] == ["0", "1"]
    more = machine.job(3)
    assert more.process.wait() == 1
    assert "there are 2 (0, 1)" in more.printed


@pytest.mark.parametrize("visible", ["", "-1", "-1,0", None])
def test_without_a_gpu_a_job_starts_at_once_as_it_is(machine, visible):
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert machine.job(2, **environment).visible == visible
    assert list((machine.folder / "tmp").iterdir()) == []


def test_a_failing_nvidia_smi_is_no_gpu(machine):
    machine.pretend_nvidia_smi("GPU 0: broken", code=9)
    assert machine.job(1).visible is None


def test_the_lease_comes_before_the_job_imports_anything_and_the_other_arguments_stay(machine):
    arguments = ("--memory", "77", "--inputs", "model=m", "rows=a", "rows=b")
    for name in "mab":
        (machine.folder / name).touch()
    report = machine.job(1, *arguments, CUDA_VISIBLE_DEVICES="5").report
    assert report["visible"] == "5" and not report["torch"]
    assert report["inputs"] == {"model": ["m"], "rows": ["a", "b"]} and report["memory"] == 77


@pytest.mark.parametrize(
    ("gpu", "status", "line"),
    [
        (
            3,
            1,
            "probe: error: resources.gpu: 3 asked for, there are 2 (0, 1); ask for at most 2 with "
            "--set-resources RULE:gpu=2",
        ),
        ("many", 2, "dwatlas.jobs probe: error: argument --gpu: invalid int value: 'many'"),
    ],
)
def test_a_wrong_number_ends_the_job_with_one_line(machine, gpu, status, line):
    job = machine.job(gpu, CUDA_VISIBLE_DEVICES="0,1")
    assert job.process.wait() == status
    assert job.printed.splitlines()[-1] == line
    assert "Traceback" not in job.printed


def test_a_scheduler_has_given_the_device_already(machine):
    jobs = machine.jobs(2, CUDA_VISIBLE_DEVICES="0", SLURM_JOB_ID="12")
    assert [job.visible for job in jobs] == ["0", "0"]


@pytest.mark.parametrize("name", ["SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "SGE_TASK_ID"])
def test_under_a_scheduler_nothing_is_leased_or_refused(here, monkeypatch, name):
    monkeypatch.setenv(name, "undefined")
    lease.acquire(3)
    assert os.environ[lease.VISIBLE] == "0,1"
    assert not here.exists()


@pytest.mark.parametrize("name", [None, "SLURM_JOB_ID"])
def test_no_gpu_asked_for_hides_all_wherever_the_job_runs(here, monkeypatch, name):
    if name:
        monkeypatch.setenv(name, "12")
    lease.acquire(0)
    assert os.environ[lease.VISIBLE] == ""
    assert not here.exists()


def test_a_device_that_is_named_twice_is_one(here, monkeypatch):
    monkeypatch.setenv(lease.VISIBLE, "0,0")
    with pytest.raises(UserError, match=r"resources.gpu: 2 asked for, there are 1 \(0\); ask for at most 1"):
        lease.acquire(2)


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", ""])
def test_a_bad_number_of_jobs_per_gpu_is_refused(here, monkeypatch, text):
    monkeypatch.setenv("DWATLAS_JOBS_PER_GPU", text)
    with pytest.raises(UserError, match=f"DWATLAS_JOBS_PER_GPU: '{text}' is no number of jobs; give a whole number"):
        lease.acquire(1)


def test_the_folder_of_locks_is_private(machine):
    machine.jobs(1, CUDA_VISIBLE_DEVICES="0")
    (folder,) = (machine.folder / "tmp").iterdir()
    assert folder.name == f"dwatlas-gpus-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_link_in_place_of_the_folder_is_refused(here):
    (here.parent / "theirs").mkdir()
    here.symlink_to("theirs")
    with pytest.raises(UserError, match=f"{here.name}: is not a folder of yours; remove it"):
        lease.acquire(1)


def test_a_folder_of_another_user_is_refused(here, monkeypatch):
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    here.with_name(f"dwatlas-gpus-{other}").mkdir()
    with pytest.raises(UserError, match=f"dwatlas-gpus-{other}: is not a folder of yours"):
        lease.acquire(1)


def test_a_file_in_place_of_the_folder_is_named(here):
    here.touch()
    with pytest.raises(UserError, match=rf"{here.name}: cannot be locked \(File exists\); set TMPDIR to a folder"):
        lease.acquire(1)


def test_a_file_system_without_locks_is_named(here, monkeypatch):
    def refused(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(UserError, match=rf"{here.name}: cannot be locked \(No locks available\)"):
        lease.acquire(1)
