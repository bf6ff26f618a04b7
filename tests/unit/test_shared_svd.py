"""Lens shared_svd: what several runs have in common, and nothing that the scored run brought itself."""

import models_made
import pytest
import torch
from models_made import ANATOMY, relative

from dwatlas.adapters.lora import Lora
from dwatlas.delta.algebra import Factored, total_energy
from dwatlas.lenses.base import Given
from dwatlas.lenses.shared_svd import SharedSvd
from dwatlas.seeds import rng

LENS = SharedSvd(dimensions=(1, 2, 4))
COMPONENTS = LENS.names(Lora(), ANATOMY)
NAMES = [site.name for site in ANATOMY.sites()]
GENERATOR = torch.Generator().manual_seed(11)
COMMON = {
    site.name: (torch.randn(site.shape[0], 1, generator=GENERATOR), torch.randn(1, site.shape[1], generator=GENERATOR))
    for site in ANATOMY.sites()
}


def run(common: float, own: float, scale: float = 1.0):
    """dW of rank 3: a common direction and two of its own."""
    made = {}
    for site in ANATOMY.sites():
        left, right = COMMON[site.name]
        lefts = torch.cat([common * left, own * torch.randn(site.shape[0], 2, generator=GENERATOR)], dim=1)
        rights = torch.cat([right, torch.randn(2, site.shape[1], generator=GENERATOR)])
        made[site.name] = Factored(scale * lefts, rights)
    return made


def test_components_are_sides_by_dimensions_below_the_width():
    assert [f"{side}-{k}" for side in ("left", "right", "both") for k in (1, 2, 4)] == COMPONENTS
    assert SharedSvd().names(Lora(), ANATOMY)[-1] == "both-16"


@pytest.mark.parametrize("component", COMPONENTS)
def test_keep_and_drop_sum_to_dw(component):
    given = Given(models_made.delta(), others=(run(1, 1), run(1, 1)))
    for split in (LENS.split(given, component), LENS.at_random(given, component, rng("shared"))):
        for name, matrix in given.delta.items():
            whole = sum(part[name].dense() for part in (split.keep, split.drop) if name in part)
            assert relative(whole, matrix.dense()) < 1e-6


def test_the_direction_that_others_share_comes_first_whatever_their_norms():
    """Two others with a strong common direction; the larger of them by 1,000 does not take the basis over."""
    others = run(4, 0.5), run(4, 0.5, scale=1000)
    alone = {name: Factored(*COMMON[name]) for name in NAMES}
    given = Given(alone, others=others)
    for component in ("left-1", "right-1", "both-1"):
        assert total_energy(LENS.split(given, component).keep) / total_energy(alone) > 0.9


def test_what_only_the_scored_run_has_is_not_in_the_basis():
    own = {
        site.name: Factored(
            torch.randn(site.shape[0], 1, generator=GENERATOR), torch.randn(1, site.shape[1], generator=GENERATOR)
        )
        for site in ANATOMY.sites()
    }
    given = Given(own, others=(run(4, 0.1), run(4, 0.1)))
    assert total_energy(LENS.split(given, "both-1").keep) / total_energy(own) < 0.02


def test_a_basis_has_no_more_directions_than_the_others_have():
    given = Given(models_made.delta(rank=8), others=(models_made.delta(rank=2),))
    split = SharedSvd().split(given, "left-16")
    assert {matrix.rank_bound for matrix in split.keep.values()} == {2}


def test_tensors_that_no_other_run_changes_are_no_part():
    other = {name: matrix for name, matrix in models_made.delta().items() if "q_proj" in name}
    split = LENS.split(Given(models_made.delta(), others=(other,)), "left-2")
    assert set(split.keep) == set(other)


def test_random_bases_hold_k_of_d_dimensions():
    name = NAMES[0]
    shares = []
    for number in range(150):
        delta = {name: Factored(torch.randn(32, 1, generator=GENERATOR), torch.randn(1, 32, generator=GENERATOR))}
        other = {name: Factored(torch.randn(32, 4, generator=GENERATOR), torch.randn(4, 32, generator=GENERATOR))}
        keep = LENS.at_random(Given(delta, others=(other,)), "left-4", rng("random bases", number)).keep
        shares.append(total_energy(keep) / total_energy(delta))
    assert torch.tensor(shares).mean() == pytest.approx(4 / 32, rel=0.1)
