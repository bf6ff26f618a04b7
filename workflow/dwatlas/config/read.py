"""Read a configuration file, YAML or JSON. A key given twice is a fault; YAML would keep the last in silence."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from dwatlas.errors import UserError


def read_config(path: str | Path) -> dict:
    """The keys and values of a configuration file, none when it is empty.

    Raises ``UserError`` with the file, and the line where there is one, when it cannot be read, names a key twice or
    holds something else.
    """
    content = _parsed(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: give keys and values, given {content!r:.80}")
    return content


def _parsed(path: str | Path) -> object:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as fault:
        raise UserError(f"{path}: cannot be read ({fault.strerror}); give a YAML file") from fault
    except UnicodeDecodeError as fault:
        raise UserError(f"{path}: not valid YAML: byte {fault.start + 1} is not UTF-8; save it as UTF-8") from fault
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _each_once(path, pairs))
    except ValueError:
        return _from_yaml(path, text)


def _each_once(path: str | Path, pairs: list[tuple[str, object]]) -> dict:
    content = dict(pairs)
    keys = [key for key, _ in pairs]
    if twice := [key for key in content if keys.count(key) > 1]:
        raise UserError(f"{path}: {twice[0]}: is given twice; keep one")
    return content


def _from_yaml(path: str | Path, text: str) -> object:
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return {}
        _refuse_twice(path, root)
        return loader.construct_document(root)
    except yaml.MarkedYAMLError as fault:
        where = f"line {fault.problem_mark.line + 1}: " if fault.problem_mark else ""
        said = " ".join(", ".join(part for part in (fault.context, fault.problem) if part).split())
        remedy = "; indent with spaces" if "\\t" in said else ""
        raise UserError(f"{path}: not valid YAML: {where}{said}{remedy}") from fault
    except (yaml.YAMLError, ValueError) as fault:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(fault).split())}") from fault


def _refuse_twice(path: str | Path, root: yaml.Node) -> None:
    """Look at every mapping once; anchors may make them meet again, or hold themselves."""
    waiting, met = [((), root)], set()
    while waiting:
        above, node = waiting.pop()
        if id(node) in met or isinstance(node, yaml.ScalarNode):
            continue
        met.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += [((*above, str(index)), part) for index, part in enumerate(node.value)]
            continue
        first: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = (*above, " ".join(str(key.value).split()))
            earlier = first.setdefault(str(key.value), key)
            if earlier is not key:
                raise UserError(
                    f"{path}: line {key.start_mark.line + 1}: {'.'.join(name)} is given twice, first in line "
                    f"{earlier.start_mark.line + 1}; keep one"
                )
            waiting.append((name, value))
