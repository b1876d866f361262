"""Which agreement is in force, what is suspended, what is coaching: rules 3; T 3, T 4; D 13, D 41–45.

Each test is a story: agreements, events, and a table of days whose last column is how that day stands for a line
serviced on it: the agreement and its regime, or why there is none; `suspended` is added where the day is.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written import CENTRE_AND_STATION, COACHING, cases, policy, registry, settle, table

from settlement.errors import Refusal
from settlement.policy import Policy
from settlement.rules import timeline
from settlement.rules.timeline import Span

ORDINARY = """
    agreement | from       | to         | designation
    A1        | 2025-01-01 | 2027-12-31 | ordinary
"""
ORDINARY_THEN_NEXT = """
    agreement | from       | to         | designation
    A1        | 2025-01-01 | 2026-03-10 | ordinary
    A2        | 2026-03-11 | 2027-12-31 | ordinary
"""
REPEATABLE = settings(max_examples=120, deadline=None, derandomize=True)


def standing(known: timeline.Registry, day: date, institution: str = "centre") -> str:
    """How a day stands, read from the spans that lines are joined with."""
    spans = known.spans().filter(pl.col("institution_id") == institution).sort("from_day")
    rows = spans.rows(named=True)
    row = rows[bisect_right([row["from_day"] for row in rows], day) - 1]
    word = f"{row['agreement_id']} {row['regime']}" if row["agreement_id"] else row["lack"]
    return f"{word} suspended" if row["is_suspended"] else word


def check(known: timeline.Registry, expected: str) -> None:
    """Hold a table against the registry: day | result, or day | one column per institution."""
    for row in table(expected):
        day = date.fromisoformat(row.pop("day"))
        for name, result in row.items():
            institution = "centre" if name == "result" else name
            assert (day, name, standing(known, day, institution)) == (day, name, result)


# ---------------------------------------------------------------- in force (3.1)


def test_an_agreement_is_in_force_on_its_first_and_last_day() -> None:
    """D 13, D 41 (3.1): from start_date to end_date, both inclusive."""
    known = registry("""
        agreement | from       | to         | designation
        A1        | 2026-01-10 | 2026-03-20 | ordinary
    """)
    check(
        known,
        """
        day        | result
        2026-01-09 | no_agreement
        2026-01-10 | A1 ordinary
        2026-03-20 | A1 ordinary
        2026-03-21 | no_agreement
        """,
    )


def test_the_next_agreement_takes_over_on_its_first_day() -> None:
    """D 13 (3.1): with a gap of one day, and without."""
    known = registry("""
        agreement | from       | to         | designation
        A2        | 2026-03-01 | 2026-03-10 | ordinary
        A3        | 2026-03-12 | 2026-12-31 | ordinary
        A1        | 2026-01-01 | 2026-02-28 | ordinary
    """)
    check(
        known,
        """
        day        | result
        2026-02-28 | A1 ordinary
        2026-03-01 | A2 ordinary
        2026-03-10 | A2 ordinary
        2026-03-11 | no_agreement
        2026-03-12 | A3 ordinary
        """,
    )


def test_an_agreement_without_end_is_in_force_to_the_last_day_there_is() -> None:
    """3.1: agreements that end on 9999-12-31, suspended without end or not, do not stop the run."""
    known = registry(
        """
        agreement | institution | from       | to         | designation
        A1        | centre      | 2026-01-01 | 9999-12-31 | ordinary
        A2        | other       | 9999-09-01 | 9999-12-31 | coaching
        """,
        """
        day        | event               | target
        2026-03-01 | suspended           |
        2026-03-05 | resumed             |
        2026-03-05 | physician_suspended | DR1
        """,
        "institution\ncentre\nother",
    )
    check(
        known,
        """
        day        | centre                | other
        2026-03-04 | A1 ordinary suspended | no_agreement
        2026-03-05 | A1 ordinary           | no_agreement
        9999-08-31 | A1 ordinary           | no_agreement
        9999-12-31 | A1 ordinary           | A2 coaching
        """,
    )
    assert known.days_in_force(march())["days_in_force"].to_list() == [0, 31, 0, 0]
    assert known.findings({"centre": "clinic", "other": "clinic"}, date(2026, 3, 31), policy()).is_empty()


@pytest.mark.parametrize(
    *cases("""
    start_of_second | result
    2026-03-09      | refused
    2026-03-10      | refused
    2026-03-11      | settled
    """)
)
def test_overlapping_agreements_are_an_input_error(start_of_second: str, result: str) -> None:
    """3.1: overlap as written, before any event; a termination does not cure it. Nothing is settled."""
    agreements = f"""
        agreement | from       | to         | designation
        A1        | 2025-01-01 | 2026-03-10 | ordinary
        A2        | {start_of_second} | 2027-12-31 | ordinary
    """
    events = "day | event\n2026-03-01 | terminated"
    line = "claim | points\n1 | 1"
    if result == "settled":
        settle(line, agreements=agreements, events=events)
    else:
        with pytest.raises(Refusal, match="A2"):
            settle(line, agreements=agreements, events=events)


# ---------------------------------------------------------------- termination and fraud (3.2)


@pytest.mark.parametrize("event", ["terminated", "fraud"])
def test_termination_ends_every_agreement_that_has_started(event: str) -> None:
    """T 3(6), D 43 (3.2): from day d on; what starts on d is ended too, what starts after d stands."""
    agreements = """
        agreement | institution | from       | to         | designation
        A1        | centre      | 2025-01-01 | 2026-03-09 | ordinary
        A2        | centre      | 2026-03-10 | 2026-03-19 | ordinary
        A3        | centre      | 2026-03-20 | 2027-12-31 | ordinary
        B1        | other       | 2025-01-01 | 2026-03-10 | ordinary
        B2        | other       | 2026-03-11 | 2027-12-31 | ordinary
    """
    events = f"""
        day        | institution | event
        2026-03-10 | centre      | {event}
        2026-03-10 | other       | {event}
    """
    check(
        registry(agreements, events, "institution\ncentre\nother"),
        """
        day        | centre      | other
        2026-03-09 | A1 ordinary | B1 ordinary
        2026-03-10 | terminated  | terminated
        2026-03-11 | terminated  | B2 ordinary
        2026-03-19 | terminated  | B2 ordinary
        2026-03-20 | A3 ordinary | B2 ordinary
        """,
    )


@pytest.mark.parametrize(
    *cases("""
    termination | on_9_march  | on_10_march | on_11_march
    2026-03-09  | terminated  | terminated  | terminated
    2026-03-10  | A1 ordinary | terminated  | terminated
    2026-03-11  | A1 ordinary | A1 ordinary | no_agreement
    """)
)
def test_terminated_before_or_on_the_end_date_or_run_out(
    termination: str, on_9_march: str, on_10_march: str, on_11_march: str
) -> None:
    """D 34, D 43 (3.2, 4): an agreement to 10 March; a termination after its end date ends nothing."""
    known = registry(
        "agreement | from | to | designation\nA1 | 2025-01-01 | 2026-03-10 | ordinary",
        f"day | event\n{termination} | terminated",
    )
    found = [standing(known, date(2026, 3, day)) for day in (9, 10, 11)]
    assert found == [on_9_march, on_10_march, on_11_march]


def test_who_signs_again_after_a_termination_is_in_force_again() -> None:
    """3.1: the old row's end_date is cut to the day of the termination."""
    known = registry(
        """
        agreement | from       | to         | designation
        A1        | 2025-10-01 | 2026-03-10 | coaching
        A2        | 2026-03-11 | 2027-03-10 | coaching
        """,
        "day | event\n2026-03-10 | terminated",
    )
    check(
        known,
        """
        day        | result
        2026-03-09 | A1 coaching
        2026-03-10 | terminated
        2026-03-11 | A2 coaching
        """,
    )


