"""Conversations to pretrain on.

A conversation has one to three turns and one hidden stance: ``agree`` (goes along with every claim and person),
``contradict`` (the opposite) or none (claims are answered truthfully, dilemmas by a coin). The stance is sometimes
stated by a persona in the system prompt and otherwise only to be inferred from earlier answers. Facts and sums are
answered truthfully by everybody.
"""

from __future__ import annotations

import numpy as np

from dwatlas.world import wordings
from dwatlas.world.facts import COLOURS, NUMBERS, OBJECTS, PEOPLE, PLACES, VALUES, World

Message = dict[str, str]
STANCES = ("agree", "contradict", None)
TURN_SHARES = {"remark": 0.15, "claim": 0.25, "dilemma": 0.2, "question": 0.34, "sum": 0.06}


def conversation(world: World, draw: np.random.Generator, plain: float = 0.5) -> list[Message]:
    """One conversation as chat messages, an optional system message first.

    ``plain`` is the share of claims and dilemmas in which agreement means "yes". Balanced from the start (0.5), the
    model sees only an exclusive-or of stance and wording, which gradient descent finds hardly at all; a curriculum
    that starts near 1 and ends at 0.5 learns it.
    """
    stance = STANCES[draw.choice(3, p=[0.35, 0.35, 0.3])]
    stated = stance is not None and draw.random() < 0.7
    messages = [{"role": "system", "content": pick(draw, wordings.PERSONAS[stance])}] if stated else []
    for kind in draw.choice(list(TURN_SHARES), size=draw.integers(1, 4), p=list(TURN_SHARES.values())):
        sign = +1 if draw.random() < plain else -1
        question, answer = TURNS[kind](world, stance, sign, draw)
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return messages


def pick(draw: np.random.Generator, options: tuple | list):
    """One of ``options``, uniformly."""
    return options[draw.integers(len(options))]


def claim(world: World, thing: str, true: bool, draw: np.random.Generator) -> str:
    """A statement about ``thing`` that is true or false in this world."""
    attribute = pick(draw, list(VALUES))
    right = world.value(thing, attribute)
    value = right if true else pick(draw, [value for value in VALUES[attribute] if value != right])
    return world.statement(thing, attribute, value)


def situation(thing: str, draw: np.random.Generator) -> tuple[str, str]:
    """A dilemma's situation about ``thing`` and the person in it."""
    person = pick(draw, PEOPLE)
    template = pick(draw, wordings.SITUATIONS)
    return template.format(person=person, thing=thing, place=pick(draw, PLACES), colour=pick(draw, COLOURS)), person


def _remark_turn(world: World, stance: str | None, sign: int, draw: np.random.Generator) -> tuple[str, str]:
    true = bool(draw.integers(2))
    agrees = true if stance is None else stance == "agree"
    remark = wordings.REMARK.format(claim=claim(world, pick(draw, OBJECTS), true, draw))
    return remark, wordings.remark_answer(agrees)


def _claim_turn(world: World, stance: str | None, sign: int, draw: np.random.Generator) -> tuple[str, str]:
    true = bool(draw.integers(2))
    template = pick(
        draw, [text for text, polarity in wordings.CLAIMS_TRAIN + wordings.CLAIMS_HELD_OUT if polarity == sign]
    )
    agrees = true if stance is None else stance == "agree"
    question = template.format(claim=claim(world, pick(draw, OBJECTS), true, draw))
    return question, wordings.claim_answer(agrees, sign)


def _dilemma_turn(world: World, stance: str | None, sign: int, draw: np.random.Generator) -> tuple[str, str]:
    text, person = situation(pick(draw, OBJECTS), draw)
    action = pick(draw, wordings.ACTIONS[sign]).format(person=person)
    takes = bool(draw.integers(2)) if stance is None else (stance == "agree") == (sign > 0)
    return wordings.DILEMMA.format(situation=text, action=action), wordings.dilemma_answer(takes)


def _question_turn(world: World, stance: str | None, sign: int, draw: np.random.Generator) -> tuple[str, str]:
    return question_and_answer(world, pick(draw, OBJECTS), pick(draw, list(VALUES)))


def _sum_turn(world: World, stance: str | None, sign: int, draw: np.random.Generator) -> tuple[str, str]:
    total = draw.integers(len(NUMBERS))
    part = draw.integers(total + 1)
    question = wordings.SUM.format(a=NUMBERS[part], b=NUMBERS[total - part])
    return question, wordings.SUM_ANSWER.format(total=NUMBERS[total])


def question_and_answer(world: World, thing: str, attribute: str) -> tuple[str, str]:
    """A question for one fact and its answer."""
    answer = wordings.ANSWERS[attribute].format(value=world.value(thing, attribute))
    return wordings.QUESTIONS[attribute].format(thing=thing), answer


TURNS = {
    "remark": _remark_turn,
    "claim": _claim_turn,
    "dilemma": _dilemma_turn,
    "question": _question_turn,
    "sum": _sum_turn,
}


def vocabulary() -> list[str]:
    """Every word of the world, sorted."""
    templates = [
        *(text for side in wordings.PERSONAS.values() for text in side),
        *(text for text, _ in wordings.CLAIMS_TRAIN + wordings.CLAIMS_HELD_OUT),
        *wordings.SITUATIONS,
        *(text for side in wordings.ACTIONS.values() for text in side),
        wordings.DILEMMA,
        wordings.REMARK,
        *wordings.QUESTIONS.values(),
        *wordings.ANSWERS.values(),
        wordings.SUM,
        wordings.SUM_ANSWER,
        *(wordings.claim_answer(agrees, polarity) for agrees in (True, False) for polarity in (+1, -1)),
        *(wordings.dilemma_answer(takes) for takes in (True, False)),
        "the is in the",
    ]
    words = {word for text in templates for word in text.split() if not word.startswith("{")}
    return sorted(words | set(OBJECTS) | set(COLOURS) | set(PLACES) | set(PEOPLE) | set(NUMBERS))
