"""Lens ``own_svd``: which directions each component holds, of each tensor and of all tensors together."""

import pytest
import torch
from models_made import ANATOMY, relative

from dwatlas.adapters.lora import Lora
from dwatlas.delta import algebra
from dwatlas.delta.algebra import Dense, Factored, total_energy
from dwatlas.lenses.base import Given
from dwatlas.lenses.own_svd import OwnSvd
from dwatlas.registry import build
from dwatlas.scoring.controls import control_groups

LEVELS = [f"energy-{level}" for level in (1, 5, 10, 25, 50, 75, 90, 99)]
QUARTERS = ["quartile-1", "quartile-2", "quartile-3", "quartile-4", "middle"]
FIRST, SECOND = "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.down_proj.weight"
BOTH = {FIRST: (8, 4, 3, 1), SECOND: (6, 5, 2, 0.5)}
"""Ranked together: 8, 6, 5, 4 | 3, 2, 1, 0.5, with energies 64, 36, 25, 16, 9, 4, 1, 0.25 of 155.25."""


def tensor(*values: float, seed: int = 3) -> Factored:
    """A tensor with these singular values."""
    left = torch.linalg.qr(torch.randn(12, len(values), generator=torch.Generator().manual_seed(seed)))[0]
    return Factored(left * torch.tensor(values), torch.eye(len(values), 9))


def given(**values: tuple[float, ...]) -> Given:
    return Given({name: tensor(*own, seed=seed) for seed, (name, own) in enumerate(values.items())})


def spectrum(part, name: str) -> list[float]:
    return [round(value, 3) for value in algebra.svd(part[name]).s.tolist()] if name in part else []


def test_components_are_those_below_the_bound_of_the_rank():
    assert OwnSvd().names(Lora(r=1), ANATOMY) == ["top-1", *LEVELS, "tail-1"]
    assert OwnSvd().names(Lora(r=8), ANATOMY) == [
        *("top-1", "top-2", "top-4", "top-8"), *LEVELS, *QUARTERS, "tail-1", "tail-4"
    ]  # fmt: skip


def test_pooled_components_go_up_to_the_number_of_directions():
    """3 layers of 7 matrices with rank 2 at most: 42 directions."""
    names = OwnSvd(pooled=True).names(Lora(r=1), ANATOMY)
    assert [name for name in names if "top" in name] == [f"top-{2**power}" for power in range(6)]
    assert set(QUARTERS) < set(names)


def test_options_choose_components():
    lens = OwnSvd(top=(3,), energies=(), quartiles=False, tails=(2,))
    assert lens.names(Lora(r=8), ANATOMY) == ["top-3", "tail-2"]
    assert set(lens.choosing) == {"top", "energies", "quartiles", "tails"}


@pytest.mark.parametrize(
    ("component", "kept"),
    [
        ("top-1", [8]),
        ("top-3", [8, 4, 3]),
        ("top-9", [8, 4, 3, 1]),
        ("tail-1", [4, 3, 1]),
        ("energy-1", [8]),
        ("energy-71", [8]),
        ("energy-72", [8, 4]),
        ("energy-89", [8, 4, 3]),
        ("energy-99", [8, 4, 3, 1]),
        ("quartile-1", [8]),
        ("quartile-4", [1]),
        ("middle", [4, 3]),
    ],
)
def test_directions_of_one_tensor(component, kept):
    """Energies 64, 16, 9, 1 of 90: cumulative shares 71.1, 88.9, 98.9 and 100 %."""
    one = given(**{FIRST: (8, 4, 3, 1)})
    split = OwnSvd().split(one, component)
    assert spectrum(split.keep, FIRST) == kept
    assert total_energy(split.keep) + total_energy(split.drop) == pytest.approx(90, rel=1e-5)
    assert OwnSvd(pooled=True).split(one, component).keep.keys() == split.keep.keys()


