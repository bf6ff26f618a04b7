"""What the jobs after the statistics read: the study's result tables."""

from dwatlas.files import read_table
from dwatlas.jobs.base import Job
from dwatlas.statistics.schemas import SCHEMAS
from dwatlas.tables.study import StudyTables


def read_study_tables(job: Job) -> StudyTables:
    """The frames of the job's inputs that are named as in ``SCHEMAS``."""
    return StudyTables(**{name: read_table(job.input(name), schema) for name, schema in SCHEMAS.items()})