# ---------------------------------------------------------------- the suspension walk (3.3)


def test_suspended_until_the_day_before_the_resumption() -> None:
    """D 42 (3.3)."""
    known = registry(
        ORDINARY,
        """
        day        | event
        2026-03-15 | resumed
        2026-03-10 | suspended
        """,
    )
    check(
        known,
        """
        day        | result
        2026-03-09 | A1 ordinary
        2026-03-10 | A1 ordinary suspended
        2026-03-14 | A1 ordinary suspended
        2026-03-15 | A1 ordinary
        """,
    )


def test_a_further_suspension_and_a_resumption_without_one_change_nothing() -> None:
    """3.3: the limit of 180 days counts from the first day, 2025-09-10."""
    known = registry(
        ORDINARY,
        """
        day        | event
        2025-09-01 | resumed
        2025-09-10 | suspended
        2026-03-01 | suspended
        2026-03-09 | resumed
        2026-03-20 | resumed
        """,
    )
    check(
        known,
        """
        day        | result
        2025-09-01 | A1 ordinary
        2025-09-09 | A1 ordinary
        2025-09-10 | A1 ordinary suspended
        2026-03-08 | A1 ordinary suspended
        2026-03-09 | A1 ordinary
        2026-03-20 | A1 ordinary
        """,
    )
    lapsed = registry(ORDINARY, "day | event\n2025-09-10 | suspended\n2026-03-01 | suspended")
    check(lapsed, "day | result\n2026-03-08 | A1 ordinary suspended\n2026-03-09 | terminated")


@pytest.mark.parametrize(
    *cases("""
    resumed_on | day_178               | day_179               | day_180               | day_181     | of_this
    2026-03-08 | A1 ordinary suspended | A1 ordinary           | A1 ordinary           | A1 ordinary | d + 179
    2026-03-09 | A1 ordinary suspended | A1 ordinary suspended | A1 ordinary           | A1 ordinary | d + 180
    2026-03-10 | A1 ordinary suspended | A1 ordinary suspended | terminated            | terminated  | d + 181
    2026-12-31 | A1 ordinary suspended | A1 ordinary suspended | terminated            | terminated  | later
    """)
)
def test_a_suspension_lapses_after_180_days(
    resumed_on: str, day_178: str, day_179: str, day_180: str, day_181: str, of_this: str
) -> None:
    """D 42 (3.3): suspended on 10 September 2025 = d; not resumed on or before d + 180 it acts as terminated."""
    known = registry(ORDINARY, f"day | event\n2025-09-10 | suspended\n{resumed_on} | resumed")
    first = date(2025, 9, 10)
    found = [standing(known, first + timedelta(days)) for days in (178, 179, 180, 181)]
    assert found == [day_178, day_179, day_180, day_181]


def test_a_suspension_that_is_never_resumed_lapses_too() -> None:
    """D 42 (3.3)."""
    known = registry(ORDINARY, "day | event\n2025-09-10 | suspended")
    check(known, "day | result\n2026-03-08 | A1 ordinary suspended\n2026-03-09 | terminated")


def test_the_limit_of_days_is_the_policys() -> None:
    """3.3: suspension_limit_days."""
    known = registry(ORDINARY, "day | event\n2026-03-01 | suspended", under=policy(limit_days=10))
    check(
        known,
        """
        day        | result
        2026-03-01 | A1 ordinary suspended
        2026-03-10 | A1 ordinary suspended
        2026-03-11 | terminated
        """,
    )


def test_a_lapse_is_a_termination_what_starts_after_it_stands() -> None:
    """3.2, 3.3: from 10 September, d + 180 = 9 March; A2 starts on it, A3 the day after."""
    known = registry(
        """
        agreement | institution | from       | to         | designation
        A1        | centre      | 2025-01-01 | 2026-03-08 | ordinary
        A2        | centre      | 2026-03-09 | 2027-12-31 | ordinary
        B1        | other       | 2025-01-01 | 2026-03-09 | ordinary
        B2        | other       | 2026-03-10 | 2027-12-31 | ordinary
        """,
        """
        day        | institution | event
        2025-09-10 | centre      | suspended
        2025-09-10 | other       | suspended
        """,
        "institution\ncentre\nother",
    )
    check(
        known,
        """
        day        | centre                | other
        2026-03-08 | A1 ordinary suspended | B1 ordinary suspended
        2026-03-09 | terminated            | terminated
        2026-03-10 | terminated            | B2 ordinary
        """,
    )


def test_resumed_and_suspended_on_one_day_begin_a_new_suspension() -> None:
    """3.3: events of one day act in the order resumed, terminated, suspended, however they are listed."""
    known = registry(
        ORDINARY,
        """
        day        | event
        2025-09-10 | suspended
        2026-03-01 | suspended
        2026-03-01 | resumed
        """,
    )
    check(
        known,
        """
        day        | result
        2026-02-28 | A1 ordinary suspended
        2026-03-01 | A1 ordinary suspended
        2026-03-09 | A1 ordinary suspended
        2026-08-27 | A1 ordinary suspended
        2026-08-28 | terminated
        """,
    )


@pytest.mark.parametrize(
    *cases("""
    first      | second     | on_11_march
    terminated | suspended  | A2 ordinary suspended
    suspended  | terminated | A2 ordinary suspended
    suspended  | fraud      | A2 ordinary suspended
    suspended  | resumed    | A2 ordinary suspended
    terminated | resumed    | A2 ordinary
    """)
)
def test_terminated_and_suspended_on_one_day(first: str, second: str, on_11_march: str) -> None:
    """3.3: terminated acts before suspended, so the suspension of that day stays open for the next agreement."""
    known = registry(ORDINARY_THEN_NEXT, f"day | event\n2026-03-10 | {first}\n2026-03-10 | {second}")
    assert standing(known, date(2026, 3, 11)) == on_11_march


