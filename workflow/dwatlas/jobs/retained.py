"""From all of a study's scores to retained performance, intervals, verdicts, and the comparison of adapters."""

import pandas as pd

from dwatlas.files import read_table, write_table
from dwatlas.jobs.base import Job
from dwatlas.provenance import read_provenance
from dwatlas.scoring.rows import SCORE_SCHEMA
from dwatlas.statistics import schemas
from dwatlas.statistics.comparison import compare
from dwatlas.statistics.retained import summarise
from dwatlas.versions import check_not_mixed


def work(job: Job) -> None:
    if not job.spec["allow_mixed_versions"]:
        check_not_mixed({path: read_provenance(path).get("made_with", {}) for path in job.inputs["scores"]})
    scores = pd.concat([read_table(path, SCORE_SCHEMA) for path in job.inputs["scores"]], ignore_index=True)
    missing = pd.DataFrame(job.spec["absent"], columns=schemas.MISSING_SCHEMA.names)
    tables = summarise(scores, set(missing.drop(columns="why").itertuples(index=False, name=None)))
    for name, schema in (
        ("retained", schemas.RETAINED_SCHEMA),
        ("seeds", schemas.SEEDS_SCHEMA),
        ("controls", schemas.CONTROLS_SCHEMA),
        ("doses", schemas.DOSES_SCHEMA),
    ):
        write_table(job.outputs[name], getattr(tables, name), schema, job.provenance())
    write_table(job.outputs["missing"], missing, schemas.MISSING_SCHEMA, job.provenance())
    comparison = compare(tables.seeds, tables.doses, job.spec["headline"], job.spec["trainable"])
    for name, schema in (
        ("adapters", schemas.ADAPTERS_SCHEMA),
        ("ranking", schemas.RANKING_SCHEMA),
        ("noise", schemas.NOISE_SCHEMA),
    ):
        write_table(job.outputs[name], getattr(comparison, name), schema, job.provenance())
