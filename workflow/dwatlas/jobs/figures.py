"""Draw one figure and write it as PNG, SVG, PDF and the CSV behind it."""

from pathlib import Path

from dwatlas.figures.catalogue import render
from dwatlas.figures.names import FigureKey
from dwatlas.figures.save import save
from dwatlas.jobs.base import Job
from dwatlas.jobs.study_tables import read_study_tables


def work(job: Job) -> None:
    key = FigureKey(**job.spec["figure"])
    figure, data = render(key.kind, read_study_tables(job), **key.selection)
    save(figure, data, Path(job.outputs["png"]).with_suffix(""), job.provenance())
