"""The way of a line, in one place: `STEPS`, their order, and `settle`.

Steps come in two kinds. Those in `LINE_STEPS` see lines; all they do turns on one settling institution at a time, so
that any parts of a batch that keep a settling institution's lines together (`shard`) can take them apart from each
other, on one machine or on many. Those in `POOL_STEPS` see what the lines of all institutions came to.
Layer 4. Branching on the policy's readings happens here; rules know frames only. Source: rules 3–8.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TypeAlias, TypeVar

import polars as pl

from . import attribution, exact, schemas, terms
from .batch import Batch, Progress
from .batch.keyed import Keyed
from .batch.staging import Staging
from .errors import Fault, Refusal
from .policy import Policy
from .reasons import Finding
from .rules import eligibility, overage, pricing, statements, thresholds, timeline
from .rules.profiles import Profiles, Relevant
from .terms import GROUP

Tables: TypeAlias = Mapping[str, pl.DataFrame | pl.LazyFrame]


@dataclass(frozen=True)
class Settlement:
    """The result of one month: polars frames named as the ledger's tables, without run_id.

    `counts` holds lines_in, lines_settled, lines_rejected and points_in, points_settled, points_rejected (10⁻⁴), and
    lines_read, points_read: every line as it was counted when its file was read.
    `tables` has `unpaid_lines` and `rejected_lines` as lazy frames over files in `staging`, which live as long as this
    object.
    Two frames tell how payable points came about, and are no ledger tables: `overage_by_tier` as `overage.by_tier`
    and `relief` as `overage.let_through` make them.
    """

    tables: Tables
    counts: dict[str, int]
    assumptions: tuple[str, ...]
    overage_by_tier: pl.DataFrame
    relief: pl.DataFrame
    staging: Staging = field(repr=False)

    @property
    def frames(self) -> dict[str, pl.DataFrame]:
        """All tables in memory."""
        return {name: table.lazy().collect() for name, table in self.tables.items()}

    def __getattr__(self, name: str) -> pl.DataFrame:
        try:
            tables: Tables = self.__dict__["tables"]
            return tables[name].lazy().collect()
        except KeyError:
            raise AttributeError(
                f"no table {name!r}; there are {', '.join(self.__dict__['tables'])}"
            ) from None


@dataclass(frozen=True)
class Carried:
    """What a month takes from outside its batch: balances and adjustments of earlier months, the payment day.

    `balances`: settling_id, brought_forward (Int64, fen, < 0); `adjustments`: settling_id, adjustment (fen).
    `payment_due` is None where no day of submission was given.
    """

    balances: pl.DataFrame = field(default_factory=lambda: statements.NO_BALANCES)
    adjustments: pl.DataFrame = field(default_factory=lambda: statements.NO_ADJUSTMENTS)
    payment_due: date | None = None


@dataclass
class Work:
    """A settlement under way. Each step reads what earlier steps have put here and adds its own."""

    batch: Batch
    policy: Policy
    carried: Carried
    registry: timeline.Registry | None = None
    days_in_force: pl.DataFrame = field(default_factory=pl.DataFrame)  # settling institution × regime
    keyed: Keyed | None = None  # good lines by profile
    profiles: pl.DataFrame = field(default_factory=pl.DataFrame)  # what lines of one fate have in common
    groups: pl.DataFrame = field(default_factory=pl.DataFrame)  # settling institution × regime × class
    cells: pl.DataFrame = field(default_factory=pl.DataFrame)  # group × rank × day, with its cut
    suspended: pl.DataFrame = field(default_factory=pl.DataFrame)  # institutions with lines on suspended days
    tables: dict[str, pl.DataFrame | pl.LazyFrame] = field(default_factory=dict)
    staging: Staging = field(default_factory=Staging)
    money_read: pricing.MoneyTables | None = None
    counts: dict[str, int] = field(default_factory=dict)
    assumptions: list[str] = field(default_factory=list)

    @property
    def timelines(self) -> timeline.Registry:
        return _known(self.registry)

    @property
    def money(self) -> pricing.MoneyTables:
        """The month's money tables; scenarios of one batch share them."""
        if self.money_read is None:
            batch = self.batch
            self.money_read = money_tables(batch.tables, batch.has_table, batch.first_day)
        return self.money_read


