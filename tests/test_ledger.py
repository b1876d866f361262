"""The ledger: every act is whole or absent, one writer, a chain that shows what was changed, a file for analysts."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from settlement.errors import Fault, Refusal
from settlement.ledger import (
    CLOSED,
    GENESIS,
    VIEWS,
    Act,
    Ledger,
    LedgerInUse,
    publish,
    publish_if_stale,
    query,
    record,
    results_sha256,
    stage_table,
)
from settlement.ledger.journal import sealed
from settlement.schemas import polars_schema
from settlement.terms import ANNUAL_STATEMENTS, LEDGER_TABLES, RESULT_TABLES, RUNS, SETTLEMENTS, UNPAID_LINES

MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)
AT = datetime(2026, 4, 2, 8, 30, tzinfo=UTC)
HOSPITAL, CLINIC = "H12010100001", "H12010100002"
Tables = Mapping[str, pl.DataFrame]


# ---------------------------------------------------------------- a small month


def group(institution: str, eligible: str, threshold: str | None, **others: Any) -> dict[str, Any]:
    """A group of 2 lines of 60 points each, unless said otherwise."""
    limit = Decimal(threshold) if threshold else None
    points = Decimal(eligible)
    overage = max(points - limit, Decimal(0)) if limit is not None else Decimal(0)
    return {
        "institution_id": institution,
        "zone": "urban",
        "payment_class": "other_primary",
        "regime": "coaching",
        "point_class": "service",
        "line_count": 2,
        "submitted_points": points,
        "ineligible_points": Decimal(0),
        "eligible_points": points,
        "threshold_points": limit,
        "overage_points": overage,
        "payable_points": points - overage,
        "unpaid_points": overage,
        "clause": "T 3(3)",
    } | others


def unpaid(institution: str, line: str, points: str, unpaid_points: str, **others: Any) -> dict[str, Any]:
    return {
        "institution_id": institution,
        "submitted_by": institution,
        "regime": "coaching",
        "point_class": "service",
        "claim_id": "C1",
        "line_id": line,
        "settled_at": datetime(2026, 3, 9, 10, 11, 12, 345678),
        "points": Decimal(points),
        "payable_points": Decimal(points) - Decimal(unpaid_points),
        "unpaid_points": Decimal(unpaid_points),
        "reason": "over_threshold",
        "clause": 'T 3(3) 超出"阈值"部分不予支付',
    } | others


def month_of(run_id: str, *, eligible: str = "120") -> dict[str, pl.DataFrame]:
    """The results of a run with one group above its threshold of 100, one group below and one without."""
    month = date.fromisoformat(run_id[:7] + "-01")
    rows: dict[str, list[dict[str, Any]]] = {
        "settlements": [
            group(HOSPITAL, eligible, "100"),
            group(CLINIC, "2", "3"),
            group(CLINIC, "5", None, regime="ordinary", zone=None),
        ],
        "unpaid_lines": [
            unpaid(HOSPITAL, "2", "60", "20"),
            unpaid(HOSPITAL, "3", "60", "60", reason="suspended", regime="none"),
        ],
    }
    return {
        table.name: pl.DataFrame(
            [{"run_id": run_id, "month": month} | row for row in rows.get(table.name, [])],
            schema=polars_schema(table),
        ).sort(table.key)
        for table in RESULT_TABLES
    }


def run_row(run_id: str, results_hash: str) -> pl.DataFrame:
    texts = dict.fromkeys(
        ("policy_id", "policy_status", "policy_sha256", "readings", "assumptions", "input_sha256"), "x"
    )
    counts = dict.fromkeys(("lines_in", "lines_settled", "lines_rejected"), 0)
    points = dict.fromkeys(("points_in", "points_settled", "points_rejected"), Decimal(0))
    row = {
        "run_id": run_id,
        "month": date.fromisoformat(run_id[:7] + "-01"),
        "status": "open",
        "engine_version": "0.1.0",
        "finished_at": AT.replace(tzinfo=None),
        "results_sha256": results_hash,
        "hash": None,
    }
    return pl.DataFrame([texts | counts | points | row], schema=polars_schema(RUNS))


def stage(ledger: Ledger, tables: Tables, run_id: str) -> tuple[Path, str]:
    staged, results_hash = ledger.staging(), results_sha256(tables)
    for table in RESULT_TABLES:
        stage_table(staged, table, tables[table.name])
    stage_table(staged, RUNS, run_row(run_id, results_hash))
    return staged, results_hash


def post(ledger: Ledger, month: date = MARCH, **changes: Any) -> Act:
    with ledger.lock():
        run_id = ledger.next_run_id(month)
        return ledger.post_run(*_staged(ledger, run_id, changes), at=AT)


def _staged(ledger: Ledger, run_id: str, changes: dict[str, Any]) -> tuple[Path, date, str]:
    staged, results_hash = stage(ledger, month_of(run_id, **changes), run_id)
    return staged, date.fromisoformat(run_id[:7] + "-01"), results_hash


def close(ledger: Ledger, month: date) -> Act:
    with ledger.lock():
        return ledger.close(month, AT)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def snapshot(ledger: Ledger) -> dict[str, bytes]:
    """Every file of the record, as it stands."""
    kept = (path for path in sorted(ledger.folder.rglob("*")) if path.is_file() and path.suffix != ".duckdb")
    return {str(path.relative_to(ledger.folder)): path.read_bytes() for path in kept if path.name != ".lock"}


# ---------------------------------------------------------------- posting


def test_a_run_is_posted_with_its_files_and_the_hash_of_the_line_before(ledger: Ledger) -> None:
    first, second = post(ledger), post(ledger, APRIL)

    assert (first.seq, first.act, first.run_id, first.month, first.at) == (
        1,
        "posted",
        "2026-03.1",
        MARCH,
        AT,
    )
    assert first.previous_hash == GENESIS
    assert second.previous_hash == first.hash
    assert ledger.acts() == [first, second]
    assert set(first.files) == {f"runs/2026-03.1/{table.name}.parquet" for table in LEDGER_TABLES}
    assert ledger.scan("2026-03.1", "settlements").collect().height == 3
    assert ledger.months == [MARCH, APRIL]


def test_a_month_run_again_supersedes_its_open_run_and_no_other_month(ledger: Ledger) -> None:
    for month in (MARCH, APRIL, *[MARCH] * 9):
        post(ledger, month)

    newest = ledger.newest_run(MARCH)
    assert newest is not None
    assert newest.run_id == "2026-03.10"  # by version: as text .9 would be newer
    statuses = ledger.statuses
    assert statuses["2026-03.9"] == "superseded"
    assert {run for run, status in statuses.items() if status == "open"} == {"2026-03.10", "2026-04.1"}
    publish(ledger)
    assert query(ledger, "select run_id from current_runs order by 1").rows() == [
        ("2026-03.10",),
        ("2026-04.1",),
    ]
    assert query(ledger, "select distinct run_id from current_settlements order by 1").height == 2


def test_a_closed_month_takes_no_more_runs(ledger: Ledger) -> None:
    post(ledger)
    with ledger.lock():
        run_id = ledger.next_run_id(MARCH)
        staged = _staged(ledger, run_id, {})
        ledger._append(CLOSED, MARCH, AT, run_id="2026-03.1")
        with pytest.raises(Refusal, match="month 2026-03 is closed"):
            ledger.next_run_id(MARCH)
        with pytest.raises(Refusal, match="settlement restate"):
            ledger.post_run(*staged, at=AT)
    assert ledger.statuses == {"2026-03.1": "closed"}
    assert post(ledger, APRIL).run_id == "2026-04.1"
    publish(ledger)
    assert query(ledger, "select status, hash from runs where run_id = '2026-03.1'").rows() == [
        ("closed", ledger.acts()[0].hash)  # the line that posted the run, not the one that closed the month
    ]


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda folder: (folder / "findings.parquet").unlink(), "files"),
        (lambda folder: (folder / "notes.txt").touch(), "files"),
        (lambda folder: pl.DataFrame({"a": [1]}).write_parquet(folder / "findings.parquet"), "columns"),
        (lambda folder: run_row("2026-03.7", "").write_parquet(folder / "runs.parquet"), "another run"),
        (lambda folder: run_row("2026-03.1", "").write_parquet(folder / "runs.parquet"), "results hash"),
    ],
)
def test_tables_that_are_not_the_dictionarys_are_not_posted(ledger: Ledger, spoil: Any, found: str) -> None:
    with ledger.lock():
        staged, month, results_hash = _staged(ledger, "2026-03.1", {})
        spoil(staged)
        with pytest.raises(Fault, match=found):
            ledger.post_run(staged, month, results_hash, AT)
    assert ledger.acts() == []


def test_nothing_is_written_without_the_lock(ledger: Ledger) -> None:
    with pytest.raises(Fault, match="without the lock"):
        ledger.staging()
    with pytest.raises(Fault, match="without the lock"):
        ledger.next_run_id(MARCH)
    assert not ledger.folder.exists()


def test_reading_a_ledger_that_does_not_exist_makes_nothing(ledger: Ledger) -> None:
    assert ledger.acts() == []
    assert ledger.newest_run(MARCH) is None
    assert publish_if_stale(ledger) is False
    with pytest.raises(Refusal, match="no such file"):
        query(ledger, "select 1")
    assert not ledger.folder.exists()


def test_no_path_leads_out_of_the_ledger(ledger: Ledger) -> None:
    post(ledger)
    for run_id, table in (("../../etc", "runs"), ("2026-03.1/..", "runs"), ("2026-03.1", "../runs")):
        with pytest.raises(Refusal):
            ledger.path(run_id, table)


def test_what_is_written_is_for_owner_and_group(ledger: Ledger) -> None:
    before = os.umask(0)
    try:
        post(ledger)
        publish(ledger)
        assert os.umask(0) == 0  # the caller's own is back
    finally:
        os.umask(before)
    made = [ledger.folder, *ledger.folder.rglob("*")]
    assert len(made) > len(LEDGER_TABLES)
    assert [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o027] == []


# ---------------------------------------------------------------- the results hash


def by_hand(tables: Tables) -> str:
    """The results hash as `results_sha256` describes it, by Python alone."""

    def number(value: Any) -> int:
        if isinstance(value, str):
            return len(value.encode())
        if isinstance(value, Decimal):
            return int(value.scaleb(-int(value.as_tuple().exponent)))  # polars gives all places of the column
        if isinstance(value, datetime):
            return (value - datetime(1970, 1, 1)) // timedelta(microseconds=1)
        if isinstance(value, date):
            return (value - date(1970, 1, 1)).days
        return int(value or 0)

    lines = []
    for table in RESULT_TABLES:
        for column in tables[table.name].drop("run_id").iter_columns():
            cells = column.to_list()
            nulls = bytes(cell is None for cell in cells)
            numbers = b"".join(number(cell).to_bytes(8, "little", signed=True) for cell in cells)
            texts = "".join(cell for cell in cells if isinstance(cell, str)).encode()
            parts = "".join(hashlib.sha256(part).hexdigest() for part in (nulls, numbers, texts))
            lines.append(f"{table.name} {column.name} {parts}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_the_results_hash_is_of_the_results_alone() -> None:
    tables = month_of("2026-03.1")
    assert results_sha256(tables) == by_hand(tables)
    assert results_sha256(tables) == results_sha256(month_of("2026-03.2"))
    assert results_sha256(tables) != results_sha256(month_of("2026-03.1", eligible="120.0001"))


def test_the_order_and_partition_of_insertion_do_not_change_the_results_hash() -> None:
    tables = month_of("2026-03.1")
    shuffled = {
        table.name: pl.concat([*tables[table.name].reverse().iter_slices(1), tables[table.name][:0]])
        .sort(table.key)
        .lazy()
        for table in RESULT_TABLES
    }
    assert results_sha256(shuffled) == results_sha256(tables)


def test_the_results_hash_of_files_is_that_of_frames_also_over_many_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [unpaid(HOSPITAL, f"{n:06}", "1.5", "-0.0001") for n in range(1000)]
    rows = [{"run_id": "2026-03.1", "month": MARCH} | line for line in lines]
    tables = month_of("2026-03.1") | {"unpaid_lines": pl.DataFrame(rows, schema=polars_schema(UNPAID_LINES))}
    whole = results_sha256(tables)
    path = tmp_path / "unpaid_lines.parquet"
    tables["unpaid_lines"].write_parquet(path, row_group_size=64)
    monkeypatch.setattr("settlement.ledger.digest._CHUNK_ROWS", 10)
    assert results_sha256(tables | {"unpaid_lines": path}) == whole
    with pytest.raises(Fault, match="out of order"):  # between two chunks
        results_sha256(
            tables | {"unpaid_lines": pl.concat([tables["unpaid_lines"][500:], tables["unpaid_lines"][:500]])}
        )


def test_rows_out_of_order_or_a_key_twice_are_our_fault() -> None:
    tables = month_of("2026-03.1")
    rows = tables["settlements"]
    for spoiled in (rows.reverse(), pl.concat([rows[:1], rows])):
        with pytest.raises(Fault, match="out of order, or a key twice"):
            results_sha256(tables | {"settlements": spoiled})
    with pytest.raises(Fault, match="missing"):
        results_sha256({name: rows for name, rows in tables.items() if name != "findings"})
    with pytest.raises(Fault, match="columns"):
        results_sha256(tables | {"settlements": rows.with_columns(pl.col("line_count").cast(pl.Int32))})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"zone": None}, {"zone": ""}),
        ({"zone": 'a","b'}, {"zone": 'a","b\n'}),
        ({"zone": "a", "payment_class": 'b"'}, {"zone": 'a","b', "payment_class": '"'}),
        ({"threshold_points": None}, {"threshold_points": Decimal(0)}),
        ({"overage_points": Decimal("-0.5")}, {"overage_points": Decimal("0.5")}),
    ],
)
def test_different_rows_have_different_hashes(one: dict[str, Any], other: dict[str, Any]) -> None:
    def hash_with(changes: dict[str, Any]) -> str:
        row = {"run_id": "2026-03.1", "month": MARCH} | group(HOSPITAL, "1", "1", **changes)
        settlements = pl.DataFrame([row], schema=polars_schema(SETTLEMENTS))
        return results_sha256(month_of("2026-03.1") | {"settlements": settlements})

    assert hash_with(one) != hash_with(other)


# ---------------------------------------------------------------- the chain


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (lambda lines: [lines[0].replace(b"2026-03", b"2026-05", 1), *lines[1:]], 1),
        (lambda lines: [lines[0].replace(b'"act":', b'"act": '), *lines[1:]], 1),
        (lambda lines: [lines[1], lines[0], lines[2]], 1),
        (lambda lines: [lines[0], lines[2]], 2),
        (lambda lines: [lines[0], lines[0], *lines[1:]], 2),
        (lambda lines: [lines[0], b"", *lines[1:]], 2),
        (lambda lines: [lines[0], b"{", *lines[1:]], 2),
        (lambda lines: [*lines[:2], lines[2].replace(b'"reason":null', b'"reason":"x"')], 3),
        (
            lambda lines: [*lines[:2], lines[2][:-1]],
            3,
        ),  # broken, but ended by its newline: no crash does that
        (lambda lines: [*lines[:2], b"[]"], 3),
    ],
)
def test_a_broken_chain_is_refused_with_its_line(ledger: Ledger, edit: Any, line: int) -> None:
    for month in (MARCH, APRIL, MARCH):
        post(ledger, month)
    ledger.journal.write_bytes(b"\n".join(edit(ledger.journal.read_bytes().splitlines())) + b"\n")
    broken = snapshot(ledger)
    with pytest.raises(Refusal, match=rf"journal.jsonl, line {line}\n"):
        ledger.acts()
    with pytest.raises(Refusal, match=f"line {line}\n"):
        post(ledger)
    assert snapshot(ledger) == broken


@pytest.mark.parametrize(
    ("forged", "found"),
    [
        (lambda acts: [sealed(replace(acts[0], reason="forged")), acts[1]], "does not follow the one before"),
        (lambda acts: [acts[0], sealed(replace(acts[1], seq=3))], "out of turn"),
    ],
)
def test_a_forged_line_with_a_fitting_hash_of_its_own_breaks_the_chain(
    ledger: Ledger, forged: Any, found: str
) -> None:
    acts = [post(ledger), post(ledger, APRIL)]
    ledger.journal.write_bytes(b"".join(act.line for act in forged(acts)))
    with pytest.raises(Refusal, match=found):
        ledger.acts()


def test_a_path_out_of_the_ledger_is_refused_even_with_a_fitting_hash(ledger: Ledger) -> None:
    with ledger.lock():
        ledger._append("posted", MARCH, AT, run_id="2026-03.1", files={"runs/2026-03.1/../x.parquet": "0"})
    with pytest.raises(Refusal, match="leaves the ledger"):
        ledger.acts()


# ---------------------------------------------------------------- crashes


def test_a_torn_last_line_is_no_act_and_is_cut_off_by_the_next_writer(ledger: Ledger) -> None:
    post(ledger)
    whole = ledger.journal.read_bytes()
    for torn in (whole[:-2], whole[:1], b"\0" * 50, b"\0" * 50 + b'xyz"}\n'):
        ledger.journal.write_bytes(whole + torn)
        assert len(ledger.acts()) == 1
        with ledger.lock():
            pass
        assert ledger.journal.read_bytes() == whole


def test_a_last_line_that_lacks_only_its_newline_is_whole(ledger: Ledger) -> None:
    post(ledger)
    whole = ledger.journal.read_bytes()
    ledger.journal.write_bytes(whole[:-1])
    assert len(ledger.acts()) == 1
    post(ledger)
    assert ledger.journal.read_bytes().startswith(whole)
    assert len(ledger.acts()) == 2


INSTANTS = ("_announce", "_move_into_place", "_append", "_append_durably", "fsync", "_sealed_file")
KILLED_WHILE_POSTING = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import test_ledger as t
from settlement.ledger import record
ledger, name, when, count = t.Ledger({folder!r}), {name!r}, {when!r}, {count}
owner = record.Ledger if hasattr(record.Ledger, name) else record
real, calls = getattr(owner, name), 0
def dying(*args, **kwargs):
    global calls
    calls += 1
    if calls == count and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*args, **kwargs)
    if calls == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(owner, name, dying)
t.post(ledger, eligible="130")
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", INSTANTS)
def test_a_writer_killed_while_posting_leaves_the_whole_run_or_nothing(
    ledger: Ledger, name: str, when: str
) -> None:
    post(ledger)
    before = snapshot(ledger)
    code = KILLED_WHILE_POSTING.format(
        tests=str(Path(__file__).parent), folder=str(ledger.folder), name=name, when=when, count=1
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9

    with ledger.lock():
        repaired = snapshot(ledger)
    is_posted = (name, when) in {("_append", "after"), ("_append_durably", "after")}
    assert ("runs/2026-03.2/runs.parquet" in repaired) == is_posted == (len(ledger.acts()) == 2)
    assert repaired == before or is_posted
    assert list((ledger.folder / "staging").iterdir()) == []
    assert not (ledger.folder / "posting").exists()
    assert post(ledger).run_id == ("2026-03.3" if is_posted else "2026-03.2")


def test_a_run_folder_whose_journal_line_was_lost_is_kept_and_nothing_is_posted(ledger: Ledger) -> None:
    post(ledger)
    post(ledger)
    lines = ledger.journal.read_bytes().splitlines(keepends=True)
    ledger.journal.write_bytes(lines[0])  # truncated by a hand, not by a crash: the run is evidence
    with pytest.raises(Refusal, match=r"2026-03\.2"):
        post(ledger)
    assert ledger.path("2026-03.2", "settlements").is_file()


def test_leftovers_in_staging_are_removed_and_nothing_else_is(ledger: Ledger) -> None:
    with ledger.lock():
        leftover = ledger.staging()
        (leftover / "unpaid_lines.parquet").write_bytes(b"half")
    mine = ledger.folder / "staging" / "my notes"
    mine.mkdir()
    with ledger.lock():
        assert not leftover.exists()
        assert mine.exists()


@pytest.mark.parametrize("name", INSTANTS)
def test_a_full_disk_is_refused_and_nothing_was_posted(
    ledger: Ledger, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(ledger)
    before = snapshot(ledger)

    def full(*args: Any, **kwargs: Any) -> Iterator[None]:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger if hasattr(Ledger, name) else record, name, full)
        with pytest.raises(Refusal, match="no space left"):
            post(ledger)
    with ledger.lock():
        assert snapshot(ledger) == before
    assert post(ledger).run_id == "2026-03.2"


def test_a_journal_line_that_fits_only_in_part_is_taken_back(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(ledger)
    before, write = ledger.journal.read_bytes(), os.write
    with monkeypatch.context() as patch:
        patch.setattr("settlement.ledger.record.os.write", lambda handle, line: write(handle, line[:100]))
        with pytest.raises(Refusal, match="no space left"):
            post(ledger)
    assert ledger.journal.read_bytes() == before


# ---------------------------------------------------------------- one writer


def test_a_second_writer_is_refused_at_once_with_the_holders_pid(ledger: Ledger) -> None:
    code = f"""
