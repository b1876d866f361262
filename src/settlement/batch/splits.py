"""Cutting the lines of a batch into splits that are read apart from each other, wherever the files can be seen.

A split is read by polars as one machine reads the whole, so that every cell means the same. Source: data 1 and 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from .columns import Columns
from .csv_file import ROW_NUMBER
from .parquet_rows import parquet_rows
from .tables import SourceFile, cleaned

if TYPE_CHECKING:
    from . import Batch

MOST_LINES = 1_000_000  # of a split, if its row groups are no larger
MORSEL = 500_000  # lines that are in memory together


@dataclass(frozen=True)
class Split:
    """Consecutive rows of the Parquet file `name` in `folder`, `rows` of them after the `first`.

    `source`: the place of typed files, whose `columns` these are and whose rows count on from `rows_before`; None for
    a file of judged lines, which know their own place.
    """

    folder: Path
    name: str
    first: int
    rows: int
    source: int | None = None
    rows_before: int = 0
    columns: Columns | None = None

    @property
    def path(self) -> Path:
        return self.folder / self.name

    def lines(self) -> pl.LazyFrame:
        """The rows as `TypedFiles.raw` has them, or with the columns of JUDGED."""
        if self.columns is None:
            scan = pl.scan_parquet(self.path, glob=False)
        else:
            scan = parquet_rows([self.path], self.columns, self.rows_before)
        return scan.slice(self.first, self.rows)

    def morsels(self) -> Iterator[pl.DataFrame]:
        """The rows in pieces that fit into memory."""
        yield from self.lines().collect_batches(chunk_size=MORSEL)


def splits_of(batch: Batch, most: int = MOST_LINES) -> list[Split]:
    """All lines of a batch in splits of whole row groups, together at most `most` lines, or one row group."""
    typed, folder = {files.source for files in batch.lines.typed}, batch.folder.absolute()
    files = [file for file in batch.sources if file.group in typed]
    judged = chain.from_iterable(_judged_splits(path, most) for path in batch.lines.staged)
    return [*judged, *chain.from_iterable(_typed_splits(folder, file, most) for file in files)]


def _judged_splits(path: Path, most: int) -> Iterator[Split]:
    pieces = _pieces(_row_groups(path), most)
    return (Split(path.parent.absolute(), path.name, first, rows) for first, rows in pieces)


def _typed_splits(folder: Path, file: SourceFile, most: int) -> Iterator[Split]:
    pieces = _pieces(_row_groups(folder / file.name), most)
    return (
        Split(folder, file.name, first, rows, file.group, file.rows_before, file.columns)
        for first, rows in pieces
    )


def _row_groups(path: Path) -> list[int]:
    """Rows of each row group."""
    from pyarrow import parquet  # of the extra `spark`

    found = parquet.read_metadata(path)
    return [found.row_group(number).num_rows for number in range(found.num_row_groups)]


def _pieces(groups: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Rows before and rows of consecutive groups that are read together."""
    first, rows = 0, 0
    for group in groups:
        if rows and rows + group > most:
            yield first, rows
            first, rows = first + rows, 0
        rows += group
    if rows:
        yield first, rows


@dataclass(frozen=True)
class Division:
    """Which shard the lines of each institution belong to: whole numbers from 0.

    `shard_of`: institution_id, shard. Lines of unknown institutions, all to be rejected, go to any shard.
    """

    shard_of: pl.DataFrame
    shards: int

    def shard(self) -> pl.Expr:
        """The shard of a line. Needs: institution_id, row_number."""
        known = place_of(self.shard_of["institution_id"], self.shard_of["shard"])
        return pl.coalesce(known, pl.col(ROW_NUMBER) % self.shards).cast(pl.Int32)

    def cut(self, lines: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
        """The lines of each shard."""
        marked = lines.with_columns(_shard=self.shard())
        for (shard,), rows in marked.partition_by("_shard", as_dict=True, include_key=False).items():
            yield int(shard), rows


def place_of(institutions: pl.Series, places: pl.Series) -> pl.Expr:
    """The place of a line's institution, null for one that is not listed: one lookup for each line."""
    code = cleaned("institution_id").cast(pl.Enum(institutions), strict=False).to_physical()
    return pl.lit(places).gather(code)


def counted(splits: Iterable[Split], settling: pl.DataFrame) -> pl.DataFrame:
    """settling_id, lines of every settling institution with lines. Reads one column. `settling`: as for `divided`."""
    order = settling.select(pl.col("settling_id").unique().sort()).with_row_index("place")
    places = settling.join(order, on="settling_id", how="left", validate="m:1")
    place = place_of(places["institution_id"], places["place"])
    parts = [
        split.lines().select(place=place).group_by("place").agg(lines=pl.len()).collect(engine="streaming")
        for split in splits
    ]
    lines = pl.concat(parts).group_by("place").agg(pl.col("lines").cast(pl.Int64).sum())
    return order.join(lines, on="place", how="inner", validate="1:1").select("settling_id", "lines")


def divided(settling: pl.DataFrame, lines: pl.DataFrame, shards: int) -> Division:
    """Shards of consecutive settling institutions in canonical order, with about equally many lines each.

    `settling`: institution_id, settling_id of every registered institution; `lines`: settling_id, lines.
    There are at most `shards`, and each has lines, if any institution has.
    """
    counted = (
        settling.select(pl.col("settling_id").unique().sort())
        .join(lines, on="settling_id", how="left", validate="1:1", maintain_order="left")
        .with_columns(pl.col("lines").fill_null(0))
    )
    middle = 2 * pl.col("lines").cum_sum() - pl.col("lines")
    total = 2 * max(counted["lines"].sum(), 1)
    share = pl.when(pl.col("lines") > 0).then(middle * shards // total)
    numbered = counted.select("settling_id", shard=share.rank("dense") - 1)
    filled = numbered.with_columns(pl.col("shard").forward_fill().backward_fill().fill_null(0).cast(pl.Int32))
    shard_of = settling.join(filled, on="settling_id", how="left", validate="m:1")
    return Division(
        shard_of.select("institution_id", "shard").sort("institution_id"), int(str(filled["shard"].max())) + 1
    )
