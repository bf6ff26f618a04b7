"""Read and check a study's configuration: types, names, cross-references. Every fault is one line with its key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from dwatlas.config.schema import BuiltIn, Catalogue, FileQuestions, HubModel, LocalModel, Study
from dwatlas.errors import UserError
from dwatlas.fingerprint import PLUGINS
from dwatlas.models.anatomy import Anatomy
from dwatlas.registry import kinds

_Model = TypeVar("_Model", bound=BaseModel)
_TAGS = {"built-in", "local", "hub", "world", "file"} | {kind for folder in PLUGINS.values() for kind in kinds(folder)}
"""Discriminator values, which Pydantic puts into the path of a fault."""

SECTIONS = tuple(Catalogue.model_fields)


class Resolved(BaseModel):
    """A study with the catalogue entries that its names stand for."""

    study: Study
    catalogue: Catalogue
    anatomies: dict[str, Anatomy]


def load_study(config: Mapping, folder: Path) -> Resolved:
    """The study of a merged Snakemake config and the catalogue in ``folder``; ``UserError`` for the first fault."""
    study = _validated(Study, dict(config), "config")
    catalogue = _with_own(load_catalogue(folder), study.catalogue)
    for section in SECTIONS:
        known = getattr(catalogue, section)
        for name in getattr(study, section):
            if name not in known:
                raise UserError(f"{section}: the catalogue has no {name!r}; there are {', '.join(sorted(known))}")
    chosen = Catalogue(
        **{section: {name: getattr(catalogue, section)[name] for name in getattr(study, section)} for section in SECTIONS}
    )
    anatomies = {name: _anatomy(name, model) for name, model in chosen.models.items()}
    _check(chosen)
    return Resolved(study=study, catalogue=chosen, anatomies=anatomies)


def load_catalogue(folder: Path) -> Catalogue:
    """All catalogue files of a folder as one catalogue; a name may be given once only."""
    merged: dict[str, dict] = {section: {} for section in SECTIONS}
    for path in sorted(folder.glob("*.yaml")):
        content = _read_yaml(path)
        _validated(Catalogue, content, path.as_posix())
        for section, entries in content.items():
            if twice := sorted(set(entries) & set(merged[section])):
                raise UserError(f"{path}: {section}.{twice[0]} is in another catalogue file too; name it once")
            merged[section] |= entries
    return Catalogue(**merged)


def _with_own(shared: Catalogue, own: Catalogue) -> Catalogue:
    merged = {}
    for section in SECTIONS:
        entries, added = getattr(shared, section), getattr(own, section)
        for name in set(entries) & set(added):
            if entries[name] != added[name]:
                raise UserError(
                    f"catalogue.{section}.{name}: the shared catalogue has another entry of this name; "
                    "runs are shared by name, so choose a new one"
                )
        merged[section] = entries | added
    return Catalogue(**merged)


def _check(chosen: Catalogue) -> None:
    if not any(entry.is_effect for entry in chosen.evals.values()):
        raise UserError("evals: none is a yes-or-no eval; ablations need one to be scored on")
    for name, entry in chosen.evals.items():
        for file in entry.files():
            _exists(file, f"evals.{name}.file")
    for name, behaviour in chosen.behaviours.items():
        if isinstance(behaviour.questions, FileQuestions):
            _exists(Path(behaviour.questions.file), f"behaviours.{name}.questions.file")


def _anatomy(name: str, model: BuiltIn | LocalModel | HubModel) -> Anatomy:
    if not isinstance(model, LocalModel):
        return model.anatomy
    path = Path(model.path) / "config.json"
    if not Path(model.path).is_dir():
        raise UserError(f"models.{name}.path: {model.path} is no folder; give a model in Hugging Face layout")
    _exists(path, f"models.{name}.path")
    return Anatomy.from_config(json.loads(path.read_text()), path.as_posix())


def _exists(path: Path, key: str) -> None:
    if not path.is_file():
        raise UserError(f"{key}: {path} does not exist")


def _read_yaml(path: Path) -> dict:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as fault:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(fault).split())}") from fault


def _validated(model: type[_Model], content: dict, where: str) -> _Model:
    try:
        return model(**content)
    except ValidationError as fault:
        first, others = fault.errors()[0], len(fault.errors()) - 1
        key = ".".join(str(part) for part in first["loc"] if part not in _TAGS)
        raise UserError(f"{where}: {key + ': ' if key else ''}{_in_words(first)}{_more(others)}") from fault


def _in_words(fault: dict) -> str:
    if fault["type"] == "extra_forbidden":
        return "unknown key; config/README.md lists the keys"
    if fault["type"] == "missing":
        return "is missing"
    text = fault["msg"].removeprefix("Value error, ")
    return text if fault["type"] == "value_error" else f"{text}, given {fault['input']!r:.80}"


def _more(others: int) -> str:
    return f" (and {others} more fault{'s' if others > 1 else ''})" if others else ""
