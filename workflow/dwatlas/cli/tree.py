"""The files of a results tree, and what says what each of them should be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from dwatlas.errors import UserError
from dwatlas.provenance import read_provenance

RESULTS = Path("results")


def files(root: Path) -> list[Path]:
    """Every file of a results tree but logs, benchmarks and hidden ones, sorted."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; call dwatlas in the workflow's folder")
    return [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file() and not is_log(path, root) and not is_hidden(path, root)
    ]


def is_log(path: Path, root: Path) -> bool:
    """Whether it is a log or a benchmark."""
    return path.relative_to(root).parts[0] == "logs"


def is_hidden(path: Path, root: Path) -> bool:
    """Whether it, or a folder around it, is hidden: a writer's temporary file, or a cache."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def vouched(paths: list[Path]) -> dict[Path, str]:
    """Files whose sha256 another file's metadata state: those of a model, a table's texts, a figure's CSV, an
    adapter's config, a component's scores."""
    found: dict[Path, str] = {}
    for path in paths:
        found |= dict(_vouches(path))
    return found


def _vouches(path: Path) -> Iterator[tuple[Path, str]]:
    if path.suffix not in (".json", ".png", ".safetensors"):
        return
    try:
        provenance = read_provenance(path)
        content = json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" and provenance else {}
    except (UserError, ValueError):
        return
    for name, sha256 in provenance.get("beside", {}).items():
        yield path.with_name(name), sha256
    for name, sha256 in content.get("components", {}).items():
        yield path.with_name(f"{name}.parquet"), sha256
    folder = Path(content["folder"]) if "folder" in content else path.parent
    for name, sha256 in content.get("files", {}).items():
        yield folder / name, sha256
