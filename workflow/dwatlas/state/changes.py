"""What differs between what made an artefact and what would make it now, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dwatlas.fingerprint import MANIFEST, PACKAGE, job_code

_ENTRIES = {
    "adapter": ("adapters", "adapter"),
    "behaviour": ("behaviours", "behaviour"),
    "eval": ("evals", "eval"),
    "lens": ("lenses", "lens"),
    "model": ("models", "model"),
    "runtime": ("models", "model"),
}
"""Part of a spec → the catalogue's section and the wildcard that names the entry."""
_ABSENT = object()


@dataclass(frozen=True)
class Change:
    """One difference. ``kind`` is config, code, input or file; ``what`` names the field, function or file."""

    kind: str
    what: str
    old: object = None
    new: object = None

    def __str__(self) -> str:
        if self.kind != "config":
            return self.what
        if isinstance(self.old, list) and isinstance(self.new, list):
            return f"{self.what}: {_list_text(self.old, self.new)}"
        return f"{self.what}: {_text(self.old)} → {_text(self.new)}"


def spec_changes(old: Mapping, new: Mapping) -> list[Change]:
    """Fields of the config that differ, under the names that they have there ("adapters.lora-r8.r: 8 → 16")."""
    cell = new.get("cell", {})
    return [
        Change("config", _config_name(path, cell), _plain(before), _plain(after))
        for path, before, after in _differences(old, new, ())
    ]


@cache
def _code_of(code: str) -> dict[str, dict[str, str]] | None:
    """What a fingerprint stood for; None when nothing says it."""
    try:
        return json.loads(Path(MANIFEST.format(code=code)).read_text(encoding="utf-8"))["modules"]
    except (OSError, ValueError, KeyError):
        return None


def code_changes(code: str, job: str, spec: dict) -> list[Change]:
    """Functions and classes that differ from those that the fingerprint ``code`` stood for."""
    old = _code_of(code)
    if old is None:
        return [
            Change("code", f"the code of {job} changed ({MANIFEST.format(code=code)}, which said what it was, is gone)")
        ]
    new = job_code(job, spec)
    found = []
    for module in sorted(old.keys() | new.keys()):
        name = module.removeprefix(f"{PACKAGE}.").replace(".", "/") + ".py"
        if module not in old or module not in new:
            found.append(Change("code", f"{name} is {'used' if module in new else 'no longer used'}"))
            continue
        before, after = old[module], new[module]
        for part in sorted(before.keys() | after.keys()):
            if before.get(part) != after.get(part):
                how = "added" if part not in before else "removed" if part not in after else "changed"
                found.append(Change("code", f"{name}: {part or 'its imports'} {how}"))
    return found or [Change("code", f"the code of {job} was arranged differently")]


def _differences(old: object, new: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object, object]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key, _ABSENT), new.get(key, _ABSENT), (*path, key))
    elif old != new:
        yield path, old, new


def _config_name(path: tuple[str, ...], cell: Mapping) -> str:
    section, wildcard = _ENTRIES.get(path[0], (None, None))
    if section and wildcard in cell:
        return ".".join([section, str(cell[wildcard]), *path[1:]])
    return ".".join({"draws": "control_draws"}.get(part, part) for part in path if part)


def _plain(value: object) -> object:
    return None if value is _ABSENT else value


def _list_text(old: list, new: list) -> str:
    """What was added to a list and removed from it."""
    told = [
        f"{how} {', '.join(map(_text, some))}"
        for how, some in (("added", [x for x in new if x not in old]), ("removed", [x for x in old if x not in new]))
        if some
    ]
    return "; ".join(told) or "another order"


def _text(value: object) -> str:
    text = "not set" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
