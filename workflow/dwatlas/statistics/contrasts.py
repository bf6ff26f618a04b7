r"""What parts do beyond their nulls: linear contrasts of effects, in nats and over the full effect.

Per seed s and item i, with N the effect of what is left of dW, N° that of a stand-in (the mean over the seed's draws)
and D that of the full dW, every contrast is a number L_si that does not divide:

    keep_excess    L = N_keep − N°_keep          what a part carries alone beyond what its stand-in carries
    drop_excess    L = N°_drop − N_drop          what is lost without it beyond what is lost without its stand-in
    interaction    L = N_keep + N_drop − D       0 where parts add up; above 0 redundancy, below 0 synergy
    share          L = additive share of the part (``scoring.attribution``), known per seed only
    auc_keep       A = ∫₀¹ (N_keep(e) − N°_keep(e)) de     over a nested family, such as top-1, top-2, …
    auc_drop       A = ∫₀¹ (N°_drop(e) − N_drop(e)) de

The areas are trapezoids over the family's own energies e of that seed and the ends e = 0 and e = 1, where nothing and
all of dW are kept and both curves agree; the null's nats stand at its component's energy. Their ratio is the AUC excess
∫(R_keep − R_rand) de. ``ratio`` is L̄/D̄ with Fieller's interval, null where D̄ is not identified; p tests L̄ = 0, for
excesses and areas against L̄ > 0 in the direction of D̄. The Monte-Carlo error of a mean over few draws is part of the
spread over seeds (``Effects.over_draws``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from dwatlas.delta.table import WHOLE
from dwatlas.statistics.arrays import FULL, Part
from dwatlas.statistics.effects import PRIMARY_EFFECT, Effects
from dwatlas.statistics.families import nested_families
from dwatlas.statistics.intervals import ESTIMANDS, Array, fieller
from dwatlas.statistics.testing import one_sided_p, p_value

ONE_SIDED = ("keep_excess", "drop_excess", "auc_keep", "auc_drop")
CONTRASTS = (*ONE_SIDED, "interaction", "share")


class Contrast(NamedTuple):
    """A contrast ``L`` (seeds × items, or seeds × 1) of one component; ``lines`` are lines of the same seeds."""

    lens: str
    component: str
    contrast: str
    lines: Int[np.ndarray, " seeds"]
    L: Array
    control: str = ""
    structural: bool = False


def contrast_records(
    effects: Effects, kind: str, nulls: Mapping[str, str], shares: pd.DataFrame | None = None
) -> Iterator[dict]:
    """One record per contrast and estimand; columns of ``CONTRASTS_SCHEMA``.

    ``nulls`` is lens → kind of its structural control; ``shares`` are additive shares (``SHARES_SCHEMA``) of the same
    model, behaviour, adapter and eval.
    """
    excesses = list(_excesses(effects, kind, nulls))
    yield from (_record(effects, kind, one, estimand) for one in excesses for estimand in ESTIMANDS)
    for found in (_areas(effects, excesses), _interactions(effects, kind)):
        yield from (_record(effects, kind, one, estimand) for one in found for estimand in ESTIMANDS)
    if kind == PRIMARY_EFFECT and shares is not None:
        yield from (_record(effects, kind, one, "fixed_rows") for one in _shares(effects, shares))


def _excesses(effects: Effects, kind: str, nulls: Mapping[str, str]) -> Iterator[Contrast]:
    for (part, control), draws in effects.stand_ins.items():
        if part == FULL:
            continue
        lines, null = effects.over_draws(kind, draws)
        N = effects.values[kind][effects.same_seeds(part, lines)]
        L = null - N if part.mode == "drop" else N - null
        structural = nulls.get(part.lens) == control
        yield Contrast(part.lens, part.component, f"{part.mode}_excess", lines, L, control, structural)


def _areas(effects: Effects, excesses: list[Contrast]) -> Iterator[Contrast]:
    """Areas of the families whose members all have their structural null, in the same seeds."""
    found = {(one.lens, one.component, one.contrast): one for one in excesses if one.structural}
    for lens in dict.fromkeys(one.lens for one in found.values()):
        for (family, names), side in product(nested_families(_energies(effects, lens)).items(), ("keep", "drop")):
            members = [found.get((lens, name, f"{side}_excess")) for name in names]
            if None not in members and len({tuple(effects.seeds[one.lines]) for one in members}) == 1:
                yield _area(effects, family, f"auc_{side}", members)


def _area(effects: Effects, family: str, contrast: str, members: list[Contrast]) -> Contrast:
    lens, _, _, lines, _, control, _ = members[0]
    kept = [Part(lens, one.component, "keep") for one in members]
    energy = effects.lines["energy_frac"].to_numpy()
    e = np.stack([energy[effects.same_seeds(part, lines)] for part in kept])
    area = np.einsum("ks,ksi->si", widths(e), np.stack([one.L for one in members]))
    return Contrast(lens, family, contrast, lines, area, control, True)


def _energies(effects: Effects, lens: str) -> dict[str, float]:
    energy = effects.lines["energy_frac"].to_numpy()
    kept = {part: lines for part, lines in effects.parts.items() if (part.lens, part.mode) == (lens, "keep")}
    return {part.component: float(energy[lines].mean()) for part, lines in kept.items()}


def widths(e: Float[np.ndarray, "parts seeds"]) -> Float[np.ndarray, "parts seeds"]:
    """Weights of the trapezoid rule from 0 to 1 at the points ``e`` of each seed, for a function that ends at 0."""
    order = np.argsort(e, axis=0, kind="stable")
    ends = np.ones((1, e.shape[1]))
    sorted_e = np.concatenate([0 * ends, np.take_along_axis(e, order, axis=0), ends])
    found = np.empty_like(e)
    np.put_along_axis(found, order, (sorted_e[2:] - sorted_e[:-2]) / 2, axis=0)
    return found


def _interactions(effects: Effects, kind: str) -> Iterator[Contrast]:
    values = effects.values[kind]
    for part, lines in effects.parts.items():
        rest = part._replace(mode="drop")
        if part.mode == "keep" and rest in effects.parts:
            full, drop = (effects.same_seeds(other, lines) for other in (FULL, rest))
            L = values[lines] + values[drop] - values[full]
            yield Contrast(part.lens, part.component, "interaction", lines, L)


def _shares(effects: Effects, shares: pd.DataFrame) -> Iterator[Contrast]:
    full = effects.parts[FULL]
    line_of = dict(zip(effects.seeds[full], full, strict=True))
    parts = shares[(shares["component"] != WHOLE) & shares["seed"].isin(line_of)]
    for (lens, component), own in parts.sort_values("seed").groupby(["lens", "component"]):
        lines = np.array([line_of[seed] for seed in own["seed"]])
        yield Contrast(lens, component, "share", lines, own["share_nats"].to_numpy()[:, None])


def _record(effects: Effects, kind: str, one: Contrast, estimand: str) -> dict:
    covariance = ESTIMANDS[estimand]
    D = effects.values[kind][effects.same_seeds(FULL, one.lines)]
    ratio, lo, hi, g, verdict = fieller(one.L, D if one.L.shape == D.shape else D.mean(axis=1)[:, None], covariance)
    sided = one.contrast in ONE_SIDED
    p = one_sided_p(np.sign(D.mean()) * one.L, covariance) if sided else p_value(one.L, covariance)
    return {
        "lens": one.lens,
        "component": one.component,
        "contrast": one.contrast,
        "control": one.control,
        "structural": one.structural,
        "effect": kind,
        "estimand": estimand,
        "n_seeds": D.shape[0],
        "n_items": D.shape[1],
        "nats": one.L.mean(),
        "ratio": ratio,
        "lo": lo,
        "hi": hi,
        "g": g,
        "verdict": verdict,
        "p": p,
        "q": np.nan,
    }