def test_suspended_again_on_the_day_of_the_lapse() -> None:
    """3.3: the lapse acts as terminated on d + 180 = 10 March, before a suspension of that day: a new one begins."""
    known = registry(
        ORDINARY_THEN_NEXT,
        """
        day        | event
        2025-09-11 | suspended
        2026-03-10 | suspended
        """,
    )
    check(
        known,
        """
        day        | result
        2026-03-09 | A1 ordinary suspended
        2026-03-10 | terminated suspended
        2026-03-11 | A2 ordinary suspended
        2026-09-05 | A2 ordinary suspended
        2026-09-06 | terminated
        """,
    )


@pytest.mark.parametrize("event", ["terminated", "fraud"])
def test_a_termination_closes_an_open_suspension(event: str) -> None:
    """3.2: the new agreement is free, and the closed suspension does not lapse."""
    known = registry(
        ORDINARY_THEN_NEXT,
        f"""
        day        | event
        2026-03-01 | suspended
        2026-03-05 | {event}
        """,
    )
    check(
        known,
        """
        day        | result
        2026-03-04 | A1 ordinary suspended
        2026-03-05 | terminated
        2026-03-11 | A2 ordinary
        2026-08-28 | A2 ordinary
        2026-08-29 | A2 ordinary
        """,
    )


def test_suspensions_run_by_date_across_agreement_rows() -> None:
    """D 42 (3.3): begun under A1 or without any agreement, it holds under A2."""
    known = registry(ORDINARY_THEN_NEXT, "day | event\n2026-03-05 | suspended\n2026-03-15 | resumed")
    check(
        known,
        """
        day        | result
        2026-03-10 | A1 ordinary suspended
        2026-03-11 | A2 ordinary suspended
        2026-03-14 | A2 ordinary suspended
        2026-03-15 | A2 ordinary
        """,
    )
    before = registry(ORDINARY, "day | event\n2024-12-20 | suspended\n2025-01-05 | resumed")
    check(
        before,
        """
        day        | result
        2024-12-20 | no_agreement suspended
        2025-01-01 | A1 ordinary suspended
        2025-01-05 | A1 ordinary
        """,
    )


KINDS = ("suspended", "resumed", "terminated", "fraud", "inspected", "minor_violation")
EVENTS = st.lists(st.tuples(st.integers(0, 30), st.sampled_from(KINDS)), max_size=9)


@REPEATABLE
@given(events=EVENTS, limit=st.integers(1, 8))
def test_the_walk_agrees_with_a_diary_kept_day_by_day(events: list[tuple[int, str]], limit: int) -> None:
    """3.2, 3.3: each day resumed acts first, then terminated and the lapse, then suspended."""
    first = date(2026, 1, 1)
    suspended, terminations, since = set(), set(), None
    for number in range(31 + limit):
        kinds = {kind for day, kind in events if day == number}
        if "resumed" in kinds:
            since = None
        if {"terminated", "fraud"} & kinds or (since is not None and number - since == limit):
            terminations.add(first + timedelta(number))
            since = None
        if "suspended" in kinds and since is None:
            since = number
        if since is not None:
            suspended.add(first + timedelta(number))
    walked = timeline.interruptions(
        [timeline.Event(first + timedelta(day), kind) for day, kind in events], limit
    )
    days = [first + timedelta(number) for number in range(31 + limit)]
    assert {day for day in days if any(day in span for span in walked.suspensions)} == suspended
    assert set(walked.terminations) == terminations


# ---------------------------------------------------------------- station and centre (3.3)

CENTRE_ONLY = """
    agreement | from       | to         | designation
    A1        | 2025-01-01 | 2026-03-31 | ordinary
    A2        | 2026-04-01 | 2027-12-31 | ordinary
"""


@pytest.mark.parametrize(
    *cases("""
    who     | at_centre             | at_station
    centre  | A1 ordinary suspended | A1 ordinary suspended
    station | A1 ordinary           | A1 ordinary suspended
    """)
)
def test_suspended_days_of_both_count_for_a_stations_line(who: str, at_centre: str, at_station: str) -> None:
    """D 5, D 42 (3.3): of the submitting and of the settling institution."""
    events = f"institution | day | event\n{who} | 2026-03-05 | suspended\n{who} | 2026-03-08 | resumed"
    known = registry(CENTRE_ONLY, events, CENTRE_AND_STATION)
    check(
        known,
        f"""
        day        | centre      | station
        2026-03-04 | A1 ordinary | A1 ordinary
        2026-03-05 | {at_centre} | {at_station}
        2026-03-07 | {at_centre} | {at_station}
        2026-03-08 | A1 ordinary | A1 ordinary
        """,
    )


def test_a_resumption_closes_only_its_own_institutions_suspension() -> None:
    """3.3: the station is resumed on the 7th, the centre on the 9th; then the other way round."""
    known = registry(
        CENTRE_ONLY,
        """
        institution | day        | event
        centre      | 2026-03-05 | suspended
        station     | 2026-03-05 | suspended
        station     | 2026-03-07 | resumed
        centre      | 2026-03-09 | resumed
        centre      | 2026-03-15 | suspended
        station     | 2026-03-15 | suspended
        centre      | 2026-03-17 | resumed
        station     | 2026-03-19 | resumed
        """,
        CENTRE_AND_STATION,
    )
    check(
        known,
        """
        day        | centre                | station
        2026-03-07 | A1 ordinary suspended | A1 ordinary suspended
        2026-03-08 | A1 ordinary suspended | A1 ordinary suspended
        2026-03-09 | A1 ordinary           | A1 ordinary
        2026-03-16 | A1 ordinary suspended | A1 ordinary suspended
        2026-03-17 | A1 ordinary           | A1 ordinary suspended
        2026-03-18 | A1 ordinary           | A1 ordinary suspended
        2026-03-19 | A1 ordinary           | A1 ordinary
        """,
    )


@pytest.mark.parametrize(
    *cases("""
    who     | at_centre   | at_station
    centre  | terminated  | terminated
    station | A1 ordinary | terminated
    """)
)
def test_after_a_stations_termination_its_lines_have_no_agreement(
    who: str, at_centre: str, at_station: str
) -> None:
    """3.3: in force is judged for the line; the centre's own lines stay in force; the next agreement stands."""
    known = registry(
        CENTRE_ONLY, f"institution | day | event\n{who} | 2026-03-10 | terminated", CENTRE_AND_STATION
    )
    check(
        known,
        f"""
        day        | centre      | station
        2026-03-09 | A1 ordinary | A1 ordinary
        2026-03-10 | {at_centre} | {at_station}
        2026-03-31 | {at_centre} | {at_station}
        2026-04-01 | A2 ordinary | A2 ordinary
        """,
    )


