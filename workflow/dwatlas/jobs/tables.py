"""Write the study's tables: CSV with numbers in full, Markdown and LaTeX for reading and for papers."""

from pathlib import Path

from dwatlas.jobs.base import Job
from dwatlas.jobs.study_tables import read_study_tables
from dwatlas.tables.tables import build
from dwatlas.tables.write import write


def work(job: Job) -> None:
    for name, frame in build(read_study_tables(job)).items():
        write(name, frame, Path(job.outputs["csv"]).parent)