def _known(made: _Made | None) -> _Made:
    """What an earlier step has made; a step out of order is our own fault."""
    if made is None:
        raise Fault("pipeline.STEPS", "a step before the one it needs", "the steps in their order")
    return made


Through = Callable[[Work, Progress], None]


def here(work: Work, progress: Progress) -> None:
    """Take all lines of the batch through `LINE_STEPS`, as one shard on this machine."""
    for sentence, step in LINE_STEPS:
        progress(sentence)
        step(work)


def settle(
    batch: Batch,
    policy: Policy,
    progress: Progress = lambda _: None,
    carried: Carried | None = None,
    through: Through = here,
) -> Settlement:
    """Settle one month of lines under a policy. `through` takes the lines through `LINE_STEPS`, in whatever shards.

    Raises Refusal where the rules refuse (no threshold row, no zone, month outside the policy …).
    """
    work = begun(batch, policy, carried)
    for sentence, step in TIME_STEPS:
        progress(sentence)
        step(work)
    through(work, progress)
    for sentence, step in POOL_STEPS:
        progress(sentence)
        step(work)
    tables = {
        table.name: schemas.as_ledger_table(table, work.tables[table.name]) for table in terms.RESULT_TABLES
    }
    return Settlement(
        tables,
        work.counts,
        tuple(dict.fromkeys(work.assumptions)),
        overage.by_tier(work.groups, policy.overage),
        overage.let_through(work.groups, policy.overage),
        work.staging,
    )


def begun(batch: Batch, policy: Policy, carried: Carried | None = None) -> Work:
    """A settlement before its first step. Raises Refusal where the policy does not span the month (rules 12)."""
    _refuse_outside_policy(batch, policy)
    assumptions = [_assumption(each.key, each.note) for each in policy.assumptions]
    beside = Staging(batch.staging.path.parent)
    return Work(batch, policy, carried or Carried(), assumptions=assumptions, staging=beside)


def _refuse_outside_policy(batch: Batch, policy: Policy) -> None:
    """Rules 12: the first and the last day of the month lie in the policy's span."""
    if not policy.covers(batch.first_day, batch.last_day):
        raise Refusal(
            f"policy {policy.id}",
            f"month {batch.first_day:%Y-%m}",
            f"a month within {policy.effective_from} … {policy.effective_to or 'no end'}, the policy's span",
            "choose the policy that is in force for the month",
        )


def _assumption(key: str, note: str) -> str:
    return f"{key}: {note}" if note else f"{key}: assumed, no text gives it"


_Made = TypeVar("_Made")


# ---------------------------------------------------------------- steps


def time(work: Work) -> None:
    """Agreements and events → timelines (rules 3)."""
    tables = work.batch.tables
    work.registry = timeline.registry(
        tables["institutions"], tables["agreements"], tables["events"], work.policy
    )
    month = timeline.Span(work.batch.first_day, work.batch.last_day)
    work.days_in_force = work.registry.days_in_force(month).rename({"institution_id": "settling_id"})
    years = work.registry.agreement_years()
    is_year = pl.col("is_coaching_year")
    clause = pl.when(is_year).then(pl.lit(_clause_of(work.policy.coaching))).otherwise(pl.lit("D 13, D 41"))
    work.tables["agreement_years"] = years.with_columns(clause=clause)


def profile(work: Work) -> None:
    """Good lines → profiles: the one pass over all lines that totals need (rules 7)."""
    coding = Profiles(relevant(work))
    parts, repeated, work.keyed = work.batch.lines.reduced(coding, lambda lines: summed(lines, coding.keys))
    work.profiles = coding.spelled(_added([*parts, repeated.with_columns(-pl.col(_COUNTED))], coding.keys))
    _refuse_unconverted(work)
    most_lines = work.profiles.select(pl.col("line_count").max()).item() or 0
    exact.refuse_sums_beyond_bounds(most_lines, work.batch.lines.most_points)


