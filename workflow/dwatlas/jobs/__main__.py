"""``python -m dwatlas.jobs NAME --spec … --code … --inputs … --outputs …``: run one job.

Most of a small job is its start and its end. The garbage collector finds nothing to free while libraries are imported,
and costs a fifth of that time; taking every object apart at the end costs a second more. So neither is done.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from pathlib import Path

from dwatlas.jobs.base import run

HELPERS = {"__init__", "__main__", "base", "study_tables"}


def main() -> None:
    """Run the job that the command line names; what it writes is on disk when it returns."""
    names = sorted({path.stem for path in Path(__file__).parent.glob("*.py")} - HELPERS)
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        sys.exit(f"dwatlas.jobs: error: name a job first, one of {', '.join(names)}")
    gc.disable()
    job = import_module(f"dwatlas.jobs.{sys.argv.pop(1)}")
    gc.freeze()
    gc.enable()
    run(job.work)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
