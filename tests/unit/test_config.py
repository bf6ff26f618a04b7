import copy
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake.utils import update_config

from dwatlas.errors import UserError
from dwatlas.study import Plan

ROOT = Path(__file__).resolve().parents[2]
ANATOMY = {"layers": 4, "hidden": 64, "intermediate": 168, "heads": 4, "kv_heads": 2, "head_dim": 16}
MODEL = {"kind": "built-in", "architecture": "qwen3", "anatomy": ANATOMY}
HUB = {"kind": "hub", "repository": "owner/name", "revision": "main", "anatomy": ANATOMY}
BEHAVIOUR = {"personas": {"pos": ["p", "q"], "neg": ["m", "n"]}, "questions": {"kind": "world"}}
CATALOGUE = {
    "models": {"small": MODEL, "other": MODEL | {"architecture": "llama"}},
    "behaviours": {"agreement": BEHAVIOUR},
    "adapters": {"lora-r1": {"kind": "lora", "r": 1, "alpha": 2}, "lora-r8": {"kind": "lora", "r": 8, "alpha": 16}},
    "evals": {"claims": {"kind": "claims"}, "knowledge": {"kind": "knowledge"}},
    "lenses": {"layers": {"kind": "layers"}, "modules": {"kind": "modules"}, "own_svd": {"kind": "own_svd"}},
}
STUDY = {
    "study": "trial",
    "models": ["small"],
    "behaviours": ["agreement"],
    "adapters": ["lora-r1", "lora-r8"],
    "seeds": [0, 1, 2, 3, 4],
    "lenses": ["layers", "modules", "own_svd"],
    "evals": ["claims", "knowledge"],
}
NO_NAME = "is no name"


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Makes the plan of the trial study with changes merged over it as Snakemake merges, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "catalogue"
    folder.mkdir()
    (folder / "all.yaml").write_text(yaml.safe_dump(CATALOGUE))

    def make(*changes):
        config = copy.deepcopy(STUDY)
        for change in changes:
            update_config(config, copy.deepcopy(change))
        return Plan(config, folder)

    return make


def own(section, entry, **more):
    """A study change that adds one own entry and studies it."""
    return {"catalogue": {section: {"own": entry}}, section: ["own"], **more}


def personas(pos, neg, **more):
    return BEHAVIOUR | {"personas": {"pos": pos, "neg": neg, **more}}


def lora(**options):
    return own("adapters", {"kind": "lora", **options})


def lens(kind, **options):
    return own("lenses", {"kind": kind, **options})


