"""What if: other growth, scaled thresholds, other readings, another policy, settled by the steps of a run.

Layer 6. A scenario is a changed `Policy`, and a policy is settled by `pipeline.STEPS`. What scenarios have in common is
done once: files are read once for all that read a line alike, lines are passed once for all whose profiles are alike,
and those that differ only in thresholds share even the groups. No ledger is touched. Source: rules 6.4, 7, 10.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from . import exact, pipeline
from .batch import Batch, Progress, month_of, read_batch
from .errors import Refusal
from .pipeline import STEPS, Work
from .policy import READING_VALUES, GrowthRow, Overage, Policy
from .reasons import RejectRule
from .rules.profiles import Relevant
from .runs import refusing_unfit
from .terms import GROUP, THRESHOLD_CLASSES

KEYS = ("zone", "point_class")
_FIGURES = ("payable", "unpaid", "amount")
_MOST = Decimal(1000)  # of a factor
_DOUBLED = Decimal(1)  # no budget grows so much in a year: 3 was meant as 3 %, and would be settled as 300 %
_FACTOR_DECIMALS = exact.FRACTION_DECIMALS

# ---------------------------------------------------------------- scenarios


@dataclass(frozen=True)
class Scenario:
    """A policy to try, and what it is called."""

    name: str
    policy: Policy
    note: str = ""


_NOTES = {
    "attribution": "moves points between the lines of a group; what the group is paid stays (rules 7)",
    "month_basis": "lines serviced in the month and settled after it are not in this batch",
}
Change = tuple[str, Callable[[Policy], Policy]]


def scenarios(
    base: Policy,
    month: date,
    *,
    growth: Sequence[str] = (),
    scale: Sequence[str] = (),
    others: Sequence[Policy] = (),
    every_reading: bool = False,
    is_combined: bool = False,
) -> list[Scenario]:
    """The scenarios a clerk asked for: each change alone, or each policy with each growth and each scale.

    Raises Refusal for a rate or scale that cannot be read, naming it.
    """
    changes: list[list[Change]] = [
        [(f"policy {other.path.name}", partial(_instead, other)) for other in others],
        [growth_change(text, month.year) for text in growth],
        [scale_change(text) for text in scale],
    ]
    if is_combined:
        nothing: Change = ("", lambda policy: policy)
        chosen: Iterable[Sequence[Change]] = list(product(*([nothing, *each] for each in changes)))[1:]
    else:
        chosen = [[change] for each in changes for change in each]
    return [_changed(base, each) for each in chosen] + (other_readings(base) if every_reading else [])


def _instead(other: Policy, _: Policy) -> Policy:
    return other


def _changed(base: Policy, changes: Sequence[Change]) -> Scenario:
    policy = base
    for _, change in changes:
        policy = change(policy)
    return Scenario(" · ".join(name for name, _ in changes if name), policy)


def growth_change(text: str, year: int) -> Change:
    """`0.03`: the growth of the month's year, added or put in the place of the policy's (rules 6.4)."""
    rate = _number("--growth", text, above=Decimal(-1))
    if rate >= _DOUBLED:
        raise _as_percentage(text.strip(), rate)
    row = GrowthRow(year=year, rate=rate, source="what if")

    def grown(policy: Policy) -> Policy:
        others = (each for each in policy.growth if each.year != year)
        return replace(policy, growth=(*others, row))

    return f"growth {year} = {text.strip()}", grown


def _as_percentage(text: str, rate: Decimal) -> Refusal:
    return Refusal(
        f"--growth {text}",
        f"growth of {rate * 100:f} %",
        f"a rate below {_DOUBLED}, as the policy has it: 0.03 is 3 %",
        f"{text} % is written {rate / 100:f}; thresholds that are so much larger: --scale factor={rate + 1:f}",
    )


def scale_change(text: str) -> Change:
    """`zone=urban,class=service,factor=1.1`: the policy's threshold rows × factor; without zone or class: all."""
    parts = dict(_scale_part(text, part) for part in text.split(","))
    if "factor" not in parts:
        raise _bad_scale(text, "no factor")
    factor = _number("--scale", parts["factor"], above=Decimal(0))
    zone = parts.get("zone")
    classes: tuple[str, ...] = THRESHOLD_CLASSES
    if "class" in parts:
        if parts["class"] not in THRESHOLD_CLASSES:
            raise _bad_scale(text, f"class {parts['class']!r}", f"class {' or '.join(THRESHOLD_CLASSES)}")
        classes = (parts["class"],)
    return f"scale {text.strip()}", lambda policy: scaled(policy, factor, zone, classes)


