"""Power of contrasts over seeds: published numbers, statsmodels where it can, and simulation."""

import numpy as np
import pytest
from effects_made import effects_of
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from dwatlas.seeds import rng
from dwatlas.statistics.power import (
    adapters_record,
    equivalence_power,
    pilot_summary,
    power_records,
    seeds_needed,
    smallest_d,
    t_power,
)


def seeds_at(d, arms=1):
    """Seeds an arm for 80 % power, not rounded, by halving between whole numbers of seeds."""
    low, high = 2.0001, 500.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if t_power(d, middle, arms=arms) < 0.8 else (low, middle)
    return round(low, 1)


def test_seeds_for_eighty_per_cent_are_the_known_ones():
    """In standard deviations between seeds: .5, 1, 1.5, 2, 3."""
    assert [seeds_at(d) for d in (0.5, 1, 1.5, 2, 3)] == [33.4, 9.9, 5.7, 4.2, 3.1]
    assert [seeds_at(d, arms=2) for d in (0.5, 1, 1.5, 2, 3)] == [63.8, 16.7, 8.1, 5.1, 3.1]


def test_the_smallest_differences_are_the_known_ones():
    found = [round(smallest_d(seeds, arms=2), 2) for seeds in (3, 5, 8, 10)]
    assert found == pytest.approx([3.07, 2.02, 1.51, 1.32], abs=0.011)


@pytest.mark.parametrize("seeds", [2, 3, 5, 12, 30])
def test_power_is_statsmodels(seeds):
    for d in (0.05, 0.4, 1.0):
        one, two = TTestPower(), TTestIndPower()
        assert t_power(d, seeds) == pytest.approx(one.power(d, seeds, 0.05), abs=1e-4)
        assert t_power(d, seeds, sides=1) == pytest.approx(one.power(d, seeds, 0.05, alternative="larger"), abs=1e-4)
        assert t_power(d, seeds, arms=2) == pytest.approx(two.power(d, seeds, 0.05), abs=1e-4)


def test_power_is_known_where_the_noncentral_t_of_libraries_is_not():
    """30 seeds, d = 1, α = .05/300, against 20,000 simulated studies."""
    samples = 1 + rng("test", "tail").normal(size=(20000, 30))
    found = stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05 / 300
    assert t_power(1.0, 30, 0.05 / 300) == pytest.approx(found.mean(), abs=0.01)


@pytest.mark.parametrize(("seeds", "margin"), [(3, 4.0), (5, 1.5), (8, 1.0), (8, 3.0)])
def test_power_of_two_one_sided_tests_is_reached_in_simulation(seeds, margin):
    L = rng("test", "tost", seeds).normal(size=(8000, seeds))
    t, half = stats.t.ppf(0.95, seeds - 1), L.std(axis=1, ddof=1) / np.sqrt(seeds)
    inside = (L.mean(axis=1) + t * half < margin) & (L.mean(axis=1) - t * half > -margin)
    assert equivalence_power(margin, seeds) == pytest.approx(inside.mean(), abs=0.02)


