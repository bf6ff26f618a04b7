"""Adapters with a basis of their own (VeRA, RandLoRA, FourierFT, WaveFT, C3A, SHiRA, LoHa, LoKr): their closed forms,
the options that the test of all adapters leaves at their defaults, and the structure of dW."""

from __future__ import annotations

import json
import math
from pathlib import Path

import models_made
import pytest
import torch
from models_made import ANATOMY, relative
from peft import get_peft_model, get_peft_model_state_dict

from dwatlas.adapters.base import Adapter, Pair
from dwatlas.adapters.c3a import C3a
from dwatlas.adapters.fourierft import FourierFt
from dwatlas.adapters.loha import LoHa
from dwatlas.adapters.lokr import LoKr
from dwatlas.adapters.randlora import RandLora
from dwatlas.adapters.shira import Shira
from dwatlas.adapters.vera import Vera
from dwatlas.adapters.waveft import WaveFt
from dwatlas.delta.algebra import Dense, Factored, Sparse
from dwatlas.delta.multilinear import one_difference, three_differences
from dwatlas.delta.ranked import shares
from dwatlas.errors import UserError
from dwatlas.files import write_tensors, write_text
from dwatlas.jobs.train import _unshared
from dwatlas.models.anatomy import Anatomy, Site
from dwatlas.train.checkpoint import CONFIG, TENSORS, Checkpoint

OPTIONS = {
    "vera-wide": (Vera(r=40), Dense),
    "vera-narrow": (Vera(r=3), Factored),
    "randlora-sparse": (RandLora(r=5, bases="sparse"), Dense),
    "randlora-very-sparse": (RandLora(r=20, bases="very-sparse"), Dense),
    "fourierft-few": (FourierFt(n_frequency=3), Factored),
    "fourierft-all": (FourierFt(n_frequency=512), Dense),
    "waveft-db4": (WaveFt(n_frequency=40, wavelet="db4"), Dense),
    "waveft-sym5": (WaveFt(n_frequency=1, wavelet="sym5"), Sparse),
    "waveft-coif2": (WaveFt(n_frequency=40, wavelet="coif2"), Dense),
    "waveft-haar": (WaveFt(n_frequency=8), Sparse),
    "c3a-small": (C3a(block_size=4), Dense),
    "shira": (Shira(r=3), Sparse),
    "loha-narrow": (LoHa(r=2, alpha=3), Factored),
    "lokr-narrow": (LoKr(r=1, alpha=3), Factored),
    "lokr-both": (LoKr(r=1, decompose_both=True), Factored),
    "lokr-factor": (LoKr(r=2, decompose_both=True, decompose_factor=8), None),
}
"""Adapters and the structure of their dW; ``None`` where it differs between matrices."""


def checkpoint(folder: Path, tensors: dict[str, torch.Tensor], **config: object) -> Checkpoint:
    """A checkpoint of tensors by their names inside PEFT's model."""
    write_tensors(folder / TENSORS, {f"base_model.{name}": tensor for name, tensor in tensors.items()}, {})
    write_text(folder / CONFIG, json.dumps(config))
    return Checkpoint(folder)


def single(shape: tuple[int, int]) -> Site:
    return Site("model.layers.0.mlp.up_proj.weight", 0, "up_proj", shape)


def made_pair(folder: Path, site: Site, *poles: dict[str, torch.Tensor], **config: object) -> Pair:
    """A pair of checkpoints of one matrix; the names of tensors of the whole adapter begin with a slash."""
    made = [
        checkpoint(
            folder / str(number),
            {
                name[1:] if name[0] == "/" else f"model.{site.path}.{name}": tensor.float().contiguous()
                for name, tensor in tensors.items()
            },
            **config,
        )
        for number, tensors in enumerate(poles)
    ]
    return Pair(made[0], made[1], {})


def drawn(*shapes: tuple[int, ...], seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).double() for shape in shapes]


def random_pole(adapter: Adapter, folder: Path, seed: int) -> tuple[Checkpoint, dict[str, torch.Tensor]]:
    """A checkpoint of PEFT's with random parameters, and the weights that PEFT merges in float64."""
    model = get_peft_model(models_made.model(), adapter.peft_config(ANATOMY, 0))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    tensors = {name: tensor.clone() for name, tensor in get_peft_model_state_dict(model).items()}
    config = model.peft_config["default"].to_dict()
    made = checkpoint(
        folder, {name.removeprefix("base_model."): tensor for name, tensor in tensors.items()}, **_plain(config)
    )
    return made, model.double().merge_and_unload().state_dict()


