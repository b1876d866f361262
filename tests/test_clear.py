"""`settlement clear`: what is refused, what is posted, what is published (rules 8.4, 11; data 3)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest

from program import Done, program
from settlement.ledger import CLEARED, Ledger
from test_batch import (
    AGREEMENT,
    ASSESSMENT,
    DEDUCTION,
    HOSPITAL,
    INSTITUTION,
    LINE,
    VALUE,
    csv_text,
    write_batch,
)

OTHER = "H12010100003"
PENALTY = {**DEDUCTION, "amount": "150"}
SCORES = ({**ASSESSMENT, "score": "90"}, {**ASSESSMENT, "institution_id": OTHER, "score": "85.5"})

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


def batch(folder: Path, month: str, points: Mapping[str, str], **tables: list[dict[str, str]]) -> Path:
    """Services at 1 yuan a point, of two institutions in a coaching year."""
    day = f"{month}-05 10:00:00"
    of_month = {"serviced_at": day, "settled_at": day}
    return write_batch(
        folder,
        [{**LINE, **of_month, "claim_id": one, "institution_id": one, "points": p} for one, p in points.items()],
        institutions=[{**INSTITUTION, "institution_id": one} for one in (HOSPITAL, OTHER)],
        agreements=[
            {**AGREEMENT, "agreement_id": one, "institution_id": one, "start_date": f"{month[:4]}-01-01",
             "end_date": f"{month[:4]}-12-31"}
            for one in (HOSPITAL, OTHER)
        ],
        point_values=[{**VALUE, "month": month}],
        **tables,
    )  # fmt: skip


class Books:
    """A ledger and the batches it was made of."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ledger, self.batches = folder, Ledger(folder / "ledger"), 0

    def call(self, command: str, *arguments: str | Path) -> Done:
        return program(command, *arguments, "--ledger", self.ledger.folder)

    def run(self, month: str, hospital: str, other: str, *more: str, **tables: list[dict[str, str]]) -> Done:
        """Settles or, with --reason, restates a month."""
        self.batches += 1
        path = batch(
            self.folder / f"batch-{self.batches}", month, {HOSPITAL: hospital, OTHER: other}, **tables
        )
        return self.call("restate" if more else "run", path, "--month", month, *more)

    def settle(self, month: str, hospital: str, other: str, **tables: list[dict[str, str]]) -> None:
        assert self.run(month, hospital, other, **tables).code == 0
        assert self.call("close", month).code == 0

    def clear(self, *more: str | Path, year: str = "2026") -> Done:
        return self.call("clear", "--year", year, *more)

    def row(self, institution: str = HOSPITAL, year: int = 2026) -> dict[str, str]:
        frame = pl.read_parquet(self.ledger.annual_statements(year))
        return {
            name: str(value)
            for name, value in frame.filter(institution_id=institution).row(0, named=True).items()
        }


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ledger: a deficit in January, carried into February, both closed."""
    folder = tmp_path_factory.mktemp("closed")
    of_january = [{**PENALTY, "month": "2026-01"}]
    made = Books(folder)
    made.settle("2026-01", "100", "200", deductions=of_january)
    made.settle("2026-02", "100", "200.01", assessments=list(SCORES))
    return folder


@pytest.fixture
def year(closed: Path, tmp_path: Path) -> Books:
    shutil.copytree(closed / "ledger", tmp_path / "ledger")
    return Books(tmp_path)


def assert_refused(done: Done, *words: str) -> None:
    assert done.code == 2, done
    assert all(word in done.err for word in ("refused", *words)), done.err
    assert done.out == ""


# ---------------------------------------------------------------- what is cleared


def test_the_annual_statement_sums_the_months_and_releases_the_deposit(year: Books) -> None:
    """Gross 200.00, deposit 10.00, penalty 150.00; -55.00 of January was recovered in February; score 90: all back."""
    assert year.clear().code == 0
    row = year.row()
    expected = {
        "year": "2026", "months": "2", "payable_amount": "200.00", "deposit_withheld": "10.00", "penalty": "150.00",
        "adjustment": "0.00", "brought_forward": "0.00", "net_payable": "40.00", "carried_forward": "0.00",
        "restated": "0.00", "outstanding": "0.00", "score": "90.0000", "release_share": "1.000000000",
        "deposit_released": "10.00", "deposit_forfeited": "0.00",
        "clause": "D 36; from score 90 on 1 三（一） 考核在90分以上",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    other = year.row(OTHER)
    assert (other["deposit_withheld"], other["deposit_released"], other["deposit_forfeited"]) == (
        "20.00",
        "10.00",
        "10.00",
    )


def test_every_figure_is_printed_with_its_clause(year: Books) -> None:
    text = "\n".join(" ".join(line.split()) for line in year.clear().out.splitlines())
    for line in (
        "2026 · annual clearing 年终清算 · cleared",
        "runs 2026-01.1, 2026-02.1",
        "payable amount 应付金额 600.01 rules 8.2, 11",
        "penalty 违约金 150.00 D 38(4)",
        "deposit released 返还质量保证金 20.00 D 36",
        "deposit forfeited 不予返还质量保证金 10.00 D 36",
        "8 proofs hold",
    ):
        assert line in text


def test_months_without_a_run_are_named_for_no_later_clearing_releases_their_deposit(year: Books) -> None:
    text = " ".join(year.clear().out.split())
    assert "no run of 2026-03, 2026-04, 2026-05, 2026-06, 2026-07, 2026-08, 2026-09, 2026-10," in text
    assert "2026-11, 2026-12: a deposit withheld there later is in no clearing" in text


def test_the_act_names_file_and_runs_but_no_month(year: Books) -> None:
    """Data 3: one line per act; the file's hash stands in it."""
    year.clear()
    act = json.loads((year.ledger.journal).read_text("utf-8").splitlines()[-1])
    content = (year.ledger.folder / "clearings/2026/annual_statements.parquet").read_bytes()
    assert (act["act"], act["month"], act["run_id"]) == (CLEARED, None, None)
    assert act["reason"] == "2026: 2026-01.1, 2026-02.1"
    assert act["files"] == {"clearings/2026/annual_statements.parquet": hashlib.sha256(content).hexdigest()}
    assert len(act["results_sha256"]) == 64


