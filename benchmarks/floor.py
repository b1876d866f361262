"""The floor: what merely reading the nine needed columns costs. No settlement can be faster.

polars' streaming scan; each column is reduced to one number that cannot be had from the file's statistics, so that
every value is decompressed and decoded.
"""

from __future__ import annotations

import polars as pl

from .job import NINE_COLUMNS, Job


def scan(job: Job) -> None:
    """Read the claims of a batch, Parquet or CSV (cells as text: a number is not even parsed)."""
    paths = sorted((job.given / "claims").iterdir())
    if paths[0].suffix == ".parquet":
        lines = pl.scan_parquet(paths, glob=False)
    else:
        lines = pl.scan_csv(paths, glob=False, infer_schema=False)
    schema = lines.collect_schema()
    lines.select(_reduced(name, schema[name]) for name in NINE_COLUMNS).collect(engine="streaming")


def _reduced(name: str, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.String:
        return pl.col(name).str.len_bytes().cast(pl.Int64).sum()
    if dtype == pl.Datetime("us"):
        return pl.col(name).dt.microsecond().cast(pl.Int64).sum()
    return pl.col(name).sum()