def _plain(config: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in config.items() if isinstance(value, int | float | str | None)}


@pytest.mark.parametrize(("adapter", "structure"), OPTIONS.values(), ids=OPTIONS)
def test_options_are_pefts_and_the_parts_sum_to_dw(adapter, structure, tmp_path):
    base = models_made.model().state_dict()
    (pos, merged), (neg, merged_neg) = (random_pole(adapter, tmp_path / str(seed), seed) for seed in (1, 2))
    pair = Pair(pos, neg, base)
    for site in adapter.sites(ANATOMY)[:7]:
        whole = adapter.contrast(pair, site)
        assert structure is None or isinstance(whole, structure)
        assert relative(whole.dense(), merged[site.name] - merged_neg[site.name]) < 1e-6
        assert relative(adapter.change(pos, site, base).dense(), merged[site.name] - base[site.name].double()) < 1e-6
        for names in adapter.coordinates(ANATOMY).values():
            parts = [adapter.part(name, pair, site) for name in names]
            assert relative(sum(part.dense().double() for part in parts if part is not None), whole.dense()) < 1e-6


def test_a_product_is_taken_apart_around_the_midpoint():
    """30 − 0 = 2·2·3 + 1·2·3 + 1·2·4 + ¼·2·2·4."""
    pos, neg = ([torch.tensor(float(number)) for number in numbers] for numbers in ((2, 3, 5), (0, 1, 1)))
    assert [math.prod(one_difference(pos, neg, place)).item() for place in range(3)] == [12, 6, 8]
    assert [math.prod(term).item() for term in three_differences(pos, neg)] == [4]


def test_four_factors_leave_the_four_triples():
    pos, neg = ([torch.tensor(2.0)] * 4, [torch.tensor(0.0)] * 4)
    assert [math.prod(one_difference(pos, neg, place)).item() for place in range(4)] == [2] * 4
    assert [math.prod(term).item() for term in three_differences(pos, neg)] == [2] * 4


def test_shares_leave_out_what_is_empty():
    assert shares(1) == ("largest-1",)
    assert shares(5) == ("largest-1", "others")
    assert shares(100) == ("largest-1", "largest-10", "others")


def test_a_tensor_that_modules_share_is_saved_once_under_its_shortest_name():
    shared, own = torch.ones(2, 3), torch.ones(2, 3)
    kept = _unshared({"model.a.A": shared, "A": shared, "model.a.b": own, "model.b.A": shared, "turned": shared.T})
    assert list(kept) == ["A", "model.a.b", "turned"]


def test_tensors_without_numbers_are_all_saved():
    """AdaLoRA prunes every rank of some matrices; PEFT expects their empty factors."""
    empty = {f"model.{place}.lora_B": torch.empty(8, 0) for place in range(3)}
    assert list(_unshared(empty)) == list(empty)


def test_what_is_drawn_follows_the_seed_of_the_initialisation():
    for adapter in (Vera(), RandLora(), FourierFt(), WaveFt(), Shira()):
        first, again, other = (adapter.settings(ANATOMY, seed) for seed in (0, 0, 1))
        assert first == again != other
        assert adapter.settings(ANATOMY, None)


def test_vera_with_one_b_has_no_b_side_and_its_right_factor_is_the_shared_a(tmp_path):
    site = single((6, 5))
    left, right, b, d, other = drawn((8, 2), (2, 9), (6,), (2,), (2,))
    shared = {"/vera_A": right, "/vera_B": left, "vera_lambda_b": b}
    pair = made_pair(tmp_path, site, shared | {"vera_lambda_d": d}, shared | {"vera_lambda_d": other})
    adapter = Vera(r=2)
    whole = adapter.contrast(pair, site)
    assert relative(whole.dense(), b[:, None] * (left[:6] @ torch.diag(d - other) @ right[:, :5])) < 1e-6
    assert torch.equal(whole.right, right[:, :5].float())
    assert not adapter.part("b-side", pair, site).dense().any()
    assert relative(adapter.part("d-side", pair, site).dense(), whole.dense()) < 1e-6


