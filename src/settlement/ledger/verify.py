"""`verify`: every journal line and every file of the record hashed again, and the DuckDB file held against them.

All differences are told, not only the first. Nothing is written, repaired or published, and no lock is held: a run
may be posted meanwhile. What only a writer at work explains (a torn last line, an announced run folder, a DuckDB
file that is behind) is then a note and no difference; if the journal grew, everything is looked at again.
The record is the journal, `runs/` and `clearings/`; other files beside them are nobody's evidence and are not
looked at.
Source: data 3.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import duckdb
import polars as pl

from ..errors import Fault, Refusal
from ..terms import ADJUSTMENTS, ANNUAL_STATEMENTS, LEDGER_TABLES, RESULT_TABLES, RUNS, Table
from .digest import check_schema, results_sha256, table_sha256
from .inputs import FOLDER
from .journal import (
    CLEARED,
    GENESIS,
    Act,
    is_as_written,
    is_run_id,
    is_year,
    parsed,
    statuses_of,
    stays_inside,
    whole_lines,
)
from .publish import _file, comparing, head_of, log_of, make_expected, published_head
from .record import Ledger, unreadable
from .views import APPLIED_TABLES

_RESTORE = "post and pay nothing from this ledger; find out who wrote to it, and restore it from a backup"
_REBUILD = "make it anew from the record: `settlement ledger rebuild`"
_INTERRUPTED = (
    "if a run was interrupted here, the next command that writes mends this; if none was, lines are gone"
)
_LOOKS = 3  # how often everything is looked at while runs are being posted


@dataclass(frozen=True)
class Difference:
    """One thing that is not as the ledger wrote it: where, found, expected, what to do.

    As text it is one line whatever a foreign hand put into names and rows.
    """

    where: str
    found: str
    expected: str
    remedy: str

    def __str__(self) -> str:
        line = f"{self.where}: {self.found}; expected {self.expected}; to do: {self.remedy}"
        return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)


@dataclass
class Verification:
    """What was looked at and what was found. `head`: hash of the last journal line, to be kept elsewhere."""

    lines: int = 0
    runs: int = 0
    files: int = 0
    bytes: int = 0
    head: str | None = None
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def differs(self, where: str | Path, found: str, expected: str, remedy: str = _RESTORE) -> None:
        self.differences.append(Difference(str(where), found, expected, remedy))


def verify(
    ledger: Ledger, head: str | None = None, progress: Callable[[str], None] = lambda _: None
) -> Verification:
    """Every difference between the ledger and what it once wrote.

    `head`: a hash of a journal line kept elsewhere; without it lines cut off the end cannot be seen, nor a ledger
    that somebody wrote anew as a whole.

    Raises: Refusal, if there is no ledger or its journal cannot be read at all.
    """
    for _ in range(_LOOKS):
        content = _journal(ledger)
        examined = _Examination(ledger, content, progress).done(head)
        if not examined.differences or _journal(ledger) == content:
            break
    return examined


def _journal(ledger: Ledger) -> bytes:
    """The bytes of the journal; none if it is gone while there are runs or cleared years."""
    try:
        return ledger.journal.read_bytes()
    except FileNotFoundError as error:
        if any(folder.is_dir() and any(folder.iterdir()) for folder in (ledger.runs, ledger.clearings)):
            return b""
        raise Refusal(
            str(ledger.folder),
            "no ledger there",
            "a folder that `settlement run` has written",
            "name it with --ledger",
        ) from error
    except OSError as error:
        raise unreadable(ledger.journal, error) from error


class _Examination:
    """One look at everything."""

    def __init__(self, ledger: Ledger, content: bytes, progress: Callable[[str], None]) -> None:
        self.ledger, self.content, self.progress = ledger, content, progress
        self.lines = whole_lines(content)
        self.read = [parsed(line) for line in self.lines]
        self.found = Verification(lines=len(self.lines))
        self.damaged: set[str] = set()  # runs and years whose record cannot be what others are compared with

    @property
    def acts(self) -> list[Act]:
        """What can be read of the journal, whether it is proven or not."""
        return [act for act in self.read if act is not None]

    @property
    def posted(self) -> list[Act]:
        """The acts that made a run, each inside the ledger."""
        return [act for act in self.acts if act.made_run and is_run_id(str(act.run_id))]

    def done(self, head: str | None) -> Verification:
        self.found.head = self.acts[-1].hash if self.acts else None
        self.found.runs = len(self.posted)
        self.progress("journal")
        self._check_journal(head)
        self._check_files()
        self._check_results()
        self.progress("settlement.duckdb")
        _check_database(self.ledger, self.acts, self.damaged, self.found)
        return self.found

    # ------------------------------------------------------------ the journal

    def _check_journal(self, head: str | None) -> None:
        previous = None
        for number, (line, act) in enumerate(zip(self.lines, self.read, strict=True), start=1):
            self._check_line(number, line, act, previous)
            previous = act
        if sum(len(line) + 1 for line in self.lines) != len(self.content):
            self._check_torn_line()
        if head is not None and head.lower() not in {act.hash for act in self.acts}:
            self.found.differs(
                self.ledger.journal,
                f"no line with the hash {head}",
                "the line with the head that was kept elsewhere: the journal was cut off, or written anew",
            )

    def _check_line(self, number: int, line: bytes, act: Act | None, previous: Act | None) -> None:
        where = f"{self.ledger.journal}, line {number}"
        if act is None:
            self.found.differs(where, "a line that is no act of the journal", "the line as it was written")
            return
        if not is_as_written(act, line):
            self.found.differs(
                where, "an edited line: its hash does not fit it", "the line as it was written"
            )
        if not stays_inside(act):
            self.found.differs(
                where, "a run id or path that leaves the ledger", "paths of its own run folder"
            )
        if number == 1 or previous is not None:  # what follows an unreadable line was told with that line
            self._check_place(where, act, previous)

    def _check_place(self, where: str, act: Act, previous: Act | None) -> None:
        """Whether the line follows the one before it, and if not, what became of that."""
        if act.previous_hash == (previous.hash if previous else GENESIS):
            if act.seq != (previous.seq + 1 if previous else 1):
                self.found.differs(where, f"seq {act.seq}", "the number after that of the line before it")
            return
        places = [
            place for place, other in enumerate(self.read, 1) if other and other.hash == act.previous_hash
        ]
        if places:
            found = f"a line out of order: it was written after line {places[0]}"
        elif act.previous_hash == GENESIS:
            found = "a line out of order: it was written as the first line"
        else:
            found = "the line it was written after is not there: removed, or replaced by another"
        self.found.differs(where, found, "the lines in the order of writing, all of them")

    def _check_torn_line(self) -> None:
        if _is_being_written(self.ledger):
            self.found.notes.append("a line of the journal is being written")
            return
        where = f"{self.ledger.journal}, line {len(self.lines) + 1}"
        self.found.differs(where, "a torn last line", "a line that ends in a newline", _INTERRUPTED)

    # ------------------------------------------------------------ the files

    def _check_files(self) -> None:
        named: set[PurePosixPath] = set()
        for act in self.acts:
            for path, expected in act.files.items():
                if _is_inside(path):
                    named.add(PurePosixPath(path))
                    self.progress(path)
                    self._check_file(path, expected, str(act.run_id or act.cleared_year))
        known = {*named, *(parent for path in named for parent in path.parents)}
        for folder in (self.ledger.runs, self.ledger.clearings):
            self._check_entries(folder, known)

    def _check_file(self, name: str, expected: str, owner: str) -> None:
        path = self.ledger.folder / name
        try:
            found, size = _hashed(self.ledger.folder, name)
        except FileNotFoundError:
            found, size = "no such file", 0
        except OSError as error:
            found, size = (error.strerror or str(error)).lower(), 0
        self.found.files += 1
        self.found.bytes += size
        if found != expected:
            self.damaged.add(owner)
            is_hash = len(found) == len(expected)
            self.found.differs(
                path, f"SHA-256 {found}" if is_hash else found, f"the file with SHA-256 {expected}"
            )

    def _check_entries(self, folder: Path, known: set[PurePosixPath]) -> None:
        """Names whatever lies there and is not of the journal; of a foreign folder, the folder alone."""
        try:
            entries = sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []
        except OSError as error:
            self.found.differs(folder, (error.strerror or str(error)).lower(), "a folder that can be read")
            return
        for entry in entries:
            name = PurePosixPath(entry.relative_to(self.ledger.folder))
            if name not in known:
                self._foreign(entry)
            elif entry.is_dir() and not entry.is_symlink():
                self._check_entries(entry, known)

    def _foreign(self, entry: Path) -> None:
        place = entry.relative_to(self.ledger.folder).as_posix()
        what = "run" if entry.parent == self.ledger.runs else "clearing"
        if not _is_place(place):
            self.found.differs(entry, "a foreign file or folder", "only what the journal names")
        elif _announced(self.ledger) != place:
            expected = f"a line for every {what}: lines were removed"
            self.found.differs(entry, f"a {what} folder without a journal line", expected)
        elif _is_being_written(self.ledger):
            self.found.notes.append(f"{what} {entry.name} is being posted")
        else:
            expected = f"a journal line for every {what}"
            self.found.differs(entry, f"a {what} that was never posted whole", expected, _INTERRUPTED)

    # ------------------------------------------------------------ the results

    def _check_results(self) -> None:
        """Of runs and years whose files are the recorded ones: whether rows, run row and hashes belong together."""
        for act in self.posted:
            run_id = str(act.run_id)
            tables = {f"runs/{run_id}/{table.name}.parquet" for table in LEDGER_TABLES}
            if unnamed := sorted(tables - set(act.files)):
                self.damaged.add(run_id)
                found = f"a line that names no {', '.join(unnamed)}"
                self.found.differs(f"{self.ledger.journal}, run {run_id}", found, "a file of every table")
            if run_id not in self.damaged:
                self.progress(f"results of {run_id}")
                with self._telling_unreadable(self.ledger.runs / run_id, run_id):
                    self._check_result(act, run_id)
                    self._check_inputs(act, run_id)
        for act in self.acts:
            if act.act == CLEARED and stays_inside(act):
                self._check_clearing(act)

    def _check_result(self, act: Act, run_id: str) -> None:
        where = self.ledger.runs / run_id
        digest = results_sha256({table.name: self.ledger.path(run_id, table.name) for table in RESULT_TABLES})
        if digest != act.results_sha256:
            self.damaged.add(run_id)
            self.found.differs(where, f"tables with the results hash {digest}", f"{act.results_sha256}")
        if self._run_rows(run_id) != [(run_id, act.month, "open", act.results_sha256, None)]:
            self.damaged.add(run_id)
            self.found.differs(
                where / "runs.parquet", "another run, month or results hash", "those of its line"
            )
        for table in RESULT_TABLES:
            is_other = pl.col("run_id").ne_missing(run_id).any()
            if self.ledger.scan(run_id, table.name).select(is_other).collect().item():
                self.damaged.add(run_id)
                self.found.differs(
                    where / f"{table.name}.parquet", "rows of another run", f"rows of {run_id}"
                )

    def _check_inputs(self, act: Act, run_id: str) -> None:
        """Of a run that kept its inputs: whether its policy and readings are those that its run row tells of."""
        if not act.kept_inputs:
            return
        policy = self.ledger.inputs_of(act).policy
        ((sha256, readings),) = (
            self.ledger.scan(run_id, "runs").select("policy_sha256", "readings").collect().rows()
        )
        if (policy.sha256, policy.readings.as_dict()) != (sha256, json.loads(readings)):
            self.damaged.add(run_id)
            where = self.ledger.runs / run_id / FOLDER
            self.found.differs(where, "another policy or other readings", "those of its run row")

    def _check_clearing(self, act: Act) -> None:
        """Whether the rows of a cleared year are those of its line."""
        year = act.cleared_year
        if year is None or len(act.files) != 1:
            found = f"act {act.seq} clears a year and names {len(act.files)} files"
            self.found.differs(self.ledger.journal, found, f"one file of {ANNUAL_STATEMENTS.name}")
        elif str(year) not in self.damaged:
            path = self.ledger.annual_statements(year)
            self.progress(f"clearing of {year}")
            with self._telling_unreadable(path, str(year)):
                digest = table_sha256(ANNUAL_STATEMENTS, path)
                if digest != act.results_sha256:
                    self.damaged.add(str(year))
                    self.found.differs(path, f"rows with the results hash {digest}", f"{act.results_sha256}")
                elif pl.read_parquet(path, glob=False)["year"].ne_missing(year).any():
                    self.damaged.add(str(year))
                    self.found.differs(path, "rows of another year", f"rows of {year}")

    def _run_rows(self, run_id: str) -> list[tuple[object, ...]]:
        rows = self.ledger.scan(run_id, "runs").collect()
        check_schema(RUNS, rows.schema, "runs.parquet")
        return rows.select("run_id", "month", "status", "results_sha256", "hash").rows()

    @contextmanager
    def _telling_unreadable(self, where: Path, owner: str) -> Iterator[None]:
        try:
            yield
        except (Fault, Refusal) as error:
            found = f"{error.where}: {error.found.splitlines()[0]}"
        except (pl.exceptions.PolarsError, OSError, ValueError) as error:
            found = f"tables that cannot be read ({type(error).__name__})"
        else:
            return
        self.damaged.add(owner)
        self.found.differs(where, found, "the tables as the engine wrote them")


def _is_inside(path: str) -> bool:
    """Whether a path of the journal stays in a run's or a year's folder, as text. Links are found on opening."""
    parts = path.split("/")
    return len(parts) > 2 and _is_place("/".join(parts[:2])) and not {"", ".", ".."} & set(parts)


def _is_place(path: str) -> bool:
    """Whether it is the folder of a run or of a cleared year, as text."""
    top, _, folder = path.partition("/")
    return (top == "runs" and is_run_id(folder)) or (top == "clearings" and is_year(folder))


def _hashed(folder: Path, name: str) -> tuple[str, int]:
    """SHA-256 and size of a file inside the ledger. No link is followed, on any part of its path.

    Raises: OSError, if it cannot be read, is a link or no regular file.
    """
    path = folder
    for part in PurePosixPath(name).parts:
        path /= part
        if path.is_symlink():
            raise OSError(None, f"a symbolic link where {path.name} should be")
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(None, "no regular file")
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as content:  # noqa: PTH123
        return hashlib.file_digest(content, "sha256").hexdigest(), path.stat().st_size


def _announced(ledger: Ledger) -> str:
    with suppress(OSError):
        return (ledger.folder / "posting").read_text(errors="replace")
    return ""


def _is_being_written(ledger: Ledger) -> bool:
    """Whether some process holds the writer's lock now. It is asked for and given back at once."""
    try:
        handle = os.open(ledger.folder / ".lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


# ---------------------------------------------------------------- the DuckDB file


def _check_database(ledger: Ledger, acts: Sequence[Act], damaged: set[str], found: Verification) -> None:
    """Whether the DuckDB file is there, of this journal, and up to it; then whether it holds what it should."""
    database, hashes = ledger.database, ["", *(act.hash for act in acts)]
    if not acts:
        return
    if not database.is_file():
        _behind(ledger, "no such file", found)
        return
    if log_of(database).exists():
        found.differs(log_of(database), "a log of a tool that has written to the file", "none", _REBUILD)
        return
    head = _head_at_rest(ledger, acts)
    if head is None:
        found.differs(
            database, "damaged, or open in a tool that writes to it", "the published file", _REBUILD
        )
        return
    if head[1] != head_of(acts)[1]:
        _behind(ledger, "a file made by another version of this software", found)
        return
    if head[0] not in hashes:
        found.differs(
            database,
            f"a file made from a journal with the head {head[0]}",
            "a head in this journal: lines were removed from it, or the file is of another ledger",
        )
    elif head[0] != hashes[-1]:
        lines = hashes.index(head[0])
        _behind(ledger, f"a stale file: the journal had {lines} of its {len(acts)} lines", found)
        acts = acts[:lines]
    _compare(ledger, acts, damaged, found)


def _behind(ledger: Ledger, what: str, found: Verification) -> None:
    if _is_being_written(ledger):
        found.notes.append(f"{ledger.database.name} is not up to the journal; a run is being posted")
    else:
        found.differs(ledger.database, what, "the file made from the newest journal line", _REBUILD)


def _head_at_rest(ledger: Ledger, acts: Sequence[Act]) -> tuple[str, str] | None:
    """The head of the DuckDB file; looked up again if its writer finished in between."""
    head = published_head(ledger.database)
    if head == head_of(acts) or _is_being_written(ledger):
        return head
    return published_head(ledger.database)


def _compare(ledger: Ledger, acts: Sequence[Act], damaged: set[str], found: Verification) -> None:
    """Compares the file with the record of the acts. What has a damaged record has nothing to compare with."""
    years = [str(act.cleared_year) for act in acts if act.cleared_year is not None]
    owners = [*filter(is_run_id, statuses_of(acts)), *years]
    sound, name = [owner for owner in owners if owner not in damaged], ledger.database.name
    if unsure := sorted(damaged & set(owners)):
        found.notes.append(f"{name}: not compared, their record is damaged: {', '.join(unsure)}")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            tables = _TABLES
            kept = [act for act in acts if str(act.cleared_year) not in damaged]
            expected = make_expected(Path(scratch) / "expected.duckdb", ledger, kept, sound)
        except (Refusal, duckdb.Error):  # a file of a damaged run
            found.notes.append(f"{name}: {', '.join(sorted(_MADE))} not compared, a file of them is damaged")
            tables = tuple(table for table in _TABLES if table.name not in _MADE)
            expected = make_expected(Path(scratch) / "layout.duckdb", ledger, [], [])
        try:
            with closing(comparing(ledger, expected)) as connection:
                if _has_same_layout(
                    connection, ledger.database, found
                ):  # else a table's name may be anything
                    for table in tables:
                        _compare_table(connection, ledger, table, sound, sorted(damaged), found)
        except duckdb.Error as error:
            text = f"cannot be read: {str(error).splitlines()[0]}"
            found.differs(ledger.database, text, "the published file", _REBUILD)


_TABLES: tuple[Table, ...] = (*LEDGER_TABLES, ANNUAL_STATEMENTS, *APPLIED_TABLES)
# What no file of a run holds as published: the journal has a say in it, or it is made of the inputs.
_MADE = {table.name for table in (RUNS, ADJUSTMENTS, ANNUAL_STATEMENTS, *APPLIED_TABLES)}
_LAYOUT_PARTS = {
    "table": "select table_name, sql, comment from duckdb_tables() where database_name = ?",
    "column": "select table_name || '.' || column_name, column_index, data_type, comment from duckdb_columns() "
    "where not internal and database_name = ?",
    "view": "select view_name, sql, comment from duckdb_views() where not internal and database_name = ?",
    "schema": "select schema_name from duckdb_schemas() where not internal and database_name = ?",
    "macro": "select function_name, macro_definition from duckdb_functions() where not internal and database_name = ?",
    "type": "select type_name, logical_type from duckdb_types() where not internal and database_name = ?",
    "sequence": "select sequence_name from duckdb_sequences() where database_name = ?",
    "index": "select index_name from duckdb_indexes() where database_name = ?",
}


def _has_same_layout(connection: duckdb.DuckDBPyConnection, database: Path, found: Verification) -> bool:
    """Whether tables, views and comments are those of the dictionary: an edited view shows edited figures."""
    is_same = True
    for part, sql in _LAYOUT_PARTS.items():
        held, expected = (
            set(connection.execute(sql, [name]).fetchall()) for name in ("settlement", "expected")
        )
        for name in sorted({row[0] for row in held ^ expected}):
            is_same = False
            found.differs(
                f"{database}, {part} {name}", "edited, foreign or missing", "as published", _REBUILD
            )
    return is_same


def _compare_table(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    table: Table,
    sound: list[str],
    damaged: list[str],
    found: Verification,
) -> None:
    """Every row of the table, by run or year, against the record's file. Rows stream; large joins spill to disk."""
    column, text = _owner(table)
    what = column.removesuffix("_id")
    where = f"{ledger.database}, table {table.name}, {what}"
    for owner in sound:
        if is_year(owner) == (column == "year") and (
            told := _differing_rows(connection, ledger, table, owner)
        ):
            expected = "the rows of the record, statuses and hashes of the journal"
            found.differs(f"{where} {owner}", told, expected, _REBUILD)
    sql = f"""select coalesce({text}, 'null'), count(*) from settlement.{table.name}
        where not coalesce(list_contains(?, {text}), false) group by all order by all"""  # noqa: S608 - the dictionary's own names
    for owner, count in connection.execute(sql, [[*sound, *damaged]]).fetchall():
        expected = f"none: the journal has no such {what}"
        found.differs(f"{where} {owner}", f"{count} row(s)", expected, _REBUILD)


def _owner(table: Table) -> tuple[str, str]:
    """The column that says to which run or year a row belongs, and SQL that gives it as text."""
    column = "year" if table is ANNUAL_STATEMENTS else "run_id"
    return column, f"cast({column} as varchar)"


def _differing_rows(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, table: Table, owner: str
) -> str | None:
    """How many rows the file has too many, lacks, or has with other values, in which columns; None if all is well."""
    column, text = _owner(table)
    source = "from expected." + table.name if table.name in _MADE else "from read_parquet($2)"
    same = " and ".join(f"held.{name} is not distinct from recorded.{name}" for name in table.key)
    others = [f"held.{name} is distinct from recorded.{name}" for name in table.names]
    both = f"held.{column} is not null and recorded.{column} is not null"
    key = ", ".join(f"'{name} ' || coalesce(held.{name}, recorded.{name})" for name in table.key)
    more, missing, changed, example, *columns = connection.execute(
        f"""with held as (from settlement.{table.name} where {text} = $1), recorded as ({source} where {text} = $1)
        select
            (select count(*) from held) - (select count(*) from recorded),
            count(*) filter (held.{column} is null),
            count(*) filter ({both} and ({" or ".join(others)})),
            min(concat_ws(', ', {key})) filter ({" or ".join(others)}),
            {", ".join(f"count(*) filter ({both} and {other})" for other in others)}
        from held full join recorded on {same}""",  # noqa: S608 - the dictionary's own names
        [owner] if table.name in _MADE else [owner, _file(ledger, owner, table)],
    ).fetchall()[0]
    if not (more or missing or changed):
        return None
    names = ", ".join(name for name, count in zip(table.names, columns, strict=True) if count)
    return (
        f"{changed} row(s) changed{names and ' in '}{names}, {more + missing} too many, {missing} missing; "
        f"for example {example or 'a row twice'}"
    )
