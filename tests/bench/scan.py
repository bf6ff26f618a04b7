"""The ablation scan against the straightforward algorithm, in one run, with where the time goes.

A Qwen3-type model with random weights, 8 layers of width 512 and 32k words; 100 dilemmas of two actions; a rank-8 LoRA
pair on the layers between 25 % and 75 % of depth; every component of the lenses ``layers``, ``modules`` and ``own_svd``
kept and dropped at α = ±1. The reference's cost of a cell does not depend on the component: a few cells are timed, the
scan is that many times as long. On a GPU the model is of the size of Qwen3-0.6B.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.reference import cost_on_paper, score_all
from bench.tables import NONE, peak_flops, table
from dwatlas.adapters.lora import Lora
from dwatlas.delta.algebra import Delta, Factored
from dwatlas.lenses.base import Given, Lens
from dwatlas.lenses.layers import Layers
from dwatlas.lenses.modules import Modules
from dwatlas.lenses.own_svd import OwnSvd
from dwatlas.models.anatomy import Anatomy
from dwatlas.models.tiny import random_model
from dwatlas.models.tokenizer import word_tokenizer
from dwatlas.scoring.attribution import mean_gradient, share
from dwatlas.scoring.packing import pack
from dwatlas.scoring.passes import Passes
from dwatlas.scoring.scorer import Prepared, Scorer
from dwatlas.scoring.steer import Edit
from dwatlas.seeds import rng, torch_generator

LENSES: tuple[Lens, ...] = (Layers(), Modules(), OwnSvd(energies=(50, 90, 99), quartiles=False))
ADAPTER = Lora(r=8, layers=(0.25, 0.75))
ALPHAS = (-1.0, 1.0)
REFERENCE_ALPHAS = (-1.0, 0.0, 1.0)
LEAST_RATIO, LEAST_RATIO_LAYERS, PEAK_SHARE = 8, 10, 60
DIFFERENCE = 1e-4
THREADS = 2
SMALL = Anatomy(layers=8, hidden=512, intermediate=1536, heads=8, kv_heads=4, head_dim=64)
LARGE = Anatomy(layers=28, hidden=1024, intermediate=3072, heads=16, kv_heads=8, head_dim=128)


@dataclass(frozen=True)
class Setting:
    """A model, dilemmas and a dW: what is scanned."""

    anatomy: Anatomy
    vocabulary: int
    dilemmas: int
    device: str

    @cached_property
    def words(self) -> list[str]:
        return ["yes", "no", *(f"w{number}" for number in range(2, self.vocabulary))]

    @cached_property
    def tokenizer(self):
        return word_tokenizer(self.words)

    @cached_property
    def model(self):
        model = random_model("qwen3", self.anatomy, len(self.tokenizer), seed=0)
        return model.eval().requires_grad_(False).to(self.device)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Two actions a dilemma: instruction of 40 words, situation of 40–90, action of 12–30."""
        draw = rng("scan")

        def text(low: int, high: int) -> str:
            return " ".join(
                self.words[number] for number in draw.integers(2, self.vocabulary, draw.integers(low, high + 1))
            )

        instruction = text(40, 40)
        situations = [f"{instruction} {text(40, 90)}" for _ in range(self.dilemmas)]
        chats = [[{"role": "user", "content": f"{one} {text(12, 30)}"}] for one in situations for _ in range(2)]
        return pd.DataFrame({"messages": chats, "prefill": "", "answer": ""})

    @cached_property
    def texts(self) -> list[str]:
        chats = self.rows["messages"]
        return [self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]

    @cached_property
    def lengths(self) -> list[int]:
        return [len(self.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in self.texts]

    @cached_property
    def delta(self) -> Delta:
        """The difference of a pair whose factors are random, about a tenth of the weights in norm."""
        generator, scale = torch_generator("scan delta"), 0.1 * self.anatomy.hidden**-0.5
        return {
            site.name: Factored(
                scale * torch.randn(site.shape[0], 2 * ADAPTER.r, generator=generator),
                0.1 * torch.randn(2 * ADAPTER.r, site.shape[1], generator=generator),
            )
            for site in ADAPTER.sites(self.anatomy)
        }

    def components(self, lens: Lens) -> list[str]:
        return lens.names(ADAPTER, self.anatomy)

    def edits(self, lens: Lens, component: str, alphas: Sequence[float] = ALPHAS) -> list[Edit]:
        """The component kept and dropped."""
        split = lens.split(Given(self.delta), component)
        return [Edit(part, alpha) for part in (split.keep, split.drop) for alpha in alphas]

    def prepare(self, edits_at_once: int = 2 * len(ALPHAS)) -> Prepared:
        """The rows made ready, with the full ±dW as references."""
        scorer = Scorer(self.model, self.tokenizer, edits_at_once=edits_at_once)
        scorer.references += [Edit(self.delta, alpha) for alpha in ALPHAS]
        return scorer.prepare(self.rows)

    def reference(self, edits: Sequence[Edit], alphas: Sequence[float], **options: object) -> dict[tuple, Tensor]:
        """The straightforward algorithm's scores of edits (their own α ignored) at each α."""
        dense = {
            index: {name: matrix.dense().to(self.device) for name, matrix in edit.delta.items()}
            for index, edit in enumerate(edits)
        }
        ids = [[self.tokenizer.get_vocab()[word]] for word in ("yes", "no")]
        options = {"model": self.model, "texts": self.texts} | options
        return score_all(options.pop("model"), self.tokenizer, options.pop("texts"), dense, alphas, *ids, **options)


def seconds(work) -> float:
    """Wall time of one call, a GPU's work included."""
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measure() -> pd.DataFrame:
    """Ratios of the scan, each lens and together; where the factor is; share of the peak; operations."""
    torch.set_num_threads(THREADS)
    setting = Setting(SMALL, 32_000, 100, "cpu")
    if torch.cuda.is_available():
        setting = Setting(LARGE, 151_936, 219, "cuda")
    return table([*scan(setting), *parts(replace(setting, dilemmas=10))])


def scan(setting: Setting) -> Iterator[tuple]:
    """The whole scan against the reference, the numbers side by side, and how well the machine is used."""
    peak = peak_flops(THREADS, setting.device)
    edits = [setting.edits(Layers(), "layer-3", [1.0])[0], setting.edits(Modules(), "attention", [1.0])[1]]
    setting.reference(edits[:1], [1.0], texts=setting.texts[:8])
    expected: dict = {}
    cell = seconds(lambda: expected.update(setting.reference(edits, [1.0]))) / len(edits)
    prepared = setting.prepare()
    [base] = prepared.score()
    hidden = prepared.base()[1]
    apart = max(
        np.abs(prepared.score([edit])[0]["lr"].to_numpy() - expected[index, 1.0][:, 0].numpy()).max()
        for index, edit in enumerate(edits)
    )
    shift = float(np.abs(prepared.score(edits[:1])[0]["lr"] - base["lr"]).mean())
    yield "reference: one cell", "s", cell, NONE, False
    yield f"largest difference of lr from the reference (mean shift {shift:.2f} nats)", "nats", apart, DIFFERENCE, False
    ours, theirs = 0.0, 0.0
    for lens in LENSES:
        components = setting.components(lens)
        took = seconds(partial(scan_lens, setting, lens, components, hidden))
        plain = cell * len(components) * 2 * len(REFERENCE_ALPHAS)
        ours, theirs = ours + took, theirs + plain
        limit = LEAST_RATIO_LAYERS if lens.kind == "layers" else NONE
        yield f"`{lens.kind}`: {len(components)} components, kept and dropped, at ±1", "s", took, NONE, False
        yield f"`{lens.kind}`: reference / ours", "×", plain / took, limit, True
    yield "all three lenses: reference / ours", "×", theirs / ours, LEAST_RATIO, True
    yield from use_of_machine(setting, peak, cell)


def scan_lens(setting: Setting, lens: Lens, components: Sequence[str], hidden: Tensor) -> None:
    """What the workflow's job does for a lens, from the tokens on."""
    prepared = setting.prepare()
    for name in components:
        prepared.score(setting.edits(lens, name), hidden)


def use_of_machine(setting: Setting, peak: float, cell: float) -> Iterator[tuple]:
    """Rates against the matrix-multiply peak, and operations counted against those on paper."""
    prepared = setting.prepare()
    edits = setting.edits(Modules(), "attention")
    prepared.score(edits)
    took = min(seconds(lambda: prepared.score(edits)) for _ in range(3))
    paper = our_cost_on_paper(setting, prepared, edits)
    attention = setting.model.config._attn_implementation
    setting.model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        prepared.score(edits)
    setting.model.set_attn_implementation(attention)
    plain = cost_on_paper(setting.anatomy, len(setting.tokenizer), setting.lengths)
    yield "matrix-multiply peak", "GFLOP/s", peak / 1e9, NONE, True
    yield "reference: share of the peak", "%", 100 * plain / cell / peak, NONE, True
    yield "ours: share of the peak, a component of `modules`", "%", 100 * paper / took / peak, PEAK_SHARE, True
    yield "reference: operations of a cell, on paper", "GFLOP", plain / 1e9, NONE, False
    yield "ours: operations of a component's four cells, on paper", "GFLOP", paper / 1e9, NONE, False
    yield "ours: operations counted / on paper", "×", counter.get_total_flops() / paper, NONE, False
    yield (
        "tokens of all rows / tokens run for a cell",
        "×",
        sum(setting.lengths) / prepared.passes.packing.tokens,
        NONE,
        True,
    )
    if setting.device == "cuda":
        yield "memory on the GPU, at most", "GB", torch.cuda.max_memory_allocated() / 1e9, NONE, False
        yield "rows a second", "1/s", len(setting.rows) * len(edits) / took, NONE, True


def our_cost_on_paper(setting: Setting, prepared: Prepared, edits: Sequence[Edit]) -> float:
    """Operations of the matrix products of edits side by side: whole blocks above the start for every token, of the
    last block queries, keys and values, the rest of it and the unembedding for the answers."""
    anatomy, packing = setting.anatomy, prepared.passes.packing
    start, _ = prepared.passes.start(edits)
    sizes = {module: rows * columns for module in Lora().target_modules for rows, columns in [anatomy.shape(module)]}
    whole, first = sum(sizes.values()), sum(sizes[name] for name in ("q_proj", "k_proj", "v_proj"))
    total = 0.0
    for _, batch in packing.numbered():
        tokens, blocks = batch.ids.numel(), anatomy.layers - 1 - start
        pairs = 2 * anatomy.heads * anatomy.head_dim
        total += tokens * (blocks * whole + first) + batch.seen.numel() * blocks * pairs
        if batch is not packing.stem:
            total += batch.asked.numel() * (whole + batch.seen.shape[2] * pairs)
            total += len(batch.rows) * anatomy.hidden * len(setting.tokenizer)
    return 2.0 * len(edits) * total


class AnswerOnly:
    """The model with logits at the last position only: point 2 for the reference."""

    def __init__(self, model):
        self.model = model

    def __call__(self, **inputs: object):
        return self.model(**inputs, logits_to_keep=1)

    def __getattr__(self, name: str):
        return getattr(self.model, name)


class FromTheEmbeddings(Passes):
    """Passes that compute every block."""

    def start(self, edits: Sequence[Edit]) -> tuple[int, list[int]]:
        return 0, [0] * len(edits)


def parts(setting: Setting) -> Iterator[tuple]:
    """Where the factor is, on fewer rows: each part alone, and all without it. Two components, kept and dropped."""
    components = [(Layers(), "layer-4"), (Modules(), "attention")]
    edits = [edit for lens, name in components for edit in setting.edits(lens, name, [1.0])]
    by_length = sorted(setting.texts, key=lambda text: len(text.split()))
    name = "straightforward, and "
    plain = seconds(lambda: setting.reference(edits, REFERENCE_ALPHAS))
    yield "where the factor is (10 dilemmas, 2 components): straightforward", "s", plain, NONE, False
    alone = {
        "base scores once": {"alphas": ALPHAS},
        "logits at the answer position only": {"model": AnswerOnly(setting.model)},
        "rows sorted by length": {"texts": by_length},
        "rows sorted by length, batches of 32": {"texts": by_length, "batch_size": 32},
    }
    alone["all of these"] = {key: value for options in alone.values() for key, value in options.items()}
    for what, options in alone.items():
        took = seconds(lambda options=options: setting.reference(edits, **{"alphas": REFERENCE_ALPHAS} | options))
        yield name + what, "×", plain / took, NONE, True
    for what, shared, boundaries, together in VARIANTS:
        took = min(variant(setting, components, shared, boundaries, together) for _ in range(2))
        yield what, "×", plain / took, NONE, True
    yield from additive(setting)


def additive(setting: Setting) -> Iterator[tuple]:
    """Integrated gradients for all components of all lenses, beside ablating them."""
    prepared, weights = setting.prepare(), torch.ones(len(setting.rows)) / len(setting.rows)
    parts = [(lens, name) for lens in LENSES for name in setting.components(lens)]
    took = seconds(lambda: additive_shares(setting, prepared, weights, parts))
    one = seconds(lambda: prepared.score(setting.edits(Modules(), "attention")))
    yield f"additive shares of all {len(parts)} components, 16 backward passes", "s", took, NONE, False
    yield "ablating one of them, for comparison", "s", one, NONE, False


def additive_shares(
    setting: Setting, prepared: Prepared, weights: Tensor, parts: list[tuple[Lens, str]]
) -> list[float]:
    """Each component's share of the effect."""
    gradient = mean_gradient(prepared, setting.delta, weights)
    return [share(gradient, lens.split(Given(setting.delta), name).keep) for lens, name in parts]


VARIANTS = [
    ("the scorer without shared prefixes, boundaries, edits side by side", False, False, False),
    ("that and shared prefixes", True, False, False),
    ("that and boundaries", False, True, False),
    ("that and a component's four edits side by side", False, False, True),
    ("all but shared prefixes", False, True, True),
    ("all but boundaries", True, False, True),
    ("all but edits side by side", True, True, False),
    ("all", True, True, True),
]


def variant(setting: Setting, components, shared: bool, boundaries: bool, together: bool) -> float:
    """Seconds of the scorer with some of its parts switched off."""
    edits = [setting.edits(lens, name) for lens, name in components]
    calls = edits if together else [[edit] for group in edits for edit in group]
    prepared = setting.prepare(edits_at_once=len(calls[0]))
    passes, scorer = prepared.passes, prepared.scorer
    packing = passes.packing
    if not shared:
        ids = setting.tokenizer(setting.texts, add_special_tokens=False)["input_ids"]
        packing = pack(ids, 1, scorer.tokens_per_batch // len(calls[0]), setting.model.device, share=False)
    kind = Passes if boundaries else FromTheEmbeddings
    prepared = replace(prepared, passes=kind(passes.blocks, packing, scorer.references, scorer.store))
    return seconds(lambda: [prepared.score(call) for call in calls])
