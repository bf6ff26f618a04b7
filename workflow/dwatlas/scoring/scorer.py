"""The one scorer: log p(Yes) − log p(No) at the answer position, or the log-likelihood of a known answer.

    lr = logsumexp(z_yes) − logsumexp(z_no)       pmass = p(yes) + p(no)       kl_base = KL(steered ‖ base)

Rows are tokenised once (``prepare``) and scored under as many weight edits as wanted (``score``). What makes that fast,
and where it is:

- ``packing``: what rows begin with alike is computed once; batches of similar length and equal numbers of tokens.
- ``passes``: nothing is recomputed below the first block that an edit changes, and in the last block only what the
  answer position needs.
- ``steer``: several edits run side by side as parts of one batch.
- here: float32 logits at the answer positions only, products of the float32 hidden state with the unembedding.

Each gives the scores of one full pass per row and edit, up to float32 rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dwatlas.errors import UserError
from dwatlas.models.load import encode
from dwatlas.scoring.answers import answer_tokens
from dwatlas.scoring.blocks import Blocks
from dwatlas.scoring.boundaries import Boundaries
from dwatlas.scoring.packing import pack
from dwatlas.scoring.passes import Passes
from dwatlas.scoring.prompts import prompt_ids
from dwatlas.scoring.steer import BASE, Edit

METRICS = ["lr", "logp_yes", "logp_no", "pmass", "kl_base", "nll", "correct"]


class Scorer:
    """Scores eval rows with a model and edits of its weights.

    ``tokens_per_batch`` bounds the tokens in one batch, padding included, of ``edits_at_once`` edits side by side;
    ``memory`` is the number of bytes that hidden states at block boundaries may take before they go to disk.
    ``references`` are edits that others share their lower blocks with: add α·dW before its parts are dropped.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        tokens_per_batch: int | None = None,
        edits_at_once: int = 1,
        memory: int = 2**32,
    ):
        self.model = model
        self.tokenizer = tokenizer
        self.edits_at_once = edits_at_once
        self.tokens_per_batch = tokens_per_batch or _tokens_that_fit(model)
        self.blocks = Blocks(model)
        self.references = [BASE]
        self.store = Boundaries(memory)
        unembedding = model.get_output_embeddings()
        self.weight = unembedding.weight.float()
        self.bias = None if getattr(unembedding, "bias", None) is None else unembedding.bias.float()
        self.softcap = getattr(model.config, "final_logit_softcapping", None)

    def prepare(self, rows: pd.DataFrame, yes: str = "yes", no: str = "no") -> Prepared:
        """Tokenise an eval's rows (columns ``messages, prefill, answer``; see ``evals.base``)."""
        words = [answer_tokens(self.tokenizer, word) for word in (yes, no)]
        prompts = [prompt_ids(self.tokenizer, *row) for row in zip(rows["messages"], rows["prefill"], strict=True)]
        answers = [self._answer(text) for text in rows["answer"]]
        if len({bool(answer) for answer in answers}) > 1:
            raise UserError("eval: some rows have an answer and some have none; give all or none")
        sequences = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
        width = max(map(len, answers))
        packing = pack(sequences, 1 + width, self.tokens_per_batch // self.edits_at_once, self.model.device)
        padded = [[-1] * (width - len(answer)) + answer for answer in answers]
        tokens = torch.tensor(padded, dtype=torch.long, device=self.model.device).reshape(len(rows), width)
        return Prepared(self, Passes(self.blocks, packing, self.references, self.store), tokens, *words)

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits [..., vocabulary] of hidden states [..., d]."""
        values = torch.nn.functional.linear(hidden.float(), self.weight, self.bias)
        return self.softcap * torch.tanh(values / self.softcap) if self.softcap else values

    def _answer(self, text: str) -> list[int]:
        return encode(self.tokenizer, text) if text else []


@dataclass(frozen=True)
class Prepared:
    """An eval's rows, tokenised and packed for one scorer. ``answers`` [rows, a], padded with −1 (a = 0: choice)."""

    scorer: Scorer
    passes: Passes
    answers: Tensor
    yes: list[int]
    no: list[int]

    @torch.no_grad()
    def score(self, edits: Sequence[Edit] = (BASE,), base_hidden: Tensor | None = None) -> list[pd.DataFrame]:
        """Score every row under every edit; a frame an edit, columns ``METRICS``, in the order of the rows given.

        ``base_hidden`` [rows, d] are the base model's hidden states at the answer position (from ``base``); with them
        ``kl_base`` is filled, in nats.
        """
        scores = {name: np.full((len(edits), len(self.answers)), np.nan, np.float32) for name in METRICS}
        for batch, hidden in self.passes.final(edits):
            if self.answers.shape[1]:
                logp = self.scorer.logits(hidden[:, :, :-1]).log_softmax(-1)
                values = _completion(logp, self.answers[batch.rows])
            else:
                base = None if base_hidden is None else base_hidden[batch.rows].to(hidden.device)
                values = self.choice(hidden[:, :, -1], base)
            for name, column in values.items():
                scores[name][:, batch.rows] = column.cpu().numpy()
        frames = [pd.DataFrame({name: values[index] for name, values in scores.items()}) for index in range(len(edits))]
        return [frame.assign(correct=frame["correct"].astype("boolean")) for frame in frames]

    @torch.no_grad()
    def base(self) -> tuple[pd.DataFrame, Tensor]:
        """The base model's scores (``kl_base`` 0) and hidden states [rows, d] at the answer position."""
        states = torch.zeros(len(self.answers), self.scorer.weight.shape[1])
        for batch, hidden in self.passes.final([BASE]):
            states[batch.rows] = hidden[0, :, -1].float().cpu()
        return self.score(base_hidden=states)[0], states

    def choice(self, hidden: Tensor, base_hidden: Tensor | None = None) -> dict[str, Tensor]:
        """Scores [edits, rows] of a choice, from hidden states [edits, rows, d] and the base model's [rows, d]."""
        logp = self.scorer.logits(hidden).log_softmax(-1)
        yes, no = logp[..., self.yes].logsumexp(-1), logp[..., self.no].logsumexp(-1)
        values = {"lr": yes - no, "logp_yes": yes, "logp_no": no, "pmass": yes.exp() + no.exp()}
        if base_hidden is not None:
            base = self.scorer.logits(base_hidden).log_softmax(-1)
            values["kl_base"] = (logp.exp() * (logp - base)).sum(-1)
        return values


def _tokens_that_fit(model: PreTrainedModel) -> int:
    """A good size of a batch: on a CPU hidden states of 4 MB, which its caches hold; 32768 tokens on a GPU."""
    return 32768 if model.device.type == "cuda" else max(2**20 // model.config.get_text_config().hidden_size, 1)


def _completion(logp: Tensor, answer: Tensor) -> dict[str, Tensor]:
    """From log-probabilities [edits, n, a, v] and answers [n, a] (−1 where there is none): nll in nats, exact match."""
    there = answer >= 0
    index = answer.clamp(min=0).expand(len(logp), -1, -1)[..., None]
    nll = -(logp.gather(-1, index)[..., 0] * there).sum(-1)
    return {"nll": nll, "correct": ((logp.argmax(-1) == answer) | ~there).all(-1)}