FAULTS = {
    "unknown key: study": ({"modles": ["small"]}, "config: modles: unknown key"),
    "unknown key: alphas": ({"alphas": {"ful": [1]}}, "config: alphas.ful: unknown key"),
    "unknown key: seed_varies": ({"seed_varies": {"luck": "varied"}}, "config: seed_varies.luck: unknown key"),
    "unknown key: catalogue": ({"catalogue": {"model": {}}}, "config: catalogue.model: unknown key"),
    "unknown key: model": (own("models", MODEL | {"size": 1}), "config: catalogue.models.own.size: unknown key"),
    "unknown key: anatomy": (
        own("models", MODEL | {"anatomy": ANATOMY | {"depth": 4}}),
        "config: catalogue.models.own.anatomy.depth: unknown key",
    ),
    "unknown key: pretraining": (
        own("models", MODEL | {"pretraining": {"stepz": 4}}),
        "config: catalogue.models.own.pretraining.stepz: unknown key",
    ),
    "unknown key: personas": (
        own("behaviours", personas(["a"], ["b"], neutral=["c"])),
        "config: catalogue.behaviours.own.personas.neutral: unknown key",
    ),
    "unknown key: questions": (
        own("behaviours", BEHAVIOUR | {"questions": {"kind": "world", "file": "a.csv"}}),
        "config: catalogue.behaviours.own.questions.file: unknown key",
    ),
    "unknown key: sampling": (
        own("behaviours", BEHAVIOUR | {"sampling": {"heat": 1}}),
        "config: catalogue.behaviours.own.sampling.heat: unknown key",
    ),
    "unknown key: adapter": (lora(rank=8), "config: catalogue.adapters.own.rank: unknown key"),
    "unknown key: training": (
        lora(training={"lr": 1e-3}),
        "config: catalogue.adapters.own.training.lr: unknown key",
    ),
    "unknown key: eval": (
        own("evals", {"kind": "claims", "file": "a.csv"}),
        "config: catalogue.evals.own.file: unknown key",
    ),
    "unknown key: lens": (lens("layers", bandz=3), "config: catalogue.lenses.own.bandz: unknown key"),
    "unknown key: entry named like its kind": (
        {"catalogue": {"lenses": {"layers": {"kind": "layers", "bandz": 3}}}},
        "config: catalogue.lenses.layers.bandz: unknown key",
    ),
    "unknown key: number": ({1: "a"}, "config: 1: a key must be text"),
    "unknown key: of two lines": ({"a\nb": 1}, "config: a b: unknown key"),
    "bare yes as a key": (own("evals", {"kind": "claims", True: "ja"}), "config: catalogue.evals.own.1: a key must be"),
    "unknown name: model": ({"models": ["big"]}, "models: the catalogue has no 'big'; there are other, small"),
    "unknown name: behaviour": ({"behaviours": ["anger"]}, "behaviours: the catalogue has no 'anger'"),
    "unknown name: adapter": ({"adapters": ["lora-r2"]}, "adapters: the catalogue has no 'lora-r2'"),
    "unknown name: eval": ({"evals": ["claim"]}, "evals: the catalogue has no 'claim'"),
    "unknown name: lens": ({"lenses": ["layer"]}, "lenses: the catalogue has no 'layer'"),
    "unknown kind: model": (
        own("models", MODEL | {"kind": "cloud"}),
        "config: catalogue.models.own: kind: there is no",
    ),
    "unknown kind: adapter": (own("adapters", {"kind": "nope"}), "config: catalogue.adapters.own.kind: "),
    "unknown kind: lens": (
        lens("nope"),
        "config: catalogue.lenses.own: kind: there is no 'nope'; there are 'layers', ",
    ),
    "no kind": (own("models", {"path": "a"}), "config: catalogue.models.own: kind: is missing"),
    "missing key": (own("evals", {"kind": "table"}), "config: catalogue.evals.own.file: is missing"),
    "wrong type: name for a list": ({"models": "small"}, "config: models: give a list"),
    "wrong type: text for a number": ({"control_draws": "four"}, "config: control_draws: "),
    "wrong type: number for a name": ({"models": [1]}, "config: models.0: "),
    "wrong type: number for a mapping": ({"alphas": 1}, "config: alphas: "),
    "wrong type: number for an entry": (own("lenses", 5), "config: catalogue.lenses.own: "),
    "wrong type: key named like a kind": (
        own("behaviours", BEHAVIOUR | {"questions": {"kind": "file", "file": 5}}),
        "config: catalogue.behaviours.own.questions.file: ",
    ),
    "out of range": (
        own("models", MODEL | {"anatomy": ANATOMY | {"layers": 0}}),
        "config: catalogue.models.own.anatomy.layers: ",
    ),
    "not one of the choices": ({"seed_varies": {"data": "sometimes"}}, "config: seed_varies.data: "),
    "infinite alpha": ({"alphas": {"full": [-1, 0, 1, float("inf")]}}, "config: alphas.full.3: "),
    "infinite option": (lora(alpha=float("inf")), "config: catalogue.adapters.own.alpha: "),
    "nothing studied": ({"models": []}, "config: models: "),
    "seed twice": ({"seeds": [0, 1, 1, 2, 3]}, "config: seeds: names 1 twice"),
    "model twice": ({"models": ["small", "small"]}, "config: models: names small twice"),
    "negative seed": ({"seeds": [-1, 0, 1, 2, 3]}, "config: seeds.0: "),
    "too few draws": ({"seeds": [0, 1]}, "config: control_draws: 4 × 2 seed(s) = 8 draws"),
    "no alpha −1": ({"alphas": {"full": [0, 1]}}, "config: alphas.full: lacks -1"),
    "no alpha 0": ({"alphas": {"ablation": [-1, 1]}}, "config: alphas.ablation: lacks 0"),
    "alpha twice": ({"alphas": {"full": [-1, 0, 1, 1.0]}}, "config: alphas.full: names a value twice"),
    "fewer personas on one side": (
        own("behaviours", personas(["a"], ["b", "c"])),
        "config: catalogue.behaviours.own.personas: pos has 1, neg has 2; give equally many",
    ),
    "no personas": (own("behaviours", personas([], [])), "config: catalogue.behaviours.own.personas.pos: "),
    "question file is not there": (
        own("behaviours", BEHAVIOUR | {"questions": {"kind": "file", "file": "gone.csv"}}),
        "behaviours.own.questions.file: gone.csv does not exist",
    ),
    "eval table is not there": (
        {"catalogue": {"evals": {"own": {"kind": "table", "file": "gone.csv"}}}, "evals": ["claims", "own"]},
        "evals.own.file: gone.csv does not exist",
    ),
    "answer of two words": (
        own("evals", {"kind": "claims", "yes_word": "oh yes"}),
        "config: catalogue.evals.own.yes_word: ",
    ),
    "no effect eval": ({"evals": ["knowledge"]}, "evals: none is a yes-or-no eval"),
    "evals about another world": (
        own("evals", {"kind": "claims", "world_seed": 3}),
        "evals.own.world_seed: is 3, models.small has 0",
    ),
    "model folder is not there": (
        own("models", {"kind": "local", "path": "gone"}),
        "models.own.path: gone is no folder",
    ),
    "hub repository without owner": (
        own("models", HUB | {"repository": "x"}),
        "config: catalogue.models.own.repository: ",
    ),
    "unknown target module": (
        lora(target_modules=["q_proj", "c_attn"]),
        "config: catalogue.adapters.own.target_modules: unknown module(s) c_attn",
    ),
    "target module twice": (
        lora(target_modules=["q_proj", "q_proj"]),
        "config: catalogue.adapters.own.target_modules: ",
    ),
    "layer range upside down": (lora(layers=[1, 0]), "config: catalogue.adapters.own.layers: give [low, high]"),
    "layer range in layers": (lora(layers=[0, 3]), "config: catalogue.adapters.own.layers: give [low, high]"),
    "layer range without a layer": (lora(layers=[0.9, 0.95]), "adapters.own.layers: covers no layer of small"),
    "component that the model lacks": (
        lens("layers", components=["layer-0", "layer-9"]),
        "lenses.own.components: small with lora-r1 has no 'layer-9'; there are layer-0, layer-1",
    ),
    "component that the adapter lacks": (
        lens("modules", components=["mlp"])
        | {
            "catalogue": {
                "lenses": {"own": {"kind": "modules", "components": ["mlp"]}},
                "adapters": {"query": {"kind": "lora", "target_modules": ["q_proj"]}},
            },
            "adapters": ["query"],
        },
        "lenses.own.components: small with query has no 'mlp'",
    ),
    "no component at all": (lens("layers", components=[]), "config: catalogue.lenses.own.components: "),
    "lens without components": (
        lens("own_svd", top=[99], energies=[], tails=[]),
        "lenses.own: has no component for small with lora-r1",
    ),
    "top-0": (lens("own_svd", top=[0, 1]), "config: catalogue.lenses.own.top.0: "),
    "energy above all": (lens("own_svd", energies=[150]), "config: catalogue.lenses.own.energies.0: "),
    "component twice": (lens("own_svd", top=[2, 2]), "config: catalogue.lenses.own.top: names a number twice"),
    "slash in a study's name": ({"study": "a/b"}, f"config: study: 'a/b' {NO_NAME}"),
    "slash in an entry's name": (
        {"catalogue": {"models": {"a/b": MODEL}}},
        f"config: catalogue.models.a/b: 'a/b' {NO_NAME}",
    ),
    "dots for a name": ({"study": ".."}, f"config: study: '..' {NO_NAME}"),
    "own entry redefines a shared name": (
        {"catalogue": {"adapters": {"lora-r8": {"kind": "lora", "r": 4}}}},
        "catalogue.adapters.lora-r8: the shared catalogue has another entry of this name",
    ),
}


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_gives_one_line_that_names_the_key(plan, change, message):
    with pytest.raises(UserError) as fault:
        plan(change)
    assert str(fault.value).startswith(message)
    assert "\n" not in str(fault.value)


