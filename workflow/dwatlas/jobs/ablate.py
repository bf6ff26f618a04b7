"""Ablate dW through one lens: keep and drop each component, and score the lens's controls. One Parquet file per
component; a finished one that was made from the same inputs by the same code is not scored again."""

import hashlib
from pathlib import Path

from dwatlas.delta.store import read_delta
from dwatlas.errors import UserError
from dwatlas.files import canonical_json, read_provenance, write_table, write_text
from dwatlas.jobs.base import Job, run
from dwatlas.models.folder import model_folder
from dwatlas.registry import build
from dwatlas.scoring.cells import Bench, Sizes
from dwatlas.scoring.controls import score_controls
from dwatlas.scoring.rows import SCORE_SCHEMA


def work(job: Job) -> None:
    spec = job.spec
    folder = Path(job.outputs["components"]).parent
    lens, components = build("lenses", spec["lens"]), spec["components"]
    shared = job.provenance() | {"spec": {key: value for key, value in spec.items() if key != "components"}}
    bench = Bench(
        model_folder(job.input("model")), spec["runtime"], spec["options"], job.inputs["rows"], job.inputs["base"]
    )
    delta = read_delta(job.input("delta"))
    parts = {}
    for number, name in enumerate(components, start=1):
        split = lens.split(delta, name)
        parts[name] = split.keep
        path, provenance = folder / f"{name}.parquet", shared | {"component": name}
        if _is_done(path, provenance):
            job.say(f"{number}/{len(components)} {name} was done already")
            continue
        sizes = Sizes.of(split.keep, delta)
        scored = (
            bench.score(spec["cell"] | {"component": name, "mode": mode}, part, alpha, sizes)
            for mode, part in (("keep", split.keep), ("drop", split.drop))
            for alpha in spec["alphas"]
            if alpha
        )
        write_table(path, bench.table(scored), SCORE_SCHEMA, provenance)
        job.say(f"{number}/{len(components)} {name} (energy {sizes.energy_frac:.2f})")
    controls = [build("controls", options) for options in spec["controls"]]
    scored = score_controls(
        bench, delta, parts, controls, cell=spec["cell"], alphas=spec["alphas"], draws=spec["draws"], say=job.say
    )
    write_table(job.outputs["controls"], bench.table(scored), SCORE_SCHEMA, job.provenance())
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
