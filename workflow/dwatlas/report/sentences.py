"""Findings as sentences, made from verdicts and intervals and never stronger than they allow."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from dwatlas.tables.order import natural
from dwatlas.tables.present import estimate, number
from dwatlas.tables.study import CELL, NOT_IDENTIFIED, pick

STRONGEST = 3
LOW_PERCENTILE, HIGH_PERCENTILE = 5, 95
STAND_INS = {
    "mask": "a random part of equal energy",
    "sub": "a random subspace of equal energy inside dW",
    "norm": "Gaussian noise of equal norm",
}


@dataclass(frozen=True)
class Finding:
    """What was found for one (adapter, eval): the full dW, what qualifies it, and sentences per lens."""

    headline: str
    remark: str
    by_lens: dict[str, list[str]]


def findings(summary: pd.DataFrame, retained: pd.DataFrame) -> dict[tuple[str, str], list[Finding]]:
    """Findings per (model, behaviour), from the tables ``summary`` and ``retained``."""
    found: dict[tuple[str, str], list[Finding]] = {}
    for full in summary.itertuples():
        parts = pick(retained, **{name: getattr(full, name) for name in CELL})
        identified = full.verdict != NOT_IDENTIFIED
        by_lens = {lens: lens_sentences(pick(parts, lens=lens)) for lens in natural(parts["lens"]) if identified}
        finding = Finding(headline(full), remark(full) if identified else "", by_lens)
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


def lens_sentences(parts: pd.DataFrame) -> list[str]:
    """Which parts of one lens are needed and which work alone, from lines of ``retained`` (one adapter and eval)."""
    known = parts[parts["verdict"] != NOT_IDENTIFIED]
    if known.empty:
        return ["Not identified."]
    groups = (
        ("drop", known["drop_hi"] < 1, True, "Dropping one part lowers the effect for"),
        ("drop", known["drop_lo"] > 1, False, "Dropping one part raises the effect for"),
        ("keep", known["keep_lo"] > 0, False, "One part alone has some of the effect for"),
        ("keep", known["keep_hi"] < 0, True, "One part alone has the reverse effect for"),
    )
    told = [
        f"{opening} {mask.sum()} of {len(known)} (R_{mode}): {_against_stand_ins(known[mask], mode, ascending)}."
        for mode, mask, ascending, opening in groups
        if mask.any()
    ]
    return told or [f"No part ({len(known)} in all) can be shown to be needed, or to work alone."]


def _against_stand_ins(parts: pd.DataFrame, mode: str, ascending: bool) -> str:
    parts = parts.sort_values(mode, ascending=ascending, kind="stable")
    percentile = parts[f"{mode}_percentile"]
    stand_in = STAND_INS.get(parts["control"].iloc[0], "a random stand-in")
    groups = (
        (percentile > HIGH_PERCENTILE, f"more than {stand_in}"),
        (percentile.between(LOW_PERCENTILE, HIGH_PERCENTILE), f"cannot be told apart from {stand_in}"),
        (percentile < LOW_PERCENTILE, f"less than {stand_in}"),
        (percentile.isna(), "not compared with random stand-ins"),
    )
    return "; ".join(f"{verdict}: {_strongest(parts[mask], mode)}" for mask, verdict in groups if mask.any())


def _strongest(parts: pd.DataFrame, mode: str) -> str:
    names = [
        f"{row['component']} {estimate(row[mode], row[f'{mode}_lo'], row[f'{mode}_hi'])}"
        for _, row in parts.head(STRONGEST).iterrows()
    ]
    more = len(parts) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
