"""``dwatlas plan --power`` from score files as the anchors and ablations write them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_statistics_tables import make_scores

from dwatlas import paths
from dwatlas.cli.power import power_answer
from dwatlas.errors import UserError
from dwatlas.files import write_table
from dwatlas.scoring.rows import SCORE_SCHEMA
from dwatlas.statistics.power import smallest_d

LENS = {"catalogue": {"lenses": {"own": {"kind": "layers", "components": ["layer-0", "layer-1"]}}}, "lenses": ["own"]}
ONE = {**LENS, "adapters": ["lora-r1"]}


def pilot(adapter="lora-r1", seeds=(0, 1, 2, 3), ablated=(), **made):
    """Writes anchors of these seeds, and the ablations of some, as in ``make_scores``."""
    scores = make_scores(seeds=seeds, **made).assign(model="small", adapter=adapter)
    scores.loc[scores["lens"] == "layers", "lens"] = "own"
    for seed, own in scores.groupby("seed"):
        run = {"model": "small", "behaviour": "agreement", "adapter": adapter, "seed": seed}
        write_table(paths.ANCHORS.format(**run), own[own["lens"] == "anchors"], SCORE_SCHEMA)
        parts = own[(own["lens"] == "own") & (own["control"] == "")]
        for component, lines in parts.groupby("component") if seed in ablated else ():
            write_table(paths.COMPONENT.format(**run, lens="own", component=component), lines, SCORE_SCHEMA)
    anchors = scores[(scores["mode"] == "full") & (scores["alpha"] == 1)]
    base = scores[scores["mode"] == "zero"].set_index(["seed", "row"])["lr"]
    shift = anchors.set_index(["seed", "row"])["lr"] - base
    return (shift * anchors.set_index(["seed", "row"])["label"]).groupby("seed").mean()


def test_anchors_alone_say_what_the_study_can_detect(plan):
    D = pilot()
    answer = power_answer(plan(ONE), [])
    (cell,) = answer.content["cells"]
    assert cell["pilot_seeds"] == [0, 1, 2, 3] and cell["n_items"] == 6
    assert cell["effect_nats"] == pytest.approx(D.mean(), abs=1e-5)
    lines = {(line["contrast"], line["lens"]): line for line in cell["contrasts"]}
    assert lines["contributes", ""]["sd_nats"] == pytest.approx(D.std(), abs=1e-5)
    assert lines["contributes", ""]["detectable"] == pytest.approx(smallest_d(5) * D.std() / D.mean(), rel=1e-4)
    assert lines["contributes", "own"]["alpha"] == 0.025
    assert not lines["contributes", ""]["measured"]
    assert "assumed: nothing is ablated yet, so that a part varies from seed to seed as the whole does" in answer.text
    assert "a part contributes, one of 2 in own" in answer.text
    assert json.loads(json.dumps(answer.content, allow_nan=False)) == answer.content


def test_finished_ablations_replace_the_assumption(plan):
    """layer-0 keeps nothing and layer-1 everything: what is kept and lost varies like 0 and like D."""
    D = pilot(ablated=(0, 1, 2))
    (cell,) = power_answer(plan(ONE), []).content["cells"]
    lines = {line["contrast"]: line for line in cell["contrasts"] if not line["lens"]}
    assert lines["contributes"]["measured"]
    assert lines["contributes"]["sd_nats"] == pytest.approx(D[:3].std() / 2, abs=1e-5)
    assert lines["between"]["sd_nats"] == pytest.approx(D[:3].std(), abs=1e-5)
    text = power_answer(plan(ONE), []).text
    assert "assumed" not in text and "the median over the parts that are ablated" in text


def test_adapters_are_compared_on_their_common_seeds(plan):
    D = pilot(), pilot("lora-r8", seeds=(1, 2, 5), effect=4.0, seed_sd=0.6)
    answer = power_answer(plan(LENS), [])
    (pair,) = answer.content["adapters"]
    assert (pair["adapter"], pair["rival"], pair["paired"]) == ("lora-r1", "lora-r8", True)
    assert pair["sd_nats"] == pytest.approx((D[0] - D[1]).std(), abs=1e-5)
    assert "small/agreement, claims: lora-r1 – lora-r8" in answer.text


def test_too_few_seeds_name_what_to_run_first(plan):
    pilot(seeds=(3,))
    answer = power_answer(plan(LENS), ["--configfile", "my study.yaml"])
    assert answer.content["cells"] == []
    assert [(cell["adapter"], cell["pilot_seeds"]) for cell in answer.content["missing"]] == [
        ("lora-r1", 1), ("lora-r8", 0)
    ]  # fmt: skip
    named, every = answer.content["run_first"]
    run = {"model": "small", "behaviour": "agreement"}
    files = [paths.ANCHORS.format(**run, adapter=name, seed=s) for name in ("lora-r1", "lora-r8") for s in (0, 1)]
    assert named == f"snakemake --cores 1 {' '.join(files)} --configfile 'my study.yaml'"
    assert every == "snakemake --cores 1 --until anchors --configfile 'my study.yaml'"
    assert "at least 2 must be scored to know how seeds vary" in answer.text and named in answer.text


def test_an_effect_that_the_study_will_not_identify_has_no_shares(plan):
    pilot(effect=0.1, seed_sd=2.0)
    answer = power_answer(plan(ONE), [])
    (cell,) = answer.content["cells"]
    assert cell["verdict"] == "not_identified"
    assert {line["detectable"] for line in cell["contrasts"] if "detectable" in line} == {None}
    assert "not identified, so no share of it can be found" in answer.text


def test_a_damaged_pilot_is_named(plan):
    pilot()
    path = Path(paths.ANCHORS.format(model="small", behaviour="agreement", adapter="lora-r1", seed=2))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=path.as_posix()):
        power_answer(plan(ONE), [])


def test_planning_without_power_loads_no_heavy_library():
    code = (
        "import argparse, sys; from dwatlas.cli import plan; parser = argparse.ArgumentParser()\n"
        "plan.add_arguments(parser); given = parser.parse_args([])\n"
        "print(given.power, sorted({'torch', 'pandas', 'pyarrow', 'scipy', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True,
                          text=True, check=True)  # fmt: skip
    assert done.stdout == "False []\n"


def test_power_repeats_itself(plan):
    pilot(ablated=(0, 1))
    one, two = (power_answer(plan(ONE), []) for _ in range(2))
    assert one.text == two.text and one.content == two.content
    assert np.isfinite([line["seeds_needed"] for line in one.content["cells"][0]["contrasts"]]).all()
