"""Lines that come twice: found by 63-bit hashes first, and by full keys only among equal hashes.

Source: data 2. Sought among lines that broke no other rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from ..reasons import RejectRule
from .lines import FAULTS
from .notes import Notes, Numbers

KEY = ("institution_id", "claim_id", "line_id")
PLACE = ("source", "row_number")
# what of copies is compared, and where they stand
COPIED = (*PLACE, *KEY, "settled_at", "points", "amount", "is_converted")
_ODD = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)  # mix the three hashes unevenly


class Hashes:
    """The hashes of all keys of a batch, kept in files, and which of them come twice.

    They are sorted in as many parts as keep a part in memory, so that a year of lines needs no more of it than a month.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._of_files: dict[int, Notes] = {}
        self._others, self._other_lines = Notes(folder / "hashes", np.uint64), 0

    def of(self, source: int) -> Notes:
        """The hashes of the lines of typed files, by position."""
        if source not in self._of_files:
            self._of_files[source] = Notes(self._folder / f"hashes-{source:06}", np.uint64)
        return self._of_files[source]

    def add(self, hashes: pl.Series) -> None:
        """Keep the hashes of lines that are found in another way."""
        self._others.put(self._other_lines, hashes.to_numpy())
        self._other_lines += len(hashes)

    @cached_property
    def repeated(self) -> pl.Series:
        """Hashes that come more than once."""
        kept = [self._others, *self._of_files.values()]
        parts = -(-sum(notes.count for notes in kept) // _PART) or 1
        return pl.concat(_repeated_in(kept, part, parts) for part in range(parts))

    def positions(self, source: int) -> Numbers:
        """The lines of typed files whose hash comes more than once, in order."""
        repeated = self.repeated.implode()

        def found(first: int, hashes: Numbers) -> Numbers:
            return first + pl.Series(hashes).is_in(repeated).arg_true().to_numpy()

        return np.concatenate([np.empty(0, np.int64), *self.of(source).of_pieces(found)])


_PART = 40_000_000  # hashes that are sorted together: 320 MB


def _repeated_in(kept: Sequence[Notes], part: int, parts: int) -> pl.Series:
    pieces = (pl.Series(hashes) for notes in kept for _, hashes in notes.pieces())
    of_part = (some.filter((some != 0) & (some // 2 % parts == part)) for some in pieces)
    hashes = pl.concat([pl.Series(dtype=pl.UInt64), *of_part]).sort()
    return hashes.filter(hashes == hashes.shift()).unique()


def key_hash() -> pl.Expr:
    """63 bits of the whole key, never 0. (Not `hash`, for which the streaming engine would hold whole columns.)"""
    return pl.map_batches(KEY, _mixed, return_dtype=pl.UInt64, is_elementwise=True)


def _mixed(key: Sequence[pl.Series]) -> pl.Series:
    """Wrapping is meant here: nothing is counted."""
    hashes = [column.hash(seed) * odd for seed, (column, odd) in enumerate(zip(key, _ODD, strict=True))]
    return (hashes[0] + hashes[1] + hashes[2]) | 1


def repeated_lines(copies: pl.DataFrame) -> pl.DataFrame:
    """The copies to reject, with their fault.

    Rows:  one per rejected copy. Needs: COPIED of lines whose hash comes twice.
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