def scaled(
    policy: Policy, factor: Decimal, zone: str | None = None, classes: Sequence[str] = THRESHOLD_CLASSES
) -> Policy:
    """The policy with its threshold rows × factor, each half-up to 0.01, before growth.

    Thresholds of single institutions stay. Raises Refusal for a zone without a row.
    """
    zones = sorted({row.zone for row in policy.thresholds})
    if zone is not None and zone not in zones:
        known = ", ".join(zones) or f"none: policy {policy.id} has no threshold rows"
        raise Refusal("--scale", f"zone {zone!r}", f"a zone of the threshold rows: {known}", "name another")
    rows = []
    for row in policy.thresholds:
        is_meant = zone in (None, row.zone)
        new: dict[str, Any] = {name: exact.scaled(getattr(row, name), factor) for name in classes}
        rows.append(replace(row, **new) if is_meant else row)
    return replace(policy, thresholds=tuple(rows))


def other_readings(base: Policy) -> list[Scenario]:
    """Each other value of each reading against the one in force (rules 10)."""
    in_force = base.readings.as_dict()
    return [
        Scenario(f"reading {key} = {value}", base.with_readings({key: value}), _NOTES.get(key, ""))
        for key, values in READING_VALUES.items()
        for value in values
        if value != in_force[key]
    ]


def _scale_part(text: str, part: str) -> tuple[str, str]:
    key, _, value = (word.strip() for word in part.partition("="))
    if key not in ("zone", "class", "factor") or not value:
        raise _bad_scale(text, repr(part.strip()))
    return key, value


def _bad_scale(text: str, found: str, expected: str = "zone=…, class=… and factor=…, with commas") -> Refusal:
    example = "for example --scale zone=urban,class=service,factor=1.1"
    return Refusal(f"--scale {text}", found, expected, example)


def _number(where: str, text: str, above: Decimal) -> Decimal:
    decimals = len(text.strip().partition(".")[2].rstrip("0"))
    if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text.strip()) and decimals <= _FACTOR_DECIMALS:
        number = Decimal(text.strip())
        if above < number <= _MOST:
            return number
    raise Refusal(
        where,
        repr(text),
        f"a number above {above}, at most {_MOST}, with at most {_FACTOR_DECIMALS} decimals",
        "for example 0.03",
    )


# ---------------------------------------------------------------- what scenarios have in common

# what becomes of single lines, and of amounts that groups have already
_NOT_ASKED = (pipeline.attribute, pipeline.daily, pipeline.state, pipeline.find, pipeline.report_groups)
_ASKED = [step for _, step in STEPS if step not in _NOT_ASKED]
_GROUPING, _PAYING = _ASKED[: _ASKED.index(pipeline.cap)], _ASKED[_ASKED.index(pipeline.cap) + 1 :]


def _zones_of_rows(policy: Policy) -> tuple[str, ...]:
    return tuple(sorted({row.zone for row in policy.thresholds}))


def _as_grouped(policy: Policy) -> Hashable:
    """What groups depend on: all of the policy but its name and span, and what thresholds are and leave unpaid.

    What is not known to be without effect stays, so that a part added to policies can cost a pass, never a figure.
    """
    return _zones_of_rows(policy), _without_thresholds(policy)


def _without_thresholds(policy: Policy) -> Policy:
    return replace(
        policy,
        title="",
        status="",
        sha256="",
        source="",
        note="",
        path=Path(),
        checked_on=date.min,
        effective_from=date.min,
        effective_to=None,
        assumptions=(),
        growth=(),
        thresholds=(),
        overage=Overage(),
        readings=replace(policy.readings, partial_month=""),
    )


def _as_read(policy: Policy) -> Hashable:
    """What reading a line depends on: not on what agreements, orders of payment and thresholds come to."""
    plain = _without_thresholds(policy)
    return (
        _zones_of_rows(policy),
        policy.coaching is None,
        replace(
            plain,
            coaching=None,
            priority=(),
            institution_thresholds=(),
            recalculation=None,
            readings=replace(plain.readings, coaching_scope="", attribution=""),
        ),
    )


Numbered = tuple[int, Policy]


def _alike(policies: Iterable[Numbered], what: Callable[[Policy], Hashable]) -> list[list[Numbered]]:
    groups: defaultdict[Hashable, list[Numbered]] = defaultdict(list)
    for place, policy in policies:
        groups[what(policy)].append((place, policy))
    return list(groups.values())


