"""A batch: one folder with a month of claim lines and the small tables they are settled with.

Layer 2: finding, decoding and reading; splitting good lines from rejected ones. Source: data 1 and 2.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import polars as pl

from .. import terms
from ..errors import Refusal, told_by_the_system
from ..policy import Policy
from . import csv_file, tables
from .columns import Columns, matched
from .lines import JUDGED, Context, judged, plain_way
from .notes import POSITION
from .parquet_rows import parquet_rows, wanted
from .reading import Lines, TypedFiles
from .rejected import Rejected, rejected
from .staging import Staging
from .tables import SourceFile

Progress = Callable[[str], None]
_SETTLED_ELSEWHERE = (
    "give the columns in the claims files, or add settlements.csv with setl_id and these columns"
)


@dataclass(frozen=True)
class Batch:
    """What `read_batch` found.

    `sources` are the claims files in byte order of their names; a line's `source` is the place of the first file
    of its group, its `row_number` counts through the group.
    `present`: the small tables that have a file.
    The staged copy of CSV lines lives as long as this object (or until `close`).
    """

    folder: Path
    first_day: date
    policy: Policy
    tables: dict[str, pl.DataFrame]
    present: frozenset[str]
    sources: tuple[SourceFile, ...]
    small_files: tuple[SourceFile, ...]
    files: tuple[Path, ...]
    lines: Lines
    lines_in: int
    staging: Staging = field(repr=False)

    @property
    def last_day(self) -> date:
        return last_day_of(self.first_day)

    def has_table(self, name: str) -> bool:
        """Is there a file for this small table in the batch, even without rows?"""
        return name in self.present

    @property
    def good_lines(self) -> pl.LazyFrame:
        """Lines that break no rule: the columns of JUDGED without `fault`."""
        return pl.concat(
            part.cast({"institution_id": pl.String, "insurance_type": pl.String})
            for part in self.lines.good()
        )

    @property
    def bad_lines(self) -> pl.LazyFrame:
        """Lines that break a rule: source, row_number, claim_id, line_id, points, fault."""
        return self.lines.bad()

    def rejected(self, folder: Path) -> Rejected:
        """The bad lines as the ledger knows them, staged in `folder`."""
        return rejected(self.bad_lines, self.sources, folder)

    @cached_property
    def file_sha256(self) -> dict[str, str]:
        """Name in the batch → SHA-256 of every file that was read, in byte order of the names."""
        names = [path.relative_to(self.folder).as_posix() for path in self.files]
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing lets other threads work
            return dict(zip(names, pool.map(file_sha256, self.files), strict=True))

    @cached_property
    def input_sha256(self) -> str:
        """SHA-256 over name and content of every file that was read, in byte order of the names."""
        lines = (f"{name}\n{content}\n" for name, content in self.file_sha256.items())
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def with_lines(self, good: pl.LazyFrame) -> Batch:
        """This batch with these good lines (columns of `good_lines`) instead of all its own, and no bad ones.

        For comparisons: the lines are written once to the batch's temporary folder.
        """
        folder = Path(tempfile.mkdtemp(dir=self.staging.path))
        lines = Lines(folder)
        lines.stage(good.with_columns(fault=pl.lit(None, dtype=pl.UInt8)).select(list(JUDGED)))
        return replace(self, lines=lines)

    def refuse_damaged_files(self) -> None:
        """Read every Parquet claims file once; raises Refusal for the first that cannot be read."""
        refuse_damaged([self.folder / source.name for source in self.sources], self.folder)

    def close(self) -> None:
        self.staging.close()


def file_sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def read_batch(
    path: Path | str,
    month: str | date,
    policy: Policy,
    *,
    encoding: str | None = None,
    until: date | None = None,
    scratch: Path | None = None,
    progress: Progress = lambda _: None,
) -> Batch:
    """Read the batch in folder `path` for `month` ("2026-03"), or the month only `until` a day of it.

    `scratch`: where temporary copies lie, instead of the temporary folder.
    Bad claim lines become rows with a fault. Raises Refusal for what cannot be read and Refusals for bad rows
    of the small tables, all of them named. Source: data 1 and 2.
    """
    folder, first_day = _folder(Path(path)), month_of(month)
    with _readable(folder):
        small_paths = tables.found_tables(folder)
        claims = _claims_files(folder)
        texts, small_files = {}, []
        for table, small_path in small_paths.items():
            progress(f"reading {small_path.name}")
            texts[table], found = tables.text_table(small_path, small_path.name, table, encoding)
            small_files.append(found)
        names = {table: small_path.name for table, small_path in small_paths.items()}
        typed = tables.typed_tables(texts, names, policy)
        files = [*claims, *small_paths.values()]
        reader = _Reader(folder, context_of(first_day, policy, typed, until), encoding, progress, scratch)
        return reader.batch(claims, typed, frozenset(small_paths), small_files, files)


def read_lines(
    path: Path | str,
    month: str | date,
    policy: Policy,
    small: Mapping[str, pl.DataFrame],
    present: Collection[str],
    *,
    encoding: str | None = None,
    progress: Progress = lambda _: None,
) -> Batch:
    """Read only the lines of the batch in folder `path`, to be settled with other small tables than its own.

    `small`: every small table as `Batch.tables` holds it; `present`: those that count as having a file.
    Raises Refusal for what cannot be read, and Refusals for tables that do not fit each other or the policy.
    """
    folder, first_day, tables_given = _folder(Path(path)), month_of(month), dict(small)
    with _readable(folder):
        tables.refuse_unfit(tables_given, present, policy)
        claims = _claims_files(folder)
        reader = _Reader(folder, context_of(first_day, policy, tables_given), encoding, progress)
        return reader.batch(claims, tables_given, frozenset(present), [], claims)


def line_files(path: Path) -> list[Path]:
    """The files that the lines of a batch come from: its claims files, and `settlements` if there is one.

    Raises Refusal as `read_batch`.
    """
    folder = _folder(path)
    beside = [folder / f"settlements.{ending}" for ending in ("csv", "parquet")]
    return [*_claims_files(folder), *(path for path in beside if path.exists())]


def batch_files(path: Path) -> dict[str, Path]:
    """Name in the batch → every file that `read_batch` reads. Raises Refusal as it does."""
    found = [*line_files(path), *tables.found_tables(_folder(path)).values()]
    return {file.relative_to(path).as_posix(): file for file in found}


def context_of(
    first_day: date, policy: Policy, small: Mapping[str, pl.DataFrame], until: date | None = None
) -> Context:
    """What the lines of a batch are held against. `small`: its small tables."""
    registered = frozenset(small["institutions"]["institution_id"])
    return Context(first_day, until or last_day_of(first_day), policy, registered)


def month_of(month: str | date) -> date:
    """First day of a month given as "2026-03" or as a day of it. Raises Refusal for anything else."""
    if isinstance(month, date):
        return month.replace(day=1)
    try:
        if len(month) != len("2026-03"):
            raise ValueError(month)
        return date.fromisoformat(f"{month}-01")
    except ValueError:
        raise Refusal(
            "--month", repr(month), "a month written YYYY-MM", "for example --month 2026-03"
        ) from None


def last_day_of(first_day: date) -> date:
    return (first_day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise Refusal(
            str(where), f"cannot be read: {error.strerror}", "a readable file", "check the rights"
        ) from error


@contextmanager
def room_to_write() -> Iterator[None]:
    """Claim lines are copied into the temporary folder. Raises: Refusal, if it is full."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        found = told_by_the_system(error)
        if found not in _NO_ROOM:
            raise
        raise Refusal(
            f"temporary folder {tempfile.gettempdir()}",
            found,
            "room for a copy of the claim lines",
            "make room there, or name another folder in TMPDIR; nothing was posted",
        ) from error


