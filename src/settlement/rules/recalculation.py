"""New ordinary thresholds after coaching, from the peers of the same zone and class.

Source: rules 9; T 3(7) 按照同区域同类别医疗机构重新核算阈值. The text names neither statistic nor months: the policy
does.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction

import polars as pl

from .. import exact
from ..policy import Recalculation
from ..terms import THRESHOLD_CLASSES

PLACE = ("zone", "payment_class")
CELL = (*PLACE, "point_class")
NO_PLACE = "no settled month: zone and class are not known"
NO_PEERS = "no peer"
FEW_MONTHS = "no peer with enough settled months"
NEGATIVE = "the statistic is negative"

_RECALCULATED: dict[str, pl.DataType] = {
    "institution_id": pl.String(),
    "ended_on": pl.Date(),
    "zone": pl.String(),
    "payment_class": pl.String(),
    "point_class": pl.String(),
    "threshold": pl.Int64(),
    "peers": pl.List(pl.String()),
    "peer_months": pl.Int64(),
    "lack": pl.String(),
}


def ended(agreement_years: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Institutions whose coaching agreement years have all ended by a day (T 3(7); rules 9).

    Rows:  one per such institution, sorted. Needs: institution_id, in_force_to, is_coaching_year.
    Adds:  ended_on (Date: the last day of the last of them).
    """
    return (
        agreement_years.filter("is_coaching_year")
        .group_by("institution_id")
        .agg(ended_on=pl.col("in_force_to").max())
        .filter(pl.col("ended_on") <= as_of)
        .sort("institution_id")
    )


def places(settlements: pl.DataFrame) -> pl.DataFrame:
    """Zone and payment class of every institution in its newest settled month (rules 9).

    Rows: one per institution. Needs: month, institution_id, zone, payment_class. Adds: nothing.
    """
    return (
        settlements.sort("month", "institution_id", *PLACE)
        .group_by("institution_id", maintain_order=True)
        .agg(pl.col(*PLACE).last())
    )


def monthly_points(settlements: pl.DataFrame) -> pl.DataFrame:
    """What the peers' statistic is taken of: eligible points of regime ordinary in the classes that have thresholds.

    Rows:  one per month × institution × CELL. Needs: month, institution_id, regime, CELL, eligible_points.
    Adds:  eligible (Int64, 10⁻⁴), months (settled months of the institution in the cell).
    Source: rules 9. A month without lines of the class is no settled month of it.
    """
    is_counted = (pl.col("regime") == "ordinary") & pl.col("point_class").is_in(THRESHOLD_CLASSES)
    return settlements.filter(is_counted).select(
        "month",
        "institution_id",
        *CELL,
        eligible=exact.whole_of_decimal(pl.col("eligible_points"), 4, exact.POINT_DECIMALS),
        months=pl.len().over("institution_id", *CELL),
    )


def statistic(points: pl.Series, by: Recalculation) -> Fraction:
    """Mean, median or percentile of monthly points, not rounded (rules 9).

    >>> statistic(pl.Series([1, 2, 6]), Recalculation(statistic="median", min_months=6))
    Fraction(2, 1)
    """
    if by.statistic == "mean":
        return exact.mean(points)
    percent = Decimal(50) if by.statistic == "median" or by.percentile is None else by.percentile
    return exact.percentile(points, percent)


def recalculated(
    institutions: pl.DataFrame, placed: pl.DataFrame, monthly: pl.DataFrame, by: Recalculation
) -> pl.DataFrame:
    """The new threshold of each institution and class, or why there is none: never guessed.

    Rows:  one per institution × class with a threshold.
    Needs: institutions: institution_id, ended_on; placed: institution_id, PLACE; monthly: as `monthly_points`.
    Adds:  threshold (Int64, 10⁻⁴, whole hundredths; null where there is none), peers (ids, sorted), peer_months
           (values the statistic was taken of), lack (why there is none; null where there is one).
    Source: rules 9; T 3(7). Peers are others: an institution's own points never set its threshold.
    """
    wanted = institutions.join(placed, on="institution_id", how="left", validate="1:1").join(
        pl.DataFrame({"point_class": THRESHOLD_CLASSES}), how="cross"
    )
    of_cell = monthly.partition_by(CELL, as_dict=True)
    rows = [
        (*row.values(), *_outcome(row, of_cell.get(tuple(row[name] for name in CELL), monthly.clear()), by))
        for row in wanted.select("institution_id", "ended_on", *CELL).iter_rows(named=True)
    ]
    return pl.DataFrame(rows, schema=_RECALCULATED, orient="row").sort("institution_id", "point_class")


def _outcome(
    row: Mapping[str, object], cell: pl.DataFrame, by: Recalculation
) -> tuple[int | None, list[str], int, str | None]:
    """threshold, peers, peer_months and lack of one institution and class."""
    others = cell.filter(pl.col("institution_id") != row["institution_id"])
    sample = others.filter(pl.col("months") >= by.min_months)
    peers = sample["institution_id"].unique().sort().to_list()
    if sample.is_empty():
        lack = NO_PLACE if row["payment_class"] is None else FEW_MONTHS if others.height else NO_PEERS
        return None, peers, 0, lack
    threshold = exact.hundredths(statistic(sample["eligible"], by))
    return (
        (threshold, peers, sample.height, None) if threshold >= 0 else (None, peers, sample.height, NEGATIVE)
    )
