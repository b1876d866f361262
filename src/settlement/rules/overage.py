"""Group totals → payable points, and each group's cut attributed to its lines.

f(x) is what is paid when x points are eligible. A line is paid the difference f makes when it is added, so the
lines add up to the group exactly. Only lines near a crossing are ever sorted: day totals tell which days are
paid in full and which not at all. Source: rules 7; T 3(3) 超出阈值部分不予支付.
"""

from __future__ import annotations

from decimal import Decimal

import polars as pl

from .. import exact
from ..policy import Overage
from ..terms import GROUP

# Cells of a group in the order in which its lines are counted: the priority rank, then the day.
CELL = (*GROUP, "rank", "settled_on")
LINE_ORDER = ("settled_at", "claim_id", "line_id", "institution_id")
FULL, NOTHING, WALK = "full", "nothing", "walk"


def payable(eligible: pl.Expr, threshold: pl.Expr, overage: Overage) -> pl.Expr:
    """f(x): x up to the threshold; beyond it each slice of the overage counts with its own share (rules 7).

    Whole units of 10⁻⁴, rounded half-up once; no threshold (null): everything; f(x) = x for x <= 0.

    >>> from decimal import Decimal
    >>> frame = pl.DataFrame({"x": [408743299, 408743300, 408743301]})
    >>> frame.select(paid=payable(pl.col("x"), pl.lit(408743300), Overage()))["paid"].to_list()
    [408743299, 408743300, 408743300]
    """
    slices = [*((tier.up_to, tier.paid_share) for tier in overage.tiers), (None, overage.paid_share)]
    total, lower = exact.finely(eligible), exact.finely(threshold)
    paid = exact.times(lower, Decimal(1))
    for up_to, share in slices:
        upper = total if up_to is None else pl.min_horizontal(total, exact.times(threshold, up_to))
        paid = paid + exact.times(pl.max_horizontal(upper - lower, pl.lit(0, dtype=pl.Int128)), share)
        lower = pl.max_horizontal(lower, upper)
    rounded = exact.coarsely(paid, 2 * exact.FRACTION_DECIMALS)
    return pl.when(exceeds(eligible, threshold)).then(rounded).otherwise(eligible)


def exceeds(eligible: pl.Expr, threshold: pl.Expr) -> pl.Expr:
    """T 3(3): beyond the threshold begins above it; no threshold (null) is never exceeded."""
    return (eligible > threshold).fill_null(False)


def totals(profiles: pl.DataFrame) -> pl.DataFrame:
    """Sum the profiles up to groups.

    Rows:  one per settling institution × regime × point class with lines, in canonical order.
    Needs: GROUP, payment_class, zone, coaching_year, reason, line_count, positive_points, negative_points.
    Adds:  line_count, submitted, ineligible, eligible (Int64, 10⁻⁴, never null); coaching_year is the latest of
           its lines (rules 6.4).
    """
    points = pl.col("positive_points") + pl.col("negative_points")
    is_eligible = pl.col("reason").is_null()
    return (
        profiles.group_by(*GROUP, "payment_class", "zone")
        .agg(
            pl.col("coaching_year").max(),
            pl.col("line_count").sum().cast(pl.Int64),
            *(exact.summed(pl.col(name)) for name in ("positive_points", "negative_points")),
            submitted=exact.summed(points),
            ineligible=exact.summed(points.filter(~is_eligible)),
        )
        .with_columns(eligible=pl.col("submitted") - pl.col("ineligible"))
        .drop(
            "positive_points", "negative_points"
        )  # summed all the same: if they fit, so does every running total
        .sort(GROUP)
    )


