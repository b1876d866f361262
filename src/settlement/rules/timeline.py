"""Agreements and events → for every institution and day: which agreement is in force, which regime, what is suspended.

The events of one institution act upon each other (a termination closes a suspension, a suspension lapses into
a termination), so this module walks each institution's few events in order, in plain Python. Lines only ever
meet the resulting spans. Source: rules 3; T 3, T 4; D 13, D 41–45.
"""

from __future__ import annotations

import calendar
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import polars as pl

from ..errors import Fault
from ..policy import Coaching, Policy
from ..reasons import Finding, UnpaidReason

ONE_DAY = timedelta(days=1)
_BEGINNING = date(1, 1, 1)
_INSPECTION_MONTHS = 6  # T 4(1): 自签订医保服务协议6个月内至少组织1次实地检查
_RESUME, _TERMINATE, _SUSPEND = range(3)  # the order in which events of one day act (rules 3.3)
_ACTS = {"resumed": _RESUME, "terminated": _TERMINATE, "fraud": _TERMINATE, "suspended": _SUSPEND}


def months_later(day: date, months: int) -> date:
    """The same day of the month so many months later, clipped to that month's length (rules 3.4).

    >>> months_later(date(2025, 8, 31), 6)
    datetime.date(2026, 2, 28)
    """
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    if year > date.max.year:
        return date.max
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def day_after(day: date) -> date:
    """The next day; an agreement without end is often written with the last day there is (D 41)."""
    return day if day == date.max else day + ONE_DAY


def days_later(day: date, days: int) -> date:
    """So many days later, at most the last day there is (rules 3.3)."""
    return day + timedelta(min(days, (date.max - day).days))


@dataclass(frozen=True)
class Span:
    """Days from `first` to `last`, both inclusive; empty if last is before first."""

    first: date
    last: date

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last

    @property
    def is_empty(self) -> bool:
        return self.last < self.first

    def meets(self, other: Span) -> bool:
        return not self.cut(other).is_empty

    def cut(self, other: Span) -> Span:
        return Span(max(self.first, other.first), min(self.last, other.last))

    @property
    def days(self) -> int:
        return max((self.last - self.first).days + 1, 0)


@dataclass(frozen=True)
class Agreement:
    agreement_id: str
    institution_id: str
    start: date
    end: date
    is_coaching: bool
    service_categories: tuple[str, ...]
    special_diseases: tuple[str, ...] | None
    insurance_types: tuple[str, ...] | None


@dataclass(frozen=True)
class Event:
    occurred_on: date
    kind: str
    target_id: str | None = None


@dataclass(frozen=True)
class Interruptions:
    """What the suspensions and terminations of one institution come to, lapses included."""

    suspensions: tuple[Span, ...]
    terminations: tuple[date, ...]


def interruptions(events: Iterable[Event], limit_days: int) -> Interruptions:
    """Walk one institution's events in order (rules 3.2, 3.3).

    A suspension runs from its day to the day before it is resumed or terminated. Not resumed on or before day
    d + limit it acts as a termination on that day: d … d + limit - 1 are suspended.
    """
    acts = sorted((event.occurred_on, _ACTS[event.kind]) for event in events if event.kind in _ACTS)
    suspensions: list[Span] = []
    terminations: list[date] = []
    since: date | None = None

    def close(day: date) -> None:
        nonlocal since
        if since is not None:
            suspensions.append(Span(since, day - ONE_DAY))
        since = None

    def lapse_before(day: date, act: int) -> None:
        if since is not None and (lapse := days_later(since, limit_days), _TERMINATE) < (day, act):
            terminations.append(lapse)
            close(lapse)

    for day, act in acts:
        lapse_before(day, act)
        if act == _SUSPEND:
            since = since or day
        else:
            close(day)
        if act == _TERMINATE:
            terminations.append(day)
    lapse_before(date.max, _SUSPEND)
    return Interruptions(tuple(suspensions), tuple(sorted(set(terminations))))


