"""Balances across months: what one paid statement carries forward, the next one brings forward, once.

Layer 6. Months may be run again while they are open. These checks keep a balance from being lost between a month
that is run again and a later one that was run or closed with the old balance. Source: rules 8.2, 11.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from .errors import Refusal
from .ledger import Ledger, paid_runs
from .reconcile import Proof, balances_after, carried_proof, unlike_balances
from .schemas import polars_schema
from .terms import STATEMENTS


def paid_statements(ledger: Ledger) -> pl.DataFrame:
    """Rows of `statements` of every month's run that was paid: the newest one that restates nothing."""
    frames = [ledger.scan(run_id, STATEMENTS.name) for run_id in paid_runs(ledger.acts()).values()]
    return pl.concat([pl.LazyFrame(schema=polars_schema(STATEMENTS)), *frames]).collect()


def proof_of_run(ledger: Ledger, month: date, statements: pl.DataFrame) -> Proof:
    """The statements of a month about to be posted, held against the earlier ones that were paid."""
    return carried_proof(statements, paid_statements(ledger).filter(pl.col("month") < month))


def refuse_under_closed(ledger: Ledger, month: date, statements: pl.DataFrame) -> None:
    """A run that changes the balances a closed later month has brought forward is refused: they would be lost."""
    paid = paid_statements(ledger)
    later = paid.filter(pl.col("month") > month)
    following = later["month"].min()
    if not isinstance(following, date) or not ledger.is_closed(following):
        return
    balances = balances_after(paid.filter(pl.col("month") < month)) | balances_after(statements)
    unlike = unlike_balances(later.filter(pl.col("month") == following), balances)
    if unlike:
        raise Refusal(
            f"ledger {ledger.folder}",
            f"month {following:%Y-%m} is closed and brought forward other balances for {', '.join(unlike)}",
            f"balances of {month:%Y-%m} as the closed month has them",
            f"`settlement close {month:%Y-%m}` as it stands, then restate it: the difference becomes an adjustment",
        )


def refuse_stale(ledger: Ledger, month: date, run_id: str) -> None:
    """A month whose statements bring forward what earlier months no longer carry is not closed."""
    paid = paid_statements(ledger)
    own = paid.filter(pl.col("run_id") == run_id)
    unlike = unlike_balances(own, balances_after(paid.filter(pl.col("month") < month)))
    if unlike and not own.is_empty():
        raise Refusal(
            f"ledger {ledger.folder}",
            f"an earlier month was run again after {run_id}: other balances for {', '.join(unlike)}",
            "statements that bring forward what the earlier ones carry",
            f"`settlement run BATCH --month {month:%Y-%m}` once more, then close it",
        )
