"""Write the study's tables: CSV with numbers in full, Markdown and LaTeX for reading and for papers."""

from pathlib import Path

from dwatlas.files import write_json
from dwatlas.jobs.base import Job
from dwatlas.jobs.study_tables import read_study_tables
from dwatlas.provenance import file_sha256
from dwatlas.tables.tables import build
from dwatlas.tables.write import write


def work(job: Job) -> None:
    manifest = Path(job.outputs["manifest"])
    files = [
        file for name, frame in build(read_study_tables(job)).items() for file in write(name, frame, manifest.parent)
    ]
    write_json(manifest, {"files": {file.name: file_sha256(file) for file in files}}, job.provenance())
