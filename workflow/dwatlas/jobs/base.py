"""What all jobs share: arguments, the check of the code fingerprint, progress lines, one-line errors, provenance."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from dwatlas.errors import UserError
from dwatlas.files import write_json
from dwatlas.fingerprint import MANIFEST, job_code, job_fingerprint
from dwatlas.logs import alone
from dwatlas.provenance import file_sha256, read_provenance
from dwatlas.seals import BROKEN, fault
from dwatlas.versions import NOT_MIXED, VERSIONS

STARTED_BY = "DWATLAS_STARTED_BY"
"""Variable with the process id of the Snakemake that started a job."""


@dataclass(frozen=True)
class Job:
    """A job's arguments: its slice of the config (``spec``), code fingerprint, named files and memory in MB."""

    name: str
    spec: dict
    code: str
    inputs: dict[str, list[str]]
    outputs: dict[str, str]
    memory: int = 2000
    users: frozenset[str] = frozenset()
    """Names of the inputs that are files of the user's, not artefacts."""

    def input(self, name: str) -> str:
        """The one file of a named input."""
        (path,) = self.inputs[name]
        return path

    def reading(self, name: str, files: Iterable[str | Path], users: bool = False) -> Job:
        """The same job with further input files, artefacts or the user's own, which its command line does not name."""
        inputs = {**self.inputs, name: [str(path) for path in files]}
        return replace(self, inputs=inputs, users=self.users | {name} if users else self.users)

    def say(self, text: str) -> None:
        """Print a progress line, led by what the job is about."""
        about = " ".join(str(value) for value in self.spec.get("cell", {}).values())
        print(f"{self.name} {about}: {text}", file=sys.stderr, flush=True)

    def provenance(self, **more: object) -> dict:
        """What made an artefact (see ``dwatlas.provenance``); ``more`` is added."""
        return {
            "job": self.name,
            "spec": self.spec,
            "code": self.code,
            "inputs": self._hashes,
            "versions": versions(),
            "made_with": self._made_with,
            **more,
        }

    def check_inputs(self) -> None:
        """Raise ``UserError`` when an input is missing or damaged."""
        _ = self._hashes

    @cached_property
    def _hashes(self) -> dict[str, dict[str, str]]:
        return {
            name: {path: _digest(path, artefact=name not in self.users) for path in files}
            for name, files in self.inputs.items()
        }

    @cached_property
    def _made_with(self) -> dict[str, list[str]]:
        """Versions of the libraries that must not be mixed, of this job and all that it is made from."""
        own = versions()
        found = {name: {own[name]} if name in sys.modules else set() for name in NOT_MIXED}
        artefacts = (files for name, files in self.inputs.items() if name not in self.users)
        for path in (path for files in artefacts for path in files):
            for name, others in read_provenance(path).get("made_with", {}).items():
                found[name].update(others)
        return {name: sorted(values) for name, values in found.items()}


def versions() -> dict[str, str]:
    """Versions of the libraries that results depend on."""
    return {name: importlib.metadata.version(name) for name in VERSIONS}


def _digest(path: str, artefact: bool) -> str:
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; run the rule that makes it")
    if artefact:
        _check(path)
    return file_sha256(path)


def _check(path: str) -> None:
    """Raise ``UserError`` when an artefact is not whole or not what its seal says."""
    read_provenance(path)
    if fault(path) == BROKEN:
        raise UserError(f"{path}: damaged, it {BROKEN}; delete it and run again")


def run(work: Callable[[Job], None]) -> None:
    """Parse the command line, run ``work`` and exit: 0 when done, 1 after one line that says what went wrong."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # between libraries, not for users
    arguments = _parser(sys.modules[work.__module__].__doc__).parse_args()
    name = Path(sys.modules[work.__module__].__file__).stem
    inputs: dict[str, list[str]] = {}
    for pair in arguments.inputs:
        key, _, path = pair.partition("=")
        inputs.setdefault(key, []).append(path)
    outputs = dict(pair.split("=", 1) for pair in arguments.outputs)
    job = Job(name, arguments.spec, arguments.code, inputs, outputs, arguments.memory)
    started = time.monotonic()
    try:
        with alone(arguments.log, job.say) if arguments.log else nullcontext():
            if _is_orphan():
                raise UserError("the run that started this job has ended before it began; run snakemake again")
            if job_fingerprint(name, job.spec) != job.code:
                raise UserError("the code was edited after this job was planned; run snakemake again")
            job.check_inputs()
            work(job)
            _keep_code(job)
            job.say(f"done in {time.monotonic() - started:.1f} s")
    except Exception as error:
        sys.exit(f"{name}: error: {_in_one_line(error)}")


def _is_orphan() -> bool:
    """Whether the Snakemake that started this job is gone: a later one may have made its artefacts meanwhile."""
    try:
        os.kill(int(os.environ.get(STARTED_BY, os.getpid())), 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False


def _parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--spec", required=True, type=json.loads, help="canonical JSON of the config that it uses")
    parser.add_argument("--code", required=True, help="code fingerprint that the job was planned with")
    parser.add_argument("--inputs", nargs="*", default=[], metavar="NAME=PATH", help="files to read")
    parser.add_argument("--outputs", nargs="*", default=[], metavar="NAME=PATH", help="files to write")
    parser.add_argument("--memory", type=int, default=Job.memory, help="MB to work in; what does not fit goes to disk")
    parser.add_argument("--log", help="the job's log file; while the job lives, no other with this log works")
    return parser


def _keep_code(job: Job) -> None:
    """Keep what the fingerprint stands for, so that later edits can be told by name."""
    path = Path(MANIFEST.format(code=job.code))
    if not path.is_file():
        write_json(path, {"modules": job_code(job.name, job.spec)}, {"code": job.code})


def _in_one_line(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    first = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; mend that and run again, what is finished stays"
    traceback.print_exception(error)
    if type(error).__name__ == "OutOfMemoryError":
        return f"{first}; lower the model's tokens_per_batch or edits_at_once"
    return f"{type(error).__name__}: {first}"
