"""Take stock of a local model folder: write the manifest that everything downstream depends on."""

from pathlib import Path

from dwatlas.jobs.base import Job
from dwatlas.models.folder import write_manifest


def work(job: Job) -> None:
    folder = Path(job.spec["path"])
    job = job.reading("files", sorted(path.as_posix() for path in folder.iterdir() if path.is_file()), users=True)
    write_manifest(job.outputs["manifest"], folder, job.provenance())
