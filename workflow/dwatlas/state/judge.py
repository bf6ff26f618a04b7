"""Judge every job of a study by its artefacts' own provenance: done, stale, missing, failed or running.

Needs neither Snakemake nor its records. A job is done when its outputs are there, were made with the spec and the code
that it would be made with now, and from files that are as they were and done themselves.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from dwatlas.errors import UserError
from dwatlas.logs import is_held, last_words
from dwatlas.provenance import read_provenance
from dwatlas.state.changes import Change, code_changes, spec_changes
from dwatlas.state.hashes import Hashes
from dwatlas.study import Plan
from dwatlas.tasks import Task

STATES = ("done", "running", "stale", "failed", "missing")


@dataclass(frozen=True)
class Verdict:
    """The state of a job, and why it is not done: what changed, or its last words."""

    state: str
    changes: tuple[Change, ...] = ()
    words: str = ""

    def __str__(self) -> str:
        return self.words or "; ".join(map(str, self.changes))


DONE = Verdict("done")


class Judge:
    """Verdicts on the jobs of a plan, each reached once."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.tasks = list(plan.tasks())
        self.makers = {path: task for task in self.tasks for path in task.outputs}
        self.hashes = Hashes()
        self.inputs: dict[Task, list[str]] = {}
        self._reached: dict[Task, Verdict] = {}

    def verdicts(self) -> dict[Task, Verdict]:
        """The verdict on every job, in the plan's order."""
        found = {task: self.verdict(task) for task in self.tasks}
        self.hashes.save()
        return found

    def verdict(self, task: Task) -> Verdict:
        """The verdict on one job."""
        if task not in self._reached:
            self._reached[task] = self._judge(task)
        return self._reached[task]

    def _judge(self, task: Task) -> Verdict:
        if is_held(task.log):
            return Verdict("running")
        absent = [path for path in task.outputs if not os.path.isfile(path)]
        if absent:
            words = last_words(task.log)
            return Verdict("failed", words=words) if words else Verdict("missing", words=f"{absent[0]} is not there")
        try:
            made = read_provenance(task.outputs[0])
        except UserError as fault:
            return Verdict("stale", (Change("file", str(fault)),))
        changes = self._changes(task, made)
        return Verdict("stale", tuple(changes)) if changes else DONE

    def _changes(self, task: Task, made: dict) -> list[Change]:
        if "spec" not in made:
            return [Change("file", f"{task.outputs[0]} does not say what made it")]
        spec = json.loads(self.plan.spec(task.rule)(task.wildcards))
        changes = spec_changes(made["spec"], spec)
        if made["code"] != self.plan.code(task.rule)(task.wildcards):
            changes += code_changes(made["code"], task.rule, spec)
        inputs = {path: sha256 for files in made["inputs"].values() for path, sha256 in files.items()}
        self.inputs[task] = list(inputs)
        for path, sha256 in inputs.items():
            changes += self._input_changes(path, sha256)
        return [change for at, change in enumerate(changes) if change not in changes[:at]]

    def _input_changes(self, path: str, sha256: str) -> list[Change]:
        maker = self.makers.get(path)
        if maker and self.verdict(maker).state != "done":
            upstream = self.verdict(maker)
            return list(upstream.changes) or [Change("input", f"{path} is {upstream.state}")]
        now = self.hashes.of(path)
        if now == sha256:
            return []
        return [Change("input", f"{path} {'is gone' if now is None else 'was changed after it was used'}")]
