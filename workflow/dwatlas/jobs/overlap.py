"""Compare the dW of every two runs of a study that share model and behaviour."""

from dwatlas import paths
from dwatlas.delta.overlap import overlaps
from dwatlas.delta.store import delta_names, read_delta
from dwatlas.delta.table import OVERLAP_SCHEMA
from dwatlas.files import write_table
from dwatlas.jobs.base import Job
from dwatlas.models.folder import model_folder
from dwatlas.models.weights import Weights
from dwatlas.statistics.frames import frame_of

KEYS = ["model", "behaviour", "adapter", "seed", "other_adapter", "other_seed", "measure", "k"]


def work(job: Job) -> None:
    cells: dict[tuple[str, str], list[dict]] = {}
    for run in job.spec["runs"]:
        cells.setdefault((run["model"], run["behaviour"]), []).append(run)
    job = job.reading("deltas", (paths.DELTA.format(**run) for runs in cells.values() for run in runs))
    job = job.reading("models", sorted({paths.MODEL.format(model=model) for model, _ in cells}))
    records = []
    for (model, behaviour), runs in cells.items():
        weights = Weights(model_folder(paths.MODEL.format(model=model)))
        files = [paths.DELTA.format(**run) for run in runs]
        tensors = sorted({name for file in files for name in delta_names(file)})
        found = overlaps(len(runs), tensors, lambda run, tensor: read_delta(files[run], weights, {tensor}))  # noqa: B023
        for first, second, numbers in found:
            one, other = runs[first], runs[second]
            pair = {"adapter": one["adapter"], "seed": one["seed"]}
            pair |= {"other_adapter": other["adapter"], "other_seed": other["seed"]}
            records.append({"model": model, "behaviour": behaviour, **pair, **numbers})
        job.say(f"{model} {behaviour}: {len(runs)} runs compared in {len(tensors)} tensors")
    write_table(job.outputs["overlap"], frame_of(records, OVERLAP_SCHEMA, KEYS), OVERLAP_SCHEMA, job.provenance())
