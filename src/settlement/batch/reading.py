"""The lines of a batch, read once: what becomes of each is noted on the way.

Typed Parquet files are read where they lie; CSV and untyped Parquet has been judged into staged files before. The
first reading of a typed file serves everything at once: good lines go on to be summed, hashes of the keys are kept,
odd lines are set aside and judged in full, and the points of every line are counted as they stand. Source: data 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
import polars as pl

from .csv_file import ROW_NUMBER
from .duplicates import COPIED, PLACE, Hashes, key_hash, place_number, repeated_lines
from .keyed import Coding, Keyed
from .lines import JUDGED, Plain
from .notes import POSITION, Careful, Notes, Numbers, first_position, picked, within
from .staging import Staging, detached, few_of_many, staged

Reduce = Callable[[pl.LazyFrame], pl.LazyFrame]
_MOST_ODD = 100_000  # lines set aside in memory before they are written


@dataclass(frozen=True)
class TypedFiles:
    """Consecutive Parquet files of one form, whose numbers and times are typed.

    `raw`: position, row_number, broken and the contract's columns; `judged`: judges such rows in full.
    """

    source: int
    raw: pl.LazyFrame
    way: Plain
    judged: Reduce

    def told(self) -> pl.LazyFrame:
        """All lines: position, is_plain and the columns of JUDGED without fault, institution and insurance as Enum.

        What these columns hold of a line that is not plain means nothing.
        """
        return (
            self.raw.with_columns(self.way.coded)
            .with_columns(is_plain=self.way.is_plain)
            .select(self.told_columns)
        )

    @property
    def told_columns(self) -> list[pl.Expr]:
        """From rows with their codes and is_plain to what is told of lines."""
        columns = (column for column in self.way.columns if column.meta.output_name() != "fault")
        return [pl.col(POSITION), pl.col("is_plain"), *columns]

    def picked(self, number_of: Callable[[int, int], Numbers], columns: Sequence[str]) -> pl.LazyFrame:
        """Plain lines that have a number by their position: these columns of JUDGED, position, number."""
        stored = [name for name in self.raw.collect_schema() if name in (POSITION, ROW_NUMBER, *columns)]
        some = self.way.told_by(picked(self.raw.select(stored), number_of), stored)
        return some.select(*(pl.col(name).cast(JUDGED[name]) for name in columns), POSITION, "number")


class Lines:
    """All lines of a batch: typed files, and staged files of judged lines, bad ones with their fault.

    `lines` and `points` (10⁻⁴) count every line as it stands in its file, for the proof that none was lost;
    `most_points`: no good line has more, whatever their sign.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.typed: list[TypedFiles] = []
        self.lines, self.points, self.most_points = 0, 0, 0
        self._staged: list[Path] = []
        self.careful = Careful()
        self._hashes = Hashes(folder)
        self._is_read = False

    @property
    def staged(self) -> tuple[Path, ...]:
        """The files of judged lines, columns of JUDGED."""
        return tuple(self._staged)

    def stage(self, judged: pl.LazyFrame, *, is_counted: bool = True) -> None:
        """Write judged lines once, so that each later step only scans them."""
        path = self.folder / f"judged-{len(self._staged):06}.parquet"
        judged.sink_parquet(path, compression="lz4")
        self._staged.append(path)
        if is_counted:
            points = pl.col("points")
            counted = pl.scan_parquet(path, glob=False).select(
                lines=pl.len(), points=points.sum(), most_points=points.abs().max()
            )
            self._count(*counted.collect().row(0))

    def reduced(self, coding: Coding, reduce: Reduce) -> tuple[list[pl.DataFrame], pl.DataFrame, Keyed]:
        """`reduce` applied to the lines that break no rule; to the repeated lines among these, to be taken off; and
        the good lines by their keys.

        The typed files are read only once, if this is the first question. `reduce` gets the lines' keys and points,
        and is streamed.
        """
        keyed = Keyed(self, coding, Staging(self.folder))
        plain = pl.col(coding.keys[0]) >= 0
        parts = self._read(lambda files, told: reduce(keyed.noted(files, told)).filter(plain))
        good = coding.keyed(self.good_staged()).select(*coding.keys, "points")
        parts.append(reduce(good).collect(engine="streaming"))
        return parts, reduce(keyed.repeated().lazy()).collect(), keyed

    def good(self) -> list[pl.LazyFrame]:
        """Lines that break no rule: the columns of JUDGED without fault."""
        typed = []
        for files in self.typed:
            copies = self.repeated_of(files)[POSITION].implode()
            good = pl.col("is_plain") & ~pl.col(POSITION).is_in(copies)
            typed.append(files.told().filter(good).drop(POSITION, "is_plain"))
        return [*typed, self.good_staged()]

    def bad(self) -> pl.LazyFrame:
        """Lines that break a rule: source, row_number, claim_id, line_id, points, fault."""
        columns = (*PLACE, "claim_id", "line_id", "points", "fault")
        repeated = self.repeated.lazy().select(columns)
        return pl.concat([self._all_staged().filter(pl.col("fault").is_not_null()).select(columns), repeated])

    @cached_property
    def repeated(self) -> pl.DataFrame:
        """The copies that are rejected: COPIED, fault, and position, null for staged lines."""
        if not self._is_read:
            self._read(lambda _, told: told.select(pl.len()))
        unbroken = self._unbroken_staged().select(hash=key_hash())
        for morsel in unbroken.collect_batches(chunk_size=_MOST_ODD):
            self._hashes.add(morsel["hash"])
        return repeated_lines(pl.concat(self._copies()))

    def repeated_of(self, files: TypedFiles) -> pl.DataFrame:
        """The copies among the plain lines of some files that are rejected, in order of position."""
        is_of_files = (pl.col("source") == files.source) & pl.col(POSITION).is_not_null()
        return self.repeated.filter(is_of_files).sort(POSITION)

    def _copies(self) -> Iterator[pl.DataFrame]:
        """The lines whose hash comes more than once: COPIED, position."""
        is_repeated = key_hash().is_in(self._hashes.repeated.implode())
        unbroken = self._unbroken_staged()
        found = unbroken.head(0) if self._hashes.repeated.is_empty() else unbroken.filter(is_repeated)
        no_position = pl.lit(None, dtype=pl.Int64).alias(POSITION)
        yield few_of_many(found.select(*COPIED, no_position)).collect(engine="streaming")
        for files in self.typed:
            positions = self._hashes.positions(files.source)
            if len(positions):
                plain = files.picked(_marked(positions), COPIED)
                yield plain.drop("number").collect(engine="streaming")

    # ------------------------------------------------------------ the first reading of the typed files

    def _read(self, reduce: Callable[[TypedFiles, pl.LazyFrame], pl.LazyFrame]) -> list[pl.DataFrame]:
        """`reduce` applied to what is told of the lines of each of the typed files; the first time all is noted."""
        if self._is_read:
            return [self.careful.collected(reduce(files, files.told())) for files in self.typed]
        self._is_read = True
        return [self._first_reading_of(files, reduce) for files in self.typed]

    def _first_reading_of(
        self, files: TypedFiles, reduce: Callable[[TypedFiles, pl.LazyFrame], pl.LazyFrame]
    ) -> pl.DataFrame:
        reading = FirstReading(files, self._hashes.of(files.source), self.folder, self.careful)
        found = self.careful.collected(reduce(files, reading.told()))
        self._count(reading.lines, reading.points, reading.most_points)
        self.stage(reading.odd_lines, is_counted=False)
        return found

    def _count(self, lines: int, points: int | None, most_points: int | None) -> None:
        self.lines += lines
        self.points += points or 0
        self.most_points = max(self.most_points, most_points or 0)

    # ------------------------------------------------------------ staged lines

    def _all_staged(self) -> pl.LazyFrame:
        return staged(self._staged, JUDGED)

    def _unbroken_staged(self) -> pl.LazyFrame:
        """Staged lines that break no rule but perhaps that of duplicates."""
        return self._all_staged().filter(pl.col("fault").is_null()).drop("fault")

    def good_staged(self) -> pl.LazyFrame:
        """Staged lines that break no rule."""
        places = self.repeated.select(place_number()).to_series()
        return self._unbroken_staged().filter(~place_number().is_in(places.implode()))


