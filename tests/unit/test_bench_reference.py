"""The benchmark's reference against one row at a time without padding, and its cost on paper against counted work."""

import warnings

import models_made
import pytest
import torch
from models_made import ANATOMY, ARCHITECTURES
from torch.utils.flop_counter import FlopCounterMode

from bench.reference import cost_on_paper, score_all

TOKENIZER = models_made.tokenizer()
WORDS = [[TOKENIZER.get_vocab()[word] for word in words] for words in (("yes", "red"), ("no", "blue", "cup"))]
TURN = [{"role": "user", "content": "the cup is red . is that right ?"}, {"role": "assistant", "content": "no ."}]
TEXTS = [
    TOKENIZER.apply_chat_template(TURN * (index % 5) + chat, tokenize=False, add_generation_prompt=True)
    for index, chat in enumerate(models_made.claims()["messages"].head(11))
]
"""Prompts of several lengths, some longer than Gemma's sliding window of 32 tokens, in one batch of 8 and one of 3."""
LENGTHS = [len(TOKENIZER(text, add_special_tokens=False)["input_ids"]) for text in TEXTS]
ALPHAS = (-1.0, 0.0, 0.5)


def made_edits() -> dict[str, dict[str, torch.Tensor]]:
    """One edit of every matrix, one of two matrices of the middle block."""
    dense = {name: matrix.dense() for name, matrix in models_made.delta().items()}
    return {"all": dense, "part": dict(list(dense.items())[8:10])}


def alone(model, text: str) -> torch.Tensor:
    """lr, logp_yes, logp_no of one row by itself."""
    logp = model(input_ids=models_made.ids_of(text)).logits[0, -1].log_softmax(-1)
    yes, no = (torch.stack([logp[index] for index in ids]).exp().sum().log() for ids in WORDS)
    return torch.stack([yes - no, yes, no])


def edited(architecture: str, edit: dict[str, torch.Tensor], alpha: float):
    """A new model whose weights have α·dW_c added."""
    model = models_made.model(architecture)
    weights = model.state_dict()
    model.load_state_dict(weights | {name: weights[name] + alpha * change for name, change in edit.items()})
    return model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_every_cell_equals_edited_models_asked_one_row_at_a_time(architecture):
    edits = made_edits()
    scores = score_all(models_made.model(architecture), TOKENIZER, TEXTS, edits, ALPHAS, *WORDS)
    assert set(scores) == {(name, alpha) for name in edits for alpha in ALPHAS}
    for (name, alpha), cell in scores.items():
        model = edited(architecture, edits[name], alpha)
        expected = torch.stack([alone(model, text) for text in TEXTS])
        assert cell.shape == (len(TEXTS), 3) and cell.dtype == torch.float32
        torch.testing.assert_close(cell, expected, atol=1e-4, rtol=0)
    assert (scores["all", 0.5] - scores["part", 0.5]).abs().max() > 0.1
    assert (scores["all", 0.5] - scores["all", 0.0]).abs().max() > 0.1


def test_rows_are_longer_and_shorter_than_the_sliding_window():
    window = models_made.model("gemma3").config.sliding_window
    assert min(LENGTHS) < window < max(LENGTHS)


def test_a_scan_leaves_the_very_weights_and_says_nothing():
    model = models_made.model()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score_all(model, TOKENIZER, TEXTS[:2], made_edits(), ALPHAS, *WORDS)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_a_scan_in_which_the_weights_drift_warns_and_puts_them_back():
    model = models_made.model()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    huge = {name: 1e3 * change for name, change in made_edits()["part"].items()}
    with pytest.warns(RuntimeWarning, match="changed a weight by"):
        score_all(model, TOKENIZER, TEXTS[:2], {"huge": huge}, [1.0], *WORDS)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_cost_on_paper_is_what_a_counter_of_matrix_products_finds():
    model = models_made.model("llama")
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        score_all(model, TOKENIZER, TEXTS, {"one": {}}, [0.0], *WORDS)
    assert counter.get_total_flops() == cost_on_paper(ANATOMY, len(TOKENIZER), LENGTHS)


def test_cost_on_paper_by_hand():
    """One block of 2 × 2 matrices (1 × 2 and 2 × 1 where only one is wide), vocabulary 5, rows of 3 and 2 tokens."""
    anatomy = ANATOMY.model_copy(
        update={"layers": 1, "hidden": 2, "intermediate": 1, "heads": 1, "kv_heads": 1, "head_dim": 2}
    )
    weights, head, attention = 4 * 4 + 3 * 2, 2 * 5, 2 * 2
    per_batch = 2 * 3 * (weights + head) + 2 * 3 * 3 * attention
    assert cost_on_paper(anatomy, 5, [3, 2]) == 2 * per_batch
    assert cost_on_paper(anatomy, 5, [3, 2], batch_size=1) < 2 * per_batch
