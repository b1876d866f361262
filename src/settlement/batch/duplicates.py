"""Lines that come twice: found by 64-bit hashes first, and by full keys only among equal hashes.

Source: data 2. Sought among lines that broke no other rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from ..reasons import RejectRule
from .lines import FAULTS

KEY = ("institution_id", "claim_id", "line_id")
PLACE = ("source", "row_number")
_ODD = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)  # mix the three hashes unevenly


@dataclass(frozen=True)
class _Block:
    """Hashes of rows of a source as they lie in the file. Their row numbers follow them where `first_row` is None."""

    source: int
    count: int
    first_row: int | None


class Hashes:
    """The hashes of all keys of a batch, kept in a file, and which of them come twice.

    They are sorted in as many parts as keep a part in memory, so that a year of lines needs no more of it than a month.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._blocks: list[_Block] = []

    def add(self, hashes: pl.Series, source: int = -1, rows: pl.Series | None = None) -> None:
        """Keep the hashes of rows of a source; without one, of rows that are found in another way."""
        block = _Block(source, len(hashes), 0 if rows is None else _first_if_consecutive(rows))
        with self._file.open("ab") as kept:
            kept.write(hashes.to_numpy().data)
            if rows is not None and block.first_row is None:
                kept.write(rows.to_numpy().data)
        self._blocks.append(block)

    @cached_property
    def repeated(self) -> pl.Series:
        """Hashes that come more than once."""
        parts = -(-sum(block.count for block in self._blocks) // _PART) or 1
        return pl.concat(self._repeated_in(part, parts) for part in range(parts)).unique()

    def _repeated_in(self, part: int, parts: int) -> pl.Series:
        blocks = [some.filter(some % parts == part) if parts > 1 else some for _, some, _ in self._read()]
        hashes = pl.concat(blocks or [pl.Series(dtype=pl.UInt64)]).sort()
        return hashes.filter(hashes == hashes.shift())

    def rows(self, source: int) -> pl.Series:
        """Row numbers of the lines of a source whose hash comes more than once."""
        repeated = self.repeated.implode()
        found = [
            rows.gather(hashes.is_in(repeated).arg_true())
            for of, hashes, rows in self._read()
            if of == source
        ]
        return pl.concat(found or [pl.Series(dtype=pl.Int64)])

    def _read(self) -> Iterator[tuple[int, pl.Series, pl.Series]]:
        """Source, hashes and row numbers of each block."""
        if not self._blocks:
            return
        with self._file.open("rb") as kept:
            for block in self._blocks:
                hashes = pl.Series(np.fromfile(kept, np.uint64, block.count))
                if block.first_row is None:
                    rows = pl.Series(np.fromfile(kept, np.int64, block.count))
                else:
                    rows = pl.int_range(block.first_row, block.first_row + block.count, eager=True)
                yield block.source, hashes, rows


def _first_if_consecutive(rows: pl.Series) -> int | None:
    """The first of these row numbers, no two of which are alike, if they follow each other without a gap."""
    first, last = int(rows[0]), int(rows[-1])
    return first if last - first == len(rows) - 1 and rows.is_sorted() else None


_PART = 40_000_000  # hashes that are sorted together: 320 MB


def key_hash() -> pl.Expr:
    """64 bits of the whole key. (Not `hash` itself, for which the streaming engine would hold whole columns.)"""
    return pl.map_batches(KEY, _mixed, return_dtype=pl.UInt64, is_elementwise=True)


def _mixed(key: Sequence[pl.Series]) -> pl.Series:
    """Wrapping is meant here: nothing is counted."""
    hashes = [column.hash(seed) * odd for seed, (column, odd) in enumerate(zip(key, _ODD, strict=True))]
    return hashes[0] + hashes[1] + hashes[2]


def repeated_lines(copies: pl.DataFrame) -> pl.DataFrame:
    """The copies to reject, with their fault.

    Rows:  one per rejected copy. Needs: the columns of JUDGED, without fault, of lines whose hash comes twice.
    Adds:  fault (never null), ordered by place. Cells are compared by value, not points that were converted from
           an amount.
    """
    written_points = pl.when(~pl.col("is_converted")).then(pl.col("points"))
    return (
        copies.filter(pl.struct(KEY).is_duplicated())
        .with_columns(
            differs_in_points=written_points.n_unique().over(KEY) > 1,
            differs_in_amount=pl.col("amount").n_unique().over(KEY) > 1,
            order=pl.int_range(pl.len()).over(KEY, order_by=["settled_at", *PLACE]),
        )
        .with_columns(fault=_fault())
        .drop_nulls("fault")
        .select([*copies.columns, "fault"])
        .sort(PLACE)
    )


def place_number() -> pl.Expr:
    """One whole number per place: source and row number (of which there are fewer than 2⁴⁰)."""
    return pl.col("source").cast(pl.Int64) * 2**40 + pl.col("row_number")


def _fault() -> pl.Expr:
    """If any copy differs in points or amount, all are conflicting; else all but the first are duplicates."""
    return (
        pl.when(pl.col("differs_in_points"))
        .then(_place(RejectRule.CONFLICTING_DUPLICATE, "points"))
        .when(pl.col("differs_in_amount"))
        .then(_place(RejectRule.CONFLICTING_DUPLICATE, "amount"))
        .when(pl.col("order") > 0)
        .then(_place(RejectRule.DUPLICATE_LINE, "claim_id"))
        .cast(pl.UInt8)
    )


def _place(rule: RejectRule, column: str) -> pl.Expr:
    return pl.lit(FAULTS.index((rule, column)), dtype=pl.UInt8)
