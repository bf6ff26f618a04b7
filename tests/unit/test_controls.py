"""Random stand-ins: their energies, their structure, their streams, and which components share them."""

import itertools
from typing import Literal

import models_made
import numpy as np
import pandas as pd
import pytest
import torch
from models_made import ANATOMY

from dwatlas.controls.base import Target
from dwatlas.controls.basis import Basis
from dwatlas.controls.mask import Mask
from dwatlas.controls.norm import Norm
from dwatlas.controls.scale import Scale
from dwatlas.controls.spec import Spec
from dwatlas.controls.sub import Sub
from dwatlas.delta.algebra import Dense, Factored, energy, inner, svd, total_energy
from dwatlas.delta.bases import haar
from dwatlas.delta.matching import matching_units
from dwatlas.lenses._projection import Projection, Sides
from dwatlas.lenses.base import Given
from dwatlas.lenses.layers import Layers
from dwatlas.lenses.own_svd import OwnSvd
from dwatlas.registry import kinds, plugin
from dwatlas.scoring.cells import Scored, Whole
from dwatlas.scoring.controls import ODDS_RATIO, control_groups
from dwatlas.seeds import rng

DELTA = models_made.delta()
LAYER = Layers().split(Given(DELTA), "layer-1").keep
TOP = OwnSvd().split(Given(DELTA), "top-2").keep


class Turned(Projection):
    """One direction of the residual stream, for the controls that ask a lens for random bases."""

    kind: Literal["turned"] = "turned"

    def sides(self, given, component, rng=None):
        wide = (
            torch.eye(ANATOMY.hidden)[:, : int(component)] if rng is None else haar(ANATOMY.hidden, int(component), rng)
        )
        return {name: Sides(inputs=wide) for name in given.delta if "q_proj" in name}


LENS = Turned()


def target(part, delta=DELTA, component="3"):
    return Target(Given(delta), part, total_energy(part), component, LENS)


def draw(control, part, *stream):
    return control.draw(target(part), rng("draw", *stream))


@pytest.mark.parametrize("seed", range(5))
def test_mask_takes_whole_tensors_of_the_parts_energy(seed):
    stand_in = draw(Mask(), LAYER, seed)
    assert total_energy(stand_in.keep) == pytest.approx(total_energy(LAYER), rel=Mask().tolerance)
    assert all(matrix is DELTA[name] for name, matrix in (stand_in.keep | stand_in.drop).items())
    assert set(stand_in.keep) | set(stand_in.drop) == set(DELTA)
    assert not set(stand_in.keep) & set(stand_in.drop)


def test_mask_reaches_every_unit_of_about_the_parts_energy():
    """Twenty units of equal energy, a part 10 % larger: draws are not one unit again and again."""
    delta = {f"model.layers.{index}.mlp.up_proj.weight": Dense(torch.eye(2)) for index in range(20)}
    energy_wanted = 1.1 * energy(next(iter(delta.values())))
    wanted = Target(Given(delta), delta, energy_wanted, "part", LENS)
    drawn = {next(iter(Mask().draw(wanted, rng("every unit", number)).keep)) for number in range(200)}
    assert len(drawn) == 20


@pytest.mark.parametrize("seed", range(5))
def test_sub_splits_the_delta_inside_its_own_span(seed):
    stand_in = draw(Sub(), TOP, seed)
    assert total_energy(stand_in.keep) == pytest.approx(total_energy(TOP), rel=Sub().tolerance)
    for name, matrix in DELTA.items():
        whole = sum(part[name].dense() for part in (stand_in.keep, stand_in.drop) if name in part)
        assert models_made.relative(whole, matrix.dense()) < 1e-5
        if name in stand_in.keep:
            keep, spectrum = stand_in.keep[name].dense(), svd(matrix)
            assert models_made.relative(spectrum.u @ (spectrum.u.T @ keep), keep) < 1e-5
            assert models_made.relative((keep @ spectrum.vh.T) @ spectrum.vh, keep) < 1e-5


