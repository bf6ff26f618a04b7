"""Lenses of residual subspaces: act_pca and structure, on every architecture, with planted directions."""

import models_made
import pytest
import torch
from models_made import ANATOMY, ARCHITECTURES, relative
from torch.nn.functional import cosine_similarity

from dwatlas.activations.steering import steered_activations
from dwatlas.adapters.bias import Bias
from dwatlas.adapters.ln_tuning import LnTuning
from dwatlas.adapters.lora import Lora
from dwatlas.delta.algebra import Dense, Factored, total_energy
from dwatlas.delta.bases import haar
from dwatlas.lenses._residual import stream_of
from dwatlas.lenses.act_pca import ActPca
from dwatlas.lenses.base import Given
from dwatlas.lenses.structure import Structure
from dwatlas.models.anatomy import place
from dwatlas.models.folder import save_model
from dwatlas.models.weights import Weights
from dwatlas.seeds import rng, torch_generator

HIDDEN, LAYERS = ANATOMY.hidden, ANATOMY.layers
LENSES = (ActPca(dimensions=(1, 4, 16)), ActPca(source="steered", dimensions=(2,)), Structure())
CASES = [(lens, name) for lens in LENSES for name in lens.names(Lora(r=4), ANATOMY)]
IDS = [f"{lens.kind}-{name}" for lens, name in CASES]
Q0 = "model.layers.0.self_attn.q_proj.weight"
UP1 = "model.layers.1.mlp.up_proj.weight"
DOWN1 = "model.layers.1.mlp.down_proj.weight"


def random(*shape, name="activations"):
    return torch.randn(*shape, generator=torch_generator(name, *shape))


ACTIVATIONS = {
    "contrast.last": random(2 * LAYERS + 1, 20, HIDDEN, name="last"),
    "contrast.answer": random(2 * LAYERS + 1, 20, HIDDEN, name="answer"),
    "attention": random(LAYERS, 20, HIDDEN),
    "gate": random(LAYERS, ANATOMY.intermediate),
    "sink": random(2 * LAYERS + 1, HIDDEN),
}
ACTIVATIONS["contrast.last"][0] = 0


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of every architecture, the norms' gains random."""
    found = {}
    for architecture in ARCHITECTURES:
        model, generator = models_made.model(architecture), torch_generator("gains")
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter += 0.5 * torch.randn(parameter.shape, generator=generator)
        folder = tmp_path_factory.mktemp(architecture)
        save_model(folder, model, models_made.tokenizer())
        found[architecture] = Weights(folder)
    return found


def given(weights, delta=None, **activations):
    return Given(
        models_made.delta() if delta is None else delta,
        anatomy=ANATOMY,
        weights=weights,
        activations=ACTIVATIONS | {f"contrast.{name}": value for name, value in activations.items()},
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("lens", "name"), CASES, ids=IDS)
def test_keep_and_drop_sum_to_the_delta_and_keep_lies_in_the_subspaces(lens, name, architecture, weights):
    mixed = models_made.delta(rank=8)
    mixed[Q0], mixed[DOWN1] = Dense(mixed[Q0].dense()), Dense(mixed[DOWN1].dense())
    here = given(weights[architecture], mixed)
    split, sides = lens.split(here, name), lens.sides(here, name)
    for tensor, matrix in mixed.items():
        parts = [part[tensor].dense().double() for part in (split.keep, split.drop) if tensor in part]
        assert relative(sum(parts), matrix.dense()) < 1e-6
        if tensor not in sides:
            assert tensor not in split.keep
            continue
        basis = next(one for one in sides[tensor] if one is not None)
        assert relative(basis.T @ basis, torch.eye(basis.shape[1])) < 1e-10
        reads = sides[tensor].inputs is not None
        assert reads == (place(tensor).module not in ("o_proj", "down_proj"))
        keep = split.keep[tensor].dense().double()
        assert relative(keep @ basis @ basis.T if reads else basis @ basis.T @ keep, keep) < 1e-6