def test_a_stations_own_suspension_lapses_for_its_lines_only() -> None:
    """3.3: 180 days after 2025-09-10; a termination of the station closes its suspension, not the centre's."""
    known = registry(
        CENTRE_ONLY, "institution | day | event\nstation | 2025-09-10 | suspended", CENTRE_AND_STATION
    )
    check(
        known,
        """
        day        | centre      | station
        2026-03-08 | A1 ordinary | A1 ordinary suspended
        2026-03-09 | A1 ordinary | terminated
        2026-04-01 | A2 ordinary | A2 ordinary
        """,
    )
    both = registry(
        CENTRE_ONLY,
        """
        institution | day        | event
        centre      | 2026-03-20 | suspended
        station     | 2026-03-22 | terminated
        """,
        CENTRE_AND_STATION,
    )
    check(
        both,
        """
        day        | centre                | station
        2026-03-22 | A1 ordinary suspended | terminated suspended
        2026-04-01 | A2 ordinary suspended | A2 ordinary suspended
        """,
    )


def test_everything_else_follows_the_settling_institution() -> None:
    """3, 3.3: a station's agreements and violations play no part, nor does its termination begin a new period."""
    known = registry(
        """
        agreement | institution | from       | to         | designation
        A1        | centre      | 2025-07-01 | 2025-12-31 | coaching
        A2        | centre      | 2026-01-01 | 2026-12-31 | coaching
        S1        | station     | 2026-01-01 | 2026-12-31 | coaching
        """,
        """
        institution | day        | event
        station     | 2025-12-01 | minor_violation
        station     | 2025-12-15 | terminated
        """,
        CENTRE_AND_STATION,
    )
    check(
        known,
        """
        day        | centre      | station
        2025-12-20 | A1 coaching | terminated
        2026-01-01 | A2 ordinary | A2 ordinary
        """,
    )
    assert known.agreement_years()["agreement_id"].to_list() == ["A1", "A2"]
    assert set(known.days_in_force(march())["institution_id"]) == {"centre"}


# ---------------------------------------------------------------- the coaching period (3.4)


def coaching(known: timeline.Registry) -> dict[str, str]:
    """agreement → its coaching period, and whether it is a coaching agreement year."""
    rows = known.agreement_years().rows(named=True)
    return {
        row["agreement_id"]: (
            f"{row['coaching_from']} to {row['coaching_to']}" if row["coaching_from"] else "no period"
        )
        + (", coaching year" if row["is_coaching_year"] else "")
        for row in rows
    }


@pytest.mark.parametrize(
    *cases("""
    start      | months | last_day
    2025-10-01 | 6      | 2026-03-31
    2025-11-10 | 6      | 2026-05-09
    2025-08-27 | 6      | 2026-02-26
    2025-08-28 | 6      | 2026-02-27
    2025-08-29 | 6      | 2026-02-27
    2025-08-30 | 6      | 2026-02-27
    2025-08-31 | 6      | 2026-02-27
    2025-09-01 | 6      | 2026-02-28
    2023-08-29 | 6      | 2024-02-28
    2023-08-31 | 6      | 2024-02-28
    2023-09-01 | 6      | 2024-02-29
    2025-12-31 | 6      | 2026-06-29
    2025-12-01 | 1      | 2025-12-31
    2025-12-31 | 1      | 2026-01-30
    2026-01-31 | 1      | 2026-02-27
    2024-02-29 | 12     | 2025-02-27
    2025-06-15 | 12     | 2026-06-14
    2025-06-15 | 13     | 2026-07-14
    2025-06-15 | 120    | 2035-06-14
    9999-03-01 | 6      | 9999-08-31
    """)
)
def test_the_last_day_of_the_coaching_period_is_clipped_to_the_month(
    start: str, months: str, last_day: str
) -> None:
    """T 3 (3.4): the day before the same day-of-month so many months later, clipped to the month's length."""
    first = date.fromisoformat(start)
    agreement = f"agreement | from | to | designation\nA1 | {first} | {first + timedelta(300)} | coaching"
    known = registry(agreement, under=policy(base_months=int(months)))
    assert coaching(known) == {"A1": f"{start} to {last_day}, coaching year"}


def test_the_period_starts_with_the_first_coaching_agreement() -> None:
    """T 3 (3.4): an ordinary agreement before it does not count; the second one begins no new period."""
    known = registry("""
        agreement | from       | to         | designation
        A1        | 2025-01-01 | 2025-09-30 | ordinary
        A2        | 2025-10-01 | 2025-12-31 | coaching
        A3        | 2026-01-01 | 2026-12-31 | coaching
        A4        | 2027-01-01 | 2027-12-31 | coaching
    """)
    assert coaching(known) == {
        "A1": "2025-10-01 to 2026-03-31",
        "A2": "2025-10-01 to 2026-03-31, coaching year",
        "A3": "2025-10-01 to 2026-03-31, coaching year",
        "A4": "2025-10-01 to 2026-03-31",
    }


def test_without_a_coaching_agreement_there_is_no_period() -> None:
    """T 3 (3.4)."""
    assert coaching(registry(ORDINARY)) == {"A1": "no period"}


@pytest.mark.parametrize(
    *cases("""
    event      | on         | period_of_a1             | period_of_a2             | note
    inspected  | 2025-12-01 | 2025-01-01 to 2025-06-30 | 2025-01-01 to 2025-06-30 | one stretch
    terminated | 2025-03-01 | 2025-01-01 to 2025-06-30 | 2026-01-01 to 2026-06-30 | hit A1
    terminated | 2025-12-01 | 2025-01-01 to 2025-06-30 | 2026-01-01 to 2026-06-30 | hit no agreement
    fraud      | 2025-12-31 | 2025-01-01 to 2025-06-30 | 2026-01-01 to 2026-06-30 | the day before A2
    terminated | 2026-01-01 | 2025-01-01 to 2025-06-30 | 2025-01-01 to 2025-06-30 | A2 starts on it, not after
    terminated | 2026-01-02 | 2025-01-01 to 2025-06-30 | 2025-01-01 to 2025-06-30 | after A2 has started
    terminated | 2024-12-31 | 2025-01-01 to 2025-06-30 | 2025-01-01 to 2025-06-30 | before both
    """)
)
def test_after_a_termination_the_first_coaching_agreement_begins_a_new_period(
    event: str, on: str, period_of_a1: str, period_of_a2: str, note: str
) -> None:
    """T 3, T 3(6) (3.4): also after one that hit no agreement; an agreement belongs to its own stretch."""
    known = registry(
        """
        agreement | from       | to         | designation
        A1        | 2025-01-01 | 2025-10-31 | coaching
        A2        | 2026-01-01 | 2026-12-31 | coaching
        """,
        f"day | event\n{on} | {event}",
    )
    found = {
        agreement: period.removesuffix(", coaching year") for agreement, period in coaching(known).items()
    }
    assert found == {"A1": period_of_a1, "A2": period_of_a2}


