"""Score a cell (one set of weights at one α) on all evals, as score rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from dwatlas.delta.algebra import Delta, total_energy
from dwatlas.errors import UserError
from dwatlas.scoring.manifest import EVAL_SCHEMA, manifest_hash, messages
from dwatlas.files import read_provenance, read_table
from dwatlas.models.load import load_model, load_tokenizer
from dwatlas.scoring.rows import CELL, ROW, SCORE_SCHEMA
from dwatlas.scoring.scorer import METRICS, Prepared, Scorer
from dwatlas.scoring.steer import steered

BASE_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        *((name, SCORE_SCHEMA.field(name).type) for name in ("eval", "item", "row", "label", *METRICS)),
        ("hidden", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True)
class Sizes:
    """How large a part of dW is, as score rows state it."""

    energy_frac: float
    norm_frac: float
    rank: int
    params_frac: float

    @classmethod
    def of(cls, part: Delta, whole: Delta) -> Sizes:
        """Shares of ‖dW‖², ‖dW‖ and of the parameters of dW; the largest rank in any tensor."""
        total, parameters = total_energy(whole), sum(matrix.parameters for matrix in whole.values())
        share = total_energy(part) / total if total else 0.0
        return cls(
            share,
            math.sqrt(share),
            max((matrix.rank_bound for matrix in part.values()), default=0),
            sum(matrix.parameters for matrix in part.values()) / parameters,
        )


@dataclass(frozen=True)
class Question:
    """An eval made ready for one model: its rows, their batches and the base model's scores."""

    rows: pd.DataFrame
    prepared: Prepared
    base: pd.DataFrame
    base_hidden: torch.Tensor | None


class Bench:
    """One loaded model and its evals: scores any weight edit as score rows."""

    def __init__(self, folder, runtime: dict, evals: list[dict], eval_paths: list[str], base_paths: list[str]):
        model = load_model(folder, runtime["dtype"])
        self.scorer = Scorer(model, load_tokenizer(folder), runtime["tokens_per_batch"])
        self.questions = {
            options["name"]: self._question(options, rows, base)
            for options, rows, base in zip(evals, eval_paths, base_paths, strict=True)
        }

    def _question(self, options: dict, rows_path: str, base_path: str) -> Question:
        rows = read_table(rows_path, EVAL_SCHEMA)
        base = read_table(base_path, BASE_SCHEMA)
        if manifest_hash(rows) != read_provenance(base_path).get("manifest"):
            raise UserError(f"{base_path}: scored on other rows than {rows_path} holds; delete it and run again")
        prepared = prepare(self.scorer, rows, options)
        hidden = None if base["hidden"].isna().any() else torch.tensor(np.stack(base["hidden"].to_numpy()))
        return Question(rows, prepared, base, hidden)

    def score(self, cell: dict, delta: Delta, alpha: float, sizes: Sizes) -> pd.DataFrame:
        """Score θ₀ + α·delta on every eval; ``cell`` fills the columns that name it."""
        with steered(self.scorer.model, delta, alpha):
            scored = [
                question.rows[["eval", "item", "row", "label"]].join(question.prepared.score(question.base_hidden))
                for question in self.questions.values()
            ]
        return _rows(pd.concat(scored, ignore_index=True), cell, alpha, sizes)

    def zero(self, cell: dict) -> pd.DataFrame:
        """The base scores as score rows at α = 0; nothing is computed."""
        base = pd.concat([question.base for question in self.questions.values()], ignore_index=True)
        return _rows(base.drop(columns=["model", "hidden"]), cell, 0.0, Sizes(0.0, 0.0, 0, 0.0))


def prepare(scorer: Scorer, rows: pd.DataFrame, options: dict) -> Prepared:
    """Tokenise stored eval rows."""
    return scorer.prepare(messages(rows), options["yes"], options["no"])


def _rows(scores: pd.DataFrame, cell: dict, alpha: float, sizes: Sizes) -> pd.DataFrame:
    named = {"control": "", "stands_for": "", "draw": -1} | cell
    return scores.assign(**named, alpha=alpha, **vars(sizes))[SCORE_SCHEMA.names]


def in_order(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Score rows of several cells in the artefact's order."""
    return pd.concat(frames, ignore_index=True).sort_values([*CELL, *ROW], ignore_index=True, kind="stable")
