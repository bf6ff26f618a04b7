"""Pretrain a built-in model on the miniature world's conversations: loss on the assistant's tokens only.

Sequences are short, so plain matrix products ("eager") beat the blocked attention kernels on a CPU. Padding is on the
right, where causal attention never looks, so no mask is needed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerFast, get_linear_schedule_with_warmup

from dwatlas.errors import UserError
from dwatlas.models.tiny import Pretraining, TinySpec, random_model
from dwatlas.models.tokenizer import word_tokenizer
from dwatlas.pretrain.check import check
from dwatlas.seeds import rng, torch_seed
from dwatlas.world.conversations import conversation, vocabulary
from dwatlas.world.facts import World, world

BUCKET = 16
"""Batches of similar length are cut from this many batches' worth of conversations at a time."""


def pretrain(spec: TinySpec, say: Callable[[str], None]) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Train the model that ``spec`` describes; ``say`` receives progress lines.

    Raises ``UserError`` when the trained model misses one of the catalogue's thresholds.
    """
    torch.set_num_threads(spec.pretraining.threads)
    tokenizer = word_tokenizer(vocabulary())
    model = random_model(spec.architecture, spec.anatomy, len(tokenizer), torch_seed("model", spec.seed))
    setting = world(spec.world_seed)
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")
    model.train()
    _train(model, tokenizer, setting, spec.pretraining, spec.seed, say)
    model.set_attn_implementation(attention)
    model.eval().requires_grad_(False)
    check(model, tokenizer, setting, spec.thresholds, say)
    return model, tokenizer


def _train(model, tokenizer, setting: World, settings: Pretraining, seed: int, say: Callable[[str], None]) -> None:
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98), fused=True
    )
    schedule = get_linear_schedule_with_warmup(optimiser, settings.warmup_steps, settings.steps)
    draw = rng("conversations", seed)
    for step, (ids, answer) in enumerate(_batches(tokenizer, setting, settings, draw)):
        target = answer[:, 1:]
        hidden = model.base_model(input_ids=ids[:, :-1], use_cache=False)[0]
        loss = cross_entropy(model.get_output_embeddings()(hidden[target]), ids[:, 1:][target])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if not torch.isfinite(loss):
            raise UserError(f"loss is {loss.item()} at step {step}; lower pretraining.learning_rate")
        if step % max(settings.steps // 20, 1) == 0 or step == settings.steps - 1:
            say(f"step {step + 1}/{settings.steps}, loss {loss.item():.3f}")


def _batches(tokenizer, setting: World, settings: Pretraining, draw: np.random.Generator):
    """Right-padded token ids and the mask of the assistant's tokens, each [batch, length]; one pair a step."""
    vocabulary = tokenizer.get_vocab()
    for first in range(0, settings.steps, BUCKET):
        steps = min(BUCKET, settings.steps - first)
        plain = settings.curriculum.plain(first / settings.steps)
        pool = [_encode(conversation(setting, draw, plain), vocabulary) for _ in range(steps * settings.batch_size)]
        pool.sort(key=lambda encoded: len(encoded[0]))
        for index in draw.permutation(steps):
            chosen = pool[index * settings.batch_size : (index + 1) * settings.batch_size]
            yield _padded(chosen, tokenizer.pad_token_id)


def _encode(messages: list[dict[str, str]], vocabulary: dict[str, int]) -> tuple[list[int], list[bool]]:
    """Token ids and assistant mask: what the chat template gives, without its cost."""
    ids, mask = [vocabulary["<s>"]], [False]
    for message in messages:
        body = [vocabulary[word] for word in (message["content"] + " <end>").split()]
        ids += [vocabulary[f"<{message['role']}>"], *body]
        mask += [False] + [message["role"] == "assistant"] * len(body)
    return ids, mask


def _padded(encoded: list[tuple[list[int], list[bool]]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(len(ids) for ids, _ in encoded)
    ids = torch.tensor([[*ids, *[pad] * (length - len(ids))] for ids, _ in encoded])
    mask = torch.tensor([[*mask, *[False] * (length - len(mask))] for _, mask in encoded])
    return ids, mask
