"""Money → what is transferred to each institution: deposit, deductions, balances.

Source: rules 8.2; D 17, D 32, D 33, D 36, D 38.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import polars as pl

from .. import exact
from ..errors import Refusal
from ..terms import DEDUCTION_KINDS

NO_BALANCES = pl.DataFrame(schema={"settling_id": pl.String, "brought_forward": pl.Int64})
NO_ADJUSTMENTS = pl.DataFrame(schema={"settling_id": pl.String, "adjustment": pl.Int64})


def refuse_deductions_without_money(deductions: pl.DataFrame, month: date) -> None:
    """Without point values or budgets there are no statements to deduct from (rules 8.1)."""
    if not deductions.is_empty():
        listed = ", ".join(sorted(deductions["settling_id"].unique()))
        raise Refusal(
            f"deductions, {month:%Y-%m}",
            f"deductions of the month for {listed}, but neither point_values nor budgets",
            "a money table, so that there are statements to deduct from",
            "add point_values or budgets, or remove the deductions",
        )


def by_kind(deductions: pl.DataFrame) -> pl.DataFrame:
    """Deductions of each settling institution by kind.

    Rows:  one per settling institution with a deduction. Needs: settling_id, kind, amount (fen).
    Adds:  disallowed, penalty, recovery, prepayment (Int64, fen, never null).
    Source: rules 8.2; D 32, D 33, D 38.
    """
    return deductions.group_by("settling_id").agg(
        exact.summed(pl.col("amount").filter(pl.col("kind") == kind)).alias(kind) for kind in DEDUCTION_KINDS
    )


def deposit(gross: pl.Expr, rate: Decimal) -> pl.Expr:
    """质量保证金: gross × rate, half-up to the fen, only of a positive gross (rules 8.2; D 36)."""
    return pl.when(gross > 0).then(exact.coarsely(exact.times(gross, rate))).otherwise(0)


def stated(
    groups: pl.DataFrame,
    deductions: pl.DataFrame,
    adjustments: pl.DataFrame,
    balances: pl.DataFrame,
    deposit_rate: Decimal,
) -> pl.DataFrame:
    """Statements of the month.

    Rows:  one per settling institution with lines, a deduction, an adjustment or a balance brought forward.
    Needs: groups: settling_id, amount; deductions: settling_id, kind, amount; adjustments: settling_id,
           adjustment; balances: settling_id, brought_forward (all Int64, fen).
    Adds:  gross, deposit, one column per kind of deduction, adjustment, brought_forward, net_payable (>= 0),
           carried_forward (<= 0); Int64, fen, never null.
    Source: rules 8.2.
    """
    gross = groups.group_by("settling_id").agg(gross=exact.summed(pl.col("amount")))
    parts = [gross, by_kind(deductions), adjustments, balances]
    everyone = pl.concat([part.select("settling_id") for part in parts]).unique().sort("settling_id")
    for part in parts:
        everyone = everyone.join(part, on="settling_id", how="left", validate="1:1")
    filled = everyone.with_columns(pl.exclude("settling_id").fill_null(0))
    with_deposit = filled.with_columns(deposit=deposit(pl.col("gross"), deposit_rate))
    wide = [pl.col(name).cast(pl.Int128) for name in ("gross", "adjustment", "brought_forward")]
    less = [pl.col(name).cast(pl.Int128) for name in ("deposit", *DEDUCTION_KINDS)]
    net = exact.narrow(pl.sum_horizontal(wide) - pl.sum_horizontal(less))
    return with_deposit.with_columns(
        net_payable=pl.max_horizontal(net, pl.lit(0)), carried_forward=pl.min_horizontal(net, pl.lit(0))
    )
