"""What is known of the rows of typed files once they have been read: one whole number for each, by its position.

Rows stream past in any order of their pieces, and many at a time; a note is found again without reading the row.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    """Whole numbers above 0, kept in a file at the position of the row they stand for. 0 stands for none."""

    def __init__(self, file: Path, dtype: npt.DTypeLike) -> None:
        self._file, self.dtype = file, np.dtype(dtype)
        self._file.touch()

    @property
    def count(self) -> int:
        """Positions up to the last that was put."""
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
        """The numbers of these rows, in ascending order of their positions, each of which was put."""
        pieces = (numbers[within(positions, first, len(numbers))] for first, numbers in self.pieces())
        found = np.concatenate([np.empty(0, self.dtype), *pieces])
        if len(found) != len(positions):
            raise Fault("notes", f"{len(found)} of {len(positions)} rows", "every row, in order")
        return found

    def pieces(self) -> Iterator[tuple[int, Numbers]]:
        """The position of the first, and the numbers of all rows up to the last noted one, a piece at a time."""
        for first in self._starts():
            yield first, self._piece(first)

    def of_pieces(self, found: Callable[[int, Numbers], Numbers]) -> list[Numbers]:
        """What is found in each of the pieces, some of which are looked at side by side."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda first: found(first, self._piece(first)), self._starts()))

    def _starts(self) -> range:
        return range(0, self.count, _PIECE)

    def _piece(self, first: int) -> Numbers:
        return self.get(first, min(_PIECE, self.count - first))


class Listed:
    """Keys of one or more whole numbers each, no two alike, to be looked up by the million.

    Tables of places, found by a hash of the key: keys that met in one place of a table go on to the next table.
    """

    def __init__(self, keys: Sequence[Numbers]) -> None:
        self._keys = [np.insert(key, 0, -1) for key in keys]  # found by its number, and none by 0
        self._tables: list[Numbers] = []
        left = np.arange(1, len(keys[0]) + 1, dtype=np.uint32)
        while len(left):
            table = np.zeros(_power_of_two(8 * len(left)), np.uint32)
            places = self._places([key[left] for key in self._keys], len(self._tables), table)
            table[places] = left
            self._tables.append(table)
            if len(self._tables) > _MOST_TABLES:
                raise Fault("notes", f"{len(left)} keys that meet in every table", "no two keys alike")
            left = left[table[places] != left]

    def numbers(self, keys: Sequence[Numbers]) -> Numbers:
        """1 + the place of each key in the list, 0 for one that is not listed."""
        numbers = np.zeros(len(keys[0]), np.uint32)
        rows = np.arange(len(numbers))
        for level, table in enumerate(self._tables):
            found = table.take(self._places(keys, level, table))
            is_it = np.ones(len(rows), bool)
            for key, listed in zip(keys, self._keys, strict=True):
                is_it &= key == listed.take(found)
            numbers[rows] = found * is_it
            further = np.flatnonzero((found > 0) & ~is_it)
            rows, keys = rows[further], [key[further] for key in keys]
        return numbers

    def _places(self, keys: Sequence[Numbers], level: int, table: Numbers) -> Numbers:
        """The place of each key in the table of a level. Wrapping is meant here: nothing is counted."""
        odd = np.uint64(pow(_ODD, level + 1, 2**64))
        mixed = keys[0].view(np.uint64) * odd
        for key in keys[1:]:
            mixed = (mixed ^ key.view(np.uint64)) * odd
        return (mixed >> np.uint64(65 - len(table).bit_length())).view(np.int64)


_ODD = 0x9E3779B97F4A7C15
_MOST_TABLES = 64  # of which each holds seven eighths of the keys, or more


def _power_of_two(least: int) -> int:
    return 1 << max((least - 1).bit_length(), 1)


def within(positions: Numbers, first: int, count: int) -> Numbers:
    """Those of the positions, which are in order, that lie among `count` rows, counted from the `first` of these."""
    start, end = np.searchsorted(positions, [first, first + count])
    return positions[start:end] - first


class Careful:
    """Runs functions that write notes while polars streams rows past them.

    An error is kept until the stream has run out: raised inside, it may leave other threads of the stream waiting.
    """

    def __init__(self) -> None:
        self._errors: list[OSError] = []

    def noting(self, note: Callable[[pl.DataFrame], None], rows: pl.LazyFrame) -> pl.LazyFrame:
        """All rows, as they come past `note`."""

        def noted(some: pl.DataFrame) -> pl.DataFrame:
            try:
                if not (some.is_empty() or self._errors):
                    note(some)
            except OSError as error:
                self._errors.append(error)
            return some

        return rows.map_batches(
            noted,
            streamable=True,
            predicate_pushdown=False,  # every row must come by, whatever is asked of them
            projection_pushdown=False,
            slice_pushdown=False,
        )

    def collected(self, rows: pl.LazyFrame) -> pl.DataFrame:
        """The rows, streamed. Raises the first error of any note."""
        found = rows.collect(engine="streaming")
        if self._errors:
            raise self._errors[0]
        return found


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
        raise Fault("reading", f"{rows.height} rows from {first} to {last}", "consecutive rows")
    return int(first)
