"""Provenance: what made an artefact, as JSON in the artefact's own metadata.

``job`` and ``spec`` (its slice of the config), ``code`` (the fingerprint), ``inputs`` (name → path → sha256),
``versions`` of libraries, ``made_with`` (the versions of everything it was made from, itself included), and ``seal``.
Read without torch, pandas or Snakemake.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dwatlas.errors import UserError
from dwatlas.seals import BLANK

METADATA_KEY = "dwatlas"


def canonical_json(value: object, ascii_only: bool = False) -> str:
    """JSON with sorted keys and no spaces: equal values give equal strings."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=ascii_only, allow_nan=False)


def blank_sealed(provenance: Mapping[str, object] | None, ascii_only: bool = True) -> str:
    """Provenance as it is written, before the file is sealed."""
    return canonical_json({**(provenance or {}), "seal": BLANK}, ascii_only)


def read_provenance(path: str | Path) -> dict:
    """The provenance stored in an artefact, without its seal (empty where there is none).

    Raises ``UserError`` when the file is missing or damaged.
    """
    path = Path(path)
    if path.suffix not in _READERS:
        return {}
    kind = {".parquet": "Parquet"}.get(path.suffix, path.suffix[1:])
    with readable(path, kind):
        content = json.loads(_READERS[path.suffix](path) or "{}")
    content.pop("seal", None)
    return content


def file_sha256(path: str | Path) -> str:
    """sha256 of a file's bytes."""
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@contextmanager
def readable(path: str | Path, kind: str) -> Iterator[None]:
    """Turn what libraries say of a missing or damaged file into one line."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; run the rule that makes it")
    try:
        yield
    except Exception as fault:
        if not _is_damage(fault):
            raise
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise UserError(f"{path}: not a whole {kind} file ({reason}); delete it and run again") from fault


def _is_damage(fault: Exception) -> bool:
    """Whether a reader's fault is about the file: errors of pyarrow and safetensors are known by their module."""
    about_files = (OSError, ValueError, LookupError)
    return isinstance(fault, about_files) or type(fault).__module__.split(".")[0] in {"pyarrow", "safetensors"}


def _from_parquet(path: Path) -> bytes:
    import pyarrow.parquet as pq

    return (pq.read_metadata(path).metadata or {}).get(METADATA_KEY.encode(), b"")


def _from_safetensors(path: Path) -> str:
    with open(path, "rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 0 < length <= path.stat().st_size - 8:
            raise ValueError("header too long")
        header = json.loads(opened.read(length))
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    if path.stat().st_size != 8 + length + max(ends, default=0):
        raise ValueError("its length is not what its header says")
    return header.get("__metadata__", {}).get(METADATA_KEY, "")


def _from_json(path: Path) -> str:
    content = json.loads(path.read_text(encoding="utf-8"))
    return json.dumps(content.get("provenance", {})) if isinstance(content, dict) else ""


def _from_png(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.endswith(b"IEND\xaeB`\x82"):
        raise ValueError("it ends too early")
    key = b"tEXtKeywords\0"
    at = content.find(key)
    end = at + len(b"tEXt") + int.from_bytes(content[at - 4 : at], "big")
    return content[at + len(key) : end] if at > 0 else b""


def _from_svg(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if not text.rstrip().endswith("</svg>"):
        raise ValueError("it ends too early")
    found = re.search(r"<rdf:li>(\{.*?\})</rdf:li>", text, re.DOTALL)
    return html.unescape(found[1]) if found else ""


def _from_pdf(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.rstrip().endswith(b"%%EOF"):
        raise ValueError("it ends too early")
    found = re.search(rb"/Keywords \(((?:[^\\)]|\\.)*)\)", content, re.DOTALL)
    return re.sub(rb"\\(.)", rb"\1", found[1]) if found else b""


def _from_html(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if not text.rstrip().endswith("</html>"):
        raise ValueError("it ends too early")
    found = re.search(f"<meta name=\"{METADATA_KEY}\" content='([^']*)'>", text)
    return html.unescape(found[1]) if found else ""


_READERS = {
    ".parquet": _from_parquet,
    ".safetensors": _from_safetensors,
    ".json": _from_json,
    ".png": _from_png,
    ".svg": _from_svg,
    ".pdf": _from_pdf,
    ".html": _from_html,
}