def target_suspensions(events: Iterable[Event], what: str) -> dict[str, tuple[Span, ...]]:
    """Suspended days of each department or physician of one institution (D 38(5), D 45); no limit of days."""
    kinds = {f"{what}_resumed": _RESUME, f"{what}_suspended": _SUSPEND}
    acts = sorted(
        (event.occurred_on, kinds[event.kind], event.target_id or "")
        for event in events
        if event.kind in kinds
    )
    since: dict[str, date] = {}
    spans: defaultdict[str, list[Span]] = defaultdict(list)
    for day, act, target in acts:
        if act == _SUSPEND:
            since.setdefault(target, day)
        elif target in since:
            spans[target].append(Span(since.pop(target), day - ONE_DAY))
    for target, first in since.items():
        spans[target].append(Span(first, date.max))
    return {target: tuple(each) for target, each in spans.items()}


@dataclass(frozen=True)
class CoachingPeriod:
    """政策辅导期 of one stretch between terminations (rules 3.4, 3.5).

    `span` includes the extension; `extension` is empty without one. `barring` are the events inside the
    extension that bar renewal.
    """

    first_agreement: Agreement
    span: Span
    extension: Span
    barring: tuple[date, ...]


@dataclass(frozen=True)
class Status:
    """How a day stands for the lines of one submitting institution.

    `lack` says why no agreement is in force: no_agreement or terminated; null if one is. `regime` is that of
    the agreement in force, null without one. `coaching_year`: calendar year in which its coaching period began.
    """

    agreement_id: str | None
    lack: str | None
    regime: str | None
    coaching_year: int | None
    is_suspended: bool


