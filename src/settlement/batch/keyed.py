"""Good lines by keys that a coding gives them, noted in the first reading: lines of given keys are found again without
being judged again. Source: data 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from .notes import POSITION, Listed, Notes, Numbers, first_position, within
from .staging import Staging, few_of_many

if TYPE_CHECKING:
    from .reading import Lines, TypedFiles


class Coding(Protocol):
    """Gives lines, with the columns of JUDGED but fault, their `keys` (Int64, never null nor negative)."""

    @property
    def keys(self) -> list[str]: ...

    def keyed(self, lines: pl.LazyFrame) -> pl.LazyFrame: ...


@dataclass(frozen=True)
class Keyed:
    """The good lines of a batch with the keys that a coding gives them; those of typed files noted by position."""

    lines: Lines
    coding: Coding
    staging: Staging

    def noted(self, files: TypedFiles, told: pl.LazyFrame) -> pl.LazyFrame:
        """Of all lines of some files the keys, noted as they pass, and points; the keys of lines that are not plain
        are -1. What is noted is the key + 1, for 0 stands for none."""
        keyed = self.coding.keyed(told).select(
            POSITION,
            *(pl.when("is_plain").then(key).otherwise(-1).alias(key) for key in self.coding.keys),
            "points",
        )
        kept = self._notes(files.source)

        def note(some: pl.DataFrame) -> None:
            first = first_position(some)
            for notes, key in zip(kept, self.coding.keys, strict=True):
                notes.put(first, some[key].to_numpy() + 1)

        return self.lines.careful.noting(note, keyed)

    def repeated(self) -> pl.DataFrame:
        """Keys and points of the repeated lines of typed files, which were counted with the others."""
        found = []
        for files in self.lines.typed:
            copies = self.lines.repeated_of(files)
            keys = zip(self.coding.keys, self._notes(files.source), strict=True)
            found.append(
                copies.select(
                    "points",
                    *(pl.Series(key, notes.at(copies[POSITION].to_numpy()) - 1) for key, notes in keys),
                )
            )
        schema = {"points": pl.Int64(), **dict.fromkeys(self.coding.keys, pl.Int64())}
        return pl.concat([pl.DataFrame(schema=schema), *found])

    def having(self, keys: pl.DataFrame, columns: Sequence[str]) -> Iterator[pl.LazyFrame]:
        """The good lines with one of these keys: these columns of JUDGED, and number: the place of their keys + 1.

        Streamed, in memory of their own.
        """
        listed = Listed([keys[name].to_numpy() for name in self.coding.keys])
        for files in self.lines.typed:
            yield files.picked(self._numbers(files, listed), columns).drop(POSITION)
        numbered = keys.select(*self.coding.keys, number=pl.int_range(1, pl.len() + 1, dtype=pl.UInt32))
        yield few_of_many(
            self.coding.keyed(self.lines.good_staged())
            .join(numbered.lazy(), on=self.coding.keys, how="inner")  # m:1: no two keys are alike
            .select(*columns, "number")
        )

    def _notes(self, source: int) -> list[Notes]:
        return [Notes(self.staging.path / f"{key}-{source:06}", np.int64) for key in self.coding.keys]

    def _numbers(self, files: TypedFiles, listed: Listed) -> Callable[[int, int], Numbers]:
        """The numbers of the good lines of some files by position."""
        kept, repeated = self._notes(files.source), self.lines.repeated_of(files)[POSITION].to_numpy()

        def number_of(first: int, count: int) -> Numbers:
            numbers = listed.numbers([notes.get(first, count) - 1 for notes in kept])
            numbers[within(repeated, first, count)] = 0
            return numbers

        return number_of
