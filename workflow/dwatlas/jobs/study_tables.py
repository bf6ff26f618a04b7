"""What the jobs after the statistics read: the study's result tables."""

from dwatlas.files import read_table
from dwatlas.jobs.base import Job
from dwatlas.statistics import schemas
from dwatlas.tables.study import StudyTables


def read_study_tables(job: Job) -> StudyTables:
    """The frames of the job's inputs ``retained``, ``seeds``, ``controls``, ``doses``, ``missing``, ``adapters``,
    ``ranking`` and ``noise``."""
    return StudyTables(
        retained=read_table(job.input("retained"), schemas.RETAINED_SCHEMA),
        seeds=read_table(job.input("seeds"), schemas.SEEDS_SCHEMA),
        controls=read_table(job.input("controls"), schemas.CONTROLS_SCHEMA),
        doses=read_table(job.input("doses"), schemas.DOSES_SCHEMA),
        missing=read_table(job.input("missing"), schemas.MISSING_SCHEMA),
        adapters=read_table(job.input("adapters"), schemas.ADAPTERS_SCHEMA),
        ranking=read_table(job.input("ranking"), schemas.RANKING_SCHEMA),
        noise=read_table(job.input("noise"), schemas.NOISE_SCHEMA),
    )
