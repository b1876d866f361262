"""What a report tells of one run: totals, uses, rankings and daily courses, all of them exact.

Everything comes from the record; nothing is settled anew. Source: data 3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import Any

import polars as pl

from .. import exact, terms
from ..batch import last_day_of
from ..errors import Refusal
from ..ledger import Act, Ledger, paid_runs

MOST_COURSES = 6  # institutions whose daily course is drawn
NO_POINTS = Decimal("0.0000")
BANDS = ("under_half", "under_four_fifths", "up_to_threshold", "above_threshold")
Row = dict[str, Any]


@dataclass(frozen=True)
class ZoneUse:
    """How the groups of one zone and point class use their thresholds.

    groups, over: number of groups, and of those above their threshold. Points are sums over the groups.
    bands: groups by use, in the order of `BANDS`; above_threshold means overage, whatever the rounded use.
    """

    point_class: str
    zone: str | None
    groups: int
    over: int
    eligible_points: Decimal
    threshold_points: Decimal
    overage_points: Decimal
    bands: tuple[int, ...]

    @property
    def use(self) -> Decimal | None:
        """Eligible ÷ threshold in percent."""
        return exact.percent(self.eligible_points, self.threshold_points)


@dataclass(frozen=True)
class Day:
    """Running total of eligible points at the end of a day, split at the threshold."""

    day: date
    running: Decimal
    within: Decimal
    above: Decimal


@dataclass(frozen=True)
class Course:
    """A group's month, day by day. `crossed`: the first day that ends above the threshold, and the day before."""

    group: Row
    days: tuple[Day, ...]
    crossed: Day | None
    running_before: Decimal


@dataclass(frozen=True)
class Facts:
    """One run as recorded, and what a page tells of it. `head` is the newest act of the journal.

    paid: the month's run whose statements are paid; another one than this, if this one restates it (rules 11).
    over_threshold: groups with overage, the largest first. names: institution → name.
    unpaid_by_reason: reason, line_count, unpaid_points. rejected_by_rule: rule, line_count, source, row_number.
    """

    run: Row
    status: str
    paid: str
    head: Act
    names: Mapping[str, str]
    tables: Mapping[str, pl.DataFrame]
    over_threshold: list[Row]
    uses: list[ZoneUse]
    courses: list[Course]
    unpaid_by_reason: list[Row]
    rejected_by_rule: list[Row]

    @property
    def is_draft(self) -> bool:
        return bool(self.run["policy_status"] == "draft")

    @property
    def is_restating(self) -> bool:
        """Whether nothing is transferred by these statements."""
        return self.paid != str(self.run["run_id"])

    @property
    def has_money(self) -> bool:
        """Whether the month was priced: with neither point values nor budgets there are no statements."""
        return not self.tables["statements"].is_empty()

    @property
    def assumptions(self) -> list[str]:
        return [str(each) for each in json.loads(self.run["assumptions"])]

    @property
    def readings(self) -> dict[str, str]:
        return {key: str(value) for key, value in json.loads(self.run["readings"]).items()}

    def total(self, table: str, column: str) -> Decimal:
        """Sum of a column over the run; nulls count as nothing."""
        return _decimal(self.tables[table][column].sum(), self.tables[table].schema[column])


def facts_of(ledger: Ledger, month: date) -> Facts:
    """The facts of the month's newest run. Raises: Refusal, if the month has none."""
    act = ledger.newest_run(month)
    if act is None or act.run_id is None:
        raise _no_run(ledger, month)
    run_id = act.run_id
    kept = ("settlements", "statements", "budgets", "adjustments", "findings")
    tables = {name: ledger.scan(run_id, name).collect() for name in kept}
    over = _over_threshold(tables["settlements"])
    return Facts(
        run=ledger.scan(run_id, "runs").collect().row(0, named=True),
        status=ledger.statuses[run_id],
        paid=paid_runs(ledger.acts())[month],
        head=ledger.acts()[-1],
        names=_names(ledger, act),
        tables=tables,
        over_threshold=over,
        uses=_uses(tables["settlements"]),
        courses=_courses(ledger.scan(run_id, "daily_points"), over[:MOST_COURSES], month),
        unpaid_by_reason=_unpaid_by_reason(ledger.scan(run_id, "unpaid_lines")),
        rejected_by_rule=_rejected_by_rule(ledger.scan(run_id, "rejected_lines")),
    )


def _names(ledger: Ledger, act: Act) -> dict[str, str]:
    """Institution → name, from the registry the run was settled by; none for a run posted without its inputs."""
    if act.run_id is None or not any("/inputs/" in path for path in act.files):
        return {}
    registry = ledger.inputs(act.run_id).tables["institutions"]
    return dict(registry.select("institution_id", "name").iter_rows())