def test_keep_and_drop_of_sub_are_orthogonal_so_energies_add_up():
    stand_in = draw(Sub(), TOP)
    assert total_energy(stand_in.keep) + total_energy(stand_in.drop) == pytest.approx(total_energy(DELTA), rel=1e-5)


def test_subspaces_of_sub_are_not_the_deltas_own_directions():
    """A random basis mixes directions: no kept vector reaches the largest singular value of its tensor."""
    stand_in = draw(Sub(), OwnSvd().split(Given(DELTA), "top-1").keep)
    kept = {name: svd(matrix).s[0] / svd(DELTA[name]).s[0] for name, matrix in stand_in.keep.items()}
    assert min(kept.values()) < 0.95


def test_sub_passes_over_tensors_of_zeros_and_of_rank_one():
    names = list(DELTA)[:3]
    delta = {
        names[0]: Dense(torch.zeros(DELTA[names[0]].shape)),
        names[1]: Factored(DELTA[names[1]].left[:, :1], DELTA[names[1]].right[:1]),
        names[2]: DELTA[names[2]],
    }
    stand_in = Sub().draw(target(delta, delta), rng("zeros"))
    assert set(stand_in.keep) == {names[1], names[2]}
    assert stand_in.drop == {}


@pytest.mark.parametrize("part", [LAYER, TOP], ids=["layer", "top"])
def test_norm_has_the_parts_norm_in_every_tensor(part):
    stand_in = draw(Norm(), part)
    assert stand_in.drop is None
    assert set(stand_in.keep) == set(part)
    for name, matrix in part.items():
        assert stand_in.keep[name].shape == matrix.shape
        assert energy(stand_in.keep[name]) == pytest.approx(energy(matrix), rel=1e-5)


def test_norm_of_zeros_is_zeros():
    name, matrix = next(iter(DELTA.items()))
    part = {name: Dense(torch.zeros(matrix.shape))}
    assert not Norm().draw(target(part, part), rng("zeros")).keep[name].dense().any()


def test_spec_has_the_parts_singular_values_and_other_directions():
    stand_in = draw(Spec(), TOP)
    assert stand_in.drop is None
    for name, matrix in TOP.items():
        torch.testing.assert_close(svd(stand_in.keep[name]).s, svd(matrix).s, rtol=1e-4, atol=1e-6)
        overlap = (svd(matrix).u.T @ svd(stand_in.keep[name]).u).square().sum() / 2
        assert overlap < 0.5
        assert stand_in.keep[name].rank_bound == matrix.rank_bound


def test_spec_turns_singular_vectors_evenly():
    """The mean over draws of U·Uᵀ is k/d·I for Haar-random U [d, k]."""
    name = next(name for name in TOP if "q_proj" in name)
    part = {name: TOP[name]}
    draws = [svd(draw(Spec(), part, number).keep[name]).u for number in range(300)]
    mean = sum(u @ u.T for u in draws) / len(draws)
    torch.testing.assert_close(mean, torch.eye(len(mean)) * 2 / len(mean), rtol=0, atol=0.04)


def test_scale_is_all_of_the_delta_at_the_parts_energy_and_at_what_is_left():
    stand_in = draw(Scale(), LAYER)
    assert total_energy(stand_in.keep) == pytest.approx(total_energy(LAYER), rel=1e-5)
    assert total_energy(stand_in.drop) == pytest.approx(total_energy(DELTA) - total_energy(LAYER), rel=1e-5)
    for name, matrix in DELTA.items():
        cosine = inner(stand_in.keep[name], matrix) / (energy(stand_in.keep[name]) * energy(matrix)) ** 0.5
        assert cosine == pytest.approx(1, abs=1e-5)


def test_basis_makes_the_lenss_own_crop_in_random_bases():
    stand_in = draw(Basis(), LAYER)
    assert set(stand_in.keep) == {name for name in DELTA if "q_proj" in name}
    for name, matrix in DELTA.items():
        whole = sum(part[name].dense() for part in (stand_in.keep, stand_in.drop) if name in part)
        assert models_made.relative(whole, matrix.dense()) < 1e-5
    assert all(matrix.rank_bound == 3 for matrix in stand_in.keep.values())