class Timeline:
    """One settling institution: its agreements, interruptions and coaching periods."""

    def __init__(
        self, institution_id: str, agreements: Iterable[Agreement], events: Iterable[Event], policy: Policy
    ) -> None:
        self.institution_id = institution_id
        self.agreements = sorted(agreements, key=lambda agreement: agreement.start)
        self.events = sorted(events, key=lambda event: event.occurred_on)
        self.coaching = policy.coaching
        self.scope = policy.readings.coaching_scope
        self.interruptions = interruptions(self.events, policy.agreements.suspension_limit_days)
        self._starts = [agreement.start for agreement in self.agreements]

    @property
    def may_be_capped(self) -> bool:
        """Can a coaching agreement year give it a threshold?"""
        return any(agreement.is_coaching for agreement in self.agreements)

    def in_force(self, agreement: Agreement) -> Span:
        """Days on which the agreement is in force by the institution's own terminations (rules 3.1, 3.2)."""
        ends = [day for day in self.interruptions.terminations if day >= agreement.start]
        return Span(agreement.start, min([agreement.end, *(day - ONE_DAY for day in ends)]))

    def stretch_of(self, start: date) -> int:
        """Stretch between terminations: what starts after a termination belongs to the next (rules 3.4)."""
        return bisect_left(self.interruptions.terminations, start)

    @cached_property
    def periods(self) -> dict[int, CoachingPeriod]:
        """The coaching period of each stretch that has a coaching agreement."""
        firsts: dict[int, Agreement] = {}
        for agreement in self.agreements:
            if agreement.is_coaching:
                firsts.setdefault(self.stretch_of(agreement.start), agreement)
        if self.coaching is None:
            return {}
        return {stretch: self._period(first, self.coaching) for stretch, first in firsts.items()}

    def _period(self, first: Agreement, coaching: Coaching) -> CoachingPeriod:
        """Base months from the first agreement; the first minor violation inside lengthens it (T 3(6))."""
        base = Span(first.start, months_later(first.start, coaching.base_months) - ONE_DAY)
        lengthened = Span(
            day_after(base.last),
            months_later(first.start, coaching.base_months + coaching.extension_months) - ONE_DAY,
        )
        violations = [event.occurred_on for event in self.events if event.kind == "minor_violation"]
        if coaching.max_extensions == 0 or not any(day in base for day in violations):
            return CoachingPeriod(first, base, Span(day_after(base.last), base.last), ())
        breaches = [
            event.occurred_on for event in self.events if event.kind in ("minor_violation", "unrectified")
        ]
        barring = tuple(day for day in breaches if day in lengthened)
        return CoachingPeriod(first, Span(base.first, lengthened.last), lengthened, barring)

    def period_of(self, agreement: Agreement) -> CoachingPeriod | None:
        return self.periods.get(self.stretch_of(agreement.start))

    def is_coaching_year(self, agreement: Agreement) -> bool:
        """A coaching agreement whose days in force meet the coaching period on at least one day (rules 3.6)."""
        period = self.period_of(agreement)
        return agreement.is_coaching and period is not None and self.in_force(agreement).meets(period.span)

    def regime_on(self, day: date, agreement: Agreement) -> str:
        """T 3(3): the whole agreement year; reading coaching_scope: only days inside the period itself."""
        period = self.period_of(agreement)
        if not self.is_coaching_year(agreement) or period is None:
            return "ordinary"
        is_within = self.scope == "agreement_year" or day in period.span
        return "coaching" if is_within else "ordinary"

    def status_on(self, day: date, submitting: Interruptions) -> Status:
        """How the day stands for lines of an institution with these interruptions (its own, or a station's).

        Terminations and suspended days of both count; everything else follows the settling institution.
        """
        is_suspended = any(day in span for span in (*submitting.suspensions, *self.interruptions.suspensions))
        newest = self._newest_on(day)
        lack = UnpaidReason.NO_AGREEMENT.value
        if newest is not None:
            terminations = (*submitting.terminations, *self.interruptions.terminations)
            ended = [end for end in terminations if newest.start <= end <= newest.end]
            if day <= newest.end and not any(end <= day for end in ended):
                return self._in_force_status(day, newest, is_suspended)
            if ended:
                lack = UnpaidReason.TERMINATED.value
        return Status(None, lack, None, None, is_suspended)

    def _newest_on(self, day: date) -> Agreement | None:
        started = bisect_right(self._starts, day)
        return self.agreements[started - 1] if started else None

    def _in_force_status(self, day: date, agreement: Agreement, is_suspended: bool) -> Status:
        regime, period = self.regime_on(day, agreement), self.period_of(agreement)
        year = period.span.first.year if regime == "coaching" and period else None
        return Status(agreement.agreement_id, None, regime, year, is_suspended)

    def changes(self, submitting: Interruptions) -> list[date]:
        """Days on which the status may change; between two of them it is constant."""
        days = {_BEGINNING}
        for agreement in self.agreements:
            days |= {agreement.start, day_after(agreement.end)}
        for each in (submitting, self.interruptions):
            days |= set(each.terminations)
            for span in each.suspensions:
                days |= {span.first, day_after(span.last)}
        for period in self.periods.values():
            days |= {period.span.first, day_after(period.span.last)}
        return sorted(days)

    # ------------------------------------------------------------ findings (rules 3.7)

    def findings(self, institution_type: str, as_of: date, policy: Policy) -> list[tuple[Finding, date, str]]:
        """Findings as known on `as_of`: finding, day, detail. Events and agreement starts up to that day."""
        return [
            *self._two_suspensions(as_of),
            *self._inspection_due(as_of),
            *self._too_many_diseases(institution_type, as_of, policy),
            *self._special_in_first_year(as_of),
            *self._renewal_barred(as_of),
        ]

    def _two_suspensions(self, as_of: date) -> Iterable[tuple[Finding, date, str]]:
        for agreement in self.agreements:
            begun = [
                span.first
                for span in self.interruptions.suspensions
                if span.first in self.in_force(agreement) and span.first <= as_of
            ]
            if len(begun) >= 2:
                days = ", ".join(map(str, begun))
                yield Finding.TWO_SUSPENSIONS, begun[1], f"{agreement.agreement_id}: suspended on {days}"

    def _inspection_due(self, as_of: date) -> Iterable[tuple[Finding, date, str]]:
        for period in self.periods.values():
            first = period.first_agreement
            window = Span(first.start, months_later(first.start, _INSPECTION_MONTHS) - ONE_DAY)
            is_inspected = any(
                event.kind == "inspected" and event.occurred_on in window for event in self.events
            )
            if window.last <= as_of and not is_inspected:
                yield (
                    Finding.INSPECTION_DUE,
                    window.last,
                    f"{first.agreement_id}: no inspection by {window.last}",
                )

    def _too_many_diseases(
        self, institution_type: str, as_of: date, policy: Policy
    ) -> Iterable[tuple[Finding, date, str]]:
        most = policy.special_diseases_max(institution_type)
        for agreement in self.agreements:
            count = len(set(agreement.special_diseases or ()))
            if agreement.is_coaching and agreement.start <= as_of and most is not None and count > most:
                detail = f"{agreement.agreement_id}: {count} special diseases, {most} allowed"
                yield Finding.TOO_MANY_DISEASES, agreement.start, detail

    def _special_in_first_year(self, as_of: date) -> Iterable[tuple[Finding, date, str]]:
        for period in self.periods.values():
            first = period.first_agreement
            if first.start <= as_of and "special_outpatient" in first.service_categories:
                yield (
                    Finding.SPECIAL_IN_FIRST_YEAR,
                    first.start,
                    f"{first.agreement_id} offers special_outpatient",
                )

    def _renewal_barred(self, as_of: date) -> Iterable[tuple[Finding, date, str]]:
        barring = sorted({day for period in self.periods.values() for day in period.barring if day <= as_of})
        for agreement in self.agreements:
            before = [day for day in barring if day < agreement.start]
            if before and agreement.start <= as_of:
                detail = f"{agreement.agreement_id} starts after the event of {before[0]}"
                yield Finding.RENEWAL_BARRED, agreement.start, detail


