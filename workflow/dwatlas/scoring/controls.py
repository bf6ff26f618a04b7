"""Stand-ins for components, each distinct draw once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from dwatlas.controls.base import Control, Target
from dwatlas.delta.algebra import Delta, total_energy
from dwatlas.lenses.base import Given, Lens
from dwatlas.scoring.cells import Cell, Whole
from dwatlas.scoring.steer import Edit
from dwatlas.seeds import rng

ODDS_RATIO = 1.25
"""Shares e of ‖dW‖² whose odds e/(1 − e) lie in one bin of this ratio count as about the same: then both what is kept
and what is dropped have about the same energy. A bin's draws have the share of its centre."""


@dataclass(frozen=True)
class ControlGroup:
    """Components that share the draws of one control: ``members``, and the ``name`` of their random streams.

    The ``target`` is the first member, with the energy that the draws must have.
    """

    control: Control
    name: str
    members: tuple[str, ...]
    target: Target

    def cells(self, whole: Whole, cell: dict, alphas: Iterable[float], draws: int) -> Iterator[Cell]:
        """Stand-ins to score, kept and (where that has a meaning) dropped, under the group's own name."""
        names = cell | {"mode": "control", "control": self.control.kind, "component": self.name}
        for draw in range(draws if self.control.random else 1):
            stream = rng("control", self.control.kind, *cell.values(), self.name, draw)
            stand_in = self.control.draw(self.target, stream)
            sizes = whole.sizes(stand_in.keep)
            for side, part in (("keep", stand_in.keep), ("drop", stand_in.drop)):
                if part is not None:
                    marks = names | {"draw": draw, "stands_for": side}
                    yield from (Cell(marks, Edit(part, alpha), sizes) for alpha in alphas if alpha)


def control_groups(
    given: Given, parts: Mapping[str, Delta], controls: Iterable[Control], lens: Lens | None = None
) -> list[ControlGroup]:
    """The groups that stand for all of ``parts`` (component → part of dW): components that may share draws do."""
    return [
        ControlGroup(control, name, tuple(members), Target(given, parts[members[0]], energy, members[0], lens))
        for control in controls
        for members, energy, name in _groups(control, parts, total_energy(given.delta), lens)
    ]


def _groups(
    control: Control, parts: Mapping[str, Delta], whole: float, lens: Lens | None
) -> Iterator[tuple[list[str], float, str]]:
    """Components that share draws, the draws' energy and the name of their random streams."""
    energies = {component: total_energy(part) for component, part in parts.items()}
    bins: dict[float | str, list[str]] = {}
    for component, energy in energies.items():
        if control.shared_by == "nothing":
            bins[component] = [component]
        elif control.shared_by == "crop":
            bins.setdefault(lens.crop(component), []).append(component)
        elif energy > 0:
            bins.setdefault(_level(energy / whole), []).append(component)
    for key, members in bins.items():
        if control.shared_by == "energy":
            yield members, whole / (1 + ODDS_RATIO**-key), f"energy {key}"
        else:
            yield members, energies[members[0]], str(key)


def _level(share: float) -> float:
    """The centre of a share's bin, as the logarithm of its odds to the base ``ODDS_RATIO``; ∞ for the whole dW."""
    rest = 1 - share
    return math.floor(math.log(share / rest, ODDS_RATIO)) + 0.5 if rest > 1e-6 else math.inf