def capped(groups: pl.DataFrame, overage: Overage) -> pl.DataFrame:
    """What each group is paid.

    Rows:  one per group. Needs: submitted, eligible, threshold (Int64, 10⁻⁴; threshold null where there is none).
    Adds:  payable, overage, unpaid (Int64, 10⁻⁴, never null).
    Source: rules 7; T 3(3).
    """
    eligible, threshold = pl.col("eligible"), pl.col("threshold")
    over = pl.when(exceeds(eligible, threshold)).then(eligible - threshold).otherwise(0)
    return groups.with_columns(payable=payable(eligible, threshold, overage), overage=over).with_columns(
        unpaid=pl.col("submitted") - pl.col("payable")
    )


def located(profiles: pl.DataFrame, groups: pl.DataFrame, overage: Overage, attribution: str) -> pl.DataFrame:
    """Where in each group the cut falls: which cells are paid in full, which not at all, which must be walked.

    Rows:  one per cell with eligible lines of a group.
    Needs: profiles: CELL, reason, positive_points, negative_points; groups: GROUP, threshold, eligible, payable.
    Adds:  running_before (Int64, 10⁻⁴: the group's running total before the cell), cut (full, nothing, walk), and
           the group's threshold, eligible and payable.
    Source: rules 7. A cell that cannot pass the threshold even with its positive points alone is paid in full; one
            that stays beyond the last paid slice even with its negative points alone is not paid at all.
    """
    cells = (
        profiles.filter(pl.col("reason").is_null())
        .group_by(CELL)
        .agg(pl.col("positive_points").sum(), pl.col("negative_points").sum())
        .join(groups.select(*GROUP, "threshold", "eligible", "payable"), on=GROUP, how="left", validate="m:1")
        .with_columns(cell_points=pl.col("positive_points") + pl.col("negative_points"))
        .with_columns(
            running_before=pl.col("cell_points").cum_sum().over(GROUP, order_by=["rank", "settled_on"])
            - pl.col("cell_points")
        )
    )
    is_cut = pl.col("eligible") != pl.col("payable") if attribution == "pro_rata" else _may_pass_threshold()
    can_be_unpaid = attribution != "pro_rata" and overage.paid_share == 0
    is_beyond = _stays_beyond_last_slice(overage) if can_be_unpaid else pl.lit(False)
    cut = pl.when(~is_cut).then(pl.lit(FULL)).when(is_beyond).then(pl.lit(NOTHING)).otherwise(pl.lit(WALK))
    return cells.with_columns(cut=cut).drop("positive_points", "negative_points", "cell_points")


def _may_pass_threshold() -> pl.Expr:
    return exceeds(pl.col("running_before") + pl.col("positive_points"), pl.col("threshold"))


def _stays_beyond_last_slice(overage: Overage) -> pl.Expr:
    last = overage.tiers[-1].up_to if overage.tiers else Decimal(1)
    lowest = pl.col("running_before") + pl.col("negative_points")
    return exact.finely(lowest) >= exact.times(pl.col("threshold"), last)


def attributed(lines: pl.LazyFrame, overage: Overage, attribution: str) -> pl.LazyFrame:
    """Walk the lines of the cells where the cut falls, in canonical order, and give each its payable points.

    Rows:  one per line, in any order.
    Needs: CELL, LINE_ORDER, points, running_before, threshold, eligible, payable (of the group).
    Adds:  line_payable (Int64, 10⁻⁴): f(C_i) - f(C_(i-1)), or each line's part of the group's payable pro rata.
    Source: rules 7. Texts compare by their UTF-8 bytes, as polars sorts them.
    """
    after = pl.col("running_before") + pl.col("points").cum_sum().over(CELL, order_by=LINE_ORDER)
    with_running = lines.with_columns(running_after=after)
    before, after = pl.col("running_after") - pl.col("points"), pl.col("running_after")
    if attribution == "pro_rata":
        share, whole = pl.col("payable"), pl.col("eligible")
        paid = exact.proportion(after, share, whole) - exact.proportion(before, share, whole)
    else:
        threshold = pl.col("threshold")
        paid = payable(after, threshold, overage) - payable(before, threshold, overage)
    return with_running.with_columns(line_payable=paid)
