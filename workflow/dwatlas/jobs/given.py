"""What a lens is given, read from a job's inputs."""

from pathlib import Path

from dwatlas.adapters.base import Pair
from dwatlas.delta.store import read_delta
from dwatlas.files import read_tensors
from dwatlas.jobs.base import Job
from dwatlas.lenses.base import Given, Lens
from dwatlas.models.anatomy import Anatomy
from dwatlas.models.weights import Weights
from dwatlas.pairs.poles import POLES
from dwatlas.registry import build
from dwatlas.train.checkpoint import Checkpoint


def read_given(job: Job, lens: Lens, weights: Weights) -> Given:
    """dW, the base weights, the adapter and the model's sizes, and what the lens needs beside them."""
    needs = lens.needs
    activations = [read_tensors(job.input(need)) for need in needs if need.endswith("activations")]
    return Given(
        delta=read_delta(job.input("delta"), weights),
        anatomy=Anatomy(**job.spec["anatomy"]),
        adapter=build("adapters", job.spec["adapter"]),
        weights=weights,
        pair=Pair(*(Checkpoint(Path(job.input(pole)).parent) for pole in POLES), weights) if "pair" in needs else None,
        activations={name: tensor for file in activations for name, tensor in file.items()} or None,
        others=tuple(read_delta(path, weights) for path in job.inputs.get("others", [])),
    )
