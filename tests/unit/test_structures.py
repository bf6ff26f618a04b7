"""Structures of weight differences: each is the dense matrix that its definition says, alone and in sums."""

from itertools import chain, product

import pytest
import torch

from dwatlas.delta import algebra
from dwatlas.delta.algebra import Blocks, Dense, Factored, Sparse, Sum
from dwatlas.delta.ranked import SHARES, in_share, in_step, steps
from dwatlas.delta.slices import restricted
from dwatlas.delta.store import read_delta, write_delta
from dwatlas.errors import UserError
from dwatlas.files import read_tensors, write_tensors

OUT, IN = 12, 8


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


WEIGHT = random(OUT, IN)
ORDER = torch.tensor([3, 0, 1, 2, 7, 6, 4, 5])
SPARSE = Sparse(torch.tensor([[0, 2, 11], [1, 2, 7]]), torch.tensor([1.0, -2.0, 0.5]), (OUT, IN))
MATRICES = {
    "factored": Factored(random(OUT, 2, seed=1), random(2, IN, seed=2)),
    "sparse": SPARSE,
    "scale of rows": Blocks(random(OUT, 1, 1, seed=3), "out", WEIGHT),
    "scale of columns": Blocks(random(IN, 1, 1, seed=4), "in", WEIGHT),
    "blocks of rows": Blocks(random(3, 4, 4, seed=5), "out", WEIGHT),
    "blocks of columns": Blocks(random(4, 2, 2, seed=6), "in", WEIGHT),
    "blocks in another order": Blocks(random(4, 2, 2, seed=7), "in", WEIGHT, ORDER),
    "dense": Dense(random(OUT, IN, seed=8)),
}
MATRICES["sum"] = Sum((MATRICES["factored"], MATRICES["scale of rows"]))


def test_blocks_multiply_the_base_weight_from_their_side():
    rows, columns = MATRICES["blocks of rows"], MATRICES["blocks of columns"]
    torch.testing.assert_close(rows.dense(), torch.block_diag(*rows.blocks) @ WEIGHT)
    torch.testing.assert_close(columns.dense(), WEIGHT @ torch.block_diag(*columns.blocks))
    scale = MATRICES["scale of rows"]
    torch.testing.assert_close(scale.dense(), scale.blocks.flatten()[:, None] * WEIGHT)


def test_blocks_act_on_coordinates_in_their_order():
    matrix = MATRICES["blocks in another order"]
    shuffle = torch.eye(IN)[ORDER]
    expected = WEIGHT @ shuffle.T @ torch.block_diag(*matrix.blocks) @ shuffle
    torch.testing.assert_close(matrix.dense(), expected)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize("name", MATRICES)
def test_rows_and_columns_are_those_of_the_dense_matrix(name, number, axis):
    matrix = MATRICES[name]
    chosen = torch.zeros(matrix.shape[axis], dtype=torch.bool)
    chosen[torch.randperm(len(chosen), generator=torch.Generator().manual_seed(number))[:number]] = True
    inside, outside = restricted(matrix, axis, chosen), restricted(matrix, axis, ~chosen)
    torch.testing.assert_close(inside.dense(), matrix.dense() * chosen.unsqueeze(1 - axis))
    torch.testing.assert_close(inside.dense() + outside.dense(), matrix.dense())


def test_rows_keep_the_structure_and_its_small_rank():
    chosen = torch.arange(OUT) < 1
    assert restricted(MATRICES["factored"], 0, chosen).rank_bound == 1
    assert restricted(MATRICES["factored"], 0, ~chosen).rank_bound == 2
    for name in ("sparse", "scale of rows", "blocks of rows", "factored"):
        assert type(restricted(MATRICES[name], 0, chosen)) is type(MATRICES[name])
    assert isinstance(restricted(MATRICES["scale of columns"], 0, chosen), Dense)


def test_zero_rows_and_columns_count_neither_as_parameters_nor_as_rank():
    values = torch.zeros(OUT, IN)
    values[2:5, 1:7] = 1.0
    assert (Dense(values).parameters, Dense(values).rank_bound) == (18, 3)
    assert Factored(values[:, :2], values[:2]).parameters == 2 * 3


def test_a_sparse_matrix_is_zero_but_where_it_says():
    dense = SPARSE.dense()
    assert (dense[0, 1], dense[2, 2], dense[11, 7], int((dense != 0).sum())) == (1.0, -2.0, 0.5, 3)


