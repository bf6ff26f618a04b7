"""Artefacts: never half written, never silently damaged, the same bytes for the same content."""

import math

import pandas as pd
import pyarrow as pa
import pytest
import torch

from dwatlas.errors import UserError
from dwatlas.files import (
    atomic,
    read_table,
    read_tensors,
    write_table,
    write_tensors,
    write_text,
)
from dwatlas.provenance import canonical_json, read_provenance
from dwatlas.user_tables import read_records

SCHEMA = pa.schema([("name", pa.string()), ("count", pa.int32()), ("value", pa.float32())])
FRAME = pd.DataFrame({"value": [0.5, None], "count": [1, 2], "name": ["a", "b"], "other": [0, 0]})
TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(4, dtype=torch.bfloat16)}
PROVENANCE = {"job": "made", "spec": {"α": [1, 2.5, None]}}


@pytest.fixture(params=["table.parquet", "tensors.safetensors"])
def artefact(request, tmp_path):
    path = tmp_path / request.param
    write(path)
    return path


def write(path, provenance=PROVENANCE):
    if path.suffix == ".parquet":
        write_table(path, FRAME, SCHEMA, provenance)
    else:
        write_tensors(path, TENSORS, provenance)


def read(path):
    return read_table(path, SCHEMA) if path.suffix == ".parquet" else read_tensors(path)


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "old.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text("half of the new")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_fails_the_first_time_leaves_no_file(tmp_path):
    with pytest.raises(KeyError):
        write_table(tmp_path / "new" / "table.parquet", FRAME.drop(columns="count"), SCHEMA)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_tensors(tmp_path / "new" / "tensors.safetensors", TENSORS, {"bad": math.nan})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_while_it_is_written_the_old_file_stays_whole_and_others_cannot_mistake_the_new_one(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with atomic(path) as first, atomic(path) as second:
        assert len({path, first, second}) == 3
        assert first.parent == second.parent == path.parent
        assert first.name.startswith(".")
        first.write_text("first")
        second.write_text("second")
        assert path.read_text() == "old"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_can_be_read_by_others_on_a_cluster(artefact):
    assert artefact.stat().st_mode & 0o777 == 0o644


def test_the_same_content_gives_the_same_bytes(artefact, tmp_path):
    again = tmp_path / "again" / artefact.name
    write(again)
    assert again.read_bytes() == artefact.read_bytes()
    write(again, {"job": "other"})
    assert again.read_bytes() != artefact.read_bytes()


def test_provenance_survives(artefact, tmp_path):
    assert read_provenance(artefact) == PROVENANCE
    write(bare := tmp_path / f"bare{artefact.suffix}", None)
    assert read_provenance(bare) == {}


def test_provenance_of_a_file_of_others_is_empty(tmp_path):
    FRAME.to_parquet(tmp_path / "other.parquet")
    assert read_provenance(tmp_path / "other.parquet") == {}


def test_a_table_has_exactly_the_schemas_columns_and_types(tmp_path):
    write_table(tmp_path / "table.parquet", FRAME, SCHEMA)
    frame = read_table(tmp_path / "table.parquet")
    assert frame.columns.tolist() == SCHEMA.names
    assert frame["count"].dtype == "int32"
    assert frame["value"].dtype == "float32"
    assert frame["value"].isna().tolist() == [False, True]


def test_tensors_survive_with_their_types(tmp_path):
    write_tensors(tmp_path / "tensors.safetensors", TENSORS)
    again = read_tensors(tmp_path / "tensors.safetensors")
    assert set(again) == set(TENSORS)
    assert all(
        again[name].dtype == tensor.dtype and torch.equal(again[name], tensor) for name, tensor in TENSORS.items()
    )


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_one_clear_line_that_names_it(artefact, share):
    whole = artefact.read_bytes()
    artefact.write_bytes(whole[: int(share * len(whole))])
    for reader in (read, read_provenance):
        with pytest.raises(UserError, match="delete it and run again") as caught:
            reader(artefact)
        assert str(caught.value).startswith(f"{artefact}: not a whole ")
        assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_clear_line_that_names_it(tmp_path):
    for reader, name in (
        (read, "a.parquet"),
        (read, "a.safetensors"),
        (read_provenance, "a.parquet"),
        (read_records, "a.csv"),
    ):
        with pytest.raises(UserError, match=r"no such file") as caught:
            reader(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_a_table_without_a_column_is_refused_with_its_name(tmp_path):
    write_table(tmp_path / "table.parquet", FRAME, SCHEMA.remove(1))
    with pytest.raises(UserError, match=r"table\.parquet: lacks the column\(s\) count;"):
        read_table(tmp_path / "table.parquet", SCHEMA)


@pytest.mark.parametrize(
    ("name", "text"),
    [("q.csv", "item,label\na,1\nb,-1\n"), ("q.jsonl", '{"item":"a","label":1}\n{"item":"b","label":-1}\n')],
)
def test_a_users_table_is_read_by_its_ending(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    frame = read_records(tmp_path / name)
    assert frame["item"].tolist() == ["a", "b"]
    assert frame["label"].tolist() == [1, -1]


def test_a_users_table_of_another_kind_or_damaged_is_refused(tmp_path):
    (tmp_path / "q.xlsx").write_text("")
    (tmp_path / "q.csv").write_text("")
    (tmp_path / "q.jsonl").write_text('{"item": ')
    for name in ("q.xlsx", "q.csv", "q.jsonl"):
        with pytest.raises(UserError, match=name):
            read_records(tmp_path / name)


def test_equal_values_have_equal_json():
    assert (
        canonical_json({"b": 1, "a": ["é", None]})
        == canonical_json({"a": ["é", None], "b": 1})
        == '{"a":["é",null],"b":1}'
    )
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": math.inf})
