"""Has the engine lost speed? A small run's ratios to the floor and to DuckDB, held against the recorded ones.

Ratios within one run on one machine say more than seconds: a slower machine slows all rows.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from . import data, machine
from .case import FLOOR, RUN, Case, measured
from .measure import ROOT

RECORD = ROOT / "benchmarks" / "recorded.json"
CASE = Case(data.Spec(2_000_000, "0.30", "parquet"), contenders=("alike", "duckdb"))
REPEATS = 5
ATTEMPTS = 2  # a loss must show twice: the machine may have had other work to do
MOST_LOSS = Decimal("0.25")
RATIOS = ((RUN, FLOOR), (RUN, "duckdb"), ("alike", FLOOR), ("alike", "duckdb"))


def ratios(seconds: Mapping[str, float]) -> dict[str, Decimal]:
    """How many times as long as another row: the smaller, the faster the engine. Three decimals."""
    return {f"{one} / {other}": Decimal(f"{seconds[one] / seconds[other]:.3f}") for one, other in RATIOS}


def losses(found: Mapping[str, Decimal], recorded: Mapping[str, Decimal]) -> list[str]:
    """A sentence for each ratio that has grown by more than MOST_LOSS."""
    return [
        f"{name}: {found[name]} now, {recorded[name]} recorded: {found[name] / recorded[name] - 1:+.0%}, "
        f"allowed {MOST_LOSS:+.0%}"
        for name in recorded
        if found[name] > recorded[name] * (1 + MOST_LOSS)
    ]


def main() -> None:
    words = argparse.ArgumentParser(prog="python -m benchmarks.check", description=__doc__)
    words.add_argument("--record", action="store_true", help="renew the record instead")
    words.add_argument(
        "--data", type=Path, default=data.default_folder(), help="where generated batches are kept"
    )
    chosen = words.parse_args()
    if os.getloadavg()[0] > (os.cpu_count() or 1) / 2:
        print("the machine has other work to do: ratios may be off")
    if chosen.record:
        _record(_measured(chosen.data))
    else:
        _check(chosen.data)


def _measured(folder: Path) -> dict[str, Decimal]:
    found = measured(CASE, REPEATS, folder)
    for name, row in found.rows.items():
        print(f"{name:8} {row.best_seconds:7.3f} s  {row.peak_bytes / 2**20:6.0f} MiB")
    return ratios({name: row.best_seconds for name, row in found.rows.items()})


def _record(found: Mapping[str, Decimal]) -> None:
    told = {"machine": machine.description(), "lines": CASE.spec.lines, "ratios": found}
    RECORD.write_text(json.dumps(told, indent=1, default=str) + "\n", encoding="utf-8")
    print(f"recorded in {RECORD.relative_to(ROOT)}: {_told(found)}")


def _check(folder: Path) -> None:
    texts = json.loads(RECORD.read_text(encoding="utf-8"))["ratios"]
    recorded = {name: Decimal(text) for name, text in texts.items()}
    for _ in range(ATTEMPTS):
        found = _measured(folder)
        lost = losses(found, recorded)
        if not lost:
            print(f"no loss: {_told(found)}")
            return
    sys.exit(
        "slower than recorded:\n"
        + "\n".join(lost)
        + "\nmake bench-record renews the record, if that is meant"
    )


def _told(found: Mapping[str, Decimal]) -> str:
    return ", ".join(f"{name} {ratio}" for name, ratio in found.items())


if __name__ == "__main__":
    main()
