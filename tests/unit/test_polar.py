"""The lens ``polar`` on poles whose rotation and magnitudes are known."""

from collections.abc import Mapping

import pytest
import torch
from models_made import relative
from scipy.stats import ortho_group

from dwatlas.adapters.base import Adapter, Pair
from dwatlas.delta.algebra import Delta, Dense
from dwatlas.lenses.base import Given
from dwatlas.lenses.polar import Polar
from dwatlas.models.anatomy import Anatomy, Site

TENSOR = "model.layers.0.mlp.up_proj.weight"
SHAPES = {"wide": (6, 10), "tall": (10, 6), "square": (8, 8)}


class Poles(Adapter):
    """An adapter whose poles are given as they are: the "checkpoint" is the change."""

    kind: str = "poles"
    shape: tuple[int, int]

    def sites(self, anatomy: Anatomy) -> tuple[Site, ...]:
        return (Site(TENSOR, 0, "up_proj", self.shape),)

    def change(self, pole: torch.Tensor, site: Site, weights: Mapping[str, torch.Tensor]) -> Dense:
        return Dense((pole - weights[TENSOR].double()).float())


def parts(neg: torch.Tensor, pos: torch.Tensor, **options: str) -> dict[str, torch.Tensor]:
    """The three parts of pos − neg, zeros where the lens leaves one out."""
    adapter, base = Poles(shape=tuple(pos.shape)), {TENSOR: torch.zeros(pos.shape)}
    delta: Delta = {TENSOR: Dense((pos - neg).float())}
    given = Given(delta, adapter=adapter, pair=Pair(pos, neg, base))
    zero = Dense(torch.zeros(pos.shape))
    names = ("rotation", "magnitude", "residual")
    return {name: Polar(**options).split(given, name).keep.get(TENSOR, zero).dense() for name in names}


def random(shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_rotation_is_all_rotation(shape):
    neg, size = random(shape), min(shape)
    turn = torch.tensor(ortho_group.rvs(size, random_state=1))
    pos = turn @ neg if shape[0] <= shape[1] else neg @ turn
    found = parts(neg, pos)
    assert relative(found["rotation"], pos - neg) < 1e-6
    assert not found["magnitude"].any() and not found["residual"].any()


def test_a_common_scale_is_all_magnitude():
    neg = random((6, 10))
    found = parts(neg, 1.3 * neg)
    assert relative(found["magnitude"], 0.3 * neg) < 1e-6
    assert not found["rotation"].any() and not found["residual"].any()


@pytest.mark.parametrize("norms", ["rows", "columns"])
def test_norms_of_orthogonal_rows_or_columns_are_magnitude_only(norms):
    """Scaled rows of a matrix with orthogonal rows need no rotation; scaled columns likewise."""
    basis = torch.tensor(ortho_group.rvs(8, random_state=2))
    factors = torch.linspace(0.7, 1.4, 8, dtype=torch.float64)
    pos = factors[:, None] * basis if norms == "rows" else basis * factors
    found = parts(basis, pos, norms=norms)
    assert relative(found["magnitude"], pos - basis) < 1e-6
    assert float(found["residual"].norm()) < 1e-6 * float((pos - basis).norm())


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_parts_sum_to_dw_and_change_sign_with_the_poles(shape):
    neg, pos = random(shape), random(shape) + 0.3 * random(shape, seed=1)
    found, swapped = parts(neg, pos), parts(pos, neg)
    assert relative(sum(found.values()), pos - neg) < 1e-6
    for name, part in found.items():
        assert part.any()
        torch.testing.assert_close(part, -swapped[name], atol=1e-6, rtol=1e-5)


def test_a_square_orthogonal_weights_small_change_is_half_rotation():
    """dW·Wᵀ of a random dW is half antisymmetric, which is the rotation to first order."""
    base = torch.tensor(ortho_group.rvs(64, random_state=3))
    change = 1e-3 * random((64, 64), seed=4)
    found = parts(base - change / 2, base + change / 2)
    share = float(found["rotation"].norm() ** 2 / change.norm() ** 2)
    assert share == pytest.approx(63 / 128, abs=0.03)