def _marked(positions: Numbers) -> Callable[[int, int], Numbers]:
    """1 for each of these positions, which are in order."""

    def number_of(first: int, count: int) -> Numbers:
        numbers = np.zeros(count, np.uint32)
        numbers[within(positions, first, count)] = 1
        return numbers

    return number_of


class FirstReading:
    """The first reading of typed files: notes hashes, counts and odd lines while the plain ones stream past."""

    def __init__(self, files: TypedFiles, hashes: Notes, folder: Path, careful: Careful) -> None:
        self.files, self.hashes, self.folder, self.careful = files, hashes, folder, careful
        self.lines, self.points, self.most_points = 0, 0, 0
        self._columns = [name for name in files.raw.collect_schema() if name != POSITION]
        self._odd: list[pl.DataFrame] = []
        self._odd_lines = 0
        self._written: list[Path] = []
        self._noting = Lock()

    def told(self) -> pl.LazyFrame:
        """What is told of all lines."""
        return self.noted().select(self.files.told_columns)

    def noted(self) -> pl.LazyFrame:
        """All lines, noted as they stream past: what their file holds, its codes as numbers, is_plain and hash (0 for
        a line that is not plain)."""
        way = self.files.way
        told = self.files.raw.with_columns(way.coded).with_columns(is_plain=way.is_plain)
        return self.careful.noting(
            self._note, told.with_columns(hash=pl.when("is_plain").then(key_hash()).otherwise(0))
        )

    def _note(self, rows: pl.DataFrame) -> None:
        self.hashes.put(first_position(rows), rows["hash"].to_numpy())
        points = rows["points_units"]
        most = points.abs().max()
        odd = detached(rows.select(self._columns)[rows["is_plain"].not_().arg_true()])
        with self._noting:
            self.lines += rows.height
            self.points += int(points.sum())
            self.most_points = max(self.most_points, most if isinstance(most, int) else 0)
            self._set_aside(odd)

    def _set_aside(self, odd: pl.DataFrame) -> None:
        self._odd.append(odd)
        self._odd_lines += odd.height
        if self._odd_lines > _MOST_ODD:
            path = self.folder / f"odd-{self.files.source:05}-{len(self._written):06}.parquet"
            pl.concat(self._odd).write_parquet(path, compression="lz4")
            self._written.append(path)
            self._odd, self._odd_lines = [], 0

    @property
    def odd_lines(self) -> pl.LazyFrame:
        """The lines that are not plain, judged in full."""
        written = [pl.scan_parquet(self._written, glob=False)] if self._written else []
        kept = [pl.concat(self._odd).lazy()] if self._odd else []
        return self.files.judged(pl.concat([*written, *kept]) if written or kept else self.files.raw.head(0))
