"""Item scores and the effects of weight edits on them, in nats.

The score of an item is h = mean over its rows of ℓ·LR (½Σ ℓ·LR for a pair, where a constant Yes-bias cancels).
The effect of an edit is ``antisymmetric``, E = ½[h(+1) − h(−1)], or ``one_sided``, E = h(+1) − h(0); ``even``,
Q = ½[h(+1) + h(−1)] − h(0), is what both signs do alike: drift, saturation, damage. One-sided is their sum.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from dwatlas.statistics.arrays import FULL, LINE, SIZES, ZERO, Part, ScoreArray

SHOWN_EFFECT = "antisymmetric"
"""The kind that figures and most tables show; the others are in the result tables."""
_STAND_IN = ["lens", "component", "stands_for", "control"]


@dataclass(frozen=True)
class Effects:
    """Effects of the weight edits of one (model, behaviour, adapter, eval).

    ``lines`` has one line per edit and seed (LINE, seed and the part's sizes), sorted; each array of ``values`` is
    lines × items, in nats, one for each kind of effect.

    ``trainings`` seeds in a row share one draw of the training data, and are no independent samples of what the study
    varies: a *unit*, which intervals and tests are made from, is one draw of the data (``in_units``).
    """

    lines: pd.DataFrame
    values: dict[str, Float[np.ndarray, "lines items"]]
    trainings: int = 1

    @cached_property
    def parts(self) -> dict[Part, Int[np.ndarray, " seeds"]]:
        """Lines of each part, seeds ascending: all seeds that the part was scored for."""
        trained = self.lines[self.lines["control"] == ""]
        return {Part(*key): lines.to_numpy() for key, lines in trained.groupby([*Part._fields]).groups.items()}

    @cached_property
    def families(self) -> list[Family]:
        """Parts of one lens and mode that have the same seeds, each such set once."""
        found: dict[tuple, dict[Part, np.ndarray]] = {}
        for part, lines in self.parts.items():
            found.setdefault((part.lens, part.mode, tuple(self.seeds[lines])), {})[part] = lines
        return [
            Family(lens, mode, [part.component for part in members], np.stack(list(members.values())))
            for (lens, mode, _), members in found.items()
        ]

    @cached_property
    def seeds(self) -> Int[np.ndarray, " lines"]:
        """The seed of each line."""
        return self.lines["seed"].to_numpy()

    @cached_property
    def stand_ins(self) -> dict[tuple[Part, str], Int[np.ndarray, " draws"]]:
        """Lines of each part's random stand-ins, every draw of every seed, for each kind of control."""
        random = self.lines[self.lines["control"] != ""]
        found = {}
        for (lens, component, mode, control), lines in random.groupby(_STAND_IN).groups.items():
            part = FULL if lens == FULL.lens else Part(lens, component, mode)
            found[part, control] = lines.to_numpy()
        return found

    def in_units(self) -> Effects:
        """The same by units: trainings of the same draw of the data averaged, ``seed`` is the draw.

        ``lines`` has a column ``trainings`` then: how many were averaged. A part that lacks a training of a draw lacks
        the draw, so that every part is compared with the full dW of the same trainings.
        """
        if self.trainings == 1:
            return self
        units = self.lines.assign(seed=self.lines["seed"] // self.trainings).groupby([*LINE, "seed"])
        places, counts = units.ngroup().to_numpy(), units.size().to_numpy()
        values = {}
        for kind, nats in self.values.items():
            sums = np.zeros((len(counts), nats.shape[1]))
            np.add.at(sums, places, nats)
            values[kind] = sums / counts[:, None]
        lines = units[[name for name in SIZES if name in self.lines]].mean().reset_index().assign(trainings=counts)
        full = lines[lines["mode"] == FULL.mode].set_index("seed")["trainings"]
        whole = (lines["trainings"] == lines["seed"].map(full)).to_numpy()
        return Effects(lines[whole].reset_index(drop=True), {kind: nats[whole] for kind, nats in values.items()})

    def n_trainings(self, lines: Int[np.ndarray, " units"]) -> int:
        """How many trainings ``lines`` stand for."""
        return int(self.lines["trainings"].to_numpy()[lines].sum()) if "trainings" in self.lines else len(lines)

    def same_seeds(self, part: Part, lines: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """For each of ``lines``, the line of ``part`` that has the same seed."""
        own = self.parts[part]
        return own[np.searchsorted(self.seeds[own], self.seeds[lines])]

    def at_energies_of_parts(self, controls: Collection[str]) -> Effects:
        """The same with the stand-ins of these kinds brought to the energy of what they stand for.

        They are drawn for components of *about* the same energy, and a random part's effect is on average in proportion
        to its energy e. So N° becomes N°·e_c/e, and for what is dropped the loss D − N° becomes (D − N°)·e_c/e: without
        it, a component that has its share of the effect and no more would differ from its null by e_c − e.
        """
        adjusted = {kind: values.copy() for kind, values in self.values.items()}
        energy = self.lines["energy_frac"].to_numpy()
        brought = energy.copy()
        for (part, control), draws in self.stand_ins.items():
            if control not in controls or part == FULL:
                continue
            brought[draws] = energy[self.same_seeds(part, draws)]
            factor = (brought[draws] / energy[draws])[:, None]
            for values in adjusted.values():
                full = values[self.same_seeds(FULL, draws)] if part.mode == "drop" else 0.0
                values[draws] = full + (values[draws] - full) * factor
        return replace(self, lines=self.lines.assign(energy_frac=brought), values=adjusted)

    def over_draws(
        self, kind: str, draws: Int[np.ndarray, " draws"]
    ) -> tuple[Int[np.ndarray, " seeds"], Float[np.ndarray, "seeds items"]]:
        """Effects in nats averaged over the draws of each seed, and a line of each seed, seeds ascending.

        A mean of K draws differs from the stand-in's expectation by a Monte-Carlo error, independent between seeds. It
        is part of the spread over seeds that intervals and tests are made from: fewer draws widen them.
        """
        draws = draws[np.argsort(self.seeds[draws], kind="stable")]
        _, starts, counts = np.unique(self.seeds[draws], return_index=True, return_counts=True)
        return draws[starts], np.add.reduceat(self.values[kind][draws], starts, axis=0) / counts[:, None]


class Family(NamedTuple):
    """Components of one lens and mode; ``lines`` [parts × seeds] has the same seeds in every row, ascending."""

    lens: str
    mode: str
    components: list[str]
    lines: Int[np.ndarray, "parts seeds"]


def by_unit(frame: pd.DataFrame, values: Collection[str], trainings: int) -> pd.DataFrame:
    """A frame by seed as one by draws of the data: ``seed`` is the draw, ``values`` are means of its trainings."""
    if trainings == 1:
        return frame
    keys = [name for name in frame if name not in values]
    units = frame.assign(seed=frame["seed"] // trainings).groupby(keys, as_index=False)
    return units.mean(skipna=False).astype(frame.dtypes)[list(frame)]


def item_scores(array: ScoreArray) -> Float[np.ndarray, "cells items"]:
    """h of every cell and item, in nats. ``UserError`` where one is not finite."""
    _, starts, counts = np.unique(array.items, return_index=True, return_counts=True)
    h = np.add.reduceat(array.values["label"] * array.values["lr"], starts, axis=1) / counts
    for cell, item in np.argwhere(~np.isfinite(h))[:1]:
        raise array.fault(array.cells.iloc[cell], f"the score of item {array.items[starts[item]]} is not finite")
    return h


def measure_effects(array: ScoreArray, trainings: int = 1) -> Effects:
    """Every kind of effect for every edit, paired by seed and item.

    Raises ``UserError`` where an edit was scored at one pole (α = −1 or +1) only.
    """
    h = item_scores(array)
    cells = array.cells.assign(place=np.arange(len(array.cells)))
    zero = cells["mode"] == ZERO.mode
    plus, minus = cells[zero | (cells["alpha"] == 1)], cells[zero | (cells["alpha"] == -1)]
    edit = [*LINE, "seed"]
    lines = plus.merge(minus[[*edit, "place"]], how="outer", on=edit, suffixes=("", "_minus"), indicator="poles")
    for _, line in lines[lines["poles"] != "both"].iloc[:1].iterrows():
        lacks = -1.0 if line["poles"] == "left_only" else 1.0
        raise array.fault({**line, "alpha": lacks}, "is missing, though its other pole was scored")
    up, down, base = h[lines["place"]], h[lines["place_minus"]], h[array.base(lines["seed"])]
    values = {"antisymmetric": (up - down) / 2, "one_sided": up - base, "even": (up + down) / 2 - base}
    return Effects(lines, values, trainings)