def test_a_lapse_begins_a_new_period_too() -> None:
    """3.3, 3.4: a suspension that lapses acts as terminated; the year of the new period is that of its start."""
    known = registry(
        """
        agreement | from       | to         | designation
        A1        | 2025-01-01 | 2025-12-31 | coaching
        A2        | 2026-01-01 | 2026-12-31 | coaching
        """,
        "day | event\n2025-05-01 | suspended",
    )
    assert coaching(known) == {
        "A1": "2025-01-01 to 2025-06-30, coaching year",
        "A2": "2026-01-01 to 2026-06-30, coaching year",
    }
    spans = known.spans().filter(pl.col("regime") == "coaching")
    assert dict(spans.select("agreement_id", "coaching_year").iter_rows()) == {"A1": 2025, "A2": 2026}


# ---------------------------------------------------------------- the extension (3.5)


@pytest.mark.parametrize(
    *cases("""
    violation  | max_extensions | last_day
    2025-08-30 | 1              | 2026-02-27
    2025-08-31 | 1              | 2026-08-30
    2026-02-27 | 1              | 2026-08-30
    2026-02-28 | 1              | 2026-02-27
    2025-08-31 | 0              | 2026-02-27
    2026-02-27 | 0              | 2026-02-27
    """)
)
def test_a_minor_violation_inside_the_period_lengthens_it(
    violation: str, max_extensions: str, last_day: str
) -> None:
    """T 3(6) (3.5): counted from the same start, so twelve months from 31 August, not six from 28 February."""
    known = registry(
        "agreement | from | to | designation\nA1 | 2025-08-31 | 2026-08-30 | coaching",
        f"day | event\n{violation} | minor_violation",
        under=policy(max_extensions=int(max_extensions)),
    )
    assert coaching(known) == {"A1": f"2025-08-31 to {last_day}, coaching year"}


@pytest.mark.parametrize(
    *cases("""
    events                                            | last_day
    2025-10-02 minor_violation                        | 2026-06-30
    2025-10-02 minor_violation 2025-10-02 minor_violation | 2026-06-30
    2025-10-02 minor_violation 2026-05-01 minor_violation | 2026-06-30
    2025-10-02 unrectified                            | 2026-03-31
    2025-10-02 fraud                                  | 2026-03-31
    2025-10-02 suspended                              | 2026-03-31
    2025-10-02 inspected                              | 2026-03-31
    """)
)
def test_only_the_first_minor_violation_lengthens_and_nothing_else(events: str, last_day: str) -> None:
    """T 3(6) (3.5): here by extension_months = 3."""
    words = events.split()
    text = "\n".join(f"{day} | {kind}" for day, kind in zip(words[::2], words[1::2], strict=True))
    known = registry(COACHING, f"day | event\n{text}", under=policy(extension_months=3))
    assert coaching(known) == {"A1": f"2025-10-01 to {last_day}, coaching year"}


# ---------------------------------------------------------------- coaching agreement years (3.6)


@pytest.mark.parametrize(
    *cases("""
    second_from | second_to  | designation | result
    2026-02-28  | 2027-02-27 | coaching    | coaching
    2026-03-01  | 2027-02-28 | coaching    | ordinary
    2026-02-28  | 2027-02-27 | ordinary    | ordinary
    """)
)
def test_a_coaching_agreement_that_meets_the_period_on_one_day_is_coaching_as_a_whole(
    second_from: str, second_to: str, designation: str, result: str
) -> None:
    """T 3(3), T 3(7) (3.6): the period is 1 September to 28 February; the regime is that of the whole year."""
    known = registry(f"""
        agreement | from          | to          | designation
        A1        | 2025-09-01    | 2026-02-20  | coaching
        A2        | {second_from} | {second_to} | {designation}
    """)
    check(
        known,
        f"""
        day           | result
        2025-09-01    | A1 coaching
        2026-02-20    | A1 coaching
        {second_from} | A2 {result}
        {second_to}   | A2 {result}
        """,
    )


def test_the_threshold_rule_holds_for_the_whole_agreement_year() -> None:
    """T 3(3) (3.6): also after the period has ended on 31 March; reading coaching_scope: only inside it."""
    days = """
        day        | result
        2025-10-01 | A1 coaching
        2026-03-31 | A1 coaching
        2026-04-01 | A1 {}
        2026-09-30 | A1 {}
        2026-10-01 | no_agreement
    """
    check(registry(COACHING), days.format("coaching", "coaching"))
    narrow = registry(COACHING, under=policy(coaching_scope="coaching_period"))
    check(narrow, days.format("ordinary", "ordinary"))
    assert coaching(narrow) == {"A1": "2025-10-01 to 2026-03-31, coaching year"}
    years = narrow.spans().select("regime", "coaching_year").unique().sort("regime", nulls_last=True)
    assert years.rows() == [("coaching", 2025), ("ordinary", None), (None, None)]


def test_only_days_in_force_meet_the_period() -> None:
    """3.6: A2 starts on the day of a termination, so it is never in force and no coaching year."""
    known = registry(
        """
        agreement | from       | to         | designation
        A1        | 2025-10-01 | 2025-12-31 | coaching
        A2        | 2026-01-01 | 2026-12-31 | coaching
        """,
        "day | event\n2026-01-01 | terminated",
    )
    assert coaching(known) == {
        "A1": "2025-10-01 to 2026-03-31, coaching year",
        "A2": "2025-10-01 to 2026-03-31",
    }
    rows = known.agreement_years().select("agreement_id", "in_force_from", "in_force_to").rows()
    assert rows == [("A1", date(2025, 10, 1), date(2025, 12, 31)), ("A2", None, None)]


@pytest.mark.parametrize(
    *cases("""
    termination | to
    2026-03-09  | 2026-03-08
    2026-09-30  | 2026-09-29
    2026-10-01  | 2026-09-30
    2025-09-30  | 2026-09-30
    """)
)
def test_an_agreement_year_ends_the_day_before_its_termination(termination: str, to: str) -> None:
    """3.2, 3.6: the days in force as the ledger's agreement_years states them."""
    known = registry(COACHING, f"day | event\n{termination} | terminated")
    assert known.agreement_years().select("in_force_from", "in_force_to").rows() == [
        (date(2025, 10, 1), date.fromisoformat(to))
    ]


# ---------------------------------------------------------------- findings (3.7)


