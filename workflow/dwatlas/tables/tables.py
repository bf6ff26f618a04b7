"""The publication tables as numeric frames, by name."""

from __future__ import annotations

import pandas as pd

from dwatlas.tables.comparison import adapters, noise, ranking
from dwatlas.tables.excess import additivity, curves, excess
from dwatlas.tables.geometry import geometry
from dwatlas.tables.intervals import mean_intervals
from dwatlas.tables.order import in_order
from dwatlas.tables.study import (
    CELL,
    PART,
    SEEDS_AND_ITEMS,
    StudyTables,
    components,
    full_effects,
    pick,
)

_BY_MODE = {"retained": "", "lo": "_lo", "hi": "_hi", "control_percentile": "_percentile", "q": "_q"}
_SHARED = ["n_seeds", "verdict", "g", "control", "energy_frac", "rank", "params_frac"]
_MEASURES = [metric + end for metric in ("accuracy", "nll") for end in ("", "_lo", "_hi")]


def build(tables: StudyTables) -> dict[str, pd.DataFrame]:
    """Every table by name, with numbers in full; ``present.present`` makes them readable."""
    return {
        "summary": summary(tables),
        "retained": retained(tables),
        "components": excess(tables),
        "curves": curves(tables),
        "additivity": additivity(tables),
        "capability": capability(tables),
        "adapters": adapters(tables),
        "ranking": ranking(tables),
        "noise": noise(tables),
        "geometry": geometry(tables),
        "missing": tables.missing,
    }


def summary(tables: StudyTables) -> pd.DataFrame:
    """One line per (model, behaviour, adapter, eval): the effect of the full dW and whether it is identified.

    ``effect`` is ½[h(+1) − h(−1)] in nats, ``shift_pos`` and ``shift_neg`` are h(±1) − h(0), ``even`` is their mean:
    what both signs do alike (drift, saturation, damage).
    """
    fixed = full_effects(tables.retained).set_index(CELL)
    new = full_effects(tables.retained, SEEDS_AND_ITEMS).set_index(CELL)
    norm = pick(tables.controls, lens="anchors", mode="full", control="norm", effect="antisymmetric").set_index(CELL)
    lines = pd.DataFrame(
        {
            "n_seeds": fixed["n_seeds"],
            "n_items": fixed["n_items"],
            "effect": fixed["effect_nats"],
            "lo": fixed["effect_lo"],
            "hi": fixed["effect_hi"],
            "new_items_lo": new["effect_lo"],
            "new_items_hi": new["effect_hi"],
            "g": fixed["g"],
            "verdict": fixed["verdict"],
            "new_items_verdict": new["verdict"],
            "norm_percentile": norm["percentile"],
            "norm_z": norm["z"],
            "norm_p": norm["randomisation_p"],
        }
    )
    return in_order(lines.join(_at_unit_dose(tables.doses)).reset_index(), CELL)


def _at_unit_dose(doses: pd.DataFrame) -> pd.DataFrame:
    own = pick(doses, control="")
    shift = _mean_at(pick(own, metric="effect"))
    pmass = _mean_at(pick(own, metric="pmass"))
    return pd.DataFrame(
        {
            "shift_neg": shift[-1.0],
            "shift_pos": shift[1.0],
            "even": (shift[1.0] + shift[-1.0]) / 2,
            "pmass_neg": pmass[-1.0],
            "pmass_base": pmass[0.0],
            "pmass_pos": pmass[1.0],
        }
    )


def _mean_at(lines: pd.DataFrame) -> pd.DataFrame:
    return lines.groupby([*CELL, "alpha"])["value"].mean().unstack("alpha")


def retained(tables: StudyTables) -> pd.DataFrame:
    """One line per component: R_keep and R_drop with Fieller intervals (fixed rows and new items), percentiles, q."""
    fixed = components(tables.retained)
    new = components(tables.retained, SEEDS_AND_ITEMS)
    shared = fixed.drop_duplicates(PART).set_index(PART)[_SHARED]
    for mode in ("keep", "drop"):
        lines = pick(fixed, mode=mode).set_index(PART)
        shared = shared.join(lines[list(_BY_MODE)].rename(columns={old: mode + end for old, end in _BY_MODE.items()}))
        items = pick(new, mode=mode).set_index(PART)[["lo", "hi"]]
        shared = shared.join(items.rename(columns={"lo": f"{mode}_new_items_lo", "hi": f"{mode}_new_items_hi"}))
    return in_order(shared.reset_index(), PART)


def capability(tables: StudyTables) -> pd.DataFrame:
    """Accuracy and negative log-likelihood (nats) of the capability evals at each α, means over seeds, t intervals."""
    own = pick(tables.doses, control="")
    own = own[own["metric"].isin(["accuracy", "nll"])]
    keys = [*CELL, "alpha"]
    if own.empty:
        return pd.DataFrame(columns=[*keys, "n_seeds", *_MEASURES])
    spread = mean_intervals(own, [*keys, "metric"])
    lines = spread.drop_duplicates(keys).set_index(keys)[["n_seeds"]].astype("int64")
    for metric in ("accuracy", "nll"):
        found = pick(spread, metric=metric).set_index(keys)[["mean", "lo", "hi"]]
        lines = lines.join(found.rename(columns={"mean": metric, "lo": f"{metric}_lo", "hi": f"{metric}_hi"}))
    return in_order(lines.reset_index(), keys)
