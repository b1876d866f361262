"""Which statement takes the adjustments of which restatement: once and only once. Source: rules 8.2, 11.

Nothing is stored for it. The journal alone decides, together with which runs have statements: a run settled
without money tables pays nobody and takes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date

from .journal import RESTATED, Act

HasStatements = Callable[[str], bool]


@dataclass
class _Walk:
    """The journal so far.

    `newest`: month → its newest run; `paid`: month → the newest one that restates nothing; `taken`: run → restating
    runs it took; `restating`: restating runs with their month.
    """

    newest: dict[date, str] = field(default_factory=dict)
    paid: dict[date, str] = field(default_factory=dict)
    taken: dict[str, tuple[str, ...]] = field(default_factory=dict)
    restating: list[tuple[date, str]] = field(default_factory=list)

    def pending(self, month: date) -> tuple[str, ...]:
        """Restatements of earlier months that no standing run of another month has taken.

        What an earlier run of this month took is pending again: the new run supersedes it.
        """
        elsewhere = {one for of, run in self.newest.items() if of != month for one in self.taken[run]}
        return tuple(run for of, run in self.restating if of < month and run not in elsewhere)


def _walked(acts: Iterable[Act], has_statements: HasStatements) -> _Walk:
    walk = _Walk()
    for act in acts:
        if act.month is None or act.run_id is None or not act.made_run:
            continue
        if act.act == RESTATED:
            # its statement says what the month should have come to: that holds what the paid one took, and no more
            walk.taken[act.run_id] = walk.taken[walk.newest[act.month]]
            walk.restating.append((act.month, act.run_id))
        else:
            pending = walk.pending(act.month)
            walk.taken[act.run_id] = pending if pending and has_statements(act.run_id) else ()
            walk.paid[act.month] = act.run_id
        walk.newest[act.month] = act.run_id
    return walk


def taken_by(acts: Iterable[Act], has_statements: HasStatements) -> dict[str, tuple[str, ...]]:
    """Run id → the restating runs whose adjustments its statements hold, in the order in which they were posted.

    A run takes all that was posted before it for earlier months and that no standing run of another month has
    taken; a restating run takes what the run it replaces took. Source: rules 11.
    """
    return _walked(acts, has_statements).taken


def pending_for(acts: Iterable[Act], month: date, has_statements: HasStatements) -> tuple[str, ...]:
    """The restating runs whose adjustments the next run of an open month takes. Source: rules 11."""
    return _walked(acts, has_statements).pending(month)


def applied_in(acts: Iterable[Act], has_statements: HasStatements) -> dict[str, str]:
    """Restating run → the run whose paid statements pay or recover it; without the pending ones.

    A month that took it and is restated later has paid it by its earlier run all the same. Source: rules 11.
    """
    walk = _walked(acts, has_statements)
    return {one: run for run in walk.paid.values() for one in walk.taken[run]}