@pytest.mark.parametrize("kind", [kind for kind in kinds("controls") if plugin("controls", kind).random])
def test_the_same_stream_gives_the_same_draw_and_another_stream_another(kind):
    control = plugin("controls", kind)()
    first, again, other = (draw(control, LAYER, stream).keep for stream in ("a", "a", "b"))
    assert list(first) == list(again)
    assert all(torch.equal(first[name].dense(), again[name].dense()) for name in first)
    assert list(first) != list(other) or any(not torch.equal(first[n].dense(), other[n].dense()) for n in first)


def test_matching_units_finds_an_exact_match_where_every_unit_is_equal():
    chosen = matching_units([1.0] * 10, 4.0, np.random.default_rng(0), tries=1, tolerance=0.0)
    assert len(set(chosen)) == len(chosen) == 4
    assert chosen == sorted(chosen)


def test_matching_units_tries_again_until_the_energy_fits():
    """Only the set {8, 1} has energy 9 among prefixes of orders of (8, 1, 100)."""
    chosen = matching_units([8.0, 1.0, 100.0], 9.0, np.random.default_rng(0), tries=64, tolerance=0.01)
    assert chosen == [0, 1]


def test_matching_units_at_the_edges():
    random = np.random.default_rng(0)
    assert matching_units([1.0, 2.0], 3.0, random, 8, 0.1) == [0, 1]
    assert matching_units([1.0, 2.0], 99.0, random, 8, 0.1) == [0, 1]
    assert matching_units([5.0, 4.0], 0.1, random, 64, 0.1) == [1]
    assert matching_units([1.0, 99.0], 99.9, random, 64, 0.1) == [1], "a part is never everything"
    assert matching_units([3.0], 1.0, random, 8, 0.1) == [0], "one unit is all there is"


def test_matching_units_reaches_every_unit():
    random = np.random.default_rng(0)
    drawn = [matching_units([1.0] * 6, 2.0, random, 1, 0.0) for _ in range(200)]
    assert {tuple(chosen) for chosen in drawn} == set(itertools.combinations(range(6), 2))


class Recorder:
    """Stands in for the bench: notes the energy and the tensors of what is scored."""

    def score(self, cells):
        for cell in cells:
            delta = cell.edit.delta
            seen = {"alpha": cell.edit.alpha, "energy": total_energy(delta), "tensors": " ".join(sorted(delta))}
            yield Scored(cell.names | seen, pd.DataFrame())


def scored(parts, control, draws=2, delta=DELTA, seed=0) -> pd.DataFrame:
    """One line for every cell that is scored."""
    cell = {"model": "made", "seed": seed}
    whole = Whole(delta, pd.DataFrame({"tensor": ["(all)"], "effective_rank": [1.0], "nuclear_norm": [1.0]}))
    return pd.DataFrame(
        [
            one.standing_for(member).cell
            for group in control_groups(Given(delta), parts, [control], LENS)
            for one in Recorder().score(group.cells(whole, cell, (-1, 0, 1), draws))
            for member in group.members
        ]
    )


def parts_of(*shares: float):
    """Components with these shares of a delta of 100 equal tensors, and that delta."""
    delta = {f"model.layers.{index}.mlp.up_proj.weight": Dense(torch.eye(2)) for index in range(100)}
    names = list(delta)
    return {f"part-{share:g}": {name: delta[name] for name in names[: round(100 * share)]} for share in shares}, delta


def test_every_component_gets_all_its_draws_at_both_signs_kept_and_dropped():
    parts = {name: Layers().split(Given(DELTA), name).keep for name in ("layer-0", "layer-1")}
    frame = scored(parts, Mask(), draws=3)
    assert set(frame["mode"]) == {"control"}
    counts = frame.groupby(["component", "control", "stands_for", "draw", "alpha"]).size()
    assert (counts == 1).all()
    assert len(counts) == 2 * 2 * 3 * 2
    assert set(scored(parts, Norm())["stands_for"]) == {"keep"}


