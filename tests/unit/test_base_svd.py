"""Lens base_svd: five parts that sum to dW, each where it belongs."""

import models_made
import pytest
import torch
from models_made import ANATOMY, relative

from dwatlas.adapters.lora import Lora
from dwatlas.delta.algebra import Dense, Factored, energy, svd, total_energy
from dwatlas.lenses.base import Given
from dwatlas.lenses.base_svd import BaseSvd
from dwatlas.seeds import rng

LENS = BaseSvd(sizes=(4,))
PARTS = ["block-4", "rows-4-only", "columns-4-only", "tail-4", "outside"]
SHAPES = {"square": (24, 24), "wide": (16, 40), "tall": (40, 16)}


def tensor(shape: str) -> str:
    return f"model.layers.0.mlp.{shape}.weight"


@pytest.fixture(scope="module")
def weights():
    generator = torch.Generator().manual_seed(5)
    return {tensor(name): torch.randn(*shape, generator=generator) for name, shape in SHAPES.items()}


def made(weights, delta=None) -> Given:
    generator = torch.Generator().manual_seed(6)
    delta = delta or {
        name: Factored(torch.randn(weight.shape[0], 3, generator=generator),
                       torch.randn(3, weight.shape[1], generator=generator))
        for name, weight in weights.items()
    }  # fmt: skip
    return Given(delta, weights=weights)


def test_components_are_named_after_sizes_below_the_rank_and_outside_only_of_rectangular_weights():
    assert BaseSvd(sizes=(1, 64)).names(Lora(), ANATOMY) == [
        "block-1",
        "rows-1-only",
        "columns-1-only",
        "tail-1",
        "outside",
    ]
    square = ANATOMY.model_copy(update={"kv_heads": 4})
    assert BaseSvd(sizes=(1,)).names(Lora(target_modules=("q_proj", "v_proj")), square)[-1] == "tail-1"


def test_the_five_parts_sum_to_dw_and_their_energies_add_up(weights):
    given = made(weights)
    parts = [LENS.split(given, name).keep for name in PARTS]
    for name, matrix in given.delta.items():
        whole = sum(part[name].dense() for part in parts if name in part)
        assert relative(whole, matrix.dense()) < 1e-6
    assert sum(total_energy(part) for part in parts) == pytest.approx(total_energy(given.delta), rel=1e-5)


@pytest.mark.parametrize("component", PARTS)
@pytest.mark.parametrize("dense", [False, True], ids=["factored", "dense"])
def test_keep_and_drop_sum_to_dw_and_factors_stay_factors(weights, component, dense):
    given = made(weights)
    if dense:
        given = made(weights, {name: Dense(matrix.dense()) for name, matrix in given.delta.items()})
    for split in (LENS.split(given, component), LENS.at_random(given, component, rng("base", component))):
        for name, matrix in given.delta.items():
            whole = sum(part[name].dense() for part in (split.keep, split.drop) if name in part)
            assert relative(whole, matrix.dense()) < 1e-6
        if not dense:
            assert all(matrix.rank_bound <= 3 for matrix in split.keep.values())


@pytest.mark.parametrize(
    ("left", "right", "component"),
    [(1, 2, "block-4"), (1, 9, "rows-4-only"), (9, 1, "columns-4-only"), (9, 10, "tail-4")],
)
def test_a_singular_direction_pair_of_the_base_is_in_one_part_only(weights, left, right, component):
    delta = {}
    for name, weight in weights.items():
        u, _, vh = torch.linalg.svd(weight, full_matrices=False)
        delta[name] = Factored(u[:, left : left + 1], vh[right : right + 1])
    given = made(weights, delta)
    for name in PARTS:
        held = total_energy(LENS.split(given, name).keep) / total_energy(delta)
        assert held == pytest.approx(float(name == component), abs=1e-5)


@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_what_the_base_weight_cannot_use_is_outside(weights, shape):
    """An input that a wide W maps to zero, an output that a tall W never writes."""
    name, weight = tensor(shape), weights[tensor(shape)]
    long = max(weight.shape)
    basis = torch.linalg.svd(weight, full_matrices=True)
    unused = basis.Vh[-1:] if shape == "wide" else basis.U[:, -1:]
    other = torch.ones(min(weight.shape), 1)
    factors = (other, unused) if shape == "wide" else (unused, other.T)
    given = made({name: weight}, {name: Factored(*factors)})
    split = LENS.split(given, "outside")
    assert not split.drop
    assert relative(split.keep[name].dense(), given.delta[name].dense()) < 1e-5
    assert all(not LENS.split(given, part).keep for part in PARTS[:-1])
    assert long == 40


def test_a_random_dw_holds_as_much_in_the_blocks_as_in_random_blocks():
    """k²/d² of the energy of an isotropic dW is in any block: 16/576."""
    generator = torch.Generator().manual_seed(7)
    name = tensor("square")
    weights = {name: torch.randn(24, 24, generator=generator)}
    shares, controls = [], []
    for number in range(200):
        given = made(weights, {name: Dense(torch.randn(24, 24, generator=generator))})
        for found, split in (
            (shares, LENS.split(given, "block-4")),
            (controls, LENS.at_random(given, "block-4", rng("blocks", number))),
        ):
            found.append(total_energy(split.keep) / total_energy(given.delta))
    for found in (shares, controls):
        assert torch.tensor(found).mean() == pytest.approx(16 / 576, rel=0.1)


def test_vectors_are_no_part(weights):
    name = "model.layers.0.input_layernorm.weight"
    given = made(weights | {name: torch.ones(24)}, {name: Dense(torch.ones(24, 1)), **made(weights).delta})
    assert all(name not in LENS.split(given, part).keep for part in PARTS)
    assert all(name in LENS.split(given, part).drop for part in PARTS)


def test_bases_are_computed_once(weights, monkeypatch):
    given = made(weights)
    first = LENS.split(given, "block-4")
    monkeypatch.setattr(torch.linalg, "svd", None)
    again = LENS.split(given, "block-4")
    assert all(torch.equal(first.keep[name].dense(), again.keep[name].dense()) for name in first.keep)
    assert energy(again.keep[tensor("square")]) > 0


def test_every_architectures_weights_serve(tmp_path):
    from dwatlas.models.weights import Weights

    models_made.save(tmp_path, "gemma3")
    delta = models_made.delta()
    given = Given(delta, weights=Weights(tmp_path))
    parts = [LENS.split(given, name).keep for name in PARTS]
    for name, matrix in delta.items():
        assert relative(sum(part[name].dense() for part in parts if name in part), matrix.dense()) < 1e-6
    assert len(svd(parts[0][next(iter(parts[0]))]).s) <= 4