# ---------------------------------------------------------------- frames


@dataclass(frozen=True)
class Registry:
    """All timelines of a batch, and the frames that lines meet."""

    timelines: Mapping[str, Timeline]
    settling_of: Mapping[str, str]
    interruptions_of: Mapping[str, Interruptions]
    events_of: Mapping[str, Sequence[Event]]

    def spans(self) -> pl.DataFrame:
        """Status of every submitting institution from each day on which it changes.

        Rows: institution × change, sorted. Adds: institution_id, from_day, agreement_id, lack, regime,
        coaching_year, is_suspended as in `Status`.
        """
        rows = [
            (
                institution,
                day,
                *vars(self.timelines[settling].status_on(day, self.interruptions_of[institution])).values(),
            )
            for institution, settling in sorted(self.settling_of.items())
            for day in self.timelines[settling].changes(self.interruptions_of[institution])
        ]
        return pl.DataFrame(rows, schema=_SPANS, orient="row")

    def change_days(self) -> list[date]:
        """Every day on which the status of some institution's lines, or of a target, may change."""
        return sorted({day for institution in self.settling_of for day in self._changes(institution)})

    def last_change(self, institution: str, until: date) -> date:
        """Newest day up to `until` on which the status of the institution's lines, or a target's, changes."""
        return max(day for day in self._changes(institution) if day <= until)

    def _changes(self, institution: str) -> list[date]:
        settling = self.settling_of[institution]
        days = self.timelines[settling].changes(self.interruptions_of[institution])
        for owner in {institution, settling}:
            for what in ("department", "physician"):
                for spans in target_suspensions(self.events_of.get(owner, ()), what).values():
                    days += [day for span in spans for day in (span.first, day_after(span.last))]
        return days

    def suspended_targets(self, what: str) -> list[str]:
        """Every department or physician that some event suspends."""
        return sorted(
            {target for events in self.events_of.values() for target in target_suspensions(events, what)}
        )

    def target_spans(self, what: str) -> pl.DataFrame:
        """From each day on which it changes: is the department or physician suspended by the institution's events?

        Rows: institution × target × change, sorted. Adds: institution_id, target_id, from_day, is_suspended.
        """
        rows = []
        for institution, events in sorted(self.events_of.items()):
            for target, spans in sorted(target_suspensions(events, what).items()):
                for span in spans:
                    rows.append((institution, target, span.first, True))
                    if span.last < date.max:
                        rows.append((institution, target, day_after(span.last), False))
        frame = pl.DataFrame(rows, schema=_TARGET_SPANS, orient="row")
        return frame.unique(
            ["institution_id", "target_id", "from_day"], keep="last", maintain_order=True
        ).sort("institution_id", "target_id", "from_day")

    def agreement_years(self) -> pl.DataFrame:
        """Rows of the ledger's `agreement_years`, without run_id."""
        rows = []
        for institution, timeline in sorted(self.timelines.items()):
            for agreement in timeline.agreements:
                in_force, period = timeline.in_force(agreement), timeline.period_of(agreement)
                first, last = (None, None) if in_force.is_empty else (in_force.first, in_force.last)
                coaching = (period.span.first, period.span.last) if period else (None, None)
                rows.append(
                    (
                        institution,
                        agreement.agreement_id,
                        first,
                        last,
                        *coaching,
                        timeline.is_coaching_year(agreement),
                    )
                )
        return pl.DataFrame(rows, schema=_AGREEMENT_YEARS, orient="row").sort(
            "institution_id", "agreement_id"
        )

    def days_in_force(self, month: Span) -> pl.DataFrame:
        """Days of the month in force under coaching agreement years and under the others (rules 6.5).

        Rows: settling institution × regime (coaching, ordinary). Adds: institution_id, regime, days_in_force.
        """
        rows = []
        for institution, timeline in sorted(self.timelines.items()):
            days = {"coaching": 0, "ordinary": 0}
            for agreement in timeline.agreements:
                kind = "coaching" if timeline.is_coaching_year(agreement) else "ordinary"
                days[kind] += timeline.in_force(agreement).cut(month).days
            rows += [(institution, regime, count) for regime, count in days.items()]
        return pl.DataFrame(
            rows,
            schema={"institution_id": pl.String, "regime": pl.String, "days_in_force": pl.Int64},
            orient="row",
        )

    def findings(self, institution_types: Mapping[str, str], as_of: date, policy: Policy) -> pl.DataFrame:
        """Findings of every settling institution: institution_id, finding, occurred_on, detail, clause."""
        rows = [
            (institution, finding.value, day, detail, finding.clause)
            for institution, timeline in sorted(self.timelines.items())
            for finding, day, detail in timeline.findings(institution_types[institution], as_of, policy)
        ]
        return pl.DataFrame(rows, schema=FINDINGS, orient="row")


