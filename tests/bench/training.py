"""Answers trained per second, against the plain PEFT + ``transformers.Trainer`` loop on the same model and pairs.

Model: Qwen3 type, random weights, 4 layers of width 256, 32k
words. The plain loop loads the model anew for each pole, pads random batches, labels all but the answers −100 and lets
the model compute the loss from full logits; nothing is evaluated, saved or logged. Every way trains one epoch, so all
see the same answers. They run in turn, and the table gives the median ratio; then the same for the optimiser steps of
one pole, with answer-position logits and batches of similar length each alone and together.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import torch
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from bench.tables import NONE, table
from dwatlas.adapters.base import Training
from dwatlas.adapters.lora import Lora
from dwatlas.models.anatomy import Anatomy
from dwatlas.models.load import load_model
from dwatlas.models.tiny import random_model
from dwatlas.models.tokenizer import word_tokenizer
from dwatlas.seeds import rng, torch_seed
from dwatlas.train.batches import POOL, Example, batch_of, examples_of, shared_lengths, training_order
from dwatlas.train.fit import answer_loss, fit

RATIO = 1.5
THREADS, ROUNDS, STEPS, BATCH, WORDS = 2, 3, 4, 16, 32_000
PAIRS = STEPS * BATCH
ANATOMY = Anatomy(layers=4, hidden=256, intermediate=768, heads=4, kv_heads=2, head_dim=64)
ADAPTER = Lora(r=8, training=Training(steps=STEPS, batch_size=BATCH, learning_rate=1e-4))
VARIANTS = {
    "answer-position logits alone": (True, 1),
    "batches of similar length alone": (False, POOL),
    "both": (True, POOL),
}
"""What is switched on: logits at the answers' positions only, and the batches in a pool."""


def measure() -> pd.DataFrame:
    """Answers a second both ways and their ratio; ratios of the savings; padding."""
    torch.set_num_threads(THREADS)
    tokenizer, pairs = word_tokenizer([f"w{number}" for number in range(WORDS - 7)]), made_pairs()
    with tempfile.TemporaryDirectory() as folder:
        random_model("qwen3", ANATOMY, len(tokenizer), torch_seed("training benchmark")).save_pretrained(folder)
        lines = [*against_trainer(folder, tokenizer, pairs), *sources(folder, tokenizer, pairs)]
    lines += [
        ("padding in random batches", "%", 100 * padding(tokenizer, pairs, pool=1), NONE, False),
        ("padding in batches of similar length", "%", 100 * padding(tokenizer, pairs, POOL), NONE, False),
    ]
    return table(lines)


def made_pairs() -> pd.DataFrame:
    """Random words: prompts of 20–80, shared by the poles, and answers of 20–60."""
    draw = rng("training benchmark")

    def text(shortest: int, longest: int) -> str:
        return " ".join(f"w{number}" for number in draw.integers(WORDS - 7, size=draw.integers(shortest, longest + 1)))

    prompts = [text(20, 80) for _ in range(PAIRS)]
    return pd.DataFrame(
        [
            {"pole": pole, "question_id": index, "sample": 0, "prompt": prompt, "answer": text(20, 60)}
            for pole in ("pos", "neg")
            for index, prompt in enumerate(prompts)
        ]
    )


def against_trainer(folder: str, tokenizer: PreTrainedTokenizerFast, pairs: pd.DataFrame) -> list[tuple]:
    """Both poles from loading the model to the last step: answers per second of each way, and the ratio."""
    seconds = alternate(
        {"trainer": lambda: plain_loop(folder, tokenizer, pairs), "fit": lambda: both_poles(folder, tokenizer, pairs)},
        ROUNDS,
    )
    answers = 2 * STEPS * BATCH
    return [
        ("training, PEFT + Trainer", "answers/s", answers / seconds["trainer"].median(), NONE, True),
        ("training, dwatlas", "answers/s", answers / seconds["fit"].median(), NONE, True),
        ("training, dwatlas : PEFT + Trainer", "×", (seconds["trainer"] / seconds["fit"]).median(), RATIO, True),
    ]


def sources(folder: str, tokenizer: PreTrainedTokenizerFast, pairs: pd.DataFrame) -> list[tuple]:
    """Optimiser steps of one pole with each saving alone and together: ratios to full logits on random batches."""
    model = adapted(folder)
    plain, *others = (steps_with(model, tokenizer, pairs, *variant) for variant in [(False, 1), *VARIANTS.values()])
    seconds = alternate({"plain": plain, **dict(zip(VARIANTS, others, strict=True))}, ROUNDS)
    return [(f"steps, {name}", "×", (seconds["plain"] / seconds[name]).median(), NONE, True) for name in VARIANTS]