@dataclass(frozen=True)
class _Pass:
    """A pass over the lines, and what it was made for."""

    relevant: Relevant
    work: Work

    def serves(self, wanted: Relevant) -> bool:
        """The rank in a priority list places lines, it does not change a group's totals."""
        one, other = (
            {**vars(each), "institutions": None, "priority": None} for each in (self.relevant, wanted)
        )
        return one == other and self.relevant.institutions.equals(wanted.institutions)


def worked(
    path: Path | str,
    month: str | date,
    policies: Sequence[Policy],
    *,
    encoding: str | None = None,
    progress: Progress = lambda _: None,
) -> Iterator[tuple[int, Work | Refusal]]:
    """Each policy's place, and its settlement up to amounts, or why it cannot be settled; in any order."""
    for alike in _alike(enumerate(policies), _as_read):
        try:
            batch = read_batch(path, month, alike[0][1], encoding=encoding, progress=progress)
        except Refusal as refusal:
            yield from ((place, refusal) for place, _ in alike)
            continue
        try:
            passes: list[_Pass] = []
            for same_groups in _alike(alike, _as_grouped):
                yield from _worked_alike(batch, same_groups, passes, progress)
        finally:
            batch.close()


def _worked_alike(
    batch: Batch, policies: list[Numbered], passes: list[_Pass], progress: Progress
) -> Iterator[tuple[int, Work | Refusal]]:
    """Policies that share their groups: the groups once, then thresholds and money for each."""
    shared: Shared | Refusal | None = None
    for place, policy in policies:
        progress(f"scenario {place}")
        work = _tried(batch, partial(pipeline.begun, batch, policy))
        if isinstance(work, Work):
            if shared is None:
                shared = _tried(batch, partial(_grouped, work, passes))
            work = shared if isinstance(shared, Refusal) else _tried(batch, partial(_paid, shared, work))
        yield place, work


_Made = TypeVar("_Made")


def _tried(batch: Batch, make: Callable[[], _Made]) -> _Made | Refusal:
    try:
        with refusing_unfit(batch):
            return make()
    except Refusal as refusal:
        return refusal


@dataclass
class Shared:
    """What policies of the same groups share.

    `uncapped`: groups that have no threshold under any of them, as `cap` leaves them, once it is known which.
    """

    work: Work
    uncapped: pl.DataFrame | None = None


def _grouped(begun: Work, passes: list[_Pass]) -> Shared:
    work = replace(begun, assumptions=[], tables={}, counts={}, money_read=begun.money)
    for step in _GROUPING:
        if step is pipeline.profile:
            _profile(work, passes)
        else:
            step(work)
    return Shared(work)


def _profile(work: Work, passes: list[_Pass]) -> None:
    """The one pass over the lines, or what an earlier one has found."""
    wanted = pipeline.relevant(work)
    for earlier in passes:
        if earlier.serves(wanted):
            work.profiles = earlier.work.profiles
            return
    pipeline.profile(work)
    passes.append(_Pass(wanted, replace(work)))


def _paid(shared: Shared, begun: Work) -> Work:
    work = replace(
        shared.work,
        policy=begun.policy,
        assumptions=[*begun.assumptions, *shared.work.assumptions],
        tables=dict(shared.work.tables),
        counts=dict(shared.work.counts),
    )
    _cap(work, shared)
    for step in _PAYING:
        step(work)
    return work


def _cap(work: Work, shared: Shared) -> None:
    """Thresholds of the groups that can have one.

    Whether a group has one is decided by regime, class and the institution's own rows (rules 6.1, 6.7), in which these
    policies agree; where a row is missing they refuse. So groups without a threshold are capped only once.
    """
    pipeline.cap(work)
    if shared.uncapped is None:
        shared.uncapped = work.groups.filter(pl.col("threshold").is_null())
        shared.work.groups = shared.work.groups.join(shared.uncapped, on=GROUP, how="anti")
    else:
        work.groups = pl.concat([work.groups, shared.uncapped])


# ---------------------------------------------------------------- outcomes


@dataclass(frozen=True)
class Outcome:
    """What a scenario comes to.

    `figures`: zone, point_class; payable, unpaid (Int64, 10⁻⁴), amount (Int64, fen, null without money tables).
    `refusal`: why it cannot be settled; there are no figures then.
    """

    scenario: Scenario
    figures: pl.DataFrame
    lines_settled: int = 0
    lines_rejected: int = 0
    assumptions: tuple[str, ...] = ()
    refusal: Refusal | None = None