@pytest.mark.parametrize(("first", "second"), [*product(MATRICES, repeat=2)])
def test_sums_products_and_scales_are_those_of_the_dense_matrices(first, second):
    x, y = MATRICES[first], MATRICES[second]
    torch.testing.assert_close(algebra.add(x, y, -2.5).dense(), x.dense() - 2.5 * y.dense(), atol=1e-5, rtol=1e-5)
    expected = float((x.dense().double() * y.dense().double()).sum())
    assert algebra.inner(x, y) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    torch.testing.assert_close(x.scaled(3.0).dense(), 3 * x.dense())


@pytest.mark.parametrize("name", MATRICES)
def test_a_structure_is_kept_in_a_difference_with_itself(name):
    matrix = MATRICES[name]
    difference = algebra.add(matrix, matrix.scaled(0.5), -1.0)
    assert [type(term) for term in difference.terms] == [type(term) for term in matrix.terms]
    torch.testing.assert_close(difference.dense(), matrix.dense() / 2, atol=1e-6, rtol=1e-5)


def test_sums_of_different_structures_keep_both_until_one_is_dense():
    both = algebra.add(MATRICES["factored"], SPARSE)
    assert [type(term) for term in both.terms] == [Factored, Sparse]
    assert both.parameters == 2 * (OUT + IN) + 3
    assert isinstance(algebra.add(both, MATRICES["dense"]), Dense)
    assert len(algebra.add(MATRICES["scale of rows"], MATRICES["scale of columns"]).terms) == 2


def test_sparse_places_are_joined():
    other = Sparse(torch.tensor([[2, 5], [2, 5]]), torch.tensor([4.0, 1.0]), (OUT, IN))
    joined = algebra.add(SPARSE, other)
    assert isinstance(joined, Sparse) and joined.parameters == 4
    assert joined.dense()[2, 2] == 2.0


@pytest.mark.parametrize("name", MATRICES)
def test_every_structure_has_its_svd_and_survives_its_file(name, tmp_path):
    matrix = MATRICES[name]
    u, s, vh = algebra.svd(matrix)
    torch.testing.assert_close((u * s) @ vh, matrix.dense(), atol=1e-5, rtol=1e-5)
    path = tmp_path / "delta.safetensors"
    write_delta(path, {"a.weight": matrix, "b.weight": Dense(WEIGHT)}, {})
    again = read_delta(path, {"a.weight": WEIGHT})
    assert [type(term) for term in again["a.weight"].terms] == [type(term) for term in matrix.terms]
    assert torch.equal(again["a.weight"].dense(), matrix.dense())


@pytest.mark.parametrize(("name", "role"), [("sparse", "values"), ("blocks in another order", "in")])
def test_a_structure_without_one_of_its_parts_is_refused(name, role, tmp_path):
    path = tmp_path / "delta.safetensors"
    write_delta(path, {"a.weight": MATRICES[name]}, {})
    tensors = read_tensors(path)
    del tensors[f"a.weight.{role}"]
    write_tensors(path, tensors)
    with pytest.raises(UserError, match=f"a.weight has no part '{role}'"):
        read_delta(path, {"a.weight": WEIGHT})


def test_steps_double_and_hold_every_part_once():
    assert steps("rank", 1) == ("rank-1",)
    assert steps("rank", 3) == ("rank-1", "rank-2", "rank-3")
    assert steps("rank", 12) == ("rank-1", "rank-2", "rank-3-4", "rank-5-8", "rank-9-12")
    sizes = random(12, seed=9).abs()
    found = [in_step(name, sizes).tolist() for name in steps("rank", 12)]
    assert sorted(chain(*found)) == list(range(12))
    assert found[0] == [int(sizes.argmax())]
    assert in_step("rank-9-12", sizes[:8]).tolist() == []


def test_shares_by_size_hold_every_part_once():
    sizes = torch.arange(250.0)
    found = {name: in_share(name, sizes).tolist() for name in SHARES}
    assert found["largest-1"] == [247, 248, 249]
    assert len(found["largest-10"]) == 22 and min(found["largest-10"]) == 225
    assert found["others"] == list(range(225))
    assert in_share("largest-10", sizes[:5]).tolist() == []
