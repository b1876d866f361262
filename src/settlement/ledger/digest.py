"""The hash of a run's results: the same rows give the same hash on every machine. Source: data 3."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import polars as pl

from ..errors import Fault
from ..schemas import polars_schema
from ..terms import RESULT_TABLES, Column, Kind, Table

Rows: TypeAlias = Path | pl.LazyFrame | pl.DataFrame

_CHUNK_ROWS = 50_000  # a chunk of lines as text is about 10 MB: memory stays flat whatever the table holds


def results_sha256(tables: Mapping[str, Rows]) -> str:
    """SHA-256 over the rows of every result table, whatever run they belong to.

    `tables`: name → Parquet file or frame of each table of `RESULT_TABLES`, rows in the order of the table's key.
    Hashed, in UTF-8, each line ended by a newline: `table <name>`; the column names without `run_id`, separated by
    commas; then the rows as CSV: texts in double quotes, doubled inside; everything else bare, decimals with all
    their places, days and moments in ISO 8601 with microseconds, `true` and `false`; a null is an empty cell.

    Raises: Fault, if a table is missing, has other columns or types, or its rows are not in strict key order.
    """
    digest = hashlib.sha256()
    for table in RESULT_TABLES:
        if table.name not in tables:
            raise Fault(f"results, table {table.name}", "missing", "every result table, be it empty")
        for part in _hashed(table, tables[table.name]):
            digest.update(part)
    return digest.hexdigest()


def table_sha256(table: Table, rows: Rows) -> str:
    """SHA-256 over the rows of one table, hashed as `results_sha256` hashes each of its own."""
    digest = hashlib.sha256()
    for part in _hashed(table, rows):
        digest.update(part)
    return digest.hexdigest()


def _hashed(table: Table, rows: Rows) -> Iterator[bytes | memoryview]:
    """What is hashed of one table, piece by piece. Raises: Fault as `results_sha256`."""
    columns = [column for column in table.columns if column.name != "run_id"]
    yield f"table {table.name}\n{','.join(column.name for column in columns)}\n".encode()
    cells = [_cell(column) for column in columns]
    previous = pl.DataFrame(schema=polars_schema(table)).select(table.key)
    for chunk in _frame(table, rows).collect_batches(chunk_size=_CHUNK_ROWS):
        keys = chunk.select(table.key)
        _check_order(table, pl.concat([previous, keys]))
        yield _csv(chunk.select(cells))
        previous = keys.tail(1) if chunk.height else previous


def check_schema(table: Table, found: pl.Schema, where: str) -> None:
    """Raises: Fault, if a table about to be recorded has other columns or types than the dictionary says."""
    expected = polars_schema(table)
    if found != expected:
        raise Fault(where, f"columns {dict(found)}", f"columns {dict(expected)}")


def _frame(table: Table, rows: Rows) -> pl.LazyFrame:
    """The rows as a lazy frame with exactly the dictionary's columns."""
    frame = pl.scan_parquet(rows, glob=False) if isinstance(rows, Path) else rows.lazy()
    check_schema(table, frame.collect_schema(), f"results, table {table.name}")
    return frame


def _cell(column: Column) -> pl.Expr:
    """The column as text that no later polars can format otherwise; null stays null."""
    cell = pl.col(column.name)
    if column.kind is Kind.TEXT:
        return ('"' + cell.str.replace_all('"', '""', literal=True) + '"').alias(column.name)
    if column.kind is Kind.DAY:
        return cell.dt.strftime("%Y-%m-%d")
    if column.kind is Kind.MOMENT:
        return cell.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")
    return cell.cast(pl.String)


def _csv(cells: pl.DataFrame) -> memoryview:
    """Rows of finished cells, joined: the writer adds commas and newlines and nothing else."""
    content = io.BytesIO()
    cells.write_csv(content, include_header=False, quote_style="never", null_value="", line_terminator="\n")
    return content.getbuffer()


def _check_order(table: Table, keys: pl.DataFrame) -> None:
    """Raises: Fault, if a key does not come strictly after the one before it.

    Rows in another order, or two rows of one key, would give the same results two hashes.
    """
    precedes = pl.lit(False)
    for name in reversed(table.key):
        before, after = pl.col(name).shift(1), pl.col(name)
        precedes = (before < after) | ((before == after) & precedes)
    if not keys.select(precedes.slice(1).fill_null(False).all()).item():
        raise Fault(
            f"results, table {table.name}", "rows out of order, or a key twice", f"rows by {table.key}"
        )
