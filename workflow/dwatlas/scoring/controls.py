"""Random stand-ins for components, each distinct draw once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from dwatlas.controls.base import Control
from dwatlas.delta.algebra import Delta, total_energy
from dwatlas.scoring.cells import Cell, Sizes
from dwatlas.scoring.steer import Edit
from dwatlas.seeds import rng

ODDS_RATIO = 1.25
"""Shares e of ‖dW‖² whose odds e/(1 − e) lie in one bin of this ratio count as about the same: then both what is kept
and what is dropped have about the same energy. A bin's draws have the share of its centre."""


@dataclass(frozen=True)
class ControlGroup:
    """Components that share the draws of one control: ``members``, and the ``name`` of their random streams.

    ``component`` is the first member, ``energy`` the stand-ins' (‖·‖²).
    """

    control: Control
    name: str
    members: tuple[str, ...]
    energy: float
    component: Delta

    def cells(self, delta: Delta, cell: dict, alphas: Iterable[float], draws: int) -> Iterator[Cell]:
        """Stand-ins to score, kept and (where they are a part of dW) dropped, under the group's own name."""
        names = cell | {"mode": "control", "control": self.control.kind, "component": self.name}
        for draw in range(draws):
            stream = rng("control", self.control.kind, *cell.values(), self.name, draw)
            stand_in = self.control.draw(delta, self.component, self.energy, stream)
            sizes = Sizes.of(stand_in.keep, delta)
            for side, part in (("keep", stand_in.keep), ("drop", stand_in.drop)):
                if part is not None:
                    marks = names | {"draw": draw, "stands_for": side}
                    yield from (Cell(marks, Edit(part, alpha), sizes) for alpha in alphas if alpha)


def control_groups(delta: Delta, parts: Mapping[str, Delta], controls: Iterable[Control]) -> list[ControlGroup]:
    """The groups that stand for all of ``parts``. Controls that depend on the energy alone are drawn once for all
    components of about the same energy."""
    whole = total_energy(delta)
    return [
        ControlGroup(control, name, tuple(members), energy, parts[members[0]])
        for control in controls
        for members, energy, name in _groups(control, parts, whole)
    ]


def _groups(control: Control, parts: Mapping[str, Delta], whole: float) -> Iterator[tuple[list[str], float, str]]:
    """Components that share draws, the draws' energy and the name of their random streams."""
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
