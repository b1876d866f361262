"""What is known of the rows of typed files once they have been read: one whole number for each, by its position.

Rows stream past in any order of their pieces, and many at a time; a note is found again without reading the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ..errors import Fault
from .staging import detached

Numbers = npt.NDArray[Any]
POSITION = "position"  # of a row among those of its files, from 0 without a gap
_PIECE = 4_000_000  # notes that are read together: 32 MB


class Notes:
    """Whole numbers above 0, kept in a file at the position of the row they stand for; 0 where none was noted."""

    def __init__(self, file: Path, dtype: npt.DTypeLike) -> None:
        self._file, self.dtype = file, np.dtype(dtype)
        self._file.touch()

    @property
    def count(self) -> int:
        """Positions up to the last noted one."""
        return self._file.stat().st_size // self.dtype.itemsize

    def put(self, first: int, numbers: Numbers) -> None:
        """Note the numbers of consecutive rows, the first of which has this position. Pieces may come in any order."""
        with self._file.open("r+b") as kept:
            kept.seek(first * self.dtype.itemsize)
            kept.write(np.ascontiguousarray(numbers, self.dtype).data)

    def get(self, first: int, count: int) -> Numbers:
        """The numbers of as many consecutive rows."""
        offset = first * self.dtype.itemsize
        found = np.fromfile(self._file, self.dtype, count, offset=min(offset, self._file.stat().st_size))
        return np.pad(found, (0, count - len(found)))

    def at(self, positions: Numbers) -> Numbers:
        """The numbers of these rows, in ascending order of their positions."""
        return np.concatenate(
            [numbers[within(positions, first, len(numbers))] for first, numbers in self.pieces()]
            or [np.empty(0, self.dtype)]
        )

    def pieces(self) -> Iterator[tuple[int, Numbers]]:
        """The position of the first, and the numbers of all rows up to the last noted one, a piece at a time."""
        for first in range(0, self.count, _PIECE):
            yield first, self.get(first, min(_PIECE, self.count - first))


class Listed:
    """Keys of one or more whole numbers each, no two alike, to be looked up by the million.

    A key that is not listed is told in most cases by one look at a small table; the others are sought in order.
    """

    def __init__(self, keys: Sequence[Numbers]) -> None:
        self._values = [np.unique(key) for key in keys]
        folded = self._folded(keys)
        self._order = np.argsort(folded)
        self._sorted = folded[self._order]
        self._may_be_listed = np.zeros(1 << _BITS, bool)
        self._may_be_listed[_slot(keys)] = True

    def numbers(self, keys: Sequence[Numbers]) -> Numbers:
        """1 + the place of each key in the list, 0 for one that is not listed."""
        numbers = np.zeros(len(keys[0]), np.uint32)
        if len(self._sorted):
            perhaps = np.flatnonzero(self._may_be_listed[_slot(keys)])
            folded = self._folded([key[perhaps] for key in keys])
            places = np.searchsorted(self._sorted, folded).clip(max=len(self._sorted) - 1)
            numbers[perhaps] = np.where(self._sorted[places] == folded, self._order[places] + 1, 0)
        return numbers

    def _folded(self, keys: Sequence[Numbers]) -> Numbers:
        """One whole number for each key: itself, or the places of its parts among the listed ones."""
        if len(keys) == 1:
            return keys[0]
        folded = np.zeros(len(keys[0]), np.int64)
        for key, values in zip(keys, self._values, strict=True):
            places = np.searchsorted(values, key).clip(max=max(len(values) - 1, 0))
            is_known = values[places] == key if len(values) else np.zeros(len(key), bool)
            folded = folded * (len(values) + 1) + np.where(is_known, places, len(values))
        return folded


_BITS = 21
_ODD = np.uint64(0x9E3779B97F4A7C15)


def _slot(keys: Sequence[Numbers]) -> Numbers:
    """Wrapping is meant here: nothing is counted."""
    mixed = np.zeros(len(keys[0]), np.uint64)
    for key in keys:
        mixed = (mixed + key.view(np.uint64)) * _ODD
    return mixed >> np.uint64(64 - _BITS)


def within(positions: Numbers, first: int, count: int) -> Numbers:
    """Those of the positions, which are in order, that lie among `count` rows, counted from the `first` of these."""
    start, end = np.searchsorted(positions, [first, first + count])
    return positions[start:end] - first


def picked(rows: pl.LazyFrame, number_of: Callable[[int, int], Numbers]) -> pl.LazyFrame:
    """The rows that have a number, picked by their positions while they stream past.

    Rows:  those whose number is not 0, in memory of their own. Needs: position.
    Adds:  number (UInt32). `number_of`: as `Notes.get`.
    """

    def pick(some: pl.DataFrame) -> pl.DataFrame:
        numbers = number_of(first_position(some), some.height)
        places = np.flatnonzero(numbers)
        return detached(some[places].with_columns(number=pl.Series(numbers[places], dtype=pl.UInt32)))

    return rows.map_batches(
        pick,
        schema={**rows.collect_schema(), "number": pl.UInt32()},
        streamable=True,
        predicate_pushdown=False,
        projection_pushdown=False,
        slice_pushdown=False,
    )


def first_position(rows: pl.DataFrame) -> int:
    """The position of the first of consecutive rows."""
    if rows.is_empty():
        return 0
    first, last = rows[POSITION][0], rows[POSITION][-1]
    if last - first != rows.height - 1:
        raise Fault("reading", f"rows {first} to {last} in {rows.height} pieces", "consecutive rows")
    return int(first)
