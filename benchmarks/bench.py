"""The whole table: sizes, shares of institutions over their threshold, formats, attributions (`make bench`)."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from . import data, machine, report
from .case import Case, Found, measured
from .measure import ROOT
from .work import CONTENDERS

RESULTS = ROOT / "benchmarks" / "results"
IN_MEMORY, MOST_LINES_IN_MEMORY = ("polars", "pandas"), 20_000_000  # they hold every line at once
ONLY_CHRONOLOGICAL = ("duckdb_over_only", "pandas")


def main() -> None:
    chosen = _options().parse_args()
    found: list[Found] = []
    for case in _cases(chosen):
        print(f"{case.spec.name} {case.attribution} …", file=sys.stderr)
        with_steps = case.attribution == "chronological"
        found.append(measured(case, chosen.repeats, chosen.data, with_steps=with_steps))
        report.write(found, chosen.repeats, RESULTS, chosen.name)  # a run that is cut off leaves what it has
    report.show(found)


def _options() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    words.add_argument("--sizes", type=sizes, default="1M 20M", help="lines, as in '1M 20M 100M'")
    words.add_argument(
        "--shares", type=str.split, default="0.03 0.30 1.00", help="of institutions over a threshold"
    )
    words.add_argument("--formats", type=str.split, default="parquet csv")
    words.add_argument("--attributions", type=str.split, default="chronological pro_rata priority")
    words.add_argument("--contenders", type=str.split, default=" ".join(CONTENDERS))
    words.add_argument("--repeats", type=int, default=5, help="of which the median is shown")
    words.add_argument(
        "--data", type=Path, default=data.default_folder(), help="where generated batches are kept"
    )
    words.add_argument(
        "--name", default=machine.description()["date"], help="of the files in benchmarks/results"
    )
    return words


def sizes(text: str) -> list[int]:
    """Numbers of lines written as in `500k 1M 20M`."""
    units = {"": 1, "k": 1_000, "M": 1_000_000}
    words = [re.fullmatch(r"(\d+)([kM]?)", word) for word in text.split()]
    if not words or None in words:
        raise argparse.ArgumentTypeError(f"{text!r}: expected sizes as in '500k 1M 20M'")
    return [int(word[1]) * units[word[2]] for word in words if word]


def _cases(chosen: argparse.Namespace) -> Iterator[Case]:
    """Every share in Parquet; the other attributions where they do most, at the last share; CSV at the first."""
    for lines in chosen.sizes:
        if "parquet" in chosen.formats:
            for attribution in chosen.attributions:
                for share in chosen.shares if attribution == "chronological" else chosen.shares[-1:]:
                    taking_part = tuple(
                        name for name in chosen.contenders if _takes_part(name, lines, attribution)
                    )
                    yield Case(data.Spec(lines, share, "parquet"), attribution, taking_part)
        if "csv" in chosen.formats:
            yield Case(data.Spec(lines, chosen.shares[0], "csv"))


def _takes_part(contender: str, lines: int, attribution: str) -> bool:
    fits = lines <= MOST_LINES_IN_MEMORY or contender not in IN_MEMORY
    return fits and (attribution == "chronological" or contender not in ONLY_CHRONOLOGICAL)


if __name__ == "__main__":
    main()
