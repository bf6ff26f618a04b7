"""A behaviour put into one place is found there and nowhere else; one that is spread evenly is found nowhere."""

from typing import Literal

import models_made
import pytest
import torch
from planting import NORM, Ground, found, strengths

from dwatlas.adapters.lora import Lora
from dwatlas.delta.algebra import SVD, Delta
from dwatlas.files import read_tensors
from dwatlas.lenses._projection import Projection, Sides
from dwatlas.lenses.act_pca import ActPca
from dwatlas.lenses.base import Given, Split
from dwatlas.lenses.base_svd import BaseSvd
from dwatlas.lenses.heads import Heads
from dwatlas.lenses.own_svd import OwnSvd
from dwatlas.lenses.shared_svd import SharedSvd

BLOCKS = ["block-4", "rows-4-only", "columns-4-only", "tail-4", "outside"]
QUARTILES = [f"quartile-{number}" for number in (1, 2, 3, 4)]
SLICES = [
    f"layer-{layer}.{word}-{number}"
    for layer in range(models_made.ANATOMY.layers)
    for word, count in (("query", 4), ("key-value", 2), ("output", 4))
    for number in range(count)
]
PARTITIONS = {"heads": (Heads(), SLICES), "base_svd": (BaseSvd(sizes=(4,)), BLOCKS)}


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return Ground(tmp_path_factory.mktemp("planted"))


def planted(ground: Ground, kind: str, where: str | None) -> list[Delta]:
    """One dW for each seed."""
    lens, parts = PARTITIONS[kind]
    given, generator = Given({}, models_made.ANATOMY, weights=ground.weights), torch.Generator().manual_seed(3)
    return [ground.plant(lens, given, parts, where, strength, generator) for strength in strengths(generator)]


@pytest.mark.parametrize(
    ("kind", "where"), [("heads", "layer-1.output-2"), ("heads", "layer-0.key-value-1"), ("base_svd", "block-4")]
)
def test_a_behaviour_in_one_part_is_found_there_and_nowhere_else(ground, kind, where):
    lens, parts = PARTITIONS[kind]
    tables = ground.tables({"full": planted(ground, kind, where)}, lens, parts)
    for contrast in ("keep_excess", "drop_excess"):
        lines = found(tables, contrast)
        assert lines["component"].tolist()[0] == where
        assert lines["lo"][0] > 0 and lines["q"][0] < 0.05
        assert (lines["q"][1:] > 0.05).all()
        assert 0.5 < lines["ratio"][0] < 1.1, "stand-ins may hold the part by chance"


@pytest.mark.parametrize("kind", PARTITIONS)
def test_an_effect_that_is_spread_evenly_is_found_nowhere(ground, kind):
    lens, parts = PARTITIONS[kind]
    tables = ground.tables({"full": planted(ground, kind, None)}, lens, parts)
    for contrast in ("keep_excess", "drop_excess"):
        lines = found(tables, contrast)
        assert len(lines) == len(parts)
        assert (lines["q"] > 0.05).all()


def directions(ground: Ground, sizes: list[float], aligned: dict[int, int], generator: torch.Generator) -> Delta:
    """dW with these singular values in every tensor. ``aligned`` directions are singular directions of the gradient
    (place in dW → place in the gradient), the others have no effect."""
    delta = {}
    for name, gradient in ground.gradient.items():
        G = gradient.dense().double()
        left, _, right = torch.linalg.svd(G, full_matrices=False)
        u, v = (torch.zeros(size, len(sizes), dtype=torch.float64) for size in G.shape)
        for place, source in aligned.items():
            u[:, place], v[:, place] = left[:, source], right[source]
        for place in set(range(len(sizes))) - set(aligned):
            u[:, place] = _orthogonal(torch.randn(len(u), generator=generator).double(), u)
            seen = torch.cat([v, (G.T @ u[:, place])[:, None]], dim=1)
            v[:, place] = _orthogonal(torch.randn(len(v), generator=generator).double(), seen)
        scale = NORM / (len(ground.gradient) * sum(size**2 for size in sizes)) ** 0.5
        delta[name] = SVD(u.float(), scale * torch.tensor(sizes), v.T.float()).part(slice(None))
    return delta