def test_components_share_draws_only_when_their_energies_are_about_the_same():
    parts, delta = parts_of(0.1, 0.11, 0.3, 0.7)
    frame = scored(parts, Mask(), delta=delta)
    kept = frame[frame["stands_for"] == "keep"].groupby("component")["energy"].mean()
    own = pd.Series({name: total_energy(part) for name, part in parts.items()})
    odds = [energy / (total_energy(delta) - energy) for energy in (kept[own.index], own)]
    np.testing.assert_array_less(np.abs(np.log(odds[0] / odds[1])), np.log(ODDS_RATIO))
    assert kept["part-0.3"] != kept["part-0.7"]


@pytest.mark.parametrize("share", [0.8, 0.9, 0.95, 0.97, 0.99])
def test_the_stand_in_of_a_large_component_is_not_the_whole_delta(share):
    """It would retain everything by construction, in every draw, and no component could be told from it."""
    parts, delta = parts_of(share)
    energies = scored(parts, Mask(), delta=delta).groupby("stands_for")["energy"].max()
    assert energies["keep"] < total_energy(delta)
    assert energies["drop"] > 0


def test_a_component_that_is_the_whole_delta_has_draws_too():
    parts, delta = parts_of(1.0)
    assert set(scored(parts, Mask(), delta=delta)["component"]) == {"part-1"}


def test_noise_of_matched_norms_is_drawn_anew_for_every_component():
    parts, delta = parts_of(0.1, 0.11)
    kept = scored(parts, Norm(), delta=delta).groupby("component")["energy"].mean()
    assert kept["part-0.1"] == pytest.approx(total_energy(parts["part-0.1"]), rel=1e-5)
    assert kept["part-0.11"] == pytest.approx(total_energy(parts["part-0.11"]), rel=1e-5)


def test_a_component_without_energy_gets_no_draws_of_equal_energy():
    parts, delta = parts_of(0.2, 0.0)
    assert set(scored(parts, Mask(), delta=delta)["component"]) == {"part-0.2"}


def test_a_random_set_is_never_made_of_parts_without_energy():
    """Its effect could not be brought to the component's energy: 0/0."""
    names = [f"model.layers.{index}.mlp.up_proj.weight" for index in range(10)]
    delta = {name: Dense(float(index > 6) * torch.eye(2)) for index, name in enumerate(names)}
    target = Target(Given(delta), {}, 0.2, "small", LENS)
    for draw in range(20):
        assert total_energy(Mask().draw(target, rng("a set", draw)).keep) > 0


def test_what_is_not_random_is_drawn_once():
    parts, delta = parts_of(0.3)
    frame = scored(parts, Scale(), draws=5, delta=delta)
    assert frame["draw"].unique().tolist() == [0]
    assert len(frame) == 2 * 2


def test_components_with_the_same_crop_share_random_bases():
    class Alike(Turned):
        kind: Literal["alike"] = "alike"

        def crop(self, component):
            return "3"

    parts = {"3": LAYER, "03": TOP}
    groups = control_groups(Given(DELTA), parts, [Basis()], Alike())
    assert [group.members for group in groups] == [("3", "03")]
    assert [group.members for group in control_groups(Given(DELTA), parts, [Basis()], LENS)] == [("3",), ("03",)]


def test_draws_depend_on_the_cell_and_not_on_what_else_is_in_the_job():
    def drawn(seed, *shares):
        parts, delta = parts_of(*shares)
        frame = scored(parts, Mask(), delta=delta, seed=seed)
        return frame.loc[frame["component"] == "part-0.3", "tensors"].tolist()

    assert drawn(0, 0.3) == drawn(0, 0.3, 0.7)
    assert drawn(0, 0.3) != drawn(1, 0.3)
