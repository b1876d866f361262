"""The figures: one table for the terminal and Markdown, every sample in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.table import Table

from . import machine
from .case import FLOOR, RUN, Case, Found

LABELS = {
    FLOOR: "floor",
    RUN: "full run",
    "alike": "like for like",
    "duckdb": "DuckDB window",
    "duckdb_over_only": "DuckDB, cut groups",
    "polars": "polars",
    "pandas": "pandas",
}
COLUMNS = (
    "lines",
    "over",
    "format",
    "attribution",
    "row",
    "seconds",
    "M lines/s",
    "CPU s",
    "peak MiB",
    "× floor",
    "× alike",
)
_TEXTS = 5  # columns before the numbers
_LEAST_SHARE = 0.01  # of a run's time; shorter steps are not listed


def show(found: Iterable[Found]) -> None:
    """One table on the terminal."""
    table = Table(*COLUMNS)
    for column in table.columns[_TEXTS:]:
        column.justify = "right"
    for each in found:
        for row in _rows(each):
            table.add_row(*row)
        table.add_section()
    Console(width=Console(width=1000).measure(table).maximum).print(table)  # never folded


def write(found: Sequence[Found], repeats: int, folder: Path, name: str) -> None:
    """`name`.json and `name`.md in `folder`."""
    folder.mkdir(exist_ok=True)
    told = {"machine": machine.description(), "repeats": repeats, "cases": [_kept(each) for each in found]}
    (folder / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(_markdown(found, repeats), encoding="utf-8")


def _about(case: Case) -> tuple[str, ...]:
    share = f"{Decimal(case.spec.share):.0%}"
    return _size(case.spec.lines), share, case.spec.file_format, case.attribution


def _size(lines: int) -> str:
    return f"{lines / 1_000_000:g} M"


def _rows(found: Found) -> Iterator[tuple[str, ...]]:
    for name, row in found.rows.items():
        yield (
            *_about(found.case),
            LABELS[name],
            f"{row.seconds:.3g}",
            f"{found.case.spec.lines / row.seconds / 1_000_000:.3g}",
            f"{row.cpu_seconds:.3g}",
            f"{row.peak_bytes / 2**20:.0f}",
            _times(found, name, FLOOR),
            _times(found, name, "alike"),
        )


def _times(found: Found, name: str, other: str) -> str:
    """How many times as long as another row of the same case."""
    return f"{found.rows[name].seconds / found.rows[other].seconds:.1f}" if other in found.rows else ""


def _kept(found: Found) -> dict[str, object]:
    spec = found.case.spec
    about = {
        "lines": spec.lines,
        "institutions": spec.institutions,
        "over": spec.share,
        "format": spec.file_format,
    }
    rows = {
        name: {
            "seconds": round(row.seconds, 4),
            "lines_per_second": round(spec.lines / row.seconds),
            "cpu_seconds": round(row.cpu_seconds, 4),
            "peak_bytes": row.peak_bytes,
            "all_seconds": [round(sample.seconds, 4) for sample in row.samples],
            "all_process_seconds": [round(sample.process_seconds, 4) for sample in row.samples],
        }
        for name, row in found.rows.items()
    }
    steps = {step: round(seconds, 4) for step, seconds in found.steps.items()}
    return {**about, "attribution": found.case.attribution, "rows": rows, "steps": steps}


def _markdown(found: Sequence[Found], repeats: int) -> str:
    about = "; ".join(f"{name} {value}" for name, value in machine.description().items())
    rows = [row for each in found for row in _rows(each)]
    stepped = [each for each in found if each.steps]
    parts = [f"Measured: {about}. Median of {repeats}.", _table(COLUMNS, rows, _TEXTS)]
    if stepped:
        header = ("seconds of a step", *(" ".join(_about(each.case)[:3]) for each in stepped))
        parts += ["Where the time of a full run goes (one run each):", _table(header, _steps(stepped), 1)]
    return "\n\n".join(parts) + "\n"


def _steps(found: Sequence[Found]) -> list[tuple[str, ...]]:
    names = dict.fromkeys(step for each in found for step in each.steps)
    totals = [sum(each.steps.values()) for each in found]
    listed = [
        name
        for name in names
        if any(
            each.steps.get(name, 0) >= _LEAST_SHARE * total for each, total in zip(found, totals, strict=True)
        )
    ]
    return [(name, *(f"{each.steps.get(name, 0):.2f}" for each in found)) for name in listed]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], texts: int) -> str:
    rule = ["---"] * texts + ["---:"] * (len(header) - texts)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))
