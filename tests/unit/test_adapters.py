"""Every adapter in the registry on every architecture: dW is exact, checkpoints are PEFT's, coordinates recompose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import models_made
import pytest
import torch
from models_made import ANATOMY, relative
from peft import PeftModel, get_peft_model

from dwatlas.adapters.base import Adapter, Pair, Training
from dwatlas.delta import algebra
from dwatlas.delta.algebra import Matrix
from dwatlas.delta.store import read_delta, write_delta
from dwatlas.lenses.base import Given
from dwatlas.lenses.native import Native
from dwatlas.lenses.polar import Polar
from dwatlas.models.load import load_model
from dwatlas.models.weights import Weights
from dwatlas.pairs.poles import POLES
from dwatlas.registry import kinds, plugin
from dwatlas.scoring.steer import Edit, steered
from dwatlas.seeds import rng
from dwatlas.train.batches import examples_of
from dwatlas.train.checkpoint import Checkpoint
from dwatlas.train.fit import held_out_loss, split_held_out

MODELS = {
    "qwen3-tied": ("qwen3", True),
    "qwen3-untied": ("qwen3", False),
    "gemma3-untied": ("gemma3", False),
    "llama-tied": ("llama", True),
}
TRAINING = Training(steps=4, batch_size=8, learning_rate=0.03, warmup_steps=1)
QUESTION = "<s><user> i think the cup is red . do you agree ? <end><assistant>"
LOADED_IN_FLOAT32 = ("mica", "olora", "pissa", "psoft")
"""PEFT makes their start from the base weights and refuses to do so in float64; it is the same for both poles."""
PART = {"layers": (0.3, 1.0)}
"""Layers 1 and 2 of three: what lies below the range must stay as it is."""


@dataclass(frozen=True)
class Trained:
    """An adapter, the model's folder and both poles' checkpoints."""

    adapter: Adapter
    folder: Path
    poles: dict[str, Path]

    @cached_property
    def pair(self) -> Pair:
        return Pair(*(Checkpoint(self.poles[pole]) for pole in POLES), Weights(self.folder))

    @cached_property
    def delta(self) -> dict[str, Matrix]:
        return self.adapter.delta(self.pair, ANATOMY)

    @cached_property
    def changes(self) -> dict[str, dict[str, Matrix]]:
        checkpoints = {"pos": self.pair.pos, "neg": self.pair.neg}
        return {pole: self.adapter.changes(one, ANATOMY, self.pair.weights) for pole, one in checkpoints.items()}

    def loaded(self, pole: str) -> PeftModel:
        return PeftModel.from_pretrained(load_model(self.folder), self.poles[pole]).eval()


@pytest.fixture(scope="module")
def manifests(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: models_made.save(folder / name, *which) for name, which in MODELS.items()}


@pytest.fixture(scope="module", params=kinds("adapters"))
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module", params=MODELS)
def trained(request, kind, manifests, tmp_path_factory) -> Trained:
    adapter = plugin("adapters", kind)(training=TRAINING, **PART)
    manifest = manifests[request.param]
    return Trained(adapter, manifest.parent, models_made.train_pair(adapter, manifest, tmp_path_factory.mktemp("run")))


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=models_made.ids_of(QUESTION)).logits


def test_delta_is_the_float64_difference_of_the_merged_weights(trained):
    merged = {}
    for pole in POLES:
        base = load_model(trained.folder)
        wide = base if trained.adapter.kind in LOADED_IN_FLOAT32 else base.double()
        merged[pole] = merge(PeftModel.from_pretrained(wide, trained.poles[pole]).double())
    assert set(trained.delta) == {site.name for site in trained.adapter.sites(ANATOMY)}
    for name, matrix in trained.delta.items():
        difference = (merged["pos"].pop(name) - merged["neg"].pop(name)).reshape(matrix.shape)
        assert difference.any()
        assert relative(matrix.dense(), difference) < 1e-6
    for name, tensor in merged["pos"].items():
        assert torch.equal(tensor, merged["neg"][name]), name


def merge(model: PeftModel) -> dict[str, torch.Tensor]:
    """The weights that PEFT merges; a bias that it adds where the base has none to merge into, as it is."""
    added = {
        f"{name.removeprefix('base_model.model.').rpartition('.beft_bias')[0]}.bias": tensor.detach().flatten()
        for name, tensor in model.named_parameters()
        if "beft_bias" in name
    }
    return added if added else model.merge_and_unload().state_dict()


def test_the_base_and_one_poles_change_give_pefts_own_logits(trained):
    base = load_model(trained.folder)
    plain = logits(base)
    for pole in POLES:
        own = logits(trained.loaded(pole))
        with steered(base, [Edit(trained.changes[pole], 1.0)]):
            torch.testing.assert_close(logits(base), own, atol=1e-4, rtol=0)
        assert (own - plain).abs().max() > 1e-3


def test_a_reloaded_checkpoint_has_the_loss_that_training_ended_with(trained):
    pairs = models_made.pairs()
    held_out = split_held_out(pairs, TRAINING.held_out_share, rng("held-out", "made", "agreement", 0))[1]
    for pole in POLES:
        examples = examples_of(models_made.tokenizer(), held_out[held_out["pole"] == pole])
        loss = held_out_loss(trained.loaded(pole), examples, 16, 0)
        assert loss == pytest.approx(models_made.train_log(trained.poles[pole])["loss"].iloc[-1], rel=1e-5)


def test_the_difference_of_the_poles_changes_is_dw(trained):
    whole = algebra.difference(trained.changes["pos"], trained.changes["neg"])
    for name, matrix in trained.delta.items():
        scale = float(matrix.dense().norm()) + 1e-3 * float(trained.changes["pos"][name].dense().norm())
        assert float((whole[name].dense() - matrix.dense()).norm()) < 1e-4 * scale


def test_delta_survives_its_file_in_its_structure(trained, tmp_path):
    write_delta(tmp_path / "delta.safetensors", trained.delta, {})
    again = read_delta(tmp_path / "delta.safetensors", trained.pair.weights)
    assert list(again) == sorted(trained.delta)
    for name, matrix in trained.delta.items():
        assert [type(term) for term in again[name].terms] == [type(term) for term in matrix.terms]
        assert torch.equal(again[name].dense(), matrix.dense())


def test_the_rank_is_within_its_bound(trained):
    for site in trained.adapter.sites(ANATOMY):
        assert len(algebra.svd(trained.delta[site.name]).s) <= trained.adapter.rank(site)


def test_the_parts_of_each_way_to_take_dw_apart_sum_to_dw(trained):
    for names in trained.adapter.coordinates(ANATOMY).values():
        for site in trained.adapter.sites(ANATOMY):
            parts = [trained.adapter.part(name, trained.pair, site) for name in names]
            whole = sum(part.dense().double() for part in parts if part is not None)
            assert relative(whole, trained.delta[site.name].dense()) < 1e-6, names


@pytest.mark.parametrize("lens", [Native(), Polar(), Polar(norms="columns")], ids=["native", "rows", "columns"])
def test_kept_and_dropped_make_dw(trained, lens):
    given = Given(trained.delta, ANATOMY, trained.adapter, pair=trained.pair)
    names = lens.names(trained.adapter, ANATOMY)
    assert len(set(names)) == len(names)
    for name in names:
        split = lens.split(given, name)
        assert split.keep, name
        for tensor, matrix in trained.delta.items():
            whole = sum(part[tensor].dense() for part in (split.keep, split.drop) if tensor in part)
            assert relative(whole, matrix.dense()) < 2e-6, (name, tensor)


def test_the_number_of_trainable_parameters_is_known_before_training(kind):
    adapter = plugin("adapters", kind)(**PART)
    model = get_peft_model(models_made.model(), adapter.peft_config(ANATOMY, 0))
    counted = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert adapter.parameters(ANATOMY) == counted


def test_both_poles_share_their_start(kind, manifests, tmp_path):
    """With next to no learning a checkpoint is its start: one start for both poles, which leaves the base as it was."""
    still = plugin("adapters", kind)(training=Training(steps=1, batch_size=4, learning_rate=1e-12))
    poles = models_made.train_pair(still, manifests["llama-tied"], tmp_path)
    pos, neg = (Checkpoint(poles[pole]) for pole in POLES)
    assert pos.tensors.keys() == neg.tensors.keys()
    for name, tensor in pos.tensors.items():
        torch.testing.assert_close(tensor, neg.tensors[name], rtol=0, atol=1e-9)
    weights = Weights(manifests["llama-tied"].parent)
    for name, matrix in still.changes(pos, ANATOMY, weights).items():
        base = weights[name].norm() if name in weights else 1.0
        assert float(matrix.dense().norm()) < 1e-5 * float(base), "no no-op at its start"


def test_a_size_can_be_chosen_by_trainable_parameters(kind):
    fixed = plugin("adapters", kind)()
    if fixed.size is None:
        pytest.skip("has no size")
    wanted = fixed.parameters(ANATOMY)
    sized = plugin("adapters", kind)(trainable_parameters=wanted).sized(ANATOMY)
    assert sized.parameters(ANATOMY) == wanted
    assert min(fixed.sizes(ANATOMY)) <= getattr(sized, fixed.size) <= max(fixed.sizes(ANATOMY))
