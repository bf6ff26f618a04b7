"""What happens to a machine: full disks, folders that cannot be written to, damaged files, two runs at once, Ctrl-C,
a job that fails beside others. Each ends with a line that says what to do, and what was finished stays."""

from __future__ import annotations

import csv
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pytest
from processes import begin, copy_finished, jobs, printed, wait_for
from small import ADAPTER, STUDY, Run, write_study

from copies import ROOT, copy_project, hashes, snakemake
from dwatlas import paths
from dwatlas.files import read_table, write_table, write_text
from dwatlas.seals import fault
from dwatlas.statistics.schemas import RETAINED_SCHEMA

PAIR = {"model": "tiny-small", "behaviour": "agreement", "adapter": "lora-small", "seed": "0"}
SCORES = paths.SCORES.format(study="small", **PAIR)
TABLES = tuple(paths.STUDY_TABLES)
LAYERS = [paths.COMPONENTS.format(**PAIR | {"seed": seed}, lens="layers", shard="") for seed in "01"]
CLAIMS = "results/base/tiny-small/claims.parquet"
PARTIAL = "making tables and figures of what is there"
IN_OWN_MOUNTS = ["unshare", "--mount", "sh", "-ec"]
"""A shell whose mounts nobody else sees."""


@pytest.fixture
def run(finished, tmp_path) -> Run:
    """A copy of the finished study with Snakemake's records."""
    return Run(folder=copy_finished(finished.folder, tmp_path / "study"), arguments=finished.arguments)


@pytest.fixture
def job(copied, plan):
    """Runs a job of the small study by its command line, in a folder with a copy of the results; returns its end."""

    def call(rule, inputs, outputs, cell, before=(), **options) -> subprocess.CompletedProcess:
        wildcards, made = SimpleNamespace(**cell), plan()
        command = [*before, sys.executable, "-m", "dwatlas.jobs", rule, "--inputs", *inputs, "--outputs", *outputs]
        command += ["--spec", made.spec(rule)(wildcards), "--code", made.code(rule)(wildcards)]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
        return subprocess.run(command, env=environment, capture_output=True, text=True, **options)

    return call


def can_mount() -> bool:
    command = [*IN_OWN_MOUNTS, "mount -t tmpfs tmpfs /mnt"]
    return shutil.which("unshare") is not None and not subprocess.run(command, capture_output=True).returncode


mounts = pytest.mark.skipif(not can_mount(), reason="needs the right to mount")

# Disks and folders


@pytest.mark.parametrize(
    ("rule", "inputs", "outputs", "cell", "size", "named"),
    [
        ("evals", [], ["rows=new/rows.parquet"], {"eval": "claims"}, 100, "new/rows.parquet"),
        (
            "train",
            [f"model={paths.MODEL.format(**PAIR)}", f"pairs={paths.PAIRS.format(**PAIR)}"],
            [f"{name}=new/{name}/file" for name in ("pos", "neg", "pos_log", "neg_log")],
            PAIR,
            3000,
            "new/pos/adapter_model.safetensors",
        ),
        (
            "figures",
            [f"{name}=results/studies/small/{name}.parquet" for name in TABLES],
            ["png=new/dose.png"],
            {"study": "small", "figure": "dose.tiny-small.agreement"},
            20_000,
            "new/dose.png",
        ),
    ],
)
def test_no_more_room_is_one_line_that_names_the_file(job, copied, rule, inputs, outputs, cell, size, named):
    before = hashes(copied.results)
    ended = job(rule, inputs, outputs, cell, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    line = ended.stderr.splitlines()[-1]
    assert line == f"{rule}: error: {named}: File too large; mend that and run again, what is finished stays"
    assert hashes(copied.results) == before
    assert not [path for path in Path("new").rglob("*") if path.name.startswith((".", Path(named).name))]


def test_what_is_in_a_files_way_is_named(tmp_path):
    (path := tmp_path / "note.txt").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_text(path, "text")
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == [path]


@mounts
def test_a_full_disk_is_one_line_and_leaves_nothing_half_made(job):
    small = "mkdir new; mount -t tmpfs -o size=16k tmpfs new; head -c 16k /dev/zero > new/fill; "
    told = small + '"$@" || ls -A new; exit 1'
    ended = job("evals", [], ["rows=new/rows.parquet"], {"eval": "claims"}, before=[*IN_OWN_MOUNTS, told, "sh"])
    assert "evals: error: new/rows.parquet: No space left on device; mend that and run again" in ended.stderr
    assert ended.stdout.split() == ["fill"]


@pytest.mark.parametrize("how", ["a file", pytest.param("read-only", marks=mounts)])
def test_results_that_cannot_be_written_to_are_told_before_any_job(tmp_path, how):
    folder = copy_project(tmp_path)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *write_study(folder, STUDY)]
    if how == "a file":
        (folder / "results").write_text("mine")
    else:
        (folder / "results").mkdir()
        command = [*IN_OWN_MOUNTS, 'mount -t tmpfs -o ro tmpfs results; "$@"', "sh", *command]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode
    said = (ended.stdout + ended.stderr).strip()
    why = {"a file": "is no folder", "read-only": "cannot be written to (Read-only file system)"}[how]
    assert said.splitlines()[-1].startswith(f"error: results: {why}; ")
    assert "rule evals" not in said