@pytest.mark.parametrize(
    ("component", "first", "second"),
    [
        ("top-1", [8], []),
        ("top-2", [8], [6]),
        ("top-4", [8, 4], [6, 5]),
        ("top-8", [8, 4, 3, 1], [6, 5, 2, 0.5]),
        ("energy-25", [8], []),
        ("energy-50", [8], [6]),
        ("energy-90", [8, 4], [6, 5]),
        ("energy-99", [8, 4, 3], [6, 5, 2]),
        ("quartile-1", [8], [6]),
        ("quartile-2", [4], [5]),
        ("quartile-3", [3], [2]),
        ("quartile-4", [1], [0.5]),
        ("middle", [4, 3], [5, 2]),
        ("tail-1", [4, 3, 1], [6, 5, 2, 0.5]),
    ],
)
def test_directions_of_all_tensors_ranked_together(component, first, second):
    """Cumulative energies in per cent: 41.2, 64.4, 80.5, 90.8, 96.6, 99.2, 99.8, 100."""
    split = OwnSvd(pooled=True).split(given(**BOTH), component)
    assert (spectrum(split.keep, FIRST), spectrum(split.keep, SECOND)) == (first, second)
    left = [[value for value in BOTH[name] if value not in kept] for name, kept in ((FIRST, first), (SECOND, second))]
    assert [spectrum(split.drop, name) for name in (FIRST, SECOND)] == left


@pytest.mark.parametrize("number", [4, 5, 6, 7])
def test_quarters_hold_every_direction_once(number):
    values = [float(2**power) for power in range(number, 0, -1)]
    one = given(**{FIRST: values})
    quarters = [spectrum(OwnSvd().split(one, name).keep, FIRST) for name in QUARTERS[:4]]
    assert [value for quarter in quarters for value in quarter] == values
    assert [len(quarter) for quarter in quarters] == [(q + 1) * number // 4 - q * number // 4 for q in range(4)]


def test_one_ranking_of_all_tensors_is_not_one_of_each():
    """Tensors of very different sizes: pooled, the small one is in the tail."""
    uneven = given(**{FIRST: (100, 90, 80, 70), SECOND: (4, 3, 2, 1)})
    assert SECOND not in OwnSvd(pooled=True).split(uneven, "top-4").keep
    assert SECOND in OwnSvd().split(uneven, "top-1").keep


def test_a_tail_beyond_the_rank_is_empty():
    split = OwnSvd().split(given(**{FIRST: (2, 1)}), "tail-4")
    assert split.keep == {}
    assert total_energy(split.drop) == pytest.approx(5, rel=1e-5)


def test_dense_and_factored_tensors_rank_together():
    mixed = Given({FIRST: Dense(tensor(8, 4, 3, 1).dense()), SECOND: tensor(6, 5, 2, 0.5)})
    for name in (*QUARTERS, "top-4", "energy-90"):
        split, plain = (OwnSvd(pooled=True).split(one, name) for one in (mixed, given(**BOTH)))
        for tensor_name in (FIRST, SECOND):
            assert spectrum(split.keep, tensor_name) == spectrum(plain.keep, tensor_name)
        whole = sum(part[FIRST].dense() for part in (split.keep, split.drop) if FIRST in part)
        assert relative(whole, mixed.delta[FIRST].dense()) < 1e-6


def test_the_svd_of_a_tensor_is_computed_once_for_all_components_and_draws(monkeypatch):
    calls = []
    plain = algebra._svd
    monkeypatch.setattr(algebra, "_svd", lambda matrix: calls.append(matrix) or plain(matrix))
    both, lens = given(**BOTH), OwnSvd(pooled=True)
    for name in lens.names(Lora(r=2), ANATOMY):
        lens.split(both, name)
    assert len(calls) == len(both.delta)


def test_every_control_draws_for_a_pooled_component():
    both, lens = given(**BOTH), OwnSvd(pooled=True)
    parts = {"top-2": lens.split(both, "top-2").keep}
    groups = control_groups(both, parts, [build("controls", {"kind": kind}) for kind in lens.controls], lens)
    assert [group.control.kind for group in groups] == ["sub", "spec", "scale", "norm"]
