"""Lens ``heads``: which attention heads carry the behaviour, and which side of them?

With head_dim d, query head H reads with rows H·d … (H+1)·d − 1 of q_proj and writes through columns H·d … (H+1)·d − 1
of o_proj. With grouped-query attention (Ainslie et al. 2023, arXiv:2305.13245) n_heads / n_kv query heads share one
key-value head: head H uses group G = ⌊H·n_kv / n_heads⌋, whose rows G·d … (G+1)·d − 1 are those of k_proj and v_proj. A
bias of q_proj, k_proj or v_proj is cut like its rows. Components of each layer L:

    layer-L.query-H        rows of q_proj of head H
    layer-L.key-value-G    rows of k_proj and v_proj of group G
    layer-L.output-H       columns of o_proj of head H
    layer-L.head-H         query-H and output-H; where every head has its own keys and values, these too
    layer-L.group-G        key-value-G with the queries and outputs of all heads that share it, where heads share

keep = dW restricted to these rows and columns; drop = dW without them. Queries, key-values and outputs sum to the dW of
attention; MLP, norms and biases of o_proj are in drop always.

What it cannot tell: a head's queries and keys only ever act together, and so do its values and outputs, so a slice
alone need not do anything; the components ``head`` and ``group`` are there for that. Heads differ in energy, and a
slice with more of it moves the model more. So each component is held against random sets of slices (and of tensors that
are not cut) of the same energy (control ``mask``) and against Gaussian noise of the same per-tensor norms (``norm``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from dwatlas.lenses.base import Given, Lens, Split, distinct
from dwatlas.models.anatomy import Anatomy, place

if TYPE_CHECKING:
    from dwatlas.adapters.base import Adapter
    from dwatlas.delta.slices import Axis

Kind = Literal["query", "key-value", "output", "head", "group"]
KINDS: tuple[Kind, ...] = ("query", "key-value", "output", "head", "group")
ROWS, COLUMNS = 0, 1


class Heads(Lens):
    """Attention heads: queries, keys and values, outputs, and heads as a whole."""

    kind: Literal["heads"] = "heads"
    kinds: tuple[Kind, ...] = Field(KINDS, min_length=1, description="Which kinds of components there are.")

    controls: ClassVar = ("mask", "norm")
    choosing: ClassVar = frozenset({"kinds"})

    _distinct = field_validator("kinds")(distinct)

    def names(self, adapter: Adapter, anatomy: Anatomy) -> list[str]:
        cut = [site for site in adapter.sites(anatomy) if axis_of_heads(site.name) is not None]
        touched = {layer: {site.module for site in cut if site.layer == layer} for layer in range(anatomy.layers)}
        return [
            f"layer-{layer}.{kind}-{number}"
            for layer, modules in touched.items()
            for kind in self.kinds
            for number in range(_number(kind, anatomy))
            if modules & held(kind, number, anatomy).keys()
        ]

    def split(self, given: Given, component: str) -> Split:
        layer, _, part = component.removeprefix("layer-").partition(".")
        kind, _, number = part.rpartition("-")
        wanted = held(kind, int(number), given.anatomy)
        places = {name: place(name)[:2] for name in given.delta if axis_of_heads(name) is not None}
        return _taken(
            given, {name: wanted.get(module, ()) for name, (at, module) in places.items() if at == int(layer)}
        )

    def units(self, given: Given) -> list[str]:
        """``TENSOR/INDEX``: a head's slice of a tensor, or a tensor that is not cut."""
        return [f"{name}/{index}" for name in sorted(given.delta) for index in range(_pieces(name, given.anatomy))]

    def union(self, given: Given, units: set[str]) -> Split:
        chosen: dict[str, set[int]] = {}
        for name, _, index in (unit.rpartition("/") for unit in units):
            chosen.setdefault(name, set()).add(int(index))
        return _taken(given, chosen)


def held(kind: str, number: int, anatomy: Anatomy) -> dict[str, Collection[int]]:
    """The heads' slices that a component holds: projection → indices of (query or key-value) heads."""
    shared, one = anatomy.heads // anatomy.kv_heads, (number,)
    keys = {"k_proj": one, "v_proj": one}
    if kind == "group":
        own = range(number * shared, (number + 1) * shared)
        return {"q_proj": own, **keys, "o_proj": own}
    if kind == "head":
        return {"q_proj": one, **(keys if shared == 1 else {}), "o_proj": one}
    return {"query": {"q_proj": one}, "key-value": keys, "output": {"o_proj": one}}[kind]


def axis_of_heads(tensor: str) -> Axis | None:
    """Whether heads are rows or columns of a tensor; ``None`` for one that belongs to no head."""
    module, parameter = tensor.split(".")[-2:]
    if module == "o_proj":
        return COLUMNS if parameter == "weight" else None
    return ROWS if module in ("q_proj", "k_proj", "v_proj") else None


def _number(kind: str, anatomy: Anatomy) -> int:
    """How many components of a kind a layer has."""
    if kind == "group":
        return anatomy.kv_heads if anatomy.kv_heads < anatomy.heads else 0
    return anatomy.kv_heads if kind == "key-value" else anatomy.heads


def _pieces(tensor: str, anatomy: Anatomy) -> int:
    """Into how many slices a tensor is cut; 1 for a tensor that belongs to no head."""
    if axis_of_heads(tensor) is None:
        return 1
    return anatomy.kv_heads if place(tensor).module in ("k_proj", "v_proj") else anatomy.heads


def _taken(given: Given, chosen: Mapping[str, Collection[int]]) -> Split:
    """The slices with the chosen indices, by tensor, and all others; a tensor that stays whole is the same object."""
    import torch

    from dwatlas.delta.slices import restricted

    keep, drop = {}, {}
    for name, matrix in given.delta.items():
        own, pieces = chosen.get(name, ()), _pieces(name, given.anatomy)
        if len(own) in (0, pieces):
            (keep if own else drop)[name] = matrix
            continue
        heads = torch.zeros(pieces, dtype=torch.bool)
        heads[list(own)] = True
        inside = heads.repeat_interleave(given.anatomy.head_dim)
        axis = axis_of_heads(name)
        keep[name], drop[name] = restricted(matrix, axis, inside), restricted(matrix, axis, ~inside)
    return Split(keep, drop)
