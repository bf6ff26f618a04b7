import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from study_frames import BEHAVIOUR, MODEL, TRAINABLE, study_tables

from dwatlas.figures import adapters, dose, energy, forest, map, ranking
from dwatlas.figures.captions import CAPTIONS
from dwatlas.figures.catalogue import FIGURES, render
from dwatlas.figures.labels import spread
from dwatlas.figures.names import FORMATS, KINDS, FigureKey, figure_keys
from dwatlas.figures.ratios import ratios
from dwatlas.figures.save import save
from dwatlas.figures.style import colours
from dwatlas.statistics.comparison import compare
from dwatlas.tables.study import pick

CLAIMS = {"model": MODEL, "behaviour": BEHAVIOUR, "eval": "claims", "lens": "layers"}
DILEMMAS = {**CLAIMS, "eval": "dilemmas"}
CELL = {"model": MODEL, "behaviour": BEHAVIOUR}
SELECTIONS = {kind: CELL if kind in ("dose", "adapters", "ranking") else CLAIMS for kind in KINDS}


@pytest.fixture(scope="module")
def tables():
    return study_tables()


def test_names_need_neither_matplotlib_nor_pandas():
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; import dwatlas.figures.names, dwatlas.tables.names; "
        "print('matplotlib' in sys.modules, 'pandas' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]


def test_every_kind_has_a_module_and_a_caption():
    assert set(KINDS) == set(FIGURES) == set(CAPTIONS)


def test_one_figure_per_eval_and_lens_and_one_dose_figure():
    cells = [("m", "b", ["claims", "dilemmas"], ["layers"], 1)]
    stems = [key.stem for key in figure_keys(cells)]
    assert stems[0] == "forest.m.b.claims.layers"
    assert stems[-1] == "dose.m.b"
    assert len(set(stems)) == 7
    assert figure_keys(cells)[-1].selection == {"model": "m", "behaviour": "b"}


def test_two_adapters_are_compared_and_one_is_not():
    stems = [key.stem for key in figure_keys([("m", "b", ["claims", "dilemmas"], ["layers", "modules"], 2)])]
    compared = ["adapters.m.b", "ranking.m.b", "profiles.m.b.claims.layers", "profiles.m.b.claims.modules"]
    assert stems[-4:] == compared


def test_adapters_are_drawn_strongest_first_with_every_seed(tables):
    data = adapters.data(tables, MODEL, BEHAVIOUR)
    effects = pick(data, measure="effect")
    assert list(dict.fromkeys(effects["adapter"])) == ["lora-r8", "lora-r1"]
    assert effects.groupby("adapter")["seed"].nunique().tolist() == [5, 5]
    for (adapter, measure, name), lines in data.groupby(["adapter", "measure", "eval"]):
        estimate, dots = pick(lines, series="estimate")["value"].item(), pick(lines, series="seed")["value"]
        assert dots.mean() == pytest.approx(estimate), (adapter, measure, name)


def test_transfer_that_is_not_identified_has_no_dots(tables):
    unknown = tables.adapters["measure"].eq("transfer") & tables.adapters["adapter"].eq("lora-r1")
    changed = tables.adapters.copy()
    changed.loc[unknown, ["value", "lo", "hi", "verdict"]] = [np.nan, np.nan, np.nan, "not_identified"]
    figure, data = render("adapters", replace(tables, adapters=changed), **SELECTIONS["adapters"])
    assert pick(data, measure="transfer", adapter="lora-r1")["series"].tolist() == ["estimate"]
    assert any("not identified" in text.get_text() for axes in figure.axes for text in axes.texts)


def test_ranking_has_every_ordered_pair_of_every_eval(tables):
    data = ranking.data(tables, MODEL, BEHAVIOUR)
    assert list(zip(data["eval"], data["adapter"], data["rival"], strict=True)) == [
        (name, *pair) for name in ("claims", "dilemmas") for pair in (("lora-r8", "lora-r1"), ("lora-r1", "lora-r8"))
    ]


def test_profiles_say_what_labels_can_tell(tables):
    figure, data = render("profiles", tables, **CLAIMS)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert all("least possible 0.062" in title for title in titles[:2])
    assert set(data["noise_n_adapters"]) == {2}
    unknown = render("profiles", tables, **DILEMMAS)[0]
    assert "comparison not identified" in unknown.axes[0].get_title(loc="left")
    assert any("not identified: the full effects of 0 adapters" in text.get_text() for text in unknown.texts)


def test_seed_dots_share_one_denominator(tables):
    data = pick(ratios(tables, **CLAIMS), adapter="lora-r8", component="layer-2", mode="keep")
    dots, estimate = pick(data, series="seed")["value"], pick(data, series="estimate")["value"].item()
    assert dots.mean() == pytest.approx(estimate)


