"""The one scorer: log p(Yes) − log p(No) at the answer position, or the log-likelihood of a known answer.

Rows are tokenised once (``prepare``), sorted by length, cut into batches of about equal numbers of tokens with left
padding, and scored as often as wanted (``score``) with whatever weights the model has then. Logits are float32
products of the float32 hidden state with the unembedding, at the answer positions only:

    lr = logsumexp(z_yes) − logsumexp(z_no)       pmass = p(yes) + p(no)       kl_base = KL(steered ‖ base)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dwatlas.errors import UserError
from dwatlas.models.load import encode
from dwatlas.scoring.answers import answer_tokens

METRICS = ["lr", "logp_yes", "logp_no", "pmass", "kl_base", "nll", "correct"]


@dataclass(frozen=True)
class Batch:
    """Rows of similar length. ``ids`` [n, t] padded on the left; ``answer`` [n, a] padded with −1 (a = 0: choice)."""

    rows: np.ndarray
    ids: Tensor
    mask: Tensor
    answer: Tensor


class Scorer:
    """Scores eval rows with a model as it is at the moment of the call."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens_per_batch: int = 8192):
        self.model = model
        self.tokenizer = tokenizer
        self.tokens_per_batch = tokens_per_batch
        unembedding = model.get_output_embeddings()
        self.weight = unembedding.weight.float()
        self.bias = None if getattr(unembedding, "bias", None) is None else unembedding.bias.float()
        self.softcap = getattr(model.config, "final_logit_softcapping", None)

    def prepare(self, rows: pd.DataFrame, yes: str = "yes", no: str = "no") -> Prepared:
        """Tokenise an eval's rows (columns ``messages, prefill, answer``; see ``evals.base``)."""
        words = [answer_tokens(self.tokenizer, word) for word in (yes, no)]
        prompts = [self._prompt(*row) for row in zip(rows["messages"], rows["prefill"], strict=True)]
        answers = [self._answer(text) for text in rows["answer"]]
        if len({bool(answer) for answer in answers}) > 1:
            raise UserError("eval: some rows have an answer and some have none; give all or none")
        return Prepared(self, list(self._batches(prompts, answers)), len(rows), *words)

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits [..., vocabulary] of hidden states [..., d]."""
        values = torch.nn.functional.linear(hidden.float(), self.weight, self.bias)
        return self.softcap * torch.tanh(values / self.softcap) if self.softcap else values

    def hidden(self, batch: Batch) -> Tensor:
        """Final hidden states [n, 1 + a, d] at the positions that predict the answer's tokens."""
        positions = (batch.mask.cumsum(1) - 1).clamp(min=0)
        outputs = self.model.base_model(
            input_ids=batch.ids, attention_mask=batch.mask, position_ids=positions, use_cache=False
        )
        return outputs[0][:, -1 - batch.answer.shape[1] :].float()

    def _prompt(self, messages: list[dict[str, str]], prefill: str) -> list[int]:
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return encode(self.tokenizer, text + prefill)

    def _answer(self, text: str) -> list[int]:
        return encode(self.tokenizer, text) if text else []

    def _batches(self, prompts: list[list[int]], answers: list[list[int]]):
        sequences = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
        order = sorted(range(len(sequences)), key=lambda index: (len(sequences[index]), index))
        while order:
            size = 1
            while size < len(order) and (size + 1) * len(sequences[order[size]]) <= self.tokens_per_batch:
                size += 1
            chosen, order = order[:size], order[size:]
            yield self._batch(chosen, sequences, answers)

    def _batch(self, chosen: list[int], sequences: list[list[int]], answers: list[list[int]]) -> Batch:
        length = max(len(sequences[index]) for index in chosen)
        width = max(len(answers[index]) for index in chosen)
        pad = self.tokenizer.pad_token_id
        device = self.model.device
        ids = [[pad] * (length - len(sequences[index])) + sequences[index] for index in chosen]
        mask = [[0] * (length - len(sequences[index])) + [1] * len(sequences[index]) for index in chosen]
        answer = [[-1] * (width - len(answers[index])) + answers[index] for index in chosen]
        batch = Batch(
            np.array(chosen),
            torch.tensor(ids, device=device),
            torch.tensor(mask, device=device),
            torch.tensor(answer, dtype=torch.long, device=device).reshape(len(chosen), width),
        )
        if not bool(batch.mask[:, -1].all()):
            raise AssertionError("the answer position must be the last one; padding belongs on the left")
        return batch


@dataclass(frozen=True)
class Prepared:
    """An eval's rows, tokenised and batched for one scorer."""

    scorer: Scorer
    batches: list[Batch]
    size: int
    yes: list[int]
    no: list[int]

    @torch.no_grad()
    def score(self, base_hidden: Tensor | None = None) -> pd.DataFrame:
        """Score every row with the model's present weights; columns ``METRICS``, in the order of the rows given.

        ``base_hidden`` [rows, d] are the base model's hidden states at the answer position (from ``base``); with them
        ``kl_base`` is filled, in nats.
        """
        scores = {name: np.full(self.size, np.nan, np.float32) for name in METRICS}
        for batch in self.batches:
            hidden = self.scorer.hidden(batch)
            if batch.answer.shape[1]:
                values = _completion(self.scorer.logits(hidden[:, :-1]).log_softmax(-1), batch.answer)
            else:
                base = None if base_hidden is None else base_hidden[batch.rows].to(hidden.device)
                values = self._choice(hidden[:, -1], base)
            for name, column in values.items():
                scores[name][batch.rows] = column.cpu().numpy()
        frame = pd.DataFrame(scores)
        return frame.assign(correct=frame["correct"].astype("boolean"))

    @torch.no_grad()
    def base(self) -> tuple[pd.DataFrame, Tensor]:
        """Scores with the present weights as the base (``kl_base`` 0), and the hidden states [rows, d]."""
        hidden = torch.zeros(self.size, self.scorer.weight.shape[1])
        for batch in self.batches:
            hidden[batch.rows] = self.scorer.hidden(batch)[:, -1].cpu()
        return self.score(hidden), hidden

    def _choice(self, hidden: Tensor, base_hidden: Tensor | None) -> dict[str, Tensor]:
        logp = self.scorer.logits(hidden).log_softmax(-1)
        yes, no = logp[:, self.yes].logsumexp(-1), logp[:, self.no].logsumexp(-1)
        values = {"lr": yes - no, "logp_yes": yes, "logp_no": no, "pmass": yes.exp() + no.exp()}
        if base_hidden is not None:
            base = self.scorer.logits(base_hidden).log_softmax(-1)
            values["kl_base"] = (logp.exp() * (logp - base)).sum(-1)
        return values


def _completion(logp: Tensor, answer: Tensor) -> dict[str, Tensor]:
    """From log-probabilities [n, a, v] and answers [n, a] (−1 where there is none): nll in nats and exact match."""
    there = answer >= 0
    chosen = logp.gather(-1, answer.clamp(min=0)[..., None])[..., 0]
    nll = -(chosen * there).sum(1)
    return {"nll": nll, "correct": ((logp.argmax(-1) == answer) | ~there).all(1)}
