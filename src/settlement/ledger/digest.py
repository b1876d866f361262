"""The hash of a run's results: the same rows give the same hash on every machine. Source: data 3."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np
import polars as pl

from ..errors import Fault
from ..schemas import polars_schema
from ..terms import RESULT_TABLES, Column, Kind, Table

Rows: TypeAlias = Path | pl.LazyFrame | pl.DataFrame

_CHUNK_ROWS = 100_000  # of about 200 bytes: memory stays flat whatever the table holds


def results_sha256(tables: Mapping[str, Rows]) -> str:
    """SHA-256 over the rows of every result table, whatever run they belong to.

    `tables`: name → Parquet file or frame of each table of `RESULT_TABLES`, rows in the order of the table's key.
    Hashed, in UTF-8, is one line per column but `run_id`, in the dictionary's order: table, column, and the SHA-256
    of its cells, separated by blanks and ended by a newline. The cells of a column are hashed in three rows of bytes,
    joined as hexadecimal digits: 1 for each null and 0 for each value; then, for each cell, a number as 64 bits with
    sign, lowest byte first, 0 for a null; then all texts, one after the other. The number is that of the smallest unit
    of a decimal (10⁻⁴ point, fen), of days or microseconds since 1970, 1 or 0 for yes or no, and for a text its length
    in bytes.

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


def _hashed(table: Table, rows: Rows) -> Iterator[bytes]:
    """What is hashed of one table: a line per column. Raises: Fault as `results_sha256`."""
    columns = {column.name: _ColumnDigest(column) for column in table.columns if column.name != "run_id"}
    previous = pl.DataFrame(schema=polars_schema(table)).select(table.key)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing lets other threads work
        for chunk in _frame(table, rows).collect_batches(chunk_size=_CHUNK_ROWS):
            keys = chunk.select(table.key)
            _check_order(table, pl.concat([previous, keys]))
            for updated in [pool.submit(column.update, chunk[name]) for name, column in columns.items()]:
                updated.result()
            previous = keys.tail(1) if chunk.height else previous
    for name, column in columns.items():
        yield f"{table.name} {name} {column.hexdigest()}\n".encode()


class _ColumnDigest:
    """Hashes the cells of one column, in pieces of any size."""

    def __init__(self, column: Column) -> None:
        self._is_text = column.kind is Kind.TEXT
        self._nulls, self._numbers, self._texts = (hashlib.sha256() for _ in range(3))

    def update(self, cells: pl.Series) -> None:
        self._nulls.update(_bytes(cells.is_null(), "u1"))
        if self._is_text:
            self._numbers.update(_bytes(cells.str.len_bytes().fill_null(0), "<i8"))
            self._texts.update(str(cells.drop_nulls().str.join("").item() or "").encode())
        else:
            self._numbers.update(_bytes(cells.to_physical().cast(pl.Int64).fill_null(0), "<i8"))

    def hexdigest(self) -> str:
        return "".join(part.hexdigest() for part in (self._nulls, self._numbers, self._texts))


def _bytes(numbers: pl.Series, form: str) -> memoryview:
    return np.ascontiguousarray(numbers.to_numpy().astype(form, copy=False)).data


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
