"""Hidden states at the boundaries between blocks, kept for later passes: in memory up to a budget, then on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Hashable

import numpy as np
import torch
from torch import Tensor


class Boundaries:
    """A store of tensors. Those beyond ``budget`` bytes lie in a temporary file that ends with the process."""

    def __init__(self, budget: int):
        self.budget = budget
        self._memory: dict[Hashable, Tensor] = {}
        self._disk: dict[Hashable, tuple[int, Tensor]] = {}
        self._file = None

    def __contains__(self, key: Hashable) -> bool:
        return key in self._memory or key in self._disk

    def __setitem__(self, key: Hashable, tensor: Tensor) -> None:
        if tensor.nbytes <= self.budget:
            self.budget -= tensor.nbytes
            self._memory[key] = tensor
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="dwatlas-boundaries-")  # noqa: SIM115  it lives as long as this
        start = self._file.seek(0, 2)
        self._file.write(tensor.contiguous().cpu().view(torch.uint8).numpy().tobytes())
        self._disk[key] = start, tensor.to("meta")

    def get(self, key: Hashable, device: torch.device) -> Tensor:
        """The tensor, on the device."""
        if key in self._memory:
            return self._memory[key]
        start, like = self._disk[key]
        self._file.seek(start)
        values = np.frombuffer(bytearray(self._file.read(like.nbytes)), np.uint8)
        return torch.from_numpy(values).view(like.dtype).reshape(like.shape).to(device)
