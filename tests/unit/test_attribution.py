"""Shares by integrated gradients sum to the effect, whatever the parts."""

import models_made
import numpy as np
import pytest
import torch
from models_made import ARCHITECTURES

from dwatlas.adapters.lora import Lora
from dwatlas.lenses.base import Given
from dwatlas.lenses.layers import Layers
from dwatlas.lenses.own_svd import OwnSvd
from dwatlas.scoring.attribution import mean_gradient, share
from dwatlas.scoring.scorer import Scorer
from dwatlas.scoring.steer import Edit

DELTA, ROWS = models_made.delta(scale=0.02), models_made.claims()
WEIGHTS = torch.tensor(ROWS["label"].to_numpy(copy=True)).double() / len(ROWS)
ADAPTER = Lora(r=2)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def prepared(request):
    return Scorer(models_made.model(request.param), models_made.tokenizer(), 200).prepare(ROWS)


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
