"""The DuckDB file: the record with all runs, made anew for analysts and replaced as a whole by rename.

It is a product of the record and can be thrown away at any time. Nothing is computed here; `views` has the SQL.
Source: data 3.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import polars as pl

from ..errors import Refusal
from ..terms import (
    ADJUSTMENTS,
    ANNUAL_STATEMENTS,
    DAILY_POINTS,
    LEDGER_TABLES,
    RESULT_TABLES,
    RUNS,
    SETTLEMENTS,
    UNPAID_LINES,
    Table,
)
from .adjustments import applied_in
from .inputs import Inputs
from .journal import RESTATED, Act, statuses_of
from .record import Ledger, LedgerInUse, fsync
from .views import APPLIED_SCHEMA, APPLIED_TABLES, VIEWS, View, literal

STORAGE_VERSION = "v1.5.0"  # the oldest line that must open the file (data 3)
_REFILLED = ("ledger.head", RUNS.name, ADJUSTMENTS.name, ANNUAL_STATEMENTS.name)
_UNCHANGING = tuple(table for table in RESULT_TABLES if table is not ADJUSTMENTS)

# ---------------------------------------------------------------- the file


def _table_statements(table: Table) -> Iterator[str]:
    columns = ", ".join(f"{column.name} {column.kind.sql}" for column in table.columns)
    yield f"create table {table.name} ({columns})"
    yield f"comment on table {table.name} is {literal(table.comment)}"
    for column in table.columns:
        yield f"comment on column {table.name}.{column.name} is {literal(column.comment)}"


def _view_statements(view: View) -> Iterator[str]:
    yield f"create view {view.name} as {view.query}"
    yield f"comment on view {view.name} is {literal(view.comment)}"
    for column in view.columns:
        yield f"comment on column {view.name}.{column.name} is {literal(column.comment)}"


# In a schema of its own: what tells a fresh file from a stale one is no table for analysts.
_HEAD = (
    "create schema ledger",
    "create table ledger.head (hash VARCHAR, layout VARCHAR)",
    "comment on table ledger.head is 'Of which journal and by which layout this file was made · 文件来源'",
    "comment on column ledger.head.hash is 'hash of the last journal line, empty before the first · 日志末行哈希'",
    "comment on column ledger.head.layout is 'SHA-256 over tables, views and comments · 表结构摘要'",
)
_APPLIED = (
    f"create schema {APPLIED_SCHEMA}",
    *(statement for table in APPLIED_TABLES for statement in _table_statements(table)),
)
_TABLES = tuple(
    statement for table in (*LEDGER_TABLES, ANNUAL_STATEMENTS) for statement in _table_statements(table)
)
_VIEWS = tuple(statement for view in VIEWS for statement in _view_statements(view))
LAYOUT = (*_HEAD, *_APPLIED, *_TABLES, *_VIEWS)  # what an empty file is made by
_EMPTYING = tuple(f"delete from {name}" for name in _REFILLED)  # noqa: S608 - the dictionary's own names
_LAYOUT = hashlib.sha256("\n".join((STORAGE_VERSION, *LAYOUT)).encode()).hexdigest()


def publish(ledger: Ledger, *, anew: bool = False) -> Path:
    """Brings the DuckDB file up to the journal and replaces the old one by rename.

    Who has the old file open keeps it as it was. Runs never change, so those that the old file holds are copied
    with it if nothing touched it since it was published; all others, and with `anew` all, come from the record.
    Memory stays flat: rows stream from Parquet.

    Raises: LedgerInUse; Refusal, if a file of the record is missing or the disk is full.
    """
    with ledger.lock():
        acts = ledger.acts()
        folder = ledger.staging()
        try:
            made = folder / ledger.database.name
            with _refusing_a_failed_copy(ledger):
                held = None if anew else _copy_of_what_is_held(ledger, acts, made)
                _make(made, ledger, acts, held)
                _put_in_place(made, ledger)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return ledger.database


def publish_if_stale(ledger: Ledger) -> bool:
    """Publishes if the DuckDB file is not the journal's newest state, and says whether it did.

    It is stale after a crash between posting and publishing, after an update of this software, or when it was
    removed. While another process posts it is left to that process.
    """
    acts = ledger.acts()
    if not acts or published_head(ledger.database) == head_of(acts):
        return False
    try:
        publish(ledger)
    except LedgerInUse:
        return False
    return True


def query(ledger: Ledger, sql: str) -> pl.DataFrame:
    """The rows of one SELECT over the DuckDB file. It can write nothing, and read nothing but this file.

    Raises: Refusal, for anything but one SELECT, for SQL that fails, and if there is no DuckDB file yet.
    """
    if not ledger.database.is_file():
        raise Refusal(
            str(ledger.database),
            "no such file",
            "a ledger with a run",
            "make it: `settlement ledger rebuild`",
        )
    try:
        # rows of a large query spill into a folder of this user alone
        with (
            TemporaryDirectory(prefix="settlement-") as spill,
            closing(_reading(ledger.database, spill)) as reader,
        ):
            return _rows(reader, sql)
    except (duckdb.Error, pl.exceptions.PolarsError) as error:
        raise _bad_sql(str(error), _SEE_TABLES) from error


def explained_lines(ledger: Ledger, run_id: str, institution_id: str) -> pl.DataFrame:
    """The rows of `line_explanations` for one settling institution and any run, from the record alone.

    In canonical order. Raises: Refusal, for a run that the ledger does not have or whose files are missing.
    """
    own = dict.fromkeys((SETTLEMENTS, UNPAID_LINES, DAILY_POINTS), "where institution_id = ?")
    with closing(_connect()) as connection:
        for statement in LAYOUT:
            if not statement.startswith("comment"):
                connection.execute(statement)
        for table, which in {RUNS: "", **own}.items():
            sql = f"insert into {table.name} select {', '.join(table.names)} from read_parquet(?) {which}"  # noqa: S608 - the dictionary's own names
            connection.execute(sql, [_file(ledger, run_id, table), *([institution_id] if which else [])])
        _fill_applied(connection, ledger, ledger.acts(), [run_id])
        return _rows(connection, "from line_explanations order by regime, point_class, position")


# ---------------------------------------------------------------- making it


def head_of(acts: Sequence[Act]) -> tuple[str, str]:
    return (acts[-1].hash if acts else "", _LAYOUT)


def _copy_of_what_is_held(ledger: Ledger, acts: Sequence[Act], made: Path) -> set[str] | None:
    """Copies the published file to `made` and gives the ids of the runs in it; None if it cannot be trusted.

    It is trusted if it is to the nanosecond the file that was put in place, of this layout and of this journal.
    """
    stamp, head = _stamp_of(ledger.database), published_head(ledger.database)
    if stamp is None or head is None or stamp != _published_stamp(ledger):
        return None
    places = [place for place, act in enumerate(acts) if (act.hash, _LAYOUT) == head]
    if not places:
        return None
    shutil.copyfile(ledger.database, made)
    if _stamp_of(ledger.database) != stamp:  # some tool wrote to it meanwhile
        made.unlink()
        return None
    return set(statuses_of(acts[: places[0] + 1]))


def _make(made: Path, ledger: Ledger, acts: Sequence[Act], held: Set[str] | None) -> None:
    with closing(_connect()) as connection:
        connection.execute(f"set temp_directory = {literal(str(made.parent / 'spill'))}")
        options = f"storage_version '{STORAGE_VERSION}', recovery_mode no_wal_writes"
        connection.execute(f"attach {literal(str(made))} as settlement ({options})")
        connection.execute("use settlement")
        for statement in LAYOUT if held is None else _EMPTYING:
            connection.execute(statement)
        _fill(connection, ledger, acts, held or set())
        connection.execute("insert into ledger.head values (?, ?)", head_of(acts))
        connection.execute("use memory")
        connection.execute("detach settlement")  # writes everything into the one file


def make_expected(made: Path, ledger: Ledger, acts: Sequence[Act], sound: Sequence[str]) -> Path:
    """A DuckDB file as published, of which only what no file of the record holds as such is filled: no result rows.

    That is what the journal has a say in and, of the runs in `sound`, what is made of the inputs they kept.
    """
    _make(made, ledger, [], None)
    _make(made, ledger, acts, set(statuses_of(acts)))
    with closing(_connect()) as connection:
        connection.execute(f"attach {literal(str(made))} as settlement")
        connection.execute("use settlement")
        _fill_applied(connection, ledger, acts, sound)
        connection.execute("use memory")
        connection.execute("detach settlement")
    return made


def _fill(connection: duckdb.DuckDBPyConnection, ledger: Ledger, acts: Sequence[Act], held: Set[str]) -> None:
    """Fills `runs` and `adjustments` as the journal has them now, the others with the rows of runs not yet held."""
    statuses = statuses_of(acts)
    hashes = {act.run_id: act.hash for act in acts if act.run_id and act.made_run}
    if statuses:
        _fill_runs(connection, [_file(ledger, run_id, RUNS) for run_id in statuses], statuses, hashes)
    _fill_adjustments(connection, ledger, acts)
    _fill_annual_statements(connection, ledger, acts)
    missing = [run_id for run_id in statuses if run_id not in held]
    _fill_applied(connection, ledger, acts, missing)
    for table in _UNCHANGING if missing else ():
        files = [_file(ledger, run_id, table) for run_id in missing]
        columns = ", ".join(table.names)
        sql = f"insert into {table.name} select {columns} from read_parquet(?)"  # noqa: S608 - the dictionary's own names
        connection.execute(sql, [files])


def _fill_applied(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, acts: Sequence[Act], missing: Sequence[str]
) -> None:
    """Fills `applied` from the inputs of those of the missing runs that kept them."""
    with_inputs = {act.run_id: act for act in acts if act.kept_inputs}
    for run_id in missing:
        if run_id in with_inputs:
            kept = ledger.inputs_of(with_inputs[run_id])
            connection.execute("insert into applied.policies values (?, ?, ?, ?)", [run_id, *_cut_of(kept)])
            registered = kept.tables["institutions"].select("institution_id", "name").rows()
            connection.execute(
                "insert into applied.institutions select ?, unnest(?), unnest(?)",
                [run_id, *map(list, zip(*registered, strict=True))],
            )


def _cut_of(kept: Inputs) -> tuple[str, bool, str]:
    """Attribution, whether nothing of the overage is paid, phrase of the overage rule (rules 7)."""
    overage = kept.policy.overage
    shares = {overage.paid_share, *(tier.paid_share for tier in overage.tiers)}
    return kept.policy.readings.attribution, shares == {0}, overage.phrase


def _fill_runs(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    statuses: Mapping[str, str],
    hashes: Mapping[str, str],
) -> None:
    """A run does not know in advance its hash, nor what becomes of it: the journal does."""
    columns = ", ".join(
        {"status": "journal.status", "hash": "journal.hash"}.get(n, f"run.{n}") for n in RUNS.names
    )
    connection.execute(
        f"""insert into runs select {columns} from read_parquet(?) as run
        join (select unnest(?) as run_id, unnest(?) as status, unnest(?) as hash) as journal using (run_id)""",  # noqa: S608 - the dictionary's own names
        [files, list(statuses), list(statuses.values()), [hashes[run_id] for run_id in statuses]],
    )


def _fill_adjustments(connection: duckdb.DuckDBPyConnection, ledger: Ledger, acts: Sequence[Act]) -> None:
    """A restatement does not know in advance which run's statements will take its adjustments: the journal does.

    Points alone are never paid: their rows name no run.
    """
    files = [_file(ledger, act.run_id, ADJUSTMENTS) for act in acts if act.run_id and act.act == RESTATED]
    if not files:
        return
    applied = applied_in(acts, ledger.has_statements)
    columns = ", ".join(
        "case when own.amount_delta is not null then journal.applied_in_run end"
        if name == "applied_in_run"
        else f"own.{name}"
        for name in ADJUSTMENTS.names
    )
    connection.execute(
        f"""insert into adjustments select {columns} from read_parquet(?) as own
        left join (select unnest(?::varchar[]) as run_id, unnest(?::varchar[]) as applied_in_run) as journal
        using (run_id)""",  # noqa: S608 - the dictionary's own names
        [files, list(applied), list(applied.values())],
    )


def _fill_annual_statements(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, acts: Sequence[Act]
) -> None:
    """Few rows a year: those of all cleared years, each time."""
    years = [act.cleared_year for act in acts if act.cleared_year is not None]
    files = [_literal_path(ledger.annual_statements(year)) for year in years]
    if files:
        columns = ", ".join(ANNUAL_STATEMENTS.names)
        sql = f"insert into {ANNUAL_STATEMENTS.name} select {columns} from read_parquet(?)"  # noqa: S608 - the dictionary's own names
        connection.execute(sql, [files])


def _file(ledger: Ledger, run_id: str, table: Table) -> str:
    return _literal_path(ledger.path(run_id, table.name))


def _literal_path(path: Path) -> str:
    """The path of a record file as DuckDB reads it: with no sign that would match other files."""
    if not path.is_file():
        raise Refusal(str(path), "no such file", "every file the journal names", "restore it from a backup")
    return _escaped(path)


def _escaped(path: Path) -> str:
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def log_of(database: Path) -> Path:
    """DuckDB's write-ahead log, there only while or after some tool wrote to the file."""
    return database.with_name(f"{database.name}.wal")


