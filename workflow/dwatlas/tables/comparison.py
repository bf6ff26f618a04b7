"""Adapters compared, as tables: ``adapters``, ``ranking`` and ``noise``; and what holds ``across`` trained cells."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dwatlas.tables.order import in_order, natural
from dwatlas.tables.study import StudyTables, components, pick

HEADLINE_LENS = "modules"
HEADLINE_PARTS = ("attention", "mlp", "read", "write")
MEASURES = ("effect", "transfer", "accuracy_loss", "kl_base", "mean_rank", "best", "worst")
"""Measures in the order of the table's columns."""
_GROUP = ["model", "behaviour"]
_ABOUT = [*_GROUP, "adapter", "trainable", "n_seeds", "verdict"]


def by_effect(measures: pd.DataFrame) -> list[str]:
    """Adapters of one (model, behaviour), strongest on the headline eval first, in the direction of most; ties natural.

    ``measures`` are lines of the frame ``adapters``.
    """
    effects = pick(measures, measure="effect", headline=True).set_index("adapter")["value"]
    strengths = effects * (-1 if effects.mean() < 0 else 1)
    return strengths.reindex(natural(strengths.index)).sort_values(ascending=False, kind="stable").index.tolist()


def adapters(tables: StudyTables) -> pd.DataFrame:
    """One line per (model, behaviour, adapter), strongest first.

    Columns ``MEASURE:EVAL`` with ``:lo`` and ``:hi`` where there is an interval, and ``drop:PART`` and ``keep:PART``: R
    on the headline eval of the headline parts. ``verdict`` is that of the headline effect; where it is not identified
    there is no ratio.
    """
    found = []
    for (model, behaviour), lines in tables.adapters.groupby(_GROUP):
        retained = pick(components(tables.retained), model=model, behaviour=behaviour, lens=HEADLINE_LENS)
        for name in by_effect(lines):
            own = pick(lines, adapter=name)
            headline = pick(own, measure="effect", headline=True).iloc[0]
            parts = pick(retained, adapter=name, eval=headline["eval"])
            found.append(headline[_ABOUT].to_dict() | _measures(own) | _parts(parts))
    return pd.DataFrame(found) if found else pd.DataFrame(columns=_ABOUT)


def _measures(lines: pd.DataFrame) -> dict[str, float]:
    values = {}
    for measure in MEASURES:
        for line in pick(lines, measure=measure).sort_values("headline", ascending=False, kind="stable").itertuples():
            values |= _with_interval(
                f"{measure}:{line.eval}", line.value, line.lo, line.hi, measure in ("best", "worst")
            )
    return values


def _parts(retained: pd.DataFrame) -> dict[str, float]:
    values = {}
    for mode in ("drop", "keep"):
        for line in pick(retained, mode=mode).itertuples():
            if line.component in HEADLINE_PARTS:
                values |= _with_interval(f"{mode}:{line.component}", line.retained, line.lo, line.hi, False)
    return values


def _with_interval(name: str, value: float, lo: float, hi: float, bare: bool) -> dict[str, float]:
    return {name: value} if bare else {name: value, f"{name}:lo": lo, f"{name}:hi": hi}


def ranking(tables: StudyTables) -> pd.DataFrame:
    """One line per (model, behaviour, eval) and pair of adapters: the stronger is ``adapter``, the other ``rival``."""
    lines = tables.ranking
    return in_order(_once(lines, lines["difference"]), [*_GROUP, "eval", "adapter", "rival"])


def noise(tables: StudyTables) -> pd.DataFrame:
    """Is the difference between adapters more than seed noise? Per eval the full effect, then each lens and mode."""
    lines = tables.noise.assign(_profile=np.where(tables.noise["lens"] == "anchors", "", tables.noise["lens"]))
    return in_order(lines, [*_GROUP, "eval", "_profile", "mode"]).drop(columns="_profile")


def across(tables: StudyTables) -> pd.DataFrame:
    """One line per eval, lens, component and mode with an aggregate: R and P(beats its stand-in) over trained cells."""
    lines = tables.across
    return in_order(lines[lines["iqm"].notna()], ["eval", "lens", "component", "mode"])


def improvement(tables: StudyTables) -> pd.DataFrame:
    """One line per eval and pair of adapters that share several (model, behaviour): the stronger is ``adapter``."""
    lines = tables.improvement
    return in_order(_once(lines, lines["improvement"] - 0.5), ["eval", "adapter", "rival"])


def _once(lines: pd.DataFrame, lead: pd.Series) -> pd.DataFrame:
    """Of both orders of each pair the line with a ``lead`` above 0; of a tie the one in alphabetical order."""
    return lines[(lead > 0) | ((lead == 0) & (lines["adapter"] < lines["rival"]))]
