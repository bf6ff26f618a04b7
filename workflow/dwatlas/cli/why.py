"""What differs between what made an artefact and what would make it now, field by field."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path, PurePosixPath

from dwatlas.cli.answer import Answer
from dwatlas.cli.study import add_study_arguments, chosen_plan
from dwatlas.errors import UserError
from dwatlas.provenance import read_provenance
from dwatlas.state.judge import Judge, Verdict
from dwatlas.tasks import Task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which artefacts of which study."""
    parser.add_argument("targets", nargs="+", metavar="TARGET", help="an artefact, or a folder of artefacts")
    add_study_arguments(parser)


def answer(arguments: argparse.Namespace) -> Answer:
    """The verdict on the jobs that make the targets."""
    judge = Judge(chosen_plan(arguments))
    found = {task: judge.verdict(task) for target in arguments.targets for task in _makers(judge, target)}
    judge.hashes.save()
    content = [
        {
            "job": str(task),
            "artefact": task.outputs[0],
            "state": verdict.state,
            "changes": [vars(change) | {"text": str(change)} for change in verdict.changes],
            "words": verdict.words,
            "versions": _other_versions(task),
        }
        for task, verdict in found.items()
    ]
    texts = [_text(*one, entry["versions"]) for one, entry in zip(found.items(), content, strict=True)]
    return Answer(content, "\n".join(texts))


def _makers(judge: Judge, target: str) -> list[Task]:
    """The jobs that make a file, or the files of a folder; a component's scores belong to its lens's job."""
    path = PurePosixPath(Path(target).as_posix())
    if str(path) in judge.makers:
        return [judge.makers[str(path)]]
    for folder in (path, path.parent):
        below = [task for task in judge.tasks if any(PurePosixPath(one).is_relative_to(folder) for one in task.outputs)]
        if below and (folder == path or _is_component(path, below)):
            return below
    raise UserError(f"{target}: no job of this study makes it; `dwatlas status` shows what there is")


def _is_component(path: PurePosixPath, tasks: list[Task]) -> bool:
    return path.suffix == ".parquet" and all(task.rule == "ablate" for task in tasks)


def _other_versions(task: Task) -> dict[str, list[str]]:
    """Libraries whose version differs now: name → [then, now]. No reason to run again, but good to know."""
    try:
        then = read_provenance(task.outputs[0]).get("versions", {})
    except UserError:
        return {}
    now = {name: version(name) for name in then}
    return {name: [then[name], now[name]] for name in then if then[name] != now[name]}


def _text(task: Task, verdict: Verdict, versions: dict[str, list[str]]) -> str:
    lines = [f"{task.outputs[0]}: {verdict.state}"]
    if verdict.state == "done":
        lines.append("  it is what would be made now")
    lines += [f"  {change}" for change in verdict.changes]
    lines += [f"  made with {name} {then}, here is {now}" for name, (then, now) in versions.items()]
    return "\n".join([*lines, *([f"  {verdict.words}"] if verdict.words else [])])
