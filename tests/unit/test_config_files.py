"""Faults in configuration files: how they are read, alone and through Snakemake."""

import pytest
import yaml
from trial import UNKNOWN, refused

from copies import copy_project, snakemake
from dwatlas.config.read import read_config

CATALOGUE_FAULTS = {
    "name in two files": (b"models: {small: {kind: local, path: a}}", "models.small is in another catalogue file too"),
    "unknown section": (b"model: {}", f"model: {UNKNOWN}; did you mean 'models'?"),
    "unknown key": (b"lenses: {x: {kind: layers, bandz: 1}}", f"lenses.x.bandz: {UNKNOWN}; did you mean 'bands'?"),
    "invalid YAML": (
        b"models: {a: [1, 2}\nmore: b",
        "not valid YAML: line 1: while parsing a flow sequence, expected ',' or ']'",
    ),
    "not UTF-8": (b"models: {a: \xff}", "not valid YAML: byte 13 is not UTF-8; save it as UTF-8"),
    "binary": (b"\x00\x01", "not valid YAML: "),
    "tab": (
        b"models:\n\tsmall: 1",
        "not valid YAML: line 2: while scanning for the next token, found character '\\t' that cannot start any token; "
        "indent with spaces$",
    ),
    "open quote": (b"models:\n  x: 'a", "not valid YAML: line 2: "),
    "object of Python": (b"models: !!python/object:os.system {}", "not valid YAML: line 1: could not determine a"),
    "no such day": (b"models: {a: 2026-02-30}", "not valid YAML: day is out of range for month"),
    "mapping that holds itself": (b"models: &all {small: *all}", "models.small: "),
    "two documents": (
        b"models: {}\n---\nevals: {}",
        "not valid YAML: line 2: expected a single document in the stream, but",
    ),
    "section twice": (b"lenses: {}\nevals: {}\nlenses: {}", "line 3: lenses is given twice, first in line 1; keep one"),
    "entry twice": (
        b"lenses:\n  x: {kind: layers}\n  y: {kind: layers}\n  x: {kind: modules}",
        "line 4: lenses.x is given twice, first in line 2; keep one",
    ),
    "option twice": (b"lenses: {x: {kind: layers, kind: modules}}", "line 1: lenses.x.kind is given twice, first in"),
    "key twice in a list": (b"lenses: [{a: 1, a: 1}]", "line 1: lenses.0.a is given twice"),
    "truth value for a number": (
        b"lenses: {x: {kind: layers, bands: true}}",
        "lenses.x.bands: give a number, given Tr",
    ),
    "a list": (b"- models", "give keys and values, given ['models']"),
    "a word": (b"models", "give keys and values, given 'models'"),
    "empty section": (b"models:", "models: has no value"),
    "folder": (None, "cannot be read (Is a directory); give a YAML file"),
}


@pytest.mark.parametrize(("text", "message"), CATALOGUE_FAULTS.values(), ids=CATALOGUE_FAULTS)
def test_a_fault_in_a_catalogue_file_gives_one_line_that_names_the_file(plan, tmp_path, text, message):
    file = tmp_path / "catalogue" / "more.yaml"
    file.mkdir() if text is None else file.write_bytes(text)
    with refused(tmp_path, f"{file}: {message}"):
        plan()


def test_a_catalogue_without_files_is_named(plan, tmp_path):
    (tmp_path / "catalogue" / "all.yaml").unlink()
    with refused(tmp_path, f"{tmp_path / 'catalogue'}: has no catalogue file"):
        plan()


def test_a_catalogue_file_may_end_in_yml(plan, tmp_path):
    (tmp_path / "catalogue" / "more.yml").write_text("lenses: {more: {kind: layers}}")
    assert plan({"lenses": ["more"]}).study.lenses == ("more",)


