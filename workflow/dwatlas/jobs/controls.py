"""Score a lens's controls: for every component, random stand-ins of each kind that the lens declares.

Components whose energies are within about an eighth of each other share the draws of controls that depend on the
energy alone; each such draw is scored once.
"""

import math

import pandas as pd

from dwatlas.delta.algebra import total_energy
from dwatlas.delta.store import read_delta
from dwatlas.files import write_table
from dwatlas.jobs.base import Job, run
from dwatlas.lenses.base import Split
from dwatlas.models.folder import model_folder
from dwatlas.registry import build
from dwatlas.scoring.cells import Bench, Sizes, in_order
from dwatlas.scoring.rows import SCORE_SCHEMA
from dwatlas.seeds import rng

ENERGY_RATIO = 1.25
"""Components in one bin of the logarithm of energy, bins this factor wide, count as of about the same energy."""


def work(job: Job) -> None:
    spec = job.spec
    bench = Bench(
        model_folder(job.input("model")), spec["runtime"], spec["options"], job.inputs["rows"], job.inputs["base"]
    )
    delta, lens = read_delta(job.input("delta")), build("lenses", spec["lens"])
    splits = {name: lens.split(delta, name) for name in spec["components"]}
    frames: list[pd.DataFrame] = []
    for options in spec["controls"]:
        control = build("controls", options)
        groups = _groups(splits, control.needs_energy_only)
        for number, members in enumerate(groups, start=1):
            for draw in range(spec["draws"]):
                stream = rng("control", control.kind, *spec["cell"].values(), members[0], draw)
                stand_in = control.draw(delta, splits[members[0]], stream)
                marks = {"mode": "control", "control": control.kind, "draw": draw}
                scored = _score(bench, spec, delta, stand_in, marks)
                frames += [scored.assign(component=member) for member in members]
            job.say(f"{control.kind} {number}/{len(groups)}")
    write_table(job.outputs["scores"], in_order(frames), SCORE_SCHEMA, job.provenance())


def _groups(splits: dict[str, Split], by_energy: bool) -> list[list[str]]:
    groups: dict[object, list[str]] = {}
    for name, split in splits.items():
        energy = total_energy(split.keep)
        bin_ = round(math.log(energy) / math.log(ENERGY_RATIO)) if energy > 0 else None
        groups.setdefault(bin_ if by_energy else name, []).append(name)
    return list(groups.values())


def _score(bench: Bench, spec: dict, delta, stand_in, marks: dict) -> pd.DataFrame:
    """The stand-in kept, and dropped where that has a meaning, at every α."""
    sizes = Sizes.of(stand_in.keep, delta)
    return pd.concat(
        [
            bench.score(spec["cell"] | marks | {"component": "", "stands_for": stands_for}, part, alpha, sizes)
            for stands_for, part in (("keep", stand_in.keep), ("drop", stand_in.drop))
            if part is not None
            for alpha in spec["alphas"]
            if alpha != 0
        ],
        ignore_index=True,
    )


if __name__ == "__main__":
    run(work)
