"""Ablate dW through one lens: keep and drop each component. One Parquet file per component; finished ones stay."""

import hashlib
from pathlib import Path

from dwatlas.delta.store import read_delta
from dwatlas.errors import UserError
from dwatlas.files import canonical_json, read_provenance, write_table, write_text
from dwatlas.jobs.base import Job, run
from dwatlas.models.folder import model_folder
from dwatlas.registry import build
from dwatlas.scoring.cells import Bench, Sizes, in_order
from dwatlas.scoring.rows import SCORE_SCHEMA


def work(job: Job) -> None:
    spec = job.spec
    folder = Path(job.outputs["components"]).parent
    lens, components = build("lenses", spec["lens"]), spec["components"]
    shared = job.provenance() | {"spec": {key: value for key, value in spec.items() if key != "components"}}
    provenances = {component: shared | {"component": component} for component in components}
    waiting = [name for name in components if not _is_done(folder / f"{name}.parquet", provenances[name])]
    job.say(f"{len(components) - len(waiting)} of {len(components)} components are done already")
    if waiting:
        bench = Bench(
            model_folder(job.input("model")), spec["runtime"], spec["options"], job.inputs["rows"], job.inputs["base"]
        )
        delta = read_delta(job.input("delta"))
    for number, name in enumerate(waiting, start=1):
        split = lens.split(delta, name)
        sizes = Sizes.of(split.keep, delta)
        cell = {**spec["cell"], "component": name}
        frames = [
            bench.score(cell | {"mode": mode}, part, alpha, sizes)
            for mode, part in (("keep", split.keep), ("drop", split.drop))
            for alpha in spec["alphas"]
            if alpha != 0
        ]
        write_table(folder / f"{name}.parquet", in_order(frames), SCORE_SCHEMA, provenances[name])
        job.say(f"{number}/{len(waiting)} {name} (energy {sizes.energy_frac:.2f})")
    files = {name: hashlib.sha256((folder / f"{name}.parquet").read_bytes()).hexdigest() for name in components}
    write_text(job.outputs["components"], canonical_json({"components": files, "provenance": job.provenance()}) + "\n")


def _is_done(path: Path, provenance: dict) -> bool:
    """Whether a component's file is there, whole, and was made from exactly these inputs by this code."""
    try:
        return path.is_file() and canonical_json(read_provenance(path)) == canonical_json(provenance)
    except UserError:
        return False


if __name__ == "__main__":
    run(work)
