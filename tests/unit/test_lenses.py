"""Lenses: names from the sites alone, keep + drop = dW, every kind has its page, and a planted layer is found."""

import models_made
import pytest
import torch
import yaml
from models_made import ANATOMY, relative
from peft import get_peft_model

from copies import ROOT
from dwatlas.adapters.base import Training
from dwatlas.adapters.ln_tuning import LnTuning
from dwatlas.adapters.lora import Lora
from dwatlas.delta import algebra
from dwatlas.delta.algebra import Dense, Factored, total_energy
from dwatlas.lenses.base import Given
from dwatlas.lenses.grid import Grid
from dwatlas.lenses.layers import Layers
from dwatlas.lenses.modules import Modules
from dwatlas.registry import build, kinds
from dwatlas.scoring.scorer import Scorer
from dwatlas.scoring.steer import Edit
from dwatlas.seeds import rng
from dwatlas.train.fit import fit

CATALOGUE = yaml.safe_load((ROOT / "config/catalogue/lenses.yaml").read_text("utf-8"))["lenses"]
LENSES = {entry: build("lenses", options) for entry, options in CATALOGUE.items()}
ADAPTER = Lora(r=4)
CASES = {
    f"{entry}-{name}": (lens, name)
    for entry, lens in LENSES.items()
    if not lens.needs
    for name in lens.names(ADAPTER, ANATOMY)
}
WEIGHTS = {name: tensor.float() for name, tensor in models_made.model().state_dict().items()}
OTHERS = tuple(models_made.delta(rank=rank) for rank in (3, 5))
DOCS = ROOT / "docs/lenses"
HEADINGS = [*("What it asks", "Components", "What it cannot tell", "Which null handles that", "How to read its figure")]


def given(delta):
    """A dW with what a lens may look at beside it, the poles and activations excepted."""
    return Given(delta, ANATOMY, ADAPTER, WEIGHTS, others=OTHERS)


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


@pytest.mark.parametrize(("lens", "name"), CASES.values(), ids=CASES)
def test_keep_and_drop_sum_to_the_delta(lens, name, delta):
    split = lens.split(given(delta), name)
    whole = sum_of((split.keep, split.drop), {name: matrix.shape for name, matrix in delta.items()})
    for tensor, matrix in delta.items():
        if matrix.dense().any():
            assert relative(whole[tensor], matrix.dense()) < 1e-6
        else:
            assert not whole[tensor].any()


@pytest.mark.parametrize(("lens", "name"), CASES.values(), ids=CASES)
def test_every_part_of_a_zero_delta_is_zero(lens, name):
    zero = {
        site.name: Factored(torch.zeros(site.shape[0], 2), torch.ones(2, site.shape[1])) for site in ANATOMY.sites()
    }
    split = lens.split(given(zero), name)
    assert total_energy(split.keep) == total_energy(split.drop) == 0


def test_every_kind_of_lens_is_in_the_catalogue():
    assert {lens.kind for lens in LENSES.values()} == set(kinds("lenses"))


@pytest.mark.parametrize("kind", kinds("lenses"))
def test_every_kind_of_lens_has_a_page_with_the_same_headings_and_a_line_in_the_index(kind):
    text = (DOCS / f"{kind}.md").read_text("utf-8")
    assert f"`{kind}`" in text.splitlines()[0]
    assert [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")] == HEADINGS
    assert f"[{kind}.md]({kind}.md)" in (DOCS / "README.md").read_text("utf-8")


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_a_lens_page_names_the_controls_that_the_lens_declares(lens):
    section = (DOCS / f"{lens.kind}.md").read_text("utf-8").partition("## Which null handles that")[2]
    section = section.partition("\n## ")[0]
    assert [control for control in lens.controls if f"`{control}`" not in section] == []


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


def test_grid_is_every_tensor_by_layer_and_projection(delta):
    lens = Grid()
    names = lens.names(Lora(layers=(0.6, 1), target_modules=("q_proj", "down_proj")), ANATOMY)
    assert names == ["layer-2.q_proj", "layer-2.down_proj"]
    splits = [lens.split(Given(delta), name) for name in lens.names(Lora(), ANATOMY)]
    assert [list(split.keep) for split in splits] == [[site.name] for site in ANATOMY.sites()]
    assert all(len(split.drop) == len(delta) - 1 for split in splits)
    assert lens.names(LnTuning(), ANATOMY)[0] == "layer-0.input_layernorm"


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