@dataclass(frozen=True)
class Simulation:
    """The policy in force and each scenario against it.

    `rejected`: the lines that the policy in force rejects: lines, rule, meaning, source and row_number of the first;
    one row per rule, the most frequent first.
    """

    first_day: date
    base: Outcome
    outcomes: tuple[Outcome, ...]
    rejected: pl.DataFrame
    _sums: dict[tuple[str, ...], pl.DataFrame] = field(default_factory=dict, init=False, repr=False)

    def table(self, outcome: Outcome, by: Sequence[str] = KEYS) -> pl.DataFrame:
        """A scenario's figures and what it changes against the base.

        Rows:  one per zone and point class (or per what `by` names) of either. Adds: payable_points, unpaid_points,
               payable_amount (null without money tables), each also as *_change; exact decimals.
        """
        mine, base = _summed(outcome.figures, by), self._in_force(tuple(by))
        renamed = base.rename({name: f"{name}_base" for name in _FIGURES})
        if by:
            both = mine.join(
                renamed, on=list(by), how="full", coalesce=True, nulls_equal=True, validate="1:1"
            )
        else:
            both = mine.hstack(renamed)
        return _as_table(both.sort(by, nulls_last=True) if by else both, by, has_money=self.has_money)

    def _in_force(self, by: tuple[str, ...]) -> pl.DataFrame:
        """The sums of the policy in force, made once for all scenarios."""
        if by not in self._sums:
            self._sums[by] = _summed(self.base.figures, by)
        return self._sums[by]

    @property
    def has_money(self) -> bool:
        return self.base.figures["amount"].null_count() == 0

    def in_force(self) -> pl.DataFrame:
        """What the policy in force pays, by zone and class, and in all."""
        parts = (_labelled(self.table(self.base, by)) for by in (KEYS, ()))
        table = pl.concat(parts)
        return table.select(*KEYS, *self._without_money("payable_points", "unpaid_points", "payable_amount"))

    def changes(self, outcomes: Sequence[Outcome], by: Sequence[str] = KEYS) -> pl.DataFrame:
        """What each scenario changes: a row for each zone and class that moves, and one in all."""
        shown = self._without_money(
            "payable_points", "payable_points_change", "unpaid_points_change", "payable_amount_change"
        )
        tables = [pl.DataFrame(schema={"scenario": pl.String})]
        for outcome in outcomes:
            if outcome.refusal is None:
                table = self.table(outcome, by)
                is_moved = pl.any_horizontal(pl.col("^.*_change$").fill_null(0) != 0)
                for part in (table.filter(is_moved), self.table(outcome, ())):
                    named = _labelled(part).select(pl.lit(outcome.scenario.name).alias("scenario"), pl.all())
                    tables.append(named.select("scenario", *KEYS, *shown))
        return pl.concat(tables, how="diagonal")

    def _without_money(self, *names: str) -> list[str]:
        """These columns, amounts only if there are any."""
        return [name for name in names if self.has_money or not name.startswith("payable_amount")]

    def as_json(self) -> dict[str, Any]:
        """One object; decimals as text."""
        policy = self.base.scenario.policy
        return {
            "month": f"{self.first_day:%Y-%m}",
            "policy_id": policy.id,
            "policy_status": policy.status,
            "readings": policy.readings.as_dict(),
            "rejected": dict(self.rejected.select("rule", "lines").rows()),
            "base": self._outcome_json(self.base),
            "scenarios": [self._outcome_json(each) for each in self.outcomes],
        }

    def _outcome_json(self, outcome: Outcome) -> dict[str, Any]:
        scenario = outcome.scenario
        found: dict[str, Any] = {
            "name": scenario.name,
            "policy_id": scenario.policy.id,
            "note": scenario.note or None,
        }
        if outcome.refusal:
            return {**found, "refused": _refusal_json(outcome.refusal)}
        classes = self.table(outcome).to_dicts()
        total = _added_up(classes, ()) or self.table(outcome, ()).to_dicts()  # of no class: zeros
        return {
            **found,
            "refused": None,
            "lines_settled": outcome.lines_settled,
            "lines_rejected": outcome.lines_rejected,
            "assumptions": list(outcome.assumptions),
            "total": _as_texts(total)[0],
            "zones": _as_texts(_added_up(classes, ("zone",))),
            "classes": _as_texts(classes),
        }


