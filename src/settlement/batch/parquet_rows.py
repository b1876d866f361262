"""The rows of Parquet claims files under the contract's names, numbered. Source: data 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from . import csv_file
from .columns import Columns


def wanted(found: Columns) -> dict[str, str]:
    """Name in the file → contract name. person_id is never even read: it must not reach any output or trace."""
    return {column: alias for alias, column in found.header_of.items() if alias != "person_id"}


def parquet_rows(paths: Sequence[Path], found: Columns, rows_before: int = 0) -> pl.LazyFrame:
    """Rows of files of one form: row_number, counted through them after `rows_before`, broken, and their columns."""
    scan = pl.scan_parquet(
        list(paths), row_index_name=csv_file.ROW_NUMBER, row_index_offset=rows_before + 1, glob=False
    )
    return scan.select(
        csv_file.ROW_NUMBER,
        pl.lit(None, dtype=pl.String).alias(csv_file.BROKEN),
        *(pl.col(column).alias(alias) for column, alias in wanted(found).items()),
    )
