"""Lens ``heads``: slices of grouped-query attention are those that the model itself uses, and sum to dW."""

import models_made
import pytest
import torch
from models_made import ANATOMY, relative

from dwatlas.adapters.bias import Bias
from dwatlas.adapters.lora import Lora
from dwatlas.controls.base import Target
from dwatlas.controls.mask import Mask
from dwatlas.delta.algebra import Dense, Factored, total_energy
from dwatlas.lenses.base import Given
from dwatlas.lenses.heads import KINDS, Heads
from dwatlas.models.anatomy import ATTENTION
from dwatlas.scoring.scorer import Scorer
from dwatlas.scoring.steer import Edit
from dwatlas.seeds import rng

DELTA = models_made.delta(rank=12)
GIVEN = Given(DELTA, ANATOMY)
OWN_KEYS = ANATOMY.model_copy(update={"kv_heads": ANATOMY.heads})


def tensor(module: str, layer: int = 1, parameter: str = "weight") -> str:
    return f"model.layers.{layer}.self_attn.{module}.{parameter}"


def kept(component: str, given: Given = GIVEN) -> dict[str, torch.Tensor]:
    """Projection → the component's part of it."""
    return {name.split(".")[-2]: one.dense() for name, one in Heads().split(given, component).keep.items()}


def nonzero(matrix: torch.Tensor, axis: int) -> list[int]:
    return matrix.any(1 - axis).nonzero().flatten().tolist()


def test_names_are_by_layer_and_only_of_what_the_adapter_touches():
    assert Heads().names(Lora(layers=(0.6, 1)), ANATOMY) == [
        *(f"layer-2.query-{head}" for head in range(4)),
        *("layer-2.key-value-0", "layer-2.key-value-1"),
        *(f"layer-2.output-{head}" for head in range(4)),
        *(f"layer-2.head-{head}" for head in range(4)),
        *("layer-2.group-0", "layer-2.group-1"),
    ]
    late = Lora(layers=(0.6, 1), target_modules=("v_proj", "down_proj"))
    assert Heads().names(late, ANATOMY) == [
        f"layer-2.{kind}-{group}" for kind in ("key-value", "group") for group in (0, 1)
    ]
    assert Heads().names(Lora(target_modules=("up_proj",)), ANATOMY) == []
    assert Heads().names(Bias(target_modules=("o_proj",)), ANATOMY) == []
    assert Heads(kinds=("output",)).names(late.model_copy(update={"target_modules": ("o_proj",)}), ANATOMY) == [
        f"layer-2.output-{head}" for head in range(4)
    ]


def test_without_shared_keys_a_head_has_its_own_and_there_are_no_groups():
    names = Heads().names(Lora(layers=(0, 0.3)), OWN_KEYS)
    assert not [name for name in names if "group" in name]
    assert names[4:8] == [f"layer-0.key-value-{head}" for head in range(4)]
    parts = kept("layer-1.head-3", Given(models_made.delta(anatomy=OWN_KEYS), OWN_KEYS))
    assert list(parts) == list(ATTENTION)
    assert all(nonzero(part, int(module == "o_proj")) == list(range(24, 32)) for module, part in parts.items())


@pytest.mark.parametrize(
    ("component", "held"),
    [
        ("query-3", {"q_proj": range(24, 32)}),
        ("key-value-1", {"k_proj": range(8, 16), "v_proj": range(8, 16)}),
        ("output-2", {"o_proj": range(16, 24)}),
        ("head-1", {"q_proj": range(8, 16), "o_proj": range(8, 16)}),
        (
            "group-1",
            {"q_proj": range(16, 32), "k_proj": range(8, 16), "v_proj": range(8, 16), "o_proj": range(16, 32)},
        ),
    ],
)
def test_a_component_is_exactly_its_rows_and_columns(component, held):
    """4 heads of width 8, 2 of them to a key-value head."""
    parts = kept(f"layer-1.{component}")
    assert parts.keys() == held.keys()
    for module, places in held.items():
        whole, axis = DELTA[tensor(module)].dense(), int(module == "o_proj")
        expected = torch.zeros_like(whole)
        expected.index_copy_(axis, torch.tensor(places), whole.index_select(axis, torch.tensor(places)))
        assert relative(parts[module], expected) < 1e-6
        assert nonzero(parts[module], axis) == list(places)