def _put_in_place(made: Path, ledger: Ledger) -> None:
    """Replaces the file durably. A log of what a tool wrote to the old file would be played into the new one."""
    made.chmod(0o640)
    for path in (made, made.parent):
        fsync(path)
    log_of(ledger.database).unlink(missing_ok=True)
    made.replace(ledger.database)
    fsync(ledger.folder)
    _stamp_file(ledger).write_text(_stamp_of(ledger.database) or "")  # last: without it the file is made anew


def _stamp_file(ledger: Ledger) -> Path:
    return ledger.folder / ".published"


def _published_stamp(ledger: Ledger) -> str:
    path = _stamp_file(ledger)
    return path.read_text(errors="replace") if path.is_file() else ""


def _stamp_of(database: Path) -> str | None:
    """Which file it is and when it was last changed in any way: no tool can change the file and keep this."""
    if not database.is_file():
        return None
    found = database.stat()
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


@contextmanager
def _refusing_a_failed_copy(ledger: Ledger) -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, OSError) as error:
        raise Refusal(
            str(ledger.database),
            f"could not be made: {error}",
            "a ledger folder that can be written, on a disk with space",
            "the record is complete; mend this, then `settlement ledger rebuild`",
        ) from error


# ---------------------------------------------------------------- reading it


def _connect() -> duckdb.DuckDBPyConnection:
    """A connection in memory that loads nothing from outside (closed networks, data 3), and prints nothing."""
    connection = duckdb.connect(
        ":memory:", config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    )
    connection.execute("set enable_progress_bar = false")  # it would stand among what the command answers
    return connection