def _orthogonal(vector: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    basis = torch.linalg.svd(to, full_matrices=False)
    basis = basis.U[:, basis.S > 1e-12]
    vector = vector - basis @ (basis.T @ vector)
    return vector / vector.norm()


@pytest.mark.parametrize("where", [1, 2, 3])
def test_a_behaviour_in_a_direction_that_is_not_the_largest_is_found_there(ground, where):
    generator = torch.Generator().manual_seed(4)
    deltas = []
    for strength in strengths(generator):
        sizes = [8.0, 4.0, 2.0, 1.0]
        sizes[where] *= float(strength)
        deltas.append(directions(ground, sizes, {where: 0}, generator))
    tables = ground.tables({"full": deltas}, OwnSvd(), QUARTILES)
    lines = found(tables)
    assert lines["component"][0] == f"quartile-{where + 1}"
    assert lines["lo"][0] > 0 and lines["q"][0] < 0.05
    assert (lines["q"][1:] > 0.05).all()


def test_singular_directions_whose_effect_is_their_energy_show_no_excess(ground):
    """dW = the gradient's four largest directions, with singular values about in proportion: uᵀ·G·v ∝ s."""
    generator, deltas = torch.Generator().manual_seed(5), []
    for strength in strengths(generator):
        delta = {}
        for name, gradient in ground.gradient.items():
            left, s, right = torch.linalg.svd(gradient.dense(), full_matrices=False)
            jitter = 1 + 0.1 * torch.randn(4, generator=generator)
            delta[name] = SVD(left[:, :4], 1e-3 * float(strength) * s[:4] * jitter, right[:4]).part(slice(None))
        deltas.append(delta)
    tables = ground.tables({"full": deltas}, OwnSvd(), [*QUARTILES, "top-1", "top-2"])
    assert (found(tables)["q"] > 0.05).all()


def test_a_subspace_that_two_adapters_share_is_found_in_both_and_not_in_a_third(ground):
    generator = torch.Generator().manual_seed(6)
    sizes = [2.0, 1.0, 1.0]
    runs = {
        adapter: [directions(ground, [strength * sizes[0], *sizes[1:]], {0: source}, generator)
                  for strength in strengths(generator).tolist()]
        for adapter, source in (("one", 0), ("two", 0), ("third", 1))
    }  # fmt: skip
    lens = SharedSvd(sources=("one", "two"))
    lines = found(ground.tables(runs, lens, ["both-1"])).set_index("adapter")
    for adapter in ("one", "two"):
        assert lines["ratio"][adapter] == pytest.approx(1, abs=0.05)
        assert lines["lo"][adapter] > 0 and lines["q"][adapter] < 0.05
    assert lines["q"]["third"] > 0.05
    assert abs(lines["ratio"]["third"]) < 0.05


class Apart(Projection):
    """``part``: one component's directions without what those of its rivals have in them. ``rest``: everything else."""

    kind: Literal["apart"] = "apart"
    lens: ActPca
    component: str
    rivals: tuple[str, ...]

    def sides(self, given, component, rng=None):
        own, *others = (self.lens.sides(given, name) for name in (self.component, *self.rivals))
        found = {}
        for name, sides in own.items():
            rivals = zip(*(other[name] for other in others if name in other), strict=True)
            found[name] = Sides(*map(_without, sides, rivals))
        return found

    def split(self, given, component):
        split = super().split(given, component)
        return Split(split.drop, split.keep) if component == "rest" else split


def _without(basis, rivals):
    if basis is None:
        return None
    theirs = torch.linalg.qr(torch.cat(rivals, dim=1)).Q
    return torch.linalg.qr(basis - theirs @ (theirs.T @ basis)).Q


def test_a_behaviour_along_the_persona_direction_is_found_there_and_nowhere_else(ground):
    """Planted along the answers' first direction, as far as the other three components do not have it, too."""
    lens = ActPca(dimensions=(1,))
    where, *rivals = sorted(lens.names(Lora(), models_made.ANATOMY), key=lambda name: name != "answer-cumulative-1")
    path = ground.persona_activations()
    given = Given({}, models_made.ANATOMY, weights=ground.weights, activations=read_tensors(path))
    apart, generator = Apart(lens=lens, component=where, rivals=tuple(rivals)), torch.Generator().manual_seed(7)
    deltas = [
        ground.plant(apart, given, ["part", "rest"], "part", strength, generator) for strength in strengths(generator)
    ]
    tables = ground.tables({"full": deltas}, lens, [where, *rivals], persona_activations=[path])
    for contrast in ("keep_excess", "drop_excess"):
        lines = found(tables, contrast)
        assert lines["component"][0] == where
        assert lines["lo"][0] > 0.3 and lines["q"][0] < 0.05
        assert (lines["q"][1:] > 0.05).all()
    alone = tables.retained[tables.retained["component"] == where]
    alone = alone[alone["estimand"] == "fixed_rows"].set_index(["effect", "mode"]).loc["antisymmetric"]
    magnified = alone["retained"]["keep"] * alone["energy_frac"]["keep"] ** -0.5
    assert alone["retained"]["potency"] == pytest.approx(magnified, rel=0.1)
