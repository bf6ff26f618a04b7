"""Take stock of a local model folder: write the manifest that everything downstream depends on."""

from pathlib import Path

from dwatlas.jobs.base import Job
from dwatlas.models.folder import write_manifest


def work(job: Job) -> None:
    write_manifest(job.outputs["manifest"], Path(job.spec["path"]), job.provenance())
