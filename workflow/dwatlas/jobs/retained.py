"""From all of a study's scores to retained performance, its excess over nulls, and the comparison of adapters."""

import pandas as pd

from dwatlas.delta.table import OVERLAP_SCHEMA
from dwatlas.files import read_table, write_table
from dwatlas.jobs.base import Job
from dwatlas.provenance import read_provenance
from dwatlas.scoring.rows import SCORE_SCHEMA, SHARES_SCHEMA
from dwatlas.statistics.across import across
from dwatlas.statistics.additivity import additivity
from dwatlas.statistics.agreement import agreement
from dwatlas.statistics.arrays import COLUMNS
from dwatlas.statistics.comparison import compare
from dwatlas.statistics.effects import by_unit
from dwatlas.statistics.geometry import geometry
from dwatlas.statistics.registration import registration
from dwatlas.statistics.retained import Tables, summarise
from dwatlas.statistics.schemas import SCHEMAS, SEED_VALUES
from dwatlas.versions import check_not_mixed


def work(job: Job) -> None:
    if not job.spec["allow_mixed_versions"]:
        check_not_mixed({path: read_provenance(path).get("made_with", {}) for path in job.inputs["scores"]})
    files = job.inputs.get("shares", [])
    shares = pd.concat([SHARES_SCHEMA.empty_table().to_pandas(), *(read_table(path, SHARES_SCHEMA) for path in files)])
    missing = pd.DataFrame(job.spec["absent"], columns=SCHEMAS["missing"].names)
    absent = set(missing.drop(columns="why").itertuples(index=False, name=None))
    options = {name: job.spec[name] for name in ("nulls", "matched", "margin", "trainings", "statement")}
    tables = Tables.joined([_summary(path, absent, shares, options) for path in job.inputs["scores"]])
    seeds, doses, parts = (
        by_unit(table, values, job.spec["trainings"])
        for table, values in ((tables.seeds, SEED_VALUES), (tables.doses, ["value"]), (shares, ["share_nats"]))
    )
    results = {
        **vars(tables),
        "registration": registration(job.spec["statement"]),
        "missing": missing,
        "additivity": additivity(seeds, parts),
        "agreement": agreement(seeds),
        "geometry": geometry(read_table(job.input("overlap"), OVERLAP_SCHEMA), job.spec["trainings"]),
        **vars(across(seeds)),
        **vars(compare(seeds, doses, job.spec["headline"], job.spec["trainable"])),
    }
    for name, table in results.items():
        write_table(job.outputs[name], table, SCHEMAS[name], job.provenance())


def _summary(path: str, absent: set, shares: pd.DataFrame, options: dict) -> Tables:
    """The tables of one (model, behaviour, adapter); only its scores are in memory."""
    return summarise(read_table(path, SCORE_SCHEMA, COLUMNS), absent, shares, **options)
