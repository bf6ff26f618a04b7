"""Faults in the files that a study names: the job that reads them ends with one line, and makes nothing."""

import json
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from trial import asked, local, table

from copies import copy_project, snakemake
from dwatlas.errors import UserError
from dwatlas.evals.table import Table
from dwatlas.jobs.base import run
from dwatlas.models.folder import model_folder, write_manifest
from dwatlas.user_tables import read_records

SIZES = {"num_attention_heads": 4, "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 9}
HEADER = "item,label,prompt\n"
GOOD = HEADER + "a,1,do you agree ?\na,-1,do you disagree ?\n"


@pytest.fixture
def fails(plan, tmp_path, monkeypatch):
    """Runs a job of a changed trial study, and returns the line that it fails with; it may make nothing."""

    def call(change, rule, **wildcards):
        made, cell = plan(change), SimpleNamespace(**wildcards)
        arguments = ["--spec", made.spec(rule)(cell), "--code", made.code(rule)(cell)]
        outputs = [f"{name}=made/{name}" for name in ("rows", "pairs")]
        monkeypatch.setattr(sys, "argv", [rule, *arguments, "--outputs", *outputs])
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as ended:
            run(import_module(f"dwatlas.jobs.{rule}").work)
        assert sorted(tmp_path.rglob("*")) == before
        (line,) = str(ended.value).splitlines()
        return line

    return call


TABLES = {
    "empty": ("own.csv", "", "is empty; put a table into it"),
    "header alone": ("own.csv", HEADER, "has no rows; give at least one"),
    "lacks a column": (
        "own.csv",
        "item,prompt\na,b\n",
        "lacks the column(s) label; it has 'item', 'prompt'",
    ),
    "semicolons": (
        "own.csv",
        GOOD.replace(",", ";"),
        "lacks the column(s) item, label, prompt; it has 'item;la",
    ),
    "binary": ("own.csv", b"item,label,prompt\n\0\0,1,\0\n", "is not text; save it as UTF-8 csv"),
    "not UTF-8": (
        "own.csv",
        "item,label,prompt\na,1,naïve\n".encode("latin-1"),
        "is not UTF-8 text; save it as",
    ),
    "open quote": (
        "own.csv",
        GOOD + 'b,1,"open\n',
        "not a whole csv file (EOF inside string starting at row 3)",
    ),
    "comma in the first prompt": (
        "own.csv",
        HEADER + "a,1,well, do you agree ?\n",
        "its first row has more cells than the header; put text with commas in quotes",
    ),
    "comma in a later prompt": (
        "own.csv",
        GOOD + "b,1,well, do you agree ?\n",
        "not a whole csv file (Expected 3 fields in line 4, saw 4); mend it",
    ),
    "label 2": ("own.csv", GOOD + "b,2,c\n", "column label, row 3: is '2'; give 1 or -1"),
    "label 0": ("own.csv", GOOD + "b,0,c\n", "column label, row 3: is '0'; give 1 or -1"),
    "label in words": ("own.csv", GOOD + "b,yes,c\n", "column label, row 3: is 'yes'; give 1 or -1"),
    "label NaN": ("own.csv", GOOD + "b,NaN,c\n", "column label, row 3: is 'NaN'; give 1 or -1"),
    "label infinite": ("own.csv", GOOD + "b,inf,c\n", "column label, row 3: is 'inf'; give 1 or -1"),
    "label empty": ("own.csv", GOOD + "b,,c\n", "column label, row 3: is empty; fill it or delete the row"),
    "prompt empty": ("own.csv", GOOD + "b,1,\n", "column prompt, row 3: is empty; fill it or delete the row"),
    "prompt blank": (
        "own.csv",
        GOOD + "b,1,  \n",
        "column prompt, row 3: is empty; fill it or delete the row",
    ),
    "item empty": ("own.csv", GOOD + ",1,c\n", "column item, row 3: is empty; fill it or delete the row"),
    "row cut short": ("own.csv", GOOD + "b,1\n", "column prompt, row 3: is empty; fill it or delete the row"),
    "no Parquet": ("own.parquet", GOOD, "not a whole parquet file ("),
    "empty Parquet": ("own.parquet", "", "is empty; put a table into it"),
    "blank lines": ("own.csv", "\n\n", "not a whole csv file (No columns to parse from file); mend it"),
    "no JSON": (
        "own.jsonl",
        '{"item": "a"}\n{"item": \n',
        "line 2 is no JSON; give one object in each line",
    ),
    "JSON list": ("own.jsonl", "[1, 2]\n", "line 1 is no JSON object; give one in each line"),
    "empty JSON Lines": ("own.jsonl", "\n", "lacks the column(s) item, label, prompt; it has none"),
    "JSON list for text": (
        "own.jsonl",
        '{"item": "a", "label": 1, "prompt": ["b"]}',
        "column prompt, row 1: give text, not ['b']",
    ),
    "truth value for a label": (
        "own.jsonl",
        '{"item": "a", "label": true, "prompt": "b"}',
        "column label, row 1: is 'True'; give 1 or -1",
    ),
}


@pytest.mark.parametrize(("name", "content", "said"), TABLES.values(), ids=TABLES)
def test_a_fault_in_an_eval_table_is_one_line_that_names_the_file(fails, tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert fails(table(name), "evals", eval="own").startswith(f"evals: error: {name}: {said}")


def test_a_row_that_occurs_twice_is_named_with_its_eval(fails, tmp_path):
    (tmp_path / "own.csv").write_text(GOOD + "a,1,c\n")
    line = fails(table("own.csv"), "evals", eval="own")
    assert line == "evals: error: evals.own: row 'a+' occurs twice; name each row once"


QUESTIONS = {
    "empty": ("own.csv", "", "is empty; put a table into it"),
    "header alone": ("own.csv", "question\n", "has no rows; give at least one"),
    "lacks the column": ("own.csv", "Question\nwhy ?\n", "lacks the column(s) question; it has 'Question'"),
    "comma": ("own.csv", "question\nwell, why ?\n", "its first row has more cells than the header; put text"),
    "blank": (
        "own.jsonl",
        '{"question": "why ?"}\n{"question": " "}',
        "column question, row 2: is empty; fill",
    ),
    "not there in a line": (
        "own.jsonl",
        '{"question": "why ?"}\n{"q": "b"}',
        "column question, row 2: is empty",
    ),
}


@pytest.mark.parametrize(("name", "content", "said"), QUESTIONS.values(), ids=QUESTIONS)
def test_a_fault_in_a_question_file_is_one_line_that_names_the_file(fails, tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    line = fails(asked(name), "pairs", model="small", behaviour="own", seed="0")
    assert line.startswith(f"pairs: error: {name}: {said}")


FOLDERS = {
    "no weights": ({"model.safetensors": None}, "has no .safetensors file; save the weights as safetensors"),
    "a pickle only": (
        {"model.safetensors": None, "pytorch_model.bin": "x"},
        "has no .safetensors file, only pytorch_model.bin, and pickles are not loaded; save the weights as",
    ),
    "weights in a folder below": (
        {"model.safetensors": None, "below/model.safetensors": "x"},
        "has no .safetensors file; save the weights as safetensors",
    ),
    "no tokenizer": ({"tokenizer.json": None}, "has no tokenizer file, such as tokenizer.json; save the"),
    "empty weights": ({"model.safetensors": ""}, "model.safetensors is empty; copy it again"),
    "empty tokenizer": ({"tokenizer.json": ""}, "tokenizer.json is empty; copy it again"),
}


@pytest.mark.parametrize(("change", "said"), FOLDERS.values(), ids=FOLDERS)
def test_a_fault_in_a_model_folder_is_one_line_in_the_plan_and_in_the_job(plan, tmp_path, change, said):
    files = {"config.json": json.dumps(SIZES), "model.safetensors": "x", "tokenizer.json": "{}"} | change
    for name, content in files.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            (tmp_path / "folder" / name).write_text(content)
    with pytest.raises(UserError) as planned:
        plan(local("folder"))
    with pytest.raises(UserError) as done:
        write_manifest(tmp_path / "model.json", Path("folder"), {})
    assert str(done.value).startswith(f"folder: {said}")
    assert str(planned.value) == f"models.own.path: {done.value}"
    assert not (tmp_path / "model.json").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read (No such file or directory); run the rule that makes it"),
        (b"{", "not a whole manifest; delete it and run again"),
        (b"\xff", "not a whole manifest; delete it and run again"),
        (b"[]", "not a whole manifest; delete it and run again"),
        (b'{"folder": "gone"}', "not a whole manifest; delete it and run again"),
    ],
    ids=["absent", "truncated", "binary", "a list", "without files"],
)
def test_a_fault_in_a_models_manifest_is_one_line_that_names_it(tmp_path, content, said):
    if content is not None:
        (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(UserError) as fault:
        model_folder(tmp_path / "model.json")
    assert str(fault.value) == f"{tmp_path / 'model.json'}: {said}"


def test_a_folder_in_place_of_a_table_is_named(tmp_path):
    (tmp_path / "own.csv").mkdir()
    with pytest.raises(UserError) as fault:
        read_records(tmp_path / "own.csv")
    assert str(fault.value) == f"{tmp_path / 'own.csv'}: is a folder; give a .csv file"


def test_text_in_a_table_is_taken_as_it_stands(tmp_path):
    """Also where it looks like a number, like nothing, or holds a comma in quotes; a byte order mark is no text."""
    (tmp_path / "own.csv").write_text(
        '\ufeffitem,label,prompt,system,prefill\n01,+1,None,NA,\n1,-1.0,"well, null",,7\n', encoding="utf-8"
    )
    rows = Table(file=str(tmp_path / "own.csv")).rows()
    assert rows["item"].tolist() == ["01", "1"]
    assert rows["row"].tolist() == ["01+", "1-"]
    assert rows["label"].tolist() == [1, -1]
    assert rows["prefill"].tolist() == ["", "7"]
    assert rows["messages"].tolist() == [
        [{"role": "system", "content": "NA"}, {"role": "user", "content": "None"}],
        [{"role": "user", "content": "well, null"}],
    ]


def test_all_endings_give_the_same_rows(tmp_path):
    lines = [{"item": 1, "label": 1, "prompt": "a"}, {"item": 2, "label": -1, "prompt": "b", "system": "be kind"}]
    frame = pd.DataFrame(lines)
    frame.to_csv(tmp_path / "own.csv", index=False)
    frame.to_parquet(tmp_path / "own.parquet")
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(line) + "\n\n" for line in lines))
    first, *others = (Table(file=str(tmp_path / f"own.{kind}")).rows() for kind in ("csv", "parquet", "jsonl"))
    assert first["item"].tolist() == ["1", "2"]
    for other in others:
        pd.testing.assert_frame_equal(first, other)


