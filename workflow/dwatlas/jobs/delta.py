"""Form dW = θ⁺ − θ⁻ exactly, and its geometry."""

from pathlib import Path

from dwatlas.adapters.base import Pair
from dwatlas.delta.geometry import geometry
from dwatlas.delta.store import write_delta
from dwatlas.delta.table import DELTA_SCHEMA
from dwatlas.files import write_table
from dwatlas.jobs.base import Job
from dwatlas.models.anatomy import Anatomy
from dwatlas.models.folder import model_folder
from dwatlas.models.weights import Weights
from dwatlas.pairs.poles import POLES
from dwatlas.registry import build
from dwatlas.train.checkpoint import Checkpoint


def work(job: Job) -> None:
    adapter, anatomy = build("adapters", job.spec["adapter"]), Anatomy(**job.spec["anatomy"])
    poles = [Checkpoint(Path(job.input(pole)).parent) for pole in POLES]
    for pole in poles:
        pole.check(adapter.settings(anatomy, job.spec["initialisation_seed"]))
    weights = Weights(model_folder(job.input("model")))
    delta = adapter.delta(Pair(*poles, weights), anatomy)
    pos, neg = (adapter.changes(pole, anatomy, weights) for pole in poles)
    table = geometry(delta, pos, neg, adapter.sites(anatomy))
    write_delta(job.outputs["delta"], delta, job.provenance())
    write_table(job.outputs["geometry"], table, DELTA_SCHEMA, job.provenance())
    whole = table.iloc[-1]
    job.say(f"‖dW‖ {whole['norm']:.3g}, cos(pos, neg) {whole['pole_cosine']:.2f}")
