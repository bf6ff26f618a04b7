"""A job's log: its lock keeps others off while the job lives, and it tells how the job ended."""

import subprocess
import sys
import threading
import time

import pytest

from dwatlas.logs import alone, is_held, last_words

HOLDER = """
import sys, time
from dwatlas.logs import alone
with alone(sys.argv[1], print):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of a log."""
    log = tmp_path / "job.log"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(log)], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": "workflow"}
    )
    assert process.stdout.readline() == "held\n"
    yield log, process
    process.kill()
    process.wait()


def test_a_log_is_held_while_its_job_lives_and_not_after_it_was_killed(holder):
    log, process = holder
    assert is_held(log)
    process.kill()
    process.wait()
    assert not is_held(log)


def test_another_job_waits_and_says_so(holder):
    log, process = holder
    said, entered = [], []

    def wait():
        with alone(log, said.append):
            entered.append(time.monotonic())

    other = threading.Thread(target=wait)
    other.start()
    time.sleep(0.6)
    assert said == ["another process is still making this; waiting for it to end"] and not entered
    process.kill()
    other.join(10)
    assert entered


def test_a_log_that_is_not_there_is_not_held(tmp_path):
    assert not is_held(tmp_path / "none.log")
    assert last_words(tmp_path / "none.log") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train a: step 1/8\ntrain a: done in 3.2 s\n", None),
        ("train a: step 1/8\ntrain: error: loss is nan at step 3; lower it\n", "loss is nan at step 3; lower it"),
        ("train: error: old\nTraceback\ntrain: error: ValueError: bad\n\n", "ValueError: bad"),
        ("train a: step 1/8\n", "it ended without a word"),
        ("", "it ended without a word"),
    ],
)
def test_last_words(tmp_path, text, words):
    log = tmp_path / "job.log"
    log.write_text(text)
    found = last_words(log)
    assert found is None if words is None else found.startswith(words)