def test_analysts_find_it_in_the_database_also_when_made_anew(year: Books) -> None:
    year.clear()
    for _ in range(2):
        with duckdb.connect(str(year.ledger.database), read_only=True) as connection:
            found = connection.execute("select sum(deposit_released) from annual_statements").fetchone()
        assert found == (Decimal("20.00"),)
        assert year.call("ledger", "rebuild").code == 0


def test_clearing_again_posts_nothing_new(year: Books) -> None:
    year.clear()
    before = year.ledger.journal.read_bytes()
    done = year.clear()
    assert (done.code, year.ledger.journal.read_bytes()) == (0, before)
    assert "unchanged, nothing new posted" in done.out


def test_a_year_is_cleared_once(year: Books, tmp_path: Path) -> None:
    year.clear()
    before = year.ledger.journal.read_bytes()
    (tmp_path / "later.csv").write_text(csv_text([{**ASSESSMENT, "score": "10"}]), "utf-8")
    assert_refused(year.clear("--assessments", tmp_path / "later.csv"), "2026 is cleared", HOSPITAL)
    assert year.ledger.journal.read_bytes() == before


# ---------------------------------------------------------------- restatements


def test_a_restated_month_counts_as_restated_and_its_adjustment_once(year: Books) -> None:
    """11: January is restated by +10 points (9.50 yuan after deposit), which March pays; February by -90, pending."""
    restated = [{**PENALTY, "month": "2026-01"}]
    assert year.run("2026-01", "110", "200", "--reason", "late lines", deductions=restated).code == 0
    year.settle("2026-03", "100", "200", assessments=list(SCORES))
    assert year.run("2026-02", "10", "200.01", "--reason", "wrong lines").code == 0
    assert year.clear().code == 0
    row = year.row()
    expected = {
        "months": "3",
        "payable_amount": "220.00",
        "deposit_withheld": "11.00",
        "adjustment": "9.50",
        "net_payable": "144.50",
        "restated": "-76.00",
        "outstanding": "-85.50",
        "deposit_released": "11.00",
    }
    assert {name: row[name] for name in expected} == expected


def test_an_adjustment_of_another_year_is_paid_but_is_not_of_the_year(year: Books) -> None:
    """11: December's year comes to what its months came to; January 2027 only transfers the difference."""
    assert year.run("2026-02", "110", "200.01", "--reason", "late lines").code == 0
    year.settle("2027-01", "100", "200", assessments=[{**row, "year": "2027"} for row in SCORES])
    assert year.clear(year="2027").code == 0
    row = year.row(year=2027)
    assert (row["payable_amount"], row["adjustment"], row["net_payable"]) == ("100.00", "9.50", "104.50")
    assert (row["restated"], row["outstanding"]) == ("0.00", "0.00")
    assert year.clear("--assessments", _scores_file(year.folder)).code == 0
    row = year.row()
    assert (row["payable_amount"], row["restated"], row["outstanding"]) == ("210.00", "9.50", "9.50")


