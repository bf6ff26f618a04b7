"""Fixtures that several files use."""

import copy

import pytest
import yaml
from snakemake.utils import update_config
from trial import CATALOGUE, STUDY

from dwatlas.study import Plan


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Makes the plan of the trial study with changes merged over it as Snakemake merges, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "catalogue"
    folder.mkdir()
    (folder / "all.yaml").write_text(yaml.safe_dump(CATALOGUE))

    def make(*changes):
        config = copy.deepcopy(STUDY)
        for change in changes:
            update_config(config, copy.deepcopy(change))
        return Plan(config, folder)

    return make