def alternate(ways: dict[str, Callable[[], None]], rounds: int) -> pd.DataFrame:
    """Seconds of each way [round, way], taken in turn."""
    lines = []
    for _ in range(rounds):
        line = {}
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            line[name] = time.perf_counter() - started
        lines.append(line)
    return pd.DataFrame(lines)


def adapted(folder: str) -> PeftModel:
    """The model with a fresh adapter."""
    return get_peft_model(load_model(folder, device="cpu"), ADAPTER.peft_config(ANATOMY, 0))


def both_poles(folder: str, tokenizer: PreTrainedTokenizerFast, pairs: pd.DataFrame) -> None:
    """What the workflow's training job does, without its files."""
    model, lengths = adapted(folder), shared_lengths(pairs)
    start = {name: tensor.clone() for name, tensor in get_peft_model_state_dict(model).items()}
    for _, part in pairs.groupby("pole"):
        set_peft_model_state_dict(model, start)
        nothing, order = part[:0], rng("order")
        fit(model, tokenizer, part, nothing, ADAPTER, order, lambda text: None, lengths[part.index].tolist())


def plain_loop(folder: str, tokenizer: PreTrainedTokenizerFast, pairs: pd.DataFrame) -> None:
    """The usual way: a ``Trainer`` per pole, each with its own model."""
    settings = ADAPTER.training
    for _, part in pairs.groupby("pole"):
        with tempfile.TemporaryDirectory() as output:
            arguments = TrainingArguments(
                output_dir=output,
                per_device_train_batch_size=settings.batch_size,
                max_steps=settings.steps,
                learning_rate=settings.learning_rate,
                weight_decay=settings.weight_decay,
                warmup_steps=settings.warmup_steps,
                max_grad_norm=settings.max_grad_norm,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
            )
            trainer = Trainer(
                adapted(folder),
                arguments,
                train_dataset=[labelled(example) for example in examples_of(tokenizer, part)],
                data_collator=DataCollatorForSeq2Seq(tokenizer),
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()


def labelled(example: Example) -> dict[str, list[int]]:
    """An example as a ``Trainer`` takes it: the prompt's labels are −100."""
    return {"input_ids": example.ids, "labels": [-100] * example.prompt + example.ids[example.prompt :]}


def steps_with(
    model: PeftModel, tokenizer: PreTrainedTokenizerFast, pairs: pd.DataFrame, answers_only: bool, pool: int
) -> Callable[[], None]:
    """A plain loop over ``STEPS`` optimiser steps of one pole."""
    examples, order = batches(tokenizer, pairs, pool)
    collate = DataCollatorForSeq2Seq(tokenizer)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=ADAPTER.training.learning_rate, fused=True)

    def loss(chosen: Iterable[int]) -> torch.Tensor:
        if answers_only:
            return answer_loss(model, batch_of([examples[index] for index in chosen], 0, model.device))
        return model(**collate([labelled(examples[index]) for index in chosen])).loss

    def steps() -> None:
        for chosen in order[:STEPS]:
            optimiser.zero_grad()
            loss(chosen).backward()
            torch.nn.utils.clip_grad_norm_(parameters, ADAPTER.training.max_grad_norm)
            optimiser.step()

    return steps


def batches(
    tokenizer: PreTrainedTokenizerFast, pairs: pd.DataFrame, pool: int
) -> tuple[list[Example], list[list[int]]]:
    """One pole's examples and the batches of many epochs."""
    part = pairs[pairs["pole"] == "pos"]
    lengths = shared_lengths(pairs)[part.index].tolist()
    return examples_of(tokenizer, part), training_order(lengths, BATCH, 10 * STEPS, rng("order"), pool)


def padding(tokenizer: PreTrainedTokenizerFast, pairs: pd.DataFrame, pool: int) -> float:
    """Share of padding tokens in the batches of many epochs."""
    examples, order = batches(tokenizer, pairs, pool)
    lengths = np.array([len(example.ids) for example in examples])[np.array(order)]
    return float(1 - lengths.sum() / (BATCH * lengths.max(axis=1).sum()))
