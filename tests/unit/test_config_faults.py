"""Faults in a study or a catalogue: one line that names the key or the file."""

import pytest
from trial import ANATOMY, BEHAVIOUR, HUB, MODEL, NO_NAME, lens, lora, own, personas

from dwatlas.errors import UserError

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
