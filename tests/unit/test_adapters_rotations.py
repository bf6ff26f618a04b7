"""Adapters that turn, reflect or scale the base's weights: closed forms of their formulas and coordinates."""

from __future__ import annotations

import math
from pathlib import Path

import models_made
import pytest
import torch
from models_made import ANATOMY, relative
from peft import PeftModel

from dwatlas.adapters.base import Adapter, Pair, Training
from dwatlas.adapters.boft import Boft
from dwatlas.adapters.hra import Hra
from dwatlas.adapters.ia3 import Ia3
from dwatlas.adapters.oft import Oft
from dwatlas.adapters.psoft import Psoft
from dwatlas.adapters.road import Road
from dwatlas.delta.algebra import Blocks, Dense, Factored
from dwatlas.delta.rotation import between, cayley, skew
from dwatlas.errors import UserError
from dwatlas.models.anatomy import Site
from dwatlas.models.load import load_model
from dwatlas.models.weights import Weights
from dwatlas.pairs.poles import POLES
from dwatlas.train.checkpoint import Checkpoint

SITE = Site("model.proj.weight", 0, "q_proj", (6, 8))
TRAINING = Training(steps=4, batch_size=8, learning_rate=0.03, warmup_steps=1)
VARIANTS = {
    "oft-shared": Oft(block_share=True),
    "oft-neumann": Oft(neumann_terms=5),
    "boft-three-factors": Boft(butterfly_factors=3),
    "road-2": Road(variant="road_2"),
    "road-4": Road(variant="road_4", group_size=16),
    "hra-four": Hra(r=4),
    "ia3-everywhere": Ia3(target_modules=("q_proj", "o_proj", "up_proj", "down_proj"), feedforward_modules=("o_proj",)),
    "psoft-free": Psoft(orthogonal=False, input_scale=False),
    "psoft-rotation-only": Psoft(output_scale=False, input_scale=False, svd="lowrank"),
    "psoft-even": Psoft(factors="pissa_init"),
}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def checkpoint(**tensors: torch.Tensor) -> Checkpoint:
    """A pole with these adapter tensors at ``SITE``; ``__`` in a name stands for a dot."""
    made = Checkpoint(Path("made"))
    names = {f"base_model.model.{SITE.path}.{name.replace('__', '.')}": tensor for name, tensor in tensors.items()}
    made.__dict__["tensors"] = names
    return made


def pair(pos: Checkpoint, neg: Checkpoint) -> Pair:
    return Pair(pos, neg, {SITE.name: drawn(*SITE.shape, seed=9)})


def part(adapter: Adapter, component: str, poles: Pair) -> torch.Tensor:
    return adapter.part(component, poles, SITE).dense()


