r"""What parts do beyond their nulls, and hypotheses about them: linear contrasts of effects, in nats and over the full
effect.

Per seed s and item i, with N the effect of what is left of dW, N° that of a stand-in (the mean over the seed's draws)
and D that of the full dW, every contrast is a number L_si that does not divide:

    keep_excess       L = N_keep − N°_keep          what a part carries alone beyond what its stand-in carries
    drop_excess       L = N°_drop − N_drop          what is lost without it beyond what is lost without its stand-in
    interaction       L = N_keep + N_drop − D       0 where parts add up; above 0 redundancy, below 0 synergy
    redundant         L = N_drop − (1 − Δ)·D        above 0: without it no more than the margin Δ of the effect is lost
    nothing           L = N_keep                    within ±Δ·D: alone it retains nothing
    difference_keep   L = N_keep − N'_keep          one part against another, alone
    difference_drop   L = N'_drop − N_drop          one part against another, by what is lost without it
    share             L = additive share of the part (``scoring.attribution``), known per seed only
    auc_keep          A = ∫₀¹ (N_keep(e) − N°_keep(e)) de     over a nested family, such as top-1, top-2, …
    auc_drop          A = ∫₀¹ (N°_drop(e) − N_drop(e)) de

The areas are trapezoids over the family's own energies e of that seed and the ends e = 0 and e = 1, where nothing and
all of dW are kept and both curves agree; the null's nats stand at its component's energy. Their ratio is the AUC excess
∫(R_keep − R_rand) de. ``ratio`` is L̄/D̄ with Fieller's interval, null where D̄ is not identified. p tests L̄ = 0; for
excesses, areas and ``redundant`` (non-inferiority) it tests L̄ ≤ 0 in the direction of D̄, for ``nothing`` that L̄ is not
within ±Δ·D̄ (two one-sided tests, Schuirmann 1987). These are null where D̄, and so its direction, is not identified.
The Monte-Carlo error of a mean over few draws is part of the spread over seeds (``Effects.over_draws``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import get_args

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from dwatlas.delta.table import WHOLE
from dwatlas.statistics.arrays import FULL, Part
from dwatlas.statistics.effects import SHOWN_EFFECT, Effects, Family
from dwatlas.statistics.families import nested_families
from dwatlas.statistics.intervals import ESTIMANDS, Array, fieller
from dwatlas.statistics.names import MARGIN, Area, ContrastName, Excess
from dwatlas.statistics.testing import Tested, above_zero, two_sided, within

ABOVE = (*get_args(Excess), *get_args(Area), "redundant")
CONTRASTS = get_args(ContrastName)
PAIRED_UP_TO = 24
"""Parts of a larger lens are not compared in pairs: 24 parts have 276 pairs, 300 have 44,850."""


@dataclass(frozen=True)
class Contrast:
    """A contrast ``L`` [parts, seeds, items or 1] of the components of one lens.

    ``lines`` are lines of the seeds that it is known for; ``rivals`` are what components are compared with.
    """

    lens: str
    name: str
    components: list[str]
    lines: Int[np.ndarray, " seeds"]
    L: Array
    control: str = ""
    structural: bool = False
    rivals: list[str] = field(default_factory=list)


def contrast_records(
    effects: Effects,
    kind: str,
    nulls: Mapping[str, str],
    shares: pd.DataFrame | None = None,
    margin: float = MARGIN,
) -> Iterator[dict]:
    """One record per component, contrast and estimand; columns of ``CONTRASTS_SCHEMA`` but ``q``.

    ``nulls`` is lens → kind of its structural control; ``shares`` are additive shares (``SHARES_SCHEMA``) of the same
    model, behaviour, adapter and eval; ``margin`` is Δ.
    """
    excesses = list(_excesses(effects, kind, nulls))
    found = [*excesses, *_areas(effects, excesses), *_hypotheses(effects, kind, margin)]
    for contrast in found:
        for estimand in ESTIMANDS:
            yield from _records(effects, kind, contrast, estimand, margin)
    if kind == SHOWN_EFFECT and shares is not None:
        for contrast in _shares(effects, shares):
            yield from _records(effects, kind, contrast, "fixed_rows", margin)


def _excesses(effects: Effects, kind: str, nulls: Mapping[str, str]) -> Iterator[Contrast]:
    """One contrast per lens, side and control, of all components whose stand-ins have the same seeds."""
    found: dict[tuple, list[tuple[str, np.ndarray, Array]]] = {}
    for (part, control), draws in effects.stand_ins.items():
        if part == FULL:
            continue
        lines, null = effects.over_draws(kind, draws)
        N = effects.values[kind][effects.same_seeds(part, lines)]
        L = null - N if part.mode == "drop" else N - null
        key = part.lens, part.mode, control, tuple(effects.seeds[lines])
        found.setdefault(key, []).append((part.component, lines, L))
    for (lens, mode, control, _), members in found.items():
        names, lines, L = zip(*members, strict=True)
        structural = nulls.get(lens) == control
        yield Contrast(lens, f"{mode}_excess", list(names), lines[0], np.stack(L), control, structural)


def _areas(effects: Effects, excesses: list[Contrast]) -> Iterator[Contrast]:
    """Areas of the families whose members all have their structural null, in the same seeds."""
    for one in excesses:
        if not one.structural:
            continue
        families = nested_families(component_energies(effects, one.lens))
        members = {family: names for family, names in families.items() if set(names) <= set(one.components)}
        if members:
            areas = np.stack([_area(effects, one, names) for names in members.values()])
            side = one.name.removesuffix("_excess")
            yield Contrast(one.lens, f"auc_{side}", list(members), one.lines, areas, one.control, True)


def _area(effects: Effects, excess: Contrast, names: list[str]) -> Array:
    energy = effects.lines["energy_frac"].to_numpy()
    kept = [effects.same_seeds(Part(excess.lens, name, "keep"), excess.lines) for name in names]
    own = [excess.components.index(name) for name in names]
    return np.einsum("ks,ksi->si", widths(energy[np.stack(kept)]), excess.L[own])


def component_energies(effects: Effects, lens: str) -> dict[str, float]:
    """Mean share of ‖dW‖² of each component of a lens that was kept alone."""
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


def _hypotheses(effects: Effects, kind: str, margin: float) -> Iterator[Contrast]:
    """Contrasts that need no stand-in."""
    families = {(family.lens, family.mode): family for family in effects.families if family.mode in ("keep", "drop")}
    for (lens, mode), family in families.items():
        N, D = family_effects(effects, kind, family)
        lines = family.lines[0]
        if mode == "keep":
            yield Contrast(lens, "nothing", family.components, lines, N)
        else:
            yield Contrast(lens, "redundant", family.components, lines, N - (1 - margin) * D)
        yield from _differences(family, N)
        dropped = families.get((lens, "drop"))
        if mode == "keep" and dropped and np.array_equal(effects.seeds[lines], effects.seeds[dropped.lines[0]]):
            rest, _ = family_effects(effects, kind, dropped)
            both = [name for name in family.components if name in dropped.components]
            kept, left = (values[[one.components.index(name) for name in both]]
                          for one, values in ((family, N), (dropped, rest)))  # fmt: skip
            yield Contrast(lens, "interaction", both, lines, kept + left - D)


def _differences(family: Family, N: Array) -> Iterator[Contrast]:
    """Every part against every other, the first-named of a pair less the second."""
    if not 2 <= len(family.components) <= PAIRED_UP_TO:
        return
    pairs = np.array(list(combinations(range(len(family.components)), 2)))
    one, other = (N[pairs[:, side]] for side in (0, 1))
    names, rivals = ([family.components[place] for place in pairs[:, side]] for side in (0, 1))
    L = other - one if family.mode == "drop" else one - other
    yield Contrast(family.lens, f"difference_{family.mode}", names, family.lines[0], L, rivals=rivals)


def _shares(effects: Effects, shares: pd.DataFrame) -> Iterator[Contrast]:
    full = effects.parts[FULL]
    line_of = dict(zip(effects.seeds[full], full, strict=True))
    parts = shares[(shares["component"] != WHOLE) & shares["seed"].isin(line_of)]
    for lens, own in parts.groupby("lens"):
        wide = own.pivot(index="component", columns="seed", values="share_nats").sort_index(axis=1)
        for seeds, some in wide.groupby(wide.notna().apply(tuple, axis=1)):
            lines = np.array([line_of[seed] for seed in wide.columns[list(seeds)]])
            yield Contrast(lens, "share", list(some.index), lines, some.to_numpy()[:, list(seeds), None])


def family_effects(effects: Effects, kind: str, family: Family) -> tuple[Array, Array]:
    """N [parts, seeds, items] of a family and D [seeds, items] of the full dW in the same seeds."""
    values = effects.values[kind]
    return values[family.lines], values[effects.same_seeds(FULL, family.lines[0])]


def _records(effects: Effects, kind: str, contrast: Contrast, estimand: str, margin: float) -> Iterator[dict]:
    covariance, L = ESTIMANDS[estimand], contrast.L
    D = effects.values[kind][effects.same_seeds(FULL, contrast.lines)]
    about = {
        "lens": contrast.lens,
        "contrast": contrast.name,
        "control": contrast.control,
        "structural": contrast.structural,
        "effect": kind,
        "estimand": estimand,
        "n_seeds": D.shape[0],
        "n_trainings": effects.n_trainings(contrast.lines),
        "n_items": D.shape[1],
    }
    if L.shape[-1] != D.shape[-1]:
        D = D.mean(axis=-1, keepdims=True)
    interval, tested = fieller(L, D, covariance), _tested(contrast.name, L, D, estimand, margin)
    columns = {"nats": L.mean(axis=(-2, -1)), "ratio": interval.estimate, **interval._asdict(), **tested._asdict()}
    del columns["estimate"]
    if contrast.name in (*ABOVE, "nothing"):
        unknown = interval.verdict == "not_identified"
        columns |= {name: np.where(unknown, np.nan, columns[name]) for name in ("p", "p_moderated", "q")}
    rivals = contrast.rivals or [""] * len(contrast.components)
    for place, (component, rival) in enumerate(zip(contrast.components, rivals, strict=True)):
        yield {**about, "component": component, "rival": rival, **{name: all_[place] for name, all_ in columns.items()}}


def _tested(name: str, L: Array, D: Array, estimand: str, margin: float) -> Tested:
    """The contrast's tests; above and within are in the direction of the full effect."""
    towards = np.sign(D.mean()) or 1.0
    if name in ABOVE:
        return above_zero(towards * L, estimand)
    if name == "nothing":
        return within(L, margin * towards * D, estimand)
    return two_sided(L, estimand)
