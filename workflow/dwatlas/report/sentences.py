"""Findings as sentences, made from verdicts and intervals and never stronger than they allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from dwatlas.tables.order import natural
from dwatlas.tables.present import estimate, number
from dwatlas.tables.study import CELL, NOT_IDENTIFIED, pick

STRONGEST = 3
NAMED = 6
HIGH_PERCENTILE = 95
LEVEL = 0.05
STAND_INS = {
    "mask": "a random part of equal energy",
    "sub": "a random subspace of equal energy inside dW",
    "basis": "the same part in random bases",
    "spec": "a random change of equal rank and spectrum",
    "scale": "all of dW scaled to equal energy",
    "norm": "Gaussian noise of equal norm",
}


@dataclass(frozen=True)
class Finding:
    """What was found for one (adapter, eval): the full dW, what qualifies it, and sentences per lens."""

    eval: str
    headline: str
    remark: str
    by_lens: dict[str, list[str]]


def findings(tables: Mapping[str, pd.DataFrame]) -> dict[tuple[str, str], list[Finding]]:
    """Findings per (model, behaviour), from the tables ``summary``, ``components``, ``curves`` and ``additivity``."""
    found: dict[tuple[str, str], list[Finding]] = {}
    for full in tables["summary"].itertuples():
        cell = {name: getattr(full, name) for name in CELL}
        parts, curves, additive = (pick(tables[name], **cell) for name in ("components", "curves", "additivity"))
        identified = full.verdict != NOT_IDENTIFIED
        by_lens = {
            lens: lens_sentences(*(pick(frame, lens=lens) for frame in (parts, curves, additive)))
            for lens in natural(parts["lens"])
            if identified
        }
        finding = Finding(full.eval, headline(full), remark(full) if identified else "", by_lens)
        found.setdefault((full.model, full.behaviour), []).append(finding)
    return found


def identification(summary: pd.DataFrame) -> str:
    """Which full effects can be told from zero and which cannot, by name where they cannot."""
    sentences = []
    for verdict, what in ((NOT_IDENTIFIED, "Not identified"), ("weak", "Weakly identified")):
        names = [
            f"{full.adapter} on {full.eval} ({full.model})" for full in pick(summary, verdict=verdict).itertuples()
        ]
        sentences.append(f"{what}: {', '.join(names) or 'none'} of {len(summary)} full effects.")
    return " ".join(sentences)


def headline(full) -> str:
    """What the full dW does, from one line of ``summary``."""
    digits = 1 if abs(full.effect) >= 1 else 2
    subject, seeds = f"{full.adapter} on {full.eval}: ", "1 seed" if full.n_seeds == 1 else f"{full.n_seeds} seeds"
    shift = f"the full dW shifts the score by {number(full.effect, digits, sign=True)} nats per unit α"
    interval = f"95 % interval {number(full.lo, digits)} to {number(full.hi, digits)}"
    if full.verdict == NOT_IDENTIFIED:
        shown = "no interval" if pd.isna(full.lo) else interval
        shown += ", which includes 0" if full.lo <= 0 <= full.hi else ""
        return f"{subject}not identified. Over {seeds} {shift} ({shown}), so no ratio is reported."
    how = "identified" if full.verdict == "identified" else f"weakly, g = {number(full.g)}: its ratios are imprecise"
    return f"{subject}{shift} ({interval} over {seeds}; {how})."


def remark(full) -> str:
    """How far an identified effect reaches: to new items, and beyond random dW."""
    digits = 1 if abs(full.effect) >= 1 else 2
    new_items = (
        "For new items as well as new seeds it is not identified."
        if full.new_items_verdict == NOT_IDENTIFIED
        else "For new items as well as new seeds the interval is "
        f"{number(full.new_items_lo, digits)} to {number(full.new_items_hi, digits)}."
    )
    if pd.isna(full.norm_percentile):
        return new_items
    percentile = number(full.norm_percentile, 0)
    return f"{new_items} " + (
        f"It is larger than the effect of {percentile} % of random dW with the same norms."
        if full.norm_percentile > HIGH_PERCENTILE
        else f"It cannot be told apart from random dW with the same norms (percentile {percentile})."
    )


def lens_sentences(parts: pd.DataFrame, curves: pd.DataFrame, additive: pd.DataFrame) -> list[str]:
    """What one lens found, from its lines of ``components``, ``curves`` and ``additivity`` (one adapter and eval)."""
    known = parts[parts["verdict"] != NOT_IDENTIFIED]
    if known.empty:
        return ["Not identified."]
    areas = curves[curves["verdict"] != NOT_IDENTIFIED]
    told = [*_excess(known), *_dispensable(known), *_interaction(known), *(_area(line) for line in areas.itertuples())]
    told += [_additive(line) for line in additive.itertuples() if not pd.isna(line.spearman)]
    weak = "Weakly identified, so ratios are imprecise. " if (known["verdict"] == "weak").any() else ""
    return [weak + told[0], *told[1:]]


def _excess(parts: pd.DataFrame) -> list[str]:
    compared = parts[parts["control"] != ""]
    if compared.empty:
        return ["Not compared with random stand-ins."]
    stand_in = STAND_INS.get(compared["control"].iloc[0], "a random stand-in")
    told = [
        f"{opening} than {stand_in} (q < {LEVEL}): {strongest(compared, compared[f'{side}_q'] < LEVEL, side)}."
        for opening, side in (("Kept alone, does more", "keep_excess"), ("Dropped, costs more", "drop_excess"))
        if (compared[f"{side}_q"] < LEVEL).any()
    ]
    more = compared["keep_excess_q"] < LEVEL
    if more.any() and compared.loc[more, "scale_excess_q"].notna().any():
        beyond = more & (compared["scale_excess_q"] < LEVEL)
        which = strongest(compared[more], beyond[more], "scale_excess") if beyond.any() else "none"
        told.insert(1, f"Of these, more than {STAND_INS['scale']}, too: {which}.")
    return told or [f"No part ({len(compared)} in all) can be told from {stand_in}, neither kept alone nor dropped."]


def _interaction(parts: pd.DataFrame) -> list[str]:
    clear, above = parts["interaction_q"] < LEVEL, parts["interaction"] > 0
    groups = {
        "Does in part what the rest of dW does too (R_keep + R_drop above 1": clear & above,
        "Does more together with the rest of dW (R_keep + R_drop below 1": clear & ~above,
    }
    return [
        f"{what}, q < {LEVEL}): {strongest(parts, mask, 'interaction')}." for what, mask in groups.items() if mask.any()
    ]


def _area(line) -> str:
    size = estimate(line.auc_keep, line.auc_keep_lo, line.auc_keep_hi, sign=True)
    stand_in = STAND_INS.get(line.control, "a random stand-in")
    if line.auc_keep_q < LEVEL:
        compared = "carries more than"
    elif line.auc_keep_hi < 0:
        compared = "carries less than"
    else:
        compared = "cannot be told from"
    return f"The growing part “{line.family}” {compared} {stand_in} (AUC excess of R_keep {size})."


def _additive(line) -> str:
    size = estimate(line.spearman, line.lo, line.hi)
    whole = not pd.isna(line.completeness)
    sums = f"; the shares sum to {number(line.completeness)} of the full effect" if whole else ""
    if line.lo > 0:
        return f"Additive shares rank the parts as dropping them does: Spearman {size}{sums}."
    return f"That additive shares rank the parts as dropping them does cannot be shown: Spearman {size}{sums}."


def strongest(parts: pd.DataFrame, mask: pd.Series, name: str, sign: bool = True) -> str:
    """How many of ``parts`` are in ``mask``, and the largest of them with their intervals (``name``, ``lo``, ``hi`` of
    the column ``value``, else with its name in front)."""
    lines = parts[mask]
    lo, hi = ("lo", "hi") if name == "value" else (f"{name}_lo", f"{name}_hi")
    order = lines[name].abs().sort_values(ascending=False, kind="stable").index
    named = [f"{row['component']} {estimate(row[name], row[lo], row[hi], sign=sign)}"
             for _, row in lines.loc[order[:STRONGEST]].iterrows()]  # fmt: skip
    more = len(lines) - len(named)
    return f"{len(lines)} of {len(parts)}, {', '.join(named)}" + (f" and {more} more" if more else "")


def _dispensable(parts: pd.DataFrame) -> list[str]:
    """Which parts can be shown to matter little: equivalence is shown by its own test, never by a large p."""
    groups = {
        "redundant_q": "Dropped, shown to cost no more than the margin Δ of the effect",
        "nothing_q": "Kept alone, shown to retain less than the margin Δ",
    }
    return [
        f"{what} (q < {LEVEL}): {_names(parts, parts[q] < LEVEL)}."
        for q, what in groups.items()
        if (parts[q] < LEVEL).any()
    ]


def _names(parts: pd.DataFrame, mask: pd.Series) -> str:
    names = list(parts.loc[mask, "component"])
    more = len(names) - NAMED
    return f"{len(names)} of {len(parts)}, {', '.join(names[:NAMED])}" + (f" and {more} more" if more > 0 else "")
