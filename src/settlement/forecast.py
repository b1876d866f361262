"""Who will pass a threshold by the month's end, from the month so far: reminders of the coaching period (检查提醒).

Layer 6. The month so far is judged and given its thresholds by the steps of a run. An institution's days to come are
expected to be like its own days so far, weekday by weekday, and its range comes from how much these days differ;
docs/forecast.md says it in full and how wrong it was. Whole numbers and fractions only. Source: T 3(4); rules 6, 7.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import polars as pl

from . import exact, pipeline
from .batch import Batch, Progress, last_day_of, month_of, read_batch
from .errors import Refusal
from .pipeline import Work
from .policy import Policy
from .rules import overage
from .runs import refusing_unfit
from .terms import GROUP
from .workdays import is_working_day, known_years

STATUSES = {
    "over": "already over 已超出",
    "will_pass": "will pass, the whole range is above 将超出",
    "may_pass": "may pass, the threshold lies in the range 可能超出",
    "stays_under": "stays under, the whole range is below 不超出",
}
DOWN, UP = 2, 3  # deviations of the range: dear charges make a day's points skewed, upward they stray further
_SUNDAY = 6  # as date.weekday() counts
_SATURDAY = 5
_ALL_DAYS = "any day"
_ONE_DAY = timedelta(days=1)

# ---------------------------------------------------------------- kinds of days

Kind = int | str  # a weekday (0 = Monday), else `working`, `off`, `any day`


@cache
def kinds(day: date) -> tuple[Kind, ...]:
    """What a day is like, the nearest first: its weekday, working or off, any day.

    A holiday is like a Sunday; a working weekend day (调休) is like working days in general. In a year that the
    official calendar does not know, Monday to Friday are working days.

    >>> kinds(date(2026, 3, 4)), kinds(date(2026, 10, 1)), kinds(date(2026, 10, 10))  # the last a working Saturday
    ((2, 'working', 'any day'), (6, 'off', 'any day'), ('working', 'any day'))
    """
    is_weekend = day.weekday() >= _SATURDAY
    is_worked = is_working_day(day) if day.year in known_years() else not is_weekend
    if is_worked:
        return ("working", _ALL_DAYS) if is_weekend else (day.weekday(), "working", _ALL_DAYS)
    return (day.weekday() if is_weekend else _SUNDAY, "off", _ALL_DAYS)


@dataclass(frozen=True)
class Pattern:
    """An institution's days so far: points (10⁻⁴) of each kind of day, and how often it was seen."""

    days: Mapping[date, int]
    points: Counter[Kind] = field(default_factory=Counter)
    seen: Counter[Kind] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for day, points in self.days.items():
            for kind in kinds(day):
                self.points[kind] += points
                self.seen[kind] += 1

    def nearest(self, day: date) -> Kind | None:
        """The nearest kind of the day that was seen; None if no day was."""
        return next((kind for kind in kinds(day) if self.seen[kind]), None)

    def spread(self) -> Fraction | None:
        """How much the days differ from the mean of working days, and of days off; squared. None for too few."""
        samples: defaultdict[Kind, list[int]] = defaultdict(list)
        for day, points in self.days.items():
            samples[kinds(day)[-2]].append(points)
        return exact.spread(samples.values())


@dataclass(frozen=True)
class Course:
    """Running total (10⁻⁴) at the end of a day to come: expected, and the range; `high` is None if not known."""

    day: date
    expected: int
    low: int
    high: int | None


def courses(so_far: int, pattern: Pattern, to_come: Sequence[date]) -> Iterator[Course]:
    """The days to come, one after the other.

    Expected: each day brings the mean of its nearest kind. Range: DOWN and UP deviations of the sum around it, which
    hold both how days differ and how well so few days give a mean; days to come bring no less than nothing.
    """
    square, coming = pattern.spread(), Counter[Kind]()
    for passed, day in enumerate(to_come, start=1):
        if (kind := pattern.nearest(day)) is not None:
            coming[kind] += 1
        more = exact.expected_sum(
            (days, pattern.points[kind], pattern.seen[kind]) for kind, days in coming.items()
        )
        if square is None:
            yield Course(day, so_far + more, so_far, None)
            continue
        unsure = sum(
            (Fraction(days**2, pattern.seen[kind]) for kind, days in coming.items()), Fraction(passed)
        )
        down, up = (exact.deviations(times, square, unsure) for times in (DOWN, UP))
        yield Course(day, so_far + more, so_far + max(more - down, min(more, 0)), so_far + more + up)


