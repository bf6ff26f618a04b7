"""The study that a command is about, put together as Snakemake does it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from dwatlas.config.read import read_config
from dwatlas.errors import UserError
from dwatlas.study import Plan

DEFAULT = Path("config/config.yaml")
CATALOGUE = Path(__file__).resolve().parents[3] / "config" / "catalogue"


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that choose a study, named as Snakemake's."""
    parser.add_argument("--configfile", nargs="+", default=[], type=Path, metavar="FILE", help="as for snakemake")
    parser.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="as for snakemake")


def chosen_plan(arguments: argparse.Namespace) -> Plan:
    """The plan of the study that the arguments choose."""
    return plan_of(arguments.configfile, arguments.config)


def study_arguments(arguments: argparse.Namespace) -> list[str]:
    """The same choice on a command line of Snakemake's."""
    chosen = []
    for name, values in (("--configfile", arguments.configfile), ("--config", arguments.config)):
        chosen += [name, *map(str, values)] if values else []
    return chosen


def plan_of(files: Iterable[Path], settings: Iterable[str] = ()) -> Plan:
    """The plan of the default study with config files, then single settings, merged over it."""
    config: dict = {}
    for file in (DEFAULT, *files):
        if not file.is_file():
            raise UserError(f"{file}: no such file; call dwatlas in the workflow's folder")
        _merge(config, read_config(file))
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"--config {setting}: give KEY=VALUE")
        _merge(config, {key: yaml.safe_load(value)})
    return Plan(config, CATALOGUE)


def _merge(config: dict, over: Mapping) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(config.get(key), dict):
            _merge(config[key], value)
        else:
            config[key] = value
