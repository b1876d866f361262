"""Current runs and cleared years as Parquet files, for readers that must not touch the ledger. Source: data 4."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

import polars as pl

from ..errors import Refusal
from ..terms import ADJUSTMENTS, ANNUAL_STATEMENTS, LEDGER_TABLES, RUNS, Table
from .publish import query
from .record import Ledger, fsync, owner_and_group_only, refusing_what_cannot_be_written

_OF_JOURNAL = (RUNS, ADJUSTMENTS)  # the DuckDB file knows what the journal made of them


def export(ledger: Ledger, out: Path) -> list[Path]:
    """Writes the newest run of every month, and gives the files: `<table>/month=2026-03-01/2026-03.1.parquet`.

    Adjustments are those of every restatement, also of one that was restated again: each is paid or recovered once,
    and only all of them add up to what the statements hold (rules 11). Of every cleared year
    `annual_statements/year=2026/2026.parquet`. Month and year are the names of the folders, as hive partitions have
    it, and no columns of the files: readers give them back as a date and a number. Rows, types and their order are
    the record's; statuses of runs and the runs that took adjustments are those of the DuckDB file. Nothing is there
    before everything is.

    Raises: Refusal, if `out` is not new or empty, cannot be written, or no month was settled.
    """
    current = query(ledger, "select run_id, month from current_runs order by month").rows()
    restating = query(
        ledger,
        "select distinct run_id, month from adjustments anti join current_runs using (run_id) order by all",
    ).rows()
    cleared = query(ledger, "select distinct year from annual_statements order by year")["year"]
    if not current:
        raise Refusal(str(ledger.folder), "no run", "a month that was settled", "`settlement run` first")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise Refusal(str(out), "it exists", "a new or empty folder", "name another, or remove it")
    out = out.absolute()
    beside = out.parent / f".{out.name}-{secrets.token_hex(8)}"
    try:
        with owner_and_group_only(), refusing_what_cannot_be_written(out.parent):
            made = [
                _written(ledger, table, run_id, beside / table.name / f"month={month}")
                for table in LEDGER_TABLES
                for run_id, month in [*current, *(restating if table is ADJUSTMENTS else [])]
            ]
            made += [_written_year(ledger, year, beside / ANNUAL_STATEMENTS.name) for year in cleared]
            beside.rename(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return [out / path.relative_to(beside) for path in made]


def _written(ledger: Ledger, table: Table, run_id: str, folder: Path) -> Path:
    """One table of one run; the rows stream."""
    if table in _OF_JOURNAL:
        rows = query(
            ledger, f"from {table.name} where run_id = '{run_id}' order by {', '.join(table.key)}"
        ).lazy()
    else:
        rows = ledger.scan(run_id, table.name)
    return _file(rows.select(pl.exclude("month")), folder, run_id)


def _written_year(ledger: Ledger, year: int, folder: Path) -> Path:
    rows = pl.scan_parquet(ledger.annual_statements(year), glob=False)
    return _file(rows.select(pl.exclude("year")), folder / f"year={year}", f"{year}")


def _file(rows: pl.LazyFrame, folder: Path, name: str) -> Path:
    """Writes one partition durably."""
    folder.mkdir(parents=True, exist_ok=True)  # restatements of one month share it
    path = folder / f"{name}.parquet"
    rows.sink_parquet(path)
    fsync(path)
    return path
