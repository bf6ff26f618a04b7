"""What a study stated beforehand, and what was found of it, in sentences by fixed rules."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from dwatlas.report.sentences import LEVEL, strongest
from dwatlas.statistics.effects import SHOWN_EFFECT
from dwatlas.tables.present import estimate, number, probability
from dwatlas.tables.study import CELL, NOT_IDENTIFIED, SEEDS_ONLY

WHAT = {
    "effect": "the full dW has an effect",
    "keep": "a part has an effect when it is kept alone",
    "drop": "a part is missed when it is dropped",
    "keep_excess": "a part does more alone than its null",
    "drop_excess": "a part costs more than its null when it is dropped",
    "auc_keep": "a growing part does more than its null",
    "auc_drop": "without a growing part more is lost than without its null",
    "difference_keep": "two parts differ when they are kept alone",
    "difference_drop": "two parts differ in what is lost without them",
    "redundant": "at most the margin of the effect is lost without a part",
    "nothing": "a part retains less than the margin when it is kept alone",
    "interaction": "a part and the rest of dW do not add up",
    "share": "a part has an additive share of the effect",
}
ESTIMANDS = {"fixed_rows": "new seeds, these items", "new_items": "new seeds and new items"}
NONE_STATED = "This study stated no primary analysis: all that is shown here is exploratory."


def statement(registered: Mapping | None) -> str:
    """The study's statement from the line of ``registration``; what it means that there is none."""
    if registered is None:
        return NONE_STATED
    kind = registered["effect"].replace("_", "-")
    where = "of the full dW" if registered["family"] == "anchors" else f"of lens {registered['family']}"
    margin = f", Δ = {number(registered['margin'])}" if registered["contrast"] in ("redundant", "nothing") else ""
    return (
        f"Stated beforehand: {WHAT[registered['contrast']]} ({registered['contrast']}{margin}), {where}, on "
        f"{registered['eval']}; {kind} effect, for {ESTIMANDS[registered['estimand']]}. "
        f"SHA-256 of the statement: {registered['sha256']}. All else that is shown here is exploratory."
    )


def is_primary(registered: Mapping | None, name: str, lens: str) -> bool:
    """Whether the eval and lens are those of the statement, and it is about what pages and figures show: the
    antisymmetric effect, new seeds on these items."""
    shown = {"eval": name, "family": lens, "effect": SHOWN_EFFECT, "estimand": SEEDS_ONLY}
    return registered is not None and all(registered[key] == value for key, value in shown.items())


def primary_sentences(table: pd.DataFrame, summary: pd.DataFrame, registered: Mapping | None) -> list[str]:
    """One sentence per (model, behaviour, adapter) of the table ``summary``, from the table ``primary``."""
    if registered is None:
        return []
    found = {key: _sentence(key, lines) for key, lines in table.groupby(CELL, sort=False)}
    cells = summary.loc[summary["eval"] == registered["eval"], CELL].itertuples(index=False, name=None)
    return [found.get(cell) or _without(cell, registered) for cell in cells]


def _without(cell: tuple[str, str, str, str], registered: Mapping) -> str:
    model, behaviour, adapter, _ = cell
    what = f"{registered['contrast']} of {registered['family']}"
    return f"{adapter} ({model}, {behaviour}): no result, as this study has no {what}."


def _sentence(key: tuple[str, str, str, str], lines: pd.DataFrame) -> str:
    model, behaviour, adapter, _ = key
    subject, contrast = f"{adapter} ({model}, {behaviour})", lines["contrast"].iloc[0]
    if (lines["verdict"] == NOT_IDENTIFIED).all():
        return f"{subject}: not identified, as the full effect cannot be told from zero."
    if contrast == "effect":
        line = lines.iloc[0]
        return f"{subject}: {estimate(line['value'], line['lo'], line['hi'], sign=True)} nats, p {_p(line['p'])}."
    named = lines.assign(
        component=lines["component"].where(lines["rival"] == "", lines["component"] + " − " + lines["rival"])
    )
    found = named["q"] < LEVEL
    if not found.any():
        return f"{subject}: shown for none of {len(lines)} (least q {probability(lines['q'].min())})."
    return (
        f"{subject}: shown for {strongest(named, found, 'value', sign=contrast not in ('keep', 'drop'))} (q < {LEVEL})."
    )


def _p(p: float) -> str:
    text = probability(p)
    return text if text.startswith("<") else f"= {text}"
