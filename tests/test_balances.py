"""Balances across months: brought forward = carried forward, also when months are run again (rules 8.2, 11)."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from settlement.reconcile import carried_proof
from test_batch import DEDUCTION, HOSPITAL
from test_clear import Books, assert_refused

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


def penalty(month: str, amount: str) -> list[dict[str, str]]:
    return [{**DEDUCTION, "month": month, "amount": amount}]


def balances(books: Books, run_id: str) -> tuple[str, str]:
    """brought_forward and carried_forward of one institution."""
    row = books.ledger.scan(run_id, "statements").filter(pl.col("institution_id") == HOSPITAL).collect()
    return str(row["brought_forward"].item()), str(row["carried_forward"].item())


def test_a_run_proves_its_balances(books: Books) -> None:
    first = books.run("2026-01", "100", "1", deductions=penalty("2026-01", "150"))
    second = books.run("2026-02", "10", "1")
    assert balances(books, "2026-01.1") == ("0.00", "-55.00")
    assert balances(books, "2026-02.1") == ("-55.00", "-45.50")
    assert (first.code, second.code) == (0, 0)


def test_a_month_with_balances_that_an_earlier_month_no_longer_carries_is_not_closed(books: Books) -> None:
    """January is run again without its penalty: February, still open, would recover 55.00 that nobody owes."""
    books.run("2026-01", "100", "1", deductions=penalty("2026-01", "150"))
    books.run("2026-02", "100", "1")
    books.run("2026-01", "100", "1")
    assert_refused(books.call("close", "2026-02"), HOSPITAL, "2026-02.1", "run BATCH --month 2026-02")
    assert books.run("2026-02", "100", "1").code == 0
    assert balances(books, "2026-02.2") == ("0.00", "0.00")
    assert books.call("close", "2026-02").code == 0


def test_a_run_that_changes_balances_a_closed_month_brought_forward_is_refused(books: Books) -> None:
    books.run("2026-01", "100", "1", deductions=penalty("2026-01", "150"))
    books.settle("2026-02", "100", "1")
    before = books.ledger.journal.read_bytes()
    assert_refused(
        books.run("2026-01", "100", "1", deductions=penalty("2026-01", "160")),
        "2026-02 is closed",
        HOSPITAL,
        "close 2026-01",
    )
    assert books.ledger.journal.read_bytes() == before
    same_balance = books.run("2026-01", "100", "2", deductions=penalty("2026-01", "150"))
    assert same_balance.code == 0


def test_a_month_settled_late_may_not_slip_a_balance_under_a_closed_one(books: Books) -> None:
    """Nobody would ever recover it: the next statement brings forward what the newest one carries."""
    books.settle("2026-02", "100", "1")
    assert_refused(
        books.run("2026-01", "100", "1", deductions=penalty("2026-01", "150")), "2026-02 is closed"
    )
    assert books.run("2026-01", "100", "1").code == 0


def rows(*given: tuple[int, str, str, str]) -> pl.DataFrame:
    """month of 2026, institution, brought_forward, carried_forward."""
    money = pl.Decimal(18, 2)
    schema = {
        "month": pl.Int64,
        "institution_id": pl.String,
        "brought_forward": money,
        "carried_forward": money,
    }
    frame = pl.DataFrame(
        [(month, one, Decimal(brought), Decimal(carried)) for month, one, brought, carried in given],
        schema=schema,
        orient="row",
    )
    return frame.with_columns(month=pl.date(2026, "month", 1))


@pytest.mark.parametrize(
    ("before", "statements", "differing"),
    [
        ((), ((1, "A", "0", "-5"), (2, "A", "-5", "0"), (3, "A", "0", "0")), 0),
        ((), ((1, "A", "0", "-5"), (2, "A", "-5.01", "0")), 1),
        ((), ((1, "A", "0", "-5"), (2, "B", "0", "0")), 1),
        ((), ((1, "A", "0", "-5"), (2, "B", "0", "0"), (3, "A", "-5", "0")), 1),
        ((), ((1, "A", "0", "-5"), (3, "A", "-5", "0")), 0),
        (((1, "A", "0", "-5"),), ((2, "A", "-5", "0"),), 0),
        (((1, "A", "0", "-5"), (2, "A", "-5", "-4")), ((3, "A", "-5", "0"),), 1),
        ((), ((1, "A", "-5", "0"),), 1),
    ],
)
def test_brought_forward_is_what_the_statement_before_carried(
    before: tuple[tuple[int, str, str, str], ...],
    statements: tuple[tuple[int, str, str, str], ...],
    differing: int,
) -> None:
    """8.2: once, in the next statement, and in none before it."""
    proof = carried_proof(rows(*statements), rows(*before))
    assert proof.left == f"{differing} differ"
    assert proof.holds == (differing == 0)