# ---------------------------------------------------------------- one group


@dataclass(frozen=True)
class Prospect:
    """What becomes of one group; points in 10⁻⁴. `high` is None where there are too few days for a range.

    `crossing_day`: the day on which it passed, or is expected to; `earliest` and `latest` by the range.
    """

    status: str
    so_far: int
    expected: int
    low: int
    high: int | None
    crossing_day: date | None
    earliest: date | None
    latest: date | None
    days_seen: int


def prospect(threshold: int, settled: Mapping[date, int], open_days: Sequence[date], as_of: date) -> Prospect:
    """Forecast one group.

    `settled`: eligible points (10⁻⁴) by day up to `as_of`, days without lines may be missing. `open_days`: days of the
    month on which its agreement is in force and not suspended; the others bring nothing and show nothing.
    """
    so_far = sum(settled.values())
    seen = {day: settled.get(day, 0) for day in open_days if day <= as_of}
    to_come = [day for day in open_days if day > as_of]
    path = list(courses(so_far, Pattern(seen), to_come))
    end = path[-1] if path else Course(as_of, so_far, so_far, so_far)
    status = _status(threshold, so_far, end)
    crossing = earliest = latest = _day_passed(threshold, settled) if status == "over" else None
    if status != "over":
        crossing = _first(path, lambda course: course.expected > threshold)
        earliest = _first(path, lambda course: course.high is not None and course.high > threshold)
        latest = _first(path, lambda course: course.low > threshold)
    return Prospect(status, so_far, end.expected, end.low, end.high, crossing, earliest, latest, len(seen))


def _status(threshold: int, so_far: int, end: Course) -> str:
    """T 3(3): beyond the threshold begins above it."""
    if so_far > threshold:
        return "over"
    if end.low > threshold:
        return "will_pass"
    return "may_pass" if end.high is None or end.high > threshold else "stays_under"


def _day_passed(threshold: int, settled: Mapping[date, int]) -> date | None:
    """The first day at whose end the running total is above the threshold."""
    days = sorted(settled)
    running = accumulate(settled[day] for day in days)
    return next((day for day, total in zip(days, running, strict=True) if total > threshold), None)


def _first(path: Sequence[Course], fits: Callable[[Course], bool]) -> date | None:
    return next((course.day for course in path if fits(course)), None)


# ---------------------------------------------------------------- a batch


@dataclass(frozen=True)
class Forecast:
    """The month so far, looked ahead.

    `groups`: one row per group with a threshold and lines up to the day; columns as in `_GROUPS`.
    """

    as_of: date
    policy: Policy
    groups: pl.DataFrame
    lines_used: int
    lines_in: int
    assumptions: tuple[str, ...]

    def reminders(self) -> pl.DataFrame:
        """Groups that are over, will or may pass."""
        return self.groups.filter(pl.col("status") != "stays_under")

    def as_json(self) -> dict[str, Any]:
        """One object; decimals as text."""
        counts = Counter(self.groups["status"])
        return {
            "month": f"{self.as_of:%Y-%m}",
            "as_of": str(self.as_of),
            "policy_id": self.policy.id,
            "policy_status": self.policy.status,
            "lines_used": self.lines_used,
            "lines_in": self.lines_in,
            "assumptions": list(self.assumptions),
            "counts": {status: counts[status] for status in STATUSES},
            "groups": [
                {name: str(cell) if isinstance(cell, Decimal | date) else cell for name, cell in row.items()}
                for row in self.groups.to_dicts()
            ],
        }


_GROUPS: dict[str, pl.DataType | type[pl.DataType]] = {
    "institution_id": pl.String,
    "name": pl.String,
    "zone": pl.String,
    "regime": pl.String,
    "point_class": pl.String,
    "threshold_points": pl.Int64,
    "points_so_far": pl.Int64,
    "expected_points": pl.Int64,
    "low_points": pl.Int64,
    "high_points": pl.Int64,  # null: too few days for a range
    "status": pl.Enum(list(STATUSES)),
    "crossing_day": pl.Date,  # null: not expected to pass
    "earliest_crossing": pl.Date,
    "latest_crossing": pl.Date,
    "days_seen": pl.Int64,
}


