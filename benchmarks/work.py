"""One piece of work in a process of its own: `python -m benchmarks.work NAME …` prints its seconds as JSON.

The clock starts when everything needed is imported: nobody pays for the start of Python here.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from .job import Job

# name → the module and function that take a Job
CONTENDERS = {
    "alike": ("engine", "alike"),
    "duckdb": ("peer_duckdb", "window"),
    "duckdb_over_only": ("peer_duckdb", "over_only"),
    "polars": ("peer_polars", "running_total"),
    "pandas": ("peer_pandas", "running_total"),
}
_WORKS = {"floor": ("floor", "scan"), "steps": ("engine", "steps"), **CONTENDERS}


def command(name: str, given: Path, attribution: str, out: Path) -> Sequence[str]:
    return [sys.executable, "-m", "benchmarks.work", name, str(given), attribution, str(out)]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("name", choices=_WORKS)
    options.add_argument("given", type=Path)
    options.add_argument("attribution")
    options.add_argument("out", type=Path)
    chosen = options.parse_args()
    module, function = _WORKS[chosen.name]
    work = getattr(import_module(f".{module}", __package__), function)
    started = time.perf_counter()
    found = work(Job(chosen.given, chosen.out, chosen.attribution))
    print(json.dumps({"work_seconds": time.perf_counter() - started, "steps": found}))


if __name__ == "__main__":
    main()