@pytest.mark.parametrize(("lens", "name"), CASES, ids=IDS)
def test_random_bases_have_the_dimensions_and_the_sharing_of_the_own(lens, name, weights):
    here = given(weights["llama"])
    own, drawn = lens.sides(here, name), lens.sides(here, name, rng("drawn"))
    assert own.keys() == drawn.keys()

    def sharing(sides):
        return [[first is second for second in sides.values()] for first in sides.values()]

    flat = [
        {tensor: next(one for one in two if one is not None) for tensor, two in found.items()} for found in (own, drawn)
    ]
    assert sharing(flat[0]) == sharing(flat[1])
    assert {key: one.shape for key, one in flat[0].items()} == {key: one.shape for key, one in flat[1].items()}
    assert not torch.allclose(flat[0][DOWN1].abs(), flat[1][DOWN1].abs(), atol=1e-3)
    again = lens.sides(here, name, rng("drawn"))[DOWN1].outputs
    torch.testing.assert_close(again, flat[1][DOWN1], rtol=0, atol=0)


@pytest.mark.parametrize("lens", LENSES, ids=lambda lens: lens.kind)
def test_components_that_share_draws_have_random_bases_of_the_same_sizes(lens, weights):
    here, sizes = given(weights["llama"]), {}
    for name in lens.names(Lora(r=4), ANATOMY):
        drawn = lens.sides(here, name, rng("drawn"))
        shapes = {tensor: [None if one is None else one.shape for one in two] for tensor, two in drawn.items()}
        assert sizes.setdefault(lens.crop(name), shapes) == shapes


def test_one_random_subspace_serves_every_matrix_where_the_own_one_does(tmp_path):
    """In a model whose norms have gains of one the drawn bases of readers and writers are the same one."""
    save_model(tmp_path, models_made.model("llama"), models_made.tokenizer())
    here = given(Weights(tmp_path))
    bases = [one for two in Structure().sides(here, "read", rng("drawn")).values() for one in two if one is not None]
    for basis in bases:
        assert relative(bases[0] @ (bases[0].T @ basis), basis) < 1e-10


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_reader_of_one_direction_is_kept_entirely_and_answers_that_direction_alone(architecture, weights):
    """dW = a·(γ ⊙ u)ᵀ with u the mean contrast at its point."""
    direction = haar(HIDDEN, 1, rng("direction"))
    gain = stream_of(given(weights[architecture])).gain(f"model.layers.1.{middle_norm(architecture)}")
    seen = gain[:, None] * direction
    delta = {UP1: Factored(random(ANATOMY.intermediate, 1), seen.T.float())}
    here = given(weights[architecture], delta, answer=(3 * direction.T).float().expand(2 * LAYERS + 1, 20, HIDDEN))
    split = ActPca().split(here, "answer-cumulative-1")
    assert split.drop == {}
    assert relative(split.keep[UP1].dense(), delta[UP1].dense()) < 1e-5
    other = random(HIDDEN, 1).double()
    other -= seen * (seen.T @ other) / (seen.T @ seen)
    assert (split.keep[UP1].dense().double() @ other).norm() < 1e-5 * other.norm()
    assert (split.keep[UP1].dense().double() @ seen).norm() > 0.1


