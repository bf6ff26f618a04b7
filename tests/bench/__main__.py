"""``python -m bench [NAME …]``: run benchmarks, print their tables, store them in results/bench.

Ends with exit code 1 when a limit is missed.
"""

from __future__ import annotations

import sys
from importlib import import_module

from bench.tables import markdown, missed
from copies import ROOT

NAMES = ("scan", "growth", "delta", "training", "dag", "coverage", "error_rates", "study", "statistics")


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; 1 when a limit is missed."""
    if unknown := sorted(set(names) - set(NAMES)):
        sys.exit(f"bench: there is no benchmark {unknown[0]!r}; choose from {', '.join(NAMES)}")
    failed = False
    for name in names or NAMES:
        measured = import_module(f"bench.{name}").measure()
        path = ROOT / f"results/bench/{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        measured.to_parquet(path, index=False)
        print(f"\n## {name}\n\n{markdown(measured)}", flush=True)
        for what in missed(measured):
            print(f"limit missed: {name}: {what}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
