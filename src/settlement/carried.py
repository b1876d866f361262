"""What a month's statements take from earlier runs: balances brought forward, adjustments of restated months.

Layer 6. Source: rules 8.2, 11.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from . import exact
from .ledger import Act, Ledger, paid_runs, pending_for, taken_by
from .rules.statements import NO_BALANCES
from .schemas import polars_schema
from .terms import ADJUSTMENTS


@dataclass(frozen=True)
class Standing:
    """What earlier runs leave to a month.

    `balances`: settling_id, brought_forward (fen, < 0). `taken`: rows of the table `adjustments`, as recorded,
    that the month's statements pay or recover.
    """

    balances: pl.DataFrame = field(default_factory=lambda: NO_BALANCES)
    taken: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=polars_schema(ADJUSTMENTS)))

    @property
    def adjustments(self) -> pl.DataFrame:
        """settling_id, adjustment (Int64, fen, not 0): Σ amount_delta of the rows taken."""
        fen = exact.whole_of_decimal(pl.col("amount_delta").fill_null(0), 2, exact.MONEY_DECIMALS)
        sums = self.taken.group_by(settling_id="institution_id").agg(adjustment=exact.summed(fen))
        return sums.filter(pl.col("adjustment") != 0).sort("settling_id")


def of_open_month(ledger: Ledger, month: date, acts: Sequence[Act]) -> Standing:
    """What the next run of an open month takes, after these acts."""
    return Standing(
        _balances(ledger, month, acts), _rows(ledger, pending_for(acts, month, ledger.has_statements))
    )


def of_restatement(ledger: Ledger, replaced: str, acts: Sequence[Act]) -> Standing:
    """What a restating run takes: exactly what the run it replaces took, whatever has come since.

    So its statement shows what the month should have come to, and the difference is that of the inputs alone.
    """
    brought = exact.whole_of_decimal(pl.col("brought_forward"), 2, exact.MONEY_DECIMALS)
    balances = (
        ledger.scan(replaced, "statements")
        .select(settling_id="institution_id", brought_forward=brought)
        .filter(pl.col("brought_forward") != 0)
        .collect()
    )
    return Standing(balances, _rows(ledger, taken_by(acts, ledger.has_statements)[replaced]))


def _rows(ledger: Ledger, restating: Sequence[str]) -> pl.DataFrame:
    if not restating:
        return Standing().taken
    return pl.concat(ledger.scan(run_id, "adjustments") for run_id in restating).collect()


def _balances(ledger: Ledger, month: date, acts: Sequence[Act]) -> pl.DataFrame:
    """Negative balances that the newest earlier statement of each institution that was paid carried forward.

    Rows: one per settling institution with such a balance. Adds: settling_id, brought_forward (fen, < 0).
    """
    earlier = [run_id for of, run_id in paid_runs(acts).items() if of < month]
    if not earlier:
        return NO_BALANCES
    statements = pl.concat(
        ledger.scan(run_id, "statements").select("month", "institution_id", "carried_forward")
        for run_id in earlier
    )
    newest = statements.sort("month").group_by("institution_id", maintain_order=True).last()
    return (
        newest.filter(pl.col("carried_forward") < 0)
        .select(
            settling_id="institution_id",
            brought_forward=exact.whole_of_decimal(pl.col("carried_forward"), 2, exact.MONEY_DECIMALS),
        )
        .sort("settling_id")
        .collect()
    )