def simulate(
    path: Path | str,
    month: str | date,
    base: Policy,
    asked: Sequence[Scenario],
    *,
    encoding: str | None = None,
    progress: Progress = lambda _: None,
) -> Simulation:
    """Settle a month under the policy in force and under each scenario. Raises Refusal where the base is refused."""
    every = [Scenario("in force", base), *asked]
    policies = [each.policy for each in every]
    found, rejected = {}, _NO_REJECTED
    for place, work in worked(path, month, policies, encoding=encoding, progress=progress):
        found[place] = _outcome(every[place], _stated(work) if place == 0 else work)
        if place == 0 and isinstance(work, Work):
            rejected = _rejected(work)
    if found[0].refusal:
        raise found[0].refusal
    return Simulation(
        month_of(month), found[0], tuple(found[place] for place in range(1, len(every))), rejected
    )


_NO_REJECTED = pl.DataFrame(
    schema={
        "lines": pl.UInt32,
        "rule": pl.String,
        "meaning": pl.String,
        "source": pl.String,
        "row_number": pl.Int64,
    }
)


def _rejected(work: Work) -> pl.DataFrame:
    """The rejected lines by rule: see `Simulation`."""
    meanings = {rule.value: f"{rule.sentence} {rule.chinese}" for rule in RejectRule}
    lines = work.tables["rejected_lines"].lazy()
    by_rule = lines.group_by("rule", maintain_order=True).agg(
        pl.len().alias("lines"), pl.col("source").first(), pl.col("row_number").first()
    )
    counted = by_rule.sort("lines", "rule", descending=[True, False]).collect()
    return counted.with_columns(
        meaning=pl.col("rule").replace_strict(meanings, return_dtype=pl.String)
    ).select(_NO_REJECTED.columns)


def _stated(work: Work | Refusal) -> Work | Refusal:
    """The statements of the policy in force, for what they refuse: it lies in the batch, not in the policy."""
    if isinstance(work, Work):
        return _tried(work.batch, partial(_with_statements, work))
    return work


def _with_statements(work: Work) -> Work:
    pipeline.state(work)
    return work


_NO_FIGURES = pl.DataFrame(schema={**dict.fromkeys(KEYS, pl.String), **dict.fromkeys(_FIGURES, pl.Int64)})


def _outcome(scenario: Scenario, work: Work | Refusal) -> Outcome:
    if isinstance(work, Refusal):
        return Outcome(scenario, _NO_FIGURES, refusal=work)
    return Outcome(
        scenario,
        _summed(work.groups, KEYS),
        work.counts["lines_settled"],
        work.counts["lines_rejected"],
        tuple(dict.fromkeys(work.assumptions)),
    )


def _summed(figures: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    sums = [exact.summed(pl.col(name)) for name in ("payable", "unpaid")]
    amount = pl.col("amount")
    sums.append(pl.when(amount.null_count() == 0).then(exact.summed(amount)).alias("amount"))
    return figures.group_by(by).agg(sums) if by else figures.select(sums)


def _as_table(both: pl.DataFrame, by: Sequence[str], *, has_money: bool) -> pl.DataFrame:
    """What neither side has is 0; amounts are null without money tables."""
    names = {"payable": "payable_points", "unpaid": "unpaid_points", "amount": "payable_amount"}
    columns = []
    for name, long_name in names.items():
        as_decimal = exact.as_money if name == "amount" else exact.as_points
        is_known = has_money or name != "amount"
        now, before = (
            pl.col(each).fill_null(0) if is_known else pl.col(each) for each in (name, f"{name}_base")
        )
        columns += [
            as_decimal(now).alias(long_name),
            as_decimal(now - before).alias(f"{long_name}_change"),
        ]
    return both.select(*by, *columns)


def _labelled(table: pl.DataFrame) -> pl.DataFrame:
    """A row over every zone or class says so."""
    missing = [pl.lit("all").alias(name) for name in KEYS if name not in table.columns]
    return table.select(*(name for name in KEYS if name in table.columns), *missing, pl.exclude(KEYS))


def _added_up(classes: list[dict[str, Any]], by: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of `table` by zone and class, added up; in their order. Null stays null.

    Here and not by polars, whose calls cost more than these few sums: there may be a thousand scenarios.
    """
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in classes:
        key = tuple(row[name] for name in by)
        figures = {name: value for name, value in row.items() if name not in KEYS}
        if key in sums:
            before = sums[key]
            figures = {
                name: None if value is None else before[name] + value for name, value in figures.items()
            }
        sums[key] = {**dict(zip(by, key, strict=True)), **figures}
    return list(sums.values())


def _as_texts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value if value is None else str(value) for name, value in row.items()} for row in rows]


def _refusal_json(refusal: Refusal) -> dict[str, str]:
    return {name: getattr(refusal, name) for name in ("where", "found", "expected", "remedy")}
