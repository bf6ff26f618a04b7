"""Prompts of eval rows as token ids."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from dwatlas.models.load import encode


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], prefill: str) -> list[int]:
    """Token ids of an eval row's chat up to where the answer begins, ``prefill`` included."""
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return encode(tokenizer, text + prefill)