@pytest.mark.parametrize("side", ["out", "in"])
def test_blocks_multiply_the_base_from_their_side_in_their_order(side):
    weight, order = drawn(6, 8), torch.randperm(6 if side == "out" else 8, generator=torch.Generator().manual_seed(1))
    blocks = Blocks(drawn(len(order) // 2, 2, 2, seed=2), side, weight, order)
    whole = torch.zeros(len(order), len(order))
    whole[order[:, None], order[None, :]] = torch.block_diag(*blocks.blocks)
    torch.testing.assert_close(blocks.dense(), whole @ weight if side == "out" else weight @ whole)


def test_blocks_of_zeros_are_no_parameters():
    blocks = drawn(4, 2, 2)
    blocks[1:3] = 0
    assert Blocks(blocks, "in", drawn(6, 8)).parameters == 8


def test_the_rotation_between_poles_is_theirs_without_the_mean_rotation():
    def turn(angle: float) -> torch.Tensor:
        return torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()

    expected = 2 * math.sin(0.3) * torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double()
    torch.testing.assert_close(between(turn(0.8 + 0.3), turn(0.8 - 0.3)), expected)
    pos, neg = (cayley(skew(drawn(3, 6, seed=seed).double(), 4)) for seed in (1, 2))
    rotation = between(pos, neg)
    torch.testing.assert_close(rotation, -rotation.mT)
    torch.testing.assert_close(rotation, -between(neg, pos))


def test_a_block_of_two_turns_by_twice_the_arc_tangent():
    blocks = Oft(block_size=2).rotations(checkpoint(oft_R__weight=torch.tensor([[0.0], [0.1], [0.2], [0.3]])), SITE)
    for block, entry in zip(blocks, (0.0, 0.1, 0.2, 0.3), strict=True):
        angle = math.atan2(float(block[0, 1]), float(block[0, 0]))
        assert angle == pytest.approx(2 * math.atan(entry), abs=1e-7)


def test_oft_keeps_the_norms_of_rows_and_the_poles_that_turn_in_opposite_ways_leave_no_remainder():
    adapter, turn = Oft(block_size=4), 0.2 * drawn(2, 6)
    poles = pair(checkpoint(oft_R__weight=turn), checkpoint(oft_R__weight=-turn))
    change = adapter.change(poles.pos, SITE, poles.weights)
    assert isinstance(change, Blocks)
    weight = poles.weights[SITE.name]
    torch.testing.assert_close((weight + change.dense()).norm(dim=1), weight.norm(dim=1))
    whole = adapter.contrast(poles, SITE).dense()
    assert part(adapter, "remainder", poles).norm() < 1e-6 * whole.norm()
    assert relative(part(adapter, "rotation", poles), whole) < 1e-6


def test_a_block_that_is_not_trained_is_in_no_part():
    turn = torch.zeros(4, 1)
    turn[2] = 0.5
    poles = pair(checkpoint(oft_R__weight=turn), checkpoint(oft_R__weight=-turn))
    largest = part(Oft(block_size=2), "block-1", poles)
    assert largest[:, 4:6].abs().min() > 0
    assert not largest[:, [0, 1, 2, 3, 6, 7]].any()
    assert not part(Oft(block_size=2), "block-2", poles).any()


def test_reflections_multiply_in_their_order():
    vectors = drawn(8, 4)
    poles = pair(checkpoint(hra_u=vectors), checkpoint(hra_u=drawn(8, 4, seed=1)))
    turned = weight = poles.weights[SITE.name].double()
    for unit in (vectors / vectors.norm(dim=0)).T.double():
        turned = turned @ (torch.eye(8) - 2 * torch.outer(unit, unit))
    change = Hra(r=4).change(poles.pos, SITE, poles.weights)
    assert isinstance(change, Factored)
    assert change.rank_bound == 4
    assert relative(change.dense(), turned - weight) < 1e-6


def test_a_single_reflection_that_differs_is_all_of_dw():
    pos, neg = drawn(8, 4), drawn(8, 4)
    neg[:, 1] = drawn(8, seed=5)
    poles = pair(checkpoint(hra_u=pos), checkpoint(hra_u=neg))
    assert relative(part(Hra(r=4), "reflection-1", poles), Hra(r=4).contrast(poles, SITE).dense()) < 1e-6
    assert part(Hra(r=4), "reflection-2", poles).norm() < 1e-6


@pytest.mark.parametrize(
    "adapter",
    [Oft(block_size=4), Boft(block_size=4), Boft(block_size=2, butterfly_factors=3), Hra(r=4), Road(group_size=2)],
    ids=["oft", "boft", "boft-3", "hra", "road"],
)
def test_parts_change_their_signs_with_the_poles(adapter):
    size = getattr(adapter, "block_size", 8)
    blocks = (getattr(adapter, "butterfly_factors", 1), 8 // size, size, size)
    made = [
        checkpoint(
            oft_R__weight=drawn(2, 6, seed=seed),
            boft_R=drawn(*blocks, seed=seed),
            boft_s=drawn(6, 1, seed=seed),
            hra_u=drawn(8, 4, seed=seed),
            road_theta=drawn(3, seed=seed),
            road_alpha=drawn(3, seed=seed + 2),
        )
        for seed in (0, 1)
    ]
    for names in adapter.coordinates(ANATOMY).values():
        for name in names:
            there, back = part(adapter, name, pair(*made)), part(adapter, name, pair(*made[::-1]))
            torch.testing.assert_close(there, -back, rtol=1e-4, atol=1e-5)


def test_gates_of_the_attention_leave_the_mlp_as_it_is():
    gates = {"q_proj": (6, 1), "down_proj": (1, 8)}
    adapter = Ia3(target_modules=("q_proj", "down_proj"))
    for module, shape in gates.items():
        site = Site(SITE.name, 0, module, SITE.shape)
        pos, neg = (checkpoint(ia3_l=drawn(*shape, seed=seed)) for seed in (0, 1))
        weight = (poles := pair(pos, neg)).weights[SITE.name]
        step = drawn(*shape, seed=0) - drawn(*shape, seed=1)
        assert isinstance(adapter.contrast(poles, site), Blocks)
        torch.testing.assert_close(adapter.contrast(poles, site).dense(), step * weight)
        own, other = ("attention", "mlp") if module == "q_proj" else ("mlp", "attention")
        torch.testing.assert_close(adapter.part(own, poles, site).dense(), step * weight)
        assert adapter.part(other, poles, site) is None
    assert "families" not in Ia3(target_modules=("q_proj", "k_proj")).coordinates(ANATOMY)


@pytest.mark.parametrize("adapter", [Ia3(target_modules=("q_proj",)), Road(group_size=2)], ids=["ia3", "road"])
def test_an_output_with_a_bias_is_refused(adapter):
    ones = checkpoint(ia3_l=torch.ones(6, 1), road_theta=torch.zeros(3), road_alpha=torch.ones(3))
    weights = {SITE.name: drawn(6, 8), "model.proj.bias": drawn(6)}
    with pytest.raises(UserError, match=r"model.proj has a bias"):
        adapter.change(ones, SITE, weights)


def test_road_turns_and_stretches_its_pairs():
    adapter = Road(group_size=6)
    angle, scale = torch.tensor([0.4, 0.0, 0.0]), torch.tensor([1.0, 1.0, 3.0])
    poles = pair(checkpoint(road_theta=angle, road_alpha=scale), checkpoint(road_theta=-angle, road_alpha=scale))
    weight = poles.weights[SITE.name]
    change = adapter.change(poles.pos, SITE, poles.weights)
    assert isinstance(change, Blocks)
    cos, sin = math.cos(0.4), math.sin(0.4)
    turned = torch.stack([cos * weight[0] - sin * weight[3], sin * weight[0] + cos * weight[3]])
    torch.testing.assert_close((weight + change.dense())[[0, 3]], turned)
    torch.testing.assert_close((weight + change.dense())[[2, 5]], 3 * weight[[2, 5]])
    assert not part(adapter, "magnitude", poles).any()
    stretched = pair(checkpoint(road_theta=angle, road_alpha=scale), checkpoint(road_theta=angle, road_alpha=2 * scale))
    assert not part(adapter, "angle", stretched).any()
    assert part(adapter, "magnitude", stretched).any()


def test_boft_that_trained_its_scale_only_has_no_rotation():
    adapter, turn = Boft(block_size=4), drawn(1, 2, 4, 4)
    poles = pair(
        checkpoint(boft_R=turn, boft_s=torch.full((6, 1), 1.5)), checkpoint(boft_R=turn, boft_s=torch.ones(6, 1))
    )
    assert isinstance(adapter.contrast(poles, SITE), Dense)
    assert relative(part(adapter, "scale", poles), adapter.contrast(poles, SITE).dense()) < 1e-6
    assert not part(adapter, "rotation", poles).any()
    assert not part(adapter, "remainder", poles).any()


def psoft_pole(seed: int, output: torch.Tensor, entry: torch.Tensor, flip: float = 1.0) -> Checkpoint:
    signs = torch.tensor([flip, 1.0, 1.0])
    return checkpoint(
        psoft_R__weight=drawn(3, seed=seed),
        psoft_R__vector_b=output,
        psoft_R__vector_a=entry,
        psoft_A=signs[:, None] * drawn(3, 8, seed=3),
        psoft_B=drawn(6, 3, seed=4) * signs,
    )


def test_psofts_interaction_is_there_only_when_all_three_factors_differ():
    adapter, one, other = Psoft(r=3), torch.ones(3), torch.tensor([0.5, 1.5, 2.0])
    poles = pair(psoft_pole(0, one, other), psoft_pole(1, other, one))
    assert isinstance(adapter.contrast(poles, SITE), Factored)
    assert part(adapter, "interaction", poles).any()
    poles = pair(psoft_pole(0, one, other), psoft_pole(1, one, one))
    assert not part(adapter, "interaction", poles).any()
    assert not part(adapter, "output-scale", poles).any()
    poles = pair(psoft_pole(0, one, one), psoft_pole(1, one, one))
    assert relative(part(adapter, "rotation", poles), adapter.contrast(poles, SITE).dense()) < 1e-6


def test_psoft_takes_the_factors_that_were_trained_with():
    """The sign of a singular vector is a library's choice and changes what the same R does."""
    poles = pair(*(psoft_pole(seed, torch.ones(3), torch.ones(3)) for seed in (0, 1)))
    flipped = pair(*(psoft_pole(seed, torch.ones(3), torch.ones(3), flip=-1.0) for seed in (0, 1)))
    whole = Psoft(r=3).contrast(poles, SITE).dense()
    assert relative(Psoft(r=3).contrast(flipped, SITE).dense(), whole) > 0.1


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    return models_made.save(tmp_path_factory.mktemp("model") / "qwen3", "qwen3", True)


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_exact_and_their_parts_sum_to_dw(name, manifest, tmp_path):
    adapter = VARIANTS[name].model_copy(update={"training": TRAINING})
    folders = models_made.train_pair(adapter, manifest, tmp_path)
    weights = Weights(manifest.parent)
    poles = Pair(*(Checkpoint(folders[pole]) for pole in POLES), weights)
    pos, neg = (
        PeftModel.from_pretrained(load_model(manifest.parent), folders[pole]).double().merge_and_unload().state_dict()
        for pole in POLES
    )
    poles.pos.check(adapter.settings(ANATOMY, 0))
    assert adapter.parameters(ANATOMY) == sum(
        tensor.numel() for tensor_name, tensor in poles.pos.tensors.items() if not tensor_name.endswith(("_A", "_B"))
    )
    for site in adapter.sites(ANATOMY):
        whole = adapter.contrast(poles, site).dense()
        assert relative(whole, pos[site.name] - neg[site.name]) < 1e-6
        change = adapter.change(poles.pos, site, weights).dense()
        assert relative(change, pos[site.name] - weights[site.name].double()) < 1e-6
        for names in adapter.coordinates(ANATOMY).values():
            parts = [adapter.part(one, poles, site) for one in names]
            assert relative(sum(one.dense().double() for one in parts if one is not None), whole) < 1e-6, names


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (Oft(block_size=32), r"block_size: 32 does not divide the 48 of down_proj; choose from 2, 4, 8, 16"),
        (
            Boft(block_size=8, butterfly_factors=3),
            r"block_size \(times 4, for 3 butterfly_factors\): 32 does not divide .* of down_proj; choose from 8, 16",
        ),
        (Road(group_size=64), r"group_size: 64 does not divide the 32 of q_proj; choose from 2, 4, 8, 16"),
        (Psoft(r=20), r"r: 20 is more than k_proj has room for; give at most 16"),
    ],
    ids=["oft", "boft", "road", "psoft"],
)
def test_a_size_that_does_not_fit_the_model_is_refused_in_one_line(adapter, message):
    with pytest.raises(UserError, match=message):
        adapter.sized(ANATOMY)
