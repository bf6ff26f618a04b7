"""One small real study, run once on one core and once on two."""

from __future__ import annotations

import shutil

import pytest
import yaml
from small import STUDY, Run, write_study
from snakemake.utils import update_config

from copies import copy_project, start
from dwatlas.study import Plan


@pytest.fixture(scope="session")
def both_runs(tmp_path_factory) -> dict[int, Run]:
    """Number of cores → the same study run on as many, at the same time in two copies."""
    runs = {}
    for cores in (1, 2):
        folder = copy_project(tmp_path_factory.mktemp(f"cores-{cores}"))
        runs[cores] = Run(folder=folder, arguments=write_study(folder, STUDY))
    processes = {cores: start(run.folder, "--cores", cores, *run.arguments) for cores, run in runs.items()}
    for cores, process in processes.items():
        runs[cores].printed = process.communicate()[0]
        assert process.returncode == 0, runs[cores].printed
    return runs


@pytest.fixture(scope="session")
def finished(both_runs) -> Run:
    """The study run on two cores; tests leave it as it is."""
    return both_runs[2]


@pytest.fixture
def copied(finished, tmp_path, monkeypatch) -> Run:
    """A copy of the finished study's results to damage, in the working folder."""
    for part in ("config", "results"):
        shutil.copytree(finished.folder / part, tmp_path / part)
    monkeypatch.chdir(tmp_path)
    return Run(folder=tmp_path, arguments=finished.arguments)


@pytest.fixture
def plan(copied):
    """Makes the plan of the small study with changes merged over it."""

    def make(**changes) -> Plan:
        config = yaml.safe_load((copied.folder / "config/config.yaml").read_text())
        for layer in (STUDY, changes):
            update_config(config, layer)
        return Plan(config, copied.folder / "config/catalogue")

    return make