def _scores_file(folder: Path) -> Path:
    path = folder / "scores.csv"
    path.write_text(csv_text(list(SCORES)), "utf-8")
    return path


# ---------------------------------------------------------------- assessments


def test_scores_of_a_file_add_to_the_batches_and_come_before_them(year: Books, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    unknown = {**ASSESSMENT, "institution_id": "H12010100009"}
    earlier = {**ASSESSMENT, "institution_id": OTHER, "year": "2025", "score": "0"}
    path.write_text(csv_text([{**ASSESSMENT, "score": "79.5"}, unknown, earlier]), "utf-8")
    done = year.clear("--assessments", path)
    assert done.code == 0
    assert (year.row()["score"], year.row(OTHER)["score"]) == ("79.5000", "85.5000")
    assert "assessed, but without a statement in 2026: H12010100009" in done.out


def test_the_newest_run_with_a_score_wins(year: Books) -> None:
    """A later month's batch may bring the scores of the year before, or correct them."""
    corrected = [{**ASSESSMENT, "score": "80"}]
    year.settle("2027-01", "1", "1", assessments=corrected)
    assert year.clear().code == 0
    assert (year.row()["score"], year.row(OTHER)["score"]) == ("80.0000", "85.5000")


def test_a_deposit_without_assessment_is_refused_by_name(books: Books) -> None:
    books.settle("2026-01", "100", "200", assessments=[SCORES[0]])
    assert_refused(books.clear(), "no assessment score", OTHER)
    assert books.ledger.clearing_of(2026) is None


def test_a_bad_file_of_scores_is_refused_row_by_row(year: Books, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(csv_text([{**ASSESSMENT, "score": "101"}, {**ASSESSMENT, "score": "x"}]), "utf-8")
    assert_refused(year.clear("--assessments", path), "scores.csv, row 1", "scores.csv, row 2", "101")
    assert_refused(year.clear("--assessments", tmp_path / "none.csv"), "none.csv", "no such file")


# ---------------------------------------------------------------- what is refused


def test_an_open_month_is_refused(year: Books) -> None:
    assert year.run("2026-04", "1", "1").code == 0
    assert_refused(year.clear(), "open months of 2026: 2026-04", "settlement close 2026-04")


def test_a_year_without_a_run_or_statement_is_refused(year: Books, books: Books) -> None:
    assert_refused(year.clear(year="2025"), "no run in 2025")


def test_a_year_of_points_alone_is_refused(tmp_path: Path) -> None:
    path = batch(tmp_path / "batch", "2026-01", {HOSPITAL: "1"})
    (path / "point_values.csv").unlink()
    ledger = ("--ledger", tmp_path / "ledger")
    assert program("run", path, "--month", "2026-01", *ledger).code == 0
    assert program("close", "2026-01", *ledger).code == 0
    assert_refused(program("clear", "--year", "2026", *ledger), "no statement in 2026")


def test_a_folder_without_ledger_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    assert_refused(program("clear", "--year", "2026", "--ledger", tmp_path / "none"), "no ledger")
    assert not (tmp_path / "none").exists()


# ---------------------------------------------------------------- all or nothing

KILLED_AT = ("_announce", "_move_into_place", "_append", "_append_durably", "_sealed_file")


@pytest.mark.parametrize("instant", KILLED_AT)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_clearing_that_is_killed_leaves_the_whole_year_or_nothing(
    year: Books, instant: str, when: str
) -> None:
    """Data 3: the next command finds the folder as if the killed one had never been, or had been whole."""
    before = len(year.ledger.acts())
    script = f"""
import os, signal, sys
from settlement.ledger import record
from settlement.clear import clear
owner = record if hasattr(record, {instant!r}) else record.Ledger
done = getattr(owner, {instant!r})
def killed(*given, **named):
    if {when!r} == "after":
        done(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, {instant!r}, killed)
clear(record.Ledger({str(year.ledger.folder)!r}).folder, 2026)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], env=dict(os.environ), capture_output=True, check=False
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    done = year.clear()
    assert done.code == 0, done
    assert len(year.ledger.acts()) == before + 1
    assert year.row()["deposit_released"] == "10.00"
    assert not (year.ledger.folder / "posting").exists()


def test_a_clearing_without_its_journal_line_is_evidence(year: Books) -> None:
    """A folder that no act names and no crash announced: the journal has lost a line."""
    year.clear()
    lines = year.ledger.journal.read_bytes().splitlines(keepends=True)
    year.ledger.journal.write_bytes(b"".join(lines[:-1]))
    assert_refused(year.clear(), "clearings/2026", "journal has lost lines")