import sys
from settlement.ledger import Ledger
with Ledger({str(ledger.folder)!r}).lock():
    print("held", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(LedgerInUse, match=f"in use by process {other.pid}\n"):
            post(ledger)
        other.kill()
        other.wait()
    post(ledger)  # a dead holder holds nothing


def test_a_reader_leaves_a_stale_file_to_the_writer_who_is_posting(ledger: Ledger) -> None:
    post(ledger)
    with ledger.lock():
        other = Ledger(ledger.folder)
        assert publish_if_stale(other) is False
        assert publish_if_stale(ledger) is True  # the holder's own
    assert publish_if_stale(other) is False


# ---------------------------------------------------------------- the file for analysts


def test_the_file_holds_every_run_of_every_table_with_exact_types(ledger: Ledger) -> None:
    acts = [post(ledger), post(ledger, eligible="130.5"), post(ledger, APRIL)]
    publish(ledger)
    with duckdb.connect(str(ledger.database), read_only=True) as connection:
        for table in LEDGER_TABLES:
            found = connection.execute(
                "select column_name, data_type from duckdb_columns() where table_name = ?", [table.name]
            ).fetchall()
            assert found == [(column.name, column.kind.sql) for column in table.columns]
        runs = connection.execute("select run_id, status, hash from runs order by all").fetchall()
        assert runs == [
            ("2026-03.1", "superseded", acts[0].hash),
            ("2026-03.2", "open", acts[1].hash),
            ("2026-04.1", "open", acts[2].hash),
        ]
        counts = connection.execute(
            "select run_id, count(*) from settlements group by 1 order by 1"
        ).fetchall()
        assert counts == [("2026-03.1", 3), ("2026-03.2", 3), ("2026-04.1", 3)]
    assert (
        results_sha256(
            {
                table.name: query(ledger, f"from {table.name} where run_id = '2026-03.2'")
                if "run_id" in table.names
                else ""
                for table in RESULT_TABLES
            }
        )
        == acts[1].results_sha256
    )


def test_every_table_view_and_column_has_a_comment_in_both_languages(ledger: Ledger) -> None:
    publish(ledger)
    with duckdb.connect(str(ledger.database), read_only=True) as connection:
        comments = connection.execute(
            """select table_name, '', comment from duckdb_tables() where not internal
            union all select view_name, '', comment from duckdb_views() where not internal
            union all select table_name, column_name, comment from duckdb_columns() where not internal"""
        ).fetchall()
    names = {table for table, _, _ in comments}
    tables = {table.name for table in (*LEDGER_TABLES, ANNUAL_STATEMENTS)}
    assert names == tables | {view.name for view in VIEWS} | {"head", "policies", "institutions"}
    assert len(comments) > 250
    without = [row for row in comments if not row[2] or row[2].isascii()]
    assert without == []


def test_the_views_show_zones_threshold_use_and_the_reason_of_every_unpaid_line(ledger: Ledger) -> None:
    post(ledger, eligible="500")
    post(ledger)
    publish(ledger)
    zones = query(ledger, "from zone_month order by zone nulls last")
    assert zones.select("run_id", "zone", "institutions", "eligible_points", "unpaid_points").rows() == [
        ("2026-03.2", "urban", 2, Decimal(122), Decimal(20)),
        ("2026-03.2", None, 1, Decimal(5), Decimal(0)),
    ]
    assert zones["over_threshold_groups"].to_list() == [1, 0]
    lines = query(ledger, "from line_explanations order by line_id")
    assert lines["reason"].to_list() == ["over_threshold", "suspended"]
    assert lines["arithmetic"].to_list() == [
        "group: eligible 120.0000, threshold 100.00, payable 100.0000, attribution not recorded; "
        "unpaid 60.0000 - 40.0000 = 20.0000",
        "not eligible: the agreement was suspended on the day of service; unpaid 60.0000 - 0.0000 = 60.0000",
    ]
    assert lines["group_payable_points"].to_list() == [Decimal(100), None]


@pytest.mark.parametrize(
    ("eligible", "threshold", "use"),
    [
        ("2", "3", "0.6667"),
        ("1", "3", "0.3333"),
        ("-2", "3", "-0.6667"),
        ("0.0001", "2.00", "0.0001"),  # a half goes up
        ("-0.0001", "2.00", "-0.0001"),
        ("0.0001", "2.01", "0.0000"),
        ("99999999999999.9999", "0.01", "9999999999999999.9900"),
        ("12345678901234.5678", "3.00", "4115226300411.5226"),
        ("0", "5", "0.0000"),
        ("5", "0", None),
    ],
)
def test_threshold_use_is_exact(ledger: Ledger, eligible: str, threshold: str, use: str | None) -> None:
    row = {"run_id": "2026-03.1", "month": MARCH} | group(HOSPITAL, eligible, threshold)
    settlements = pl.DataFrame(
        [row | {"threshold_points": Decimal(threshold)}], schema=polars_schema(SETTLEMENTS)
    )
    with ledger.lock():
        staged, results = stage(ledger, month_of("2026-03.1") | {"settlements": settlements}, "2026-03.1")
        ledger.post_run(staged, MARCH, results, AT)
    publish(ledger)
    found = query(ledger, "select threshold_use from threshold_use")
    assert found.schema["threshold_use"] == pl.Decimal(38, 4)
    assert found.item() == (Decimal(use) if use else None)


def test_a_reader_hinders_nobody_and_keeps_its_view(ledger: Ledger) -> None:
    post(ledger)
    publish(ledger)
    content = ledger.database.read_bytes()
    with (
        duckdb.connect(str(ledger.database), read_only=True) as reader,
        ledger.database.open("rb") as handle,
    ):
        assert reader.execute("select count(*) from runs").fetchone() == (1,)
        post(ledger, APRIL)
        publish(ledger)
        assert reader.execute("select count(*) from runs").fetchone() == (1,)
        assert handle.read() == content
        # though this process has the old one open:
        assert query(ledger, "select count(*) from runs").item() == 2


def test_a_stale_damaged_or_missing_file_is_made_anew(ledger: Ledger) -> None:
    post(ledger)
    assert publish_if_stale(ledger) is True
    assert publish_if_stale(ledger) is False
    post(ledger)  # and killed before it published
    assert publish_if_stale(ledger) is True
    assert query(ledger, "select count(*) from runs").item() == 2
    close(ledger, MARCH)
    assert publish_if_stale(ledger) is True
    ledger.database.write_bytes(b"no database")
    assert publish_if_stale(ledger) is True
    ledger.database.unlink()
    assert publish_if_stale(ledger) is True
    assert query(ledger, "select distinct status from current_runs").rows() == [("closed",)]


def test_the_file_opens_in_the_1_5_line_also_after_it_was_carried_on(ledger: Ledger) -> None:
    for _ in range(2):
        post(ledger)
        publish(ledger)
        tags = query(
            ledger, "select cast(tags as varchar) from duckdb_databases() where path is not null"
        ).item()
        assert tags == "{storage_version=v1.5.0+}"


HELPERS = ("ledger.head", "applied.policies", "applied.institutions")


def content_of(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    names = [*(table.name for table in LEDGER_TABLES), *(view.name for view in VIEWS), *HELPERS]
    return {name: query(ledger, f"from {name} order by all").rows() for name in names}


def test_a_file_carried_on_from_run_to_run_is_that_made_anew(ledger: Ledger) -> None:
    for month, eligible in ((MARCH, "120"), (APRIL, "130"), (MARCH, "140")):
        post(ledger, month, eligible=eligible)
        publish(ledger)
    post(ledger, APRIL)
    close(ledger, MARCH)
    publish(ledger)
    carried_on = content_of(ledger)
    publish(ledger, anew=True)
    assert content_of(ledger) == carried_on


def test_runs_already_published_are_not_read_again_unless_the_file_was_touched(ledger: Ledger) -> None:
    post(ledger)
    publish(ledger)
    ledger.path("2026-03.1", "settlements").unlink()  # so that reading it again would be refused
    post(ledger)
    publish(ledger)
    os.utime(ledger.database)
    post(ledger)
    with pytest.raises(Refusal, match=r"2026-03\.1/settlements"):
        publish(ledger)


def test_an_edit_of_the_file_does_not_outlive_the_next_run(ledger: Ledger) -> None:
    post(ledger)
    publish(ledger)
    times = ledger.database.stat()
    with duckdb.connect(str(ledger.database)) as analyst:
        analyst.execute("update settlements set payable_points = 0")
    os.utime(ledger.database, ns=(times.st_atime_ns, times.st_mtime_ns))  # and hidden
    post(ledger, APRIL)
    publish(ledger)
    assert (
        query(ledger, "select sum(payable_points) from settlements where month = '2026-03-01'").item() == 107
    )


def test_a_file_made_by_another_layout_is_stale(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    post(ledger)
    publish(ledger)
    monkeypatch.setattr(sys.modules[publish.__module__], "_LAYOUT", "of a later version")
    assert publish_if_stale(ledger) is True
    assert publish_if_stale(ledger) is False


WRITING_ANALYST = """
import os, signal, sys, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("update settlements set payable_points = 0")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_an_analyst_wrote_to_the_file_is_not_played_into_the_next_one(ledger: Ledger) -> None:
    post(ledger)
    publish(ledger)
    subprocess.run([sys.executable, "-c", WRITING_ANALYST, str(ledger.database)], check=False)
    log = Path(f"{ledger.database}.wal")
    assert log.exists()
    assert publish_if_stale(ledger) is True
    assert not log.exists()
    assert query(ledger, "select sum(payable_points) from settlements").item() == 107


def test_a_missing_record_file_is_named_and_the_old_file_stays(ledger: Ledger) -> None:
    post(ledger)
    publish(ledger)
    post(ledger)
    ledger.path("2026-03.2", "budgets").unlink()
    with pytest.raises(Refusal, match=r"2026-03\.2/budgets\.parquet"):
        publish(ledger)
    assert query(ledger, "select count(*) from runs").item() == 1
    assert list((ledger.folder / "staging").iterdir()) == []


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    for name in ("天津 2026", "it's [1] *", 'a"b'):
        ledger = Ledger(tmp_path / name)
        post(ledger)
        post(ledger)
        publish(ledger)
        assert query(ledger, "select count(*) from settlements").item() == 6


def test_a_folder_that_the_file_could_not_be_made_in_is_refused_before_anything_is_posted(
    tmp_path: Path,
) -> None:
    with pytest.raises(Refusal, match="question mark"):
        Ledger(tmp_path / "what?")


# ---------------------------------------------------------------- what users may ask


@pytest.mark.parametrize(
    "sql",
    [
        "insert into runs select * from runs",
        "update runs set status = 'open'",
        "drop table runs",
        "create temp table t as select 1",
        "copy runs to '{folder}/out.csv'",
        "export database '{folder}/out'",
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select * from glob('/etc/*')",
        "attach '{folder}/out.duckdb'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "pragma enable_profiling",
        "call pragma_version()",
        "begin",
        "prepare p as select 1",
        "select 1; select 2",
        "select 1; drop table runs",
        "select * from no_such_table",
        "selec 1",
        "select 1 as a, 2 as a",
        "select interval 1 day",
        "select cast(policy_id as integer) from runs",
        "",
        "-- nothing",
    ],
)
def test_sql_that_writes_reaches_out_or_fails_is_refused(ledger: Ledger, tmp_path: Path, sql: str) -> None:
    post(ledger)
    publish(ledger)
    before = sorted(tmp_path.rglob("*"))
    content = ledger.database.read_bytes()
    with pytest.raises(Refusal, match=r"^where: +sql\n"):
        query(ledger, sql.format(folder=tmp_path))
    assert sorted(tmp_path.rglob("*")) == before
    assert ledger.database.read_bytes() == content


def test_the_connection_itself_reads_only_and_only_this_file(ledger: Ledger, tmp_path: Path) -> None:
    """The second guard, should a statement ever pass the first."""
    from settlement.ledger.publish import _reading

    post(ledger)
    publish(ledger)
    with _reading(ledger.database) as connection:
        for sql in (
            "insert into settlement.runs select * from settlement.runs",
            f"copy (select 1) to '{tmp_path}/out.csv'",
            "select * from read_csv('/etc/passwd')",
            f"attach '{tmp_path}/out.duckdb'",
            "set enable_external_access = true",
            "set threads = 3",
            "load httpfs",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(sql)


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("select sum(unpaid_points) from unpaid_lines", [(Decimal(80),)]),
        ("with t as (from unpaid_lines) select count(*) from t", [(2,)]),
        ("pivot unpaid_lines on reason using count(*) group by month", [(MARCH, 1, 1)]),
        ("select 1 where false", []),
        ("values (1), (2)", [(1,), (2,)]),
        ("select zone from settlements where regime = 'ordinary'", [(None,)]),
    ],
)
def test_a_query_gives_rows(ledger: Ledger, sql: str, rows: list[tuple[Any, ...]]) -> None:
    post(ledger)
    publish(ledger)
    assert query(ledger, sql).rows() == rows
    assert query(ledger, "explain " + sql).height or sql.startswith("pivot")
