"""Bands over curves and the crossed bootstrap: known answers, limits, and coverage by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench import coverage
from bench.coverage import curves
from dwatlas.seeds import rng
from dwatlas.statistics import bootstrap
from dwatlas.statistics.bands import FEWEST_SEEDS, critical_value
from dwatlas.statistics.bootstrap import crossed_bootstrap
from dwatlas.statistics.intervals import fieller_crossed, fieller_seeds


def contrasts(members=6, seeds=10):
    return rng("test", "bands", members, seeds).normal(size=(members, seeds))


def test_below_eight_seeds_there_is_no_band():
    assert np.isnan(critical_value(contrasts(seeds=FEWEST_SEEDS - 1), rng("test", "band")))
    assert np.isfinite(critical_value(contrasts(seeds=FEWEST_SEEDS), rng("test", "band")))


def test_a_band_is_wider_the_more_members_it_holds_and_never_narrower_than_an_interval():
    single = stats.t.ppf(0.975, 9)
    one, six = (critical_value(contrasts()[:members], rng("test", "band")) for members in (1, 6))
    assert single <= one < six
    assert critical_value(np.ones((3, 10)), rng("test", "band")) == pytest.approx(single)


def test_members_that_say_the_same_count_as_one_whatever_their_scale():
    X = contrasts()
    alike = np.concatenate([X, -100 * X, np.zeros((2, 10))])
    assert critical_value(alike, rng("test", "band")) == pytest.approx(critical_value(X, rng("test", "band")))


def test_with_many_seeds_it_is_the_normal_maximum():
    c = critical_value(contrasts(members=5, seeds=1000), rng("test", "band"))
    assert c == pytest.approx(stats.norm.ppf(0.5 + 0.5 * 0.95 ** (1 / 5)), abs=0.12)


def test_a_band_holds_a_whole_curve_where_single_intervals_do_not():
    """120 studies: the Monte Carlo SE of a coverage of 95 % is 2 %."""
    for row in pd.DataFrame(curves(120)).itertuples():
        assert row.band >= 0.9
        assert row[3] < 0.92


def test_same_stream_same_bounds():
    X, N = contrasts(), rng("test", "N").normal(size=(3, 4, 5))
    assert critical_value(X, rng("test", "again")) == critical_value(X, rng("test", "again"))
    for one, two in zip(*(crossed_bootstrap(N, N[0] + 3, rng("test", "again")) for _ in range(2)), strict=True):
        assert one.tobytes() == two.tobytes()


def test_the_crossed_bootstrap_draws_seeds_and_items_for_all_parts_at_once():
    draw = rng("test", "by hand")
    N, D = draw.normal(size=(2, 3, 4)), 5 + draw.normal(size=(3, 4))
    lo, hi = crossed_bootstrap(N, D, rng("test", "draws"), 50)
    generator = rng("test", "draws")
    seeds = generator.multinomial(3, [1 / 3] * 3, size=50)
    items = generator.multinomial(4, [1 / 4] * 4, size=50)
    ratios = []
    for u, v in zip(seeds, items, strict=True):
        s, i = np.repeat(np.arange(3), u), np.repeat(np.arange(4), v)
        ratios.append(N[:, s][:, :, i].mean(axis=(1, 2)) / D[np.ix_(s, i)].mean())
    assert np.stack([lo, hi]) == pytest.approx(np.quantile(ratios, [0.025, 0.975], axis=0))


def test_a_part_proportional_to_the_whole_has_bounds_of_width_zero():
    D = 3 + rng("test", "proportional").normal(size=(4, 9))
    lo, hi = crossed_bootstrap(np.stack([0.6 * D, D]), D, rng("test", "draws"), 100)
    assert lo == pytest.approx([0.6, 1.0]) and hi == pytest.approx([0.6, 1.0])


def test_chunks_and_a_whole_for_each_part_change_nothing(monkeypatch):
    draw = rng("test", "chunks")
    N, D = draw.normal(size=(7, 3, 4)), 5 + draw.normal(size=(3, 4))
    at_once = crossed_bootstrap(N, D, rng("test", "draws"))
    monkeypatch.setattr(bootstrap, "CHUNK", 6000)
    for full in (D, np.broadcast_to(D, N.shape)):
        assert np.allclose(crossed_bootstrap(N, full, rng("test", "draws")), at_once, rtol=1e-12)


def test_one_seed_or_one_item_has_no_bounds():
    for shape in ((2, 1, 5), (2, 5, 1)):
        assert np.isnan(crossed_bootstrap(np.ones(shape), np.ones(shape[1:]), rng("test", "draws"))).all()


def test_many_seeds_and_items_give_fieller_s_interval():
    draw = rng("test", "large")
    D = 3 + draw.normal(size=(60, 1)) + draw.normal(size=(1, 60)) + draw.normal(size=(60, 60))
    N = 0.5 * D + 0.3 * draw.normal(size=(60, 1)) + 0.3 * draw.normal(size=(1, 60))
    lo, hi = crossed_bootstrap(N[None], D, rng("test", "draws"), 4000)
    R = fieller_crossed(N, D)
    assert hi[0] - lo[0] == pytest.approx(R.hi - R.lo, rel=0.12)
    assert (lo[0] + hi[0]) / 2 == pytest.approx(R.estimate, abs=0.02)


@pytest.mark.parametrize("regime", coverage.REGIMES)
def test_nominal_coverage(regime):
    """5 seeds × 219 items, 1,000 studies: the Monte Carlo SE of a coverage of 95 % is 0.7 %."""
    draw, fixed, new = rng("test", "coverage", regime), [], []
    for _ in range(10):
        N, D, these_items = coverage.simulate(coverage.REGIMES[regime], 5, 100, draw)
        R = fieller_seeds(N, D)
        fixed.append(~((R.lo > these_items) | (R.hi < these_items)))
        R = fieller_crossed(N, D)
        new.append(~((R.lo > coverage.RATIO) | (R.hi < coverage.RATIO)))
    assert 0.93 <= np.mean(fixed) <= 0.985
    assert 0.92 <= np.mean(new) <= 0.97