def middle_norm(architecture: str) -> str:
    return "pre_feedforward_layernorm" if architecture == "gemma3" else "post_attention_layernorm"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_dropped_does_not_answer_the_direction_and_what_is_kept_answers_it_as_all_of_it_does(
    architecture, weights
):
    """A generic dW, as the model runs it: at a stream h = u, through the norm in front of it."""
    direction = haar(HIDDEN, 1, rng("direction"))
    here = given(weights[architecture], answer=direction.T.float().expand(2 * LAYERS + 1, 20, HIDDEN))
    split = ActPca().split(here, "answer-cumulative-1")
    arriving = stream_of(here).gain(f"model.layers.1.{middle_norm(architecture)}") * direction[:, 0]
    whole = here.delta[UP1].dense().double() @ arriving
    assert relative(split.keep[UP1].dense().double() @ arriving, whole) < 1e-5
    assert (split.drop[UP1].dense().double() @ arriving).norm() < 1e-5 * whole.norm()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_kept_writer_moves_the_stream_along_the_direction_only(architecture, weights):
    """Also behind Gemma's norm after the layer, which the model itself applies."""
    direction = haar(HIDDEN, 1, rng("direction"))
    here = given(weights[architecture], answer=direction.T.float().expand(2 * LAYERS + 1, 20, HIDDEN))
    keep = ActPca().split(here, "answer-cumulative-1").keep[DOWN1]
    written = keep.dense() @ random(ANATOMY.intermediate, 1)
    if architecture == "gemma3":
        model = models_made.model(architecture)
        norm = model.model.layers[1].post_feedforward_layernorm
        norm.weight.copy_(weights[architecture]["model.layers.1.post_feedforward_layernorm.weight"])
        written = norm(written.T).T
    assert written.norm() > 1e-3
    assert abs(float(cosine_similarity(written, direction.float(), dim=0))) == pytest.approx(1, abs=1e-5)


def test_the_mean_direction_is_kept(weights):
    """Contrasts that are all alike: the first direction is theirs; centred PCA would have none."""
    mean = random(HIDDEN)
    here = given(weights["llama"], answer=mean.expand(2 * LAYERS + 1, 20, HIDDEN))
    (basis, *_) = ActPca().bases(here, "answer-cumulative-1")
    assert basis.shape == (HIDDEN, 1)
    assert abs(float(basis[:, 0] @ mean.double() / mean.norm())) == pytest.approx(1, abs=1e-6)
    noisy = given(weights["llama"], answer=mean + 0.1 * ACTIVATIONS["contrast.answer"])
    first = ActPca().bases(noisy, "answer-cumulative-4")[2][:, 0]
    assert abs(float(first @ mean.double() / mean.norm())) > 0.99


def test_blocks_contrasts_are_what_they_add(weights):
    """A direction that only block 1 adds is in the stream of all later points, and in no other block's component."""
    direction, contrasts = haar(HIDDEN, 1, rng("direction"))[:, 0], torch.zeros(2 * LAYERS + 1, 20, HIDDEN)
    contrasts[4:] = direction.float()
    here = given(weights["llama"], answer=contrasts)
    assert [one.shape[1] for one in ActPca().bases(here, "answer-block-1")] == [0, 1, 0]
    assert [one.shape[1] for one in ActPca().bases(here, "answer-cumulative-1")] == [0, 0, 0, 0, 1, 1, 1]
    kept = {place(name).layer for name in ActPca().split(here, "answer-block-1").keep}
    assert kept == {1}


def test_matrices_read_and_write_at_their_own_points(weights):
    contrasts = torch.zeros(2 * LAYERS + 1, 20, HIDDEN)
    contrasts[3] = 1
    keep = ActPca().split(given(weights["llama"], last=contrasts), "last-cumulative-1").keep
    assert {place(name)[:2] for name in keep} == {(1, "o_proj"), (1, "gate_proj"), (1, "up_proj")}


