"""Lines that come in pieces from other readers, kept in files until they are settled: memory stays flat.

Source: data 1 and 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from ..errors import Fault
from .lines import Context, judged, plain_way
from .notes import POSITION
from .reading import Lines, TypedFiles

Piece = tuple[int | None, pl.DataFrame]
_MOST_LINES = 500_000  # kept in memory before they are written


class _Spool:
    """The pieces of one source: written together, as many at a time as make a file worth its while."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.written: list[Path] = []
        self.lines = 0
        self._kept: list[pl.DataFrame] = []
        self._kept_lines = 0

    def add(self, rows: pl.DataFrame) -> None:
        self._kept.append(rows)
        self._kept_lines += rows.height
        if self._kept_lines >= _MOST_LINES:
            self.flush()

    def flush(self) -> None:
        if self._kept:
            path = self.folder / f"{self.name}-{len(self.written):06}.arrow"
            pl.concat(self._kept, rechunk=True).write_ipc(path, compression="lz4")
            self.written.append(path)
            self.lines += self._kept_lines
            self._kept, self._kept_lines = [], 0

    def rows(self) -> pl.LazyFrame:
        found = pl.scan_ipc(self.written, glob=False, row_index_name=POSITION)
        return found.with_columns(pl.col(POSITION).cast(pl.Int64))


def spooled(pieces: Iterable[Piece], folder: Path, context: Context) -> tuple[Lines, int]:
    """Lines in pieces, in any order, kept in `folder`; and how many came.

    A piece has the place of its typed files and rows as `TypedFiles.raw` has them, or None and judged lines.
    """
    spools: dict[int | None, _Spool] = {}
    for source, rows in pieces:
        if source not in spools:
            spools[source] = _Spool(folder, "judged" if source is None else f"typed-{source:06}")
        spools[source].add(rows)
    lines = Lines(folder)
    for source, spool in spools.items():
        spool.flush()
        if source is None:
            lines.stage(spool.rows().drop(POSITION))
        else:
            lines.typed.append(_typed_files(source, spool.rows(), context))
    return lines, sum(spool.lines for spool in spools.values())


def _typed_files(source: int, raw: pl.LazyFrame, context: Context) -> TypedFiles:
    way = plain_way(raw, source, context)
    if way is None:
        raise Fault(f"spool of source {source}", "lines that are not typed", "the types of the files")
    return TypedFiles(source, raw, way, lambda odd: judged(odd, source, context))