def _reading(database: Path, spill: str = "") -> duckdb.DuckDBPyConnection:
    """A connection that reads this file and nothing else; SQL cannot lift that.

    The file is attached, not opened: within one process DuckDB would hand out an old file that is still open.
    """
    connection = _connect()
    try:
        connection.execute(f"attach {literal(str(database))} as settlement (read_only)")
        connection.execute("use settlement")
        connection.execute(f"set temp_directory = {literal(spill)}")
        _lock_out(connection)
    except duckdb.Error:
        connection.close()
        raise
    return connection


def comparing(ledger: Ledger, expected: Path) -> duckdb.DuckDBPyConnection:
    """A connection that reads the published file as `settlement`, one as `expected`, and the run folders."""
    connection = _connect()
    try:
        connection.execute(f"set temp_directory = {literal(str(expected.parent / 'spill'))}")
        for path, name in ((ledger.database, "settlement"), (expected, "expected")):
            connection.execute(f"attach {literal(str(path))} as {name} (read_only)")
        folders = [
            f"{ledger.runs}/",
            f"{_escaped(ledger.runs)}/",
        ]  # as a path, and as the pattern that reads it
        connection.execute(f"set allowed_directories = [{', '.join(map(literal, folders))}]")
        _lock_out(connection)
    except duckdb.Error:
        connection.close()
        raise
    return connection


