# ruff: noqa: E501 - attacks are tables, one a row
"""`verify` finds and names every attack on a ledger, all of them at once, and changes nothing (data 3)."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import polars as pl
import pytest

from settlement import cli
from settlement.errors import Refusal
from settlement.ledger import Act, Ledger, publish, query, results_sha256, verify
from settlement.ledger.journal import sealed
from settlement.terms import RESULT_TABLES
from test_ledger import APRIL, MARCH, close, post

Attack = Callable[[Ledger], object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """Two runs of March, the second closed; one of April; published."""
    ledger = Ledger(tmp_path_factory.mktemp("whole") / "ledger")
    post(ledger)
    post(ledger, APRIL)
    post(ledger, MARCH, eligible="130")
    close(ledger, MARCH)
    publish(ledger)
    return ledger


@pytest.fixture
def ledger(whole: Ledger, tmp_path: Path) -> Ledger:
    return Ledger(shutil.copytree(whole.folder, tmp_path / "ledger"))


def told(ledger: Ledger, head: str | None = None) -> list[str]:
    """Every difference as a line, its paths within the ledger."""
    return [str(one).replace(f"{ledger.folder}/", "") for one in verify(ledger, head).differences]


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its time of change and content."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


# ---------------------------------------------------------------- a ledger nobody touched


def test_a_ledger_as_written_has_no_differences(ledger: Ledger) -> None:
    found = verify(ledger)
    assert (found.differences, found.notes) == ([], [])
    assert (found.lines, found.runs, found.files) == (4, 3, 30)
    assert found.bytes == sum(path.stat().st_size for path in ledger.runs.rglob("*.parquet"))
    assert found.head == ledger.acts()[-1].hash


def test_every_head_that_was_ever_kept_is_found_in_the_journal(ledger: Ledger) -> None:
    for act in ledger.acts():
        assert told(ledger, act.hash) == told(ledger, act.hash.upper()) == []


def test_a_ledger_without_runs_has_no_differences(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    publish(ledger)
    ledger.journal.touch()
    assert told(ledger) == []


def test_verify_changes_nothing_also_where_a_writer_would_repair(ledger: Ledger) -> None:
    (ledger.folder / "posting").write_text("runs/2026-05.1")
    shutil.copytree(ledger.runs / "2026-04.1", ledger.runs / "2026-05.1")
    ledger.journal.write_bytes(ledger.journal.read_bytes() + b'{"act":')
    ledger.database.unlink()
    before = everything(ledger.folder)
    assert len(told(ledger)) == 3
    assert everything(ledger.folder) == before


# ---------------------------------------------------------------- attacks on the journal


def lines_of(ledger: Ledger) -> list[bytes]:
    return ledger.journal.read_bytes().splitlines(keepends=True)


def written(edit: Callable[[list[bytes]], list[bytes]]) -> Attack:
    return lambda ledger: ledger.journal.write_bytes(b"".join(edit(lines_of(ledger))))


def forge(ledger: Ledger, edit: Callable[[list[Act]], list[Act]]) -> None:
    """Writes edited acts with numbers, hashes and chain that fit: nothing inside the ledger shows it."""
    forged: list[Act] = []
    for act in edit(ledger.acts()):
        before = forged[-1] if forged else None
        moved = replace(act, previous_hash=before.hash, seq=before.seq + 1) if before else replace(act, seq=1)
        forged.append(sealed(moved))
    ledger.journal.write_bytes(b"".join(act.line for act in forged))


def resealed(place: int, **changes: object) -> Attack:
    """One line replaced by another whose own hash fits."""

    def attack(ledger: Ledger) -> None:
        acts = ledger.acts()
        acts[place] = sealed(replace(acts[place], **changes))  # type: ignore[arg-type]
        ledger.journal.write_bytes(b"".join(act.line for act in acts))

    return attack


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels + b"\n"


# The DuckDB file still knows the head of the journal it was made from; so do run folders know their line.
LATER_FILE = "settlement.duckdb: a file made from a journal with the head"
JOURNAL_ATTACKS: list[tuple[str, Attack, list[str]]] = [
    ("a word edited", written(lambda n: [n[0].replace(b'"reason":null', b'"reason":"x"'), *n[1:]]),
     ["line 1: an edited line"]),
    ("a blank added", written(lambda n: [*n[:2], n[2].replace(b'"act":', b'"act": '), n[3]]),
     ["line 3: an edited line"]),
    ("two lines edited", written(lambda n: [x.replace(b'"reason":null', b'"reason":"x"') for x in n[:2]] + n[2:]),
     ["line 1: an edited line", "line 2: an edited line"]),
    ("an edited line with a hash that fits", resealed(1, reason="forged"),
     ["line 3: the line it was written after is not there", "run 2026-04.1: 1 row(s) changed in hash"]),
    ("a line with another number", resealed(3, seq=9), ["line 4: seq 9", LATER_FILE]),
    ("two lines exchanged", written(lambda n: [n[1], n[0], *n[2:]]),
     ["line 1: a line out of order: it was written after line 2", "line 2: a line out of order",
      "line 3: a line out of order: it was written after line 1"]),
    ("a line written twice", written(lambda n: [*n[:2], *n[1:]]),
     ["line 3: a line out of order: it was written after line 1"]),
    ("the first line removed", written(lambda n: n[1:]),
     ["line 1: the line it was written after is not there", "runs/2026-03.1: a run folder without a journal line",
      "table runs, run 2026-03.1: 1 row(s); expected none", *["run 2026-03.1: "] * 2]),
    ("a line in the middle removed", written(lambda n: [n[0], *n[2:]]),
     ["line 2: the line it was written after is not there", "runs/2026-04.1: a run folder without a journal line",
      "table runs, run 2026-04.1: 1 row(s); expected none", *["run 2026-04.1: "] * 2]),
    ("a line made unreadable", written(lambda n: [*n[:3], b"{}\n"]), ["line 4: a line that is no act", LATER_FILE,
     "table runs, run 2026-03.2: 1 row(s) changed in status"]),
    ("an empty line", written(lambda n: [*n[:3], b"\n", n[3]]), ["line 4: a line that is no act"]),
    ("a line too deep to read", written(lambda n: [*n, deep(100_000)]), ["line 5: a line that is no act"]),
    ("text that is no text", written(lambda n: [*n, n[3].replace(b'"reason":null', b'"reason":"\\ud800"')]),
     ["line 5: an edited line", "line 5: a line out of order"]),
    ("a torn last line", written(lambda n: [*n, b'{"act":"posted"']), ["line 5: a torn last line"]),
    ("the last line torn", written(lambda n: [*n[:3], n[3][:-9]]), ["line 4: a torn last line", LATER_FILE,
     "table runs, run 2026-03.2: 1 row(s) changed in status"]),
    ("the journal removed", lambda ledger: ledger.journal.unlink(), [f"runs/{run}: a run folder without a journal line"
     for run in ("2026-03.1", "2026-03.2", "2026-04.1")]),
    ("the journal emptied", lambda ledger: ledger.journal.write_bytes(b""), [
     f"runs/{run}: a run folder without a journal line" for run in ("2026-03.1", "2026-03.2", "2026-04.1")]),
]  # fmt: skip


def assert_told(lines: list[str], expected: list[str]) -> None:
    """Each expectation is part of its line, in order, and there are no other lines."""
    assert [
        part if part in line else line for part, line in zip(expected, lines, strict=False)
    ] == expected, lines
    assert lines[len(expected) :] == []


@pytest.mark.parametrize(
    ("attack", "expected"), [pytest.param(*attack[1:], id=attack[0]) for attack in JOURNAL_ATTACKS]
)
def test_an_attack_on_the_journal_is_named(ledger: Ledger, attack: Attack, expected: list[str]) -> None:
    attack(ledger)
    assert_told(told(ledger), expected)


def cut_off(ledger: Ledger) -> None:
    """The last line, the closing of March, removed without trace: the file for analysts made anew."""
    ledger.journal.write_bytes(b"".join(lines_of(ledger)[:-1]))
    publish(ledger, anew=True)


def cut_off_with_its_run(ledger: Ledger) -> None:
    ledger.journal.write_bytes(b"".join(lines_of(ledger)[:-2]))
    shutil.rmtree(ledger.runs / "2026-03.2")
    publish(ledger, anew=True)


def written_anew(ledger: Ledger) -> None:
    """A figure changed, and every hash with it."""
    path = ledger.path("2026-03.1", "settlements")
    table = pl.read_parquet(path, glob=False)
    table.with_columns(payable_points=pl.col("eligible_points")).write_parquet(path)
    run_row = ledger.path("2026-03.1", "runs")
    results = results_sha256({t.name: ledger.path("2026-03.1", t.name) for t in RESULT_TABLES})
    pl.read_parquet(run_row, glob=False).with_columns(results_sha256=pl.lit(results)).write_parquet(run_row)

    def as_if(acts: list[Act]) -> list[Act]:
        files = {
            file: hashlib.sha256((ledger.folder / file).read_bytes()).hexdigest() for file in acts[0].files
        }
        return [replace(acts[0], files=files, results_sha256=results), *acts[1:]]

    forge(ledger, as_if)
    publish(ledger, anew=True)


@pytest.mark.parametrize("attack", [cut_off, cut_off_with_its_run, written_anew])
def test_what_nothing_inside_shows_is_shown_by_a_head_kept_elsewhere(ledger: Ledger, attack: Attack) -> None:
    head = ledger.acts()[-1].hash
    attack(ledger)
    assert told(ledger) == []
    assert_told(told(ledger, head), [f"journal.jsonl: no line with the hash {head}"])


@pytest.mark.parametrize("head", ["", "0" * 64, "abc"])
def test_a_head_that_no_line_has_is_told(ledger: Ledger, head: str) -> None:
    assert_told(told(ledger, head), [f"journal.jsonl: no line with the hash {head}"])


# ---------------------------------------------------------------- attacks on the files

TABLE = "runs/2026-03.1/settlements.parquet"


def flip(ledger: Ledger) -> None:
    content = bytearray((ledger.folder / TABLE).read_bytes())
    content[len(content) // 2] ^= 1
    (ledger.folder / TABLE).write_bytes(content)


def swap(ledger: Ledger) -> None:
    """The tables of two runs exchanged: both are files the engine wrote."""
    one, other = ledger.folder / TABLE, ledger.path("2026-03.2", "settlements")
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def link(ledger: Ledger) -> None:
    """The same bytes, but outside: they could be changed tomorrow."""
    path = ledger.folder / TABLE
    path.rename(ledger.folder.parent / "elsewhere.parquet")
    path.symlink_to(ledger.folder.parent / "elsewhere.parquet")


def link_folder(ledger: Ledger) -> None:
    folder = ledger.runs / "2026-03.1"
    folder.rename(ledger.folder.parent / "elsewhere")
    folder.symlink_to(ledger.folder.parent / "elsewhere")


def pipe(ledger: Ledger) -> None:
    (ledger.folder / TABLE).unlink()
    os.mkfifo(ledger.folder / TABLE)


def add(name: str) -> Attack:
    def attack(ledger: Ledger) -> None:
        (ledger.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (ledger.folder / name).write_text("foreign")

    return attack


FILE_ATTACKS: list[tuple[str, Attack, list[str]]] = [
    ("a bit flipped", flip, [f"{TABLE}: SHA-256 "]),
    ("a file emptied", lambda ledger: (ledger.folder / TABLE).write_bytes(b""), [f"{TABLE}: SHA-256 "]),
    ("two files exchanged", swap, [f"{TABLE}: SHA-256 ", "runs/2026-03.2/settlements.parquet: SHA-256 "]),
    ("a file removed", lambda ledger: (ledger.folder / TABLE).unlink(), [f"{TABLE}: no such file"]),
    ("a folder removed", lambda ledger: shutil.rmtree(ledger.runs / "2026-04.1"),
     ["runs/2026-04.1/adjustments.parquet: no such file"] + ["runs/2026-04.1/"] * 9),
    ("a link instead of a file", link, [f"{TABLE}: a symbolic link"]),
    ("a link instead of a folder", link_folder, ["a symbolic link where 2026-03.1 should be"] * 10),
    ("a pipe instead of a file", pipe, [f"{TABLE}: no regular file"]),
    ("a folder instead of a file", lambda ledger: (flip(ledger), (ledger.folder / TABLE).unlink(),
     (ledger.folder / TABLE).mkdir()), [f"{TABLE}: no regular file"]),
    ("a foreign file", add("runs/2026-03.1/notes.txt"), ["runs/2026-03.1/notes.txt: a foreign file or folder"]),
    ("a hidden one", add("runs/2026-03.1/.x"), ["runs/2026-03.1/.x: a foreign file or folder"]),
    ("a foreign folder in a run", add("runs/2026-03.1/a/b/c"), ["runs/2026-03.1/a: a foreign file or folder"]),
    ("a foreign file beside the runs", add("runs/notes.txt"), ["runs/notes.txt: a foreign file or folder"]),
    ("a name that would be two lines", add("runs/a\nrefused: b"), ["runs/a\N{REPLACEMENT CHARACTER}refused: b: a f"]),
    ("a run folder of nobody", add("runs/2026-05.1/runs.parquet"),
     ["runs/2026-05.1: a run folder without a journal line"]),
    ("a run interrupted while it was moved", lambda ledger: (add("runs/2026-05.1/runs.parquet")(ledger),
     (ledger.folder / "posting").write_text("runs/2026-05.1")), ["runs/2026-05.1: a run that was never posted whole"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("attack", "expected"), [pytest.param(*attack[1:], id=attack[0]) for attack in FILE_ATTACKS]
)
def test_an_attack_on_the_files_is_named(ledger: Ledger, attack: Attack, expected: list[str]) -> None:
    attack(ledger)
    assert_told(told(ledger), expected)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../outside",
        "runs/2026-03.1/../../outside",
        "runs/../journal.jsonl",
        "runs//x",
        "x.parquet",
    ],
)
def test_a_path_that_leaves_the_ledger_is_told_and_not_followed(ledger: Ledger, path: str) -> None:
    """Its hash is that of nothing: had it been looked at, the file would be told as another or as missing."""
    forge(ledger, lambda acts: [*acts[:3], replace(acts[3], files={path: "0" * 64})])
    publish_head(ledger)
    assert_told(told(ledger), ["line 4: a run id or path that leaves the ledger"])


def test_a_line_that_leaves_out_a_table_is_told(ledger: Ledger) -> None:
    """Table and name removed together, by a journal that fits: nothing foreign, nothing missing."""
    name = "runs/2026-03.1/budgets.parquet"

    def without(acts: list[Act]) -> list[Act]:
        files = {file: content for file, content in acts[0].files.items() if file != name}
        return [replace(acts[0], files=files), *acts[1:]]

    forge(ledger, without)
    (ledger.folder / name).unlink()
    publish_head(ledger)
    assert_told(told(ledger), [f"journal.jsonl, run 2026-03.1: a line that names no {name}"])


@pytest.mark.parametrize("run_id", ["../outside", "2026-03.0", "x"])
def test_a_run_id_that_is_none_is_told_once_and_not_followed(ledger: Ledger, run_id: str) -> None:
    forge(ledger, lambda acts: [*acts[:3], replace(acts[3], act="posted", run_id=run_id, files={})])
    publish_head(ledger)
    found = verify(ledger)
    lines = [str(one) for one in found.differences]
    assert ["line 4: a run id or path that leaves the ledger" in line for line in lines].count(True) == 1
    assert not [line for line in lines if "line 4" not in line and run_id in line]
    assert found.runs == 3


def publish_head(ledger: Ledger) -> None:
    """The DuckDB file says it was made from this journal, as a thorough forger would have it."""
    acts = [json.loads(line) for line in lines_of(ledger)]
    with duckdb.connect(str(ledger.database)) as connection:
        connection.execute("update ledger.head set hash = ?", [acts[-1]["hash"]])
        for act in acts[:3]:
            connection.execute("update runs set hash = ? where run_id = ?", [act["hash"], act["run_id"]])
        connection.execute("checkpoint")


# ---------------------------------------------------------------- attacks on the results


def rewritten(table: str, edit: Callable[[pl.DataFrame], pl.DataFrame]) -> Attack:
    """A table written anew with its file hash put right everywhere, but not the results hash."""

    def attack(ledger: Ledger) -> None:
        path = ledger.path("2026-03.1", table)
        edit(pl.read_parquet(path, glob=False)).write_parquet(path)
        name = f"runs/2026-03.1/{table}.parquet"
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        forge(ledger, lambda acts: [replace(acts[0], files={**acts[0].files, name: found}), *acts[1:]])
        publish_head(ledger)

    return attack


RESULT_ATTACKS: list[tuple[str, Attack, str]] = [
    ("a figure", rewritten("settlements", lambda t: t.with_columns(overage_points=pl.col("payable_points"))),
     "runs/2026-03.1: tables with the results hash"),
    ("a row removed", rewritten("unpaid_lines", lambda t: t[1:]), "runs/2026-03.1: tables with the results hash"),
    ("the order", rewritten("settlements", lambda t: t.reverse()), "rows out of order"),
    ("a column", rewritten("settlements", lambda t: t.drop("zone")), "results, table settlements: columns"),
    ("the run of a row", rewritten("settlements", lambda t: t.with_columns(run_id=pl.lit("2026-03.2"))),
     "settlements.parquet: rows of another run"),
    ("the run's own row", rewritten("runs", lambda t: t.with_columns(results_sha256=pl.lit("0" * 64))),
     "runs.parquet: another run, month or results hash"),
    ("no run row", rewritten("runs", lambda t: t[:0]), "runs.parquet: another run, month or results hash"),
    ("no Parquet", lambda ledger: rewritten("runs", lambda t: _spoiling(ledger, t))(ledger), "cannot be read"),
]  # fmt: skip


def _spoiling(ledger: Ledger, table: pl.DataFrame) -> pl.DataFrame:
    """So that what is written in the end is no Parquet file."""

    class Spoiled(pl.DataFrame):
        def write_parquet(self, path: Path) -> None:  # type: ignore[override]
            path.write_bytes(b"PAR1 no PAR1")

    return Spoiled(table)


@pytest.mark.parametrize(
    ("attack", "expected"), [pytest.param(*attack[1:], id=attack[0]) for attack in RESULT_ATTACKS]
)
def test_tables_that_do_not_fit_the_results_hash_are_named(
    ledger: Ledger, attack: Attack, expected: str
) -> None:
    attack(ledger)
    assert_told(told(ledger), [expected])


# ---------------------------------------------------------------- attacks on the DuckDB file


def executed(*statements: str) -> Attack:
    def attack(ledger: Ledger) -> None:
        with duckdb.connect(str(ledger.database)) as analyst:
            for statement in statements:
                analyst.execute(statement)

    return attack


def keep_the_log(ledger: Ledger) -> None:
    Path(f"{ledger.database}.wal").write_bytes(b"x")


DATABASE_ATTACKS: list[tuple[str, Attack, list[str]]] = [
    ("one figure", executed("update settlements set payable_points = 0 where run_id = '2026-04.1' and line_count = 2 "
     "and eligible_points = 2"), ["table settlements, run 2026-04.1: 1 row(s) changed in payable_points, 0 too many, 0 missing; for "
     "example institution_id H12010100002, regime coaching, point_class service"]),
    ("a figure made null", executed("update settlements set payable_points = null where run_id = '2026-04.1' and "
     "regime = 'ordinary'"), ["table settlements, run 2026-04.1: 1 row(s) changed in payable_points, 0 too many, 0 missing"]),
    ("a row removed", executed("delete from unpaid_lines where run_id = '2026-03.2' and line_id = '2'"),
     ["table unpaid_lines, run 2026-03.2: 0 row(s) changed, 0 too many, 1 missing"]),
    ("a row added", executed("insert into findings (run_id, institution_id) values ('2026-03.1', 'H1')"),
     ["table findings, run 2026-03.1: 0 row(s) changed, 1 too many, 0 missing"]),
    ("a row twice", executed("insert into unpaid_lines from unpaid_lines where run_id = '2026-04.1' limit 1"),
     ["table unpaid_lines, run 2026-04.1: 0 row(s) changed, 1 too many, 0 missing; for example a row twice"]),
    ("a key", executed("update unpaid_lines set claim_id = 'C9' where run_id = '2026-04.1' and line_id = '2'"),
     ["table unpaid_lines, run 2026-04.1: 0 row(s) changed, 1 too many, 1 missing"]),
    ("rows of a run that never was", executed("insert into budgets (run_id) values ('2027-01.1'), (null)"),
     ["table budgets, run 2027-01.1: 1 row(s)", "table budgets, run null: 1 row(s)"]),
    ("a status", executed("update runs set status = 'open' where run_id = '2026-03.2'"),
     ["table runs, run 2026-03.2: 1 row(s) changed in status"]),
    ("the hash of a run", executed("update runs set hash = null, lines_in = 7 where run_id = '2026-03.2'"),
     ["table runs, run 2026-03.2: 1 row(s) changed in lines_in, hash"]),
    ("a run removed", executed("delete from runs where run_id = '2026-03.1'"), ["runs, run 2026-03.1: 0 row(s) changed, 0 too many, 1 missing"]),
    ("a run twice", executed("insert into runs from runs where run_id = '2026-03.1'"), ["runs, run 2026-03.1: 0 row(s) changed, 1 too many, 0 missing"]),
    ("a run that never was", executed("insert into runs (run_id) values ('2027-01.1'), (null)"),
     ["run 2027-01.1: 1 row(s)", "run null: 1 row(s)"]),
    ("a view", executed("create or replace view zone_month as select 1 as x"),
     [*[f"column zone_month.{n}: e" for n in ("eligible_points", "institutions", "month", "over_threshold_groups",
      "payable_amount", "payable_points", "run_id", "submitted_points", "unpaid_points", "x", "zone")],
      "view zone_month: edited"]),
    ("a comment", executed("comment on column settlements.unpaid_points is 'paid'"),
     ["column settlements.unpaid_points: edited"]),
    ("a table instead of a view, reading elsewhere", executed("drop view zone_month",
     "alter table budgets rename to spare", "create view budgets as from read_csv('/etc/passwd')"), ["table "]),
    ("a foreign table", executed("create table notes (person varchar)"), ["table notes: edited, foreign or missing",
     "column notes.person"]),
    ("a macro", executed("create macro half(x) as x / 2"), ["macro half: edited, foreign or missing"]),
    ("the head", executed("update ledger.head set hash = repeat('0', 64)"), [LATER_FILE]),
    ("the layout", executed("update ledger.head set layout = ''"), ["made by another version of this software"]),
    ("two heads", executed("insert into ledger.head from ledger.head"), ["settlement.duckdb: damaged"]),
    ("no database", lambda ledger: ledger.database.write_bytes(b"no database"), ["settlement.duckdb: damaged"]),
    ("removed", lambda ledger: ledger.database.unlink(), ["settlement.duckdb: no such file"]),
    ("behind", lambda ledger: post(ledger, APRIL), ["a stale file: the journal had 4 of its 5 lines"]),
    ("behind and edited", lambda ledger: (executed("update settlements set line_count = 9 where eligible_points = 130")
     (ledger), post(ledger, APRIL)), ["a stale file: the journal had 4 of its 5 lines",
     "table settlements, run 2026-03.2: 1 row(s) changed in line_count"]),
    ("a log beside it", keep_the_log, ["settlement.duckdb.wal: a log of a tool"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("attack", "expected"), [pytest.param(*attack[1:], id=attack[0]) for attack in DATABASE_ATTACKS]
)
def test_an_attack_on_the_duckdb_file_is_named_and_mended_by_a_rebuild(
    ledger: Ledger, attack: Attack, expected: list[str]
) -> None:
    attack(ledger)
    lines = told(ledger)
    assert_told(lines[: len(expected)], expected)
    assert len(lines) == len(expected) or "reading elsewhere" in os.environ["PYTEST_CURRENT_TEST"]
    assert all("ledger rebuild" in line for line in lines) or expected == [LATER_FILE]
    publish(ledger, anew=True)
    assert told(ledger) == []


def test_a_damaged_record_is_no_measure_for_the_duckdb_file(ledger: Ledger) -> None:
    """Who followed the advice to rebuild would lose the last good copy."""
    flip(ledger)
    found = verify(ledger)
    assert not any("rebuild" in one.remedy for one in found.differences)
    assert found.notes == ["settlement.duckdb: not compared, their record is damaged: 2026-03.1"]


def test_many_attacks_at_once_are_all_told(ledger: Ledger) -> None:
    executed("update runs set status = 'open' where run_id = '2026-03.2'")(ledger)
    add("runs/notes.txt")(ledger)
    (ledger.folder / TABLE).unlink()
    JOURNAL_ATTACKS[0][1](ledger)
    assert_told(
        told(ledger, "0" * 64),
        [
            "line 1: an edited line",
            "no line with the hash 0",
            TABLE,
            "runs/notes.txt",
            "run 2026-03.2: 1 row(s) changed in status",
        ],
    )


# ---------------------------------------------------------------- while a run is being posted


@pytest.fixture
def a_writer(ledger: Ledger) -> Iterator[None]:
    """Some process holds the lock: so it is for `verify`, which does not ask who."""
    with (ledger.folder / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


@pytest.mark.usefixtures("a_writer")
def test_what_a_writer_at_work_explains_is_a_note_and_no_difference(ledger: Ledger) -> None:
    add("runs/2026-05.1/runs.parquet")(ledger)
    (ledger.folder / "posting").write_text("runs/2026-05.1")
    ledger.journal.write_bytes(ledger.journal.read_bytes() + b'{"act":"po')
    ledger.database.unlink()
    found = verify(ledger)
    assert found.differences == []
    assert [note.split(" ")[-2] for note in found.notes] == ["being", "being", "being"]


@pytest.mark.usefixtures("a_writer")
def test_a_writer_at_work_excuses_nothing_else(ledger: Ledger) -> None:
    add("runs/2026-06.1/runs.parquet")(ledger)
    flip(ledger)
    assert_told(told(ledger), [f"{TABLE}: SHA-256", "runs/2026-06.1: a run folder without a journal line"])


def test_a_run_posted_while_everything_is_looked_at_is_no_difference(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Posted after the journal was read: its folder has no line there. It is looked at again."""
    from settlement.ledger.verify import _Examination

    real, posts = _Examination._check_files, iter([True, False])

    def late(self: _Examination) -> None:
        if next(posts, False):
            post(Ledger(ledger.folder), APRIL)
            publish(Ledger(ledger.folder))
        real(self)

    monkeypatch.setattr(_Examination, "_check_files", late)
    found = verify(ledger)
    assert (found.differences, found.notes, found.lines) == ([], [], 5)


