"""Working days: every day against chinesecalendar, counts worked by hand, unknown years refused."""

from __future__ import annotations

import doctest
import tomllib
from datetime import date, timedelta
from typing import Any

import pytest

from settlement import workdays
from settlement.errors import Refusal
from settlement.workdays import CALENDAR_FILE, is_working_day, known_years, payment_due

TABLE: dict[str, Any] = tomllib.loads(CALENDAR_FILE.read_text(encoding="utf-8"))
YEARS: list[dict[str, Any]] = TABLE["year"]


def every_day(year: int) -> list[date]:
    first = date(year, 1, 1)
    return [first + timedelta(days=passed) for passed in range((date(year + 1, 1, 1) - first).days)]


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("year", known_years())
def test_every_day_of_a_year_agrees_with_chinesecalendar(year: int) -> None:
    package = pytest.importorskip(
        "chinese_calendar",
        reason="chinesecalendar (extra `dev`) is not installed: the table is not held against it",
    )

    assert {day: is_working_day(day) for day in every_day(year)} == {
        day: package.is_workday(day) for day in every_day(year)
    }


def test_the_years_are_whole_and_follow_each_other() -> None:
    assert known_years() == (2023, 2024, 2025, 2026)


@pytest.mark.parametrize("year", YEARS, ids=lambda year: str(year["year"]))
def test_each_year_names_its_notice(year: dict[str, Any]) -> None:
    assert year["source"] == f"国务院办公厅关于{year['year']}年部分节假日安排的通知"
    assert f"〔{year['issued_on'].year}〕" in year["document"]
    assert year["issued_on"] < date(year["year"], 1, 1)
    assert year["issued_on"] < TABLE["checked_on"]


@pytest.mark.parametrize("year", YEARS, ids=lambda year: str(year["year"]))
def test_ranges_follow_each_other_inside_their_year(year: dict[str, Any]) -> None:
    ends = [end for holiday in year["off"] for end in (holiday["from"], holiday["to"])]

    assert ends == sorted(ends)
    assert {end.year for end in ends} == {year["year"]}


@pytest.mark.parametrize("year", YEARS, ids=lambda year: str(year["year"]))
def test_a_make_up_day_is_a_weekend_day_outside_every_holiday(year: dict[str, Any]) -> None:
    assert year["on"] == sorted(set(year["on"]))
    for day in year["on"]:
        assert day.year == year["year"]
        assert day.weekday() >= 5
        assert not any(holiday["from"] <= day <= holiday["to"] for holiday in year["off"])


@pytest.mark.parametrize(("year", "working_days"), [(2023, 249), (2024, 251), (2025, 248), (2026, 248)])
def test_working_days_of_a_year(year: int, working_days: int) -> None:
    """Weekdays of the year, less the statutory holidays: make-up days only move days. Weekend days that a
    holiday falls on are made up for too: 2023 and 2024 had 11 holidays, 2025 and 2026 have 13.

    2023: 260 weekdays - 11; 2024: 262 - 11; 2025 and 2026: 261 - 13.
    """
    assert sum(is_working_day(day) for day in every_day(year)) == working_days


# ---------------------------------------------------------------- single days


@pytest.mark.parametrize(
    ("day", "worked"),
    [
        (date(2024, 2, 9), True),  # New Year's Eve of 2024: encouraged to rest, no holiday
        (date(2025, 1, 26), True),  # the Sunday before Spring Festival
        (date(2025, 1, 27), True),  # an ordinary Monday
        (date(2025, 1, 28), False),  # New Year's Eve of 2025: a holiday since this year
        (date(2025, 2, 4), False),
        (date(2025, 2, 5), True),
        (date(2025, 2, 8), True),  # Saturday, made up
        (date(2025, 2, 9), False),  # the Sunday after it, not
        (date(2026, 1, 4), True),  # Sunday, made up
        (date(2026, 9, 20), True),  # Sunday, made up
        (date(2026, 10, 7), False),
        (date(2026, 10, 8), True),
        (date(2026, 12, 31), True),
    ],
)
def test_single_days(day: date, worked: bool) -> None:
    assert is_working_day(day) is worked


# ---------------------------------------------------------------- counts worked by hand


