"""DoRA, PiSSA, OLoRA, DeLoRA, AdaLoRA, GraLoRA, MiSS: closed forms, structure, and options beside the default."""

from __future__ import annotations

import json

import models_made
import pytest
import torch
from models_made import ANATOMY, relative
from peft import PeftModel, get_peft_model

from dwatlas.adapters.adalora import Adalora
from dwatlas.adapters.base import Pair, Training
from dwatlas.adapters.delora import Delora
from dwatlas.adapters.dora import Dora
from dwatlas.adapters.gralora import Gralora
from dwatlas.adapters.lora import Lora
from dwatlas.adapters.miss import Miss
from dwatlas.adapters.olora import Olora
from dwatlas.adapters.pissa import Pissa
from dwatlas.delta.algebra import Blocks, Dense, Factored, energy
from dwatlas.delta.factors import Contrast, Product
from dwatlas.errors import UserError
from dwatlas.files import write_tensors, write_text
from dwatlas.models.anatomy import Site
from dwatlas.models.load import load_model
from dwatlas.models.weights import Weights
from dwatlas.pairs.poles import POLES
from dwatlas.train.checkpoint import CONFIG, TENSORS, Checkpoint

SITE = Site("model.layers.0.self_attn.q_proj.weight", 0, "q_proj", (8, 6))
TRAINING = Training(steps=4, batch_size=8, learning_rate=0.03, warmup_steps=1)
VARIANTS = [
    Lora(initialisation="gaussian"),
    Lora(initialisation="orthogonal", r=4),
    Dora(initialisation="orthogonal", r=4),
    Gralora(blocks=4, r=12, hybrid_r=3),
    Miss(r=5),
    Miss(variant="mini", mini_r=2, r=4),
    Miss(variant="mini", mini_r=8, r=3),
    Miss(variant="bat"),
]


def named(adapter) -> str:
    """A test's name for an adapter: its kind and the options that were given."""
    return "-".join([adapter.kind, *(f"{name}-{getattr(adapter, name)}" for name in sorted(adapter.model_fields_set))])


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


WEIGHTS = {SITE.name: normal(*SITE.shape, seed=100)}


@pytest.fixture
def pair(tmp_path):
    """Makes a pair of checkpoints out of both poles' tensors of one site."""

    def make(pos: dict, neg: dict, rank_patterns=(None, None)) -> Pair:
        for pole, tensors, pattern in zip(POLES, (pos, neg), rank_patterns, strict=True):
            whole_names = {f"base_model.model.{SITE.path}.{name}": one.contiguous() for name, one in tensors.items()}
            write_tensors(tmp_path / pole / TENSORS, whole_names, {})
            write_text(tmp_path / pole / CONFIG, json.dumps({"rank_pattern": pattern}))
        return Pair(*(Checkpoint(tmp_path / pole) for pole in POLES), WEIGHTS)

    return make


def part(adapter, pair: Pair, component: str) -> torch.Tensor:
    return adapter.part(component, pair, SITE).dense()


