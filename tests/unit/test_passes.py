"""Every short cut gives the scores of the straightforward algorithm, and takes the short cut."""

from collections import Counter

import models_made
import numpy as np
import pandas as pd
import pytest
import torch
from models_made import ANATOMY, ARCHITECTURES
from test_scorer import long_rows, text_of

from bench.reference import score_all
from dwatlas.controls.base import Target
from dwatlas.controls.norm import Norm
from dwatlas.delta.algebra import Delta, total_energy
from dwatlas.lenses.base import Given, by_tensor
from dwatlas.lenses.layers import Layers
from dwatlas.lenses.own_svd import OwnSvd
from dwatlas.scoring.boundaries import Boundaries
from dwatlas.scoring.scorer import Scorer
from dwatlas.scoring.steer import BASE, Edit
from dwatlas.seeds import rng

TOKENIZER, ROWS, DELTA = models_made.tokenizer(), long_rows(), models_made.delta()
YES, NO = (TOKENIZER.get_vocab()[word] for word in ("yes", "no"))
ALPHAS = (-1.0, 1.0)


def components(seed: int) -> dict[str, Delta]:
    """Kept and dropped: a layer, a band, leading directions, random tensors, noise."""
    draw, parts = rng("components", seed), {}
    layer = int(draw.integers(ANATOMY.layers))
    tensors = set(draw.choice(sorted(DELTA), 4, replace=False))
    splits = {
        f"layer-{layer}": Layers().split(Given(DELTA), f"layer-{layer}"),
        "band-2-of-2": Layers(bands=2).split(Given(DELTA), "band-2-of-2"),
        "top-2": OwnSvd().split(Given(DELTA), "top-2"),
        "tensors": by_tensor(DELTA, tensors),
    }
    for name, split in splits.items():
        parts |= {f"{name} keep": split.keep, f"{name} drop": split.drop}
    part = splits["tensors"].keep
    noise = Norm().draw(Target(Given(DELTA), part, total_energy(part), "tensors"), draw)
    return parts | {"noise": noise.keep}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_the_straightforward_algorithm(architecture, seed):
    """To 1e-4 nats: grouped-query attention, a sliding window shorter than the rows, tied embeddings."""
    model, parts = models_made.model(architecture), components(seed)
    texts = [text_of(chat) for chat in ROWS["messages"]]
    dense = {name: {tensor: matrix.dense() for tensor, matrix in part.items()} for name, part in parts.items()}
    expected = score_all(model, TOKENIZER, texts, dense, ALPHAS, [YES], [NO])
    scorer = Scorer(model, TOKENIZER, tokens_per_batch=200, edits_at_once=2, memory=50_000)
    scorer.references += [Edit(DELTA, alpha) for alpha in ALPHAS]
    prepared = scorer.prepare(ROWS)
    together = prepared.score([Edit(part, alpha) for part in parts.values() for alpha in ALPHAS])
    for index, (name, part) in enumerate(parts.items()):
        in_pairs = prepared.score([Edit(part, alpha) for alpha in ALPHAS])
        for column, alpha in enumerate(ALPHAS):
            wanted = expected[name, alpha].numpy()
            assert np.abs(wanted[:, 0]).std() > 0.05
            for scores in (in_pairs[column], together[2 * index + column]):
                np.testing.assert_allclose(scores[["lr", "logp_yes", "logp_no"]], wanted, rtol=0, atol=1e-4)


@pytest.fixture
def counted(monkeypatch):
    """A scorer on four layers and the blocks that it runs: (block, tokens) → times."""
    anatomy = ANATOMY.model_copy(update={"layers": 4})
    model, delta = models_made.model("llama", anatomy), models_made.delta(anatomy=anatomy)
    scorer, runs = Scorer(model, TOKENIZER), Counter()
    for index, block in enumerate(model.model.layers):
        block.mlp.register_forward_pre_hook(
            lambda _, inputs, index=index: runs.update({index: inputs[0].shape[:-1].numel()})
        )
    scorer.references += [Edit(delta, 1.0)]
    return scorer, delta, runs


def test_nothing_below_the_first_touched_block_is_computed_twice(counted):
    scorer, delta, runs = counted
    prepared = scorer.prepare(ROWS)
    tokens, rows = prepared.passes.packing.tokens, len(ROWS)
    splits = [Layers().split(Given(delta), f"layer-{layer}") for layer in (2, 2, 3)]
    expected = [
        {0: 2, 1: 2, 2: 2},  # boundary 2 of the base and of the full model, then both edits above it
        {2: 2},
        {2: 2},  # boundary 3 of both references from their boundary 2
    ]
    for split, blocks in zip(splits, expected, strict=True):
        runs.clear()
        prepared.score([Edit(split.keep, 1.0), Edit(split.drop, 1.0)])
        assert 2 * rows <= runs.pop(3) < tokens
        assert runs == {block: times * tokens for block, times in blocks.items()}


def test_in_the_last_block_only_the_answer_positions_get_past_the_keys(counted):
    scorer, _, runs = counted
    prepared = scorer.prepare(ROWS, "yes", "no")
    prepared.score([BASE])
    asked = sum(batch.asked.numel() for batch in prepared.passes.packing.batches)
    assert runs[3] == asked < prepared.passes.packing.tokens == runs[2]


def test_boundaries_beyond_the_budget_come_back_from_disk_as_they_were():
    store = Boundaries(budget=100)
    tensors = {
        "in memory": torch.arange(20.0),
        "on disk": torch.arange(60.0).reshape(3, 4, 5),
        "bf16": torch.arange(64).bfloat16().reshape(2, 32).T,
    }
    for name, tensor in tensors.items():
        store[name] = tensor
    for name, tensor in tensors.items():
        assert name in store
        assert torch.equal(store.get(name, torch.device("cpu")), tensor)
    assert store.get("in memory", torch.device("cpu")) is tensors["in memory"]
    assert store.get("on disk", torch.device("cpu")) is not tensors["on disk"]
    assert "other" not in store


def test_where_boundaries_are_kept_changes_no_bit():
    scores = []
    for memory in (2**30, 0):
        scorer = Scorer(models_made.model(), TOKENIZER, 200, memory=memory)
        scorer.references += [Edit(DELTA, 1.0)]
        split = Layers().split(Given(DELTA), "layer-1")
        scores.append(scorer.prepare(ROWS).score([Edit(split.keep, 1.0), Edit(split.drop, 1.0)]))
    for one, other in zip(*scores, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_a_components_scores_do_not_depend_on_what_was_scored_before():
    """To the last bit: a job that goes on where it was killed ends with the same bytes."""
    split = Layers().split(Given(DELTA), "layer-2")
    edits = [Edit(part, alpha) for part in (split.keep, split.drop) for alpha in ALPHAS]
    scores = []
    for earlier in ([], ["layer-0", "layer-1"]):
        scorer = Scorer(models_made.model(), TOKENIZER, 200)
        scorer.references += [Edit(DELTA, alpha) for alpha in ALPHAS]
        prepared = scorer.prepare(ROWS)
        for name in earlier:
            before = Layers().split(Given(DELTA), name)
            prepared.score([Edit(part, alpha) for part in (before.keep, before.drop) for alpha in ALPHAS])
        scores.append(prepared.score(edits))
    for one, other in zip(*scores, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_layers_are_found_by_touched_tensors():
    blocks = Scorer(models_made.model(), TOKENIZER).blocks
    assert [blocks.index(site.name) for site in ANATOMY.sites()] == [site.layer for site in ANATOMY.sites()]