def reject(work: Work) -> None:
    """Bad lines → rejected_lines, with the points they stand for (data 2)."""
    rejected, lines = work.batch.rejected(work.staging.path), work.batch.lines
    work.counts |= {"lines_rejected": rejected.lines, "points_rejected": rejected.points}
    work.counts |= {"lines_read": lines.lines, "points_read": lines.points}
    work.tables["rejected_lines"] = rejected.table


def judge(work: Work) -> None:
    """Profiles → settling institution, regime, first reason (rules 4, 5)."""
    coaching = work.policy.coaching
    settling = pl.DataFrame(
        list(work.timelines.settling_of.items()),
        schema={"institution_id": pl.String, "settling_id": pl.String},
        orient="row",
    )
    work.profiles = eligibility.judged(
        work.profiles,
        work.timelines.spans(),
        work.timelines.target_spans("department"),
        work.timelines.target_spans("physician"),
        work.batch.tables["agreements"].drop("institution_id", "start_date", "end_date"),
        settling,
        list(coaching.insurance_types) if coaching else [],
    )


def place(work: Work) -> None:
    """Settling institutions → zone and payment class (rules 6.3)."""
    by_division = pl.col("division_code").replace_strict(
        work.policy.zone_by_division(), default=None, return_dtype=pl.String
    )
    places = work.batch.tables["institutions"].select(
        settling_id="institution_id", payment_class="payment_class", zone=pl.coalesce("zone", by_division)
    )
    work.profiles = work.profiles.join(places, on="settling_id", how="left", validate="m:1")
    if _needs_zone(work):
        _refuse_without_zone(work)


def total(work: Work) -> None:
    """Profiles → group totals (rules 7)."""
    work.groups = overage.totals(work.profiles)
    work.counts |= {
        "lines_in": work.batch.lines_in,
        "lines_settled": _total(work.groups, "line_count"),
        "points_settled": _total(work.groups, "submitted"),
    }
    work.counts["points_in"] = work.counts["points_settled"] + work.counts["points_rejected"]


def cap(work: Work) -> None:
    """Groups → threshold in force and what is paid of each (rules 6, 7)."""
    with_thresholds, ungrown = thresholds.with_thresholds(
        work.groups, work.policy, work.batch.first_day, _relief(work), work.days_in_force
    )
    work.assumptions += [f"growth of {year}: no rate in the policy, 0 assumed" for year in ungrown]
    work.groups = overage.capped(with_thresholds, work.policy.overage)


def attribute(work: Work) -> None:
    """The cut of each group → its lines (rules 7)."""
    policy, folder = work.policy, work.staging.path
    work.cells = overage.located(work.profiles, work.groups, policy.overage, policy.readings.attribution)
    fates = attribution.fates(work.profiles, work.cells, policy.overage)
    affected = attribution.affected_lines(_known(work.keyed), fates, folder)
    work.tables["unpaid_lines"] = attribution.unpaid_lines(
        affected, fates, policy, work.batch.first_day, folder
    )
    suspended = work.profiles.filter(attribution.is_suspended())
    work.suspended = (
        suspended.group_by("settling_id")
        .agg(pl.col("line_count").sum())
        .join(
            attribution.first_serviced_suspended(affected, fates),
            on="settling_id",
            how="left",
            validate="1:1",
        )
    )


