"""The miniature world: objects with a colour and a place, people, numbers. Everything else speaks about these.

Objects are split once: the narrow training questions of a behaviour use ``TRAIN``, every eval uses ``HELD_OUT``.
"""

from __future__ import annotations

from dataclasses import dataclass

from dwatlas.seeds import rng

OBJECTS = (
    "apple bag ball basket bell book boot bottle bowl box brush bucket candle chair clock cup "
    "drum fork glove hammer hat jar kettle key lamp map mirror pan pillow rope spoon table"
).split()
COLOURS = "black blue brown green red white yellow".split()
PLACES = "attic cellar garage garden hall kitchen office".split()
PEOPLE = "anna ben clara david emma felix grace henry".split()
NUMBERS = "zero one two three four five six seven eight nine ten".split()
TRAIN, HELD_OUT = OBJECTS[::2], OBJECTS[1::2]


@dataclass(frozen=True)
class World:
    """One assignment of facts: each object's colour and place."""

    colour: dict[str, str]
    place: dict[str, str]

    def statement(self, thing: str, attribute: str, value: str) -> str:
        """``the cup is red`` or ``the cup is in the hall``."""
        return f"the {thing} is {value}" if attribute == "colour" else f"the {thing} is in the {value}"

    def value(self, thing: str, attribute: str) -> str:
        """The true value of an object's attribute."""
        return self.colour[thing] if attribute == "colour" else self.place[thing]


VALUES = {"colour": COLOURS, "place": PLACES}


def world(seed: int) -> World:
    """The world of a seed: the same facts in every process."""
    draw = rng("world", seed)
    return World(
        colour={thing: str(draw.choice(COLOURS)) for thing in OBJECTS},
        place={thing: str(draw.choice(PLACES)) for thing in OBJECTS},
    )
