"""sha256 of files, kept for large ones: an unchanged file (size, time, inode) is read once."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from dwatlas.provenance import file_sha256

KEPT = Path("results/.hashes.json")
LARGE = 2**20
"""Bytes from which a hash is kept."""


class Hashes:
    """sha256 by path; ``save`` keeps those of large files for the next time."""

    def __init__(self, kept: Path = KEPT):
        self._file = kept
        self._kept: dict[str, list] = {}
        self._known: dict[str, str] = {}
        with suppress(OSError, ValueError):
            self._kept = json.loads(kept.read_text())
        self._changed = False

    def of(self, path: str) -> str | None:
        """The file's sha256; None when there is no such file."""
        if path not in self._known:
            try:
                self._known[path] = self._look_up(path)
            except OSError:
                return None
        return self._known[path]

    def _look_up(self, path: str) -> str:
        found = os.stat(path)
        if found.st_size < LARGE:
            return file_sha256(path)
        mark = [found.st_size, found.st_mtime_ns, found.st_ino]
        *before, sha256 = self._kept.get(path, [None])
        if before != mark:
            sha256 = file_sha256(path)
            self._kept[path] = [*mark, sha256]
            self._changed = True
        return sha256

    def save(self) -> None:
        """Keep what was hashed, where the results may be written to."""
        if self._changed:
            from dwatlas.files import write_text

            with suppress(OSError):
                write_text(self._file, json.dumps(self._kept))