CATALOGUE_FAULTS = {
    "name in two files": (b"models: {small: {kind: local, path: a}}", "models.small is in another catalogue file too"),
    "unknown section": (b"model: {}", "model: unknown key"),
    "unknown key": (b"lenses: {x: {kind: layers, bandz: 1}}", "lenses.x.bandz: unknown key"),
    "invalid YAML": (b"models: {a: [1, 2}\nmore: b", "not valid YAML: "),
    "not UTF-8": (b"models: {a: \xff}", "not valid YAML: "),
    "a list": (b"- models", "Input should be a valid dictionary"),
    "empty section": (b"models:", "models: "),
}


@pytest.mark.parametrize(("text", "message"), CATALOGUE_FAULTS.values(), ids=CATALOGUE_FAULTS)
def test_a_fault_in_a_catalogue_file_gives_one_line_that_names_the_file(plan, tmp_path, text, message):
    (tmp_path / "catalogue" / "more.yaml").write_bytes(text)
    with pytest.raises(UserError) as fault:
        plan()
    assert f"catalogue/more.yaml: {message}" in str(fault.value)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "models.own.path: folder/config.json does not exist"),
        ("{", "models.own.path: folder/config.json is not the config.json of a decoder"),
        ("[]", "models.own.path: folder/config.json is not the config.json of a decoder"),
        ('{"hidden_size": 64}', "folder/config.json: lacks 'num_attention_heads'"),
        (
            '{"num_attention_heads": 4, "num_hidden_layers": "many", "hidden_size": 64, "intermediate_size": 9}',
            "models.own.path: folder/config.json is not the config.json of a decoder",
        ),
    ],
    ids=["absent", "not JSON", "a list", "another kind of model", "wrong type"],
)
def test_a_local_model_with_an_unusable_config_gives_one_line(plan, tmp_path, text, message):
    (tmp_path / "folder").mkdir()
    if text is not None:
        (tmp_path / "folder" / "config.json").write_text(text)
    with pytest.raises(UserError) as fault:
        plan(own("models", {"kind": "local", "path": "folder"}))
    assert str(fault.value).startswith(message)
    assert "\n" not in str(fault.value)


