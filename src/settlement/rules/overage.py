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
    paid = _paid_by_tier(eligible, threshold, overage)[-1]
    rounded = exact.coarsely(paid, 2 * exact.FRACTION_DECIMALS)
    return pl.when(exceeds(eligible, threshold)).then(rounded).otherwise(eligible)


def _slices(overage: Overage) -> list[tuple[Decimal | None, Decimal]]:
    """Upper bound (× threshold; None: no bound) and paid share of each slice of the overage, in order."""
    return [*((tier.up_to, tier.paid_share) for tier in overage.tiers), (None, overage.paid_share)]


def _reached_by_tier(eligible: pl.Expr, threshold: pl.Expr, overage: Overage) -> list[pl.Expr]:
    """Points reached at the end of each slice, in units 10⁻⁹ finer; those of the last are all."""
    total = exact.finely(eligible)
    reached: list[pl.Expr] = []
    for up_to, _ in _slices(overage):
        upper = total if up_to is None else pl.min_horizontal(total, exact.times(threshold, up_to))
        reached.append(pl.max_horizontal(reached[-1] if reached else exact.finely(threshold), upper))
    return reached


def _paid_by_tier(eligible: pl.Expr, threshold: pl.Expr, overage: Overage) -> list[pl.Expr]:
    """Points paid up to the end of each slice, in units 10⁻¹⁸ finer."""
    lower = exact.finely(threshold)
    paid = [exact.times(lower, Decimal(1))]
    for reached, (_, share) in zip(
        _reached_by_tier(eligible, threshold, overage), _slices(overage), strict=True
    ):
        paid.append(paid[-1] + exact.times(reached - lower, share))
        lower = reached
    return paid[1:]


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


def by_tier(groups: pl.DataFrame, overage: Overage) -> pl.DataFrame:
    """The overage of every group over its threshold, slice by slice; the slices add up to the group exactly.

    Rows:  one per group over its threshold × tier, the part beyond the last tier included.
    Needs: GROUP, eligible, threshold. Adds: tier (1 = the first), up_to (× threshold, null: beyond the last tier),
           paid_share (both Decimal(38, 9)), overage, paid (Int64, 10⁻⁴: points of the slice, and paid of them).
    Source: rules 7. A slice may end between two whole units: each is the difference of two rounded ends.
    """
    over = groups.filter(exceeds(pl.col("eligible"), pl.col("threshold")))
    eligible, threshold = pl.col("eligible"), pl.col("threshold")
    reached = [exact.coarsely(end) for end in _reached_by_tier(eligible, threshold, overage)]
    paid = [
        exact.coarsely(end, 2 * exact.FRACTION_DECIMALS)
        for end in _paid_by_tier(eligible, threshold, overage)
    ]
    share = pl.Decimal(38, exact.FRACTION_DECIMALS)
    return pl.concat(
        over.select(
            *GROUP,
            tier=pl.lit(number),
            up_to=pl.lit(up_to, dtype=share),
            paid_share=pl.lit(paid_share, dtype=share),
            overage=reached[number - 1] - (reached[number - 2] if number > 1 else threshold),
            paid=paid[number - 1] - (paid[number - 2] if number > 1 else threshold),
        )
        for number, (up_to, paid_share) in enumerate(_slices(overage), start=1)
    )


def let_through(groups: pl.DataFrame, overage: Overage) -> pl.DataFrame:
    """What approved extra points (合理超支) let through: what is paid less what would be paid without them.

    Rows:  one per group with a threshold and relief. Needs: GROUP, eligible, threshold, payable, relief (10⁻⁴).
    Adds:  let_through (Int64, 10⁻⁴; not always up to relief, since the tiers move with the threshold).
    Source: rules 6.6; D 37.
    """
    without = payable(pl.col("eligible"), pl.col("threshold") - pl.col("relief"), overage)
    return groups.filter(pl.col("threshold").is_not_null() & (pl.col("relief") > 0)).select(
        *GROUP, "relief", let_through=pl.col("payable") - without
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
