"""Gather all scores and additive shares of one (model, behaviour, adapter), checking every cell against its eval's
manifest, and that every component has its shares."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from dwatlas import paths
from dwatlas.delta.table import WHOLE
from dwatlas.errors import UserError
from dwatlas.files import read_json, read_table, write_table
from dwatlas.jobs.base import Job
from dwatlas.provenance import file_sha256, read_provenance
from dwatlas.scoring.gather import check_manifest, check_shares
from dwatlas.scoring.manifest import EVAL_SCHEMA
from dwatlas.scoring.rows import CELL, ROW, SCORE_SCHEMA, SHARE, SHARES_SCHEMA
from dwatlas.versions import check_not_mixed


def work(job: Job) -> None:
    spec = job.spec
    rows = {name: read_table(paths.EVAL.format(eval=name), EVAL_SCHEMA) for name in spec["evals"]}
    job = job.reading("rows", (paths.EVAL.format(eval=name) for name in spec["evals"]))
    job = job.reading("scores", (path for run in _runs(spec) for path in _manifests(*run)))
    shares = [file for run in _runs(spec) for file in _shares(*run)]
    job = job.reading("shares", (path for path, _ in shares))
    if not spec["allow_mixed_versions"]:
        made = [path for name in ("scores", "shares") for path in job.inputs[name]]
        check_not_mixed({path: read_provenance(path).get("made_with", {}) for path in made})
    files = [file for run in _runs(spec) for file in _files(*run, spec)]
    frames = []
    for path, evals in files:
        scores = read_table(path, SCORE_SCHEMA)
        for name in evals:
            check_manifest(scores[scores["eval"] == name], rows[name], path)
        frames.append(scores[scores["eval"].isin(evals)])
    whole = pd.concat(frames, ignore_index=True).sort_values([*CELL, *ROW], ignore_index=True, kind="stable")
    parts = [SHARES_SCHEMA.empty_table().to_pandas()]
    for path, components in shares:
        parts.append(read_table(path, SHARES_SCHEMA))
        check_shares(parts[-1], components, spec["effect_evals"], path)
    table = pd.concat(parts).sort_values(SHARE, ignore_index=True)
    write_table(job.outputs["scores"], whole, SCORE_SCHEMA, job.provenance())
    write_table(job.outputs["shares"], table, SHARES_SCHEMA, job.provenance())
    job.say(f"{len(files)} files, {len(whole)} rows, every cell matches its manifest; {len(table)} shares")


def _runs(spec: dict) -> Iterator[tuple[dict, dict[str, dict[str, list[str]]]]]:
    """Every run that is there, as its wildcards and its lenses (name → shard → components)."""
    for seed in spec["seeds"]:
        absent = spec["absent"].get(str(seed), [])
        if "" not in absent:
            lenses = {lens: shards for lens, shards in spec["lenses"].items() if lens not in absent}
            yield spec["cell"] | {"seed": seed}, lenses


def _manifests(run: dict, lenses: dict) -> Iterator[str]:
    """The files that stand for all scores of a run: other score files are named in them with their hashes."""
    yield paths.ANCHORS.format(**run)
    for lens, shards in lenses.items():
        for shard in shards:
            yield paths.COMPONENTS.format(**run, lens=lens, shard=shard)
            yield paths.CONTROLS.format(**run, lens=lens, shard=shard)


def _files(run: dict, lenses: dict, spec: dict) -> Iterator[tuple[str, list[str]]]:
    """Every score file of a run with the evals that it must hold."""
    effects = spec["effect_evals"]
    yield paths.ANCHORS.format(**run), spec["evals"]
    for lens, shards in lenses.items():
        for shard, components in shards.items():
            yield paths.CONTROLS.format(**run, lens=lens, shard=shard), effects
            manifest = paths.COMPONENTS.format(**run, lens=lens, shard=shard)
            hashes = read_json(manifest)["components"]
            for component in components:
                path = paths.COMPONENT.format(**run, lens=lens, component=component)
                _check_bytes(path, hashes.get(component), manifest)
                yield path, effects


def _shares(run: dict, lenses: dict) -> Iterator[tuple[str, list[str]]]:
    """Every file of shares of a run with the components that it must hold."""
    for lens, shards in lenses.items():
        names = [name for components in shards.values() for name in components]
        yield paths.SHARES.format(**run, lens=lens), [WHOLE, *names]


def _check_bytes(path: str, expected: str | None, manifest: str) -> None:
    if not Path(path).is_file() or file_sha256(path) != expected:
        raise UserError(f"{path}: missing or not what {manifest} recorded; delete {manifest} and run again")
