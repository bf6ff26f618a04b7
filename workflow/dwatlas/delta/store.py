"""``delta.safetensors``: the base model's tensor names, and behind a name the role of each part of its structure.

    NAME                          dense [out, in]
    NAME.left, NAME.right         factors [out, k] and [k, in]
    NAME.indices, .values, .shape sparse: [2, n], [n], [2]
    NAME.out, NAME.in             block-diagonal factors [n, b, b] of the base weight, and NAME.out-order [d] where the
                                  coordinates are in another order

A sum of structures has the roles of all of them. The base weight itself is not stored: it is the model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dwatlas.delta.algebra import Blocks, Delta, Dense, Factored, Matrix, Sparse, total
from dwatlas.errors import UserError
from dwatlas.files import read_tensors, tensor_names, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

ROLES = ("left", "right", "indices", "values", "shape", "out", "out-order", "in", "in-order")


def write_delta(path: str | Path, delta: Delta, provenance: Mapping[str, object]) -> None:
    """Write a delta, each matrix in its own structure."""
    tensors = {}
    for name, matrix in delta.items():
        for term in matrix.terms:
            for role, tensor in _parts(term).items():
                tensors[f"{name}.{role}" if role else name] = tensor.contiguous()
    write_tensors(path, tensors, provenance)


def read_delta(path: str | Path, weights: Mapping[str, Tensor], only: set[str] | None = None) -> Delta:
    """Read a delta back, or those of its tensors that ``only`` names, sorted by name.

    ``weights`` gives the base model's tensors, float32. Raises ``UserError`` when the file is damaged or a part is
    missing.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in read_tensors(path, lambda name: only is None or _place(name)[0] in only).items():
        stem, role = _place(name)
        found.setdefault(stem, {})[role] = tensor
    return {name: _matrix(path, name, found[name], weights) for name in sorted(found)}


def delta_names(path: str | Path) -> set[str]:
    """Names of the tensors that a delta changes; ``UserError`` when the file is damaged."""
    return {_place(name)[0] for name in tensor_names(path)}


def _place(name: str) -> tuple[str, str]:
    """The base model's tensor that a stored one belongs to, and its role there."""
    stem, _, role = name.rpartition(".")
    return (stem, role) if role in ROLES else (name, "")


def _parts(matrix: Matrix) -> dict[str, Tensor]:
    import torch

    if isinstance(matrix, Factored):
        return {"left": matrix.left, "right": matrix.right}
    if isinstance(matrix, Sparse):
        return {"indices": matrix.indices, "values": matrix.values, "shape": torch.tensor(matrix.shape)}
    if isinstance(matrix, Blocks):
        order = {} if matrix.order is None else {f"{matrix.side}-order": matrix.order.clone()}  # many sites share one
        return {matrix.side: matrix.blocks} | order
    return {"": matrix.dense()}


def _matrix(path: str | Path, name: str, parts: dict[str, Tensor], weights: Mapping[str, Tensor]) -> Matrix:
    terms: list[Matrix] = []
    try:
        if "" in parts:
            terms.append(Dense(parts[""]))
        if {"left", "right"} & parts.keys():
            terms.append(Factored(parts["left"], parts["right"]))
        if {"indices", "values", "shape"} & parts.keys():
            terms.append(Sparse(parts["indices"], parts["values"], tuple(parts["shape"].tolist())))
        for side in ("out", "in"):
            if {side, f"{side}-order"} & parts.keys():
                terms.append(Blocks(parts[side], side, weights[name], parts.get(f"{side}-order")))
    except KeyError as missing:
        raise UserError(f"{path}: {name} has no part {missing.args[0]!r}; delete the file and run again") from missing
    return total(terms)
