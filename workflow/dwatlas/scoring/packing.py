"""Pack token sequences so that what they begin with alike is computed once.

What all rows begin with is the ``stem``: it is run once, and its keys and values are handed to every batch. Rows that
go on alike (the two actions of a dilemma) are packed into one sequence as a tree: each token is there once, sees only
its own ancestors and keeps the position that it has in its row. Sequences are sorted by length, padded on the right and
cut into batches such that padding costs least.

    rows  S a b c d     stem S     packed  a b c d e      d sees S a b c d
          S a b c e                                       e sees S a b c e
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

STEM = -1
LEAST_SHARED = 0.25
"""A row joins the sequence of the row before it when it shares at least this part of its tokens with it, …"""
LONGEST = 4
"""… and the sequence stays within this many times the longest row: attention costs the square of its length."""
COST_OF_BATCH = 128
"""How many tokens' worth of time a batch costs beside its tokens."""


@dataclass(frozen=True)
class Batch:
    """Packed sequences of similar length: n sequences of t tokens after a stem of p, with the rows that end in them.

    ``ids, positions`` [n, t]; ``seen`` [n, t, p + t]: which tokens of the stem and of the sequence a token attends to,
    and ``places`` [n, p + t]: the positions of those. ``asked`` [n, w]: tokens whose final hidden states are wanted.
    ``rows`` [m] are the rows' indices; row i's wanted states are those of ``asked[sequence[i], slots[i]]``, with
    ``slots`` [m, wanted].
    """

    ids: Tensor
    positions: Tensor
    seen: Tensor
    places: Tensor
    asked: Tensor
    rows: np.ndarray
    sequence: Tensor
    slots: Tensor


@dataclass(frozen=True)
class Packing:
    """All rows of an eval: their stem (ids [1, p], or ``None``) and the batches that follow it."""

    stem: Batch | None
    batches: list[Batch]

    def numbered(self) -> list[tuple[int, Batch]]:
        """The stem, where there is one, with the number ``STEM``, then the batches with theirs."""
        stem = [] if self.stem is None else [(STEM, self.stem)]
        return stem + list(enumerate(self.batches))

    @property
    def tokens(self) -> int:
        """Tokens that one pass runs, padding included."""
        return sum(batch.ids.numel() for _, batch in self.numbered())


def pack(
    sequences: list[list[int]], wanted: int, tokens_per_batch: int, device: torch.device, share: bool = True
) -> Packing:
    """Pack rows of token ids; the final states of each row's last ``wanted`` tokens are asked for.

    ``share=False`` gives every row a sequence of its own and no stem.
    """
    stem = _common(sequences, wanted) if share else []
    trees = _trees([row[len(stem) :] for row in sequences], LEAST_SHARED if share else np.inf)
    trees.sort(key=lambda tree: (len(tree.ids), tree.rows))
    cuts = _cuts([len(tree.ids) for tree in trees], tokens_per_batch)
    batches = [_batch(trees[first:end], len(stem), wanted, device) for first, end in pairwise(cuts)]
    return Packing(_stem(stem, device) if stem else None, batches)


@dataclass
class _Tree:
    """Rows packed into one sequence: tokens, their positions after the stem, each row's path through them."""

    ids: list[int]
    depth: list[int]
    ancestors: list[list[int]]
    rows: list[int]
    paths: list[list[int]]

    def add(self, row: int, tokens: list[int], shared: int) -> None:
        """Add a row whose first ``shared`` tokens are those of the row before it."""
        path = self.paths[-1][:shared] if shared else []
        for token in tokens[shared:]:
            path = [*path, len(self.ids)]
            self.ids.append(token)
            self.depth.append(len(path) - 1)
            self.ancestors.append(path)
        self.rows.append(row)
        self.paths.append(path)


def _common(sequences: list[list[int]], wanted: int) -> list[int]:
    """What all rows begin with, short of every row's wanted tokens."""
    first, last = min(sequences), max(sequences)
    longest = min(len(row) for row in sequences) - wanted
    return first[: max(min(_shared(first, last), longest), 0)]


def _shared(one: list[int], other: list[int]) -> int:
    """How many tokens two sequences begin with alike."""
    length = min(len(one), len(other))
    return next((index for index in range(length) if one[index] != other[index]), length)


def _trees(rows: list[list[int]], least: float) -> list[_Tree]:
    trees: list[_Tree] = []
    before: list[int] = []
    longest = max(map(len, rows))
    for index in sorted(range(len(rows)), key=lambda index: (rows[index], index)):
        shared = _shared(before, rows[index])
        room = LONGEST * longest - len(trees[-1].ids) if trees else 0
        if shared == 0 or shared < least * len(rows[index]) or len(rows[index]) - shared > room:
            trees.append(_Tree([], [], [], [], []))
            shared = 0
        trees[-1].add(index, rows[index], shared)
        before = rows[index]
    return trees


def _cuts(lengths: list[int], most: int) -> list[int]:
    """Where to cut ascending lengths into batches of at most ``most`` tokens such that they cost least."""
    costs, firsts = [0], [0]
    for end, longest in enumerate(lengths, start=1):
        least = max(end - max(most // longest, 1), 0)
        cost, first = min((costs[first] + (end - first) * longest, first) for first in range(least, end))
        costs.append(cost + COST_OF_BATCH)
        firsts.append(first)
    cuts = [len(lengths)]
    while cuts[-1]:
        cuts.append(firsts[cuts[-1]])
    return cuts[::-1]


def _batch(trees: list[_Tree], stem: int, wanted: int, device: torch.device) -> Batch:
    length = max(len(tree.ids) for tree in trees)
    ids, depth = np.zeros((2, len(trees), length), np.int64)
    seen = np.zeros((len(trees), length, stem + length), bool)
    seen[:, :, :stem] = True
    asked, ends = [], []
    for number, tree in enumerate(trees):
        size = len(tree.ids)
        ids[number, :size], depth[number, :size] = tree.ids, tree.depth
        for token, ancestors in enumerate(tree.ancestors):
            seen[number, token, [stem + ancestor for ancestor in ancestors]] = True
        padding = np.arange(size, length)
        seen[number, padding, stem + padding] = True
        paths = [([path[0]] * wanted + path)[-wanted:] for path in tree.paths]
        asked.append(sorted({token for path in paths for token in path}))
        ends += [(number, [asked[-1].index(token) for token in path]) for path in paths]
    width = max(map(len, asked))
    places = np.broadcast_to(np.arange(stem), (len(trees), stem))
    return Batch(
        ids=torch.from_numpy(ids).to(device),
        positions=torch.from_numpy(stem + depth).to(device),
        seen=torch.from_numpy(seen).to(device),
        places=torch.from_numpy(np.concatenate([places, stem + depth], axis=1)).to(device),
        asked=torch.tensor([tokens + tokens[:1] * (width - len(tokens)) for tokens in asked], device=device),
        rows=np.array([row for tree in trees for row in tree.rows]),
        sequence=torch.tensor([number for number, _ in ends], device=device),
        slots=torch.tensor([slots for _, slots in ends], device=device),
    )


def _stem(ids: list[int], device: torch.device) -> Batch:
    """The stem as a batch of one plain sequence that nothing is asked of."""
    tree = _Tree([], [], [], [], [])
    tree.add(0, ids, 0)
    return _batch([tree], 0, 1, device)