def test_a_file_published_between_two_looks_at_it_is_no_difference(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head was read, then its writer finished: it is read again before it counts as stale."""
    module = sys.modules[verify.__module__]

    real, stale = module.published_head, iter([("0" * 64, "an earlier layout")])
    monkeypatch.setattr(module, "published_head", lambda database: next(stale, None) or real(database))
    assert told(ledger) == []


def test_a_verify_at_work_holds_no_writer_up(ledger: Ledger) -> None:
    """A run is posted at every step of it, and none is refused."""
    with (ledger.folder / ".lock").open() as other:
        seen = []

        def step(name: str) -> None:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(other, fcntl.LOCK_UN)
            seen.append(name)

        assert verify(ledger, progress=step).differences == []
    assert len(seen) > 30


# ---------------------------------------------------------------- the command


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr("sys.argv", ["settlement", "verify", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def test_the_command_says_0_without_and_1_with_differences(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    head = ledger.acts()[-1].hash
    assert command(monkeypatch, "--ledger", ledger.folder) == 0
    assert "0 difference(s) in 4 journal line(s), 3 run(s), 30 file(s)" in capsys.readouterr().out
    assert command(monkeypatch, "--ledger", ledger.folder, "--head", head) == 0
    capsys.readouterr()
    flip(ledger)
    swap(ledger)
    assert command(monkeypatch, "--ledger", ledger.folder) == 1
    out, err = capsys.readouterr()
    assert [line.count("; expected ") for line in out.splitlines()] == [1, 1, 0, 0, 0]
    assert f"head of the journal: {head}" in out
    assert err == ""


def test_the_command_does_not_publish(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.database.unlink()
    assert command(monkeypatch, "--ledger", ledger.folder) == 1
    assert not ledger.database.exists()


def test_no_ledger_or_no_readable_journal_is_refused(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "--ledger", tmp_path / "none") == 2
    assert "no ledger there" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    ledger.journal.unlink()
    ledger.journal.mkdir()
    assert command(monkeypatch, "--ledger", ledger.folder) == 2
    assert "a journal that can be read" in capsys.readouterr().err


def test_the_head_that_runs_shows_is_the_one_that_verify_takes(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["settlement", "runs", "--ledger", str(ledger.folder)])
    with pytest.raises(SystemExit):
        cli.main()
    head = capsys.readouterr().out.partition("head of the journal: ")[2].split(" ")[0]
    assert command(monkeypatch, "--ledger", ledger.folder, "--head", head) == 0


def test_an_edited_file_is_asked_nothing_and_reads_nothing_outside(ledger: Ledger) -> None:
    """A view under the name of a table could read any file of whoever verifies."""
    executed("drop table adjustments", "create view adjustments as from read_text('/etc/passwd')")(ledger)
    with pytest.raises(Refusal):
        query(ledger, "from adjustments")
    assert not any("root:" in line for line in told(ledger))