_NO_ROOM = [os.strerror(code).lower() for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]


@contextmanager
def _readable_parquet(name: str) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise tables.unreadable_parquet(name, error) from error


def refuse_damaged(paths: list[Path], folder: Path) -> None:
    """Read Parquet files once; raises Refusal for the first that cannot be read."""
    for path in paths:
        if path.suffix == ".parquet":
            with _readable_parquet(path.relative_to(folder).as_posix()):
                for _ in pl.scan_parquet(path, glob=False).collect_batches(chunk_size=100_000):
                    pass


def _folder(path: Path) -> Path:
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing there"
        raise Refusal(
            str(path), found, "a batch: a folder with claims, institutions and agreements", "check the path"
        )
    return path


def _claims_files(folder: Path) -> list[Path]:
    """The claims files in byte order of their names. Raises Refusal for none, or claims in two forms."""
    ways = [path for name in ("claims", "claims.csv", "claims.parquet") if (path := folder / name).exists()]
    if len(ways) > 1:
        names = " and ".join(path.name for path in ways)
        raise Refusal(str(folder), names, "one of the two", "remove the one that is not meant")
    if not ways:
        raise Refusal(
            str(folder),
            "no claims",
            "claims/*.parquet, claims/*.csv, claims.parquet or claims.csv",
            "add the claim lines",
        )
    is_folder = ways[0].is_dir()
    if is_folder != (ways[0].name == "claims"):
        found = f"a {'folder' if is_folder else 'file'} named {ways[0].name}"
        raise Refusal(
            str(folder), found, "a folder claims/, or a file claims.csv or claims.parquet", "rename it"
        )
    if not is_folder:
        return ways
    files = [path for path in ways[0].iterdir() if path.suffix in (".csv", ".parquet")]
    if not files:
        others = ", ".join(sorted(path.name for path in ways[0].iterdir())[:5])
        found = f"no such file, only {others}" if others else "no file"
        raise Refusal(
            f"{folder.name}/claims", found, "*.csv or *.parquet", "save the claim lines as CSV or Parquet"
        )
    return sorted(files, key=lambda path: path.name.encode())


