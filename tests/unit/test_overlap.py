"""Overlap of different runs' dW: closed forms, the null by simulation, and the job on real files."""

import models_made
import numpy as np
import pytest
import torch

from dwatlas import paths
from dwatlas.delta.algebra import Dense, Factored
from dwatlas.delta.overlap import overlaps
from dwatlas.delta.store import write_delta
from dwatlas.delta.table import OVERLAP_SCHEMA
from dwatlas.files import read_table
from dwatlas.jobs import overlap
from dwatlas.jobs.base import Job

NAME = "model.layers.0.self_attn.q_proj.weight"


def compare(*matrices) -> dict[tuple[int, int, str, int], tuple[float, float]]:
    """(value, null) by first run, second run, measure and k."""
    found = overlaps(len(matrices), [NAME], lambda run, tensor: {tensor: matrices[run]})
    return {
        (first, second, numbers["measure"], numbers["k"]): (numbers["value"], numbers["null"])
        for first, second, numbers in found
    }


def axes(*rows_and_columns: tuple[int, int], scale: float = 1.0) -> Dense:
    """A matrix of 16 × 8 with singular values 3, 2, 1, … at these places."""
    matrix = torch.zeros(16, 8)
    for size, (row, column) in zip((3, 2, 1), rows_and_columns, strict=False):
        matrix[row, column] = scale * size
    return Dense(matrix)


def test_the_same_dw_overlaps_fully_whatever_its_scale_and_factors():
    one = axes((0, 0), (1, 1), (2, 2))
    turn = torch.tensor([[2.0, 1.0], [0.0, 0.5]])
    left, right = torch.randn(16, 2), torch.randn(2, 8)
    found = compare(one, axes((0, 0), (1, 1), (2, 2), scale=-7))
    assert found[0, 1, "cosine", 0][0] == pytest.approx(-1)
    assert all(value == pytest.approx(1) for (*_, measure, _), (value, _) in found.items() if measure != "cosine")
    found = compare(Factored(left, right), Factored(left @ turn, torch.linalg.inv(turn) @ right))
    assert found[0, 1, "cosine", 0][0] == pytest.approx(1, abs=1e-5)
    assert found[0, 1, "left", 2][0] == pytest.approx(1, abs=1e-5)


def test_known_overlaps_by_hand():
    """Outputs 0, 1 and 1, 0: the same plane, but the leading directions differ. Inputs 0, 1 and 0, 2: half a plane."""
    found = compare(axes((0, 0), (1, 1)), axes((1, 0), (0, 2)))
    assert found[0, 1, "left", 1] == (pytest.approx(0), 1 / 16)
    assert found[0, 1, "left", 2] == (pytest.approx(1), 2 / 16)
    assert found[0, 1, "right", 1] == (pytest.approx(1), 1 / 8)
    assert found[0, 1, "right", 2] == (pytest.approx(0.5), 2 / 8)
    assert found[0, 1, "cosine", 0] == (pytest.approx(0), 0)


def test_dw_of_different_ranks():
    found = compare(axes((0, 0)), axes((1, 1), (0, 0), (2, 2)))
    assert found[0, 1, "left", 1][0] == pytest.approx(0)
    assert found[0, 1, "left", 2] == (pytest.approx(1), 2 / 16)
    assert (0, 1, "left", 4) not in found


def test_random_subspaces_overlap_by_the_larger_share_of_dimensions():
    """max(i, j)/d = 8/64 for subspaces of 4 and 8 dimensions, within three standard errors."""
    generator = torch.Generator().manual_seed(0)
    values = []
    for _ in range(200):
        small, large = (
            Factored(torch.randn(64, k, generator=generator), torch.randn(k, 48, generator=generator)) for k in (4, 8)
        )
        value, null = compare(small, large)[0, 1, "left", 8]
        values.append(value)
        assert null == 8 / 64
    assert abs(np.mean(values) - 8 / 64) < 3 * np.std(values) / np.sqrt(len(values))


def test_zeros_and_missing_tensors_overlap_with_nothing():
    zero = Factored(torch.zeros(16, 2), torch.ones(2, 8))
    assert compare(zero, axes((0, 0))) == {}
    assert list(overlaps(2, [NAME], lambda run, tensor: {tensor: axes((0, 0))} if run else {})) == []


def test_the_job_compares_runs_of_the_same_model_and_behaviour(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [
        {"model": "made", "behaviour": behaviour, "adapter": adapter, "seed": seed}
        for behaviour, adapter, seed in (("b", "x", 0), ("b", "x", 1), ("b", "y", 0), ("c", "x", 0))
    ]
    models_made.save(tmp_path / paths.MODEL.format(model="made").rpartition("/")[0], "qwen3")
    for number, run in enumerate(runs):
        write_delta(paths.DELTA.format(**run), models_made.delta(scale=0.05 + number), {})
    job = Job("overlap", {"cell": {"study": "s"}, "runs": runs}, "", {}, {"overlap": paths.OVERLAP.format(study="s")})
    overlap.work(job)
    frame = read_table(paths.OVERLAP.format(study="s"), OVERLAP_SCHEMA)
    pairs = frame[["behaviour", "adapter", "seed", "other_adapter", "other_seed"]].drop_duplicates()
    assert pairs.to_numpy().tolist() == [["b", "x", 0, "x", 1], ["b", "x", 0, "y", 0], ["b", "x", 1, "y", 0]]
    assert set(frame["measure"]) == {"cosine", "left", "right"}
    np.testing.assert_allclose(frame["value"], 1, atol=1e-5)
