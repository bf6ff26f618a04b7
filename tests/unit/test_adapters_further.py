"""Formulas of the less common adapters, in closed form on checkpoints written by hand or trained for a few steps."""

from __future__ import annotations

import models_made
import numpy as np
import pytest
import torch
from models_made import ANATOMY, relative
from peft import PeftModel

from dwatlas.adapters._refused import REFUSED, why_refused
from dwatlas.adapters.base import Pair, Training
from dwatlas.delta import algebra
from dwatlas.delta.algebra import Blocks, Dense, Factored, Sparse
from dwatlas.errors import UserError
from dwatlas.files import write_tensors, write_text
from dwatlas.models.load import load_model
from dwatlas.models.weights import Weights
from dwatlas.pairs.poles import POLES
from dwatlas.registry import kinds, plugin
from dwatlas.train.checkpoint import CONFIG, TENSORS, Checkpoint

TRAINING = Training(steps=3, batch_size=4, learning_rate=0.03, warmup_steps=1)
SITE = ANATOMY.sites()[6]
"""down_proj of the first layer: [32, 48]."""
ROWS, COLUMNS = SITE.shape
GENERATOR = torch.Generator().manual_seed(5)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR)


WEIGHT = drawn(ROWS, COLUMNS)


@pytest.fixture
def written(tmp_path):
    """A pair from tensors of each pole, named as in the module, or from ``base_model.`` on."""

    def write(pos: dict, neg: dict) -> Pair:
        for pole, tensors in zip(POLES, (pos, neg), strict=True):
            (tmp_path / pole).mkdir()
            named = {
                name if name.startswith("base_model.") else f"base_model.model.{SITE.path}.{name}": tensor.contiguous()
                for name, tensor in tensors.items()
            }
            write_tensors(tmp_path / pole / TENSORS, named, {})
            write_text(tmp_path / pole / CONFIG, "{}\n")
        return Pair(*(Checkpoint(tmp_path / pole) for pole in POLES), {SITE.name: WEIGHT})

    return write


def test_hira_multiplies_the_weight_by_a_low_rank_matrix(written):
    left, right, minus = drawn(ROWS, 2), drawn(2, COLUMNS), drawn(ROWS, 2)
    pair = written({"hira_A": right, "hira_B": left}, {"hira_A": right, "hira_B": minus})
    hira = plugin("adapters", "hira")(r=2)
    delta = hira.contrast(pair, SITE)
    assert isinstance(delta, Dense)
    assert relative(delta.dense(), WEIGHT * ((left - minus) @ right)) < 1e-6
    assert not hira.part("A-side", pair, SITE).dense().any(), "A is the same in both poles"


def test_mica_stays_in_the_directions_of_b(written):
    left, right, minus = drawn(ROWS, 3), drawn(3, COLUMNS), drawn(3, COLUMNS)
    pair = written(*({"lora_B.weight": left, "lora_A.weight": one} for one in (right, minus)))
    mica = plugin("adapters", "mica")(r=3, alpha=6)
    delta = mica.contrast(pair, SITE)
    assert isinstance(delta, Factored) and delta.rank_bound == 3
    assert relative(delta.dense(), 2 * left @ (right - minus)) < 1e-6