def test_control_band_is_a_ratio_whose_ends_are_in_order_for_negative_effects(tables):
    band = pick(ratios(tables, **CLAIMS), series="control")
    assert (band["lo"] < band["hi"]).all()
    assert band["control"].unique().tolist() == ["mask"]


def test_no_ratio_is_plotted_where_not_identified(tables):
    for data in (ratios(tables, **DILEMMAS), energy.data(tables, **DILEMMAS)):
        assert set(data["unit"]) == {"nats"}
    assert map.data(tables, **DILEMMAS)[["share", "sd"]].isna().all(axis=None)


def test_intervals_far_out_end_in_an_arrow_not_in_silence(tables):
    retained = tables.retained.copy()
    wide = (retained["component"] == "layer-1") & (retained["eval"] == "claims") & (retained["mode"] == "keep")
    retained.loc[wide, "hi"] = 40.0
    figure, data = render("forest", replace(tables, retained=retained), **CLAIMS)
    assert forest.x_limits(pick(data, mode="keep", unit="ratio"))[1] < 5
    assert any("beyond the axis" in text.get_text() for text in figure.texts)


def test_energy_figure_turns_drop_into_what_is_lost(tables):
    drop, lost = (pick(frame, adapter="lora-r8", component="layer-2", mode="drop", series="estimate").iloc[0]
                  for frame in (ratios(tables, **CLAIMS), energy.data(tables, **CLAIMS)))  # fmt: skip
    assert lost["value"] == pytest.approx(1 - drop["value"])
    assert (lost["lo"], lost["hi"]) == pytest.approx((1 - drop["hi"], 1 - drop["lo"]))


def test_lines_join_only_growing_parts_that_overlap():
    nested = pd.DataFrame({"component": ["top-1", "top-2", "top-4"], "energy_frac": [0.3, 0.5, 0.8]})
    partition = pd.DataFrame({"component": ["layer-0", "layer-1"], "energy_frac": [0.4, 0.6]})
    assert energy.nested_families(nested) == [["top-1", "top-2", "top-4"]]
    assert energy.nested_families(partition) == []


def test_names_are_moved_apart_and_stay_inside():
    moved = spread([0.5, 0.5, 0.51, 0.99, 1.0])
    assert all(right - left >= 0.031 for left, right in pairwise(moved))
    assert moved == sorted(moved) and moved[-1] <= 1


def test_random_dose_starts_at_the_base_value(tables):
    data = dose.data(tables, MODEL, BEHAVIOUR)
    zero = pick(data, series="control", alpha=0.0, metric="accuracy")
    assert np.allclose(zero[["lo", "value", "hi"]], 1.0)


def test_a_study_without_controls_or_capability_is_drawn(tables):
    own = tables.doses.query("control == '' and eval == 'claims'")
    bare = replace(tables, retained=tables.retained.assign(control=""), controls=tables.controls.iloc[:0], doses=own)
    bare = replace(bare, adapters=bare.adapters.query("eval == 'claims'"))
    for kind in KINDS:
        render(kind, bare, **SELECTIONS[kind])[0].draw_without_rendering()


def test_an_adapter_keeps_its_colour_whatever_the_order():
    assert colours(["lora-r8", "lora-r1"]) == colours(["lora-r1", "lora-r8"])


def test_a_single_seed_is_drawn_without_intervals(tables):
    retained = tables.retained.assign(
        verdict="not_identified",
        n_seeds=1,
        **dict.fromkeys(("retained", "lo", "hi", "effect_lo", "effect_hi", "g"), np.nan),
    )
    one = replace(
        tables, retained=retained, seeds=tables.seeds.query("seed == 0"), doses=tables.doses.query("seed == 0")
    )
    compared = compare(one.seeds, one.doses, "claims", TRAINABLE)
    one = replace(one, adapters=compared.adapters, ranking=compared.ranking, noise=compared.noise)
    for kind in KINDS:
        render(kind, one, **SELECTIONS[kind])[0].draw_without_rendering()


@pytest.mark.parametrize("kind", KINDS)
def test_saved_figures_are_byte_identical(kind, tables, tmp_path):
    key = FigureKey(kind, **SELECTIONS[kind])
    for folder in ("one", "two"):
        save(*render(kind, tables, **key.selection), tmp_path / folder / key.stem, {"study": "tiny"})
    for ending in FORMATS:
        one, two = ((tmp_path / folder / f"{key.stem}.{ending}").read_bytes() for folder in ("one", "two"))
        assert one == two and len(one) > 500