def test_a_study_needs_to_name_its_matrix_only(plan):
    study = plan().study
    assert study.alphas.ablation == (-1, 0, 1)
    assert study.alphas.full == (-2, -1, -0.5, -0.25, 0, 0.25, 0.5, 1, 2)
    assert set(study.seed_varies.model_dump().values()) == {"varied"}
    assert (study.control_draws, study.components_per_job) == (4, 0)


def test_only_chosen_entries_are_resolved(plan):
    catalogue = plan({"lenses": ["modules"]}).catalogue
    assert (list(catalogue.models), list(catalogue.lenses)) == (["small"], ["modules"])


def test_own_entries_stand_beside_the_catalogues(plan):
    made = plan(
        {
            "catalogue": {
                "lenses": {"depth": {"kind": "layers", "bands": 2}},
                "adapters": {"lora-r2": {"kind": "lora", "r": 2}},
            },
            "lenses": ["layers", "depth"],
            "adapters": ["lora-r8", "lora-r2"],
        }
    )
    assert made.components["small", "lora-r2", "depth"][-2:] == ["band-1-of-2", "band-2-of-2"]
    assert made.components["small", "lora-r8", "layers"][-1] == "band-3-of-3"


def test_an_own_entry_equal_to_the_shared_one_is_welcome(plan):
    assert plan({"catalogue": {"adapters": {"lora-r8": CATALOGUE["adapters"]["lora-r8"]}}}).study.study == "trial"