def _no_run(ledger: Ledger, month: date) -> Refusal:
    months = ", ".join(f"{each:%Y-%m}" for each in ledger.months) or "none yet"
    return Refusal(
        f"ledger {ledger.folder}",
        f"no run of {month:%Y-%m}",
        f"a month that was settled: {months}",
        "settle it with `settlement run`, or give another --month",
    )


def _decimal(total: Any, dtype: pl.DataType) -> Decimal:
    """The sum with the places of its column, also where there is nothing to add."""
    scale = dtype.scale if isinstance(dtype, pl.Decimal) else 0
    return Decimal(total or 0) + Decimal(0).scaleb(-scale)


# ---------------------------------------------------------------- thresholds


def _over_threshold(settlements: pl.DataFrame) -> list[Row]:
    over = settlements.filter(pl.col("overage_points") > 0)
    order = ("overage_points", "institution_id", "regime", "point_class")
    return over.sort(order, descending=[True, False, False, False]).to_dicts()


def _uses(settlements: pl.DataFrame) -> list[ZoneUse]:
    """Groups with a threshold by point class and zone, in the order in which the field names them."""
    capped = settlements.filter(pl.col("threshold_points").is_not_null())
    uses = [_use(group.to_dicts()) for group in capped.partition_by("point_class", "zone")]
    return sorted(
        uses,
        key=lambda use: (
            _place(use.point_class, terms.POINT_CLASSES),
            _place(use.zone or "", terms.ZONES),
            use.zone or "",
        ),
    )


def _place(code: str, codes: Sequence[str]) -> int:
    return codes.index(code) if code in codes else len(codes)


def _use(groups: list[Row]) -> ZoneUse:
    bands = [band_of(group) for group in groups]
    return ZoneUse(
        point_class=groups[0]["point_class"],
        zone=groups[0]["zone"],
        groups=len(groups),
        over=bands.count("above_threshold"),
        eligible_points=_sum(groups, "eligible_points"),
        threshold_points=_sum(groups, "threshold_points"),
        overage_points=_sum(groups, "overage_points"),
        bands=tuple(bands.count(band) for band in BANDS),
    )


def _sum(groups: list[Row], column: str) -> Decimal:
    return sum((group[column] for group in groups), start=Decimal(0))


def band_of(group: Row) -> str:
    """The band of a group's use: below 50 %, below 80 %, up to the threshold, over it (by its overage)."""
    if group["overage_points"] > 0:
        return "above_threshold"
    use = exact.percent(group["eligible_points"], group["threshold_points"])
    if use is None or use < 50:
        return "under_half"
    return "under_four_fifths" if use < 80 else "up_to_threshold"


# ---------------------------------------------------------------- daily courses


def _courses(daily: pl.LazyFrame, groups: list[Row], month: date) -> list[Course]:
    key = ("institution_id", "regime", "point_class")
    wanted = daily.filter(pl.col("institution_id").is_in([group["institution_id"] for group in groups]))
    parts = wanted.collect().partition_by(key, as_dict=True)
    return [course_of(group, parts[tuple(group[name] for name in key)].to_dicts(), month) for group in groups]


def course_of(group: Row, daily: list[Row], month: date) -> Course:
    """The course of one group with a threshold from its rows of `daily_points`.

    Days without lines carry the running total on. Days outside the month (reading month_basis) are shown too.
    """
    points = {row["day"]: row["eligible_points"] for row in daily}
    first, last = min(month, *points), max(last_day_of(month), *points)
    days = [first + timedelta(days=place) for place in range((last - first).days + 1)]
    running = list(accumulate(points.get(day, NO_POINTS) for day in days))
    course = tuple(_day(*each, group["threshold_points"]) for each in zip(days, running, strict=True))
    place = next((place for place, day in enumerate(course) if day.above > 0), None)
    return Course(
        group,
        course,
        course[place] if place is not None else None,
        course[place - 1].running if place else NO_POINTS,
    )


def _day(day: date, running: Decimal, threshold: Decimal) -> Day:
    return Day(day, running, min(running, threshold), max(running - threshold, NO_POINTS))


# ---------------------------------------------------------------- lines


def _unpaid_by_reason(lines: pl.LazyFrame) -> list[Row]:
    by_reason = lines.group_by("reason").agg(line_count=pl.len(), unpaid_points=pl.col("unpaid_points").sum())
    return by_reason.collect().sort("unpaid_points", "reason", descending=[True, False]).to_dicts()


def _rejected_by_rule(lines: pl.LazyFrame) -> list[Row]:
    """Rules by the lines that broke them; source and row are those of the first such line."""
    first = pl.col("source", "row_number").sort_by("source", "row_number").first()
    by_rule = lines.group_by("rule").agg(first, line_count=pl.len())
    return by_rule.collect().sort("line_count", "rule", descending=[True, False]).to_dicts()