def _alike(claims: list[Path], folder: Path) -> list[list[Path]]:
    """Consecutive Parquet files with the same columns and types together: one scan serves them all."""
    groups: list[list[Path]] = []
    previous: object = None
    for path in claims:
        form: object = path
        if path.suffix == ".parquet":
            with _readable_parquet(path.relative_to(folder).as_posix()):
                form = list(pl.read_parquet_schema(path).items())
        if form == previous:
            groups[-1].append(path)
        else:
            groups.append([path])
        previous = form
    return groups


class _Reader:
    """Reads the claims files of one batch: Parquet lazily, CSV through a staged copy of the judged lines."""

    def __init__(
        self,
        folder: Path,
        context: Context,
        encoding: str | None,
        progress: Progress,
        scratch: Path | None = None,
    ) -> None:
        self.folder, self.context, self.encoding, self.progress = folder, context, encoding, progress
        self.staging = Staging(scratch)
        self.sources: list[SourceFile] = []
        self.lines = Lines(self.staging.path)
        self.lines_in = 0

    def read(self, paths: list[Path]) -> None:
        """Read consecutive files of one form: one CSV file, or Parquet files with the same columns and types."""
        if paths[0].suffix == ".parquet":
            self._read_parquet(paths)
        else:
            self._read_csv(paths[0])

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _read_parquet(self, paths: list[Path]) -> None:
        place, found = len(self.sources), self._parquet_sources(paths)
        raw = parquet_rows(paths, found).with_columns(
            (pl.col(csv_file.ROW_NUMBER) - 1).cast(pl.Int64).alias(POSITION)
        )
        way = plain_way(raw, place, self.context)
        if way is None:
            self._stage_untyped(raw, place, found, paths)
        else:
            self.lines.typed.append(TypedFiles(place, raw, way, lambda odd: self._judged(odd, place, found)))

    def _stage_untyped(self, raw: pl.LazyFrame, place: int, found: Columns, paths: list[Path]) -> None:
        try:
            self.lines.stage(self._judged(raw, place, found))
        except pl.exceptions.PolarsError as error:
            refuse_damaged(paths, self.folder)
            binary = [name for name, dtype in raw.collect_schema().items() if dtype == pl.Binary]
            if binary:
                where = f"{self._name(paths[0])}, column {', '.join(binary)}"
                raise Refusal(
                    where, "bytes that are not UTF-8", "text", "store the column as text"
                ) from error
            raise

    def _parquet_sources(self, paths: list[Path]) -> Columns:
        """Register the files, rows counted through from the first; their common columns."""
        rows = 0
        for path in paths:
            name = self._name(path)
            with _readable_parquet(name):
                found = self._columns(list(pl.read_parquet_schema(path)), name)
                here = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
            self.sources.append(
                SourceFile(name, "parquet", found, len(self.sources) - paths.index(path), rows)
            )
            rows += here
        self.lines_in += rows
        return found

    def _read_csv(self, path: Path) -> None:
        place, name = len(self.sources), self._name(path)
        file = csv_file.open_csv(path, name, self.encoding)
        found = self._columns(file.header, name)
        self.sources.append(SourceFile(name, file.encoding, found, place))
        new_names = wanted(found)
        for frame in csv_file.frames(file, list(new_names)):
            self.lines.stage(self._judged(frame.lazy().rename(new_names), place, found))
            self.lines_in += frame.height
            self.progress(f"reading {name}: {self.lines_in:,} lines")

    def _columns(self, header: list[str] | tuple[str, ...], name: str) -> Columns:
        found = matched(header, terms.CLAIM_FIELDS, name)
        own = [field.name for field in terms.CLAIM_FIELDS if field.is_required]
        found.require(
            name,
            [column for column in own if column not in terms.FROM_SETTLEMENTS],
            "add the column to the export",
        )
        if "points" not in found and "amount" not in found:
            found.require(
                name, ["points"], "add points, or amount with a policy that converts yuan to points"
            )
        return found

    def _judged(self, raw: pl.LazyFrame, place: int, found: Columns) -> pl.LazyFrame:
        lacking = [name for name in terms.FROM_SETTLEMENTS if name not in found]
        if lacking:
            raw = raw.with_columns(tables.cleaned("claim_id")).join(
                self._settlements(tuple(lacking), self.sources[place]).lazy(),
                on="claim_id",
                how="left",
                validate="m:1",
            )
        return judged(raw, place, self.context)

    def _settlements(self, columns: tuple[str, ...], claims: SourceFile) -> pl.DataFrame:
        if self.settlements is None:
            raise Refusal(
                f"{claims.name}, header",
                f"no column {', '.join(columns)}, and no settlements file; columns found: {claims.columns.told}",
                "these columns in one of the two",
                _SETTLED_ELSEWHERE,
            )
        frame, source = self.settlements
        source.columns.require(source.name, columns, _SETTLED_ELSEWHERE)
        return frame.select("claim_id", *columns)

    @cached_property
    def settlements(self) -> tuple[pl.DataFrame, SourceFile] | None:
        """settlements.csv or .parquet as text, one row per claim."""
        paths = [
            path for ending in ("csv", "parquet") if (path := self.folder / f"settlements.{ending}").exists()
        ]
        if len(paths) > 1:
            raise Refusal(
                str(self.folder), "settlements.csv and settlements.parquet", "one of the two", "remove one"
            )
        return tables.settlements_table(paths[0], self.encoding) if paths else None

    def batch(
        self,
        claims: list[Path],
        typed: dict[str, pl.DataFrame],
        present: frozenset[str],
        small_files: list[SourceFile],
        files: list[Path],
    ) -> Batch:
        """Read the claims files and make the batch; whatever goes wrong leaves no temporary copy."""
        try:
            for alike in _alike(claims, self.folder):
                self.progress(f"reading {alike[0].relative_to(self.folder)}")
                self.read(alike)
            return self._made(typed, present, small_files, files)
        except BaseException:
            self.staging.close()
            raise

    def _made(
        self,
        typed: dict[str, pl.DataFrame],
        present: frozenset[str],
        small_files: list[SourceFile],
        files: list[Path],
    ) -> Batch:
        if not self.lines_in:
            names = ", ".join(source.name for source in self.sources)
            raise Refusal(
                names, "no claim lines, only a header", "at least one line", "export the month again"
            )
        if self.settlements:  # checked even where no claims file needs it
            small_files = [*small_files, self.settlements[1]]
            files = [*files, self.folder / self.settlements[1].name]
        return Batch(
            folder=self.folder,
            first_day=self.context.first_day,
            policy=self.context.policy,
            tables=typed,
            present=present,
            sources=tuple(self.sources),
            small_files=tuple(small_files),
            files=tuple(sorted(files, key=lambda path: path.relative_to(self.folder).as_posix().encode())),
            lines=self.lines,
            lines_in=self.lines_in,
            staging=self.staging,
        )