def test_queries_keys_values_and_outputs_of_a_layer_sum_to_the_dw_of_its_attention():
    parts = [
        kept(name) for name in Heads(kinds=("query", "key-value", "output")).names(Lora(), ANATOMY) if "layer-1" in name
    ]
    for module in ATTENTION:
        whole = sum(part[module].double() for part in parts if module in part)
        assert relative(whole, DELTA[tensor(module)].dense()) < 1e-6


def test_groups_of_a_layer_sum_to_the_dw_of_its_attention():
    parts = [kept(f"layer-1.group-{group}") for group in (0, 1)]
    for module in ATTENTION:
        assert relative(parts[0][module] + parts[1][module], DELTA[tensor(module)].dense()) < 1e-6


def head_outputs(model, edit: Edit | None = None) -> torch.Tensor:
    """What o_proj of block 1 reads [positions, heads, head_dim], computed by the model itself with dW added to it."""
    attention = model.model.layers[1].self_attn
    read = {}
    hook = attention.o_proj.register_forward_pre_hook(lambda _, inputs: read.update(inputs=inputs[0]))
    if edit:
        for name, matrix in edit.delta.items():
            model.get_submodule(name.rpartition(".")[0]).weight += edit.alpha * matrix.dense()
    model(models_made.ids_of("is the red box left of the blue box ?"))
    hook.remove()
    return read["inputs"][0].unflatten(-1, (ANATOMY.heads, ANATOMY.head_dim))


@pytest.mark.parametrize("architecture", models_made.ARCHITECTURES)
@pytest.mark.parametrize(
    ("component", "reached"),
    [("key-value-1", [2, 3]), ("key-value-0", [0, 1]), ("query-1", [1]), ("head-2", [2]), ("group-1", [2, 3])],
)
def test_a_component_reaches_only_the_outputs_of_its_own_heads(architecture, component, reached):
    part = Heads().split(GIVEN, f"layer-1.{component}").keep
    with torch.no_grad():
        before = head_outputs(models_made.model(architecture))
        after = head_outputs(models_made.model(architecture), Edit(part, 1.0))
    moved = (after - before).abs().amax(dim=(0, 2))
    assert [head for head in range(ANATOMY.heads) if moved[head] > 1e-4] == reached
    assert all(moved[head] < 1e-6 for head in range(ANATOMY.heads) if head not in reached)


@pytest.mark.parametrize("architecture", models_made.ARCHITECTURES)
def test_an_output_slice_takes_its_head_out_of_the_sum_and_no_other(architecture):
    """With dW = −W of o_proj, dropping head 2's slice is attention without head 2: what o_proj makes of the others."""
    model = models_made.model(architecture)
    weight = model.model.layers[1].self_attn.o_proj.weight
    split = Heads().split(Given({tensor("o_proj"): Dense(-weight.clone())}, ANATOMY), "layer-1.output-2")
    with torch.no_grad():
        heads = head_outputs(model)
        others = heads.clone()
        others[:, 2] = 0
        expected = others.flatten(1) @ weight.T
        ablated = heads.flatten(1) @ (weight + split.keep[tensor("o_proj")].dense()).T
    torch.testing.assert_close(ablated, expected, rtol=1e-5, atol=1e-5)


def test_a_change_planted_in_one_head_is_found_there_and_nowhere_else():
    """R_keep = 1 and R_drop = 0 at head 3 of layer 1 and its group, the reverse at all others."""
    planted = Heads().split(GIVEN, "layer-1.head-3").keep
    given = Given({name: Dense(0 * one.dense()) for name, one in DELTA.items()} | planted, ANATOMY)
    prepared = Scorer(models_made.model(), models_made.tokenizer()).prepare(models_made.claims())

    def effect(part) -> float:
        up, down = (scores["lr"].mean() for scores in prepared.score([Edit(part, 1.0), Edit(part, -1.0)]))
        return float(up - down) / 2

    full = effect(given.delta)
    assert abs(full) > 0.01
    for name in ("layer-1.head-3", "layer-1.group-1", "layer-1.head-2", "layer-1.group-0", "layer-0.head-3"):
        split = Heads().split(given, name)
        found = (effect(split.keep) / full, effect(split.drop) / full)
        here = name in ("layer-1.head-3", "layer-1.group-1")
        assert found == pytest.approx((1, 0) if here else (0, 1), abs=1e-4)


