"""What parts do beyond their nulls, as tables: ``components``, ``curves`` and ``additivity``."""

from __future__ import annotations

import pandas as pd

from dwatlas.tables.order import in_order
from dwatlas.tables.study import PART, SEEDS_ONLY, SHOWN_EFFECT, StudyTables, contrasts, pick

BY_COMPONENT = ("keep_excess", "drop_excess", "redundant", "nothing", "interaction", "share")
BY_FAMILY = ("auc_keep", "auc_drop")
_LENS = PART[:-1]


def excess(tables: StudyTables) -> pd.DataFrame:
    """One line per component: excess of what it carries alone and of what is lost without it over its structural null,
    tests that it is redundant or retains nothing, interaction, additive share, excess of what it carries alone over dW
    at its energy (``scale_excess``) and potency (alone, at the norm of dW), all over the full effect, with intervals
    and q.
    """
    frame = _wide(tables, BY_COMPONENT)
    scaled = pick(tables.contrasts, contrast="keep_excess", control="scale", effect=SHOWN_EFFECT, estimand=SEEDS_ONLY)
    frame = frame.join(_named(scaled.set_index(PART), "scale_excess"))
    potent = pick(tables.retained, mode="potency", effect=SHOWN_EFFECT, estimand=SEEDS_ONLY).set_index(PART)
    columns = {"retained": "potency", "lo": "potency_lo", "hi": "potency_hi", "q": "potency_q"}
    return in_order(frame.join(potent[list(columns)].rename(columns=columns)).reset_index(), PART)


def curves(tables: StudyTables) -> pd.DataFrame:
    """One line per nested family of components (such as ``top``): the area between its curves and its null's."""
    return in_order(_wide(tables, BY_FAMILY).reset_index().rename(columns={"component": "family"}), [*_LENS, "family"])


def additivity(tables: StudyTables) -> pd.DataFrame:
    """One line per lens: do additive shares rank components as ablations do, and do they sum to the full effect?"""
    return in_order(tables.additivity, _LENS)


def _wide(tables: StudyTables, wanted: tuple[str, ...]) -> pd.DataFrame:
    """Contrasts side by side, with PART as index; ``control`` is that of the excess, empty where there is none."""
    found = {name: contrasts(tables, name).set_index(PART) for name in wanted}
    about = pd.concat([lines[["n_seeds", "verdict", "g", "control"]] for lines in found.values()])
    about = about[~about.index.duplicated()]
    for name, lines in found.items():
        about = about.join(_named(lines, name))
    return about


def _named(lines: pd.DataFrame, name: str) -> pd.DataFrame:
    """A contrast's ratio, interval and q under its name."""
    columns = {"ratio": name, "lo": f"{name}_lo", "hi": f"{name}_hi", "q": f"{name}_q"}
    return lines[list(columns)].rename(columns=columns)