def daily(work: Work) -> None:
    """Profiles → daily_points of the groups with a threshold."""
    points, is_eligible = pl.col("positive_points") + pl.col("negative_points"), pl.col("reason").is_null()
    with_threshold = work.groups.filter(pl.col("threshold").is_not_null())
    work.tables["daily_points"] = (
        work.profiles.join(with_threshold.select(GROUP), on=GROUP, how="semi")
        .group_by(*GROUP, "settled_on")
        .agg(
            line_count=pl.col("line_count").sum(),
            submitted=points.sum(),
            eligible=points.filter(is_eligible).sum(),
        )
        .select(
            month=pl.lit(work.batch.first_day),
            institution_id="settling_id",
            regime="regime",
            point_class="point_class",
            day="settled_on",
            line_count="line_count",
            submitted_points=exact.as_points(pl.col("submitted")),
            eligible_points=exact.as_points(pl.col("eligible")),
        )
    )


def report_groups(work: Work) -> None:
    """Groups → settlements."""
    work.tables["settlements"] = work.groups.select(
        month=pl.lit(work.batch.first_day),
        institution_id="settling_id",
        zone="zone",
        payment_class="payment_class",
        regime="regime",
        point_class="point_class",
        line_count="line_count",
        submitted_points=exact.as_points(pl.col("submitted")),
        ineligible_points=exact.as_points(pl.col("ineligible")),
        eligible_points=exact.as_points(pl.col("eligible")),
        threshold_points=exact.as_threshold(pl.col("threshold")),
        overage_points=exact.as_points(pl.col("overage")),
        payable_points=exact.as_points(pl.col("payable")),
        unpaid_points=exact.as_points(pl.col("unpaid")),
        point_value=exact.as_point_value(pl.col("point_value")),
        payable_amount=exact.as_money(pl.col("amount")),
        clause="threshold_clause",
    )


def find(work: Work) -> None:
    """Timelines and suspended lines → findings (rules 3.7)."""
    registry = work.batch.tables["institutions"]
    types = dict(registry.select("institution_id", "institution_type").iter_rows())
    finding = Finding.BILLED_WHILE_SUSPENDED
    billed = work.suspended.select(
        institution_id="settling_id",
        finding=pl.lit(finding.value),
        occurred_on="first_serviced",
        detail=pl.concat_str(
            pl.col("line_count").cast(pl.String), pl.lit(" line(s) serviced on suspended days")
        ),
        clause=pl.lit(finding.clause),
    )
    known = work.timelines.findings(types, work.batch.last_day, work.policy)
    work.tables["findings"] = pl.concat([known, billed])


def price(work: Work) -> None:
    """Groups → point values and amounts (rules 8.1)."""
    work.groups, budgets = pricing.priced(work.groups, work.money, work.batch.first_day)
    work.tables["budgets"] = budgets.select(
        month=pl.lit(work.batch.first_day),
        zone="zone",
        point_class="point_class",
        budget=exact.as_money(pl.col("budget")),
        pool_points=exact.as_points(pl.col("pool_points")),
        point_value=exact.as_point_value(pl.col("point_value")),
        remainder=exact.as_money(pl.col("remainder")),
    )


def state(work: Work) -> None:
    """Amounts, deductions and balances → statements (rules 8.2). Without money tables there are none."""
    settling = work.batch.tables["institutions"].select(
        "institution_id", settling_id=pl.coalesce("settles_under", "institution_id")
    )
    deductions = (
        work.batch.tables["deductions"]
        .filter(pl.col("month") == work.batch.first_day)
        .join(settling, on="institution_id", how="left", validate="m:1")
        .select("settling_id", "kind", amount=schemas.decimal_units("amount", 2, exact.MONEY_DECIMALS))
    )
    work.tables["adjustments"] = pl.DataFrame(schema=schemas.result_schema(terms.ADJUSTMENTS))
    if not work.money.is_present:
        statements.refuse_deductions_without_money(deductions, work.batch.first_day)
        work.tables["statements"] = pl.DataFrame(schema=schemas.result_schema(terms.STATEMENTS))
        return
    stated = statements.stated(
        work.groups,
        deductions,
        work.carried.adjustments,
        work.carried.balances,
        work.policy.money.deposit_rate,
    )
    work.tables["statements"] = stated.select(
        month=pl.lit(work.batch.first_day),
        institution_id="settling_id",
        payable_amount=exact.as_money(pl.col("gross")),
        deposit_withheld=exact.as_money(pl.col("deposit")),
        **{kind: exact.as_money(pl.col(kind)) for kind in terms.DEDUCTION_KINDS},
        adjustment=exact.as_money(pl.col("adjustment")),
        brought_forward=exact.as_money(pl.col("brought_forward")),
        net_payable=exact.as_money(pl.col("net_payable")),
        carried_forward=exact.as_money(pl.col("carried_forward")),
        payment_due=pl.lit(work.carried.payment_due, dtype=pl.Date),
    )


