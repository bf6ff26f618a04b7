"""What a study can detect, from the seeds that have been scored already: ``dwatlas plan --power``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from itertools import combinations, product
from math import isfinite, isnan
from pathlib import Path

import pandas as pd

from dwatlas import paths
from dwatlas.cli.answer import Answer, plural, table
from dwatlas.files import read_table
from dwatlas.scoring.rows import SCORE_SCHEMA
from dwatlas.statistics.arrays import FULL, score_arrays
from dwatlas.statistics.effects import SHOWN_EFFECT, Effects, measure_effects
from dwatlas.statistics.power import (
    ALPHA,
    MOST_SEEDS,
    POWER,
    adapters_record,
    pilot_summary,
    power_records,
)
from dwatlas.study import Plan
from dwatlas.tables.present import ABSENT, number

FEWEST, MOST_NAMED = 2, 8
"""Pilot seeds below which nothing is known of how seeds vary, and files up to which a command names them."""
"""Margin where a study names none."""
_WORDS = {
    "effect": "the full effect is not 0",
    "contributes": "a part contributes",
    "redundant": "a part is redundant (R_drop > 1 − Δ)",
    "nothing": "a part retains nothing (|R_keep| < Δ)",
    "between": "two parts differ",
}


@dataclass(frozen=True)
class Pilot:
    """The scored seeds of one (model, behaviour, adapter, eval)."""

    cell: dict[str, str]
    anchors: list[str]
    effects: Effects | None = None


def power_answer(plan: Plan, arguments: Sequence[str]) -> Answer:
    """Power of every contrast, from all pilot seeds on disk; ``arguments`` choose the study, as for snakemake."""
    margin = plan.study.margin
    seeds = len(_units(plan, plan.study.seeds))
    pilots = [pilot for cell in plan.cells for pilot in _pilots(plan, cell)]
    known = [pilot for pilot in pilots if pilot.effects is not None]
    content = {
        "study": plan.study.study,
        "seeds": seeds,
        "effect": SHOWN_EFFECT,
        "alpha": ALPHA,
        "power": POWER,
        "margin": margin,
        "cells": [_cell(plan, pilot, seeds, margin) for pilot in known],
        "adapters": [line for pair in combinations(known, 2) for line in _pair(*pair, seeds)],
        "missing": [pilot.cell | {"pilot_seeds": len(pilot.anchors)} for pilot in pilots if pilot.effects is None],
    }
    content["run_first"] = _first(plan, [pilot for pilot in pilots if pilot.effects is None], arguments)
    return Answer(_plain(content), _text(content))


def _pilots(plan: Plan, cell: dict[str, str]) -> Iterator[Pilot]:
    anchors = sorted(glob(paths.ANCHORS.format(**cell, seed="*")), key=_seed)
    absent, frames = set(), [_scored(path) for path in anchors]
    for seed, lens in product(map(_seed, anchors), plan.study.lenses):
        names = plan.components[cell["model"], cell["adapter"], lens]
        files = [paths.COMPONENT.format(**cell, seed=seed, lens=lens, component=name) for name in names]
        if all(Path(file).is_file() for file in files):
            frames += map(_scored, files)
        else:
            absent.add((*cell.values(), seed, lens))
    scores = pd.concat(frames, ignore_index=True) if frames else SCORE_SCHEMA.empty_table().to_pandas()
    for name in plan.effect_evals:
        own = scores[scores["eval"] == name]
        there = [path for path in anchors if (own["seed"] == _seed(path)).any()]
        effects = None
        if len(_units(plan, map(_seed, there))) >= FEWEST:
            (array,) = score_arrays(own, absent)
            effects = measure_effects(array, plan.study.seed_varies.trainings_per_data).in_units()
        yield Pilot(cell | {"eval": name}, there, effects)


def _units(plan: Plan, seeds: Iterable[int]) -> set[int]:
    """The draws of the training data of ``seeds``, which are what effects are averaged over."""
    return {seed // plan.study.seed_varies.trainings_per_data for seed in seeds}


def _seed(path: str) -> int:
    return int(re.search(r"/seed-(\d+)/", path)[1])


def _scored(path: str) -> pd.DataFrame:
    """Scores at α = −1, 0 and +1, without random stand-ins."""
    scores = read_table(path, SCORE_SCHEMA)
    return scores[(scores["control"] == "") & scores["alpha"].isin([-1.0, 0.0, 1.0])]


def _cell(plan: Plan, pilot: Pilot, seeds: int, margin: float) -> dict:
    model, adapter = pilot.cell["model"], pilot.cell["adapter"]
    sizes = {lens: len(plan.components[model, adapter, lens]) for lens in plan.study.lenses}
    return {
        **pilot.cell,
        **pilot_summary(pilot.effects, SHOWN_EFFECT, seeds),
        "contrasts": list(power_records(pilot.effects, SHOWN_EFFECT, seeds, margin, sizes)),
    }


def _pair(one: Pilot, other: Pilot, seeds: int) -> Iterator[dict]:
    """Two adapters of the same model and behaviour on the same eval."""
    cell, rival = one.cell, other.cell
    if cell | {"adapter": rival["adapter"]} == rival:
        yield {**cell, "rival": rival["adapter"], **adapters_record(_full(one.effects), _full(other.effects), seeds)}


def _full(effects: Effects) -> dict[int, float]:
    lines = effects.parts[FULL]
    means = effects.values[SHOWN_EFFECT][lines].mean(axis=1)
    return dict(zip(effects.seeds[lines].tolist(), means.tolist(), strict=True))


def _first(plan: Plan, pilots: list[Pilot], arguments: Sequence[str]) -> list[str]:
    """Commands that score the anchors of a pilot as the study itself would: of two seeds of each run that lacks them
    (where they are few enough to name), and of all seeds."""
    if not pilots:
        return []
    cells = list(dict.fromkeys(tuple(pilot.cell.items())[:3] for pilot in pilots))
    trainings = plan.study.seed_varies.trainings_per_data
    of_unit = {seed // trainings: seed for seed in sorted(plan.study.seeds, reverse=True)}
    seeds = [*sorted(of_unit.values()), (max(of_unit) + 1) * trainings][:FEWEST]
    files = [paths.ANCHORS.format(**dict(cell), seed=seed) for cell, seed in product(cells, seeds)]
    targets = [files] if len(files) <= MOST_NAMED else []
    return [shlex.join(["snakemake", "--cores", "1", *some, *arguments]) for some in (*targets, ["--until", "anchors"])]


def _text(content: dict) -> str:
    heading = (
        f"study {content['study']}, {plural(content['seeds'], 'seed')}: what it can detect with {POWER:.0%} power at "
        f"α = {ALPHA:g}, Δ = {content['margin']:g}, effect {SHOWN_EFFECT}"
    )
    parts = [heading, *(_cell_text(cell, content) for cell in content["cells"])]
    if content["adapters"]:
        parts.append(_adapters_text(content))
    of_parts = [line for cell in content["cells"] for line in cell["contrasts"] if line["contrast"] != "effect"]
    if any(line["measured"] for line in of_parts):
        parts.append("SD of a part's contrast: the median over the parts that are ablated; half of them vary more")
    if any(not line["measured"] for line in of_parts):
        parts.append("assumed: nothing is ablated yet, so that a part varies from seed to seed as the whole does")
    if content["missing"]:
        lacking = [f"{_name(cell)}: {plural(cell['pilot_seeds'], 'pilot seed')}" for cell in content["missing"]]
        parts.append("\n".join([*lacking, f"at least {FEWEST} must be scored to know how seeds vary"]))
        parts.append("run first: " + "\n   or all: ".join(content["run_first"]))
    return "\n\n".join(parts)


def _name(cell: dict) -> str:
    return f"{cell['model']}/{cell['behaviour']}/{cell['adapter']}, {cell['eval']}"


def _cell_text(cell: dict, content: dict) -> str:
    halves, seeds = cell["half_width"], plural(content["seeds"], "seed")
    effect = (
        f"full effect {number(cell['effect_nats'], sign=True)} nats; SD of seeds {number(cell['seed_sd'])}, items "
        f"{number(cell['item_sd'])}, both {number(cell['residual_sd'])}"
    )
    expected = (
        f"with {seeds}, g = {number(cell['g'])}, intervals ± {number(halves['fixed_rows'])} (these rows), "
        f"± {number(halves['new_items'])} (new items)"
    )
    if cell["verdict"] == "not_identified":
        expected += "; not identified, so no share of it can be found"
    rows = [
        (_contrast(line, content), f"{number(line['sd_nats'])}{'' if line['measured'] else ' (assumed)'}",
         _at(line), _needed(line, content))
        for line in cell["contrasts"]
    ]  # fmt: skip
    lines = table(rows, ("contrast", "SD (nats)", f"with {seeds}", "seeds needed"))
    pilot = f"{plural(len(cell['pilot_seeds']), 'pilot seed')}, {plural(cell['n_items'], 'item')}"
    return f"{_name(cell)}: {pilot}\n{effect}\n{expected}\n{lines}"


def _contrast(line: dict, content: dict) -> str:
    words = _WORDS[line["contrast"]].replace("Δ", f"{content['margin']:g}")
    return f"{words}, one of {round(ALPHA / line['alpha'])} in {line['lens']}" if line["lens"] else words


def _at(line: dict) -> str:
    if "power" in line:
        return f"power {number(line['power'])}"
    return f"from a share of {number(line['detectable'])}"


def _needed(line: dict, content: dict) -> str:
    found = line["seeds_needed"]
    if isnan(line.get("power", 0.0)) or isnan(line.get("detectable", 0.0)):
        return ABSENT
    seeds = f"{found:.0f}" if isfinite(found) else f"> {MOST_SEEDS}"
    return f"{seeds} for {content['margin']:g}" if "detectable" in line else seeds


def _adapters_text(content: dict) -> str:
    rows = [
        (
            f"{line['model']}/{line['behaviour']}, {line['eval']}: {line['adapter']} – {line['rival']}",
            f"{number(line['sd_nats'])}{'' if line['paired'] else ' (unpaired)'}",
            f"from {number(line['detectable_nats'])} nats",
            f"{number(line['difference_nats'])} nats: power {number(line['power'])}",
            f"{line['seeds_needed']:.0f}" if isfinite(line["seeds_needed"]) else f"> {MOST_SEEDS}",
        )
        for line in content["adapters"]
    ]
    seeds = plural(content["seeds"], "seed")
    return table(rows, ("adapters compared", "SD (nats)", f"with {seeds}", "the pilot's difference", "seeds needed"))


def _plain(value: object) -> object:
    """The same for JSON: numbers that are not finite are null."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return float(value) if isfinite(value) else None
    return value