def lora_tensors(r: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    return {"lora_A.weight": normal(r, 6, seed=seed), "lora_B.weight": normal(8, r, seed=seed + 1)}


# A contrast of products


def test_the_parts_of_a_contrast_are_its_closed_forms():
    shapes = (8, 1), (1,), (1, 6)
    pos, neg = (Product(*(normal(*shape, seed=seed + len(shape)).double() for shape in shapes)) for seed in (1, 7))
    contrast = Contrast(pos, neg)
    mean = (pos.left + neg.left) / 2
    torch.testing.assert_close(
        contrast.right.dense(), (mean * (pos.values + neg.values) / 2 @ (pos.right - neg.right)).float()
    )
    whole = contrast.whole.dense()
    assert relative(whole, pos.factored.dense() - neg.factored.dense()) < 1e-6
    for names in (("values", "left", "right", "interaction"), ("strengths", "directions")):
        assert relative(sum(getattr(contrast, name).dense() for name in names), whole) < 1e-6
    assert float(contrast.energies) == pytest.approx(float(whole.square().sum()))


def test_a_small_difference_of_two_poles_with_a_large_common_start_is_exact():
    left, right, step = normal(8, 2).double(), normal(2, 6).double(), 1e-5 * normal(8, 2, seed=5).double()
    one = torch.ones(2, dtype=torch.float64)
    contrast = Contrast(Product(left + step, one, right), Product(left - step, one, right))
    assert relative(contrast.whole.dense(), 2 * step @ right) < 1e-6


# DoRA


def test_training_doras_magnitudes_alone_gives_no_direction_part(pair):
    shared = lora_tensors()
    trained = pair(
        {**shared, "lora_magnitude_vector": torch.full((8,), 3.0)},
        {**shared, "lora_magnitude_vector": torch.full((8,), 1.0)},
    )
    adapter = Dora(r=2, alpha=2)
    moved = WEIGHTS[SITE.name] + shared["lora_B.weight"] @ shared["lora_A.weight"]
    rows = 2 * moved / moved.norm(dim=1, keepdim=True)
    assert relative(part(adapter, trained, "magnitude"), rows) < 1e-6
    assert part(adapter, trained, "direction").norm() < 1e-6
    assert relative(adapter.contrast(trained, SITE).dense(), rows) < 1e-6


def test_doras_magnitude_part_is_absent_when_only_directions_were_trained(pair):
    magnitude = {"lora_magnitude_vector": torch.full((8,), 2.0)}
    trained = pair(lora_tensors(seed=1) | magnitude, lora_tensors(seed=5) | magnitude)
    adapter = Dora(r=2)
    assert part(adapter, trained, "magnitude").norm() < 1e-6
    change = adapter.change(trained.pos, SITE, WEIGHTS)
    assert {type(term) for term in change.terms} == {Factored, Blocks}
    torch.testing.assert_close((WEIGHTS[SITE.name] + change.dense()).norm(dim=1), torch.full((8,), 2.0))


# PiSSA and OLoRA


def test_pissa_starts_from_the_best_low_rank_approximation():
    u, s, vh = torch.linalg.svd(WEIGHTS[SITE.name].double(), full_matrices=False)
    start = Pissa(r=2, alpha=6).start(WEIGHTS[SITE.name])
    assert relative(start.factored.dense(), (u[:, :2] * s[:2]) @ vh[:2]) < 1e-6
    torch.testing.assert_close(start.left.norm(dim=0), start.right.norm(dim=1), rtol=1e-5, atol=0)


def test_olora_starts_from_the_qr_decomposition():
    start = Olora(r=2, alpha=2).start(WEIGHTS[SITE.name])
    torch.testing.assert_close((start.left.T @ start.left).float(), torch.eye(2))
    assert relative(start.factored.dense()[:, :2], WEIGHTS[SITE.name][:, :2]) < 1e-6


@pytest.mark.parametrize("method", [Pissa, Olora])
def test_a_change_from_a_rewritten_base_is_relative_to_the_original_base(method, pair):
    adapter = method(r=2, alpha=2)
    start, step = adapter.start(WEIGHTS[SITE.name]), normal(8, 2, seed=9)
    poles = [
        {"lora_A.weight": start.right.float(), "lora_B.weight": (start.left + sign * step).float()} for sign in (1, -1)
    ]
    trained = pair(*poles)
    expected = step.double() @ start.right
    assert relative(adapter.change(trained.pos, SITE, WEIGHTS).dense(), expected) < 1e-5
    assert relative(adapter.contrast(trained, SITE).dense(), 2 * expected) < 1e-6
    assert part(adapter, trained, "A-side").norm() == 0


# DeLoRA


def delora_tensors(strength: float, seed: int = 0, r: int = 2) -> dict[str, torch.Tensor]:
    return {
        "delora_A": normal(r, 6, seed=seed),
        "delora_B": normal(8, r, seed=seed + 1),
        "delora_lambda": torch.tensor([strength]),
        "delora_w_norm": torch.ones(6),
    }


def test_deloras_strength_is_the_size_of_a_change_of_rank_one_whatever_the_factors_are(pair):
    adapter = Delora(r=1)
    trained = pair(delora_tensors(3.0, r=1), delora_tensors(3.0, r=1) | {"delora_B": 50 * normal(8, 1, seed=1)})
    changes = [adapter.change(pole, SITE, WEIGHTS) for pole in (trained.pos, trained.neg)]
    assert [energy(change) ** 0.5 for change in changes] == pytest.approx([3, 3])
    torch.testing.assert_close(changes[0].dense(), changes[1].dense())


def test_training_deloras_strengths_alone_gives_no_other_part(pair):
    trained = pair(delora_tensors(5.0), delora_tensors(1.0))
    adapter = Delora(r=2)
    whole = adapter.contrast(trained, SITE).dense()
    for name in ("strengths", "lambda"):
        assert relative(part(adapter, trained, name), whole) < 1e-6
    for name in ("directions", "output-directions", "input-directions", "interaction"):
        assert part(adapter, trained, name).norm() < 1e-6


def test_deloras_interaction_is_a_quarter_of_the_product_of_the_differences(pair):
    pos, neg = delora_tensors(5.0, seed=1, r=1), delora_tensors(1.0, seed=5, r=1)
    lefts = [one["delora_B"] / one["delora_B"].norm() for one in (pos, neg)]
    rights = [one["delora_A"] / one["delora_A"].norm() for one in (pos, neg)]
    expected = (lefts[0] - lefts[1]) @ (rights[0] - rights[1])
    assert relative(part(Delora(r=1), pair(pos, neg), "interaction"), expected) < 1e-6


# AdaLoRA


def adalora_tensors(kept: list[bool], seed: int = 0) -> dict[str, torch.Tensor]:
    index = torch.tensor(kept)
    left, right, values = normal(8, len(kept), seed=seed), normal(len(kept), 6, seed=seed + 1), normal(len(kept), 1)
    return {"lora_A": right[index], "lora_B": left[:, index], "lora_E": values[index]}


def test_a_rank_that_one_adalora_pole_pruned_is_a_change_of_its_value_alone(pair):
    everything, none = [True, True, True], [False, False, False]
    patterns = ({f"{SITE.path}.lora_E.default": everything}, {f"{SITE.path}.lora_E": none})
    trained = pair(adalora_tensors(everything), adalora_tensors(none), patterns)
    adapter = Adalora(init_r=3)
    whole = adapter.contrast(trained, SITE)
    assert relative(whole.dense(), adapter.change(trained.pos, SITE, WEIGHTS).dense()) < 1e-6
    assert relative(part(adapter, trained, "values"), whole.dense()) < 1e-6
    for name in ("left-directions", "right-directions", "interaction"):
        assert part(adapter, trained, name).norm() == 0


def test_adalora_poles_keep_different_ranks_in_their_own_places(pair):
    kept = [True, False, True], [False, False, True]
    patterns = tuple({f"{SITE.path}.lora_E": one} for one in kept)
    trained = pair(adalora_tensors(kept[0]), adalora_tensors(kept[1]), patterns)
    adapter = Adalora(init_r=3, alpha=3)
    expected = normal(3, 1)[0] * normal(8, 3)[:, :1] @ normal(3, 6, seed=1)[:1]
    assert relative(part(adapter, trained, "rank-1"), expected) < 1e-5
    assert part(adapter, trained, "rank-2").norm() == 0
    assert adapter.contrast(trained, SITE).rank_bound == 4


def test_a_matrix_that_both_adalora_poles_pruned_away_is_unchanged(pair):
    pattern = {f"{SITE.path}.lora_E": [False, False]}
    trained = pair(adalora_tensors([False, False]), adalora_tensors([False, False]), (pattern, pattern))
    adapter = Adalora(init_r=2)
    assert energy(adapter.contrast(trained, SITE)) == 0
    assert {float(part(adapter, trained, name).norm()) for name in ("values", "interaction", "rank-1", "rank-2")} == {0}


def test_adalora_poles_keep_the_budget_each_by_its_own_gradients(tmp_path):
    manifest = models_made.save(tmp_path / "model", "llama")
    adapter = Adalora(init_r=4, target_share=0.5, training=TRAINING, layers=(0.3, 1.0))
    poles = models_made.train_pair(adapter, manifest, tmp_path)
    kept = [[sum(one) for _, one in sorted(Checkpoint(poles[pole]).config["rank_pattern"].items())] for pole in POLES]
    sites = len(adapter.sites(ANATOMY))
    assert [sum(one) for one in kept] == [2 * sites, 2 * sites]
    assert kept[0] != kept[1]
    assert min(map(min, kept)) < 2 < max(map(max, kept))


def test_adaloras_penalty_is_what_peft_adds_to_the_loss():
    adapter = Adalora(orthogonality=0.3)
    model = get_peft_model(models_made.model(), adapter.peft_config(ANATOMY, 0))
    ids = models_made.ids_of("<s><user> is the cup red ? <end><assistant>")
    with torch.no_grad():
        with_penalty = model(input_ids=ids, labels=ids).loss
        model.peft_config["default"].orth_reg_weight = 0.0
        plain = model(input_ids=ids, labels=ids).loss
        torch.testing.assert_close(adapter.penalty(model), with_penalty - plain, rtol=1e-4, atol=0)


def test_adaloras_phases_leave_steps_to_prune_in():
    with pytest.raises(ValueError, match="leave no step to prune in"):
        Adalora(warmup_share=0.5, final_share=0.5)
    assert not Adalora(target_share=1.0).prunes
    assert not Adalora(training=Training(steps=1)).prunes
    assert Adalora(training=Training(steps=2)).prunes


# GraLoRA


def test_graloras_blocks_are_where_their_factors_are(pair):
    """With B_1 reading only the terms of the inputs' first half, the change is in the block (1, 0)."""
    left, right = torch.zeros(2, 4, 4), normal(2, 3, 4)
    left[1, :2] = normal(2, 4, seed=2)
    zero = {"gralora_A": right, "gralora_B": torch.zeros(2, 4, 4)}
    trained = pair({"gralora_A": right, "gralora_B": left}, zero)
    adapter = Gralora(r=4, alpha=4, blocks=2)
    expected = torch.zeros(8, 6)
    expected[4:, :3] = (right[0][:, 2:] @ left[1, :2]).T
    assert relative(adapter.contrast(trained, SITE).dense(), expected) < 1e-6
    assert relative(part(adapter, trained, "block-1"), expected) < 1e-6
    assert part(adapter, trained, "block-3-4").norm() == 0


# MiSS


def test_miss_repeats_its_matrix_along_the_inputs_and_mini_along_the_outputs_too(pair):
    shard = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    zero = {"miss_block": torch.zeros(4, 2)}
    dw = Miss(r=4, variant="mini", mini_r=2).contrast(pair({"miss_block": shard}, zero), SITE)
    assert dw.rank_bound == 2
    assert dw.dense()[0].tolist() == [1, 3, 5, 7, 1, 3]
    assert dw.dense()[5].tolist() == [2, 4, 6, 8, 2, 4]
    full = {"miss_block": shard.repeat(1, 4)}, {"miss_block": torch.zeros(4, 8)}
    torch.testing.assert_close(Miss(r=4).contrast(pair(*full), SITE).dense(), dw.dense())


def test_miss_bat_is_a_shared_part_and_one_that_the_base_weighs(pair):
    trained = pair({"miss_block": normal(4, 2, 2)}, {"miss_block": normal(4, 2, 2, seed=3)})
    difference = normal(4, 2, 2) - normal(4, 2, 2, seed=3)
    adapter = Miss(r=2, variant="bat")
    shared, weighted = (part(adapter, trained, name) for name in ("shared", "weighted"))
    torch.testing.assert_close(shared[2:4, 4:6], difference[1])
    torch.testing.assert_close(weighted[2:4, 4:6], WEIGHTS[SITE.name][2:4, 4:6] @ difference[1])
    assert isinstance(adapter.contrast(trained, SITE), Dense)
    assert int((part(adapter, trained, "block-1").abs().sum(1) > 0).sum()) == 2


# What the generic tests do, for options beside the default


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return models_made.save(tmp_path_factory.mktemp("model"), "qwen3", tied=True)


@pytest.mark.parametrize("adapter", VARIANTS, ids=named)
def test_variants_are_exact_and_taken_apart_exactly(adapter, manifest, tmp_path):
    adapter = adapter.model_copy(update={"training": TRAINING})
    poles = models_made.train_pair(adapter, manifest, tmp_path)
    pair = Pair(*(Checkpoint(poles[pole]) for pole in POLES), Weights(manifest.parent))
    pair.pos.check(adapter.settings(ANATOMY, 0))
    merged = []
    for pole in POLES:
        model = PeftModel.from_pretrained(load_model(manifest.parent).double(), poles[pole]).double()
        merged.append(model.merge_and_unload().state_dict())
    delta = adapter.delta(pair, ANATOMY)
    for site in adapter.sites(ANATOMY):
        whole = delta[site.name].dense()
        assert relative(whole, merged[0][site.name] - merged[1][site.name]) < 1e-6
        assert torch.linalg.matrix_rank(whole.double(), rtol=1e-5) <= adapter.rank(site)
        tau = adapter.change(pair.pos, site, pair.weights).dense()
        assert relative(pair.weights[site.name] + tau, merged[0][site.name]) < 1e-6
        for names in adapter.coordinates(ANATOMY).values():
            parts = [adapter.part(name, pair, site) for name in names]
            assert relative(sum(one.dense().double() for one in parts if one is not None), whole) < 1e-6, names


@pytest.mark.parametrize("adapter", VARIANTS, ids=named)
def test_variants_start_as_no_change_and_their_parameters_are_counted(adapter):
    adapter.check(ANATOMY)
    base = models_made.model()
    ids = models_made.ids_of("<s><user> is the cup red ? <end><assistant>")
    with torch.no_grad():
        plain = base(input_ids=ids).logits
        model = get_peft_model(base, adapter.peft_config(ANATOMY, 0)).eval()
        torch.testing.assert_close(model(input_ids=ids).logits, plain, rtol=0, atol=1e-4)
    assert adapter.parameters(ANATOMY) == sum(one.numel() for one in model.parameters() if one.requires_grad)


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        (Lora(r=3, initialisation="orthogonal"), "r: orthogonal initialisation needs an even rank, given 3; give 4"),
        (Gralora(r=9, blocks=3), "blocks: 3 does not divide the model's widths 16, 32, 48; give a divisor of all"),
        (Gralora(r=9), "r: 9 is no multiple of blocks, 2; give one"),
        (Miss(r=33), "r: 33 does not fit the model; give one that is at most the smallest input width, such as 32"),
        (Miss(r=3, variant="bat"), "r: 3 does not fit the model; give one that divides all widths, such as 16"),
        (
            Miss(variant="mini", mini_r=3),
            "mini_r: 3 does not divide the output widths 16, 32, 48; give a divisor of all",
        ),
    ],
    ids=lambda one: one.kind if not isinstance(one, str) else "",
)
def test_an_option_that_does_not_fit_the_model_is_named_at_planning_time(adapter, said):
    with pytest.raises(UserError) as fault:
        adapter.sized(ANATOMY)
    assert str(fault.value) == said


@pytest.mark.parametrize("adapter", [Lora(initialisation="orthogonal"), Gralora(blocks=4), Miss(variant="bat")])
def test_sizes_that_do_not_fit_are_not_chosen(adapter):
    wanted = adapter.model_copy(update={"trainable_parameters": 12_345}).sized(ANATOMY)
    assert wanted.r in adapter.sizes(ANATOMY)
    wanted.check(ANATOMY)
