"""Every worked case in ../shared/cases, settled from the command line, read back from both forms of the ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from settlement import cli

CASES = Path(__file__).parents[2] / "shared" / "cases"
CASE_FOLDERS = sorted(path.parent for path in CASES.rglob("case.json")) if CASES.is_dir() else []
CASE_NAMES = [folder.relative_to(CASES).as_posix() for folder in CASE_FOLDERS]
EXPECT = {
    name: json.loads((CASES / name / "case.json").read_text(encoding="utf-8"))["expect"]
    for name in CASE_NAMES
}
SETTLED = [name for name in CASE_NAMES if EXPECT[name] == "settle"]
REFUSED = [name for name in CASE_NAMES if EXPECT[name] == "refuse"]
NUMBERS = {
    "lines_in", "lines_settled", "lines_rejected", "points_settled", "line_count", "submitted_points",
    "ineligible_points", "eligible_points", "threshold_points", "overage_points", "payable_points",
    "unpaid_points", "point_value", "payable_amount", "points", "budget", "pool_points", "remainder", "row_number",
    "deposit_withheld", "disallowed", "penalty", "recovery", "prepayment", "net_payable", "carried_forward",
}  # fmt: skip
TABLES = ("settlements", "unpaid_lines", "budgets", "rejected_lines", "statements", "findings")
NAMED = {  # what a refusal must name: the words of its reason
    "01-agreements-overlap": ("agreements.csv", "A01", "A03", "overlap"),
    "02-no-threshold-row": ("threshold", "H12010100002", "other_secondary", "urban"),
    "03-no-zone": ("zone", "H12010100002", "310101"),
    "04-deposit-above-5-percent": ("policy.toml", "deposit_rate", "0.0501", "0.05"),
    "05-value-and-budget": ("point_values", "budgets", "service"),
    "06-no-point-value": ("no point value", "budget", "drug_consumable", "urban"),
    "07-deductions-without-money": ("deductions", "point_values", "budgets"),
    "08-settles-under-chain": ("institutions.csv, row 3", "settles_under", "chain"),
    "09-relief-for-a-station": ("relief.csv, row 1", "H12010100002", "settles under another"),
    "10-coaching-over-12-months": ("agreements.csv, row 1", "coaching", "12 months", "2027-01-04"),
    "11-three-bad-rows": ("events.csv, row 1", "H99999999999", "events.csv, row 2", "2026-02-29",
                          "events.csv, row 3", "target_id"),
    "12-month-outside-policy": ("2026-03", "2026-03-02", "span"),
    "13-policy-without-phrase": ("policy.toml", "[[thresholds]]", "phrase"),
    "14-priority-not-in-effect": ("priority", "2026-03-01"),
    "15-column-under-two-names": ("claims.csv", "claim_id", "setl_id"),
    "16-no-points-no-factor": ("no points column", "points_per_yuan", "drug_consumable"),
}  # fmt: skip

pytestmark = [
    pytest.mark.skipif(not CASE_FOLDERS, reason=f"no worked cases: {CASES} is missing"),
    pytest.mark.filterwarnings("ignore:Implicitly cleaning up"),  # see test_cli, temporary copies
]

Rows = list[dict[str, Any]]


def month_of(folder: Path) -> str:
    return str(json.loads((folder / "case.json").read_text(encoding="utf-8"))["month"])


def arguments(folder: Path, ledger: Path) -> list[str]:
    """The command line of the cases' README, for `batch` and `policy.toml` in the case's folder."""
    return ["run", "batch", "--month", month_of(folder), "--policy", "policy.toml", "--ledger", str(ledger)]


def run_in(folder: Path, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of the run, in this process."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["settlement", *arguments(folder, ledger)])
    try:
        cli.main()
    except SystemExit as left:
        return int(left.code or 0)
    raise AssertionError("main() returned")


def expected_of(folder: Path) -> dict[str, Any]:
    """expected.json; its numbers are texts or whole, so no binary float comes in."""
    return dict(json.loads((folder / "expected.json").read_text(encoding="utf-8"), parse_float=Decimal))


def from_database(ledger: Path, table: str) -> Rows:
    with duckdb.connect(str(ledger / "settlement.duckdb"), read_only=True) as connection:
        result = connection.execute(f'select * from "{table}"')  # noqa: S608
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def from_record(ledger: Path, table: str) -> Rows:
    (run,) = (ledger / "runs").iterdir()
    return pl.read_parquet(run / f"{table}.parquet").to_dicts()


def comparable(column: str, value: Any) -> Any:
    """A cell by value: numbers as decimals, `settled_at` as a moment, texts as they are."""
    assert not isinstance(value, float), f"{column} is a binary float"
    if value is None or (column not in NUMBERS and column != "settled_at"):
        return value
    if column == "settled_at":
        return value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return Decimal(value)


def in_no_order(rows: Rows, columns: list[str]) -> list[str]:
    """Rows as a multiset of the compared columns."""
    return sorted(repr([_text(comparable(column, row[column])) for column in columns]) for row in rows)


def _text(value: Any) -> Any:
    return f"{value.normalize() + 0:f}" if isinstance(value, Decimal) else value


@pytest.mark.parametrize("name", SETTLED)
def test_a_case_settles_as_worked_out_by_hand(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, ledger = CASES / name, tmp_path / "ledger"
    expected = expected_of(folder)
    code = run_in(folder, ledger, monkeypatch)
    assert code == (1 if expected["runs"]["lines_rejected"] else 0)
    for read in (from_database, from_record):
        (run,) = read(ledger, "runs")
        assert {key: comparable(key, run[key]) for key in expected["runs"]} == {
            key: comparable(key, value) for key, value in expected["runs"].items()
        }
        for table in TABLES:
            rows, found = expected.get(table, []), read(ledger, table)
            if table == "findings":
                assert {(row["institution_id"], row["finding"]) for row in found} == {
                    (row["institution_id"], row["finding"]) for row in rows
                }
            else:
                columns = list(rows[0]) if rows else []
                assert len(found) == len(rows), table
                assert in_no_order(found, columns) == in_no_order(rows, columns), table


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_case_names_its_reason_and_leaves_no_ledger(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = tmp_path / "ledger"
    assert run_in(CASES / name, ledger, monkeypatch) == 2
    message = capsys.readouterr().err
    for words in NAMED[Path(name).name]:
        assert words in message
    assert "where:" in message
    assert "found:" in message
    assert not ledger.exists()


def test_a_refused_batch_leaves_a_ledger_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = tmp_path / "ledger"
    run_in(CASES / SETTLED[0], ledger, monkeypatch)

    def record() -> dict[Path, bytes]:
        return {
            path: path.read_bytes() for path in ledger.rglob("*") if path.is_file() and path.name != ".lock"
        }

    before = record()
    for name in REFUSED[::3]:
        assert run_in(CASES / name, ledger, monkeypatch) == 2
        assert record() == before


def test_every_refusal_has_its_words() -> None:
    assert {Path(name).name for name in REFUSED} == set(NAMED)


def test_there_are_both_settled_and_refused_cases() -> None:
    assert len(SETTLED) >= 16
    assert len(REFUSED) >= 16


@pytest.mark.parametrize(
    ("choose", "code"),
    [
        (lambda: SETTLED[0], 0),
        (lambda: next(name for name in SETTLED if name.startswith("13-")), 1),
        (lambda: REFUSED[0], 2),
    ],
    ids=["settled", "with rejected lines", "refused"],
)
def test_the_program_itself_gives_the_exit_code(choose: Callable[[], str], code: int, tmp_path: Path) -> None:
    folder, ledger = CASES / choose(), tmp_path / "ledger"
    command = [sys.executable, "-m", "settlement.cli", *arguments(folder, ledger)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert (ledger / "settlement.duckdb").is_file() == (code != 2)
    assert bool(done.stdout) == (code != 2)
    assert bool(done.stderr) == (code == 2)
