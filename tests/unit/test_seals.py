"""Seals: every artefact can be checked by itself, and any change of any byte is seen."""

import json

import matplotlib.pyplot as plt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dwatlas.figures.save import save
from dwatlas.files import write_json, write_table, write_tensors
from dwatlas.provenance import blank_sealed, read_provenance
from dwatlas.report.page import _in_attribute
from dwatlas.seals import BLANK, fault, seal

PROVENANCE = {"job": "made", "spec": {"α": [1, 2.5], "text": "a 'b' \"c\" (d) <e> & f\\g\nh"}, "inputs": {}}
WRONG = "is not what its seal says"


def make(folder, kind):
    """An artefact of a kind, with PROVENANCE."""
    path = folder / f"made.{kind}"
    if kind == "parquet":
        schema = pa.schema([("x", pa.int8()), ("y", pa.list_(pa.float32())), ("z", pa.string())])
        write_table(path, pd.DataFrame({"x": [1, 2], "y": [[1.0], None], "z": ["a", None]}), schema, PROVENANCE)
    elif kind == "safetensors":
        write_tensors(path, {"a": torch.arange(6.0)}, PROVENANCE)
    elif kind == "json":
        write_json(path, {"files": {"é": 1}}, PROVENANCE)
    elif kind == "html":
        page = f"<html><meta name=\"dwatlas\" content='{_in_attribute(blank_sealed(PROVENANCE))}'></html>"
        path.write_text(page)
        seal(path)
    else:
        figure = plt.figure(figsize=(1, 1))
        save(figure, pd.DataFrame({"x": [1]}), folder / "made", PROVENANCE)
        plt.close(figure)
    return path


@pytest.fixture(params=["parquet", "safetensors", "json", "html", "png", "svg", "pdf"])
def artefact(request, tmp_path):
    return make(tmp_path, request.param)


def test_a_whole_file_has_a_right_seal_and_its_provenance(artefact):
    assert fault(artefact) is None
    found = read_provenance(artefact)
    assert {key: found[key] for key in PROVENANCE} == PROVENANCE
    assert BLANK.encode() not in artefact.read_bytes()


def test_any_changed_byte_is_seen(artefact):
    whole = artefact.read_bytes()
    for place in range(0, len(whole), max(len(whole) // 200, 1)):
        artefact.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert fault(artefact) is not None, place
    artefact.write_bytes(whole + b"\n")
    assert fault(artefact) == WRONG
    artefact.write_bytes(whole[:-1])
    assert fault(artefact) is not None
    artefact.write_bytes(b"")
    assert fault(artefact) == "is empty"


def test_a_seal_taken_over_from_another_file_is_wrong(tmp_path):
    path = make(tmp_path, "json")
    content = json.loads(path.read_text())
    content["files"]["é"] = 2
    path.write_text(json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n")
    assert fault(path) == WRONG


def test_a_file_of_others_has_no_seal(tmp_path):
    path = tmp_path / "other.txt"
    path.write_text("text")
    assert fault(path) == "has no seal"


def test_only_one_blank_can_be_sealed(tmp_path):
    path = tmp_path / "two.txt"
    path.write_text(blank_sealed({}) * 2)
    with pytest.raises(ValueError, match="2 blank seals"):
        seal(path)


def test_figures_are_valid_after_sealing(tmp_path):
    from PIL import Image

    with Image.open(make(tmp_path, "png")) as image:
        image.load()
        assert json.loads(image.text["Keywords"])["job"] == "made"


def test_a_table_keeps_its_types_without_the_stored_schema(tmp_path):
    schema = pq.read_schema(make(tmp_path, "parquet"))
    assert [str(field.type) for field in schema] == ["int8", "list<element: float>", "string"]
