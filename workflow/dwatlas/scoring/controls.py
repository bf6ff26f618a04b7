"""Score random stand-ins for components, each distinct draw once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

from dwatlas.controls.base import Control, StandIn
from dwatlas.delta.algebra import Delta, total_energy
from dwatlas.scoring.cells import Bench, Cell, Scored, Sizes
from dwatlas.scoring.steer import Edit
from dwatlas.seeds import rng

ODDS_RATIO = 1.25
"""Shares e of ‖dW‖² whose odds e/(1 − e) lie in one bin of this ratio count as about the same: then both what is kept
and what is dropped have about the same energy. A bin's draws have the share of its centre."""


def score_controls(
    bench: Bench,
    delta: Delta,
    parts: Mapping[str, Delta],
    controls: Iterable[Control],
    *,
    cell: dict,
    alphas: Iterable[float],
    draws: int,
    say: Callable[[str], None],
) -> Iterator[Scored]:
    """Scores of ``draws`` stand-ins of each kind for every component in ``parts``, kept and (where it is a part of
    dW) dropped. Controls that depend on the energy alone are drawn once for all components of about the same energy.
    """
    for control in controls:
        groups = list(_groups(control, parts, total_energy(delta)))
        for number, (members, energy, name) in enumerate(groups, start=1):
            names = cell | {"mode": "control", "control": control.kind, "component": members[0]}
            streams = (rng("control", control.kind, *cell.values(), name, draw) for draw in range(draws))
            stand_ins = (control.draw(delta, parts[members[0]], energy, stream) for stream in streams)
            for scored in bench.score(_cells(delta, stand_ins, names, alphas)):
                yield from (scored.standing_for(member) for member in members)
            say(f"controls {control.kind} {number}/{len(groups)}")


def _groups(control: Control, parts: Mapping[str, Delta], whole: float) -> Iterator[tuple[list[str], float, str]]:
    """Components that share draws, the draws' energy and the name of their random stream."""
    energies = {component: total_energy(part) for component, part in parts.items()}
    if not control.needs_energy_only:
        yield from (([component], energy, component) for component, energy in energies.items())
        return
    bins: dict[float, list[str]] = {}
    for component, energy in energies.items():
        if energy > 0:
            bins.setdefault(_level(energy / whole), []).append(component)
    for level, members in bins.items():
        yield members, whole / (1 + ODDS_RATIO**-level), f"energy {level}"


def _level(share: float) -> float:
    """The centre of a share's bin, as the logarithm of its odds to the base ``ODDS_RATIO``; ∞ for the whole dW."""
    rest = 1 - share
    return math.floor(math.log(share / rest, ODDS_RATIO)) + 0.5 if rest > 1e-6 else math.inf


def _cells(delta: Delta, stand_ins: Iterable[StandIn], names: dict, alphas: Iterable[float]) -> Iterator[Cell]:
    for draw, stand_in in enumerate(stand_ins):
        sizes = Sizes.of(stand_in.keep, delta)
        for side, part in (("keep", stand_in.keep), ("drop", stand_in.drop)):
            if part is not None:
                marks = names | {"draw": draw, "stands_for": side}
                yield from (Cell(marks, Edit(part, alpha), sizes) for alpha in alphas if alpha)