def test_biases_are_cut_like_rows_and_those_of_outputs_stay_whole():
    size = {"q_proj": 32, "v_proj": 16, "o_proj": 32}
    delta = {
        tensor(module, parameter="bias"): Dense(torch.arange(1.0, d + 1).reshape(-1, 1)) for module, d in size.items()
    }
    given = Given(delta, ANATOMY)
    assert Heads().names(Bias(target_modules=("v_proj",)), ANATOMY)[:2] == [
        "layer-0.key-value-0",
        "layer-0.key-value-1",
    ]
    split = Heads().split(given, "layer-1.group-1")
    keep = {name.split(".")[-2]: one.dense().flatten().tolist() for name, one in split.keep.items()}
    assert keep == {"q_proj": [0] * 16 + list(range(17, 33)), "v_proj": [0] * 8 + list(range(9, 17))}
    assert split.drop[tensor("o_proj", parameter="bias")] is delta[tensor("o_proj", parameter="bias")]
    assert len([unit for unit in Heads().units(given) if "o_proj" in unit]) == 1


def test_slices_of_factors_are_factors_of_the_smaller_rank_and_count_what_they_hold():
    """Rank 12; a head has 8 rows, all heads but one 24."""
    split = Heads().split(GIVEN, "layer-1.query-0")
    keep, drop = split.keep[tensor("q_proj")], split.drop[tensor("q_proj")]
    assert isinstance(keep, Factored) and keep.rank_bound == 8
    assert isinstance(drop, Factored) and drop.rank_bound == 12
    assert drop.parameters == 12 * (24 + ANATOMY.hidden) < DELTA[tensor("q_proj")].parameters
    dense = Given({tensor("q_proj"): Dense(DELTA[tensor("q_proj")].dense())}, ANATOMY)
    (keep,) = Heads().split(dense, "layer-1.query-0").keep.values()
    assert (keep.rank_bound, keep.parameters) == (8, 8 * ANATOMY.hidden)


def test_tensors_that_a_component_does_not_touch_are_the_same_objects():
    drop = Heads().split(GIVEN, "layer-1.query-0").drop
    assert [name for name, one in drop.items() if one is not DELTA[name]] == [tensor("q_proj")]


def test_units_are_all_slices_and_the_tensors_that_are_not_cut():
    units = Heads().units(GIVEN)
    assert len(units) == len(set(units)) == ANATOMY.layers * (4 + 2 + 2 + 4 + 3)
    split = Heads().union(GIVEN, set(units))
    assert split.drop == {} and all(split.keep[name] is one for name, one in DELTA.items())
    energies = [total_energy(Heads().union(GIVEN, {unit}).keep) for unit in units]
    assert sum(energies) == pytest.approx(total_energy(DELTA), rel=1e-6)


def test_masks_are_unions_of_slices_of_the_components_energy():
    part = Heads().split(GIVEN, "layer-1.head-2").keep
    target = Target(GIVEN, part, total_energy(part), "layer-1.head-2", Heads())
    masks = [Mask().draw(target, rng("mask of heads", draw)) for draw in range(5)]
    for mask in masks:
        assert total_energy(mask.keep) == pytest.approx(total_energy(part), rel=Mask().tolerance)
        assert total_energy(mask.keep) + total_energy(mask.drop) == pytest.approx(total_energy(DELTA), rel=1e-6)
    assert len({frozenset(mask.keep) for mask in masks}) > 1


def test_kinds_are_named_once():
    assert Heads().kinds == KINDS
    with pytest.raises(ValueError, match="names a value twice"):
        Heads(kinds=("head", "head"))