def test_bdlora_changes_the_blocks_of_the_input_by_ranks_of_their_own(written):
    tensors = [{"lora_B.weight": drawn(ROWS, 4), "lora_A.weight": drawn(4, COLUMNS // 2)} for _ in POLES]
    bdlora, pair = plugin("adapters", "bdlora")(r=4, alpha=4), written(*tensors)
    first, second = (bdlora.part(f"block-{j}", pair, SITE).dense() for j in (1, 2))
    assert first[:, : COLUMNS // 2].any() and not first[:, COLUMNS // 2 :].any()
    assert second[:, COLUMNS // 2 :].any() and not second[:, : COLUMNS // 2].any()
    half = [one["lora_B.weight"][:, :2] @ one["lora_A.weight"][:2] for one in tensors]
    assert relative(first[:, : COLUMNS // 2], half[0] - half[1]) < 1e-6


def test_gloras_vectors_scale_rows_and_shift_them(written):
    a, b = drawn(ROWS, 1), drawn(ROWS, 1)
    nothing = {"glora_A.X": torch.zeros(ROWS, 1), "glora_B.X": torch.zeros(ROWS, 1)}
    glora, pair = plugin("adapters", "glora")(form="vector"), written({"glora_A.X": a, "glora_B.X": b}, nothing)
    scaling, shift = (glora.part(term, pair, SITE) for term in ("scaling", "shift"))
    assert isinstance(scaling, Blocks) and isinstance(shift, Factored)
    assert relative(scaling.dense(), a * WEIGHT) < 1e-6
    assert relative(shift.dense(), b.expand(ROWS, COLUMNS)) < 1e-6
    assert [type(term) for term in glora.contrast(pair, SITE).terms] == [Blocks, Factored]


def test_glora_with_constants_scales_and_shifts_by_one_number(written):
    poles = ({"glora_A.X": torch.tensor([a]), "glora_B.X": torch.tensor([b])} for a, b in ((0.5, 1.0), (0.25, -1.0)))
    delta = plugin("adapters", "glora")(form="constant").contrast(written(*poles), SITE)
    assert relative(delta.dense(), 0.25 * WEIGHT + 2.0) < 1e-6


def test_glora_without_ranks_has_no_size_to_choose():
    with pytest.raises(UserError, match="trainable_parameters: the form vector has no size"):
        plugin("adapters", "glora")(form="vector", trainable_parameters=100).sized(ANATOMY)


@pytest.mark.parametrize("projector", ["relu", "qr"])
def test_deft_replaces_a_subspace_of_the_outputs(written, projector):
    start, inject = drawn(ROWS, 2), drawn(2, COLUMNS)
    other = {"deft_P": drawn(ROWS, 2), "deft_R": drawn(2, COLUMNS)}
    pair = written({"deft_P": start, "deft_R": inject}, other)
    deft = plugin("adapters", "deft")(r=2, alpha=6, projector=projector)
    outputs = torch.linalg.qr(start).Q if projector == "qr" else start
    inputs = outputs if projector == "qr" else start.relu()
    expected = outputs @ (3 * inject) - outputs @ (inputs.T @ WEIGHT)
    assert relative(deft.change(pair.pos, SITE, pair.weights).dense(), expected) < 1e-5
    whole = sum(deft.part(term, pair, SITE).dense() for term in ("directions", "injection", "removal"))
    assert relative(whole, deft.contrast(pair, SITE).dense()) < 1e-6


def test_tinylora_is_linear_in_its_vector(written):
    fixed = {
        "tinylora_A": drawn(2, COLUMNS),
        "tinylora_B": drawn(ROWS, 2),
        "tinylora_P": torch.stack([torch.eye(2)] * 3),
    }
    vectors = torch.tensor([[0.5, 2.0, 1.0], [0.5, -1.0, 0.0]])
    pair = written(*(fixed | {"base_model.tinylora_v.0": vector} for vector in vectors))
    tiny = plugin("adapters", "tinylora")(u=3)
    assert relative(tiny.contrast(pair, SITE).dense(), 4 * fixed["tinylora_B"] @ fixed["tinylora_A"]) < 1e-6
    largest = tiny.part("entry-1", pair, SITE).dense()
    assert relative(largest, 3 * fixed["tinylora_B"] @ fixed["tinylora_A"]) < 1e-6


def test_supertuning_is_sparse_and_supra_adds_a_low_rank_matrix(written):
    places, values = torch.tensor([7, 100, 1000], dtype=torch.int32), torch.tensor([1.0, -2.0, 0.5])
    tensors = {
        "supertuning_indices": places,
        "supertuning_lora_A.weight": drawn(2, COLUMNS),
        "supertuning_lora_B.weight": drawn(ROWS, 2),
    }
    still = tensors | {"supertuning_lora_B.weight": torch.zeros(ROWS, 2)}
    pair = written(tensors | {"supertuning_values": values}, still | {"supertuning_values": torch.zeros(3)})
    expected = torch.zeros(ROWS * COLUMNS)
    expected[places.long()] = values
    sparse = plugin("adapters", "supertuning")().contrast(pair, SITE)
    assert isinstance(sparse, Sparse) and torch.equal(sparse.dense().flatten(), expected)
    both = plugin("adapters", "supertuning")(r=2, alpha=3).contrast(pair, SITE)
    assert [type(term) for term in both.terms] == [Sparse, Factored]
    low_rank = 1.5 * tensors["supertuning_lora_B.weight"] @ tensors["supertuning_lora_A.weight"]
    assert relative(both.dense(), expected.reshape(ROWS, COLUMNS) + low_rank) < 1e-6


def test_osf_that_trains_values_only_has_no_other_part(written):
    u, s, vh = torch.linalg.svd(WEIGHT, full_matrices=False)
    low = {"osf_svd_params.U_low": u[:, -4:], "osf_svd_params.V_low": vh[-4:]}
    pair = written(*(low | {"osf_svd_params.S_low": scale * s[-4:]} for scale in (1.5, 0.5)))
    osf = plugin("adapters", "osf")(r=4)
    assert relative(osf.change(pair.pos, SITE, pair.weights).dense(), 0.5 * (u[:, -4:] * s[-4:]) @ vh[-4:]) < 1e-4
    assert relative(osf.part("values", pair, SITE).dense(), osf.contrast(pair, SITE).dense()) < 1e-6
    assert not any(osf.part(name, pair, SITE).dense().any() for name in ("left", "right", "interaction"))


def test_peanut_reads_the_base_weight(written):
    first, encoder, decoder, last = drawn(3, ROWS), drawn(3, 3), drawn(3, 3), drawn(ROWS, 3)
    tensors = {
        "peanut_A.weight": first,
        "peanut_encoders.0.weight": encoder,
        "peanut_decoders.0.weight": decoder,
        "peanut_B.weight": last,
    }
    pair = written(tensors, tensors | {"peanut_B.weight": -last})
    peanut = plugin("adapters", "peanut")(r=3, depth=1, activation="tanh", scale=0.5)
    given = (WEIGHT.T @ first.T).tanh()
    hidden = ((given @ encoder.T).tanh() @ decoder.T).tanh() + given
    assert relative(peanut.contrast(pair, SITE).dense(), last @ hidden.T) < 1e-5
    assert not peanut.part("hidden-side", pair, SITE).dense().any(), "what is before B is the same in both poles"


def test_unilora_fills_its_factors_from_one_vector(written):
    rng = np.random.default_rng(0)
    fixed = {
        f"unilora_{what}_{side}": torch.as_tensor(rng.integers(0, 5, shape))
        if what == "indices"
        else torch.full(shape, 0.5)
        for side, shape in {"A": (2, COLUMNS), "B": (ROWS, 2)}.items()
        for what in ("indices", "scales")
    }
    vector = torch.tensor([1.0, 2.0, -1.0, 0.5, 3.0])
    pair = written(*(fixed | {"base_model.unilora_theta_d": one} for one in (vector, torch.zeros(5))))
    unilora = plugin("adapters", "unilora")(r=2, length=5)
    expected = 0.25 * vector[fixed["unilora_indices_B"]] @ vector[fixed["unilora_indices_A"]]
    assert relative(unilora.contrast(pair, SITE).dense(), expected) < 1e-6
    alone = vector * (vector == vector.max())
    sides = 0.125 * (alone[fixed["unilora_indices_B"]] @ vector[fixed["unilora_indices_A"]])
    sides += 0.125 * (vector[fixed["unilora_indices_B"]] @ alone[fixed["unilora_indices_A"]])
    assert relative(unilora.part("largest-1", pair, SITE).dense(), sides) < 1e-6


def test_vblora_whose_bank_alone_changed_has_no_mixture_part(written):
    logits = {"vblora_logits_A": drawn(2, COLUMNS // 16, 6), "vblora_logits_B": drawn(ROWS // 16, 2, 6)}
    bank = drawn(6, 16)
    pair = written(*(logits | {"base_model.vblora_vector_bank": one} for one in (bank, 2 * bank)))
    vblora = plugin("adapters", "vblora")(r=2, vectors=6, vector_length=16)
    tau = vblora.change(pair.pos, SITE, pair.weights).dense()
    assert relative(vblora.contrast(pair, SITE).dense(), -3 * tau) < 1e-6
    assert relative(vblora.part("bank", pair, SITE).dense(), -3 * tau) < 1e-6
    assert not vblora.part("mixture", pair, SITE).dense().any()
    piece = logits["vblora_logits_A"][1, 2]
    top = piece.topk(2)
    expected = top.values.softmax(0) @ bank[top.indices]
    right = vblora.product(pair.pos, SITE, pair.weights).right
    assert relative(right[1, 32:48], expected) < 1e-6


def test_frod_is_linear_in_its_diagonal_and_sparse_matrix(written):
    basis, places = drawn(COLUMNS, COLUMNS), torch.tensor([[0, 3], [5, 1]])
    columns = torch.linalg.solve(basis.double(), WEIGHT.double().T).T
    norms = columns.norm(dim=0)
    fixed = {"base_model.frod_V.mlp_down_proj": basis, "base_model.frod_s_indices.mlp_down_proj": places}
    fixed["frod_U"] = (columns / norms).float()
    start = fixed | {"frod_lambda_l": norms.float(), "frod_lambda_s_values": torch.zeros(2)}
    moved = fixed | {"frod_lambda_l": 2 * norms.float(), "frod_lambda_s_values": torch.tensor([1.0, 0.0])}
    frod, pair = plugin("adapters", "frod")(), written(moved, start)
    assert float(frod.change(pair.neg, SITE, pair.weights).dense().norm() / WEIGHT.norm()) < 1e-5
    assert relative(frod.part("diagonal", pair, SITE).dense(), WEIGHT) < 1e-5
    sparse = torch.outer((columns / norms)[:, 0], basis[:, 5].double())
    assert relative(frod.part("sparse", pair, SITE).dense(), sparse) < 1e-6


def test_pvera_takes_the_mean_and_not_the_variance(written):
    shared = {"base_model.pvera_A": drawn(4, 60), "base_model.pvera_B": drawn(70, 2)}
    b, d = drawn(ROWS), torch.tensor([1.0, 2.0, 100.0, 100.0])
    still = {"pvera_lambda_b": torch.zeros(ROWS), "pvera_lambda_d": d}
    pair = written(shared | {"pvera_lambda_b": b, "pvera_lambda_d": d}, shared | still)
    left, right = shared["base_model.pvera_B"][:ROWS], shared["base_model.pvera_A"][:2, :COLUMNS]
    expected = b[:, None] * left @ (torch.tensor([[1.0], [2.0]]) * right)
    assert relative(plugin("adapters", "pvera")(r=2).contrast(pair, SITE).dense(), expected) < 1e-6


VARIANTS = {
    "glora-vector": ("glora", {"form": "vector"}),
    "glora-constant": ("glora", {"form": "constant"}),
    "deft-qr": ("deft", {"projector": "qr", "alpha": 16.0}),
    "tinylora-tied": ("tinylora", {"weight_tying": 0.7, "u": 4}),
    "supra": ("supertuning", {"r": 4, "largest": False}),
    "peanut-deep": ("peanut", {"depth": 2, "activation": "silu", "r": 4}),
    "hira-gaussian": ("hira", {"initialisation": "gaussian"}),
    "velora-batch": ("velora", {"direction": "batch_average"}),
}


@pytest.mark.parametrize(("kind", "options"), VARIANTS.values(), ids=VARIANTS)
def test_options_change_what_peft_does_and_the_formula_alike(tmp_path, kind, options):
    """A trained checkpoint with other than the default options merges to base + τ, and its parts sum to dW."""
    adapter = plugin("adapters", kind)(training=TRAINING, layers=(0.6, 1.0), **options)
    manifest = models_made.save(tmp_path / "model", "llama")
    poles = models_made.train_pair(adapter, manifest, tmp_path / "run")
    pair = Pair(*(Checkpoint(poles[pole]) for pole in POLES), Weights(manifest.parent))
    base = load_model(manifest.parent)
    model = PeftModel.from_pretrained(load_model(manifest.parent), poles["pos"])
    counted = sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad)
    assert counted == 0
    merged = model.merge_and_unload().state_dict()
    for site in adapter.sites(ANATOMY):
        weight = base.state_dict()[site.name]
        change = adapter.change(pair.pos, site, pair.weights).dense()
        assert relative(weight + change, merged[site.name]) < 1e-6
        delta = adapter.contrast(pair, site)
        assert len(algebra.svd(delta).s) <= adapter.rank(site)
        for names in adapter.coordinates(ANATOMY).values():
            whole = sum(adapter.part(name, pair, site).dense().double() for name in names)
            assert relative(whole, delta.dense()) < 1e-6, names


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("mica", {"r": 17}, "r: 17 is more than the smallest side of a weight; give at most 16"),
        ("osf", {"r": 16}, "r: 16 leaves nothing to keep in the smallest weight; give at most 15"),
        ("bdlora", {"r": 7}, "r: 7 is no multiple of blocks, 2"),
        ("bdlora", {"r": 12, "blocks": 3}, "blocks: 3 does not divide 32, a side of q_proj"),
        ("supertuning", {"permille": 1}, "permille: 1 leaves nothing to train in the smallest weight; give 2"),
        ("vblora", {"vector_length": 7}, "vector_length: 7 does not divide 16"),
        ("vblora", {"vectors": 1}, "topk: 2 is more than vectors, 1"),
    ],
)
def test_a_size_that_does_not_fit_the_model_is_refused_before_training(kind, options, message):
    with pytest.raises(UserError) as fault:
        plugin("adapters", kind)(**options).sized(ANATOMY)
    assert str(fault.value).startswith(message)


def test_what_is_refused_is_no_kind_and_says_what_to_do():
    assert not set(REFUSED) & set(kinds("adapters"))
    assert not any(name.startswith("_") for name in kinds("adapters"))
    assert why_refused("lora") is None
    assert why_refused("P-Tuning") == f"P-Tuning {REFUSED['p_tuning']}; choose another"
    assert all(len(why_refused(kind).split("; ")) >= 2 and "\n" not in why_refused(kind) for kind in REFUSED)


@pytest.mark.parametrize("kind", ["frod", "pvera", "tinylora", "unilora"])
def test_what_is_drawn_and_not_trained_follows_the_seed(kind):
    adapter = plugin("adapters", kind)()
    assert adapter.settings(ANATOMY, 0) == adapter.settings(ANATOMY, 0)
    assert adapter.settings(ANATOMY, 0) != adapter.settings(ANATOMY, 1)