@pytest.fixture
def project(tmp_path):
    """The project with a study whose eval lacks a column."""
    folder = copy_project(tmp_path)
    (folder / "own.csv").write_text("item,prompt\na,b\n")
    study = {"study": "own", "evals": ["own"], "catalogue": table("own.csv")["catalogue"]}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return folder


def test_through_snakemake_a_job_says_it_in_one_line_and_makes_nothing(project):
    target = "results/evals/own.parquet"
    printed = snakemake(project, "--cores", 1, target, "--configfile", "study.yaml", fails=True)
    faults = {line for line in printed.splitlines() if ": error: " in line}
    assert faults == {"evals: error: own.csv: lacks the column(s) label; it has 'item', 'prompt'"}
    assert "Traceback" not in printed
    assert not (project / target).exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ["catalogue={evals: {own: {kind: table, file: config}}}"],
            "evals.own.file: config is a folder; give a file",
        ),
        (
            ["catalogue={models: {own: {kind: local, path: config}}}", "models=[own]"],
            "models.own.path: config: has no config.json; give a model in Hugging Face layout",
        ),
    ],
    ids=["folder for a table", "folder without a model"],
)
def test_through_snakemake_files_that_will_not_do_are_named_before_any_job(project, settings, said):
    printed = snakemake(project, "-n", "--configfile", "study.yaml", "--config", *settings, fails=True)
    assert [line for line in printed.splitlines() if "rror" in line] == [f"config error: {said}"]
    assert not (project / "results").exists()
