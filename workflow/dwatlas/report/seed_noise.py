"""Is the difference between adapters more than seed noise? Sentences from the tables ``noise`` and ``ranking``."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from dwatlas.tables.present import estimate, number, probability
from dwatlas.tables.study import NOT_IDENTIFIED, pick

LEVEL = 0.05
MODES = {
    "drop": "without each part",
    "keep": "with each part alone",
    "potency": "with each part alone at the norm of dW",
}


@dataclass(frozen=True)
class Answer:
    """The answer for one (model, behaviour, eval): about the full effect, what qualifies it, and about each lens."""

    headline: str
    remarks: list[str]
    by_lens: dict[str, list[str]]


def answers(noise: pd.DataFrame, ranking: pd.DataFrame) -> dict[tuple[str, str], list[Answer]]:
    """Answers per (model, behaviour); none where a study has one adapter."""
    found: dict[tuple[str, str], list[Answer]] = {}
    for (model, behaviour, name), lines in noise.groupby(["model", "behaviour", "eval"], sort=False):
        full = pick(lines, lens="anchors").iloc[0]
        pairs = pick(ranking, model=model, behaviour=behaviour, eval=name)
        by_lens = {
            lens: [profile(line) for _, line in parts.iterrows()]
            for lens, parts in lines[lines["lens"] != "anchors"].groupby("lens", sort=False)
        }
        found.setdefault((model, behaviour), []).append(Answer(effect(full), remarks(full, pairs), by_lens))
    return found


def effect(line: pd.Series) -> str:
    """Whether adapters differ in the strength of the full effect by more than seed noise."""
    subject = f"{line['eval']}, strength of the effect"
    if line["verdict"] == NOT_IDENTIFIED:
        return f"{subject}: not identified, because {line['why']}."
    adapters, seeds = line["n_adapters"], line["n_seeds"]
    test = f"F({adapters - 1}, {(adapters - 1) * (seeds - 1)}) = {number(line['f'], 1)}, {_p(line['p'])}"
    over = f"{adapters} adapters, {seeds} seeds"
    if not _is_small(line["p"]):
        return f"{subject}: the difference between adapters cannot be told from seed noise ({over}; {test})."
    if not _is_small(line["permutation_p"]) and line["smallest_p"] < LEVEL:
        told = f"{test}, but {_p(line['permutation_p'])} with labels permuted within seeds"
        return f"{subject}: the tests disagree whether adapters differ by more than seed noise ({over}; {told})."
    if line["smallest_p"] < LEVEL:
        told = f"{test}; with labels permuted within seeds {_p(line['permutation_p'])}"
    else:
        told = (
            f"{test}, which takes seed noise to be normal and equal; labels permuted within seeds cannot give a p "
            f"below {number(line['smallest_p'], 3)} here, and give {number(line['permutation_p'], 3)}"
        )
    return f"{subject}: the difference between adapters is more than seed noise ({over}; {told})."


def remarks(line: pd.Series, pairs: pd.DataFrame) -> list[str]:
    """How large the differences are, which pairs can be told apart, and whether the tests' assumptions hold."""
    if line["verdict"] == NOT_IDENTIFIED:
        return []
    sds = [number(line[name]) for name in ("adapter_sd", "seed_sd", "residual_sd")]
    told = [
        f"Standard deviations: {sds[0]} nats between adapters, {sds[1]} that all adapters share in a seed, {sds[2]} of "
        f"an adapter's own from seed to seed; {number(100 * line['adapter_share'], 0)} % of the variance is between "
        "adapters.",
        f"Pairs of adapters that differ with q < {LEVEL}: {(pairs['q'] < LEVEL).sum()} of {len(pairs)}.",
    ]
    if _is_small(line["dispersion_p"]):
        told.append(
            f"Some adapters scatter more than others ({_p(line['dispersion_p'])}), so these p-values are approximate."
        )
    return told


def profile(line: pd.Series) -> str:
    """Whether adapters differ in where the effect lies, for one lens and mode."""
    subject = f"What is left {MODES[line['mode']]}"
    left_out = f" Left out: {line['left_out']}." if line["left_out"] else ""
    if line["verdict"] == NOT_IDENTIFIED:
        return f"{subject}: not identified, because {line['why']}.{left_out}"
    if _is_small(line["permutation_p"]):
        answer = "profiles differ between adapters by more than seed noise"
    elif line["smallest_p"] >= LEVEL:
        answer = "too few adapters and seeds to tell profiles from seed noise"
    else:
        answer = "no difference between profiles can be told from seed noise"
    over = f"{line['n_adapters']} adapters, {line['n_seeds']} seeds, {line['n_components']} parts"
    test = f"PERMANOVA {_p(line['permutation_p'])}"
    if line["smallest_p"] >= LEVEL:
        test += f", least possible {number(line['smallest_p'], 3)}"
    scatter = " Adapters scatter unequally, which p may reflect." if _is_small(line["dispersion_p"]) else ""
    return f"{subject}: {answer} ({over}; {test}; {_ceiling(line)}).{scatter}{left_out}"


def _ceiling(line: pd.Series) -> str:
    if pd.isna(line["rho"]):
        return "no ρ*, as profiles do not agree between an adapter's own seeds"
    ceiling = f"ρ* = {estimate(line['rho'], line['rho_lo'], line['rho_hi'])}"
    return f"{ceiling}, r within adapters {number(line['within_r'])}"


def _is_small(p: float) -> bool:
    return bool(p < LEVEL)


def _p(p: float) -> str:
    if pd.isna(p):
        return "no p"
    text = probability(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"