def test_a_side_that_is_off_is_dropped_whole(weights):
    here = given(weights["llama"])
    for side, modules in (
        ("output", {"o_proj", "down_proj"}),
        ("input", {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"}),
    ):
        split = Structure(side=side).split(here, "read")
        assert {place(name).module for name in split.keep} == modules
        rest = [name for name in here.delta if place(name).module not in modules]
        assert all(relative(split.drop[name].dense(), here.delta[name].dense()) < 1e-6 for name in rest)


def test_names_follow_width_source_and_what_the_adapter_touches():
    assert ActPca(tokens=("last",), streams=("block",)).names(Lora(), ANATOMY) == [
        f"last-block-{k}" for k in (1, 2, 4, 8, 16)
    ]
    assert ActPca(source="steered", dimensions=(1,)).names(Lora(), ANATOMY)[0] == "oracle-last-cumulative-1"
    assert ActPca(source="steered").needs == ("steered_activations",)
    assert ActPca().needs == Structure().needs == ("persona_activations",)
    assert Structure(side="output").names(Lora(target_modules=("q_proj",)), ANATOMY) == []
    assert Structure().names(LnTuning(), ANATOMY) == ActPca().names(LnTuning(), ANATOMY) == []
    with pytest.raises(ValueError, match="names a value twice"):
        ActPca(dimensions=(1, 1))


def test_the_bias_of_a_writer_is_projected_and_that_of_a_reader_is_not(weights):
    sites = {site.name: site.shape for site in Bias(target_modules=("q_proj", "down_proj")).sites(ANATOMY)}
    delta = {name: Dense(random(*shape)) for name, shape in sites.items()}
    split = Structure().split(given(weights["llama"], delta), "write")
    assert {place(name)[1:] for name in split.keep} == {("down_proj", "bias")}


def test_the_oracle_finds_the_direction_that_dw_steers_along(weights):
    """dW writes along one direction from whatever its inputs are; contrasts after it are that direction."""
    model, direction = models_made.model("llama"), haar(HIDDEN, 1, rng("steer")).float()
    delta = {DOWN1: Factored(direction, random(1, ANATOMY.intermediate))}
    pairs = models_made.pairs(8).assign(answer="yes .")
    found = steered_activations(model, models_made.tokenizer(), ANATOMY, pairs, delta)
    here = Given(delta, anatomy=ANATOMY, weights=weights["llama"], activations=found)
    lens = ActPca(source="steered")
    basis = lens.bases(here, "oracle-answer-cumulative-1")[4]
    assert abs(float(basis[:, 0] @ direction[:, 0].double())) == pytest.approx(1, abs=1e-4)
    assert lens.split(here, "oracle-answer-cumulative-1").drop == {}
    random_part = lens.at_random(here, "oracle-answer-cumulative-1", rng("null")).keep
    assert total_energy(random_part) < 0.3 * total_energy(delta)


# structure


def basis_of(component, here):
    return Structure().bases(here, component)


def overlap(first, second):
    """Largest cosine between two subspaces."""
    return float(torch.linalg.matrix_norm(first.T @ second, 2))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_subspaces_have_their_dimension_and_their_number(architecture, weights):
    here = given(weights[architecture])
    for name in Structure().names(Lora(), ANATOMY):
        bases = basis_of(name, here)
        assert len(bases) == {"model": 1, "block": LAYERS, "point": 2 * LAYERS + 1}[Structure().shared(name)]
        for basis in bases:
            assert basis.shape == (HIDDEN, 1 if name == "sink" else 8)
            assert relative(basis.T @ basis, torch.eye(basis.shape[1])) < 1e-10


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_hardly_read_is_orthogonal_to_what_is(architecture, weights):
    here = given(weights[architecture])
    (read,), (null,), (unembed,) = (basis_of(name, here) for name in ("read", "unembed-null", "unembed-read"))
    assert overlap(unembed, null) < 1e-10
    assert overlap(read, *basis_of("write-not-read", here)) < 1e-10
    assert overlap(unembed, *basis_of("write-not-read-unembed", here)) < 1e-10
    head = stream_of(here).unembedding()
    assert (head @ null).norm() < 0.5 * (head @ unembed).norm()


def test_leading_subspaces_are_those_of_the_singular_value_decomposition(weights):
    here = given(weights["gemma3"])
    stream = stream_of(here)
    head = torch.linalg.svd(stream.unembedding()).Vh[:8].T
    assert overlap_all(basis_of("unembed-read", here)[0], head)
    writers = [stream.writer(1, module) for module in ("o_proj", "down_proj")]
    left = torch.linalg.svd(torch.cat([one / one.norm() for one in writers], dim=1)).U[:, :8]
    assert overlap_all(basis_of("write-layer", here)[1], left)
    readers = [stream.reader(1, module) for module in ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")]
    right = torch.linalg.svd(torch.cat([one / one.norm() for one in readers])).Vh[:8].T
    assert overlap_all(basis_of("read-layer", here)[1], right)
    (unembed,) = basis_of("unembed-read", here)
    every = torch.cat(
        [
            one / one.norm()
            for layer in range(LAYERS)
            for one in (stream.writer(layer, m) for m in ("o_proj", "down_proj"))
        ],
        dim=1,
    )
    left = torch.linalg.svd(every - unembed @ (unembed.T @ every)).U[:, :8]
    assert overlap_all(basis_of("write-not-read-unembed", here)[0], left)


def overlap_all(first, second):
    """Whether two subspaces are the same."""
    return relative(first @ first.T, second @ second.T) < 1e-6


def test_the_last_block_has_only_the_unembedding_downstream(weights):
    here = given(weights["llama"])
    (unembed,) = basis_of("unembed-read", here)
    downstream = basis_of("write-not-read-downstream", here)
    assert overlap(unembed, downstream[-1]) < 1e-10
    assert overlap(unembed, downstream[0]) > 1e-3


def test_round_trips_are_the_left_singular_vectors_of_their_products(weights):
    here = given(weights["gemma3"])
    stream = stream_of(here)
    down, up = stream.writer(2, "down_proj"), stream.reader(2, "up_proj")
    assert overlap_all(basis_of("mlp", here)[2], torch.linalg.svd(down @ up).U[:, :8])
    gated = torch.linalg.svd(down @ torch.diag(ACTIVATIONS["gate"][2].double()) @ up).U[:, :8]
    assert overlap_all(basis_of("gate-kernel", here)[2], gated)
    output, value, size = stream.writer(2, "o_proj"), stream.reader(2, "v_proj"), ANATOMY.head_dim
    heads = [output[:, h * size :][:, :size] @ value[h // 2 * size :][:size] for h in range(ANATOMY.heads)]
    assert overlap_all(basis_of("ov", here)[2], torch.linalg.svd(torch.cat(heads, dim=1)).U[:, :8])


def test_queries_and_keys_meet_per_head_with_their_group_and_their_norms(weights):
    here = given(weights["qwen3"])
    stream, size = stream_of(here), ANATOMY.head_dim
    queries, keys = stream.reader(0, "q_proj"), stream.reader(0, "k_proj")
    norms = [weights["qwen3"][f"model.layers.0.self_attn.{name}.weight"].double() for name in ("q_norm", "k_norm")]
    forms = [
        queries[h * size :][:size].T @ torch.diag(norms[0] * norms[1]) @ keys[h // 2 * size :][:size]
        for h in range(ANATOMY.heads)
    ]
    both = torch.linalg.svd(torch.cat(forms + [form.T for form in forms], dim=1)).U[:, :8]
    assert overlap_all(basis_of("qk", here)[0], both)


def test_what_attention_adds_and_the_sink_are_taken_uncentred(weights):
    here = given(weights["llama"])
    right = torch.linalg.svd(ACTIVATIONS["attention"][1].double()).Vh[:8].T
    assert overlap_all(basis_of("attention-active", here)[1], right)
    sink = ACTIVATIONS["sink"][3].double()
    assert abs(float(basis_of("sink", here)[3][:, 0] @ sink / sink.norm())) == pytest.approx(1, abs=1e-10)


def test_a_planted_writer_of_an_unread_direction_is_found_in_write_not_read(weights):
    here = given(weights["llama"])
    direction = basis_of("write-not-read", here)[0][:, :1].float()
    planted = given(weights["llama"], {DOWN1: Factored(direction, random(1, ANATOMY.intermediate))})
    assert Structure().split(planted, "write-not-read").drop == {}
    assert Structure().split(planted, "read").keep == {}
