"""Score the anchors: zero dW, the full dW over the dose grid of α, and Gaussian noise of the full dW's norms."""

from dwatlas.delta.store import read_delta
from dwatlas.files import write_table
from dwatlas.jobs.base import Job, run
from dwatlas.lenses.base import Split
from dwatlas.models.folder import model_folder
from dwatlas.registry import build
from dwatlas.scoring.cells import Bench, Sizes, in_order
from dwatlas.scoring.rows import SCORE_SCHEMA
from dwatlas.seeds import rng


def work(job: Job) -> None:
    spec = job.spec
    bench = Bench(
        model_folder(job.input("model")), spec["runtime"], spec["options"], job.inputs["rows"], job.inputs["base"]
    )
    delta = read_delta(job.input("delta"))
    cell = {**spec["cell"], "lens": "anchors"}
    doses = [alpha for alpha in spec["alphas"] if alpha != 0]
    sizes = Sizes.of(delta, delta)
    frames = [bench.zero(cell | {"component": "zero", "mode": "zero"})]
    frames += [bench.score(cell | {"component": "full", "mode": "full"}, delta, alpha, sizes) for alpha in doses]
    for options in spec["controls"]:
        for draw in range(spec["draws"]):
            names = tuple(spec["cell"].values())
            control = build("controls", options)
            stand_in = control.draw(delta, Split(delta, {}), rng("control", "anchors", control.kind, *names, draw))
            marks = {"component": "full", "mode": "control", "control": control.kind, "stands_for": "keep", "draw": draw}
            part = Sizes.of(stand_in.keep, delta)
            frames += [bench.score(cell | marks, stand_in.keep, alpha, part) for alpha in doses]
            job.say(f"{control.kind} draw {draw + 1}/{spec['draws']}")
    write_table(job.outputs["scores"], in_order(frames), SCORE_SCHEMA, job.provenance())


if __name__ == "__main__":
    run(work)