@pytest.mark.parametrize("shape", [(7, 3), (3, 7)], ids=["tall", "wide"])
def test_randlora_of_one_basis_is_a_product_of_diagonals(shape, tmp_path):
    site = single(shape)
    left, right, rank, column = drawn((7, 1, 4), (4, 1, 3), (4, 1), (1, 3))
    shared = {"/randlora_A": right, "/randlora_B": left, "randlora_gamma": column}
    poles = (shared | {"randlora_lambda": rank}, shared | {"randlora_lambda": -rank})
    pair = made_pair(tmp_path, site, *poles)
    adapter = RandLora(r=4, alpha=8)
    expected = 2 * left[:, 0] @ torch.diag(2 * rank[:, 0]) @ right[:, 0] @ torch.diag(column[0])
    whole = adapter.contrast(pair, site).dense()
    assert relative(whole, expected if shape == (7, 3) else expected.T) < 1e-6
    assert not adapter.part("gamma", pair, site).dense().any()
    assert torch.equal(adapter.part("lambda", pair, site).dense(), whole)
    assert torch.equal(adapter.part("basis-1", pair, site).dense(), whole)


@pytest.mark.parametrize(
    ("shape", "number", "seed", "structure"),
    [
        ((12, 10), 60, 0, Dense),
        ((60, 10), 4, 2, Factored),
        ((10, 60), 4, 0, Factored),
        ((2000, 5), 1, 0, Factored),
    ],
    ids=["dense", "fewer columns", "fewer rows", "long"],
)
def test_fourierft_is_the_inverse_transform_of_its_coefficients(shape, number, seed, structure, tmp_path):
    site, adapter = single(shape), FourierFt(n_frequency=number, scaling=7)
    (values,) = drawn((number,))
    poles = ({adapter.spectrum: values}, {adapter.spectrum: torch.zeros(number)})
    pair = made_pair(tmp_path, site, *poles, random_loc_seed=seed)
    spectrum = torch.zeros(shape, dtype=torch.float64)
    spectrum[tuple(adapter.places(pair.pos, site))] = values
    whole = adapter.contrast(pair, site)
    assert isinstance(whole, structure)
    assert relative(whole.dense(), 7 * torch.fft.ifft2(spectrum).real) < 1e-6


def test_the_largest_haar_coefficient_is_a_patch_of_equal_size(tmp_path):
    """One coefficient of the Haar wavelet covers 2 by 2 entries, ±s·c/2 each, and the transform keeps the norm."""
    site, adapter = single((8, 6)), WaveFt(n_frequency=48, scaling=3)
    (values,) = drawn((48,))
    zero = torch.zeros(48)
    pair = made_pair(tmp_path, site, {adapter.spectrum: values}, {adapter.spectrum: zero}, random_loc_seed=1)
    largest = adapter.part("largest-1", pair, site).dense()
    assert largest.count_nonzero() == 4
    torch.testing.assert_close(largest[largest != 0].abs(), (1.5 * values.abs().max()).float().expand(4))
    assert float(adapter.contrast(pair, site).dense().norm()) == pytest.approx(float(3 * values.norm()), rel=1e-6)


@pytest.mark.parametrize("wavelet", ["db1", "db5", "sym4", "coif3"])
def test_wavelets_of_odd_sizes_are_pefts(wavelet, tmp_path):
    from peft.tuners.waveft.config import WaveFTConfig
    from peft.tuners.waveft.layer import WaveFTLinear

    site, adapter = single((13, 17)), WaveFt(n_frequency=150, wavelet=wavelet)
    (values,) = drawn((150,))
    config = WaveFTConfig(n_frequency=150, scaling=2, random_loc_seed=4, wavelet_family=wavelet)
    layer = WaveFTLinear(torch.nn.Linear(17, 13), "default", config, n_frequency=150)
    layer.waveft_spectrum["default"].data = values.float().double()
    pair = made_pair(tmp_path, site, {adapter.spectrum: values}, {adapter.spectrum: values}, random_loc_seed=4)
    assert relative(adapter.change(pair.pos, site, {}).dense(), layer.get_delta_weight("default").detach()) < 1e-6


def test_a_c3a_kernel_at_shift_one_is_a_cyclic_permutation(tmp_path):
    site, adapter = single((3, 6)), C3a()
    kernel = torch.zeros(1, 2, 3)
    kernel[0, 1, 1] = 6.0
    pair = made_pair(tmp_path, site, {"c3a_kernel": kernel}, {"c3a_kernel": torch.zeros(1, 2, 3)})
    permutation = torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert torch.equal(adapter.contrast(pair, site).dense(), torch.cat([torch.zeros(3, 3), permutation], dim=1))
    assert torch.equal(adapter.part("largest-1", pair, site).dense(), adapter.contrast(pair, site).dense())


def test_c3a_takes_the_greatest_block_that_fits():
    assert C3a().settings(ANATOMY, 0)["block_size"] == 16
    assert C3a(target_modules=("q_proj",)).settings(ANATOMY, 0)["block_size"] == 32
    assert list(C3a().sizes(ANATOMY)) == [1, 2, 4, 8, 16]


