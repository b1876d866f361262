"""The whole table: sizes, shares of institutions over their threshold, formats, attributions (`make bench`)."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from . import data, machine
from .case import FLOOR, RUN, Case, Found, measured
from .measure import ROOT
from .work import CONTENDERS

RESULTS = ROOT / "benchmarks" / "results"
MOST_LINES_IN_MEMORY = 20_000_000  # pandas and plain polars hold every line: above this they are left out
LABELS = {
    FLOOR: "floor: bare scan of nine columns",
    RUN: "engine: full run",
    "alike": "engine: like for like",
    "duckdb": "DuckDB: window over all lines",
    "duckdb_over_only": "DuckDB: window over cut groups only",
    "polars": "polars: running total over all lines",
    "pandas": "pandas: running total over all lines",
}
COLUMNS = (
    "lines",
    "over",
    "format",
    "attribution",
    "what",
    "seconds",
    "M lines/s",
    "CPU s",
    "peak MiB",
    "× floor",
    "× like for like",
)


def main() -> None:
    chosen = _options().parse_args()
    found: list[Found] = []
    for case in _cases(chosen.sizes, chosen.shares, chosen.formats, chosen.attributions, chosen.contenders):
        Console(stderr=True).print(f"{case.spec.name} {case.attribution} …", highlight=False)
        with_steps = case.attribution == "chronological"
        found.append(measured(case, chosen.repeats, chosen.data, with_steps=with_steps))
        _write(
            found, chosen.name or machine.description()["date"], chosen.repeats
        )  # so that a cut-off run leaves what it has
    _print(found)


def _options() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    words.add_argument("--sizes", type=_sizes, default="1M 20M", help="lines, as in '1M 20M 100M'")
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
    words.add_argument("--name", help="of the files in benchmarks/results; the date if not given")
    return words


def _sizes(text: str) -> list[int]:
    units = {"": 1, "k": 1_000, "M": 1_000_000}
    words = [re.fullmatch(r"(\d+)([kM]?)", word) for word in text.split()]
    if not words or None in words:
        raise argparse.ArgumentTypeError(f"{text!r}: expected sizes as in '500k 1M 20M'")
    return [int(word[1]) * units[word[2]] for word in words if word]


def _cases(
    sizes: Sequence[int],
    shares: Sequence[str],
    formats: Sequence[str],
    attributions: Sequence[str],
    contenders: Sequence[str],
) -> Iterator[Case]:
    """Every share in Parquet; the other attributions where they do most, at the largest share; CSV at the smallest."""
    for lines in sizes:
        taking_part = tuple(
            name for name in contenders if lines <= MOST_LINES_IN_MEMORY or name not in ("polars", "pandas")
        )
        for attribution in attributions if "parquet" in formats else ():
            for share in shares if attribution == "chronological" else shares[-1:]:
                yield Case(data.Spec(lines, share, "parquet"), attribution, taking_part)
        if "csv" in formats:
            yield Case(data.Spec(lines, shares[0], "csv"))


# ---------------------------------------------------------------- what is shown and kept


def _print(found: Sequence[Found]) -> None:
    table = Table(*COLUMNS)
    for column in table.columns[5:]:
        column.justify = "right"
    for each in found:
        for row in _rows(each):
            table.add_row(*row)
        table.add_section()
    Console().print(table)


def _rows(found: Found) -> Iterator[tuple[str, ...]]:
    spec = found.case.spec
    case = (f"{spec.lines:,}", f"{spec.share}", spec.file_format, found.case.attribution)
    for name, row in found.rows.items():
        yield (
            *case,
            LABELS[name],
            f"{row.seconds:.2f}",
            f"{spec.lines / row.seconds / 1e6:.2f}",
            f"{row.cpu_seconds:.2f}",
            f"{row.peak_bytes / 2**20:,.0f}",
            f"{row.seconds / found.rows[FLOOR].seconds:.1f}",
            f"{row.seconds / found.rows['alike'].seconds:.1f}" if "alike" in found.rows else "",
        )


def _write(found: Sequence[Found], name: str, repeats: int) -> None:
    """The figures as JSON, every sample included, and the same table as Markdown."""
    RESULTS.mkdir(exist_ok=True)
    told = {"machine": machine.description(), "repeats": repeats, "cases": [_kept(each) for each in found]}
    (RESULTS / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    (RESULTS / f"{name}.md").write_text(_markdown(found, repeats), encoding="utf-8")


def _kept(found: Found) -> dict[str, object]:
    spec = found.case.spec
    rows = {
        name: {
            "seconds": row.seconds,
            "lines_per_second": spec.lines / row.seconds,
            "cpu_seconds": row.cpu_seconds,
            "peak_bytes": row.peak_bytes,
            "samples": [[sample.seconds, sample.process_seconds] for sample in row.samples],
        }
        for name, row in found.rows.items()
    }
    about = {
        "lines": spec.lines,
        "institutions": spec.institutions,
        "over": spec.share,
        "format": spec.file_format,
    }
    return {**about, "attribution": found.case.attribution, "rows": rows, "steps": dict(found.steps)}


def _markdown(found: Sequence[Found], repeats: int) -> str:
    about = "; ".join(f"{name} {value}" for name, value in machine.description().items())
    rows = [row for each in found for row in _rows(each)]
    steps = [
        (
            f"{each.case.spec.lines:,}",
            each.case.spec.share,
            each.case.spec.file_format,
            step,
            f"{seconds:.2f}",
        )
        for each in found
        for step, seconds in each.steps.items()
    ]
    parts = (
        f"Measured: {about}. Median of {repeats}.",
        _lines(COLUMNS, rows, 6),
        "Where the time of a full run goes (one run):",
        _lines(("lines", "over", "format", "step", "seconds"), steps, 4),
    )
    return "\n\n".join(parts) + "\n"


def _lines(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> str:
    """A Markdown table; columns after the first `texts` are numbers."""
    rule = ["---"] * texts + ["---:"] * (len(header) - texts)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


if __name__ == "__main__":
    main()
