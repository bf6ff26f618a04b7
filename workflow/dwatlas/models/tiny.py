"""Built-in architectures: small Qwen3, Gemma 3 and Llama decoders with random weights, and their declarations."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from dwatlas.models.anatomy import Anatomy

Architecture = Literal["qwen3", "gemma3", "llama"]


class Curriculum(BaseModel):
    """Share of turns in which agreeing means "yes": ``start`` until ``hold``, then linear to ½ at ``balanced``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    start: float = Field(0.9, ge=0.5, le=1, description="Share at the start.")
    hold: float = Field(0.3, ge=0, le=1, description="Fraction of the steps that it stays there.")
    balanced: float = Field(0.7, gt=0, le=1, description="Fraction of the steps from which it is one half.")

    def plain(self, progress: float) -> float:
        """The share at a fraction ``progress`` of the steps."""
        descent = (progress - self.hold) / max(self.balanced - self.hold, 1e-9)
        return 0.5 + (self.start - 0.5) * (1 - min(max(descent, 0.0), 1.0))


class Pretraining(BaseModel):
    """How the built-in model is trained on the world's conversations (loss on the assistant's tokens only)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: int = Field(1000, ge=1, description="Optimiser steps.")
    batch_size: int = Field(64, ge=1, description="Conversations per step.")
    learning_rate: float = Field(5e-3, gt=0, description="Peak learning rate (AdamW, linear decay).")
    warmup_steps: int = Field(50, ge=0, description="Steps of linear warm-up.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay.")
    threads: int = Field(2, ge=1, description="Threads; part of the result, as sums depend on how they are split.")
    curriculum: Curriculum = Curriculum()


class Thresholds(BaseModel):
    """What the pretrained model must show, or the study has no instrument and the rule fails."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    persona_claims: float = Field(4.0, description="Shift of the claim score between the personas, in nats.")
    persona_dilemmas: float = Field(4.0, description="Shift of the dilemma score between the personas, in nats.")
    facts: float = Field(0.95, ge=0, le=1, description="Share of facts answered word for word.")


class TinySpec(BaseModel):
    """Everything that defines a built-in model."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    architecture: Architecture = Field(description="Type of decoder.")
    anatomy: Anatomy = Field(description="Sizes.")
    world_seed: int = Field(0, ge=0, description="Which assignment of facts the world has.")
    seed: int = Field(0, ge=0, description="Seed of initialisation and conversations.")
    pretraining: Pretraining = Pretraining()
    thresholds: Thresholds = Thresholds()


def random_model(architecture: Architecture, anatomy: Anatomy, vocabulary: int, seed: int):
    """A decoder with random weights drawn from ``seed``, embeddings tied (Gemma, Qwen) or not (Llama)."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(_config(architecture, anatomy, vocabulary), attn_implementation="sdpa")


def _config(architecture: Architecture, anatomy: Anatomy, vocabulary: int):
    from transformers import Gemma3TextConfig, LlamaConfig, Qwen3Config

    sizes = {
        "vocab_size": vocabulary,
        "num_hidden_layers": anatomy.layers,
        "hidden_size": anatomy.hidden,
        "intermediate_size": anatomy.intermediate,
        "num_attention_heads": anatomy.heads,
        "num_key_value_heads": anatomy.kv_heads,
        "head_dim": anatomy.head_dim,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 6,
    }
    if architecture == "qwen3":
        return Qwen3Config(**sizes, tie_word_embeddings=True)
    if architecture == "llama":
        return LlamaConfig(**sizes, tie_word_embeddings=False)
    return Gemma3TextConfig(
        **sizes, tie_word_embeddings=True, sliding_window=32, query_pre_attn_scalar=anatomy.head_dim
    )
