"""Edits of a finished study: each is a function of the folder that holds its project and its results."""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import yaml
from small import ADAPTER
from snakemake.utils import update_config

from copies import PARTS, copy_project

Edit = Callable[[Path], None]
LIBRARY = "workflow/dwatlas"
NEW_TORCH = "9.9.9"


def study(**changes: object) -> Edit:
    """Merge changes into the study's own file."""
    return lambda folder: _merge(folder / "study.yaml", changes)


def own(section: str, name: str, **options: object) -> Edit:
    """Set options of an entry of the study's own catalogue."""
    return study(catalogue={section: {name: options}})


def shared(section: str, name: str, **options: object) -> Edit:
    """Set options of an entry of the shared catalogue."""
    return lambda folder: _merge(folder / f"config/catalogue/{section}.yaml", {section: {name: options}})


def each(*edits: Edit) -> Edit:
    """Several edits, one after the other."""

    def edit(folder: Path) -> None:
        for one in edits:
            one(folder)

    return edit


def add_adapter(folder: Path) -> None:
    """Add an adapter to the study and its catalogue."""
    each(own("adapters", "lora-other", **ADAPTER), study(adapters=["lora-small", "lora-other"]))(folder)


def swap_personas(folder: Path) -> None:
    """Give each pole the other's personas."""
    path = folder / "config/catalogue/behaviours.yaml"
    content = yaml.safe_load(path.read_text())
    personas = content["behaviours"]["agreement"]["personas"]
    personas["pos"], personas["neg"] = personas["neg"], personas["pos"]
    path.write_text(yaml.safe_dump(content))


def reorder_keys(folder: Path) -> None:
    """Write every mapping of the configuration the other way round."""
    for path in (folder / "study.yaml", *(folder / "config").rglob("*.yaml")):
        path.write_text(yaml.safe_dump(_backwards(yaml.safe_load(path.read_text())), sort_keys=False))


def code(module: str, function: str) -> Edit:
    """Change the syntax of a function or method of the library, and nothing that it does."""

    def edit(folder: Path) -> None:
        path = folder / LIBRARY / module
        text = path.read_text()
        defined = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
        (last,) = [node.body[-1] for node in defined if node.name == function]
        lines = text.splitlines(keepends=True)
        lines.insert(last.lineno - 1, " " * last.col_offset + "pass\n")
        path.write_text("".join(lines))

    return edit


def replace(path: str, old: str, new: str) -> Edit:
    """Replace text in a file of the project; it must be there."""

    def edit(folder: Path) -> None:
        text = (folder / path).read_text()
        assert old in text, f"{path} has no {old!r}"
        (folder / path).write_text(text.replace(old, new, 1))

    return edit


def comment_everywhere(folder: Path) -> None:
    """Add a comment and a blank line to every module of the library, and words to its first docstring."""
    for path in (folder / LIBRARY).rglob("*.py"):
        text = path.read_text().replace('"""', '"""Edited. ', 1) if path.stat().st_size else '"""Empty."""\n'
        path.write_text(f"# a comment\n\n{text}")


def touch(pattern: str) -> Edit:
    """Give every file that matches a new time, each a later one than the file before it, the last by name first."""

    def edit(folder: Path) -> None:
        files = sorted((path for path in folder.glob(pattern) if path.is_file()), reverse=True)
        assert files
        newest = max(path.stat().st_mtime for path in (folder / "results").rglob("*"))
        for seconds, path in enumerate(files, start=1):
            os.utime(path, (newest + seconds, newest + seconds))

    return edit


def clone_afresh(folder: Path) -> None:
    """All sources as a new clone has them, beside the old results and without Snakemake's records."""
    forget_records(folder)
    for part in PARTS:
        shutil.rmtree(folder / part) if (folder / part).is_dir() else (folder / part).unlink()
    copy_project(folder)


def forget_records(folder: Path) -> None:
    """Delete ``.snakemake``."""
    shutil.rmtree(folder / ".snakemake")


def upgrade_torch(folder: Path) -> None:
    """Let Python find another version of torch's metadata first, as a job that starts in the folder does."""
    about = folder / f"torch-{NEW_TORCH}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {NEW_TORCH}\n")


def _merge(path: Path, changes: dict) -> None:
    content = yaml.safe_load(path.read_text())
    update_config(content, changes)
    path.write_text(yaml.safe_dump(content))


def _backwards(value: object) -> object:
    return {key: _backwards(inner) for key, inner in reversed(value.items())} if isinstance(value, dict) else value