# Damaged artefacts


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """One bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "gone", "targets"),
    [
        (
            {paths.PAIRS.format(**PAIR): truncate, paths.CHECKPOINT.format(**PAIR | {"seed": 1}, pole="neg"): flip},
            [],
            [paths.TRAIN_LOG.format(**PAIR, pole="pos"), paths.DELTA.format(**PAIR | {"seed": 1})],
        ),
        ({paths.DELTA.format(**PAIR): flip, CLAIMS: truncate}, [], LAYERS),
        ({paths.ANCHORS.format(**PAIR | {"seed": 1}): truncate}, [], [SCORES]),
        ({paths.COMPONENT.format(**PAIR, lens="layers", component="layer-1"): flip}, [SCORES], [SCORES]),
        ({"results/studies/small/retained.parquet": flip}, [], ["results/studies/small/tables/tables.json"]),
    ],
    ids=["pairs and checkpoint", "delta and base scores", "anchors", "component", "retained"],
)
def test_a_damaged_artefact_is_named_and_after_deleting_it_the_run_ends_as_ever(finished, run, damage, gone, targets):
    for path, how in damage.items():
        how(run.folder / path)
    for path in gone:
        (run.folder / path).unlink()
    command = ["--cores", 2, "--no-hooks", *run.arguments, "--", *targets]
    lines = errors(snakemake(run.folder, *command, fails=True))
    assert len(lines) == len(damage)
    for path in damage:
        (line,) = [line for line in lines if path in line]
        (named,) = re.findall(r"delete (\S+) and run again", line)
        (run.folder / (path if named == "it" else named)).unlink()
    snakemake(run.folder, *command)
    assert hashes(run.results) == hashes(finished.results)


def errors(output: str) -> set[str]:
    """What failed jobs said."""
    return set(re.findall(r"^\w+: error: (.*)$", output, re.MULTILINE))


# Two at once


def delete_layers(run: Run) -> list:
    """Delete one lens's scores of one seed; the command that makes them again."""
    for file in (run.adapted / "scores/layers").rglob("*.*"):
        file.unlink()
    return ["--cores", 1, *run.arguments, "--", LAYERS[0]]


def test_a_second_snakemake_ends_at_once_and_disturbs_nothing(finished, run):
    command = delete_layers(run)
    first = begin(run.folder, *command)
    wait_for(lambda: jobs(run.folder, "ablate"))
    said = snakemake(run.folder, *command, fails=True)
    assert "cannot be locked" in said and first.poll() is None
    assert first.wait() == 0
    assert hashes(run.results) == hashes(finished.results)


WRITER = """
import sys
import pandas as pd
import pyarrow as pa
from dwatlas.files import write_table

path, number = sys.argv[1], int(sys.argv[2])
for _ in range(60):
    frame = pd.DataFrame({"number": [number] * 1000 * number})
    write_table(path, frame, pa.schema([("number", pa.int32())]), {"number": number})
"""


