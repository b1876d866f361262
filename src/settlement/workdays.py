"""Working days by the official Chinese calendar: weekends and holidays off, make-up days (调休) on.

Layer 1. The calendar is data, `workdays.toml`, with the State Council notice of each year. Holidays cannot be
computed: the notice for a year appears in the autumn before it. A year without one is refused, never guessed.
Source: rules 8.3; D 32 (申报后 30 个工作日内).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path

from settlement.errors import Refusal

CALENDAR_FILE = Path(__file__).with_name("workdays.toml")
ONE_DAY = timedelta(days=1)
SATURDAY = 5  # as date.weekday() counts


@dataclass(frozen=True, slots=True)
class _Calendar:
    years: tuple[int, ...]
    checked_on: date
    off: frozenset[date]
    on: frozenset[date]


def payment_due(submitted_on: date, working_days: int) -> date:
    """The `working_days`-th working day after `submitted_on`; that day itself is not counted.

    Raises: Refusal where the submission or a day of the count is in a year the calendar does not know.
    Source: rules 8.3; D 32.

    >>> payment_due(date(2026, 2, 13), 1)  # a Friday; the Saturday after it is a make-up day
    datetime.date(2026, 2, 14)
    >>> payment_due(date(2026, 2, 13), 2)  # then nine days of Spring Festival
    datetime.date(2026, 2, 24)
    """
    where = f"payment day of a submission on {submitted_on}"
    if working_days < 1:
        raise Refusal(where, f"{working_days} working days", "at least 1", "correct the number in the policy")
    _refuse_unknown_year(where, submitted_on.year)
    day = submitted_on
    for _ in range(working_days):
        day = _next_working_day(where, day)
    return day


def is_working_day(day: date) -> bool:
    """Whether people work on that day by the official calendar.

    Raises: Refusal for a day in a year the calendar does not know.

    >>> is_working_day(date(2026, 10, 10)), is_working_day(date(2026, 10, 11))  # a make-up Saturday; a Sunday
    (True, False)
    """
    _refuse_unknown_year(f"day {day}", day.year)
    return _is_worked(day)


def known_years() -> tuple[int, ...]:
    """The years whose official calendar is on file, ascending."""
    return _calendar().years


def _next_working_day(where: str, day: date) -> date:
    while True:
        day += ONE_DAY
        _refuse_unknown_year(where, day.year)
        if _is_worked(day):
            return day


def _is_worked(day: date) -> bool:
    calendar = _calendar()
    return day in calendar.on or (day.weekday() < SATURDAY and day not in calendar.off)


def _refuse_unknown_year(where: str, year: int) -> None:
    calendar = _calendar()
    if year in calendar.years:
        return
    known = ", ".join(str(each) for each in calendar.years)
    raise Refusal(
        where,
        f"the calendar of working days does not know the year {year}",
        f"days in the years {known} (table of {calendar.checked_on})",
        f"install a release that knows {year}, correct the date, or settle without a due date: --no-due-date",
    )


@cache
def _calendar() -> _Calendar:
    table = tomllib.loads(CALENDAR_FILE.read_text(encoding="utf-8"))
    years = table["year"]
    ranges = (holiday for year in years for holiday in year["off"])
    return _Calendar(
        years=tuple(sorted(year["year"] for year in years)),
        checked_on=table["checked_on"],
        off=frozenset(day for holiday in ranges for day in _days(holiday["from"], holiday["to"])),
        on=frozenset(day for year in years for day in year["on"]),
    )


def _days(first: date, last: date) -> list[date]:
    return [first + ONE_DAY * passed for passed in range((last - first).days + 1)]