def test_the_stated_power_of_a_share_is_reached_in_simulation():
    """Studies of 6 seeds in which a part has just the share that is said to be found: 80 % find it, within 3 %."""
    seeds, sd, effect = 6, 0.7, 4.0
    D = effect + sd * _standard("whole", 40)
    records = {line["contrast"]: line for line in power_records(effects_of(D), "antisymmetric", seeds, 0.1, {})}
    own = records["contributes"]
    assert own["sd_nats"] == pytest.approx(sd) and not own["measured"]
    N = own["detectable"] * effect + sd * rng("test", "studies").normal(size=(4000, seeds))
    assert np.mean(stats.ttest_1samp(N, 0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.03)


def _standard(name, seeds, items=4):
    """Seeds × items whose means over items have mean 0 and SD 1."""
    means = rng("test", name).normal(size=seeds)
    means = (means - means.mean()) / means.std(ddof=1)
    return np.repeat(means[:, None], items, axis=1)


def test_ablated_parts_tell_how_parts_vary():
    """N = .5·D exactly: what is kept varies half as much as D, and N − .9·D .4 times."""
    D = 5 + _standard("ablated", 6)
    parts = {("layers", name, mode): 0.5 * D for name in ("a", "b") for mode in ("keep", "drop")}
    records = power_records(effects_of(D, parts), "antisymmetric", 5, 0.1, {"layers": 2})
    lines = {(line["contrast"], line["lens"]): line for line in records}
    assert {key: line["sd_nats"] for key, line in lines.items()} == pytest.approx(
        {("effect", ""): 1, ("contributes", ""): 0.5, ("contributes", "layers"): 0.5, ("redundant", ""): 0.4,
         ("nothing", ""): 0.5, ("between", ""): 0}, abs=1e-9
    )  # fmt: skip
    assert all(line["measured"] for line in lines.values())
    assert lines["contributes", "layers"]["alpha"] == 0.025
    assert lines["contributes", "layers"]["detectable"] > lines["contributes", ""]["detectable"]
    assert lines["redundant", ""]["power"] == pytest.approx(t_power(0.1 * 5 / 0.4, 5, sides=1))
    assert lines["nothing", ""]["power"] == pytest.approx(equivalence_power(0.1 * 5 / 0.5, 5))
    assert lines["between", ""]["detectable"] == pytest.approx(0, abs=1e-6)


def test_an_effect_lost_in_noise_has_no_shares():
    D = 0.1 + _standard("lost", 5)
    assert pilot_summary(effects_of(D), "antisymmetric", 5)["verdict"] == "not_identified"
    lines = {line["contrast"]: line for line in power_records(effects_of(D), "antisymmetric", 5, 0.1, {})}
    assert np.isnan([lines["contributes"]["detectable"], lines["redundant"]["power"], lines["nothing"]["power"]]).all()
    assert lines["effect"]["power"] == pytest.approx(t_power(0.1, 5)) and lines["effect"]["seeds_needed"] > 700
    assert lines["contributes"]["detectable_nats"] == pytest.approx(smallest_d(5))


def test_more_seeds_make_the_whole_identified():
    """D̄ = 1, SD = 1: g = t²/S is above 1 with 5 seeds, below with 8."""
    D = 1 + _standard("more", 4)
    summaries = {seeds: pilot_summary(effects_of(D), "antisymmetric", seeds) for seeds in (5, 8)}
    assert {seeds: one["g"] for seeds, one in summaries.items()} == pytest.approx(
        {seeds: stats.t.ppf(0.975, seeds - 1) ** 2 / seeds for seeds in (5, 8)}
    )
    assert [one["verdict"] for one in summaries.values()] == ["not_identified", "weak"]


def test_adapters_are_paired_where_they_share_seeds():
    shared = dict(enumerate([1.0, 3.0, 5.0]))
    paired = adapters_record(shared, {seed: value + 1 + 0.5 * seed for seed, value in shared.items()}, 5)
    assert paired["paired"] and paired["sd_nats"] == pytest.approx(0.5)
    assert paired["detectable_nats"] == pytest.approx(0.5 * smallest_d(5))
    apart = adapters_record(shared, {7: 2.0, 8: 4.0}, 5)
    assert not apart["paired"] and apart["sd_nats"] == pytest.approx(3**0.5)
    assert apart["detectable_nats"] == pytest.approx(3**0.5 * smallest_d(5, arms=2))


def test_seeds_needed_are_the_fewest():
    assert seeds_needed(lambda n: t_power(1.0, n)) == 10
    assert seeds_needed(lambda n: 1.0) == 2
    assert np.isnan(seeds_needed(lambda n: t_power(0.01, n)))


def test_one_seed_detects_nothing():
    assert t_power(3.0, 1) == equivalence_power(3.0, 1) == 0 and smallest_d(1) == np.inf