def test_whoever_reads_while_others_write_sees_a_whole_file(tmp_path):
    path = tmp_path / "table.parquet"
    write_table(path, pd.DataFrame({"number": [1] * 1000}), pa.schema([("number", pa.int32())]))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    commands = [[sys.executable, "-c", WRITER, path, str(number)] for number in (1, 2, 3)]
    writers = [subprocess.Popen(command, env=environment) for command in commands]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        numbers = read_table(path)["number"]
        assert numbers.nunique() == 1 and len(numbers) == 1000 * numbers[0]
        assert fault(path) is None
        seen.add(numbers[0])
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert len(seen) > 1
    assert list(tmp_path.iterdir()) == [path]


# Ctrl-C


def test_ctrl_c_is_said_in_the_log_makes_no_tables_and_the_next_run_goes_on(finished, run):
    command = delete_layers(run)
    study = hashes(run.of_study)
    first = begin(run.folder, *command)
    wait_for(lambda: list((run.adapted / "scores/layers").glob("[!.]*.parquet")))
    os.killpg(first.pid, signal.SIGINT)
    assert first.wait() != 0
    log = run.results / "logs/runs/tiny-small/agreement/lora-small/seed-0/layers.log"
    assert log.read_text().splitlines()[-1].startswith("ablate: error: interrupted; run snakemake again")
    assert PARTIAL not in printed(run.folder)
    assert not jobs(run.folder)
    assert hashes(run.of_study) == study
    snakemake(run.folder, *command)
    assert "was done already" in log.read_text()
    assert hashes(run.results) == hashes(finished.results)


# Failures beside others


def test_what_fails_is_left_out_and_named_and_nothing_else(run):
    bad = ADAPTER | {"training": {"steps": 8, "learning_rate": 1e30}}
    study = STUDY | {"study": "both", "adapters": ["lora-small", "lora-bad"]}
    of_study = run.results / "studies/both"
    svd = run.adapted / "scores/own_svd"
    (svd / "components.json").unlink()
    (svd / "top-1.parquet").unlink()
    (svd / "top-1.parquet/in-the-way").mkdir(parents=True)
    said = snakemake(run.folder, "--cores", 2, *write_study(run.folder, with_adapter(study, bad)), fails=True)
    assert PARTIAL in said
    missing = {(line["adapter"], line["seed"], line["lens"]): line["why"] for line in read_missing(of_study)}
    assert missing.keys() == {("lora-bad", "0", ""), ("lora-bad", "1", ""), ("lora-small", "0", "own_svd")}
    assert all("loss is nan at step" in why for (name, *_), why in missing.items() if name == "lora-bad")
    assert re.search(r"top-1\.parquet.*: Is a directory;", missing["lora-small", "0", "own_svd"])
    retained = read_table(of_study / "retained.parquet", RETAINED_SCHEMA)
    assert set(retained["adapter"]) == {"lora-small"}
    seeds = retained.groupby("lens")["n_seeds"].unique().map(list).to_dict()
    assert seeds == {"anchors": [2], "layers": [2], "own_svd": [1]}
    assert "Incomplete" in (of_study / "report.html").read_text()

    (svd / "top-1.parquet/in-the-way").rmdir()
    (svd / "top-1.parquet").rmdir()
    good = with_adapter(study, ADAPTER)
    table = (of_study / "tables/tables.json").relative_to(run.folder)
    snakemake(run.folder, "--cores", 2, *write_study(run.folder, good), "--", table)
    assert read_missing(of_study) == []
    retained = read_table(of_study / "retained.parquet", RETAINED_SCHEMA)
    assert set(retained["adapter"]) == {"lora-small", "lora-bad"} and set(retained["n_seeds"]) == {2}


def with_adapter(study: dict, options: dict) -> dict:
    """The study with these options for the second adapter."""
    catalogue = study["catalogue"]
    return study | {"catalogue": catalogue | {"adapters": catalogue["adapters"] | {"lora-bad": options}}}


def read_missing(of_study: Path) -> list[dict[str, str]]:
    """The lines of the table of what is missing."""
    with open(of_study / "tables/missing.csv", newline="") as file:
        return list(csv.DictReader(file))
