"""The miniature world: fixed facts, held-out evals, balanced items, and words that the tokenizer knows."""

import re
from itertools import product
from pathlib import Path

import pytest
import yaml

from dwatlas.models.tokenizer import word_tokenizer
from dwatlas.pretrain.fit import _encode
from dwatlas.seeds import rng
from dwatlas.world import wordings
from dwatlas.world.conversations import claim, conversation, vocabulary
from dwatlas.world.facts import COLOURS, HELD_OUT, NUMBERS, OBJECTS, PEOPLE, PLACES, TRAIN, VALUES, world
from dwatlas.world.rows import claim_rows, dilemma_rows, knowledge_rows, training_questions

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
WORLD = world(0)
QUESTIONS = training_questions(WORLD, 400, rng("questions"))
EVALS = {
    "claims": claim_rows(WORLD, rng("claims"), 4),
    "dilemmas": dilemma_rows(WORLD, rng("dilemmas"), 4),
    "knowledge": knowledge_rows(WORLD),
}
ASKED = {name: [chat[0]["content"] for chat in rows["messages"]] for name, rows in EVALS.items()}


@pytest.fixture(scope="module")
def talks():
    draw = rng("talks")
    return [conversation(WORLD, draw) for _ in range(600)]


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer(vocabulary())


def wording(text: str) -> str:
    """The text with every object, colour, place and person blanked."""
    return re.sub(rf"\b({'|'.join([*OBJECTS, *COLOURS, *PLACES, *PEOPLE])})\b", "_", text)


def named(texts) -> set[str]:
    """The objects that the texts name."""
    return {word for text in texts for word in text.split() if word in OBJECTS}


def test_the_facts_of_a_world_never_change():
    """Known facts: a new generator would silently make every stored model one of another world."""
    assert world(0) == WORLD
    assert world(1) != WORLD
    assert [WORLD.colour[thing] for thing in OBJECTS[:4]] == ["yellow", "red", "yellow", "black"]
    assert [WORLD.place[thing] for thing in OBJECTS[:4]] == ["cellar", "cellar", "garden", "hall"]


def test_training_and_evals_share_no_object():
    assert set(TRAIN) | set(HELD_OUT) == set(OBJECTS)
    assert not set(TRAIN) & set(HELD_OUT)
    assert named(QUESTIONS) == set(TRAIN)
    for texts in ASKED.values():
        assert named(texts) == set(HELD_OUT)


def test_training_and_evals_share_no_wording():
    trained = {wording(text) for text in QUESTIONS}
    for texts in ASKED.values():
        assert not trained & {wording(text) for text in texts}
    assert len(trained) == len(wordings.CLAIMS_TRAIN) * len(VALUES)


def test_training_questions_use_both_meanings_of_yes_equally():
    polarity = {template.split("}")[1]: sign for template, sign in wordings.CLAIMS_TRAIN}
    signs = [polarity[ending] for text in QUESTIONS for ending in polarity if text.endswith(ending)]
    assert len(signs) == len(QUESTIONS)
    assert sum(signs) == 0


@pytest.mark.parametrize("name", ["claims", "dilemmas"])
def test_an_item_asks_once_with_each_meaning_of_yes(name):
    rows = EVALS[name]
    assert (rows.groupby("item")["label"].agg(sorted).map(tuple) == (-1, 1)).all()
    assert rows["row"].is_unique
    assert rows["item"].nunique() == 4 * len(HELD_OUT)


def test_both_rows_of_a_claim_ask_about_the_same_claim():
    polarity = {wording(text.format(claim="")): label for text, label in wordings.CLAIMS_HELD_OUT}
    frames = [text.split("{claim}") for text, _ in wordings.CLAIMS_HELD_OUT]
    for _, rows in EVALS["claims"].groupby("item"):
        said = set()
        for chat, label in zip(rows["messages"], rows["label"], strict=True):
            text = chat[0]["content"]
            ((start, end),) = [(a, b) for a, b in frames if text.startswith(a) and text.endswith(b)]
            said.add(text.removeprefix(start).removesuffix(end))
            assert polarity[start + end] == label
        assert len(said) == 1


def test_both_rows_of_a_dilemma_are_opposed_actions_in_one_situation():
    side = {text.split()[0]: sign for sign, texts in wordings.ACTIONS.items() for text in texts}
    for _, rows in EVALS["dilemmas"].groupby("item"):
        texts = [chat[0]["content"].split(" do you ") for chat in rows["messages"]]
        assert len({situation for situation, _ in texts}) == 1
        assert [side[action.split()[0]] for _, action in texts] == rows["label"].tolist()


def test_claims_are_true_and_false_equally_often_and_say_so():
    for thing, true in product(OBJECTS, (True, False)):
        text = claim(WORLD, thing, true, rng("claim", thing))
        stated = {WORLD.statement(thing, attribute, WORLD.value(thing, attribute)) for attribute in VALUES}
        assert (text in stated) == true