def forecast(
    path: Path | str,
    month: str | date,
    as_of: date,
    policy: Policy,
    *,
    encoding: str | None = None,
    progress: Progress = lambda _: None,
) -> Forecast:
    """Forecast a month from the lines settled up to `as_of`; later lines and events in the batch are not looked at.

    Raises Refusal for a day outside the month, and where a run of the month so far would be refused.
    """
    first_day = month_of(month)
    if not first_day <= as_of <= last_day_of(first_day):
        raise Refusal("--as-of", str(as_of), f"a day of {first_day:%Y-%m}", "choose a day of the month")
    batch = read_batch(path, month, policy, encoding=encoding, until=as_of, progress=progress)
    try:
        progress("the month so far")
        with refusing_unfit(batch):
            work = _so_far(batch, policy, as_of)
    finally:
        batch.close()
    progress("the days to come")
    return Forecast(
        as_of,
        policy,
        _looked_ahead(work, as_of),
        int(work.profiles["line_count"].sum()),
        batch.lines_in,
        (*dict.fromkeys(work.assumptions), *_calendar_assumption(as_of.year)),
    )


def _so_far(batch: Batch, policy: Policy, as_of: date) -> Work:
    """Lines up to the day, judged, with the thresholds of their groups."""
    events = batch.tables["events"].filter(pl.col("occurred_on") <= as_of)
    work = pipeline.begun(replace(batch, tables={**batch.tables, "events": events}), policy)
    for step in (pipeline.time, pipeline.profile, pipeline.judge, pipeline.place):
        step(work)
    # under month_basis = serviced_at a line of the month so far may be settled later
    work.profiles = work.profiles.filter((pl.col("settled_on") <= as_of).fill_null(True))
    work.groups = overage.totals(work.profiles)
    pipeline.cap(work)
    return work


def _looked_ahead(work: Work, as_of: date) -> pl.DataFrame:
    names = dict(work.batch.tables["institutions"].select("institution_id", "name").iter_rows())
    settled = _settled_by_day(work)
    groups = work.groups.filter(pl.col("threshold").is_not_null()).select(*GROUP, "zone", "threshold")
    rows = []
    for settling, regime, point_class, zone, threshold in groups.iter_rows():
        ahead = prospect(
            threshold,
            settled.get((settling, regime, point_class), {}),
            _open_days(work, settling, regime),
            as_of,
        )
        figures = (ahead.so_far, ahead.expected, ahead.low, ahead.high, ahead.status)
        days = (ahead.crossing_day, ahead.earliest, ahead.latest, ahead.days_seen)
        rows.append((settling, names[settling], zone, regime, point_class, threshold, *figures, *days))
    frame = pl.DataFrame(rows, schema=pl.Schema(_GROUPS), orient="row")
    points = [exact.as_points(pl.col(name)) for name in _GROUPS if name.endswith(("_points", "_so_far"))]
    return frame.with_columns(points).sort(
        "status", "crossing_day", "institution_id", "regime", "point_class", nulls_last=True
    )


def _settled_by_day(work: Work) -> dict[tuple[str, str, str], dict[date, int]]:
    """Eligible points (10⁻⁴) of each group with a threshold by day of settlement."""
    days = (
        work.profiles.filter(pl.col("reason").is_null() & pl.col("settled_on").is_not_null())
        .group_by(*GROUP, "settled_on")
        .agg(points=exact.summed(pl.col("positive_points") + pl.col("negative_points")))
        .sort(*GROUP, "settled_on")
    )
    settled: defaultdict[tuple[str, str, str], dict[date, int]] = defaultdict(dict)
    for settling, regime, point_class, day, points in days.iter_rows():
        settled[settling, regime, point_class][day] = points
    return settled


def _open_days(work: Work, settling: str, regime: str) -> list[date]:
    """Days of the month on which an agreement of the regime is in force and the institution is not suspended."""
    timeline, interruptions = work.timelines.timelines[settling], work.timelines.interruptions_of[settling]
    days = []
    day = work.batch.first_day
    while day <= work.batch.last_day:
        status = timeline.status_on(day, interruptions)
        if status.regime == regime and not status.is_suspended:
            days.append(day)
        day += _ONE_DAY
    return days


def _calendar_assumption(year: int) -> list[str]:
    if year in known_years():
        return []
    return [f"calendar of {year}: no official calendar known, Monday to Friday taken as working days"]
