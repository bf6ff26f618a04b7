"""The only reader and writer of artefacts: atomic, typed, deterministic bytes, provenance inside.

A file is written under a unique temporary name in its own folder, flushed to disk and renamed, so no reader
ever sees half of it and two writers never interleave.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dwatlas.errors import UserError
from dwatlas.provenance import METADATA_KEY, blank_sealed, canonical_json, readable
from dwatlas.seals import BLANK, seal

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import torch


def check_writable(folder: str | Path) -> None:
    """Make the folder where it is missing; ``UserError`` when no file can be made in it."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}); give a folder that can") from error


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path``, on failure it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        with writing(path, temporary):
            yield temporary
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o644)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: str | Path, temporary: str | Path) -> Iterator[None]:
    """Name ``path``, not what is written in its place for now, in what libraries say of a disk: an ``OSError``."""
    try:
        yield
    except Exception as error:
        number = _os_error(error, str(temporary))
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _os_error(error: Exception, temporary: str) -> int | None:
    """The system's number of an error that names no file of the user's; safetensors has it in the text only."""
    if isinstance(error, OSError):
        return error.errno if str(error.filename or temporary).startswith(temporary) else None
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Mapping[str, object], provenance: Mapping[str, object]) -> None:
    """Write a manifest: canonical JSON with its ``provenance``, sealed."""
    text = canonical_json({**content, "provenance": {**provenance, "seal": BLANK}})
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
        seal(temporary)


def write_table(
    path: str | Path, frame: pd.DataFrame, schema: pa.Schema, provenance: Mapping[str, object] | None = None
) -> None:
    """Write ``frame`` as Parquet (zstd) with exactly the columns and types of ``schema``, rows in the given order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame.loc[:, schema.names], schema=schema, preserve_index=False)
    table = table.replace_schema_metadata(None)
    with atomic(path) as temporary:
        with pq.ParquetWriter(temporary, table.schema, compression="zstd", store_schema=False) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({METADATA_KEY: blank_sealed(provenance)})
        seal(temporary)


def read_table(path: str | Path, schema: pa.Schema | None = None, columns: Collection[str] = ()) -> pd.DataFrame:
    """Read a Parquet artefact.

    ``columns`` are read alone, with their texts as categoricals in order: a tenth of the memory of a large table.

    Raises ``UserError`` when the file is missing, damaged or lacks a column of ``schema``.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [one.name for one in schema or () if one.name in columns and pa.types.is_string(one.type)]
    with readable(path, "Parquet"), pq.ParquetFile(path, read_dictionary=texts) as file:
        # opened once: another may replace it meanwhile
        table = file.read([name for name in columns if name in file.schema_arrow.names] if columns else None)
    wanted = columns or (schema.names if schema else [])
    if missing := [name for name in wanted if name not in table.column_names]:
        raise UserError(f"{path}: lacks the column(s) {', '.join(missing)}; delete it and run again")
    if not columns:
        return table.to_pandas()
    frame = table.to_pandas(types_mapper={pa.bool_(): pd.BooleanDtype()}.get, self_destruct=True)
    for name in texts:
        frame[name] = frame[name].cat.reorder_categories(sorted(frame[name].cat.categories))
    return frame


def read_json(path: str | Path) -> dict:
    """Read a JSON artefact; ``UserError`` when it is missing or damaged."""
    with readable(path, "JSON"):
        return json.loads(Path(path).read_text(encoding="utf-8"))


def write_tensors(
    path: str | Path, tensors: Mapping[str, torch.Tensor], provenance: Mapping[str, object] | None = None
) -> None:
    """Write tensors as safetensors."""
    from safetensors.torch import save_file

    with atomic(path) as temporary:
        save_file(dict(tensors), temporary, metadata={METADATA_KEY: blank_sealed(provenance)})
        seal(temporary)


def read_tensors(path: str | Path, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, torch.Tensor]:
    """Read the tensors of a safetensors file whose names are wanted; ``UserError`` when it is missing or damaged."""
    from safetensors import safe_open

    with readable(path, "safetensors"), safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys() if wanted(name)}  # noqa: SIM118


def tensor_names(path: str | Path) -> list[str]:
    """Names of all tensors of a safetensors file; ``UserError`` when it is missing or damaged."""
    from safetensors import safe_open

    with readable(path, "safetensors"), safe_open(path, "pt") as file:
        return list(file.keys())
