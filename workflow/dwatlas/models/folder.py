"""A model's folder and its manifest: ``model.json`` lists every file with its hash and says where they are.

The manifest is small, so Snakemake compares it by content: a model made again with the same bytes reruns nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from dwatlas.errors import UserError
from dwatlas.files import write_json, writing
from dwatlas.provenance import file_sha256

MANIFEST = "model.json"
WEIGHTS = ".safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")


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


def check_folder(folder: Path) -> None:
    """``UserError`` when a model folder lacks a config, weights or a tokenizer; loaders do not look below it."""
    if not os.path.isdir(folder):
        raise UserError(f"{folder}: is no folder; give a model in Hugging Face layout")
    sizes = {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}
    if "config.json" not in sizes:
        raise UserError(f"{folder}: has no config.json; give a model in Hugging Face layout")
    if not any(name.endswith(WEIGHTS) for name in sizes):
        pickled = sorted(name for name in sizes if name.endswith(PICKLES))
        found = f", only {pickled[0]}, and pickles are not loaded" if pickled else ""
        raise UserError(f"{folder}: has no {WEIGHTS} file{found}; save the weights as safetensors")
    if not any(name.startswith("tokenizer") for name in sizes):
        raise UserError(f"{folder}: has no tokenizer file, such as tokenizer.json; save the tokenizer there too")
    if empty := sorted(name for name, size in sizes.items() if name.endswith((WEIGHTS, ".json")) and not size):
        raise UserError(f"{folder}: {empty[0]} is empty; copy it again")


def write_manifest(path: str | Path, folder: Path, provenance: dict) -> None:
    """Hash every file of a model folder; ``UserError`` when it lacks a config, weights or a tokenizer."""
    check_folder(folder)
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not _hidden(file, folder))
    names = [file.relative_to(folder).as_posix() for file in files if file.name != MANIFEST]
    hashes = {name: file_sha256(folder / name) for name in names}
    write_json(path, {"folder": folder.as_posix(), "files": hashes}, provenance)


def model_folder(manifest: str | Path) -> Path:
    """The folder that a manifest speaks of; ``UserError`` when one of its files is gone."""
    try:
        content = json.loads(Path(manifest).read_text(encoding="utf-8"))
        folder, files = Path(content["folder"]), content["files"]
    except OSError as fault:
        raise UserError(f"{manifest}: cannot be read ({fault.strerror}); run the rule that makes it") from fault
    except (ValueError, KeyError, TypeError) as fault:
        raise UserError(f"{manifest}: not a whole manifest; delete it and run again") from fault
    gone = [name for name in files if not (folder / name).is_file()]
    if gone:
        raise UserError(f"{folder / gone[0]}: no such file; delete {manifest} and run again")
    return folder


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)
