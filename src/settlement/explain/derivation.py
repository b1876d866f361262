"""Every figure of a case made again, by the rules and from the record; one that disagrees is our own fault.

So an explanation can never disagree with what was paid. Source: rules 3, 6, 7, 8.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import accumulate
from typing import Any

import polars as pl

from .. import exact
from ..errors import Fault
from ..pipeline import money_tables
from ..policy import ThresholdRow
from ..reasons import UnpaidReason
from ..rules import overage, pricing, statements, thresholds
from ..terms import DEDUCTION_KINDS, THRESHOLD_CLASSES
from ..workdays import payment_due
from .case import GROUP, Case, Row

OVER = UnpaidReason.OVER_THRESHOLD.value
ZERO = Decimal(0)


def agree(case: Case, what: str, recorded: object, found: object) -> None:
    """Raises: Fault, unless the recorded value is the one found by recomputing it."""
    if recorded != found:
        raise Fault(
            f"run {case.run_id}, {case.id}, {what}",
            f"recorded {recorded}, but recomputed from the record {found}",
            "the same",
            "pay nothing by this run before it is cleared up; see `settlement verify`",
        )


def units(points: Decimal) -> int:
    return exact.whole_units(points, exact.POINT_DECIMALS)


def _decimal(whole: int, decimals: int, shown: int) -> Decimal:
    """Whole units of 10^-decimals as a Decimal that shows so many; what is cut off is zeros."""
    return Decimal(whole).scaleb(-decimals).quantize(Decimal(1).scaleb(-shown))


# ---------------------------------------------------------------- thresholds


@dataclass(frozen=True)
class Derived:
    """How the threshold of a group came about (rules 6).

    `row`: the policy's table row, None for an institution's own threshold. `rates`: growth of each year since the
    later of row and coaching period, None where the policy has none. `days`: in force, None where they do not
    count; `relief`: approved points, 0 without.
    """

    row: ThresholdRow | None
    clause: str
    base: Decimal
    rates: Mapping[int, Decimal | None]
    grown: Decimal
    days: int | None
    days_of_month: int
    in_force: Decimal
    relief: Decimal

    @property
    def threshold(self) -> Decimal:
        return self.in_force + self.relief


def derived(case: Case, group: Row) -> Derived | None:
    """The threshold of a group made again: None if it has none. Raises: Fault, if the record has another.

    Where lines of two coaching periods meet in one group the later one's year counts, but the record does not say
    which lines there were: of the years of all periods the latest that gives the recorded threshold is taken.
    """
    candidates = list(_candidates(case, group))
    recorded = group["threshold_points"]
    if not candidates:
        agree(case, f"threshold of {name_of(group)}", recorded, None)
        return None
    fitting = [one for one in candidates if (one.threshold, one.clause) == (recorded, group["clause"])]
    if not fitting:
        one = candidates[0]
        agree(
            case, f"threshold of {name_of(group)}", (recorded, group["clause"]), (one.threshold, one.clause)
        )
    return fitting[0]


def name_of(group: Row) -> str:
    return " ".join(str(group[name]) for name in GROUP)


def _candidates(case: Case, group: Row) -> Iterable[Derived]:
    first, policy = case.month.first, case.inputs.policy
    if group["regime"] == "coaching" and group["point_class"] in THRESHOLD_CLASSES:
        row = policy.threshold_row(group["payment_class"], group["zone"], first)
        base = row.points(group["point_class"]) if row else None
        for year in sorted(
            {period.span.first.year for period in case.timeline.periods.values()}, reverse=True
        ):
            if row is not None and base is not None:
                rates = _rates(case, max(year, row.effective_from.year))
                yield _completed(case, group, row, f"{row.clause} {row.phrase}", base, rates)
    elif group["regime"] == "ordinary":
        own = policy.institution_threshold(case.id, group["point_class"], first)
        if own is not None:
            yield _completed(case, group, None, f"三（七） {own.source}", own.threshold, {})


def _rates(case: Case, since: int) -> dict[int, Decimal | None]:
    """Growth of each calendar year after `since` up to the month's (rules 6.4)."""
    return {year: case.inputs.policy.growth_of(year) for year in range(since + 1, case.month.first.year + 1)}


def _completed(
    case: Case,
    group: Row,
    row: ThresholdRow | None,
    clause: str,
    base: Decimal,
    rates: Mapping[int, Decimal | None],
) -> Derived:
    """Growth, then days in force, then relief (rules 6.4–6.6)."""
    first = case.month.first
    grown = exact.grown(base, [rate for rate in rates.values() if rate is not None])
    days, in_force = None, grown
    if case.inputs.policy.readings.partial_month == "by_day":
        days = _days_in_force(case, group["regime"])
        in_force = _value(thresholds.by_day(pl.lit(grown), pl.lit(days), first))
    return Derived(
        row=row,
        clause=clause,
        base=base,
        rates=rates,
        grown=_decimal(grown, exact.POINT_DECIMALS, 2),
        days=days,
        days_of_month=calendar.monthrange(first.year, first.month)[1],
        in_force=_decimal(in_force, exact.POINT_DECIMALS, 2),
        relief=_relief(case, group["point_class"]),
    )


