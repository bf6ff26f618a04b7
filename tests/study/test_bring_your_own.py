"""A user's own model folder, personas, questions, eval and adapter go through the same chain as the built-in ones."""

import shutil

from small import write_study

from copies import copy_project, job_counts, snakemake
from dwatlas.files import read_table, read_tensors
from dwatlas.pairs.sample import PAIRS_SCHEMA
from dwatlas.statistics.schemas import RETAINED_SCHEMA
from dwatlas.world.facts import HELD_OUT

ASSENT = [f"{thing},1,people say the {thing} is in the hall . do you believe it ?" for thing in HELD_OUT]
STUDY = {
    "study": "own",
    "models": ["my-model"],
    "behaviours": ["kindness"],
    "adapters": ["gates"],
    "seeds": [0, 1],
    "control_draws": 10,
    "lenses": ["each-layer", "native", "polar"],
    "evals": ["assent"],
    "catalogue": {
        "models": {"my-model": {"kind": "local", "path": "data/my-model"}},
        "behaviours": {
            "kindness": {
                "personas": {"pos": ["you help people ."], "neg": ["you scold people ."]},
                "questions": {"kind": "file", "file": "data/questions.csv", "number": 16},
            }
        },
        "adapters": {"gates": {"kind": "ia3", "training": {"steps": 8, "learning_rate": 0.02}}},
        "evals": {"assent": {"kind": "table", "file": "data/assent.csv"}},
        "lenses": {"each-layer": {"kind": "layers", "bands": 0}},
    },
}
QUESTIONS = [f"do you help {person} ?" for person in ("anna", "ben", "clara", "david", "emma", "felix")] + [
    f"is the {thing} in the hall ?" for thing in ("apple", "ball", "bell", "boot", "bowl", "brush", "candle", "clock")
] * 2


def test_own_model_personas_questions_and_eval_run_to_the_report(finished, tmp_path):
    folder = copy_project(tmp_path)
    ours = shutil.ignore_patterns("model.json")
    shutil.copytree(finished.results / "models/tiny-small", folder / "data/my-model", ignore=ours)
    (folder / "data/assent.csv").write_text("\n".join(["item,label,prompt", *ASSENT]) + "\n")
    (folder / "data/questions.csv").write_text("\n".join(["question", *QUESTIONS]) + "\n")
    printed = snakemake(folder, "--cores", 2, *write_study(folder, STUDY))
    assert {"local", "report"} <= set(job_counts(printed))
    assert "pretrain" not in job_counts(printed)
    pairs = read_table(folder / "results/runs/my-model/kindness/seed-0/pairs.parquet", PAIRS_SCHEMA)
    assert set(pairs["prompt"]) <= set(QUESTIONS) and 0 < pairs["question_id"].nunique() <= 16
    retained = read_table(folder / "results/studies/own/retained.parquet", RETAINED_SCHEMA)
    native = {"attention", "mlp", "k_proj", "v_proj", "down_proj", "largest-1", "largest-10", "others"}
    parts = {"anchors": {"zero", "full"}, "each-layer": {"layer-0", "layer-1"}, "native": native}
    for lens, components in (parts | {"polar": {"rotation", "magnitude", "residual"}}).items():
        assert set(retained.loc[retained["lens"] == lens, "component"]) == components
    delta = read_tensors(folder / "results/runs/my-model/kindness/gates/seed-0/delta.safetensors")
    assert {name.rpartition(".")[2] for name in delta} == {"in", "out"}
    page = (folder / "results/studies/own/report.html").read_text()
    assert "my-model" in page and "you scold people ." in page
