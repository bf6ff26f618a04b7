"""Read and check a study's configuration: types, names, cross-references. Every fault is one line with its key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from dwatlas.config.schema import NAME_PATTERN, BuiltIn, Catalogue, FileQuestions, HubModel, LocalModel, Study
from dwatlas.errors import UserError
from dwatlas.models.anatomy import Anatomy

_Model = TypeVar("_Model", bound=BaseModel)

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
        **{
            section: {name: getattr(catalogue, section)[name] for name in getattr(study, section)}
            for section in SECTIONS
        }
    )
    anatomies = {name: _anatomy(name, model) for name, model in chosen.models.items()}
    _check(chosen)
    return Resolved(study=study, catalogue=chosen, anatomies=anatomies)


def load_catalogue(folder: Path) -> Catalogue:
    """All catalogue files of a folder as one catalogue; a name may be given once only."""
    merged: dict[str, dict] = {section: {} for section in SECTIONS}
    for path in sorted(folder.glob("*.yaml")):
        content = read_yaml(path)
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
        for name in sorted(set(entries) & set(added)):
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
    _one_world(chosen)


def _one_world(chosen: Catalogue) -> None:
    """Models, behaviours and evals that speak of the built-in world must speak of the same one."""
    speakers = {
        **{f"models.{name}": model for name, model in chosen.models.items()},
        **{f"behaviours.{name}.questions": behaviour.questions for name, behaviour in chosen.behaviours.items()},
        **{f"evals.{name}": entry for name, entry in chosen.evals.items()},
    }
    worlds = {key: entry.world_seed for key, entry in speakers.items() if hasattr(entry, "world_seed")}
    first = next(iter(worlds), None)
    for key, seed in worlds.items():
        if seed != worlds[first]:
            raise UserError(f"{key}.world_seed: is {seed}, {first} has {worlds[first]}; a study is about one world")


def _anatomy(name: str, model: BuiltIn | LocalModel | HubModel) -> Anatomy:
    if not isinstance(model, LocalModel):
        return model.anatomy
    path = Path(model.path) / "config.json"
    if not Path(model.path).is_dir():
        raise UserError(f"models.{name}.path: {model.path} is no folder; give a model in Hugging Face layout")
    _exists(path, f"models.{name}.path")
    try:
        sizes = Anatomy.from_config(json.loads(path.read_text(encoding="utf-8")), path.as_posix())
    except (ValueError, TypeError, AttributeError) as fault:
        raise UserError(f"models.{name}.path: {path} is not the config.json of a decoder") from fault
    return sizes.model_copy(update={"prefix": model.prefix})


def _exists(path: Path, key: str) -> None:
    if not path.is_file():
        raise UserError(f"{key}: {path} does not exist")


def read_yaml(path: Path) -> dict:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(fault).split())}") from fault


def _validated(model: type[_Model], content: dict, where: str) -> _Model:
    try:
        return model.model_validate(content)
    except ValidationError as fault:
        first, others = fault.errors()[0], len(fault.errors()) - 1
        key = _key(first["loc"], content)
        raise UserError(f"{where}: {key + ': ' if key else ''}{_in_words(first)}{_more(others)}") from fault


def _key(location: tuple[str | int, ...], value: object) -> str:
    """The dotted key of a fault. Pydantic's location also holds the kind of each entry, after the entry's name."""
    parts, kind_passed = [], False
    for part in location:
        if not kind_passed and isinstance(value, Mapping) and part == value.get("kind"):
            kind_passed = True
        elif part != "[key]":
            parts.append(" ".join(str(part).split()))
            kind_passed = False
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                value = None
    return ".".join(parts)


_WORDS = {
    "extra_forbidden": "unknown key; config/README.md lists the keys",
    "invalid_key": "a key must be text; put numbers and the words yes, no, on, off in quotes",
    "missing": "is missing",
    "tuple_type": "give a list",
    "union_tag_not_found": "kind: is missing",
}


def _in_words(fault: dict) -> str:
    if fault["type"] == "union_tag_invalid":
        return f"kind: there is no {fault['ctx']['tag']!r}; there are {fault['ctx']['expected_tags']}"
    if fault["type"] == "value_error":
        return fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "string_pattern_mismatch" and fault["ctx"]["pattern"] == NAME_PATTERN:
        return f"{fault['input']!r} is no name: letters, digits, '.', '_' and '-', a letter or digit first"
    return _WORDS.get(fault["type"]) or f"{fault['msg']}, given {fault['input']!r:.80}"


def _more(others: int) -> str:
    return f" (and {others} more fault{'s' if others > 1 else ''})" if others else ""