def _value(expression: pl.Expr) -> int:
    return int(pl.select(expression).item())


def _days_in_force(case: Case, regime: str) -> int:
    days = case.timelines.days_in_force(case.month)
    own = days.filter((pl.col("institution_id") == case.id) & (pl.col("regime") == regime))
    return int(own["days_in_force"].sum())


def _relief(case: Case, point_class: str) -> Decimal:
    relief = case.inputs.tables["relief"].filter(
        (pl.col("institution_id") == case.id)
        & (pl.col("month") == case.month.first)
        & (pl.col("point_class") == point_class)
    )
    return sum(relief["approved_points"], Decimal("0.00"))


# ---------------------------------------------------------------- agreements, places, points


def check_agreement_years(case: Case) -> None:
    """Days in force and coaching periods, from agreements and events (rules 3)."""
    columns = case.timelines.agreement_years().columns
    recorded = case.tables["agreement_years"].select(columns).rows()
    agree(case, "agreement years", recorded, case.timelines.agreement_years().rows())


def check_places(case: Case) -> None:
    """Zone and payment class, from the registry and the policy (rules 6.3)."""
    row = case.institution
    zone = row["zone"] or case.inputs.policy.zone_of_division(row["division_code"])
    for group in case.groups:
        place = (group["zone"], group["payment_class"])
        agree(case, f"place of {name_of(group)}", place, (zone, row["payment_class"]))


def ineligible_by_reason(case: Case, group: Row) -> dict[str, tuple[int, Decimal]]:
    """Reason → lines with points and their points, in order of precedence."""
    lines = [line for line in case.lines_of(group) if line["reason"] != OVER]
    return {
        reason.value: (len(mine), sum((line["points"] for line in mine), ZERO))
        for reason in UnpaidReason
        if (mine := [line for line in lines if line["reason"] == reason.value])
    }


def check_points(case: Case, group: Row) -> None:
    """A group's points against its lines and days, and what is paid of them (rules 7)."""
    what, lines = name_of(group), case.lines_of(group)
    ineligible = sum((points for _, points in ineligible_by_reason(case, group).values()), ZERO)
    eligible = group["submitted_points"] - ineligible
    agree(case, f"ineligible points of {what}", group["ineligible_points"], ineligible)
    agree(case, f"eligible points of {what}", group["eligible_points"], eligible)
    (made,) = overage.capped(_one_group(group), case.inputs.policy.overage).rows(named=True)
    for name in ("overage", "payable", "unpaid"):
        recomputed = _decimal(made[name], exact.POINT_DECIMALS, 4)
        agree(case, f"{name} points of {what}", group[f"{name}_points"], recomputed)
    unpaid = sum((line["unpaid_points"] for line in lines), ZERO)
    agree(case, f"unpaid points of the lines of {what}", unpaid, group["unpaid_points"])
    for line in lines:
        _check_line(case, group, line)
    if group["threshold_points"] is not None:
        _check_days(case, group)


def _one_group(group: Row) -> pl.DataFrame:
    threshold = group["threshold_points"]
    row = {
        "submitted": units(group["submitted_points"]),
        "eligible": units(group["eligible_points"]),
        "threshold": None if threshold is None else units(threshold),
    }
    return pl.DataFrame([row], schema=dict.fromkeys(row, pl.Int64))


def _check_line(case: Case, group: Row, line: Row) -> None:
    """What is paid of a line: nothing if it is not eligible, else its part where the running total is known."""
    what = f"line {line['line_id']} of claim {line['claim_id']}"
    agree(case, f"{what}, unpaid points", line["unpaid_points"], line["points"] - line["payable_points"])
    if line["reason"] != OVER:
        agree(case, f"{what}, payable points", line["payable_points"], ZERO)
    elif line["running_total_before"] is not None:
        before, after = units(line["running_total_before"]), units(line["running_total_after"])
        paid = paid_up_to(case, group, after) - paid_up_to(case, group, before)
        agree(case, f"{what}, payable points", units(line["payable_points"]), paid)


def paid_up_to(case: Case, group: Row, running: int) -> int:
    """What the eligible lines of a group are paid up to a running total, in the order of attribution (rules 7)."""
    payable, eligible = units(group["payable_points"]), units(group["eligible_points"])
    if case.inputs.policy.readings.attribution != "pro_rata":
        threshold = units(group["threshold_points"])
        return _value(overage.payable(pl.lit(running), pl.lit(threshold), case.inputs.policy.overage))
    if eligible in (0, payable):
        return running
    return _value(exact.proportion(pl.lit(running), pl.lit(payable), pl.lit(eligible)))


