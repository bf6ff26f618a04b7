"""Retained performance: from all of a study's scores to effects, intervals, verdicts and control percentiles."""

import pandas as pd

from dwatlas.files import read_table, write_table
from dwatlas.jobs.base import Job
from dwatlas.scoring.rows import SCORE_SCHEMA
from dwatlas.statistics import schemas
from dwatlas.statistics.retained import summarise


def work(job: Job) -> None:
    scores = pd.concat([read_table(path, SCORE_SCHEMA) for path in job.inputs["scores"]], ignore_index=True)
    tables = summarise(scores)
    for name, schema in (
        ("retained", schemas.RETAINED_SCHEMA),
        ("seeds", schemas.SEEDS_SCHEMA),
        ("controls", schemas.CONTROLS_SCHEMA),
        ("doses", schemas.DOSES_SCHEMA),
    ):
        write_table(job.outputs[name], getattr(tables, name), schema, job.provenance())
