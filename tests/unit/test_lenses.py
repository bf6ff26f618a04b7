"""Lenses: names from the sites alone, keep + drop = dW, and a planted layer is found."""

import models_made
import pytest
import torch
from models_made import ANATOMY, relative
from peft import get_peft_model

from dwatlas.adapters.base import Training
from dwatlas.adapters.lora import Lora
from dwatlas.delta import algebra
from dwatlas.delta.algebra import Dense, Factored, total_energy
from dwatlas.lenses.base import Given
from dwatlas.lenses.layers import Layers
from dwatlas.lenses.modules import Modules
from dwatlas.lenses.own_svd import OwnSvd
from dwatlas.registry import kinds, plugin
from dwatlas.scoring.scorer import Scorer
from dwatlas.scoring.steer import Edit
from dwatlas.seeds import rng
from dwatlas.train.fit import fit

LENSES = [lens for kind in kinds("lenses") if not ((lens := plugin("lenses", kind)()).needs or lens.axis)]
WEIGHTS = models_made.model().state_dict()
CASES = [(lens, name) for lens in LENSES for name in lens.names(Lora(r=4), ANATOMY)]


def sum_of(parts, shapes):
    """keep + drop, tensor by tensor."""
    return {
        name: sum((part[name].dense().double() for part in parts if name in part), torch.zeros(shape).double())
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def delta():
    """Factored tensors, one dense tensor and one of zeros."""
    made = models_made.delta(rank=8)
    names = list(made)
    made[names[0]] = Dense(made[names[0]].dense())
    made[names[1]] = Factored(0 * made[names[1]].left, made[names[1]].right)
    return made


@pytest.mark.parametrize(("lens", "name"), CASES, ids=[f"{lens.kind}-{name}" for lens, name in CASES])
def test_keep_and_drop_sum_to_the_delta(lens, name, delta):
    split = lens.split(Given(delta, ANATOMY, weights=WEIGHTS), name)
    whole = sum_of((split.keep, split.drop), {name: matrix.shape for name, matrix in delta.items()})
    for tensor, matrix in delta.items():
        if matrix.dense().any():
            assert relative(whole[tensor], matrix.dense()) < 1e-6
        else:
            assert not whole[tensor].any()


@pytest.mark.parametrize(("lens", "name"), CASES, ids=[f"{lens.kind}-{name}" for lens, name in CASES])
def test_every_part_of_a_zero_delta_is_zero(lens, name):
    zero = {
        site.name: Factored(torch.zeros(site.shape[0], 2), torch.ones(2, site.shape[1])) for site in ANATOMY.sites()
    }
    split = lens.split(Given(zero, ANATOMY, weights=WEIGHTS), name)
    assert total_energy(split.keep) == total_energy(split.drop) == 0


def test_layers_are_named_after_the_layers_that_the_adapter_touches():
    assert Layers().names(Lora(), ANATOMY) == [
        *("layer-0", "layer-1", "layer-2"), *("band-1-of-3", "band-2-of-3", "band-3-of-3")
    ]  # fmt: skip
    assert Layers(bands=0).names(Lora(layers=(0.6, 1)), ANATOMY) == ["layer-2"]
    assert Layers().names(Lora(layers=(0.6, 1)), ANATOMY) == ["layer-2", "band-1-of-3"]


def test_bands_are_consecutive_and_cover_every_layer_once():
    anatomy = ANATOMY.model_copy(update={"layers": 7})
    delta = models_made.delta(anatomy=anatomy)
    bands = [Layers().split(Given(delta), f"band-{number}-of-3").keep for number in (1, 2, 3)]
    layers = [sorted({int(name.split(".")[2]) for name in band}) for band in bands]
    assert layers == [[0, 1, 2], [3, 4], [5, 6]]


def test_a_layer_of_two_digits_is_not_taken_for_its_first():
    delta = models_made.delta(anatomy=ANATOMY.model_copy(update={"layers": 12}))
    assert {name.split(".")[2] for name in Layers().split(Given(delta), "layer-1").keep} == {"1"}
    assert {name.split(".")[2] for name in Layers().split(Given(delta), "layer-11").keep} == {"11"}


def test_modules_lists_only_families_that_the_adapter_touches():
    assert Modules().names(Lora(target_modules=("q_proj",)), ANATOMY) == ["attention", "read", "q_proj"]
    assert Modules().names(Lora(target_modules=("down_proj", "o_proj")), ANATOMY) == [
        *("attention", "mlp", "write", "o_proj", "down_proj")
    ]


def test_families_hold_the_right_projections():
    delta = models_made.delta()
    kept = {name: Modules().split(Given(delta), name).keep for name in ("read", "write")}
    held = {name: {tensor.split(".")[-2] for tensor in keep} for name, keep in kept.items()}
    assert held == {"read": {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"}, "write": {"o_proj", "down_proj"}}


def test_own_svd_names_only_ranks_below_the_deltas():
    names = OwnSvd().names(Lora(r=1), ANATOMY)
    assert names == ["top-1", "energy-50", "energy-90", "energy-99", "tail-1"]
    assert "top-8" in OwnSvd().names(Lora(r=8), ANATOMY)
    assert "top-16" not in OwnSvd().names(Lora(r=8), ANATOMY)


def diagonal(*values: float) -> dict:
    """One tensor with these singular values."""
    left = torch.linalg.qr(torch.randn(12, len(values), generator=torch.Generator().manual_seed(3)))[0]
    return {"model.layers.0.mlp.up_proj.weight": Factored(left * torch.tensor(values), torch.eye(len(values), 9))}


@pytest.mark.parametrize(
    ("component", "kept"),
    [
        ("top-1", [8]),
        ("top-3", [8, 4, 3]),
        ("top-9", [8, 4, 3, 1]),
        ("tail-1", [4, 3, 1]),
        ("energy-50", [8]),
        ("energy-71", [8]),
        ("energy-72", [8, 4]),
        ("energy-89", [8, 4, 3]),
        ("energy-99", [8, 4, 3, 1]),
    ],
)
def test_own_svd_keeps_the_fewest_directions_that_reach_the_level(component, kept):
    """Energies 64, 16, 9, 1 of 90: cumulative shares 71.1, 88.9, 98.9 and 100 %."""
    split = OwnSvd().split(Given(diagonal(8, 4, 3, 1)), component)
    (matrix,) = split.keep.values()
    torch.testing.assert_close(algebra.svd(matrix).s, torch.tensor(kept, dtype=torch.float32), rtol=1e-5, atol=0)
    assert total_energy(split.keep) + total_energy(split.drop) == pytest.approx(90, rel=1e-5)


def test_a_tail_beyond_the_rank_is_empty():
    split = OwnSvd().split(Given(diagonal(2, 1)), "tail-4")
    assert split.keep == {}
    assert total_energy(split.drop) == pytest.approx(5, rel=1e-5)


def test_layers_finds_an_adapter_that_was_trained_on_one_layer_only():
    """R_keep = 1 and R_drop = 0 at the trained layer, the reverse elsewhere."""
    changes = {pole: train_layer_1(pole) for pole in ("pos", "neg")}
    delta = algebra.difference(changes["pos"], changes["neg"])
    rows = models_made.claims()
    base = models_made.model()
    prepared = Scorer(base, models_made.tokenizer()).prepare(rows)

    def effect(part) -> float:
        up, down = (scores["lr"].mean() for scores in prepared.score([Edit(part, 1.0), Edit(part, -1.0)]))
        return float(up - down) / 2

    full = effect(delta)
    assert abs(full) > 0.1
    for name in ("layer-0", "layer-1", "layer-2"):
        split = Layers().split(Given(delta), name)
        keep, drop = effect(split.keep) / full, effect(split.drop) / full
        assert (keep, drop) == pytest.approx((1, 0) if name == "layer-1" else (0, 1), abs=1e-5)


def train_layer_1(pole: str):
    """τ of an adapter with sites everywhere whose factors are trained in layer 1 only."""
    adapter = Lora(r=2, alpha=4, training=Training(steps=6, batch_size=8, learning_rate=0.02, warmup_steps=1))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = get_peft_model(models_made.model(), adapter.peft_config(ANATOMY, 0))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name and ".layers.1." in name)
    pairs = models_made.pairs()
    pairs = pairs[pairs["pole"] == pole]
    fit(model, models_made.tokenizer(), pairs, pairs[:0], adapter, rng("order"), lambda text: None)
    weights = dict(model.named_parameters())
    tau = {}
    for site in ANATOMY.sites():
        stem = f"base_model.model.{site.name.removesuffix('.weight')}"
        a, b = (weights[f"{stem}.lora_{side}.default.weight"].detach() for side in "AB")
        tau[site.name] = Factored(adapter.scale * b, a)
    return tau