def _check_days(case: Case, group: Row) -> None:
    """The days add up to the group; at the end of each the lines cut so far are what the running total says."""
    days = [
        day
        for day in case.tables["daily_points"].to_dicts()
        if all(day[name] == group[name] for name in GROUP)
    ]
    for name in ("line_count", "submitted_points", "eligible_points"):
        total = sum((day[name] for day in days), ZERO)
        agree(case, f"{name} of the days of {name_of(group)}", total, group[name])
    if case.inputs.policy.readings.attribution == "priority":
        return  # its order does not follow the days
    over = [line for line in case.lines_of(group) if line["reason"] == OVER]
    for day, running in zip(days, accumulate(day["eligible_points"] for day in days), strict=True):
        cut = sum((line["unpaid_points"] for line in over if line["settled_at"].date() <= day["day"]), ZERO)
        whole = units(running)
        agree(
            case,
            f"unpaid points of {name_of(group)} up to {day['day']}",
            units(cut),
            whole - paid_up_to(case, group, whole),
        )


# ---------------------------------------------------------------- money


def check_prices(case: Case) -> None:
    """Point values and amounts, from the money tables and all groups of the run (rules 8.1)."""
    groups = case.all_groups.select(
        "regime",
        "point_class",
        "zone",
        settling_id="institution_id",
        payable=exact.whole_of_decimal(pl.col("payable_points"), 4, exact.POINT_DECIMALS),
    )
    tables = money_tables(case.inputs.tables, case.inputs.has_table, case.month.first)
    priced, budgets = pricing.priced(groups, tables, case.month.first)
    own = {
        (row["regime"], row["point_class"]): row
        for row in priced.filter(pl.col("settling_id") == case.id).to_dicts()
    }
    for group in case.groups:
        made = own[group["regime"], group["point_class"]]
        value, amount = made["point_value"], made["amount"]
        recorded = group["point_value"], group["payable_amount"]
        recomputed = (
            None if value is None else _decimal(value, exact.VALUE_DECIMALS, 6),
            None if amount is None else _decimal(amount, exact.MONEY_DECIMALS, 2),
        )
        agree(case, f"point value and amount of {name_of(group)}", recorded, recomputed)
    _check_budgets(case, budgets)


def _check_budgets(case: Case, budgets: pl.DataFrame) -> None:
    recomputed = [
        (
            row["zone"],
            row["point_class"],
            _decimal(row["budget"], exact.MONEY_DECIMALS, 2),
            _decimal(row["pool_points"], exact.POINT_DECIMALS, 4),
            _decimal(row["point_value"], exact.VALUE_DECIMALS, 6),
            _decimal(row["remainder"], exact.MONEY_DECIMALS, 2),
        )
        for row in budgets.to_dicts()
    ]
    agree(case, "budgets", sorted(case.tables["budgets"].drop("run_id", "month").rows()), sorted(recomputed))


def check_statement(case: Case) -> None:
    """Deposit, deductions and balance, from the groups, the inputs and what earlier runs left (rules 8.2, 8.3)."""
    statement, policy = case.statement, case.inputs.policy
    is_paid = any(group["payable_amount"] is not None for group in case.groups)
    agree(case, "statement", statement is not None, is_paid or statement is not None)
    if statement is None:
        return
    own = pl.col("settling_id") == case.id
    made = statements.stated(
        pl.DataFrame(
            [(case.id, exact.whole_units(group["payable_amount"], 2)) for group in case.groups],
            schema={"settling_id": pl.String, "amount": pl.Int64},
            orient="row",
        ),
        _deductions(case),
        case.standing.adjustments.filter(own),
        case.standing.balances.filter(own),
        policy.money.deposit_rate,
    )
    names = {"payable_amount": "gross", "deposit_withheld": "deposit"} | {
        name: name
        for name in (*DEDUCTION_KINDS, "adjustment", "brought_forward", "net_payable", "carried_forward")
    }
    row = made.row(0, named=True) if made.height else dict.fromkeys(names.values(), 0)
    for column, name in names.items():
        agree(case, f"statement, {column}", statement[column], _decimal(row[name], exact.MONEY_DECIMALS, 2))
    agree(case, "statement, payment_due", statement["payment_due"], _payment_due(case))


def _deductions(case: Case) -> pl.DataFrame:
    """The month's deductions of the institution and of what settles under it, in fen."""
    own = pl.col("institution_id").is_in(list(case.timelines.settling_of))
    rows = case.inputs.tables["deductions"].filter(own & (pl.col("month") == case.month.first))
    return rows.select(
        "kind",
        settling_id=pl.lit(case.id),
        amount=exact.whole_of_decimal(pl.col("amount"), 2, exact.MONEY_DECIMALS),
    )


def _payment_due(case: Case) -> date | None:
    inputs = case.inputs
    if inputs.submitted_on is None or not inputs.has_due_date:
        return None
    return payment_due(inputs.submitted_on, inputs.policy.money.payment_working_days)


def check(case: Case) -> dict[tuple[Any, Any], Derived | None]:
    """Makes every figure of the case again, and gives how each group's threshold came about.

    Raises: Fault, for the first figure that the record has otherwise.
    """
    check_agreement_years(case)
    check_places(case)
    made = {(group["regime"], group["point_class"]): derived(case, group) for group in case.groups}
    for group in case.groups:
        check_points(case, group)
    if case.groups:
        check_prices(case)
    check_statement(case)
    return made