def _lock_out(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def published_head(database: Path) -> tuple[str, str] | None:
    """Journal hash and layout the file was made of; None if it cannot be read or somebody has written to it."""
    if not database.is_file() or log_of(database).exists():
        return None
    with suppress(duckdb.Error), closing(_reading(database)) as connection:
        rows: list[tuple[str, str]] = connection.execute("select hash, layout from ledger.head").fetchall()
        return rows[0] if len(rows) == 1 else None
    return None


class _Stream:
    """Hands a DuckDB result to polars over the Arrow interface, without pyarrow.

    polars given the result itself looks into its type, and the library then complains of leaks at exit.
    """

    def __init__(self, result: duckdb.DuckDBPyRelation) -> None:
        self._result = result

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._result.__arrow_c_stream__(requested_schema)


_UNKNOWN_TO_POLARS = re.compile(r"\b(INTERVAL|UNION)\b")  # it panics on them


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> pl.DataFrame:
    _check_only_reads(connection, sql)
    result = connection.sql(sql)
    if result is None:
        raise _bad_sql("a statement without rows", "ask with a SELECT")
    strange = [
        name
        for name, kind in zip(result.columns, result.types, strict=True)
        if _UNKNOWN_TO_POLARS.search(str(kind))
    ]
    if strange:
        raise _bad_sql(f"a type that cannot be shown in: {', '.join(strange)}", "cast it to VARCHAR")
    return pl.DataFrame(_Stream(result))


def _check_only_reads(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raises: Refusal, unless `sql` is one statement that reads."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise _bad_sql(f"{len(statements)} statements", "ask one question at a time")
    kind = statements[0].type.name
    if kind not in ("SELECT", "EXPLAIN", "MULTI"):  # MULTI: a PIVOT, which first looks for its columns
        remedy = "ask with a SELECT; to change anything, work on a copy of settlement.duckdb with a tool of your own"
        raise _bad_sql(f"a statement that is no SELECT: {kind}", remedy)


_SEE_TABLES = (
    '`settlement sql "show tables"` lists tables and views, '
    '`settlement sql "describe TABLE"` the columns of one'
)


def _bad_sql(found: str, remedy: str) -> Refusal:
    return Refusal("sql", found, "one SELECT over the ledger's tables and views", remedy)
