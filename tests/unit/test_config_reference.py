import json
import shutil
import subprocess
import sys

import jsonschema
import pytest
import yaml
from pydantic import BaseModel, Field

from dwatlas.config.reference import BEGIN, COMMAND, END, FOLDER, drifted, json_schema, key_reference, undescribed
from dwatlas.config.schema import Catalogue, Study


class Inner(BaseModel):
    """What is inside."""

    share: float = Field(0.5, gt=0, le=1, description="A share, ``x`` | ``y``.")


class Outer(BaseModel):
    """What is outside."""

    yes: tuple[int, ...] = Field(min_length=1, description="Some numbers.")
    inner: Inner = Inner()


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(FOLDER, tmp_path / "config")


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "dwatlas.config.reference", *map(str, arguments)],
        env={"PYTHONPATH": str(FOLDER.parent / "workflow")},
        capture_output=True,
        text=True,
    )


def study_file_schema():
    return json.loads((FOLDER / "schema.json").read_text("utf-8"))


def test_schemas_and_key_reference_are_up_to_date():
    assert drifted() == [], f"run {COMMAND}"


def test_every_key_has_a_description():
    assert undescribed(json_schema(Study)) == []


def test_a_key_without_description_is_found():
    class Bare(BaseModel):
        number: int

    assert undescribed({"$defs": {}, **json_schema(Bare)}) == ["Study.number"]


def test_a_table_shows_key_type_default_and_description():
    lines = key_reference(json_schema(Outer)).splitlines()
    assert lines[:3] == ["### study", "", "What is outside."]
    assert "| `'yes'` | list of whole numbers, at least one | required | Some numbers. |" in lines
    assert "| `inner` | mapping: [inner](#inner) | optional | What is inside. |" in lines
    assert "### inner" in lines
    assert "| `share` | number > 0 and ≤ 1 | `0.5` | A share, `x` \\| `y`. |" in lines


def test_every_link_in_the_key_reference_leads_to_a_table():
    text = key_reference(json_schema(Study))
    titles = [line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")]
    anchors = {"".join(c for c in title.lower() if c.isalnum() or c in " -_").replace(" ", "-") for title in titles}
    links = {part.partition(")")[0] for part in text.split("](#")[1:]}
    assert len(titles) == len(anchors)
    assert links
    assert links <= anchors


@pytest.mark.parametrize("name", ["README.md", "schema.json", "catalogue.schema.json"])
def test_check_fails_on_a_drifted_file_and_names_the_command(folder, name):
    text = (folder / name).read_text("utf-8")
    (folder / name).write_text(text.replace("control_draws", "draws").replace("Rank.", "Rang."), "utf-8")
    checked = command("--check", "--folder", folder)
    assert checked.returncode == 1
    assert checked.stderr == f"error: {folder / name}: out of date with the code; run {COMMAND}\n"


def test_writing_restores_what_is_generated_and_keeps_what_is_written_by_hand(folder):
    (folder / "README.md").write_text(f"By hand, before.\n{BEGIN}\nold\n{END}\nBy hand, after.\n", "utf-8")
    (folder / "schema.json").unlink()
    assert command("--folder", folder).returncode == 0
    assert drifted(folder) == []
    text = (folder / "README.md").read_text("utf-8")
    assert text.startswith(f"By hand, before.\n{BEGIN}\n")
    assert text.endswith(f"{END}\nBy hand, after.\n")
    assert "old" not in text.split(END)[0].split()


def test_a_readme_without_markers_is_refused_in_one_line(folder):
    (folder / "README.md").write_text("By hand.\n", "utf-8")
    written = command("--folder", folder)
    assert written.returncode == 1
    assert written.stderr.count("\n") == 1
    assert "README.md" in written.stderr


@pytest.mark.parametrize("path", sorted(FOLDER.glob("catalogue/*.yaml")), ids=lambda path: path.stem)
def test_shipped_catalogue_files_satisfy_the_editor_schema(path):
    jsonschema.validate(yaml.safe_load(path.read_text("utf-8")), json_schema(Catalogue))


@pytest.mark.parametrize("path", [FOLDER / "config.yaml", *sorted(FOLDER.glob("studies/*.yaml"))], ids=lambda p: p.stem)
def test_shipped_studies_satisfy_the_editor_schema_though_they_hold_some_keys_only(path):
    jsonschema.validate(yaml.safe_load(path.read_text("utf-8")), study_file_schema())


def test_the_examples_in_the_readme_satisfy_the_editor_schema():
    blocks = (FOLDER / "README.md").read_text("utf-8").split("```yaml\n")[1:]
    examples = [yaml.safe_load(block.partition("```")[0]) for block in blocks]
    assert examples
    for example in examples:
        jsonschema.validate(example, json_schema(Catalogue) if "study" not in example else study_file_schema())


@pytest.mark.parametrize(
    "study",
    [{"modles": ["a"]}, {"models": []}, {"alphas": {"ful": [1]}}, {"catalogue": {"lenses": {"x": {"kind": "nope"}}}}],
    ids=str,
)
def test_the_editor_schema_refuses_what_the_workflow_refuses(study):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(study, study_file_schema())
