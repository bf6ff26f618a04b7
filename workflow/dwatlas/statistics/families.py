"""Nested families of components: one part that grows, such as ``top-1``, ``top-2``, ``top-4``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

DOUBLINGS = 3
ROUNDING = 1e-6


def nested_families(energies: Mapping[str, float]) -> dict[str, list[str]]:
    """Stem → its components in growing order, from the components' shares of ‖dW‖².

    Members have a number at the end of their names and energies that rise with it. That they are nested and no
    partition, such as layers, shows in energies that add up to more than all of dW, or in numbers that at least double
    each time, three members or more.
    """
    families: dict[str, dict[int, str]] = {}
    for name in energies:
        if match := re.fullmatch(r"(.+)-(\d+)", name):
            families.setdefault(match[1], {})[int(match[2])] = name
    ordered = {family: dict(sorted(members.items())) for family, members in sorted(families.items())}
    return {family: list(members.values()) for family, members in ordered.items() if _grows(members, energies)}


def _grows(members: Mapping[int, str], energies: Mapping[str, float]) -> bool:
    sizes = [energies[name] for name in members.values()]
    doubles = len(members) >= DOUBLINGS and all(0 < 2 * low <= high for low, high in pairwise(members))
    rises = len(members) > 1 and all(low <= high for low, high in pairwise(sizes))
    return rises and (doubles or sum(sizes) > 1 + ROUNDING)