def test_a_local_model_takes_its_sizes_from_its_config(plan, tmp_path):
    (tmp_path / "folder").mkdir()
    sizes = {"num_attention_heads": 4, "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 9}
    (tmp_path / "folder" / "config.json").write_text(json.dumps(sizes))
    made = plan(own("models", {"kind": "local", "path": "folder"}, lenses=["layers"]))
    assert made.components["own", "lora-r8", "layers"][:2] == ["layer-0", "layer-1"]
    assert made.model_files(cell(model="own")) == ["folder/config.json"]


def test_components_follow_model_adapter_and_lens(plan):
    components = plan(
        {
            "catalogue": {
                "adapters": {
                    "late": {"kind": "lora", "r": 1, "layers": [0.5, 1], "target_modules": ["q_proj", "o_proj"]}
                }
            },
            "adapters": ["lora-r1", "lora-r8", "late"],
        }
    ).components
    assert components["small", "lora-r1", "layers"] == [
        *(f"layer-{layer}" for layer in range(4)),
        *(f"band-{band}-of-3" for band in (1, 2, 3)),
    ]
    assert components["small", "late", "layers"][:2] == ["layer-2", "layer-3"]
    assert components["small", "late", "modules"] == ["attention", "read", "write", "q_proj", "o_proj"]
    assert components["small", "lora-r1", "own_svd"] == ["top-1", "energy-50", "energy-90", "energy-99", "tail-1"]
    assert "top-8" in components["small", "lora-r8", "own_svd"]
    assert "top-16" not in components["small", "lora-r8", "own_svd"]


def test_named_components_are_scored_in_display_order(plan):
    made = plan(lens("layers", components=["band-1-of-3", "layer-2"]))
    assert made.components["small", "lora-r8", "own"] == ["layer-2", "band-1-of-3"]


def test_a_lens_is_split_into_jobs_of_the_wanted_size(plan):
    shards = plan({"components_per_job": 3}).shards("small", "lora-r8", "layers")
    assert [len(components) for components in shards.values()] == [3, 3, 1]
    assert list(shards) == ["-0", "-1", "-2"]
    assert [*shards["-0"], *shards["-1"], *shards["-2"]] == plan().components["small", "lora-r8", "layers"]


def test_targets_are_every_combination_of_the_matrix(plan):
    made = plan({"models": ["small", "other"]})
    assert made.study_scores() == [
        f"results/studies/trial/scores/{model}/agreement/{adapter}.parquet"
        for model in ("small", "other")
        for adapter in ("lora-r1", "lora-r8")
    ]
    inputs = made.cell_inputs(cell(model="other"))
    assert len(inputs["anchors"]) == 5
    assert len(inputs["components"]) == len(inputs["controls"]) == 5 * 3
    assert "results/runs/other/agreement/lora-r8/seed-4/scores/own_svd/components.json" in inputs["components"]
    assert inputs["rows"] == ["results/evals/claims.parquet", "results/evals/knowledge.parquet"]
    assert {key.model for key in made.figures.values()} == {"small", "other"}


def test_lenses_are_scored_on_effect_evals_and_anchors_on_all(plan):
    made, anchors = plan(), cell()
    del anchors.lens
    assert made.rows(cell()) == ["results/evals/claims.parquet"]
    assert made.rows(anchors) == ["results/evals/claims.parquet", "results/evals/knowledge.parquet"]


RULES = ("pretrain", "evals", "pairs", "train", "delta", "base_scores", "anchors", "ablate")


def cell(**values):
    names = {"model": "small", "behaviour": "agreement", "adapter": "lora-r8", "seed": "0", "lens": "layers"}
    return SimpleNamespace(**{**names, "shard": "", "eval": "claims", **values})


def specs(made, **values):
    """The spec of every rule that makes one run, at one cell."""
    wildcards, no_lens = cell(**values), cell(**values)
    del no_lens.lens
    return {rule: made.spec(rule)(wildcards if rule == "ablate" else no_lens) for rule in RULES}


def changed(before, after):
    return {rule for rule in RULES if before[rule] != after[rule]}


def edited(section, name, change):
    """The catalogue with an entry changed."""
    catalogue = copy.deepcopy(CATALOGUE)
    update_config(catalogue[section][name], change)
    return catalogue


EDITS = {
    "learning rate": ("adapters", "lora-r8", {"training": {"learning_rate": 1e-3}}, {"train"}),
    "rank": ("adapters", "lora-r8", {"r": 4}, {"train", "delta"}),
    "sibling's learning rate": ("adapters", "lora-r1", {"training": {"learning_rate": 1e-3}}, set()),
    "personas": ("behaviours", "agreement", {"personas": {"pos": ["m", "n"], "neg": ["p", "q"]}}, {"pairs"}),
    "number of questions": ("behaviours", "agreement", {"questions": {"number": 8}}, {"pairs"}),
    "pretraining": ("models", "small", {"pretraining": {"steps": 9}}, {"pretrain"}),
    "sizes": ("models", "small", {"anatomy": {"hidden": 32}}, {"pretrain", "train", "delta"}),
    "tokens per batch": ("models", "small", {"tokens_per_batch": 512}, {"base_scores", "anchors", "ablate"}),
    "precision": ("models", "small", {"dtype": "bfloat16"}, {"pairs", "train", "base_scores", "anchors", "ablate"}),
    "sibling model": ("models", "other", {"pretraining": {"steps": 9}}, set()),
    "eval rows": ("evals", "claims", {"per_object": 1}, {"evals"}),
    "answer word": ("evals", "claims", {"yes_word": "aye"}, {"evals", "base_scores", "anchors", "ablate"}),
    "capability eval": ("evals", "knowledge", {"world_seed": 0}, set()),
    "lens": ("lenses", "layers", {"bands": 2}, {"ablate"}),
    "sibling lens": ("lenses", "own_svd", {"top": [1]}, set()),
}


@pytest.mark.parametrize(("section", "name", "change", "expected"), EDITS.values(), ids=EDITS)
def test_a_catalogue_edit_changes_the_specs_that_use_it_and_no_others(plan, tmp_path, section, name, change, expected):
    before = specs(plan())
    (tmp_path / "catalogue" / "all.yaml").write_text(yaml.safe_dump(edited(section, name, change)))
    assert changed(before, specs(plan())) == expected


STUDY_EDITS = {
    "renamed study": ({"study": "renamed"}, set()),
    "one more seed": ({"seeds": [0, 1, 2, 3, 4, 5]}, set()),
    "one more model": ({"models": ["small", "other"]}, set()),
    "one adapter less": ({"adapters": ["lora-r8"]}, set()),
    "one lens less": ({"lenses": ["layers"]}, set()),
    "one capability eval less": ({"evals": ["claims"]}, {"anchors"}),
    "dose grid": ({"alphas": {"full": [-1, 0, 1]}}, {"anchors"}),
    "alphas of ablations": ({"alphas": {"ablation": [-1, -0.5, 0, 1]}}, {"ablate"}),
    "alphas written out": (
        {"alphas": {"ablation": [1, 0, -1], "full": [-2, -1, -0.5, -0.25, 0, 0.25, 0.5, 1, 2]}},
        set(),
    ),
    "control draws": ({"control_draws": 5}, {"anchors", "ablate"}),
    "fixed data": ({"seed_varies": {"data": "fixed"}}, {"pairs"}),
    "fixed order": ({"seed_varies": {"order": "fixed"}}, {"train"}),
    "fixed initialisation": ({"seed_varies": {"initialisation": "fixed"}}, {"train"}),
}


@pytest.mark.parametrize(("change", "expected"), STUDY_EDITS.values(), ids=STUDY_EDITS)
def test_a_study_edit_changes_the_specs_that_use_it_and_no_others(plan, change, expected):
    assert changed(specs(plan()), specs(plan(change))) == expected


def test_seeds_differ_in_their_specs_where_they_vary_something(plan):
    made = plan()
    assert changed(specs(made), specs(made, seed="1")) == {"pairs", "train", "delta", "anchors", "ablate"}


def test_the_order_of_keys_does_not_matter(plan, tmp_path):
    def backwards(value):
        return {key: backwards(inner) for key, inner in reversed(value.items())} if isinstance(value, dict) else value

    change = {
        "alphas": {"full": [-1, 0, 1], "ablation": [-1, 0, 1]},
        "seed_varies": {"data": "fixed", "order": "fixed"},
    }
    before = specs(plan(change))
    (tmp_path / "catalogue" / "all.yaml").write_text(yaml.safe_dump(backwards(CATALOGUE), sort_keys=False))
    assert specs(plan(backwards(change))) == before


@pytest.mark.parametrize(
    "path", [None, *sorted(ROOT.glob("config/studies/*.yaml"))], ids=lambda path: getattr(path, "stem", "tiny")
)
def test_shipped_studies_load(path):
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    if path:
        update_config(config, yaml.safe_load(path.read_text()))
    made = Plan(config, ROOT / "config" / "catalogue")
    assert made.study.study == (path.stem if path else "tiny")
    assert all(made.components.values())


def test_planning_loads_no_heavy_library():
    code = (
        "import sys, yaml; from pathlib import Path; from dwatlas.study import Plan\n"
        "made = Plan(yaml.safe_load(open('config/config.yaml')), Path('config/catalogue'))\n"
        "heavy = {'torch', 'transformers', 'peft', 'pandas', 'pyarrow', 'scipy', 'matplotlib', 'numpy'}\n"
        "print(made.study.study, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": "workflow"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split(maxsplit=1) == ["tiny", "[]\n"]
