"""What all jobs share: arguments, the check of the code fingerprint, progress lines, one-line errors, provenance."""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dwatlas.errors import UserError
from dwatlas.fingerprint import job_fingerprint

VERSIONS = ("numpy", "pandas", "peft", "pyarrow", "scipy", "torch", "transformers")


@dataclass(frozen=True)
class Job:
    """A job's arguments: its slice of the config (``spec``), code fingerprint, named files and memory in MB."""

    name: str
    spec: dict
    code: str
    inputs: dict[str, list[str]]
    outputs: dict[str, str]
    memory: int = 2000

    def input(self, name: str) -> str:
        """The one file of a named input."""
        (path,) = self.inputs[name]
        return path

    def say(self, text: str) -> None:
        """Print a progress line, led by what the job is about."""
        about = " ".join(str(value) for value in self.spec.get("cell", {}).values())
        print(f"{self.name} {about}: {text}", file=sys.stderr, flush=True)

    def provenance(self, **more: object) -> dict:
        """What made an artefact: job, spec, code, the hashes of its inputs and the versions of the libraries."""
        return {
            "job": self.name,
            "spec": self.spec,
            "code": self.code,
            "inputs": {name: digest(paths) for name, paths in self.inputs.items()},
            "versions": versions(),
            **more,
        }


def versions() -> dict[str, str]:
    """Versions of the libraries that results depend on."""
    return {name: importlib.metadata.version(name) for name in VERSIONS}


def digest(paths: list[str]) -> str:
    """sha256 over the contents of files, in the order given."""
    whole = hashlib.sha256()
    for path in paths:
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file; run the rule that makes it")
        with open(path, "rb") as opened:
            whole.update(hashlib.file_digest(opened, "sha256").digest())
    return whole.hexdigest()


def run(work: Callable[[Job], None]) -> None:
    """Parse the command line, run ``work`` and exit: 0 when done, 1 after a one-line error of the user's to mend."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # between libraries, not for users
    parser = argparse.ArgumentParser(description=sys.modules[work.__module__].__doc__)
    parser.add_argument("--spec", required=True, type=json.loads, help="canonical JSON of the config that it uses")
    parser.add_argument("--code", required=True, help="code fingerprint that the job was planned with")
    parser.add_argument("--inputs", nargs="*", default=[], metavar="NAME=PATH", help="files to read")
    parser.add_argument("--outputs", nargs="*", default=[], metavar="NAME=PATH", help="files to write")
    parser.add_argument("--memory", type=int, default=Job.memory, help="MB to work in; what does not fit goes to disk")
    arguments = parser.parse_args()
    name = Path(sys.modules[work.__module__].__file__).stem
    inputs: dict[str, list[str]] = {}
    for pair in arguments.inputs:
        key, _, path = pair.partition("=")
        inputs.setdefault(key, []).append(path)
    outputs = dict(pair.split("=", 1) for pair in arguments.outputs)
    try:
        if job_fingerprint(name, arguments.spec) != arguments.code:
            raise UserError("the code was edited after this job was planned; run snakemake again")
        work(Job(name, arguments.spec, arguments.code, inputs, outputs, arguments.memory))
    except UserError as error:
        sys.exit(f"{name}: error: {error}")
