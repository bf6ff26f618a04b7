"""The exact delta: against dense algebra, against float64 merges and against PEFT's own logits."""

import math

import models_made
import numpy as np
import pytest
import torch
from models_made import ANATOMY, ARCHITECTURES, relative
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from dwatlas.adapters.base import Pair, Training
from dwatlas.adapters.lora import Lora
from dwatlas.adapters.rslora import RsLora
from dwatlas.delta import algebra
from dwatlas.delta.algebra import Dense, Factored
from dwatlas.delta.geometry import geometry
from dwatlas.delta.store import read_delta, write_delta
from dwatlas.delta.table import DELTA_SCHEMA, WHOLE
from dwatlas.errors import UserError
from dwatlas.files import read_tensors, write_tensors
from dwatlas.models.load import load_model
from dwatlas.models.weights import Weights
from dwatlas.pairs.poles import POLES
from dwatlas.scoring.steer import Edit, steered
from dwatlas.train.checkpoint import Checkpoint

TRAINING = Training(steps=4, batch_size=8, learning_rate=0.05, warmup_steps=1)
METHODS = {
    "lora": Lora(r=2, alpha=8, training=TRAINING),
    "rslora": RsLora(r=3, alpha=8, target_modules=("q_proj", "v_proj", "down_proj"), training=TRAINING),
}
QUESTION = "<s><user> i think the cup is red . do you agree ? <end><assistant>"


@pytest.fixture(scope="module", params=ARCHITECTURES)
def manifest(request, tmp_path_factory):
    return models_made.save(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module", params=METHODS)
def trained(request, manifest, tmp_path_factory):
    """The adapter, the base model's folder and both poles' checkpoints."""
    adapter = METHODS[request.param]
    return adapter, manifest.parent, models_made.train_pair(adapter, manifest, tmp_path_factory.mktemp("run"))


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=models_made.ids_of(QUESTION)).logits


@pytest.mark.parametrize("alpha", [-1.0, 0.5, 2.0])
def test_base_and_alpha_delta_give_pefts_logits_of_the_combined_adapter(trained, alpha):
    adapter, folder, poles = trained
    combined = PeftModel.from_pretrained(load_model(folder), poles["pos"], adapter_name="pos").eval()
    combined.load_adapter(poles["neg"], adapter_name="neg")
    combined.add_weighted_adapter(["pos", "neg"], [alpha, -alpha], "both", combination_type="cat")
    combined.set_adapter("both")
    for module in combined.modules():
        if isinstance(module, LoraLayer):
            module.scaling["both"] = 1.0  # the scales are in the factors; PEFT multiplies by rsLoRA's √r once more
    base = load_model(folder)
    delta = adapter.delta(Pair(*(Checkpoint(poles[pole]) for pole in POLES), Weights(folder)), ANATOMY)
    with steered(base, [Edit(delta, alpha)]):
        torch.testing.assert_close(logits(base), logits(combined), atol=1e-4, rtol=0)


def test_a_checkpoint_of_another_rank_or_scale_is_refused(trained):
    adapter, _, poles = trained
    checkpoint = Checkpoint(poles["pos"])
    checkpoint.check(adapter.settings(ANATOMY, 0))
    with pytest.raises(UserError, match=r"trained with lora_alpha .*, not 1;"):
        checkpoint.check(adapter.model_copy(update={"alpha": 1}).settings(ANATOMY, 0))


@pytest.fixture(scope="module")
def matrices():
    """A factored and a dense matrix of the same shape."""
    generator = torch.Generator().manual_seed(0)
    left, right, values = (torch.randn(shape, generator=generator) for shape in ((20, 3), (3, 14), (20, 14)))
    return Factored(left, right), Dense(values)


def test_inner_products_and_energies_are_those_of_the_dense_matrices(matrices):
    for first in matrices:
        for second in matrices:
            expected = float((first.dense().double() * second.dense().double()).sum())
            assert algebra.inner(first, second) == pytest.approx(expected, rel=1e-5)
        assert algebra.energy(first) == pytest.approx(float(first.dense().double().norm() ** 2), rel=1e-6)
    assert algebra.total_energy(dict(zip("ab", matrices, strict=True))) == pytest.approx(
        sum(algebra.energy(matrix) for matrix in matrices)
    )


def test_sums_stay_factored_where_both_are_and_equal_the_dense_sum(matrices):
    factored, dense = matrices
    for first in matrices:
        for second in matrices:
            expected = first.dense() - 2.5 * second.dense()
            torch.testing.assert_close(algebra.add(first, second, -2.5).dense(), expected, atol=1e-5, rtol=1e-5)
    assert algebra.add(factored, factored).rank_bound == 6
    assert isinstance(algebra.add(factored, dense), Dense)


