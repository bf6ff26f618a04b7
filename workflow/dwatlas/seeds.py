"""The random-number policy: every stream is a ``SeedSequence`` named by what it is for.

``rng("pairs", "agreement", 3)`` gives the same stream in every process and on every machine; two names
give independent streams. There is no global seed.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def seed_sequence(*names: str | int | None) -> np.random.SeedSequence:
    """The seed sequence of a stream; ``names`` say what it is for (``None`` where a facet is held fixed)."""
    import numpy as np

    digest = hashlib.sha256(json.dumps(names).encode()).digest()
    return np.random.SeedSequence(int.from_bytes(digest, "big"))


def rng(*names: str | int | None) -> np.random.Generator:
    """A numpy generator for the named stream."""
    import numpy as np

    return np.random.default_rng(seed_sequence(*names))


def torch_generator(*names: str | int | None) -> torch.Generator:
    """A torch CPU generator for the named stream."""
    import torch

    return torch.Generator().manual_seed(torch_seed(*names))


def torch_seed(*names: str | int | None) -> int:
    """A 63-bit integer for interfaces that only take one, such as ``torch.manual_seed``."""
    return int(seed_sequence(*names).generate_state(1, "uint64")[0] >> 1)
