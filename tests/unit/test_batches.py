"""Batches of answers: every example once an epoch, similar lengths, the same order for both poles."""

from collections import Counter

import models_made
import numpy as np
import torch

from dwatlas.seeds import rng
from dwatlas.train.batches import Example, batch_of, by_length, shared_lengths, training_order


def test_an_epoch_has_every_example_once_and_goes_on_in_the_next():
    lengths = [7, 3, 9, 5, 8, 3, 6, 2, 9, 4, 1]
    for size in (1, 3, 4, 11, 25):
        order = training_order(lengths, size, 50, rng("epochs"), pool=2)
        assert [len(batch) for batch in order] == [size] * 50
        for seen in (0, 7, 13, 50):
            times = Counter(index for batch in order[:seen] for index in batch)
            counts = [times[index] for index in range(len(lengths))]
            assert max(counts) - min(counts) <= (1 if seen * size % len(lengths) else 0)


def test_batches_hold_examples_of_similar_length_in_random_order():
    """One pool: the batches are those of the sorted lengths, and the short ones do not always come first."""
    lengths = rng("lengths").permutation(np.repeat([10, 20, 30, 40], 4)).tolist()
    orders = [[[lengths[index] for index in batch] for batch in training_order(lengths, 4, 4, rng(n))] for n in "abcd"]
    assert all(sorted(order) == [[10] * 4, [20] * 4, [30] * 4, [40] * 4] for order in orders)
    assert len({str(order) for order in orders}) > 1
    assert [lengths[index] for batch in by_length(lengths, 3) for index in batch] == sorted(lengths)


def test_pools_keep_padding_low_without_fixing_the_batches():
    """Lengths 40–160: a random batch of 16 is padded by a third; pools of eight batches leave under a tenth."""
    lengths = rng("lengths").integers(40, 161, 1024)

    def order(pool: int) -> np.ndarray:
        return np.array(training_order(lengths.tolist(), 16, 128, rng("order"), pool))

    def padding(pool: int) -> float:
        return 1 - lengths[order(pool)].sum() / (16 * lengths[order(pool)].max(axis=1).sum())

    assert padding(1) > 0.3
    assert padding(8) < 0.1
    first, second = ({frozenset(batch) for batch in epoch} for epoch in np.split(order(8), 2))
    assert not first & second


def test_both_poles_see_the_same_questions_in_the_same_order():
    """Lengths that the poles share give the same batches even where the answers' lengths differ."""
    pairs = models_made.pairs(12).sample(frac=1, random_state=0)
    pairs["answer"] = [f"{'no ' * number}." for number in range(len(pairs))]
    pairs = pairs.sort_values(["pole", "question_id"], ignore_index=True)
    lengths = shared_lengths(pairs)
    longest = pairs.assign(n=pairs["prompt"].str.len() + pairs["answer"].str.len()).groupby("question_id")["n"].max()
    assert lengths.tolist() == longest[pairs["question_id"]].tolist()
    pos, neg = (
        training_order(lengths[pairs["pole"] == pole].tolist(), 3, 8, rng("order"), pool=2) for pole in ("pos", "neg")
    )
    assert pos == neg


def test_a_batch_is_padded_on_the_right_and_points_at_the_answers():
    batch = batch_of([Example([11, 12, 13, 14], 2), Example([21, 22], 1)], 9, torch.device("cpu"))
    assert batch.inputs.tolist() == [[11, 12, 13], [21, 9, 9]]
    assert batch.positions.tolist() == [1, 2, 3]
    assert batch.targets.tolist() == [13, 14, 22]