def test_svd_is_that_of_the_dense_matrix(matrices):
    for matrix in matrices:
        u, s, vh = algebra.svd(matrix)
        expected = torch.linalg.svdvals(matrix.dense().double())[: len(s)]
        torch.testing.assert_close(s.double(), expected, atol=0, rtol=1e-5)
        torch.testing.assert_close(u.T @ u, torch.eye(len(s)), atol=1e-5, rtol=0)
        torch.testing.assert_close(vh @ vh.T, torch.eye(len(s)), atol=1e-5, rtol=0)
        assert relative((u * s) @ vh, matrix.dense()) < 1e-6
        assert relative(algebra.svd(matrix).part(slice(None)).dense(), matrix.dense()) < 1e-6


def test_rank_counts_repeated_directions_once_and_keeps_small_ones():
    left = torch.linalg.qr(torch.randn(20, 3, generator=torch.Generator().manual_seed(1)))[0]
    right = torch.linalg.qr(torch.randn(14, 3, generator=torch.Generator().manual_seed(2)))[0].T
    scales = torch.tensor([1.0, 0.5, 1e-4])
    matrix = Factored(left * scales, right)
    torch.testing.assert_close(algebra.svd(matrix).s, scales, rtol=1e-3, atol=0)
    assert len(algebra.svd(algebra.add(matrix, matrix)).s) == 3
    assert len(algebra.svd(Dense(matrix.dense()[:, :1] @ torch.ones(1, 14))).s) == 1


def test_small_directions_of_a_large_factored_matrix_are_no_rounding_errors():
    """Factors are exact numbers: their product's second direction counts whatever the matrix's size."""
    left, right = torch.zeros(12_000, 2), torch.zeros(2, 4_000)
    left[0, 0], left[1, 1], right[0, 0], right[1, 1] = 1.0, 1e-3, 1.0, 1.0
    torch.testing.assert_close(algebra.svd(Factored(left, right)).s, torch.tensor([1.0, 1e-3]))
    cancelled = algebra.difference({"x": Factored(left, right)}, {"x": Factored(left, right)})["x"]
    assert len(algebra.svd(cancelled).s) == 0


def test_a_zero_matrix_has_rank_zero():
    for zero in (Dense(torch.zeros(5, 4)), Factored(torch.zeros(5, 2), torch.ones(2, 4))):
        spectrum = algebra.svd(zero)
        assert (len(spectrum.s), algebra.energy(zero), algebra.effective_rank(spectrum.s)) == (0, 0.0, 0.0)


def test_effective_rank_counts_equal_directions():
    assert algebra.effective_rank(torch.ones(5)) == pytest.approx(5)
    assert algebra.effective_rank(torch.tensor([1.0, 1e-9])) == pytest.approx(1)
    assert algebra.effective_rank(torch.tensor([3.0, 1.0])) == pytest.approx(1.6)


def test_energy_shares_sum_to_one_and_the_last_line_is_the_whole():
    delta = models_made.delta()
    zero = {name: Dense(torch.zeros(matrix.shape)) for name, matrix in delta.items()}
    table = geometry(delta, delta, zero, ANATOMY.sites())
    whole, tensors = table.iloc[-1], table.iloc[:-1]
    assert list(table.columns) == DELTA_SCHEMA.names
    assert whole["tensor"] == WHOLE
    assert tensors["energy_frac"].sum() == pytest.approx(1)
    assert whole["norm"] == pytest.approx(math.sqrt((tensors["norm"] ** 2).sum()))
    assert (tensors["rank"] == 4).all()
    assert whole["rank"] == 4 * len(tensors)
    assert (whole["neg_norm"], whole["common_drift"]) == (0, pytest.approx(1))


@pytest.mark.parametrize(("factor", "cosine", "drift"), [(-1.0, -1, 0), (0.5, 1, 3), (-3.0, -1, 0.5)])
def test_geometry_of_poles_on_one_line_is_known(factor, cosine, drift):
    pos = models_made.delta()
    neg = {name: Factored(factor * matrix.left, matrix.right) for name, matrix in pos.items()}
    table = geometry(algebra.difference(pos, neg), pos, neg, ANATOMY.sites())
    np.testing.assert_allclose(table["pole_cosine"], cosine, rtol=1e-6)
    np.testing.assert_allclose(table["common_drift"], drift, atol=1e-3)
    np.testing.assert_allclose(table["neg_norm"], abs(factor) * table["pos_norm"], rtol=1e-6)


def test_a_delta_survives_its_file(tmp_path):
    delta = models_made.delta() | {"model.layers.0.extra.weight": Dense(torch.ones(3, 2))}
    write_delta(tmp_path / "delta.safetensors", delta, {})
    again = read_delta(tmp_path / "delta.safetensors", {})
    assert list(again) == sorted(delta)
    for name, matrix in delta.items():
        assert type(again[name]) is type(matrix)
        assert torch.equal(again[name].dense(), matrix.dense())


def test_a_factor_without_its_partner_is_refused(tmp_path):
    write_delta(tmp_path / "delta.safetensors", models_made.delta(), {})
    tensors = read_tensors(tmp_path / "delta.safetensors")
    gone = next(name for name in tensors if name.endswith(".right"))
    write_tensors(tmp_path / "delta.safetensors", {name: tensors[name] for name in tensors if name != gone})
    with pytest.raises(UserError, match="has no part 'right'"):
        read_delta(tmp_path / "delta.safetensors", {})
