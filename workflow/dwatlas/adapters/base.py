"""What an adapter declares and does. One file per PEFT method; the catalogue gives names to its configurations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from dwatlas.models.anatomy import PROJECTIONS, Anatomy, Site
from dwatlas.registry import Plugin

if TYPE_CHECKING:
    from peft import PeftConfig

    from dwatlas.delta.algebra import Delta


class Training(BaseModel):
    """How an adapter is trained: AdamW, linear warm-up and decay, loss on the answer's tokens only."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: int = Field(60, ge=1, description="Optimiser steps.")
    batch_size: int = Field(16, ge=1, description="Answers per step.")
    learning_rate: float = Field(2e-3, gt=0, description="Peak learning rate.")
    warmup_steps: int = Field(5, ge=0, description="Steps of linear warm-up before the linear decay.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW weight decay.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this global norm.")
    held_out_share: float = Field(0.1, ge=0, lt=1, description="Share of the questions held out for the loss check.")


class Adapter(Plugin):
    """Base of all adapters: where it acts and how it is trained."""

    target_modules: tuple[str, ...] = Field(
        PROJECTIONS, min_length=1, description=f"Projections it acts on, of {', '.join(PROJECTIONS)}."
    )
    layers: tuple[float, float] = Field(
        (0.0, 1.0), description="Range of depth it acts on, as fractions: [0.25, 0.75] is the middle half."
    )
    training: Training = Training()

    @field_validator("target_modules")
    @classmethod
    def _known(cls, modules: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(modules) - set(PROJECTIONS))
        if unknown:
            raise ValueError(f"unknown module(s) {', '.join(unknown)}; choose from {', '.join(PROJECTIONS)}")
        if len(set(modules)) < len(modules):
            raise ValueError("a module is named twice")
        return modules

    @field_validator("layers")
    @classmethod
    def _range(cls, layers: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= layers[0] < layers[1] <= 1:
            raise ValueError("give [low, high] with 0 ≤ low < high ≤ 1")
        return layers

    def sites(self, anatomy: Anatomy) -> tuple[Site, ...]:
        """The weight matrices that it touches: layer ``i`` of ``L`` counts when low ≤ i/L < high."""
        low, high = self.layers
        return tuple(
            site
            for site in anatomy.sites()
            if site.module in self.target_modules and low <= site.layer / anatomy.layers < high
        )

    def rank(self, site: Site) -> int:
        """An upper bound for the rank of the pair's dW at a site."""
        return min(site.shape)

    def peft_config(self, anatomy: Anatomy) -> PeftConfig:
        """The PEFT configuration that makes it."""
        raise NotImplementedError

    def change(self, checkpoint: Path, anatomy: Anatomy) -> Delta:
        """Exact τ = θ − θ₀ of one checkpoint, relative to the original base, float32, in the method's structure."""
        raise NotImplementedError


def target_pattern(sites: tuple[Site, ...]) -> str:
    """A regular expression for PEFT's ``target_modules`` that matches exactly these sites' modules."""
    names = "|".join(site.name.removesuffix(".weight").replace(".", r"\.") for site in sites)
    return f"({names})"