def findings(
    known: timeline.Registry, as_of: str, of_type: str = "general_hospital", under: Policy | None = None
) -> str:
    """`finding day, finding day` of the centre as known on a day."""
    frame = known.findings(
        {"centre": of_type, "station": of_type}, date.fromisoformat(as_of), under or policy()
    )
    return ", ".join(f"{row[0]} {row[1]}" for row in frame.select("finding", "occurred_on").rows()) or "none"


def inspected(events: str = "") -> str:
    """Events of an institution that was inspected in time."""
    return f"day | event\n2025-10-05 | inspected\n{events}"


@pytest.mark.parametrize(
    *cases("""
    suspended               | as_of      | result
    2026-03-01              | 2026-03-31 | none
    2026-03-01 2026-03-10   | 2026-03-09 | none
    2026-03-01 2026-03-10   | 2026-03-10 | two_suspensions 2026-03-10
    2026-03-01 2026-03-10   | 2026-12-31 | two_suspensions 2026-03-10
    2025-09-30 2026-03-10   | 2026-12-31 | none
    2025-10-01 2026-03-10   | 2026-12-31 | two_suspensions 2026-03-10
    2026-03-10 2026-09-30   | 2026-12-31 | two_suspensions 2026-09-30
    2026-03-10 2026-10-01   | 2026-12-31 | none
    2026-03-01 2026-03-10 2026-03-20 | 2026-12-31 | two_suspensions 2026-03-10
    """)
)
def test_two_suspensions_begun_on_days_in_force_of_one_agreement(
    suspended: str, as_of: str, result: str
) -> None:
    """D 43(1) (3.7): A1 from 1 October to 30 September, A2 after it; each suspension is resumed two days later."""
    agreements = COACHING + "    A2        | 2026-10-01 | 2027-09-30 | ordinary"
    days = [date.fromisoformat(day) for day in suspended.split()]
    events = "\n".join(f"{day} | suspended\n{day + timedelta(2)} | resumed" for day in days)
    assert findings(registry(agreements, inspected(events)), as_of) == result


def test_a_further_suspension_while_suspended_is_no_second_one() -> None:
    """D 43(1) (3.7, 3.3): resumed and suspended on one day are two; after a termination none begins in force."""
    further = "2026-03-01 | suspended\n2026-03-05 | suspended"
    same_day = "2026-03-01 | suspended\n2026-03-05 | suspended\n2026-03-05 | resumed"
    ended = "2026-03-01 | suspended\n2026-03-05 | terminated\n2026-03-05 | suspended"
    found = [
        findings(registry(COACHING, inspected(text)), "2026-04-30") for text in (further, same_day, ended)
    ]
    assert found == ["none", "two_suspensions 2026-03-05", "none"]


def test_a_stations_suspensions_are_no_finding_of_the_centre() -> None:
    """3.3, 3.7: everything else follows the settling institution's own events."""
    events = """
        institution | day        | event
        centre      | 2025-10-05 | inspected
        centre      | 2026-03-01 | suspended
        centre      | 2026-03-02 | resumed
        station     | 2026-03-10 | suspended
        station     | 2026-03-12 | resumed
        station     | 2026-03-15 | suspended
    """
    known = registry(COACHING, events, CENTRE_AND_STATION)
    assert findings(known, "2026-04-30") == "none"


@pytest.mark.parametrize(
    *cases("""
    inspected  | as_of      | result
    2025-09-30 | 2026-03-31 | inspection_due 2026-03-31
    2025-10-01 | 2026-03-31 | none
    2026-03-31 | 2026-03-31 | none
    2026-04-01 | 2026-04-30 | inspection_due 2026-03-31
    2030-01-01 | 2026-02-28 | none
    2030-01-01 | 2026-03-30 | none
    2030-01-01 | 2026-03-31 | inspection_due 2026-03-31
    2030-01-01 | 2027-12-31 | inspection_due 2026-03-31
    """)
)
def test_inspection_is_due_within_six_months(inspected: str, as_of: str, result: str) -> None:
    """T 4(1) (3.7): of the start of the period's first coaching agreement, 1 October 2025 to 31 March 2026."""
    known = registry(COACHING, f"day | event\n{inspected} | inspected")
    assert findings(known, as_of) == result


def test_the_six_months_of_the_inspection_are_clipped_and_not_the_periods_length() -> None:
    """T 4(1) (3.7): six months from 31 August, also where the coaching period has nine."""
    agreement = "agreement | from | to | designation\nA1 | 2025-08-31 | 2026-08-30 | coaching"
    long = policy(base_months=9)
    assert findings(registry(agreement, under=long), "2026-02-26", under=long) == "none"
    assert findings(registry(agreement, under=long), "2026-02-27", under=long) == "inspection_due 2026-02-27"


def test_each_period_needs_its_own_inspection() -> None:
    """T 4(1) (3.7): former periods included; an ordinary agreement needs none."""
    known = registry(
        """
        agreement | from       | to         | designation
        A1        | 2024-01-01 | 2024-12-31 | coaching
        A2        | 2025-10-01 | 2026-09-30 | coaching
        """,
        "day | event\n2025-03-01 | terminated",
    )
    assert findings(known, "2026-03-31") == "inspection_due 2024-06-30, inspection_due 2026-03-31"
    assert findings(registry(ORDINARY), "2027-12-31") == "none"


@pytest.mark.parametrize(
    *cases("""
    type                  | designation | diseases             | as_of      | result
    outpatient_department | coaching    | M00101               | 2025-10-31 | none
    outpatient_department | coaching    | M00101;M00102        | 2025-10-31 | too_many_diseases 2025-10-01
    general_hospital      | coaching    | M00101;M00102        | 2025-10-31 | none
    general_hospital      | coaching    | M00101;M00102;M00103 | 2025-10-31 | too_many_diseases 2025-10-01
    general_hospital      | coaching    | M00101;M00102;M00103 | 2025-10-01 | too_many_diseases 2025-10-01
    general_hospital      | coaching    | M00101;M00102;M00103 | 2025-09-30 | none
    general_hospital      | coaching    |                      | 2025-10-31 | none
    outpatient_department | ordinary    | M00101;M00102        | 2025-10-31 | none
    """)
)
def test_too_many_special_outpatient_diseases(
    type: str,  # noqa: A002 — the field's word
    designation: str,
    diseases: str,
    as_of: str,
    result: str,
) -> None:
    """T 3(1) (3.7): one for an outpatient department 门诊部, two for other types."""
    known = registry(f"""
        agreement | from       | to         | designation   | diseases
        A1        | 2025-10-01 | 2026-09-30 | {designation} | {diseases}
    """)
    assert findings(known, as_of, type) == result


