"""Packed rows read as the rows they were made of, each token once where rows begin alike."""

import numpy as np
import pytest
import torch

from dwatlas.scoring.packing import pack
from dwatlas.seeds import rng

CPU = torch.device("cpu")


def rows_that_share(seed: int) -> list[list[int]]:
    """Rows with a common beginning, situations shared by a few, rows that are prefixes of others or equal to them."""
    draw = rng("packing", seed)

    def tokens(low: int, high: int) -> list[int]:
        return draw.integers(0, 5, draw.integers(low, high)).tolist()

    start, rows = tokens(0, 6), []
    for _ in range(6):
        situation = start + tokens(2, 9)
        rows += [situation + tokens(1, 5) for _ in range(draw.integers(1, 4))]
        rows.append(situation if draw.random() < 0.5 else rows[-1])
    return rows


def read(packing, wanted: int) -> dict[int, tuple[list[int], list[int]]]:
    """Row → its tokens and the positions of its last ``wanted`` ones, as attention sees them."""
    stem = [] if packing.stem is None else packing.stem.ids[0].tolist()
    found = {}
    for batch in packing.batches:
        for row, sequence, slots in zip(batch.rows, batch.sequence.tolist(), batch.slots, strict=True):
            asked = batch.asked[sequence][slots].tolist()
            seen = batch.seen[sequence, asked[-1]].nonzero()[:, 0]
            order = seen[batch.places[sequence, seen].argsort()]
            assert batch.places[sequence, order].tolist() == list(range(len(order)))
            tokens = torch.cat([torch.tensor(stem, dtype=torch.long), batch.ids[sequence]])[order].tolist()
            found[int(row)] = tokens, batch.positions[sequence, asked].tolist()
            assert len(asked) == wanted
    return found


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("wanted", "share"), [(1, True), (2, True), (1, False)])
def test_every_row_sees_exactly_its_own_tokens_in_their_places(seed, wanted, share):
    rows = rows_that_share(seed)
    found = read(pack(rows, wanted, 40, CPU, share), wanted)
    assert sorted(found) == list(range(len(rows)))
    for index, (tokens, positions) in found.items():
        assert tokens == rows[index]
        assert positions == list(range(len(rows[index]) - wanted, len(rows[index])))


def test_what_rows_share_is_there_once():
    rows = [[1, 2, 3, 4, 10], [1, 2, 3, 4, 11, 12], [1, 2, 7, 8, 9, 10]]
    packing = pack(rows, 1, 100, CPU)
    assert packing.stem.ids.tolist() == [[1, 2]]
    assert sorted(sorted(sequence) for sequence in packing.batches[0].ids.tolist()) == [
        [0, 7, 8, 9, 10],
        [3, 4, 10, 11, 12],
    ]
    assert pack(rows, 1, 100, CPU, share=False).tokens == 18


def test_rows_that_share_little_are_not_packed_together():
    packing = pack([[1, *range(10, 20)], [1, *range(20, 30)], [2]], 1, 100, CPU)
    assert packing.stem is None
    assert sum(len(batch.ids) for batch in packing.batches) == 3


def test_a_stem_ends_before_the_first_token_asked_for():
    packing = pack([[1, 2, 3]] * 4, 2, 100, CPU)
    assert packing.stem.ids.tolist() == [[1]]
    assert packing.batches[0].ids.tolist() == [[2, 3]]
    assert pack([[5], [5, 6]], 1, 100, CPU).stem is None


def test_batches_are_of_similar_length_and_hold_at_most_the_tokens_allowed():
    draw = rng("packing lengths")
    rows = [[index, *[0] * length] for index, length in enumerate(draw.integers(2, 40, 200))]
    packing = pack(rows, 1, 100, CPU)
    assert all(batch.ids.numel() <= 100 for batch in packing.batches)
    assert packing.tokens < 1.05 * sum(map(len, rows))
    assert sorted(np.concatenate([batch.rows for batch in packing.batches])) == list(range(200))
    assert [len(batch.rows) for batch in pack(rows, 1, 1, CPU).batches] == [1] * 200