def test_shira_moves_its_own_entries_only(tmp_path):
    site = single((3, 4))
    places = torch.tensor([[0, 1, 2], [3, 0, 1]])
    poles = [{"shira_weight": torch.tensor(values), "shira_indices": places} for values in ([1.0, 2, 3], [1.0, 5, -1])]
    pair = made_pair(tmp_path, site, *poles)
    expected = torch.zeros(3, 4)
    expected[1, 0], expected[2, 1] = -3, 4
    assert torch.equal(Shira().contrast(pair, site).dense(), expected)
    assert Shira().part("largest-1", pair, site).values.tolist() == [4]


def test_a_hadamard_product_of_rank_one_matrices_is_of_rank_one(tmp_path):
    site, adapter = single((6, 5)), LoHa(r=1, alpha=2)
    a, b, c, d, other = drawn((6, 1), (1, 5), (6, 1), (1, 5), (1, 5))
    same = {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c}
    pair = made_pair(tmp_path, site, same | {"hada_w2_b": d}, same | {"hada_w2_b": other})
    whole = adapter.contrast(pair, site)
    assert relative(whole.dense(), 2 * (a * c) @ (b * (d - other))) < 1e-6
    for name, expected in {"first-factor": 0, "second-factor": 1, "w1_a": 0, "w2_b": 1, "interaction": 0}.items():
        assert float(adapter.part(name, pair, site).dense().norm()) == pytest.approx(
            expected * float(whole.dense().norm()), abs=1e-6
        )


def test_a_kronecker_product_of_low_rank_stays_factored(tmp_path):
    site, adapter = single((64, 100)), LoKr(r=2, alpha=6)
    shapes = {"lokr_w1": (8, 10), "lokr_w2_a": (8, 2), "lokr_w2_b": (2, 10)}
    poles = [dict(zip(shapes, drawn(*shapes.values(), seed=seed), strict=True)) for seed in (0, 1)]
    pair = made_pair(tmp_path, site, *poles)
    whole = adapter.contrast(pair, site)
    expected = [3 * torch.kron(pole["lokr_w1"], pole["lokr_w2_a"] @ pole["lokr_w2_b"]) for pole in poles]
    assert isinstance(whole, Factored)
    assert whole.rank_bound == adapter.rank(site) == 32
    assert relative(whole.dense(), expected[0] - expected[1]) < 1e-6
    assert adapter.trainable(site) == 80 + 36


def test_lokr_names_the_matrices_that_it_has():
    large = Anatomy(layers=1, hidden=1024, intermediate=2816, heads=16, kv_heads=8, head_dim=64)
    assert LoKr().coordinates(ANATOMY) == {"factors": ("first-factor", "second-factor")}
    assert LoKr().coordinates(large)["matrices"] == ("w1", "w2_a", "w2_b", "interaction")
    assert LoKr(decompose_both=True).coordinates(large)["matrices"][:2] == ("w1_a", "w1_b")


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (C3a(block_size=5), "block_size: 5 does not divide the 32 of q_proj; choose from 1, 2, 4, 8, 16"),
        (FourierFt(n_frequency=600), "n_frequency: 600, but the smallest matrix has 512 entries; give fewer"),
        (WaveFt(n_frequency=600), "n_frequency: 600, but the smallest matrix has 512 entries; give fewer"),
        (Shira(r=11), "r: 11, but r·(out + in) fits every matrix up to r = 10 only; give less"),
    ],
    ids=["c3a", "fourierft", "waveft", "shira"],
)
def test_an_option_that_does_not_fit_the_model_is_refused_in_one_line(adapter, message):
    with pytest.raises(UserError) as fault:
        adapter.sized(ANATOMY)
    assert str(fault.value) == message


@pytest.mark.parametrize("adapter", [LoKr, RandLora, C3a, FourierFt], ids=lambda adapter: adapter.__name__)
def test_the_size_that_trainable_parameters_choose_is_the_nearest_of_all(adapter):
    """Also where the number of parameters falls with the size, or does not change with every step of it."""
    small = Anatomy(layers=2, hidden=64, intermediate=168, heads=4, kv_heads=2, head_dim=16)
    numbers = [adapter(**{adapter.size: size}).parameters(small) for size in list(adapter().sizes(small))[:500]]
    for wanted in range(min(numbers), max(numbers), (max(numbers) - min(numbers)) // 20):
        chosen = adapter(trainable_parameters=wanted).sized(small).parameters(small)
        assert abs(chosen - wanted) == min(abs(number - wanted) for number in numbers)
