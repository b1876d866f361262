"""Which threshold is in force for an institution, month, regime and point class.

Source: rules 6; T 3(3), T 3(7); D 37.
"""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from .. import exact
from ..errors import Refusal
from ..policy import Policy
from ..terms import THRESHOLD_CLASSES


@dataclass(frozen=True)
class TableValue:
    """A value of the policy's table with growth, before days in force and relief.

    `units` in 10⁻⁴ point. `ungrown_years`: years without a growth row, counted as 0 (an assumption).
    """

    units: int
    clause: str
    ungrown_years: tuple[int, ...]


def table_value(
    policy: Policy, payment_class: str, zone: str | None, point_class: str, coaching_year: int, month: date
) -> TableValue | None:
    """Newest row on or before the month, grown since the coaching period began (T 3(3); rules 6.2, 6.4).

    None if no row is in force: the caller refuses, never zero and never unlimited.
    """
    row = policy.threshold_row(payment_class, zone, month) if zone is not None else None
    base = row.points(point_class) if row else None
    if row is None or base is None:
        return None
    since = max(coaching_year, row.effective_from.year)
    rates = {year: policy.growth_of(year) for year in range(since + 1, month.year + 1)}
    known = [rate for rate in rates.values() if rate is not None]
    ungrown = tuple(year for year, rate in rates.items() if rate is None)
    return TableValue(exact.grown(base, known), f"{row.clause} {row.phrase}", ungrown)


def coaching_thresholds(groups: pl.DataFrame, policy: Policy, month: date) -> tuple[pl.DataFrame, list[int]]:
    """Table thresholds of the coaching groups, one lookup per class, zone and coaching year.

    Rows:  one per payment_class × zone × point_class × coaching_year that occurs.
    Needs: regime, payment_class, zone, point_class, coaching_year, settling_id.
    Adds:  threshold (Int64, 10⁻⁴, never null), clause. Returns also the years without a growth row.
    Raises: Refusal listing the institutions without a row (rules 6.2).
    """
    capped = groups.filter((pl.col("regime") == "coaching") & pl.col("point_class").is_in(THRESHOLD_CLASSES))
    keys = ["payment_class", "zone", "point_class", "coaching_year"]
    wanted = capped.select(keys).unique().sort(keys)
    values = [
        table_value(policy, payment_class, zone, point_class, year, month)
        for payment_class, zone, point_class, year in wanted.iter_rows()
    ]
    _refuse_missing(capped, wanted, values, policy, month)
    found = [value for value in values if value is not None]
    frame = wanted.with_columns(
        pl.Series("threshold", [value.units for value in found], dtype=pl.Int64),
        pl.Series("threshold_clause", [value.clause for value in found], dtype=pl.String),
    )
    return frame, sorted({year for value in found for year in value.ungrown_years})


def _refuse_missing(
    capped: pl.DataFrame,
    wanted: pl.DataFrame,
    values: Sequence[TableValue | None],
    policy: Policy,
    month: date,
) -> None:
    missing = wanted.filter(pl.Series([value is None for value in values], dtype=pl.Boolean))
    if missing.is_empty():
        return
    rows = missing.select("payment_class", "zone").unique().sort("payment_class", "zone").rows()
    affected = capped.join(missing, on=["payment_class", "zone"], how="semi", nulls_equal=True)
    listed = sorted(affected["settling_id"].unique())
    raise Refusal(
        f"policy {policy.id}, [[thresholds]]",
        "; ".join(f"no threshold row for payment class {of} in zone {zone}" for of, zone in rows)
        + f" in force on {month}, but lines of {len(listed)} institution(s) need one: {', '.join(listed)}",
        "a row for every class and zone that has coaching lines: never zero, never unlimited",
        "add the row to the policy, or correct payment_class or zone in the registry",
    )


def institution_thresholds(policy: Policy, month: date) -> pl.DataFrame:
    """Ordinary thresholds of institutions: the newest row per class on or before the month (T 3(7); rules 6.7).

    Rows: institution × point class. Adds: settling_id, point_class, regime, threshold (10⁻⁴), threshold_clause.
    """
    newest = {}
    for row in sorted(policy.institution_thresholds, key=lambda row: row.effective_from):
        if row.effective_from <= month:
            newest[row.institution_id, row.point_class] = row
    rows = [
        (
            institution,
            point_class,
            "ordinary",
            exact.whole_units(row.threshold, exact.POINT_DECIMALS),
            f"三（七） {row.source}",
        )
        for (institution, point_class), row in newest.items()
    ]
    schema = {
        "settling_id": pl.String,
        "point_class": pl.String,
        "regime": pl.String,
        "own_threshold": pl.Int64,
        "own_clause": pl.String,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def by_day(threshold: pl.Expr, days_in_force: pl.Expr, month: date) -> pl.Expr:
    """threshold × days in force ÷ days of the month, half-up to 0.01; a month with none counts as full (rules 6.5)."""
    days = calendar.monthrange(month.year, month.month)[1]
    part = exact.part_of_month(threshold, days_in_force, days)
    return pl.when(days_in_force > 0).then(part).otherwise(threshold).cast(pl.Int64)


def with_thresholds(
    groups: pl.DataFrame,
    policy: Policy,
    month: date,
    relief: pl.DataFrame,
    days_in_force: pl.DataFrame,
) -> tuple[pl.DataFrame, list[int]]:
    """Give every group its threshold in force.

    Rows:  one per group. Needs: settling_id, regime, point_class, payment_class, zone, coaching_year.
           `relief`: settling_id, point_class, relief (10⁻⁴); `days_in_force`: settling_id, regime, days_in_force.
    Adds:  threshold (Int64, 10⁻⁴, null where there is none), threshold_clause (String, null likewise), relief
           (Int64, 10⁻⁴, contained in the threshold; 0 where none was approved).
           Returns also the years whose growth was assumed to be 0.
    Raises: Refusal (rules 6.2).
    Source: rules 6: table row and growth, then days in force, then relief in full (D 37).
    """
    table, ungrown = coaching_thresholds(groups, policy, month)
    with_table = groups.join(
        table.with_columns(regime=pl.lit("coaching")),
        on=["regime", "payment_class", "zone", "point_class", "coaching_year"],
        how="left",
        validate="m:1",
        nulls_equal=True,
    ).join(
        institution_thresholds(policy, month),
        on=["settling_id", "point_class", "regime"],
        how="left",
        validate="m:1",
    )
    base = pl.coalesce("threshold", "own_threshold")
    in_force = base
    if policy.readings.partial_month == "by_day":
        in_force = by_day(base, pl.col("days_in_force").fill_null(0), month)
    return (
        with_table.join(days_in_force, on=["settling_id", "regime"], how="left", validate="m:1")
        .join(relief, on=["settling_id", "point_class"], how="left", validate="m:1")
        .with_columns(pl.col("relief").fill_null(0))
        .with_columns(
            threshold=exact.narrow(in_force.cast(pl.Int128) + pl.col("relief")),
            threshold_clause=pl.coalesce("threshold_clause", "own_clause"),
        )
        .drop("own_threshold", "own_clause", "days_in_force"),
        ungrown,
    )
