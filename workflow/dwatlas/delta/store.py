"""``delta.safetensors``: the base model's tensor names; ``.left`` and ``.right`` behind a factored one's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dwatlas.delta.algebra import Delta, Dense, Factored
from dwatlas.errors import UserError
from dwatlas.files import read_tensors, write_tensors


def write_delta(path: str | Path, delta: Delta, provenance: Mapping[str, object]) -> None:
    """Write a delta, each matrix in its own structure."""
    tensors = {}
    for name, matrix in delta.items():
        if isinstance(matrix, Factored):
            tensors |= {f"{name}.left": matrix.left.contiguous(), f"{name}.right": matrix.right.contiguous()}
        else:
            tensors[name] = matrix.values.contiguous()
    write_tensors(path, tensors, provenance)


def read_delta(path: str | Path) -> Delta:
    """Read a delta back; ``UserError`` when the file is damaged or a factor is missing. Tensors sorted by name."""
    tensors = read_tensors(path)
    delta: Delta = {}
    for name in sorted(tensors):
        stem, _, role = name.rpartition(".")
        if role == "left":
            if f"{stem}.right" not in tensors:
                raise UserError(f"{path}: {name} has no right factor; delete the file and run again")
            delta[stem] = Factored(tensors[name], tensors[f"{stem}.right"])
        elif role != "right":
            delta[name] = Dense(tensors[name])
    return delta