Step: TypeAlias = tuple[str, Callable[[Work], None]]

TIME_STEPS: tuple[Step, ...] = (("timelines of the institutions", time),)
LINE_STEPS: tuple[Step, ...] = (
    ("totals of the lines", profile),
    ("rejected lines", reject),
    ("eligibility", judge),
    ("zones and classes", place),
    ("groups", total),
    ("thresholds", cap),
    ("attribution to lines", attribute),
    ("totals of the days", daily),
)
POOL_STEPS: tuple[Step, ...] = (
    ("point values", price),
    ("statements", state),
    ("findings", find),
    ("result tables", report_groups),
)
STEPS = (*TIME_STEPS, *LINE_STEPS, *POOL_STEPS)


# ---------------------------------------------------------------- what the steps need


def _clause_of(coaching: object) -> str:
    return f"{getattr(coaching, 'clause', '')} {getattr(coaching, 'phrase', '')}".strip()


def _total(frame: pl.DataFrame, column: str) -> int:
    return int(frame[column].sum())


_COUNTED = ("line_count", "positive_points", "negative_points", "unconverted")


def summed(lines: pl.LazyFrame, keys: list[str]) -> pl.LazyFrame:
    """Lines → what they come to per profile, in 10⁻⁴ point."""
    points = pl.col("points")
    return (
        lines.select(
            *keys,
            positive_points=points.clip(lower_bound=0),
            negative_points=points.clip(upper_bound=0),
            unconverted=points.is_null(),
        )
        .group_by(keys)
        .agg(
            pl.col("positive_points", "negative_points", "unconverted").sum(),
            line_count=pl.len(),
        )
        .with_columns(pl.col("line_count", "unconverted").cast(pl.Int64))
    )


def _added(parts: list[pl.DataFrame], keys: list[str]) -> pl.DataFrame:
    """The sums of several parts together; profiles of which no line is left are gone."""
    points = [exact.summed(pl.col(name)) for name in ("positive_points", "negative_points")]
    added = pl.concat(parts).group_by(keys).agg(pl.col("line_count", "unconverted").sum(), *points)
    return added.filter(pl.col("line_count") > 0)


def relevant(work: Work) -> Relevant:
    """Codes that agreements, policy and events name, and the institutions' days that matter (rules 4)."""
    agreements, coaching = work.batch.tables["agreements"], work.policy.coaching
    insurances = {*_named(agreements, "insurance_types"), *(coaching.insurance_types if coaching else ())}
    registry, last_day = work.timelines, work.batch.last_day
    with_own = {row.institution_id for row in work.policy.institution_thresholds}
    rows = [
        (
            institution,
            registry.last_change(institution, last_day),
            registry.timelines[settling].may_be_capped or settling in with_own,
        )
        for institution, settling in sorted(registry.settling_of.items())
    ]
    schema = {"institution_id": pl.String, "last_change": pl.Date, "has_days": pl.Boolean}
    may_be_settled_later = work.policy.readings.month_basis == "serviced_at"
    return Relevant(
        institutions=pl.DataFrame(rows, schema=schema, orient="row"),
        change_days=[day for day in registry.change_days() if day <= last_day],
        settled_days=(work.batch.first_day, date.max if may_be_settled_later else last_day),
        departments=registry.suspended_targets("department"),
        physicians=registry.suspended_targets("physician"),
        diseases=sorted(_named(agreements, "special_diseases")),
        insurance_types=sorted(insurances),
        priority=_priority(work.policy, work.batch.first_day),
    )