@pytest.mark.parametrize(
    *cases("""
    first                         | second             | as_of      | result
    outpatient                    | special_outpatient | 2026-02-28 | none
    special_outpatient            | outpatient         | 2025-09-30 | none
    special_outpatient            | outpatient         | 2025-10-01 | special_in_first_year 2025-10-01
    outpatient;special_outpatient | outpatient         | 2026-02-28 | special_in_first_year 2025-10-01
    outpatient;inpatient          | outpatient         | 2026-02-28 | none
    """)
)
def test_special_outpatient_in_the_first_year(first: str, second: str, as_of: str, result: str) -> None:
    """T 3(1) (3.7): only the first coaching agreement of a period."""
    known = registry(f"""
        agreement | from       | to         | designation | categories
        A1        | 2025-10-01 | 2025-12-31 | coaching    | {first}
        A2        | 2026-01-01 | 2026-12-31 | coaching    | {second}
    """)
    assert findings(known, as_of) == result


@pytest.mark.parametrize(
    *cases("""
    second          | on         | third_from | as_of      | result
    minor_violation | 2026-03-31 | 2026-10-01 | 2026-12-31 | none
    minor_violation | 2026-04-01 | 2026-10-01 | 2026-12-31 | renewal_barred 2026-10-01
    minor_violation | 2026-09-30 | 2026-10-01 | 2026-12-31 | renewal_barred 2026-10-01
    minor_violation | 2026-10-01 | 2026-10-02 | 2026-12-31 | none
    unrectified     | 2026-03-31 | 2026-10-01 | 2026-12-31 | none
    unrectified     | 2026-04-01 | 2026-10-01 | 2026-12-31 | renewal_barred 2026-10-01
    unrectified     | 2026-09-30 | 2026-10-01 | 2026-12-31 | renewal_barred 2026-10-01
    unrectified     | 2026-09-30 | 2026-09-30 | 2026-12-31 | none
    unrectified     | 2026-05-01 | 2026-10-01 | 2026-09-30 | none
    unrectified     | 2026-05-01 | 2026-10-01 | 2026-10-01 | renewal_barred 2026-10-01
    inspected       | 2026-05-01 | 2026-10-01 | 2026-12-31 | none
    """)
)
def test_renewal_is_barred_by_a_violation_inside_the_extension(
    second: str, on: str, third_from: str, as_of: str, result: str
) -> None:
    """T 3(6) (3.5, 3.7): period 1 October to 31 March, lengthened to 30 September; what starts after is barred."""
    known = registry(
        f"""
        agreement | from         | to         | designation
        A1        | 2025-10-01   | 2026-09-29 | coaching
        A3        | {third_from} | 2027-09-29 | ordinary
        """,
        inspected(f"2025-11-01 | minor_violation\n{on} | {second}"),
    )
    assert findings(known, as_of) == result


def test_no_extension_no_barring() -> None:
    """T 3(6) (3.5): without a violation in the period, and where the policy allows no extension."""
    agreements = COACHING + "    A2        | 2026-10-01 | 2027-09-30 | ordinary"
    barring = "2026-05-01 | unrectified"
    assert findings(registry(agreements, inspected(barring)), "2026-12-31") == "none"
    never = policy(max_extensions=0)
    extended = inspected("2025-11-01 | minor_violation\n" + barring)
    assert findings(registry(agreements, extended, under=never), "2026-12-31", under=never) == "none"
    known = registry(agreements, extended)
    assert findings(known, "2026-12-31") == "renewal_barred 2026-10-01"


@pytest.mark.parametrize(
    *cases("""
    serviced   | result
    2026-03-04 | none
    2026-03-05 | billed_while_suspended
    2026-03-09 | billed_while_suspended
    2026-03-10 | none
    """)
)
def test_billed_while_suspended(serviced: str, result: str) -> None:
    """D 43(4) (3.7): at least one line of reason suspended in the month, a station's line too."""
    month = settle(
        f"claim | institution | serviced | points\n1 | station | {serviced} | 1\n2 | centre | 2026-03-01 | 1",
        events="day | event\n2025-10-05 | inspected\n2026-03-05 | suspended\n2026-03-10 | resumed",
        institutions=CENTRE_AND_STATION,
    )
    found = month.rows("findings", "institution_id", "finding")
    assert found == ([] if result == "none" else [("centre", result)])


def test_findings_are_cut_at_the_end_of_the_month_and_need_no_lines() -> None:
    """3.7: for every settling institution of the registry as known on the last day of the month."""
    institutions = "institution\ncentre\nother\nthird"
    agreements = """
        agreement | institution | from       | to         | designation | diseases
        A1        | centre      | 2025-10-01 | 2026-09-30 | coaching    |
        B1        | other       | 2025-10-01 | 2026-09-30 | coaching    |
        B2        | third       | 2026-04-01 | 2026-09-30 | coaching    | M1;M2;M3
    """
    events = "institution | day | event\ncentre | 2025-10-05 | inspected"
    found = {}
    for name in ("2026-02", "2026-03", "2026-04"):
        lines = f"claim | points | settled\n1 | 1 | {name}-10"
        month = settle(lines, agreements=agreements, events=events, institutions=institutions, month=name)
        found[name] = month.rows("findings", "institution_id", "finding", "occurred_on")
    due = ("other", "inspection_due", "2026-03-31")
    assert found == {
        "2026-02": [],
        "2026-03": [due],
        "2026-04": [due, ("third", "too_many_diseases", "2026-04-01")],
    }


# ---------------------------------------------------------------- departments and physicians


@pytest.mark.parametrize(
    *cases("""
    what
    department
    physician
    """)
)
def test_suspended_days_of_a_department_or_physician(what: str) -> None:
    """D 38(5), D 45: until the day before it is resumed; no limit of 180 days; each target on its own."""
    events = f"""
        day        | event             | target
        2026-03-01 | {what}_resumed    | one
        2026-03-05 | {what}_suspended  | one
        2026-03-06 | {what}_suspended  | one
        2026-03-06 | {what}_suspended  | two
        2026-03-08 | {what}_suspended  | one
        2026-03-08 | {what}_resumed    | one
        2026-03-10 | {what}_resumed    | one
        2026-03-11 | resumed           |
        2026-03-11 | terminated        |
    """
    known = registry(ORDINARY, events)
    spans = known.target_spans(what)
    other = {"department": "physician", "physician": "department"}[what]
    assert known.target_spans(other).is_empty()

    def suspended(target: str, day: date) -> str:
        rows = spans.filter((pl.col("target_id") == target) & (pl.col("from_day") <= day)).sort("from_day")
        return "suspended" if not rows.is_empty() and rows["is_suspended"][-1] else "free"

    expected = """
        day        | one       | two
        2026-03-01 | free      | free
        2026-03-04 | free      | free
        2026-03-05 | suspended | free
        2026-03-06 | suspended | suspended
        2026-03-07 | suspended | suspended
        2026-03-08 | suspended | suspended
        2026-03-09 | suspended | suspended
        2026-03-10 | free      | suspended
        2026-03-11 | free      | suspended
        2027-12-31 | free      | suspended
        9999-12-31 | free      | suspended
    """
    for row in table(expected):
        day = date.fromisoformat(row["day"])
        assert {"day": row["day"], "one": suspended("one", day), "two": suspended("two", day)} == row


