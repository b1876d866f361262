"""What keeps memory flat: a temporary folder for what does not fit, and rows that hold no more than themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from weakref import finalize

import polars as pl


class Staging:
    """A folder that goes with this object, or when it is closed: in `within`, else where temporary files go."""

    def __init__(self, within: Path | None = None) -> None:
        self.path = Path(mkdtemp(prefix="settlement-", dir=within))
        self.close = finalize(self, rmtree, self.path, ignore_errors=True)


def staged(paths: Iterable[Path], schema: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """The rows of staged Parquet files, one file after the other; of none, no rows of this schema."""
    found = list(paths)
    return pl.scan_parquet(found, glob=False) if found else pl.LazyFrame(schema=schema)


def few_of_many(lines: pl.LazyFrame) -> pl.LazyFrame:
    """Lines that a filter has left of many more, streamed, in memory of their own."""
    return lines.map_batches(detached, streamable=True)


def detached(rows: pl.DataFrame) -> pl.DataFrame:
    """The same rows. What a filter leaves of texts are views, and keeps those of all the rows around them in memory."""
    kept = BytesIO()
    rows.write_ipc_stream(kept)
    kept.seek(0)
    return pl.read_ipc_stream(kept)
