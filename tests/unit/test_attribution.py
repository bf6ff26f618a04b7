"""Shares by integrated gradients sum to the effect, whatever the parts."""

import models_made
import numpy as np
import pandas as pd
import pytest
import torch
from models_made import ARCHITECTURES

from dwatlas.adapters.lora import Lora
from dwatlas.delta.algebra import Delta, Dense, Sparse
from dwatlas.errors import UserError
from dwatlas.lenses.base import Given
from dwatlas.lenses.layers import Layers
from dwatlas.lenses.own_svd import OwnSvd
from dwatlas.scoring.attribution import mean_gradient, row_weights, share
from dwatlas.scoring.scorer import Scorer
from dwatlas.scoring.steer import Edit

DELTA, ROWS = models_made.delta(scale=0.02), models_made.claims()
WEIGHTS = row_weights(ROWS)
ADAPTER = Lora(r=2)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def prepared(request):
    return prepare(models_made.model(request.param))


def prepare(model):
    return Scorer(model, models_made.tokenizer(), 200).prepare(ROWS)


def half_difference(prepared, delta, alpha: float = 1.0) -> float:
    up, down = (frame["lr"] @ WEIGHTS.numpy() for frame in prepared.score([Edit(delta, alpha), Edit(delta, -alpha)]))
    return float(up - down) / 2


def test_shares_of_all_parts_sum_to_the_antisymmetric_effect(prepared):
    gradient, effect = mean_gradient(prepared, DELTA, WEIGHTS, points=32), half_difference(prepared, DELTA)
    assert abs(effect) > 0.01
    layers = [share(gradient, Layers().split(Given(DELTA), name).keep) for name in ("layer-0", "layer-1", "layer-2")]
    assert sum(layers) == pytest.approx(effect, rel=1e-3)
    assert np.ptp(layers) > 0.01
    for name in OwnSvd().names(ADAPTER, models_made.ANATOMY):
        split = OwnSvd().split(Given(DELTA), name)
        assert share(gradient, split.keep) + share(gradient, split.drop) == pytest.approx(effect, rel=1e-3)


def test_sixteen_points_are_near_the_effect_even_of_a_strongly_curved_score(prepared):
    """dW is half as large as the weights here; the error is less than 4 % of the effect."""
    effect = half_difference(prepared, DELTA)
    assert share(mean_gradient(prepared, DELTA, WEIGHTS), DELTA) == pytest.approx(effect, rel=0.04)


def test_for_a_small_dw_a_share_is_the_parts_own_effect(prepared):
    small = models_made.delta(scale=2e-4)
    gradient = mean_gradient(prepared, small, WEIGHTS, points=2)
    for name in ("layer-0", "layer-2"):
        part = Layers().split(Given(small), name).keep
        assert share(gradient, part) == pytest.approx(half_difference(prepared, part), rel=0.02, abs=1e-6)


def test_the_model_is_untouched(prepared):
    before = prepared.score()[0]
    mean_gradient(prepared, DELTA, WEIGHTS, points=2)
    assert prepared.score()[0].equals(before)
    assert not any(parameter.requires_grad for parameter in prepared.scorer.model.parameters())


def test_every_item_counts_alike_however_many_rows_it_has():
    rows = pd.DataFrame({"item": ["b", "a", "b", "b"], "label": [1, -1, -1, 1]})
    assert row_weights(rows).tolist() == pytest.approx([1 / 6, -1 / 2, -1 / 6, 1 / 6])


def change(name: str, size: int, scale: float) -> Delta:
    """A change of one vector of parameters in every layer."""
    generator = torch.Generator().manual_seed(len(name))
    values = {
        f"model.layers.{layer}.{name}": scale * torch.randn(size, 1, generator=generator)
        for layer in range(models_made.ANATOMY.layers)
    }
    return {name: Dense(value) for name, value in values.items()}


VECTORS = {
    "norms": change("input_layernorm.weight", 32, 0.3),
    "norms of queries": change("self_attn.q_norm.weight", 8, 0.3),
    "biases": change("mlp.up_proj.bias", 48, 0.5),
    "weights, biases and norms": {
        **{name: DELTA[name] for name in DELTA if "up_proj" in name},
        **change("mlp.up_proj.bias", 48, 0.5),
        **change("post_attention_layernorm.weight", 32, 0.3),
    },
    "a few entries": {
        "model.layers.1.mlp.down_proj.weight": Sparse(
            torch.tensor([[0, 3, 3], [1, 7, 40]]), torch.tensor([1.0, -1, 1.5]), (32, 48)
        )
    },
}


@pytest.mark.parametrize("architecture", ["qwen3", "gemma3"])
@pytest.mark.parametrize("delta", VECTORS.values(), ids=VECTORS)
def test_norm_weights_biases_and_single_entries_have_shares_too(architecture, delta):
    prepared = prepare(models_made.model(architecture))
    gradient, effect = mean_gradient(prepared, delta, WEIGHTS, points=32), half_difference(prepared, delta)
    assert abs(effect) > 1e-3
    assert {name: matrix.shape for name, matrix in gradient.items()} == {name: delta[name].shape for name in delta}
    assert share(gradient, delta) == pytest.approx(effect, rel=1e-3)


def test_a_bias_that_the_model_has_is_changed_not_replaced():
    model = models_made.model()
    for layer in model.model.layers:
        layer.mlp.up_proj.bias = torch.nn.Parameter(torch.linspace(-2, 2, 48), requires_grad=False)
    prepared, delta = prepare(model), VECTORS["weights, biases and norms"]
    effect = half_difference(prepared, delta)
    assert effect != pytest.approx(half_difference(prepare(models_made.model()), delta), rel=0.05)
    assert share(mean_gradient(prepared, delta, WEIGHTS, points=32), delta) == pytest.approx(effect, rel=1e-3)


def test_in_bf16_shares_are_those_of_the_same_weights_in_float32():
    """The stated bound: 5 % of the largest share, bf16's rounding of activations."""
    delta = VECTORS["weights, biases and norms"]
    low, exact = (
        mean_gradient(prepare(model), delta, WEIGHTS)
        for model in (models_made.model().bfloat16(), models_made.model().bfloat16().float())
    )
    shares = np.array([[share(gradient, {name: delta[name]}) for name in delta] for gradient in (low, exact)])
    assert np.abs(shares[0] - shares[1]).max() < 0.05 * np.abs(shares[1]).max()


def test_a_dw_of_another_model_is_refused():
    with pytest.raises(UserError, match=r"layers\.0\.mlp\.up_proj\.bias is \(32, 1\)"):
        mean_gradient(prepare(models_made.model()), change("mlp.up_proj.bias", 32, 1.0), WEIGHTS)
