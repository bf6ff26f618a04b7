"""The base model's weights one by one, straight from its safetensors files: no model is built."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from dwatlas.errors import UserError
from dwatlas.provenance import readable


class Weights(Mapping[str, Tensor]):
    """Tensor names → float32 tensors of a folder in Hugging Face layout; each is read when it is asked for."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    @cached_property
    def _files(self) -> dict[str, Path]:
        index = self.folder / "model.safetensors.index.json"
        if index.is_file():
            with readable(index, "JSON"):
                names = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            return {name: self.folder / file for name, file in names.items()}
        found = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            with readable(path, "safetensors"), safe_open(path, "pt") as file:
                found |= dict.fromkeys(file.keys(), path)
        return found

    def __getitem__(self, name: str) -> Tensor:
        """``UserError`` when the model has no such tensor."""
        if name not in self._files:
            raise UserError(f"{self.folder}: has no tensor {name}; is it the model that the adapter was trained on?")
        with readable(self._files[name], "safetensors"), safe_open(self._files[name], "pt") as file:
            return file.get_tensor(name).to(torch.float32)

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)
