"""Eval ``knowledge``: what does steering cost? Facts of the world that the base model knows.

Scored by exact match (every token of the answer is the model's first choice) and by the answer's negative
log-likelihood in nats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dwatlas.evals.base import Eval

if TYPE_CHECKING:
    import pandas as pd


class Knowledge(Eval):
    """Facts of the built-in world."""

    kind: Literal["knowledge"] = "knowledge"
    world_seed: int = Field(0, ge=0, description="Which world the facts are of; as in the model's entry.")

    form: ClassVar = "completion"

    def rows(self) -> pd.DataFrame:
        from dwatlas.world.facts import world
        from dwatlas.world.rows import knowledge_rows

        return knowledge_rows(world(self.world_seed))
