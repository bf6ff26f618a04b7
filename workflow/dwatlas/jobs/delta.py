"""Form dW = θ⁺ − θ⁻ exactly, and its geometry."""

from pathlib import Path

from dwatlas.delta.algebra import difference
from dwatlas.delta.geometry import DELTA_SCHEMA, geometry
from dwatlas.delta.store import write_delta
from dwatlas.files import write_table
from dwatlas.jobs.base import Job
from dwatlas.models.anatomy import Anatomy
from dwatlas.registry import build


def work(job: Job) -> None:
    adapter, anatomy = build("adapters", job.spec["adapter"]), Anatomy(**job.spec["anatomy"])
    pos, neg = (adapter.change(Path(job.input(pole)).parent, anatomy) for pole in ("pos", "neg"))
    delta = difference(pos, neg)
    table = geometry(delta, pos, neg, adapter.sites(anatomy))
    write_delta(job.outputs["delta"], delta, job.provenance())
    write_table(job.outputs["geometry"], table, DELTA_SCHEMA, job.provenance())
    whole = table.iloc[-1]
    job.say(f"‖dW‖ {whole['norm']:.3g}, cos(pos, neg) {whole['pole_cosine']:.2f}")