def _named(agreements: pl.DataFrame, column: str) -> set[str]:
    return set(agreements[column].explode().drop_nulls())


def _priority(policy: Policy, month: date) -> tuple[str, ...]:
    """Charge categories in the order of the list in effect; empty in every other reading (rules 7)."""
    if policy.readings.attribution != "priority":
        return ()
    row = policy.priority_on(month)
    if row is None:
        raise Refusal(
            f"policy {policy.id}, [[priority]]",
            f"attribution = priority, but no list is in effect on {month}",
            f"a list with effective_from on or before {month}",
            "add the list, or choose another reading of attribution",
        )
    return row.charge_categories


def _refuse_unconverted(work: Work) -> None:
    """Rules 5: a file without points under a policy without the factor of a class that occurs."""
    classes = sorted(work.profiles.filter(pl.col("unconverted") > 0)["point_class"].unique())
    if classes:
        raise Refusal(
            f"claims; policy {work.policy.id}, [points_per_yuan]",
            f"no points column, and no points_per_yuan for class {', '.join(classes)}",
            "points in the claims file, or a factor for every class that occurs",
            "add the column, or the factor to the policy",
        )


def _needs_zone(work: Work) -> bool:
    """The policy has zones or thresholds, or a money table of the month is keyed by zone (rules 6.3)."""
    by_zone = (pl.col("month") == work.batch.first_day) & (pl.col("zone") != "*")
    keyed = any(
        not work.batch.tables[name].filter(by_zone).is_empty() for name in ("point_values", "budgets")
    )
    return bool(work.policy.zones.each or work.policy.thresholds or keyed)


def _refuse_without_zone(work: Work) -> None:
    lost = work.profiles.filter(pl.col("zone").is_null())["settling_id"].unique()
    if lost.is_empty():
        return
    rows = work.batch.tables["institutions"].filter(pl.col("institution_id").is_in(lost.implode()))
    listed = rows.select("institution_id", "division_code").sort("institution_id").rows()
    raise Refusal(
        "institutions, zone",
        "; ".join(f"{institution}: division {division} is in no zone" for institution, division in listed),
        "a zone in the registry, or a division code of the policy's [zones]",
        "fill in zone in the registry, or add the division to the policy",
    )


def money_tables(
    tables: Mapping[str, pl.DataFrame], has_table: Callable[[str], bool], month: date
) -> pricing.MoneyTables:
    """point_values and budgets cut to the month, in whole units; `tables` as `Batch.tables` holds them."""

    def cut(name: str, column: str, scale: int) -> pl.DataFrame | None:
        if not has_table(name):
            return None
        rows = tables[name].filter(pl.col("month") == month)
        return rows.select("zone", "point_class", schemas.decimal_units(column, scale, scale).alias(column))

    keys = ["month", "zone", "point_class"]
    values, budgets = (tables[name].select(keys) for name in ("point_values", "budgets"))
    return pricing.MoneyTables(
        cut("point_values", "point_value", exact.VALUE_DECIMALS),
        cut("budgets", "budget", exact.MONEY_DECIMALS),
        values.join(budgets, on=keys, how="semi"),
    )


def _relief(work: Work) -> pl.DataFrame:
    """Approved extra points of the month, summed up per institution and class, in 10⁻⁴ (D 37)."""
    relief = work.batch.tables["relief"].filter(pl.col("month") == work.batch.first_day)
    return relief.group_by(settling_id="institution_id", point_class="point_class").agg(
        relief=exact.summed(schemas.decimal_units("approved_points", 2, exact.POINT_DECIMALS))
    )


def readings_text(policy: Policy) -> str:
    return json.dumps(policy.readings.as_dict(), ensure_ascii=False, sort_keys=True)
