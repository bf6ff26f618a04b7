"""Nested families of components: one part that grows, such as ``top-1``, ``top-2``, ``top-4``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from dwatlas.tables.order import natural, stem

DOUBLINGS = 3


def nested_families(energies: Mapping[str, float]) -> dict[str, list[str]]:
    """Stem → its components in growing order, from the components' shares of ‖dW‖².

    Members have a number in their names and energies that rise with it. That they are nested and no partition, such as
    layers, shows in energies that add up to more than all of dW, or in numbers that at least double each time, three
    members or more.
    """
    families: dict[str, list[str]] = {}
    for name in natural(energies):
        if re.search(r"-\d+$", name):
            families.setdefault(stem(name), []).append(name)
    return {family: names for family, names in families.items() if len(names) > 1 and _grows(names, energies)}


def _grows(names: list[str], energies: Mapping[str, float]) -> bool:
    numbers = [int(name.rpartition("-")[2]) for name in names]
    doubles = len(names) >= DOUBLINGS and all(0 < 2 * low <= high for low, high in pairwise(numbers))
    rises = all(energies[low] <= energies[high] for low, high in pairwise(names))
    return rises and (doubles or sum(energies[name] for name in names) > 1)
