"""The record: journal.jsonl and runs/<run_id>/*.parquet, written once and never changed.

An act is all or nothing. Its commit point is the journal line, which is written last and in one write; a kill
before it leaves files that the next writer removes. Source: data 3, rules 11.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from ..errors import Fault, Refusal, told_by_the_system
from ..terms import ANNUAL_STATEMENTS, LEDGER_TABLES, RUNS, STATEMENTS, Table
from . import inputs
from .digest import check_schema, results_sha256, table_sha256
from .inputs import Inputs, read_inputs
from .journal import (
    CLEARED,
    CLOSED,
    GENESIS,
    POSTED,
    RESTATED,
    Act,
    is_run_id,
    read_journal,
    run_id_of,
    sealed,
    statuses_of,
    version_of,
)

__all__ = ["Ledger", "LedgerInUse", "results_sha256", "stage_inputs", "stage_table", "table_sha256"]

_STAGED = re.compile(r"[0-9]+-[0-9a-f]{16}")
_TABLES = {table.name: table for table in LEDGER_TABLES}


class LedgerInUse(Refusal):
    """Another process writes to the ledger."""


class Ledger:
    """A ledger folder. Reading needs no lock and changes nothing; every writing method needs `lock()`.

    Raises: Refusal, for a path that DuckDB cannot write to.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).absolute()
        self._depth = 0
        self._known: tuple[bytes, list[Act], int] = (b"", [], 0)
        if "?" in str(self.folder):
            # DuckDB takes what follows for options: the file for analysts could not be made
            raise Refusal(
                f"ledger {self.folder}",
                "a question mark in the path",
                "a path without one",
                "name another folder, or rename this one",
            )

    @property
    def journal(self) -> Path:
        return self.folder / "journal.jsonl"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def clearings(self) -> Path:
        """One folder for each cleared year."""
        return self.folder / "clearings"

    @property
    def database(self) -> Path:
        """The DuckDB file for analysts, made from the record by `publish`."""
        return self.folder / "settlement.duckdb"

    # ------------------------------------------------------------ reading

    def acts(self) -> list[Act]:
        """The acts, oldest first; none if nothing was posted yet. A torn last line is no act.

        Raises: Refusal naming the line, if the chain is broken.
        """
        return self._read()[0]

    @property
    def months(self) -> list[date]:
        """The months that have a run, oldest first."""
        return sorted({act.month for act in self.acts() if act.month and act.made_run})

    @property
    def statuses(self) -> dict[str, str]:
        """Run id → open, superseded, closed or restated, in the order of posting. Source: rules 11."""
        return statuses_of(self.acts())

    def newest_run(self, month: date) -> Act | None:
        """The act that posted the newest run of the month."""
        acts = [act for act in self.acts() if act.month == month and act.made_run]
        return acts[-1] if acts else None

    def has_statements(self, run_id: str) -> bool:
        """Does the run pay anybody? One without money tables has no statements (rules 8.1)."""
        return bool(self.scan(run_id, STATEMENTS.name).select(pl.len() > 0).collect().item())

    def is_closed(self, month: date) -> bool:
        return any(act.act == CLOSED and act.month == month for act in self.acts())

    def clearing_of(self, year: int) -> Act | None:
        """The act that cleared the year, if one did."""
        return next((act for act in self.acts() if act.cleared_year == year), None)

    def annual_statements(self, year: int) -> Path:
        """The record's file of a cleared year."""
        return self.clearings / f"{year:04}" / f"{ANNUAL_STATEMENTS.name}.parquet"

    def path(self, run_id: str, table: str) -> Path:
        """The record's file of one table of one run."""
        if not is_run_id(run_id) or table not in _TABLES:
            raise Refusal(
                f"ledger {self.folder}",
                f"no table {table} of run {run_id}",
                "a run id such as 2026-03.1",
                "see `settlement runs`",
            )
        path = self.runs / run_id / f"{table}.parquet"
        for part in (self.runs, path.parent, path):
            if part.is_symlink():
                raise Refusal(
                    str(part), "a symbolic link", "what the ledger wrote", "see `settlement verify`"
                )
        return path

    def scan(self, run_id: str, table: str) -> pl.LazyFrame:
        """The rows of one table of one run, as recorded: in `runs` the status is `open` and the hash null."""
        path = self.path(run_id, table)
        if not path.is_file():
            raise _no_run(self.folder, run_id)
        return pl.scan_parquet(path, glob=False)

    def act_of(self, run_id: str) -> Act:
        """The act that posted the run. Raises: Refusal, if the journal knows no such run."""
        for act in self.acts():
            if act.made_run and act.run_id == run_id:
                return act
        raise _no_run(self.folder, run_id)

    def inputs(self, run_id: str) -> Inputs:
        """What the run was settled from, held against the journal's hashes.

        Raises: Refusal, for a run that was posted without its inputs, or if a file of them was changed.
        """
        return self.inputs_of(self.act_of(run_id))

    def inputs_of(self, act: Act) -> Inputs:
        """What the run of this act was settled from. Raises: as `inputs`."""
        names = (f"runs/{act.run_id}/{inputs.FOLDER}/{name}" for name in inputs.FILES)
        files, hashes = {self.folder / name: name for name in names}, act.files
        for path, name in files.items():
            if name not in hashes:
                raise _refused_inputs(path, "not kept with the run", "a run that was posted with its inputs")
            if not path.is_file() or _sha256(path) != hashes[name]:
                raise _refused_inputs(path, "missing or changed", "the file as the journal knows it")
        return read_inputs(self.runs / str(act.run_id) / inputs.FOLDER)

    def recorded(self, run_id: str) -> dict[str, pl.DataFrame]:
        """The recorded tables that hold what a run came to: runs, settlements, statements, adjustments."""
        names = ("runs", "settlements", "statements", "adjustments")
        return {name: self.scan(run_id, name).collect() for name in names}

    # ------------------------------------------------------------ writing

    @contextmanager
    def lock(self) -> Iterator[Ledger]:
        """Makes this process the ledger's one writer, and repairs what a killed one left behind.

        May be entered again by its holder. Whatever is written inside belongs to owner and group only.

        Raises: LedgerInUse at once, naming the holder's process id; Refusal, if the folder cannot be written.
        """
        if self._depth:
            self._depth += 1
            try:
                yield self
            finally:
                self._depth -= 1
            return
        with owner_and_group_only(), self._exclusive():
            self._depth = 1
            try:
                with refusing_what_cannot_be_written(self.folder):
                    self._repair()
                yield self
            finally:
                self._depth = 0

    def staging(self) -> Path:
        """A fresh folder in which a run writes its tables, one `<table>.parquet` each."""
        self._must_be_locked()
        folder = self.folder / "staging" / f"{os.getpid()}-{secrets.token_hex(8)}"
        with refusing_what_cannot_be_written(self.folder):
            folder.mkdir(parents=True)
        return folder

    def next_run_id(self, month: date, *, is_restating: bool = False) -> str:
        """The id of the month's next run, for the rows' `run_id`; it is kept free as long as the lock is held.

        Raises: Refusal, if the month is closed, or if it is restated and is not. Source: rules 11.
        """
        self._must_be_locked()
        if self.is_closed(month) and not is_restating:
            raise Refusal(
                f"ledger {self.folder}",
                f"month {month:%Y-%m} is closed",
                "an open month",
                f"settle the whole month anew: `settlement restate BATCH --month {month:%Y-%m} --reason TEXT`",
            )
        if is_restating and not self.is_closed(month):
            raise Refusal(
                f"ledger {self.folder}",
                f"month {month:%Y-%m} is not closed",
                "a closed month: an open one is simply run again",
                f"`settlement run BATCH --month {month:%Y-%m}`, or close the month first",
            )
        newest = self.newest_run(month)
        return run_id_of(month, version_of(newest.run_id) + 1 if newest and newest.run_id else 1)

    def post_run(
        self, staged: Path, month: date, results_sha256: str, at: datetime, reason: str | None = None
    ) -> Act:
        """Posts the staged tables as the month's next run: the whole run, or nothing.

        `staged`: a folder of `staging()` with a file of every ledger table, whose rows carry `next_run_id(month)`,
        and what `stage_inputs` wrote; it is moved, not copied. `at`: in UTC if it has no time zone.

        Raises: Refusal, if the month is closed or the folder cannot be written; Fault, if the staged tables are
        not what the dictionary says.
        """
        run_id = self.next_run_id(month, is_restating=reason is not None)
        if staged.parent != self.folder / "staging":
            raise Fault(str(staged), "a folder outside the ledger", "a folder of staging()")
        _check_staged(staged, run_id, month, results_sha256)
        with refusing_what_cannot_be_written(self.folder):
            found = sorted(
                path.relative_to(staged).as_posix() for path in staged.rglob("*") if path.is_file()
            )
            files = {f"runs/{run_id}/{name}": _sealed_file(staged / name) for name in found}
            self._announce(f"runs/{run_id}")
            self._move_into_place(staged, self.runs / run_id)
            act = self._append(
                POSTED if reason is None else RESTATED,
                month,
                at,
                run_id=run_id,
                reason=reason,
                files=files,
                results_sha256=results_sha256,
            )
        with suppress(OSError):  # the act is done; the next writer removes an announcement that has served
            self._announcement.unlink()
        return act

    def close(self, month: date, at: datetime) -> Act:
        """Closes a month: its newest run stands, and only a restatement can follow. `at`: in UTC if it has no zone.

        Raises: Refusal, for a month without a run, one that is closed, or a folder that cannot be written.
        Source: rules 11.
        """
        self._must_be_locked()
        newest = self.newest_run(month)
        if newest is None:
            raise Refusal(
                f"ledger {self.folder}",
                f"no run of month {month:%Y-%m}",
                "a month that was settled",
                f"`settlement run BATCH --month {month:%Y-%m}` first",
            )
        if self.is_closed(month):
            raise Refusal(
                f"ledger {self.folder}",
                f"month {month:%Y-%m} is closed already",
                "an open month",
                f"correct it, if need be: `settlement restate BATCH --month {month:%Y-%m} --reason TEXT`",
            )
        with refusing_what_cannot_be_written(self.folder):
            return self._append(CLOSED, month, at, run_id=newest.run_id)

    def post_clearing(self, staged: Path, year: int, results_sha256: str, reason: str, at: datetime) -> Act:
        """Posts the staged `annual_statements` of a year: all of it, or nothing. Its act names no month and no run.

        `staged`: a folder of `staging()` with that one file; it is moved, not copied.

        Raises: Refusal, if the year is cleared already or the folder cannot be written; Fault for another file.
        Source: rules 8.4.
        """
        self._must_be_locked()
        if self.clearing_of(year):
            raise Refusal(
                f"ledger {self.folder}",
                f"year {year} is cleared already",
                "a year that is not",
                f'see `settlement sql "from annual_statements where year = {year}"`',
            )
        path, target = staged / self.annual_statements(year).name, self.annual_statements(year)
        if table_sha256(ANNUAL_STATEMENTS, path) != results_sha256 or list(staged.iterdir()) != [path]:
            raise Fault(
                str(staged), "other files or rows", f"the annual statements of {year}, with their hash"
            )
        with refusing_what_cannot_be_written(self.folder):
            files = {target.relative_to(self.folder).as_posix(): _sealed_file(path)}
            self._announce(target.parent.relative_to(self.folder).as_posix())
            self._move_into_place(staged, target.parent)
            act = self._append(CLEARED, None, at, reason=reason, files=files, results_sha256=results_sha256)
        with suppress(OSError):
            self._announcement.unlink()
        return act

    def _append(
        self,
        act: str,
        month: date | None,
        at: datetime,
        *,
        run_id: str | None = None,
        reason: str | None = None,
        files: Mapping[str, str] | None = None,
        results_sha256: str | None = None,
    ) -> Act:
        """Appends one act to the journal in one write. This is the commit point of every act."""
        self._must_be_locked()
        acts, size = self._read()
        previous = acts[-1] if acts else None
        line = sealed(
            Act(
                seq=previous.seq + 1 if previous else 1,
                act=act,
                run_id=run_id,
                month=month,
                at=_utc(at),
                reason=reason,
                files=files or {},
                results_sha256=results_sha256,
                previous_hash=previous.hash if previous else GENESIS,
            )
        )
        _append_durably(self.journal, line.line, size)
        return line

    # ------------------------------------------------------------ the atomic act, and repair after a kill

    @property
    def _announcement(self) -> Path:
        """Holds the path of the folder that is being moved into place: of a run, or of a year's clearing.

        It tells a crash from a loss: a folder without a journal line is removed only if it was announced.
        Any other one means that the journal lost a line, and the folder is evidence.
        """
        return self.folder / "posting"

    def _announce(self, folder: str) -> None:
        self._announcement.write_text(folder)
        fsync(self._announcement)
        fsync(self.folder)

    def _move_into_place(self, staged: Path, target: Path) -> None:
        for folder in (path for path in (*staged.iterdir(), staged) if path.is_dir()):
            fsync(folder)
        target.parent.mkdir(exist_ok=True)
        staged.rename(target)
        for folder in (target.parent, self.folder / "staging", self.folder):
            fsync(folder)

    def _read(self) -> tuple[list[Act], int]:
        try:
            content = self.journal.read_bytes()
        except FileNotFoundError:
            return [], 0
        except OSError as error:
            raise unreadable(self.journal, error) from error
        if content != self._known[0]:  # thousands of hashes are checked once, not at every question
            self._known = (content, *read_journal(content, str(self.journal)))
        return list(self._known[1]), self._known[2]

    def _repair(self) -> None:
        """Brings the folder back to its last whole act. Safe to be killed at any instant, and to be done again."""
        acts, size = self._read()
        if self.journal.exists():
            _resize(self.journal, size)
        self._remove_unposted(acts)
        for leftover in _entries(self.folder / "staging"):
            if _STAGED.fullmatch(leftover.name):  # the lock is held: whoever made it is dead or done
                _remove(leftover)

    def _remove_unposted(self, acts: Sequence[Act]) -> None:
        announced = self._announcement.read_text() if self._announcement.exists() else ""
        found = {f"runs/{path.name}" for path in _entries(self.runs) if is_run_id(path.name)}
        found |= {f"clearings/{path.name}" for path in _entries(self.clearings)}
        unposted = found - {file.rpartition("/")[0] for act in acts for file in act.files}
        if unposted - {announced}:
            raise Refusal(
                str(self.folder),
                f"folders that the journal does not know: {', '.join(sorted(unposted))}",
                "a journal line for every run and every cleared year",
                "the journal has lost lines; restore it from a backup before anything is posted",
            )
        if unposted:
            _remove(self.folder / announced)
            fsync((self.folder / announced).parent)
        self._announcement.unlink(missing_ok=True)

    # ------------------------------------------------------------ the lock

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Holds an advisory lock on `.lock`, which names the holder. The kernel frees it when the holder dies."""
        with refusing_what_cannot_be_written(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _in_use(
                    self.folder, os.pread(handle, 32, 0).decode(errors="replace").strip()
                ) from error
            with refusing_what_cannot_be_written(self.folder):
                _write_pid(handle)
            yield
            with suppress(OSError):
                os.ftruncate(handle, 0)
        finally:
            os.close(handle)

    def _must_be_locked(self) -> None:
        if not self._depth:
            raise Fault(f"ledger {self.folder}", "written without the lock", "`with ledger.lock():`")


def stage_table(staged: Path, table: Table, rows: pl.LazyFrame | pl.DataFrame) -> Path:
    """Streams the rows of one table into its file of the staging folder.

    `rows`: exactly the dictionary's columns and types, in the order of the table's key.

    Raises: Fault for other columns or types; Refusal, if the disk is full.
    """
    frame = rows.lazy()
    check_schema(table, frame.collect_schema(), f"staged table {table.name}")
    path = staged / f"{table.name}.parquet"
    with refusing_what_cannot_be_written(staged):
        frame.sink_parquet(path)
    return path


def stage_inputs(staged: Path, kept: Inputs) -> None:
    """Writes into the staging folder what the run was settled from.

    Raises: Refusal, if the disk is full.
    """
    with refusing_what_cannot_be_written(staged):
        kept.write(staged / inputs.FOLDER)


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


# ---------------------------------------------------------------- what is about to be posted


def _check_staged(staged: Path, run_id: str, month: date, results_sha256: str) -> None:
    """Raises: Fault, if a file is missing or foreign, a table has other columns, or rows of another run."""
    tables, kept = sorted(f"{name}.parquet" for name in _TABLES), staged / inputs.FOLDER
    found = sorted(path.name for path in staged.iterdir() if path != kept)
    if found != tables:
        raise Fault(str(staged), f"files {found}", f"files {tables}")
    if kept.exists() and sorted(path.name for path in kept.iterdir()) != list(inputs.FILES):
        raise Fault(str(kept), "a file missing or foreign", f"files {inputs.FILES}")
    for table in LEDGER_TABLES:
        _check_staged_table(staged / f"{table.name}.parquet", table, run_id)
    run = pl.read_parquet(staged / "runs.parquet", glob=False).select(
        "month", "status", "results_sha256", "hash"
    )
    if run.rows() != [(month, "open", results_sha256, None)]:
        raise Fault(
            f"{staged}/runs.parquet", f"{run.rows()}", "one open run of the month, with its results hash"
        )


def _check_staged_table(path: Path, table: Table, run_id: str) -> None:
    frame = pl.scan_parquet(path, glob=False)
    check_schema(table, frame.collect_schema(), str(path))
    is_other = pl.col(RUNS.key[0]).ne_missing(run_id)
    if frame.select(is_other.any()).collect().item():
        raise Fault(str(path), "rows of another run", f"rows of run {run_id}")


# ---------------------------------------------------------------- the file system


@contextmanager
def owner_and_group_only() -> Iterator[None]:
    """Files made inside are not for others, whatever the caller's umask. Source: data 3."""
    before = os.umask(0o027)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def refusing_what_cannot_be_written(folder: Path) -> Iterator[None]:
    """A full disk or a read-only folder is nobody's fault in here: it is refused, and nothing was posted."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        found = told_by_the_system(error)
        if found is None:
            raise
        raise Refusal(
            str(getattr(error, "filename", None) or folder),
            found,
            "a ledger folder that can be written, on a disk with space",
            "mend this and run the command again; nothing was posted",
        ) from error


def _no_run(folder: Path, run_id: str) -> Refusal:
    return Refusal(f"ledger {folder}", f"no run {run_id}", "a run of this ledger", "see `settlement runs`")


def _refused_inputs(path: Path, found: str, expected: str) -> Refusal:
    return Refusal(str(path), found, expected, "restore it from a backup, or settle the month again")


def unreadable(path: Path, error: OSError) -> Refusal:
    """The refusal of a journal that is there and cannot be read."""
    return Refusal(
        str(path),
        (error.strerror or str(error)).lower(),
        "a journal that can be read",
        "ask its owner for access: a ledger is readable for its owner and group only",
    )


def _in_use(folder: Path, holder: str) -> LedgerInUse:
    return LedgerInUse(
        f"ledger {folder}",
        f"in use by process {holder or 'unknown'}",
        "one writer at a time",
        "wait until it has finished, then run the command again",
    )


def _write_pid(handle: int) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)


def _sealed_file(path: Path) -> str:
    """Makes a staged file durable and gives its SHA-256."""
    path.chmod(0o640)  # it may have been made under another umask
    fsync(path)
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _append_durably(path: Path, line: bytes, size: int) -> None:
    """Writes the line at the end in one write. If that fails the file gets its old size: it was not written."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        written = os.write(handle, line)
        if written != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(handle)
        fsync(path.parent)
    except OSError:
        os.ftruncate(handle, size)
        raise
    finally:
        os.close(handle)


def _resize(journal: Path, size: int) -> None:
    """Cuts off a torn last line, or adds the newline that a whole one lacks."""
    found = journal.stat().st_size
    if found == size:
        return
    with journal.open("r+b") as content:
        content.truncate(min(found, size))
        content.seek(0, os.SEEK_END)
        content.write(b"\n" * (size - min(found, size)))
        content.flush()
        os.fsync(content.fileno())


def fsync(path: Path) -> None:
    """Makes a file or the entries of a folder outlast a power failure. Raises: OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
