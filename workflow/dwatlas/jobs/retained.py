"""From all of a study's scores to retained performance, its excess over nulls, and the comparison of adapters."""

import pandas as pd

from dwatlas.delta.table import OVERLAP_SCHEMA
from dwatlas.files import read_table, write_table
from dwatlas.jobs.base import Job
from dwatlas.provenance import read_provenance
from dwatlas.scoring.rows import SCORE_SCHEMA, SHARES_SCHEMA
from dwatlas.statistics.additivity import additivity
from dwatlas.statistics.agreement import agreement
from dwatlas.statistics.comparison import compare
from dwatlas.statistics.geometry import geometry
from dwatlas.statistics.retained import summarise
from dwatlas.statistics.schemas import SCHEMAS
from dwatlas.versions import check_not_mixed


def work(job: Job) -> None:
    if not job.spec["allow_mixed_versions"]:
        check_not_mixed({path: read_provenance(path).get("made_with", {}) for path in job.inputs["scores"]})
    scores = pd.concat([read_table(path, SCORE_SCHEMA) for path in job.inputs["scores"]], ignore_index=True)
    files = job.inputs.get("shares", [])
    shares = pd.concat([SHARES_SCHEMA.empty_table().to_pandas(), *(read_table(path, SHARES_SCHEMA) for path in files)])
    missing = pd.DataFrame(job.spec["absent"], columns=SCHEMAS["missing"].names)
    absent = set(missing.drop(columns="why").itertuples(index=False, name=None))
    tables = summarise(scores, absent, shares, job.spec["nulls"], job.spec["matched"])
    results = {
        "missing": missing,
        "additivity": additivity(tables.seeds, shares),
        "agreement": agreement(tables.seeds),
        "geometry": geometry(read_table(job.input("overlap"), OVERLAP_SCHEMA)),
        **vars(tables),
        **vars(compare(tables.seeds, tables.doses, job.spec["headline"], job.spec["trainable"])),
    }
    for name, table in results.items():
        write_table(job.outputs[name], table, SCHEMAS[name], job.provenance())