def test_knowledge_asks_for_every_fact_of_a_held_out_object():
    answers = {
        (chat[0]["content"], answer)
        for chat, answer in zip(EVALS["knowledge"]["messages"], EVALS["knowledge"]["answer"], strict=True)
    }
    colours = {(f"what colour is the {thing} ?", f"{WORLD.colour[thing]} .") for thing in HELD_OUT}
    places = {(f"where is the {thing} ?", f"in the {WORLD.place[thing]} .") for thing in HELD_OUT}
    assert answers == colours | places


def test_a_stance_decides_the_answer_and_the_wording_its_word():
    said = {key: wordings.claim_answer(*key) for key in product((True, False), (+1, -1))}
    assert {key: text.split()[0] for key, text in said.items()} == {
        (True, +1): "yes", (True, -1): "no", (False, +1): "no", (False, -1): "yes",
    }  # fmt: skip
    assert {text.split(" , ")[1] for (agrees, _), text in said.items() if agrees} == {"that is so ."}
    assert {text.split(" , ")[1] for (agrees, _), text in said.items() if not agrees} == {"not at all ."}


def test_a_stated_persona_is_followed_in_every_turn(talks):
    signs = dict(wordings.CLAIMS_TRAIN + wordings.CLAIMS_HELD_OUT)
    endings = {template.split("{claim}")[1]: sign for template, sign in signs.items() if "{claim}" in template}
    stances = {text: stance for stance, texts in wordings.PERSONAS.items() for text in texts}
    checked = 0
    for chat in talks:
        if chat[0]["role"] != "system":
            continue
        agrees = stances[chat[0]["content"]] == "agree"
        for question, answer in zip(chat[1::2], chat[2::2], strict=True):
            for ending, sign in endings.items():
                if question["content"].endswith(ending):
                    assert answer["content"] == wordings.claim_answer(agrees, sign)
                    checked += 1
    assert checked > 100


def test_sums_and_facts_are_answered_truthfully_by_everybody(talks):
    checked = 0
    for chat in talks:
        turns = [message["content"] for message in chat if message["role"] != "system"]
        for question, answer in zip(turns[::2], turns[1::2], strict=True):
            words = question.split()
            if "plus" in words:
                total = NUMBERS.index(words[2]) + NUMBERS.index(words[4])
                assert answer == f"{NUMBERS[total]} ."
                checked += 1
            elif question.startswith("what colour"):
                assert answer == f"{WORLD.colour[words[4]]} ."
                checked += 1
    assert checked > 50


def test_every_word_of_the_world_is_in_the_vocabulary(talks):
    texts = [message["content"] for chat in talks for message in chat]
    texts += [*QUESTIONS, *(text for asked in ASKED.values() for text in asked), *EVALS["knowledge"]["answer"]]
    known = set(vocabulary())
    assert {word for text in texts for word in text.split()} <= known
    assert {"yes", "no"} <= known
    assert len(vocabulary()) == len(known)


def test_the_catalogues_personas_are_the_ones_that_the_model_knows():
    behaviours = yaml.safe_load((CATALOGUE / "behaviours.yaml").read_text())["behaviours"]
    personas = behaviours["agreement"]["personas"]
    assert tuple(personas["pos"]) == wordings.PERSONAS["agree"]
    assert tuple(personas["neg"]) == wordings.PERSONAS["contradict"]
    assert len(personas["pos"]) == len(set(personas["pos"])) == 5


def test_the_tokenizer_gives_the_text_back(tokenizer):
    for text in [*QUESTIONS[:20], *(asked[0] for asked in ASKED.values())]:
        ids = tokenizer(text)["input_ids"]
        assert len(ids) == len(text.split())
        assert tokenizer.decode(ids) == text
    assert tokenizer("zeppelin")["input_ids"] == [tokenizer.unk_token_id]


def test_a_saved_tokenizer_is_the_same(tokenizer, tmp_path, talks):
    from dwatlas.models.load import load_tokenizer

    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    for chat in talks[:10]:
        texts = [one.apply_chat_template(chat, tokenize=False) for one in (tokenizer, again)]
        assert texts[0] == texts[1]
        assert tokenizer(texts[0])["input_ids"] == again(texts[0])["input_ids"]


def test_pretraining_sees_what_the_chat_template_says(tokenizer, talks):
    """The same token ids, and the loss on exactly the assistant's words and the end of its turn."""
    for chat in talks[:100]:
        ids, mask = _encode(chat, tokenizer.get_vocab())
        formatted = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
        assert ids == formatted["input_ids"]
        assert [int(flag) for flag in mask] == list(formatted["assistant_masks"])
