"""Make an eval's rows and freeze their manifest."""

from dwatlas.files import write_table
from dwatlas.jobs.base import Job
from dwatlas.registry import build
from dwatlas.scoring.manifest import EVAL_SCHEMA, manifest_hash, tabulate


def work(job: Job) -> None:
    source = build("evals", job.spec["eval"])
    job = job.reading("files", source.files(), users=True)
    frame = tabulate(job.spec["cell"]["eval"], source.rows())
    write_table(job.outputs["rows"], frame, EVAL_SCHEMA, job.provenance(manifest=manifest_hash(frame)))
    job.say(f"{len(frame)} rows, {frame['item'].nunique()} items")
