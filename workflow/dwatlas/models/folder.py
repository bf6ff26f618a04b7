"""A model's folder and its manifest: ``model.json`` lists every file with its hash and says where they are.

The manifest is small, so Snakemake compares it by content: a model made again with the same bytes reruns nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from dwatlas.errors import UserError
from dwatlas.files import read_json, write_json, writing
from dwatlas.provenance import file_sha256

MANIFEST = "model.json"
WEIGHTS = ".safetensors"


def save_model(folder: Path, model, tokenizer) -> None:
    """Save a model and its tokenizer in Hugging Face layout, safetensors only, each file whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder, prefix="."))
    try:
        with writing(folder, made):
            model.save_pretrained(made)
            tokenizer.save_pretrained(made)
        for file in made.iterdir():
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(made)


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
    hashes = {name: file_sha256(folder / name) for name in names}
    write_json(path, {"folder": folder.as_posix(), "files": hashes}, provenance)


def model_folder(manifest: str | Path) -> Path:
    """The folder that a manifest speaks of; ``UserError`` when one of its files is gone."""
    content = read_json(manifest)
    folder = Path(content["folder"])
    gone = [name for name in content["files"] if not (folder / name).is_file()]
    if gone:
        raise UserError(f"{folder / gone[0]}: no such file; delete {manifest} and run again")
    return folder


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)