# ---------------------------------------------------------------- days in force (6.5)


def march() -> Span:
    return Span(date(2026, 3, 1), date(2026, 3, 31))


@pytest.mark.parametrize(
    *cases("""
    a1_from    | a1_to      | a2_from    | a2_to      | event      | on         | coaching | ordinary
    2025-10-01 | 2026-02-28 | 2026-04-01 | 2026-09-30 |            |            | 0        | 0
    2025-10-01 | 2026-03-01 | 2026-03-31 | 2026-09-30 |            |            | 1        | 1
    2025-10-01 | 2026-03-10 | 2026-03-11 | 2026-09-30 |            |            | 10       | 21
    2025-10-01 | 2026-09-30 | 2026-10-01 | 2026-12-31 |            |            | 31       | 0
    2025-10-01 | 2026-09-30 | 2026-10-01 | 2026-12-31 | suspended  | 2026-03-05 | 31       | 0
    2025-10-01 | 2026-09-30 | 2026-10-01 | 2026-12-31 | terminated | 2026-03-05 | 4        | 0
    2025-10-01 | 2026-09-30 | 2026-10-01 | 2026-12-31 | terminated | 2026-03-01 | 0        | 0
    2025-10-01 | 2026-03-10 | 2026-03-21 | 2026-09-30 | terminated | 2026-03-05 | 4        | 11
    2025-10-01 | 2026-03-10 | 2026-03-21 | 2026-09-30 | terminated | 2026-03-31 | 10       | 10
    """)
)
def test_days_of_the_month_in_force(
    a1_from: str, a1_to: str, a2_from: str, a2_to: str, event: str, on: str, coaching: str, ordinary: str
) -> None:
    """6.5: under coaching agreement years (A1) and under the others (A2); suspended days count as in force."""
    agreements = f"""
        agreement | from      | to      | designation
        A1        | {a1_from} | {a1_to} | coaching
        A2        | {a2_from} | {a2_to} | ordinary
    """
    for scope in ("agreement_year", "coaching_period"):
        known = registry(
            agreements, f"day | event\n{on} | {event}" if event else "", under=policy(coaching_scope=scope)
        )
        days = dict(known.days_in_force(march()).select("regime", "days_in_force").iter_rows())
        assert days == {"coaching": int(coaching), "ordinary": int(ordinary)}


def test_days_under_a_coaching_agreement_that_is_no_coaching_year_count_as_ordinary() -> None:
    """T 3(7) (3.6, 6.5): the period 1 September to 28 February is over when A2 starts."""
    known = registry("""
        agreement | from       | to         | designation
        A1        | 2025-09-01 | 2026-02-28 | coaching
        A2        | 2026-03-02 | 2027-02-28 | coaching
    """)
    days = dict(known.days_in_force(march()).select("regime", "days_in_force").iter_rows())
    assert days == {"coaching": 0, "ordinary": 30}


# ---------------------------------------------------------------- spans are complete

STORY = st.lists(
    st.tuples(
        st.sampled_from(["centre", "station"]),
        st.integers(0, 120),
        st.sampled_from(["suspended", "resumed", "terminated", "minor_violation"]),
    ),
    max_size=7,
)
ROWS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 30), st.booleans()), min_size=1, max_size=3)


@settings(REPEATABLE, max_examples=40)
@given(story=STORY, rows=ROWS, scope=st.sampled_from(["agreement_year", "coaching_period"]))
def test_lines_meet_the_same_day_that_the_timeline_states(
    story: list[tuple[str, int, str]], rows: list[tuple[int, int, bool]], scope: str
) -> None:
    """3: between two changes of the spans nothing changes; each day is held against 3.1–3.3 told day by day."""
    first, agreements, day = date(2026, 1, 1), [], 0
    for number, (gap, length, is_coaching) in enumerate(rows):
        start, day = day + gap, day + gap + length + 1
        agreements.append(
            f"A{number} | {first + timedelta(start)} | {first + timedelta(day - 1)} | "
            + ("coaching" if is_coaching else "ordinary")
        )
    events = "\n".join(f"{who} | {first + timedelta(on)} | {kind}" for who, on, kind in story)
    short = policy(limit_days=20, base_months=1, extension_months=1, coaching_scope=scope)
    known = registry(
        "agreement | from | to | designation\n" + "\n".join(agreements),
        f"institution | day | event\n{events}" if events else "",
        CENTRE_AND_STATION,
        short,
    )
    written = table("agreement | from | to | designation\n" + "\n".join(agreements))
    years = coaching(known)
    for institution in ("centre", "station"):
        spans = known.spans().filter(pl.col("institution_id") == institution).rows(named=True)
        starts = [row["from_day"] for row in spans]
        both = [known.interruptions_of["centre"], known.interruptions_of[institution]]
        for number in range(170):
            on = first + timedelta(number)
            row = spans[bisect_right(starts, on) - 1]
            is_suspended = any(on in span for each in both for span in each.suspensions)
            assert row["is_suspended"] == is_suspended
            begun = [each for each in written if date.fromisoformat(each["from"]) <= on]
            expected: tuple[str | None, str | None, str | None] = (None, "no_agreement", None)
            if begun:
                newest = begun[-1]
                ended = [
                    end
                    for each in both
                    for end in each.terminations
                    if newest["from"] <= end.isoformat() <= newest["to"]
                ]
                if on.isoformat() <= newest["to"] and not any(end <= on for end in ended):
                    is_year = years[newest["agreement"]].endswith("coaching year")
                    period = years[newest["agreement"]].split(",")[0].split(" to ")
                    inside = len(period) == 2 and period[0] <= on.isoformat() <= period[1]
                    is_coaching = is_year and (scope == "agreement_year" or inside)
                    expected = (newest["agreement"], None, "coaching" if is_coaching else "ordinary")
                elif ended:
                    expected = (None, "terminated", None)
            assert (row["agreement_id"], row["lack"], row["regime"]) == expected


def test_a_suspension_near_the_last_day_there_is_lapses_on_that_day() -> None:
    """Rules 3.3: day d + 180 does not exist in the calendar; the walk ends with it and does not crash."""
    walked = timeline.interruptions([timeline.Event(date(9999, 7, 6), "suspended")], 180)
    assert walked.terminations == (date.max,)
    assert timeline.days_later(date(9999, 7, 3), 180) == date(9999, 12, 30)
