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

import polars as pl

from .csv_file import ROW_NUMBER
from .duplicates import PLACE, Hashes, key_hash, place_number, repeated_lines
from .lines import JUDGED, Plain
from .staging import detached, few_of_many, staged

Reduce = Callable[[pl.LazyFrame], pl.LazyFrame]
_MOST_ODD = 100_000  # lines set aside in memory before they are written


@dataclass(frozen=True)
class TypedFiles:
    """Consecutive Parquet files of one form, whose numbers and times are typed.

    `raw`: row_number, broken and the contract's columns; `judged`: judges such rows in full.
    """

    source: int
    raw: pl.LazyFrame
    way: Plain
    judged: Reduce

    def plain(self, rows: pl.Expr | None = None) -> pl.LazyFrame:
        """The plain lines among the rows that fit: the columns of JUDGED, institution and insurance as Enum."""
        return self.way.of(self.raw if rows is None else self.raw.filter(rows))


class Lines:
    """All lines of a batch: typed files, and staged files of judged lines, bad ones with their fault.

    `lines` and `points` (10⁻⁴) count every line as it stands in its file, for the proof that none was lost.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.typed: list[TypedFiles] = []
        self.lines, self.points = 0, 0
        self._staged: list[Path] = []
        self._hashes = Hashes(folder / "hashes")
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
            points = pl.scan_parquet(path, glob=False).select(pl.len(), pl.col("points").sum()).collect()
            self._count(*points.row(0))

    def reduced(self, reduce: Reduce) -> tuple[list[pl.DataFrame], pl.DataFrame]:
        """`reduce` applied to the lines that break no rule; and to the repeated lines among these, to be taken off.

        The typed files are read only once, if this is the first question. `reduce` gets lines with the columns of
        JUDGED without fault, and is streamed.
        """
        parts = self._first_reading(reduce)
        parts.append(reduce(self._good_staged()).collect(engine="streaming"))
        return parts, reduce(self._repeated_plain.drop("fault").lazy()).collect()

    def good(self, institutions: Sequence[str] | None = None) -> list[pl.LazyFrame]:
        """Lines that break no rule, of all institutions or of these: the columns of JUDGED without fault."""
        asked = pl.lit(True)
        if institutions is not None:
            asked = pl.col("institution_id").is_in(pl.Series(institutions, dtype=pl.String).implode())
        repeated = self._repeated_plain
        typed = []
        for files in self.typed:
            rows = repeated.filter(pl.col("source") == files.source)[ROW_NUMBER]
            typed.append(files.plain(asked & ~pl.col(ROW_NUMBER).is_in(rows.implode())).drop("fault"))
        return [*typed, self._good_staged().filter(asked)]

    def bad(self) -> pl.LazyFrame:
        """Lines that break a rule: source, row_number, claim_id, line_id, points, fault."""
        columns = (*PLACE, "claim_id", "line_id", "points", "fault")
        repeated = self.repeated.lazy().select(columns)
        return pl.concat([self._all_staged().filter(pl.col("fault").is_not_null()).select(columns), repeated])

    @cached_property
    def repeated(self) -> pl.DataFrame:
        """The copies that are rejected: the columns of JUDGED, with their fault; is_staged: not a plain line."""
        if not self._is_read:
            self._first_reading(lambda lines: lines.select(pl.len()))
        unbroken = self._unbroken_staged().select(hash=key_hash())
        for morsel in unbroken.collect_batches(chunk_size=_MOST_ODD):
            self._hashes.add(morsel["hash"])
        return repeated_lines(pl.concat(self._copies()))

    def _copies(self) -> Iterator[pl.DataFrame]:
        """The lines whose hash comes more than once: the columns of JUDGED without fault, and is_staged."""
        is_repeated = key_hash().is_in(self._hashes.repeated.implode())
        unbroken = self._unbroken_staged()
        found = unbroken.head(0) if self._hashes.repeated.is_empty() else unbroken.filter(is_repeated)
        yield few_of_many(found.with_columns(is_staged=True)).collect(engine="streaming")
        for files in self.typed:
            is_asked = pl.col(ROW_NUMBER).is_in(self._hashes.rows(files.source).implode())
            plain = (
                files.plain(is_asked)
                .drop("fault")
                .with_columns(pl.col("institution_id", "insurance_type").cast(pl.String), is_staged=False)
            )
            yield few_of_many(plain).collect(engine="streaming")

    # ------------------------------------------------------------ the first reading of the typed files

    def _first_reading(self, reduce: Reduce) -> list[pl.DataFrame]:
        if self._is_read:
            return [reduce(files.plain().drop("fault")).collect(engine="streaming") for files in self.typed]
        self._is_read = True
        return [self._first_reading_of(files, reduce) for files in self.typed]

    def _first_reading_of(self, files: TypedFiles, reduce: Reduce) -> pl.DataFrame:
        reading = FirstReading(files, self._hashes, self.folder)
        found = reading.reduced(reduce)
        self._count(reading.lines, reading.points)
        self.stage(reading.odd_lines, is_counted=False)
        return found

    def _count(self, lines: int, points: int | None) -> None:
        self.lines += lines
        self.points += points or 0

    # ------------------------------------------------------------ staged lines

    def _all_staged(self) -> pl.LazyFrame:
        return staged(self._staged, JUDGED)

    def _unbroken_staged(self) -> pl.LazyFrame:
        """Staged lines that break no rule but perhaps that of duplicates."""
        return self._all_staged().filter(pl.col("fault").is_null()).drop("fault")

    def _good_staged(self) -> pl.LazyFrame:
        places = self.repeated.select(place_number()).to_series()
        return self._unbroken_staged().filter(~place_number().is_in(places.implode()))

    @property
    def _repeated_plain(self) -> pl.DataFrame:
        return self.repeated.filter(~pl.col("is_staged")).drop("is_staged")


class FirstReading:
    """The first reading of typed files: notes hashes, counts and odd lines while the plain ones stream past."""

    def __init__(self, files: TypedFiles, hashes: Hashes, folder: Path) -> None:
        self.files, self.hashes, self.folder = files, hashes, folder
        self.lines, self.points = 0, 0
        self._columns = files.raw.collect_schema().names()
        self._odd: list[pl.DataFrame] = []
        self._odd_lines = 0
        self._written: list[Path] = []
        self._noting = Lock()

    def reduced(self, reduce: Reduce) -> pl.DataFrame:
        return reduce(self.plain()).collect(engine="streaming")

    def plain(self) -> pl.LazyFrame:
        """The plain lines: the columns of JUDGED without fault."""
        return self.noted().filter("is_plain").select(self.files.way.columns).drop("fault")

    def noted(self) -> pl.LazyFrame:
        """All lines, noted as they stream past: what their file holds, its codes as numbers, is_plain and hash."""
        way = self.files.way
        return (
            self.files.raw.with_columns(way.coded)
            .with_columns(is_plain=way.is_plain, hash=key_hash())
            .map_batches(
                self._note,
                streamable=True,
                predicate_pushdown=False,  # or odd lines would never come by
                projection_pushdown=False,
                slice_pushdown=False,
            )
        )

    def _note(self, rows: pl.DataFrame) -> pl.DataFrame:
        if rows.is_empty():
            return rows
        with self._noting:
            self.hashes.add(rows["hash"], self.files.source, rows[ROW_NUMBER].cast(pl.Int64))
            self.lines += rows.height
            self.points += int(rows["points_units"].sum())
            self._set_aside(rows.select(self._columns)[rows["is_plain"].not_().arg_true()])
        return rows

    def _set_aside(self, odd: pl.DataFrame) -> None:
        self._odd.append(detached(odd))
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
