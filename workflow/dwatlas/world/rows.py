"""Eval rows about the world's held-out objects, in held-out wordings.

Each function returns a frame with one line per prompt: ``item, row, label, messages, prefill, answer``. An item's two
rows ask the same thing with opposite meaning of "yes", so that a constant bias for one word cancels in the item.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dwatlas.world import wordings
from dwatlas.world.conversations import claim, pick, question_and_answer, situation
from dwatlas.world.facts import HELD_OUT, TRAIN, VALUES, World


def claim_rows(setting: World, draw: np.random.Generator, per_object: int = 1) -> pd.DataFrame:
    """Claims, true and false in turn, each asked so that yes agrees (+1) and so that yes disagrees (−1)."""
    pairs = list(zip(wordings.CLAIMS_HELD_OUT[::2], wordings.CLAIMS_HELD_OUT[1::2], strict=True))
    lines = []
    for number, thing in enumerate(list(HELD_OUT) * per_object):
        text = claim(setting, thing, number % 2 == 0, draw)
        for template, label in pick(draw, pairs):
            lines.append(_line(f"claim-{number:03d}", label, template.format(claim=text)))
    return pd.DataFrame(lines)


def dilemma_rows(setting: World, draw: np.random.Generator, per_object: int = 1) -> pd.DataFrame:
    """Dilemmas, each with an action that goes along with the person (+1) and one against them (−1)."""
    lines = []
    for number, thing in enumerate(list(HELD_OUT) * per_object):
        text, person = situation(thing, draw)
        for label, actions in wordings.ACTIONS.items():
            action = pick(draw, actions).format(person=person)
            prompt = wordings.DILEMMA.format(situation=text, action=action)
            lines.append(_line(f"dilemma-{number:03d}", label, prompt))
    return pd.DataFrame(lines)


def knowledge_rows(setting: World) -> pd.DataFrame:
    """A question for every fact about a held-out object, with its answer."""
    lines = []
    for thing in HELD_OUT:
        for attribute in VALUES:
            question, answer = question_and_answer(setting, thing, attribute)
            lines.append(_line(f"{thing}-{attribute}", 1, question, answer))
    return pd.DataFrame(lines)


def training_questions(setting: World, number: int, draw: np.random.Generator) -> list[str]:
    """Narrow training questions: claims about training objects in training wordings, both meanings of yes equally."""
    questions = []
    for index in range(number):
        template, _ = wordings.CLAIMS_TRAIN[index % len(wordings.CLAIMS_TRAIN)]
        questions.append(template.format(claim=claim(setting, pick(draw, TRAIN), bool(draw.integers(2)), draw)))
    return questions


def _line(item: str, label: int, question: str, answer: str = "") -> dict:
    return {
        "item": item,
        "row": f"{item}{'+' if label > 0 else '-'}",
        "label": label,
        "messages": [{"role": "user", "content": question}],
        "prefill": "",
        "answer": answer,
    }
