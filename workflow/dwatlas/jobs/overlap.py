"""Compare the dW of every two runs of a study that share model and behaviour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dwatlas import paths
from dwatlas.activations.inputs import input_name
from dwatlas.delta.overlap import overlaps
from dwatlas.delta.store import delta_names, read_delta
from dwatlas.delta.table import OVERLAP_SCHEMA
from dwatlas.files import read_tensors, write_table
from dwatlas.jobs.base import Job
from dwatlas.models.folder import model_folder
from dwatlas.models.weights import Weights
from dwatlas.seeds import rng
from dwatlas.statistics.frames import frame_of

if TYPE_CHECKING:
    from torch import Tensor

RUN = ["model", "behaviour", "adapter", "seed"]
KEYS = [*RUN, "other_adapter", "other_seed", "measure", "k"]


def work(job: Job) -> None:
    cells: dict[tuple[str, str], list[dict]] = {}
    for run in job.spec["runs"]:
        cells.setdefault((run["model"], run["behaviour"]), []).append(run)
    job = job.reading("deltas", (paths.DELTA.format(**run) for runs in cells.values() for run in runs))
    models = sorted({model for model, _ in cells})
    job = job.reading("models", (paths.MODEL.format(model=model) for model in models))
    given = {model: paths.INPUTS.format(model=model, eval=job.spec["prompts"]) for model in models}
    job = job.reading("inputs", given.values())
    records = []
    for (model, behaviour), runs in cells.items():
        weights = Weights(model_folder(paths.MODEL.format(model=model)))
        files = [paths.DELTA.format(**run) for run in runs]
        tensors = sorted({name for file in files for name in delta_names(file)})
        found = overlaps(
            len(runs),
            tensors,
            lambda run, tensor: read_delta(files[run], weights, {tensor}),  # noqa: B023
            lambda tensor: _inputs(given[model], tensor),  # noqa: B023
            lambda run, tensor: rng("overlap", *(runs[run][key] for key in RUN), tensor),  # noqa: B023
        )
        for first, second, numbers in found:
            one, other = runs[first], runs[second]
            pair = {"adapter": one["adapter"], "seed": one["seed"]}
            pair |= {"other_adapter": other["adapter"], "other_seed": other["seed"]}
            records.append({"model": model, "behaviour": behaviour, **pair, **numbers})
        job.say(f"{model} {behaviour}: {len(runs)} runs compared in {len(tensors)} tensors")
    write_table(job.outputs["overlap"], frame_of(records, OVERLAP_SCHEMA, KEYS), OVERLAP_SCHEMA, job.provenance())


def _inputs(path: str, tensor: str) -> Tensor | None:
    name = input_name(tensor)
    return read_tensors(path, lambda there: there == name).get(name)
