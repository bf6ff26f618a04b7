"""Gather all scores of one (model, behaviour, adapter), checking every cell against its eval's manifest."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from dwatlas import paths
from dwatlas.errors import UserError
from dwatlas.files import read_table, write_table
from dwatlas.jobs.base import Job, digest
from dwatlas.scoring.gather import check_manifest
from dwatlas.scoring.manifest import EVAL_SCHEMA
from dwatlas.scoring.rows import CELL, ROW, SCORE_SCHEMA


def work(job: Job) -> None:
    spec = job.spec
    rows = {name: read_table(paths.EVAL.format(eval=name), EVAL_SCHEMA) for name in spec["evals"]}
    files = list(_files(spec))
    frames = []
    for path, evals in files:
        scores = read_table(path, SCORE_SCHEMA)
        for name in evals:
            check_manifest(scores[scores["eval"] == name], rows[name], path)
        frames.append(scores[scores["eval"].isin(evals)])
    whole = pd.concat(frames, ignore_index=True).sort_values([*CELL, *ROW], ignore_index=True, kind="stable")
    provenance = job.provenance() | {"inputs": {"scores": digest([path for path, _ in files])}}
    write_table(job.outputs["scores"], whole, SCORE_SCHEMA, provenance)
    job.say(f"{len(files)} files, {len(whole)} rows, every cell matches its manifest")


def _files(spec: dict) -> Iterator[tuple[str, list[str]]]:
    """Every score file with the evals that it must hold."""
    cell, effects = spec["cell"], spec["effect_evals"]
    for seed in spec["seeds"]:
        where = cell | {"seed": seed}
        yield paths.ANCHORS.format(**where), spec["evals"]
        for lens, shards in spec["lenses"].items():
            for shard, components in shards.items():
                yield paths.CONTROLS.format(**where, lens=lens, shard=shard), effects
                manifest = paths.COMPONENTS.format(**where, lens=lens, shard=shard)
                hashes = json.loads(Path(manifest).read_text())["components"]
                for component in components:
                    path = paths.COMPONENT.format(**where, lens=lens, component=component)
                    _check_bytes(path, hashes.get(component), manifest)
                    yield path, effects


def _check_bytes(path: str, expected: str | None, manifest: str) -> None:
    if not Path(path).is_file() or hashlib.sha256(Path(path).read_bytes()).hexdigest() != expected:
        raise UserError(f"{path}: missing or not what {manifest} recorded; delete {manifest} and run again")
