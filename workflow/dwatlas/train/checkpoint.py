"""A trained pole as it was saved: PEFT's two files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dwatlas.errors import UserError
from dwatlas.files import read_json, read_tensors

if TYPE_CHECKING:
    from torch import Tensor

TENSORS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True)
class Checkpoint:
    """The folder of a PEFT checkpoint."""

    folder: Path

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors, by the names that PEFT gave them."""
        return read_tensors(self.folder / TENSORS)

    @cached_property
    def config(self) -> dict:
        """PEFT's configuration."""
        return read_json(self.folder / CONFIG)

    def get(self, module: str, name: str) -> Tensor:
        """One module's adapter tensor in float64, such as ``lora_A.weight``; ``UserError`` when it is not there."""
        return self.at(f"{module}.{name}")

    def at(self, name: str) -> Tensor:
        """A tensor in float64 by its name inside the model; ``UserError`` when it is not there."""
        return self.shared(f"model.{name}")

    def shared(self, name: str) -> Tensor:
        """A tensor that belongs to the adapter as a whole, such as ``vera_A``, in float64; ``UserError`` as above."""
        key = f"base_model.{name}"
        if key not in self.tensors:
            raise UserError(f"{self.folder / TENSORS}: has no {key}; train it again")
        return self.tensors[key].double()

    def check(self, settings: Mapping[str, object]) -> None:
        """``UserError`` when it was trained with other settings of the PEFT method."""
        wanted = json.loads(json.dumps(dict(settings), default=sorted))
        for key, value in wanted.items():
            if (recorded := self.config.get(key)) != value:
                raise UserError(f"{self.folder}: trained with {key} {recorded}, not {value}; train it again")
