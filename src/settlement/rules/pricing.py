"""Points → money: the point value of a group, given or computed from a budget, and its amount.

Source: rules 8.1. Amounts are rounded half-up to the fen once per group; a budget's point value is cut down.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl

from .. import exact
from ..errors import Refusal
from ..terms import GROUP

_KEY = ("zone", "point_class")
EVERY_ZONE = "*"


@dataclass(frozen=True)
class MoneyTables:
    """point_values and budgets of the batch, cut to the month; None where the batch has no such file.

    `point_values`: zone, point_class, point_value (10⁻⁶ yuan); `budgets`: zone, point_class, budget (fen).
    `double_keys`: month, zone, point_class that stand in both, of any month.
    """

    point_values: pl.DataFrame | None
    budgets: pl.DataFrame | None
    double_keys: pl.DataFrame

    @property
    def is_present(self) -> bool:
        return self.point_values is not None or self.budgets is not None


def refuse_double_keys(tables: MoneyTables) -> None:
    """One key in both point_values and budgets is refused (rules 8.1)."""
    both = tables.double_keys.sort("month", *_KEY)
    if not both.is_empty():
        months = sorted({f"{month:%Y-%m}" for month in both["month"]})
        raise Refusal(
            f"point_values and budgets, {', '.join(months)}",
            f"one key in both: {_listed(both)}",
            "a point value or a budget for each zone and class, not both",
            "remove one of the rows",
        )


def _listed(keys: pl.DataFrame) -> str:
    return "; ".join(f"{point_class} in {zone}" for zone, point_class in keys.select(_KEY).rows())


def keyed(groups: pl.DataFrame, tables: MoneyTables) -> pl.DataFrame:
    """Find the row each group draws on: its zone's row first, then that of all zones, in either table.

    Rows:  one per group. Needs: zone, point_class.
    Adds:  key_zone (String; null where there is no row).
    Source: rules 8.1.
    """
    rows = [table.select(_KEY) for table in (tables.point_values, tables.budgets) if table is not None]
    keys = pl.concat(rows).unique() if rows else pl.DataFrame(schema=dict.fromkeys(_KEY, pl.String))
    of_zone = keys.with_columns(of_zone=pl.col("zone"))
    of_all = keys.filter(pl.col("zone") == EVERY_ZONE).select("point_class", of_all="zone")
    return (
        groups.join(of_zone, on=_KEY, how="left", validate="m:1")
        .join(of_all, on="point_class", how="left", validate="m:1")
        .with_columns(key_zone=pl.coalesce("of_zone", "of_all"))
        .drop("of_zone", "of_all")
    )


def refuse_unpriced(keyed_groups: pl.DataFrame, month: date) -> None:
    """A group with payable points ≠ 0 and no key is refused; one that is paid nothing needs none (rules 8.1)."""
    unpriced = keyed_groups.filter(pl.col("key_zone").is_null() & (pl.col("payable") != 0))
    if unpriced.is_empty():
        return
    keys = unpriced.select(pl.col("zone").fill_null("(no zone)"), "point_class").unique().sort(_KEY)
    raise Refusal(
        f"point_values and budgets, {month:%Y-%m}",
        f"no point value and no budget for {_listed(keys)}",
        "a row for every zone (or *) and class that is paid",
        "add the missing rows",
    )


def pools(keyed_groups: pl.DataFrame, budgets: pl.DataFrame) -> pl.DataFrame:
    """Point values of the budgets: budget ÷ payable points of the pool, cut down to 6 decimals.

    Rows:  one per budget row of the month, also without groups.
    Needs: groups: key_zone, point_class, payable; budgets: zone, point_class, budget (fen).
    Adds:  pool_points (10⁻⁴), point_value (10⁻⁶ yuan; 0 without positive points).
    Source: rules 8.1.
    """
    drawn = keyed_groups.group_by(zone="key_zone", point_class="point_class").agg(
        pool_points=exact.summed(pl.col("payable"))
    )
    pool = pl.col("pool_points")
    return (
        budgets.join(drawn, on=_KEY, how="left", validate="1:1")
        .with_columns(pool.fill_null(0))
        .with_columns(
            point_value=pl.when(pool > 0)
            .then(exact.cut_quotient(pl.col("budget"), pl.when(pool > 0).then(pool)))
            .otherwise(0)
        )
        .sort(_KEY)
    )


_NO_BUDGETS = pl.DataFrame(
    schema={
        "zone": pl.String,
        "point_class": pl.String,
        **dict.fromkeys(("budget", "pool_points", "point_value", "remainder"), pl.Int64),
    }
)


def priced(groups: pl.DataFrame, tables: MoneyTables, month: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give every group its point value and amount, and every budget its remainder.

    Rows:  one per group. Needs: GROUP, zone, payable.
    Adds:  point_value (Int64, 10⁻⁶ yuan, null where none is needed or no table is given),
           amount (Int64, fen, null without money tables).
           Returns also the budgets: zone, point_class, budget, pool_points, point_value, remainder.
    Raises: Refusal (rules 8.1).
    """
    if not tables.is_present:
        nothing = pl.lit(None, dtype=pl.Int64)
        return groups.with_columns(point_value=nothing, amount=nothing), _NO_BUDGETS.clone()
    refuse_double_keys(tables)
    with_keys = keyed(groups, tables)
    no_budget = pl.DataFrame(schema={"zone": pl.String, "point_class": pl.String, "budget": pl.Int64})
    budgets = pools(with_keys, no_budget if tables.budgets is None else tables.budgets)
    refuse_unpriced(with_keys, month)
    values = [budgets.select(key_zone="zone", point_class="point_class", point_value="point_value")]
    if tables.point_values is not None:
        values.append(
            tables.point_values.select(key_zone="zone", point_class="point_class", point_value="point_value")
        )
    with_values = with_keys.join(
        pl.concat(values), on=["key_zone", "point_class"], how="left", validate="m:1"
    )
    amounts = with_values.with_columns(
        amount=exact.amount_of_points(pl.col("payable"), pl.col("point_value").fill_null(0))
    )
    paid = amounts.group_by(zone="key_zone", point_class="point_class").agg(
        paid=exact.summed(pl.col("amount"))
    )
    remainders = budgets.join(paid, on=_KEY, how="left", validate="1:1").with_columns(
        remainder=pl.col("budget") - pl.col("paid").fill_null(0)
    )
    return amounts.drop("key_zone").sort(GROUP), remainders.drop("paid")
