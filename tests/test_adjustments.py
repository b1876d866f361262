"""Which statement takes the adjustments of which restatement: once and only once (rules 8.2, 11).

A history is acts in the order of the journal: `3.1` is the first run of March, `3` closes March, `3.2!` restates it;
a run in brackets, `(4.1)`, has no statements.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import pytest

from settlement.ledger import (
    CLOSED,
    POSTED,
    RESTATED,
    Act,
    paid_runs,
    pending_for,
    standing_runs,
    taken_by,
)
from settlement.ledger.adjustments import applied_in

AT = datetime(2026, 4, 2, tzinfo=UTC)


def acts_of(history: str) -> tuple[list[Act], set[str]]:
    """The acts, and the ids of the runs with statements."""
    acts, paying = [], set()
    for word in history.split():
        month, _, version = word.strip("()!").partition(".")
        first = date(2026, int(month), 1)
        run_id = f"{first:%Y-%m}.{version}" if version else None
        act = (RESTATED if "!" in word else POSTED) if run_id else CLOSED
        acts.append(Act(len(acts) + 1, act, run_id, first, AT, None, {}, None, "", ""))
        if run_id and not word.startswith("("):
            paying.add(run_id)
    return acts, paying


def short(run_id: str) -> str:
    """2026-03.1 → 3.1"""
    return re.sub(r"^2026-0?", "", run_id)


TAKEN = [
    # what happened                               run   takes
    ("3.1 3 3.2! 4.1", "4.1", ["3.2"]),  # the next open month
    ("3.1 4.1 3 3.2!", "4.1", []),  # a run posted before the restatement
    ("3.1 4.1 3 3.2! 4.2", "4.2", ["3.2"]),  # and run again after it
    ("3.1 3 3.2! 4.1 4.2", "4.2", ["3.2"]),  # run again: the same once more, the first run is superseded
    ("3.1 3 3.2! 4.1 3.3! 4.2", "4.2", ["3.2", "3.3"]),  # and newer ones
    ("3.1 3 3.2! 4.1 5.1", "5.1", []),  # not twice
    ("3.1 3 3.2! 5.1 4.1", "4.1", []),  # whichever month comes first
    ("3.1 3 3.2! 5.1 4.1 5.2", "5.2", ["3.2"]),  # it stays where it is
    ("4.1 4 4.2! 3.1", "3.1", []),  # an earlier month does not pay for a later one
    ("3.1 4.1 3 4 3.2! 4.2! 5.1", "5.1", ["3.2", "4.2"]),  # two months restated
    ("3.1 3 3.2! 3.3! 4.1", "4.1", ["3.2", "3.3"]),  # one month restated twice: two differences
    ("3.1 4.1 4 3 3.2! 5.1", "5.1", ["3.2"]),  # April closed without another run: it waits for May
    ("3.1 3 3.2! 4.1 4 4.2!", "4.2", ["3.2"]),  # a restatement holds what the run it replaces took
    ("3.1 3 3.2! 4.1 4 3.3! 4.2!", "4.2", ["3.2"]),  # and nothing new
    ("3.1 3 3.2! 4.1 4 3.3! 4.2! 5.1", "5.1", ["3.3", "4.2"]),  # which the next open month takes
    ("3.1 3 3.2! 4.1 4 4.2! 5.1", "5.1", ["4.2"]),  # what April took is not taken again
    ("3.1 3 3.2! (4.1)", "4.1", []),  # without statements nothing can be taken
    ("3.1 3 3.2! (4.1) 5.1", "5.1", ["3.2"]),
    ("3.1 3 3.2! 4.1 (4.2) 5.1", "5.1", ["3.2"]),  # run again without: given back
    ("3.1 3 3.2! 4.1 5.1 (4.2) 5.2", "5.2", ["3.2"]),
]


@pytest.mark.parametrize(("history", "run", "taken"), TAKEN)
def test_a_run_takes_what_no_standing_run_of_another_month_has_taken(
    history: str, run: str, taken: list[str]
) -> None:
    acts, paying = acts_of(history)
    found = taken_by(acts, paying.__contains__)
    assert [short(one) for one in found[f"2026-{run.partition('.')[0]:0>2}.{run.partition('.')[2]}"]] == taken


@pytest.mark.parametrize(("history", "run", "taken"), TAKEN)
def test_the_next_run_of_an_open_month_is_offered_what_it_then_takes(
    history: str, run: str, taken: list[str]
) -> None:
    acts, paying = acts_of(history)
    for place, act in enumerate(acts):
        if act.act == POSTED and act.run_id in paying and act.month and act.run_id:
            before = pending_for(acts[:place], act.month, paying.__contains__)
            assert before == taken_by(acts[: place + 1], paying.__contains__)[act.run_id]


APPLIED = [
    ("3.1 3 3.2!", {}),  # pending
    ("3.1 3 3.2! 4.1", {"3.2": "4.1"}),
    ("3.1 3 3.2! 4.1 4.2", {"3.2": "4.2"}),  # the run that stands, not the superseded one
    ("3.1 3 3.2! 4.1 4 4.2!", {"3.2": "4.1"}),  # April was paid by 4.1, whatever it should have come to
    ("3.1 3 3.2! 4.1 4 4.2! 4.3! 5.1", {"3.2": "4.1", "4.2": "5.1", "4.3": "5.1"}),
    ("3.1 3 3.2! 4.1 4.2 4 4.3!", {"3.2": "4.2"}),
    ("3.1 3 3.2! 4.1 (4.2)", {}),
    ("3.1 3 3.2! 3.3! 4.1", {"3.2": "4.1", "3.3": "4.1"}),
]


@pytest.mark.parametrize(("history", "applied"), APPLIED)
def test_an_adjustment_names_the_run_that_was_paid_with_it(history: str, applied: dict[str, str]) -> None:
    acts, paying = acts_of(history)
    found = applied_in(acts, paying.__contains__)
    assert {short(one): short(run) for one, run in found.items()} == applied


PAID = [
    # what happened         standing      paid
    ("", "", ""),
    ("3.1", "3.1", "3.1"),
    ("3.1 3.2 4.1", "3.2 4.1", "3.2 4.1"),
    ("3.1 3 4.1 3.2! 3.3!", "3.3 4.1", "3.1 4.1"),
    ("3.1 3.2 3 3.3! 4.1 4 4.2!", "3.3 4.2", "3.2 4.1"),
]


@pytest.mark.parametrize(("history", "standing", "paid"), PAID)
def test_a_month_stands_as_restated_and_is_paid_by_its_newest_run_that_restates_nothing(
    history: str, standing: str, paid: str
) -> None:
    acts, _ = acts_of(history)
    found = [" ".join(short(run) for run in of(acts).values()) for of in (standing_runs, paid_runs)]
    assert found == [standing, paid]


@pytest.mark.parametrize("history", [history for history, _, _ in TAKEN])
def test_no_two_standing_runs_of_different_months_take_the_same(history: str) -> None:
    acts, paying = acts_of(history)
    taken = taken_by(acts, paying.__contains__)
    standing = {act.month: act.run_id for act in acts if act.made_run}
    everything = [one for run in standing.values() if run for one in taken[run]]
    assert len(everything) == len(set(everything))
