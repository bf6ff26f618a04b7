"""Rehash a results tree and name every file that is not what its metadata, or those of a file beside it, say."""

from __future__ import annotations

import argparse
from pathlib import Path

from dwatlas import seals
from dwatlas.cli.answer import Answer, plural, size
from dwatlas.cli.tree import RESULTS, files, vouched
from dwatlas.provenance import file_sha256

GONE = "is gone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which tree."""
    parser.add_argument("folder", nargs="?", type=Path, default=RESULTS, help="the results (default: results)")


def answer(arguments: argparse.Namespace) -> Answer:
    """Faults by file; exit code 1 when there are any."""
    paths = files(arguments.folder)
    said = vouched(paths)
    faults, strangers, checked = {}, [], 0
    for path in paths:
        fault = seals.fault(path)
        if fault == "has no seal":
            if path not in said:
                strangers.append(path.as_posix())
                continue
            fault = None
        if not fault and path in said and file_sha256(path) != said[path]:
            fault = "is not what the file that lists it says"
        checked += path.stat().st_size
        if fault:
            faults[path.as_posix()] = fault
    here = [path for path in said if path.is_relative_to(arguments.folder)]
    faults |= {path.as_posix(): GONE for path in here if not path.exists()}
    content = {"files": len(paths), "bytes": checked, "faults": faults, "unknown": strangers}
    return Answer(content, _text(content), 1 if faults else 0)


def _text(content: dict) -> str:
    lines = [
        f"{path}: {fault}; {'' if fault == GONE else 'delete it and '}run again"
        for path, fault in sorted(content["faults"].items())
    ]
    lines += [f"{path}: nothing says what it should be" for path in content["unknown"]]
    known = content["files"] - len(content["unknown"])
    wrong = len(content["faults"])
    told = "all are what their metadata say" if not wrong else f"{plural(wrong, 'fault')}"
    return "\n".join([*lines, f"{plural(known, 'file')}, {size(content['bytes'])}: {told}"])
