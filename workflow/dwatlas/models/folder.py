"""A model's folder and its manifest: ``model.json`` lists every file with its hash and says where they are.

The manifest is small, so Snakemake compares it by content: a model made again with the same bytes reruns nothing.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from dwatlas.errors import UserError
from dwatlas.files import canonical_json, write_text

MANIFEST = "model.json"
WEIGHTS = ".safetensors"


def save_model(folder: Path, model, tokenizer) -> None:
    """Save a model and its tokenizer in Hugging Face layout, safetensors only."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_manifest(path: str | Path, folder: Path, provenance: dict) -> None:
    """Hash every file of a model folder; ``UserError`` when it lacks a config, weights or a tokenizer."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not _hidden(file, folder))
    names = [file.relative_to(folder).as_posix() for file in files if file.name != MANIFEST]
    if "config.json" not in names:
        raise UserError(f"{folder}: has no config.json; give a model in Hugging Face layout")
    if not any(name.endswith(WEIGHTS) for name in names):
        raise UserError(f"{folder}: has no {WEIGHTS} file; pickled weights are not loaded")
    if not any(name.startswith("tokenizer") for name in names):
        raise UserError(f"{folder}: has no tokenizer files")
    hashes = {name: _sha256(folder / name) for name in names}
    write_text(path, canonical_json({"folder": folder.as_posix(), "files": hashes, "provenance": provenance}) + "\n")


def model_folder(manifest: str | Path) -> Path:
    """The folder that a manifest speaks of; ``UserError`` when one of its files is gone."""
    content = json.loads(Path(manifest).read_text())
    folder = Path(content["folder"])
    gone = [name for name in content["files"] if not (folder / name).is_file()]
    if gone:
        raise UserError(f"{folder / gone[0]}: no such file; delete {manifest} and run again")
    return folder


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _sha256(path: Path) -> str:
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