_SPANS = {
    "institution_id": pl.String,
    "from_day": pl.Date,
    "agreement_id": pl.String,
    "lack": pl.String,
    "regime": pl.String,
    "coaching_year": pl.Int32,
    "is_suspended": pl.Boolean,
}
_TARGET_SPANS = {
    "institution_id": pl.String,
    "target_id": pl.String,
    "from_day": pl.Date,
    "is_suspended": pl.Boolean,
}
_AGREEMENT_YEARS = {
    "institution_id": pl.String,
    "agreement_id": pl.String,
    "in_force_from": pl.Date,
    "in_force_to": pl.Date,
    "coaching_from": pl.Date,
    "coaching_to": pl.Date,
    "is_coaching_year": pl.Boolean,
}
FINDINGS = {
    "institution_id": pl.String,
    "finding": pl.String,
    "occurred_on": pl.Date,
    "detail": pl.String,
    "clause": pl.String,
}


def registry(
    institutions: pl.DataFrame, agreements: pl.DataFrame, events: pl.DataFrame, policy: Policy
) -> Registry:
    """Timelines of all settling institutions; agreements of those that settle under another play no part (rules 3)."""
    settling_of = {
        row["institution_id"]: row["settles_under"] or row["institution_id"]
        for row in institutions.iter_rows(named=True)
    }
    events_of: defaultdict[str, list[Event]] = defaultdict(list)
    for row in events.iter_rows(named=True):
        events_of[row["institution_id"]].append(Event(row["occurred_on"], row["kind"], row["target_id"]))
    agreements_of: defaultdict[str, list[Agreement]] = defaultdict(list)
    for row in agreements.iter_rows(named=True):
        agreements_of[row["institution_id"]].append(_agreement(row))
    timelines = {
        institution: Timeline(institution, agreements_of[institution], events_of[institution], policy)
        for institution in sorted(set(settling_of.values()))
    }
    limit = policy.agreements.suspension_limit_days
    interrupted = {institution: interruptions(events_of[institution], limit) for institution in settling_of}
    return Registry(timelines, settling_of, interrupted, events_of)


def _agreement(row: Mapping[str, object]) -> Agreement:
    return Agreement(
        agreement_id=str(row["agreement_id"]),
        institution_id=str(row["institution_id"]),
        start=_as_day(row["start_date"]),
        end=_as_day(row["end_date"]),
        is_coaching=row["designation"] == "coaching",
        service_categories=_as_texts(row["service_categories"]) or (),
        special_diseases=_as_texts(row["special_diseases"]),
        insurance_types=_as_texts(row["insurance_types"]),
    )


def _as_day(value: object) -> date:
    if not isinstance(value, date):
        raise Fault("agreements", f"{value!r} as a day", "days that the table's schema has checked")
    return value


def _as_texts(value: object) -> tuple[str, ...] | None:
    """A list cell; an empty list is a blank one."""
    return tuple(str(item) for item in value) if isinstance(value, list) and value else None
