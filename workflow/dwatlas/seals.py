"""Seals: a file's own sha256, kept in its own metadata, so that any artefact can be checked by itself.

An artefact is written with a seal of zeros inside its provenance; its sha256 is then taken and put in place of the
zeros. To check it, the same sha256 is taken with the seal read as zeros. In a PNG, the checksum of the chunk that
holds the seal depends on the seal, so it is read as zeros too.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

BLANK = "0" * 64
BROKEN = "is not what its seal says"
_PLACE = re.compile(rb'seal\\?":\\?"([0-9a-f]{64})\\?"')
"""In JSON, or in JSON that is a string of another JSON (safetensors)."""
_PNG = b"\x89PNG\r\n\x1a\n"
_STEP = 2**20


def seal(path: str | Path) -> None:
    """Put the sha256 of a file that was written with a blank seal in the blank's place.

    Raises ``ValueError`` unless exactly one blank seal is in the file.
    """
    with open(path, "r+b") as opened, mmap.mmap(opened.fileno(), 0) as content:
        places = [match.start(1) for match in _PLACE.finditer(content) if match[1] == BLANK.encode()]
        if len(places) != 1:
            raise ValueError(f"{path}: {len(places)} blank seals, one is needed")
        (place,) = places
        chunk = _png_chunk(content, place)
        content[place : place + len(BLANK)] = _digest(content, _masked(place, chunk)).encode()
        if chunk:
            start, end = chunk
            content[end : end + 4] = zlib.crc32(content[start:end]).to_bytes(4, "big")


def fault(path: str | Path) -> str | None:
    """What is wrong with a file's seal: None when it is right, else a few words."""
    if not os.path.getsize(path):
        return "is empty"
    with open(path, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        seals = list(_PLACE.finditer(content))
        if not seals:
            return "has no seal"
        place = seals[-1].start(1)
        chunk = _png_chunk(content, place)
        if chunk and zlib.crc32(content[chunk[0] : chunk[1]]).to_bytes(4, "big") != content[chunk[1] : chunk[1] + 4]:
            return BROKEN
        right = _digest(content, _masked(place, chunk)) == seals[-1][1].decode()
        return None if right else BROKEN


def _masked(place: int, chunk: tuple[int, int] | None) -> list[tuple[int, int]]:
    """Where (start, length) bytes are read as zeros."""
    return [(place, len(BLANK)), *([(chunk[1], 4)] if chunk else [])]


def _digest(content: mmap.mmap, masked: list[tuple[int, int]]) -> str:
    whole, at = hashlib.sha256(), 0
    for start, length in masked:
        for piece in _pieces(content, at, start):
            whole.update(piece)
        whole.update(b"0" * length)
        at = start + length
    for piece in _pieces(content, at, len(content)):
        whole.update(piece)
    return whole.hexdigest()


def _pieces(content: mmap.mmap, start: int, end: int) -> Iterator[bytes]:
    return (content[at : min(at + _STEP, end)] for at in range(start, end, _STEP))


def _png_chunk(content: mmap.mmap, place: int) -> tuple[int, int] | None:
    """Start and end of what the checksum of the chunk around ``place`` covers (type and data); None when no PNG."""
    if content[: len(_PNG)] != _PNG:
        return None
    at = len(_PNG)
    while at + 12 <= len(content):
        start, end = at + 4, at + 8 + int.from_bytes(content[at : at + 4], "big")
        if start <= place < end:
            return start, end
        at = end + 4
    return None
