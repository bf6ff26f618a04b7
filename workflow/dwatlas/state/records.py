"""Artefacts that Snakemake has no record of, judged by their own provenance.

Snakemake reruns a job when the spec or the code that it recorded for it differ. Where its records are gone
(``.snakemake`` deleted, the repository cloned afresh beside old results, a job that outlived its Snakemake) it would
take any file that is there for finished. Such files are judged here: those that are not what would be made now are
marked incomplete, so that they are made again; those that are keep no such mark.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from snakemake.io import IOFile
from snakemake.persistence.file import FilePersistence

from dwatlas.state.judge import Judge, Verdict
from dwatlas.study import Plan
from dwatlas.tasks import Task

RECORDS, MARKS = Path(".snakemake/metadata"), Path(".snakemake/incomplete")


def judge_unrecorded(plan: Plan) -> list[tuple[Task, Verdict]]:
    """Mark what is stale and take the mark from what is done; returns the jobs that are marked, with the reasons."""
    recorded, marked = set(_paths(RECORDS)), set(_paths(MARKS))
    there = {task: [path for path in task.outputs if os.path.isfile(path)] for task in plan.tasks()}
    unrecorded = [task for task, paths in there.items() if any(path not in recorded for path in paths)]
    if not unrecorded:
        return []
    judge, persistence = Judge(plan), FilePersistence(nolock=True)
    stale = []
    for task in unrecorded:
        verdict = judge.verdict(task)
        if verdict.state == "done":
            for path in set(there[task]) & marked:
                persistence.cleanup_metadata(IOFile(path))
            _put_in_order(task, judge)
        elif verdict.state == "stale":
            persistence.started(SimpleNamespace(output=[IOFile(path) for path in there[task]]))
            stale.append((task, verdict))
    judge.hashes.save()
    return stale


def _put_in_order(task: Task, judge: Judge) -> None:
    """Give a job's outputs, its benchmark too, the time of its latest input, if that is later: without records
    Snakemake goes by times, and copying a results folder shuffles them."""
    makers = {judge.makers[path] for path in judge.inputs[task] if path in judge.makers}
    inputs = [*judge.inputs[task], *(path for maker in makers for path in maker.outputs)]
    newest = max((os.stat(path).st_mtime_ns for path in inputs), default=0)
    for path in filter(os.path.isfile, [*task.outputs, task.benchmark]):
        if os.stat(path).st_mtime_ns < newest:
            os.utime(path, ns=(newest, newest))


def _paths(folder: Path) -> Iterator[str]:
    """What Snakemake keeps files about in ``folder``: each is named by its path in base64, long names in pieces."""
    for where, _, names in os.walk(folder):
        pieces = [piece.removeprefix("@") for piece in Path(where).relative_to(folder).parts]
        for name in names:
            try:
                yield urlsafe_b64decode("".join([*pieces, name])).decode()
            except ValueError:
                continue