@pytest.mark.parametrize(
    ("submitted_on", "working_days", "due"),
    [
        # an ordinary week: Monday's first is Tuesday, Friday's first is Monday
        (date(2026, 3, 2), 1, date(2026, 3, 3)),
        (date(2026, 3, 6), 1, date(2026, 3, 9)),
        # submitted on a day off: the count begins with the next working day
        (date(2026, 3, 7), 1, date(2026, 3, 9)),
        (date(2026, 2, 18), 1, date(2026, 2, 24)),
        # submitted on a make-up day: that day is not counted either
        (date(2026, 2, 14), 1, date(2026, 2, 24)),
        # Spring Festival 2026, from Tuesday 10 February: 11-14 (Saturday on) = 4, off 15-23, 24-28
        # (Saturday on) = 9, March 2-6 = 14, 9-13 = 19, 16-20 = 24, 23-27 = 29, Monday 30 = 30
        (date(2026, 2, 10), 4, date(2026, 2, 14)),
        (date(2026, 2, 10), 5, date(2026, 2, 24)),
        (date(2026, 2, 10), 9, date(2026, 2, 28)),
        (date(2026, 2, 10), 10, date(2026, 3, 2)),
        (date(2026, 2, 10), 30, date(2026, 3, 30)),
        # Spring Festival 2025, from Friday 10 January: 13-17 = 5, 20-24 = 10, Sunday 26 = 11, Monday 27 =
        # 12, off to 4 February, 5-8 (Saturday on) = 16, 10-14 = 21, 17-21 = 26, 24-27 = 30
        (date(2025, 1, 10), 11, date(2025, 1, 26)),
        (date(2025, 1, 10), 13, date(2025, 2, 5)),
        (date(2025, 1, 10), 30, date(2025, 2, 27)),
        # National Day 2025, from Thursday 18 September: 19 = 1, 22-26 = 6, Sunday 28 = 7, 29-30 = 9, off
        # 1-8 October, 9-11 (Saturday on) = 12, 13-17 = 17, 20-24 = 22, 27-31 = 27, 3-5 November = 30
        (date(2025, 9, 18), 9, date(2025, 9, 30)),
        (date(2025, 9, 18), 10, date(2025, 10, 9)),
        (date(2025, 9, 18), 30, date(2025, 11, 5)),
        # National Day 2026, from Wednesday 16 September: 17-18 = 2, Sunday 20 = 3, 21-24 = 7, off 25-27,
        # 28-30 = 10, off 1-7 October, 8-10 (Saturday on) = 13, 12-16 = 18, 19-23 = 23, 26-30 = 28, 2-3
        # November = 30
        (date(2026, 9, 16), 3, date(2026, 9, 20)),
        (date(2026, 9, 16), 10, date(2026, 9, 30)),
        (date(2026, 9, 16), 11, date(2026, 10, 8)),
        (date(2026, 9, 16), 30, date(2026, 11, 3)),
        # over the year's end, from Wednesday 10 December 2025: 11-12 = 2, 15-19 = 7, 22-26 = 12, 29-31 =
        # 15, off 1-3 January, Sunday 4 = 16, 5-9 = 21, 12-16 = 26, 19-22 = 30
        (date(2025, 12, 10), 15, date(2025, 12, 31)),
        (date(2025, 12, 10), 16, date(2026, 1, 4)),
        (date(2025, 12, 10), 30, date(2026, 1, 22)),
    ],
)
def test_counts_worked_by_hand(submitted_on: date, working_days: int, due: date) -> None:
    assert payment_due(submitted_on, working_days) == due


def test_the_due_day_is_worked_and_the_days_between_add_up() -> None:
    for submitted_on in every_day(2025):
        due = payment_due(submitted_on, 30)
        between = [
            submitted_on + timedelta(days=passed) for passed in range(1, (due - submitted_on).days + 1)
        ]

        assert is_working_day(due)
        assert sum(is_working_day(day) for day in between) == 30


# ---------------------------------------------------------------- refused, not guessed


def test_the_last_count_that_ends_inside_the_known_years() -> None:
    """Back from Thursday 31 December 2026: 28-31 = 4, 21-25 = 9, 14-18 = 14, 7-11 = 19, 1-4 = 23, Monday 30
    November = 24, 23-27 = 29, Friday 20 = 30; so Thursday 19 November is the last day of submission that
    has a payment day.
    """
    assert payment_due(date(2026, 11, 19), 30) == date(2026, 12, 31)
    assert payment_due(date(2026, 12, 30), 1) == date(2026, 12, 31)


@pytest.mark.parametrize(
    ("submitted_on", "working_days", "unknown"),
    [
        (date(2026, 11, 20), 30, 2027),
        (date(2026, 12, 31), 1, 2027),
        (date(2027, 1, 1), 1, 2027),
        (date(2022, 12, 31), 1, 2022),
        (date(2006, 3, 2), 30, 2006),
        (date.max, 1, 9999),
        (date.min, 1, 1),
    ],
)
def test_a_count_that_touches_an_unknown_year_is_refused(
    submitted_on: date, working_days: int, unknown: int
) -> None:
    with pytest.raises(Refusal) as refusal:
        payment_due(submitted_on, working_days)

    assert str(submitted_on) in refusal.value.where
    assert refusal.value.found == f"the calendar of working days does not know the year {unknown}"
    assert refusal.value.expected == "days in the years 2023, 2024, 2025, 2026 (table of 2026-11-22)"
    assert "--no-due-date" in refusal.value.remedy


@pytest.mark.parametrize("day", [date(2022, 12, 31), date(2027, 1, 1), date(2027, 1, 2)])
def test_a_day_of_an_unknown_year_is_refused_even_on_a_weekend(day: date) -> None:
    """2027-01-02 is a Saturday, but only the notice for 2027 says whether people work on it."""
    with pytest.raises(Refusal, match=f"the year {day.year}"):
        is_working_day(day)


@pytest.mark.parametrize("working_days", [0, -1])
def test_a_count_of_no_days_is_refused(working_days: int) -> None:
    with pytest.raises(Refusal, match="at least 1"):
        payment_due(date(2026, 3, 2), working_days)


def test_the_examples_in_the_docstrings_hold() -> None:
    results = doctest.testmod(workdays)

    assert results.failed == 0
    assert results.attempted > 0