@pytest.mark.parametrize(
    "text",
    [
        "a: &one {x: 1, y: 2}\nb: {<<: *one, x: 3}",
        "b: {c: {<<: &two {<<: &one {y: 2}, x: 3}}}\na: {<<: *two}",
        "a: &one {x: 1}\nb: *one\nc: [*one, *one]",
        '{\n\t"a": {"x": 1},\n\t"b": {"x": 1}\n}',
    ],
    ids=["merged key given anew", "merged twice over", "alias", "JSON with tabs"],
)
def test_keys_that_only_look_alike_are_no_fault(tmp_path, text):
    (tmp_path / "study.yaml").write_text(text)
    assert read_config(tmp_path / "study.yaml") == yaml.load(text.replace("\t", " "), Loader=yaml.SafeLoader)


def test_a_mapping_that_holds_itself_is_read_once(tmp_path):
    (tmp_path / "study.yaml").write_text("a: &one {x: *one}")
    content = read_config(tmp_path / "study.yaml")
    assert content["a"]["x"] is content["a"]


def test_a_key_twice_in_json_is_named(tmp_path):
    (tmp_path / "study.json").write_text('{"study": "a", "alphas": {"full": [], "full": [1]}}')
    with refused(tmp_path, f"{tmp_path / 'study.json'}: full: is given twice; keep one"):
        read_config(tmp_path / "study.json")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The project with its own config, and study files of every sort beside it."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    files = {
        "twice.yaml": b"study: a\nseeds: [0]\nstudy: b",
        "unknown.yaml": b"study: a\nadapters: [lora-r9]",
        "tab.yaml": b"study: a\n\tseeds: [0]",
        "empty.yaml": b"",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


THROUGH_SNAKEMAKE = {
    "study file with a key twice": (
        "--configfile twice.yaml",
        "{project}/twice.yaml: line 3: study is given twice, fi",
    ),
    "study file with an unknown name": ("--configfile unknown.yaml", "adapters: the catalogue has no 'lora-r9'; there"),
    "unknown key on the command line": ("--config sedes=[1]", f"config: sedes: {UNKNOWN}; did you mean 'seeds'?"),
    "no value on the command line": ("--config seeds=", "config: seeds: has no value; give one, or leave the key out"),
}


@pytest.mark.parametrize(("arguments", "said"), THROUGH_SNAKEMAKE.values(), ids=THROUGH_SNAKEMAKE)
def test_snakemake_ends_with_one_line_and_makes_nothing(project, arguments, said):
    printed = snakemake(project, "-n", *arguments.split(), fails=True)
    (line,) = [line for line in printed.splitlines() if "rror" in line]
    assert line.startswith(f"config error: {said.format(project=project)}")
    assert "Traceback" not in printed
    assert not (project / "results").exists()


READ_BY_SNAKEMAKE = {
    "no study file": ("--configfile gone.yaml", "No such file or directory: 'gone.yaml'"),
    "study file with a tab": ("--configfile tab.yaml", "Config file is not valid JSON or YAML"),
    "empty study file": ("--configfile empty.yaml", "Config file must be given as JSON or YAML with keys at top level"),
    "no key on the command line": ("--config seeds", "Unparsable value: 'seeds'"),
}
"""Faults that Snakemake meets before it reads the workflow, which so cannot put them into better words."""


@pytest.mark.parametrize(("arguments", "said"), READ_BY_SNAKEMAKE.values(), ids=READ_BY_SNAKEMAKE)
def test_what_snakemake_itself_cannot_read_ends_in_its_words_and_makes_nothing(project, arguments, said):
    printed = snakemake(project, "-n", *arguments.split(), fails=True)
    assert said in printed.strip().splitlines()[-1]
    assert not (project / "results").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"study: more", "line 15: study is given twice, first in line 3; keep one"),
        (b"\tstudy: more", "not valid YAML: line 15: "),
        (b"\xff", "not valid YAML: byte "),
    ],
    ids=["key twice", "tab", "not UTF-8"],
)
def test_a_fault_in_the_default_study_is_named_before_snakemake_reads_it(tmp_path, line, said):
    project = copy_project(tmp_path)
    with (project / "config/config.yaml").open("ab") as config:
        config.write(line + b"\n")
    lines = snakemake(project, "-n", "--configfile", "config/studies/two-models.yaml", fails=True).splitlines()
    assert [line for line in lines if line.startswith(f"config error: config/config.yaml: {said}")] != []
    assert not (project / "results").exists()
