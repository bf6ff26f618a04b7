"""What forest, map and curves plot: retained ratios of one lens, in long form.

``series`` is ``full`` or ``full_new_items`` (the effect of the full dW, per adapter and estimand), ``estimate`` (R
with its fixed-rows interval), ``new_items`` (the interval over seeds and items), ``seed`` (one seed's effect over the
mean full effect) or ``control`` (mean and 5–95 % of the random stand-ins over the mean full effect). ``unit`` is
``ratio`` or ``nats``: a cell that is not identified has its effect in nats and never a ratio.
"""

from __future__ import annotations

import pandas as pd

from dwatlas.tables.order import natural
from dwatlas.tables.study import (
    NOT_IDENTIFIED,
    SEEDS_AND_ITEMS,
    SEEDS_ONLY,
    SHOWN_EFFECT,
    StudyTables,
    full_effects,
    pick,
)

MODES = ("drop", "keep")
COLUMNS = ["model", "behaviour", "eval", "lens", "adapter", "component", "mode", "series", "seed", "unit", "value",
           "lo", "hi", "energy_frac", "rank_frac", "params_frac", "nuclear_frac", "q", "control", "verdict", "g",
           "n_seeds", "n_items"]  # fmt: skip
_LINE = ["adapter", "component", "mode"]


def ratios(tables: StudyTables, model: str, behaviour: str, eval: str, lens: str) -> pd.DataFrame:
    """The long frame of one (model, behaviour, eval, lens), sorted by adapter, component and mode."""
    cell = {"model": model, "behaviour": behaviour, "eval": eval}
    part = {**cell, "lens": lens, "effect": SHOWN_EFFECT}
    retained = pick(tables.retained, **part)
    retained = retained[retained["mode"].isin(MODES)]
    series = [
        _full(pick(full_effects(tables.retained, SEEDS_ONLY), **cell), "full"),
        _full(pick(full_effects(tables.retained, SEEDS_AND_ITEMS), **cell), "full_new_items"),
        _estimates(pick(retained, estimand=SEEDS_ONLY)),
    ]
    known = _identified(pick(retained, estimand=SEEDS_ONLY))
    series.append(_new_items(pick(retained, estimand=SEEDS_AND_ITEMS), known))
    series.append(_seeds(pick(tables.seeds, **part), known))
    series.append(_controls(pick(tables.controls, **part), known))
    return tidy(pd.concat([frame for frame in series if len(frame)]), {**cell, "lens": lens}, COLUMNS)


def _full(lines: pd.DataFrame, series: str) -> pd.DataFrame:
    return lines.assign(
        component="", mode="full", series=series, unit="nats", value=lines["effect_nats"], lo=lines["effect_lo"],
        hi=lines["effect_hi"], control="", q=float("nan"),
    )  # fmt: skip


def _estimates(lines: pd.DataFrame) -> pd.DataFrame:
    unknown = lines["verdict"] == NOT_IDENTIFIED
    ratio = lines.assign(series="estimate", unit="ratio", value=lines["retained"])[~unknown]
    nats = lines.assign(
        series="estimate", unit="nats", value=lines["effect_nats"], lo=lines["effect_lo"], hi=lines["effect_hi"]
    )[unknown]
    return pd.concat([ratio, nats])


def _identified(lines: pd.DataFrame) -> pd.DataFrame:
    """The identified lines' keys, with the mean full effect, size and control that their other series share."""
    known = lines[lines["verdict"] != NOT_IDENTIFIED]
    return known[[*_LINE, "full_effect_nats", "control", "verdict", "g", "n_seeds", "n_items"]]


def _new_items(lines: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    lines = lines[lines["verdict"] != NOT_IDENTIFIED].merge(known[_LINE], on=_LINE)
    return lines.assign(series="new_items", unit="ratio", value=lines["retained"])


def _seeds(lines: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    lines = lines.drop(columns="full_effect_nats").merge(known.drop(columns="control"), on=_LINE)
    return lines.assign(series="seed", unit="ratio", value=lines["effect_nats"] / lines["full_effect_nats"])


def _controls(lines: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    lines = lines.drop(columns="full_effect_nats").merge(known, on=[*_LINE, "control"])
    ends = lines[["q05_nats", "q95_nats"]].div(lines["full_effect_nats"], axis=0)
    value = lines["mean_nats"] / lines["full_effect_nats"]
    return lines.assign(series="control", unit="ratio", value=value, lo=ends.min(axis=1), hi=ends.max(axis=1))


def tidy(frame: pd.DataFrame, cell: dict[str, str], columns: list[str]) -> pd.DataFrame:
    """The long frame of one ``cell`` with these columns, sorted by adapter, component, mode, series and seed."""
    frame = frame.assign(**cell).reindex(columns=columns)
    frame["seed"] = frame["seed"].astype("Int64")
    ranks = {
        name: {value: rank for rank, value in enumerate(natural(frame[name]))} for name in ("adapter", "component")
    }
    order = pd.DataFrame(
        {
            **{name: frame[name].map(ranks[name]) for name in ranks},
            "mode": frame["mode"],
            "series": frame["series"],
            "seed": frame["seed"].fillna(-1),
        }
    ).reset_index(drop=True)
    return frame.iloc[order.sort_values(list(order.columns), kind="stable").index].reset_index(drop=True)


def component_names(data: pd.DataFrame) -> list[str]:
    """All components that any adapter has, in natural order."""
    return natural(data.loc[data["mode"] != "full", "component"])


def goes_beyond(lines: pd.DataFrame, limits: tuple[float, float]) -> bool:
    """Whether a value or an end of an interval lies outside an axis with these limits."""
    drawn = lines[["value", "lo", "hi"]]
    return bool(((drawn < limits[0]) | (drawn > limits[1])).any(axis=None))


def caption(data: pd.DataFrame, *remarks: str) -> str:
    """What is shown, in one line, and its sizes, ``remarks`` (such as the kind of interval) and nulls, in another."""
    first, estimates = data.iloc[0], data[data["series"] == "estimate"]
    seeds, items = (span((estimates if len(estimates) else data)[name]) for name in ("n_seeds", "n_items"))
    controls = ", ".join(natural(data.loc[data["series"] == "control", "control"]))
    about = [f"{seeds} seeds, {items} items", "R: ratio of means over seeds of ½[h(+1) − h(−1)]", *remarks]
    about.append(f"random stand-ins: {controls}" if controls else "")
    where = f"{first['model']} · {first['behaviour']} · {first['eval']} · lens {first['lens']}"
    return where + "\n" + " · ".join(filter(None, about))


def span(values: pd.Series) -> str:
    """``5``, or ``4–5`` where numbers differ."""
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low}–{high}"
