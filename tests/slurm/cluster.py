"""A real Slurm on one machine, on loopback only, with two pretended GPUs: started by hand, stopped by process.

It writes nothing outside of its folder. Snakemake's job steps drop SLURM_CONF, so a shim of ``srun`` sets it again.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "setpriv")

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
TaskProlog={folder}/prolog
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
KillWait=5
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=256000 Gres=gpu:fake:2
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE DefMemPerCPU=1000
"""
"""The node pretends to have what the profile's requests need, whatever the machine has (``config_overrides``)."""
GPUS = """\
AutoDetect=off
NodeName={host} Name=gpu Type=fake File=/dev/null
NodeName={host} Name=gpu Type=fake File=/dev/zero
"""
PROLOG = """\
#!/bin/sh
echo "$SLURM_JOB_ID ${{CUDA_VISIBLE_DEVICES-none}}" >> {folder}/devices
"""
SHIM = """\
#!/bin/sh
SLURM_CONF={folder}/slurm.conf exec {srun} "$@"
"""


@dataclass(frozen=True)
class Job:
    """A job as Slurm tells of it: its limits in minutes and MB, its start and end in seconds.

    Its ``comment`` names the rule and the values of the wildcards.
    """

    id: str
    comment: str
    state: str
    minutes: int
    memory: int
    start: float
    end: float

    @property
    def rule(self) -> str:
        return re.match(r"rule_([a-z_]+?)(_wildcards_|$)", self.comment)[1]


class Cluster:
    """A running Slurm; ``environment`` is what its commands need."""

    def __init__(self, folder: Path):
        self.folder = folder
        path = os.pathsep.join((f"{folder}/shim", f"{Path(sys.executable).parent}", os.environ["PATH"]))
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}

    def call(self, *command: str) -> str:
        """What a Slurm command prints; CalledProcessError if it fails."""
        environment = os.environ | self.environment
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    def jobs(self, rule: str = "", state: str = "") -> list[Job]:
        """All jobs so far, in the order of submission, of a rule and in a state where these are given."""
        lines = self.call("scontrol", "show", "jobs", "--oneliner").splitlines()
        jobs = [read_job(line) for line in lines if line.startswith("JobId=")]
        return [job for job in jobs if rule in ("", job.rule) and state in ("", job.state)]

    def cancel(self, job: Job) -> None:
        self.call("scancel", job.id)

    def devices(self) -> dict[str, set[str]]:
        """Job → the values of CUDA_VISIBLE_DEVICES that its tasks saw; ``none`` where it was not set."""
        seen = {}
        for line in (self.folder / "devices").read_text().splitlines():
            job, device = line.split()
            seen.setdefault(job, set()).add(device)
        return seen

    def empty(self) -> None:
        """Cancel every job and wait until none is left, so that no job outlives the node's daemon."""
        self.call("scancel", "--user=root")
        wait_for(lambda: not self.call("squeue", "--noheader"), 30, "jobs ended")


def read_job(line: str) -> Job:
    """One line of ``scontrol show jobs --oneliner``."""
    fields = dict(re.findall(r"(\w+)=(\S*)", line))
    return Job(
        id=fields["JobId"],
        comment=fields["Comment"],
        state=fields["JobState"],
        minutes=minutes(fields["TimeLimit"]),
        memory=megabytes(fields["MinMemoryNode"]),
        start=seconds(fields["StartTime"]),
        end=seconds(fields["EndTime"]),
    )


def minutes(limit: str) -> int:
    """Slurm's ``days-hours:minutes:seconds``, days left out where there are none."""
    days, _, clock = limit.rpartition("-")
    hours, rest, _ = map(int, clock.split(":"))
    return (24 * int(days or 0) + hours) * 60 + rest


def megabytes(memory: str) -> int:
    """Slurm's ``2000M`` or ``31.25G`` in MB as Slurm counts them, 1024 to the next unit."""
    return round(float(memory[:-1]) * {"M": 1, "G": 1024}[memory[-1]])


def seconds(time_of_slurm: str) -> float:
    """The time of a job's start or end, infinity where it is not known yet."""
    return float("inf") if time_of_slurm == "Unknown" else datetime.fromisoformat(time_of_slurm).timestamp()


def wait_for(condition: Callable[[], object], limit: float, what: str) -> object:
    """What ``condition`` gives as soon as it is true; AssertionError with ``what`` after ``limit`` seconds."""
    deadline = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {limit} s"
        time.sleep(0.2)
    return found


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def write_files(folder: Path) -> None:
    """The configuration, a key, the prolog that records devices and the shim of srun."""
    for name in ("state", "spool", "shim"):
        (folder / name).mkdir()
    controller_port, node_port = free_ports(2)
    values = {
        "host": socket.gethostname().partition(".")[0],
        "folder": folder,
        "controller_port": controller_port,
        "node_port": node_port,
        "srun": shutil.which("srun"),
    }
    for name, text in {"slurm.conf": CONFIGURATION, "gres.conf": GPUS, "prolog": PROLOG, "shim/srun": SHIM}.items():
        (folder / name).write_text(text.format_map(values))
    for name in ("prolog", "shim/srun"):
        (folder / name).chmod(0o755)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o400)


def commands(folder: Path) -> dict[str, list[str]]:
    """The daemons in the order in which they start, each in the foreground."""
    munge = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    files = [f"--{option}={folder}/munge.{ending}" for option, ending in munge.items()]
    configuration = f"{folder}/slurm.conf"
    return {
        "munged": ["munged", "--foreground", "--force", *files],
        "slurmctld": ["slurmctld", "-D", "-f", configuration],
        "slurmd": ["slurmd", "-D", "-f", configuration],
    }


def start_daemons(folder: Path, daemons: list[subprocess.Popen]) -> None:
    """Start munged, slurmctld and slurmd, adding each to ``daemons``; each ends with this process at the latest."""
    for name, command in commands(folder).items():
        with open(folder / f"{name}.out", "w") as output:
            leashed = ["setpriv", "--pdeathsig", "TERM", *command]
            daemons.append(subprocess.Popen(leashed, stdout=output, stderr=subprocess.STDOUT))
        if name == "munged":
            wait_for((folder / "munge.socket").exists, 10, "munged listens")


def last_words(folder: Path) -> str:
    """The ends of what the daemons said, as their folder goes with them."""
    said = [*folder.glob("*.out"), *folder.glob("*.log")]
    return "\n".join(f"{file.name}: {file.read_text()[-500:]}" for file in said)


def stop_daemons(daemons: list[subprocess.Popen]) -> None:
    """Stop the daemons that were started, last first."""
    for daemon in reversed(daemons):
        daemon.terminate()
        try:
            daemon.wait(timeout=20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A Slurm with nothing to do; it is gone afterwards, with its jobs and its folder, whatever happens inside."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    daemons = []
    try:
        write_files(folder)
        cluster = Cluster(folder)
        start_daemons(folder, daemons)
        wait_for(lambda: is_idle(cluster), 60, "the node is idle")
        try:
            yield cluster
        finally:
            cluster.empty()
    except AssertionError as error:
        error.add_note(last_words(folder))
        raise
    finally:
        stop_daemons(daemons)
        shutil.rmtree(folder)


def is_idle(cluster: Cluster) -> bool:
    """Whether the controller answers and its node takes jobs."""
    try:
        return cluster.call("sinfo", "--noheader", "--format=%T").strip() == "idle"
    except subprocess.CalledProcessError:
        return False
