"""What the page says, part by part: headline figures, then one section per question.

Every figure is a whole number or a Decimal of the facts; texts and terms come from the table of texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import groupby
from typing import Any

from .. import exact
from ..reasons import Finding, RejectRule, UnpaidReason
from ..terms import STATEMENTS, Kind
from ..texts import Term, Words
from .charts import BAND_COLOURS, PART_COLOURS, Bar, Chart, daily_course, ranking, use_by_zone
from .facts import Course, Facts, Row

_BARS = 10  # of a ranking
_ROWS = 30  # of a table, before "and n more"
_TITLES = {
    "use": "threshold_use",
    "over_threshold": "overage_ranking",
    "unpaid_by_reason": "unpaid_by_reason",
    "rejected_by_rule": "rejected",
    "statements": "sums",
    "findings": "findings",
    "readings": "readings",
    "identity": "identity",
}  # table of the page → its title


@dataclass(frozen=True)
class Tile:
    """A headline figure: its term, its value and a sentence beside it. `name` marks it in the page."""

    name: str
    term: Term
    value: object
    beside: str = ""


@dataclass(frozen=True)
class Grid:
    """A table of the page. A column holds figures, days, terms or texts; `more` tells what is left out."""

    name: str
    title: Term
    headings: Sequence[Term]
    rows: Sequence[Sequence[object]]
    more: str = ""

    def is_numeric(self, place: int) -> bool:
        values = [row[place] for row in self.rows]
        return all(value is None or isinstance(value, int | Decimal) for value in values)


@dataclass(frozen=True)
class Section:
    """A part of the page. `legend`: colour → what it means in the charts."""

    key: str
    title: Term
    texts: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    grids: Sequence[Grid] = ()
    entries: Sequence[str] = ()
    legend: Mapping[str, str] = field(default_factory=dict)


def shown(value: object) -> str:
    """A value as it is read: figures with thousands separators and all their places, null as a dash."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int | Decimal) else str(value)


@dataclass(frozen=True)
class Parts:
    """The parts of the page of one run, top to bottom. `workbook`: name of the file that holds all rows."""

    facts: Facts
    words: Words
    workbook: str

    def notes(self) -> Iterator[str]:
        """What has to be known before any figure is read."""
        policy = self.facts.run["policy_id"]
        if self.facts.run["policy_status"] == "lapsed":
            yield self.words.text("lapsed_note", policy=policy)
        if self.facts.is_restating:
            yield self.words.text("restating_note", paid=self.facts.paid)
        if self.facts.status == "open":
            yield self.words.text("not_closed_note")

    def tiles(self) -> Iterator[Tile]:
        yield from self._line_tiles()
        settlements = self.facts.tables["settlements"]
        yield self._tile("institutions", settlements["institution_id"].n_unique())
        submitted = self.facts.total("settlements", "submitted_points")
        for name in ("submitted", "eligible", "payable", "unpaid"):
            points = self.facts.total("settlements", f"{name}_points")
            share = None if name == "submitted" else exact.percent(points, submitted)
            beside = self.words.text("of_points", share=share) if share is not None else ""
            yield self._tile(f"{name}_points", points, beside)
        capped = sum(use.groups for use in self.facts.uses)
        of_groups = self.words.text("of_groups", count=shown(capped))
        yield self._tile("over_threshold_groups", len(self.facts.over_threshold), of_groups)
        amount = self.facts.total("settlements", "payable_amount") if self.facts.has_money else None
        yield self._tile(
            "payable_amount", amount, "" if self.facts.has_money else self.words.text("no_money")
        )

    def _line_tiles(self) -> Iterator[Tile]:
        for name in ("in", "settled", "rejected"):
            points = self.words.text("points_of", points=shown(self.facts.run[f"points_{name}"]))
            yield self._tile(f"lines_{name}", self.facts.run[f"lines_{name}"], points)

    def _tile(self, name: str, value: object, beside: str = "") -> Tile:
        return Tile(name, self.words.term(name), value, beside)

    def sections(self) -> Iterator[Section]:
        yield self._threshold_use()
        yield self._overage()
        if self.facts.courses:
            yield self._courses()
        yield self._unpaid()
        yield self._rejected()
        yield self._money()
        yield self._findings()
        yield self._basis()
        yield self._identity()

    # ------------------------------------------------------------ thresholds

    def _threshold_use(self) -> Section:
        if not self.facts.uses:
            return self._section("threshold_use", ["no_threshold"])
        by_class = [
            (code, list(each)) for code, each in groupby(self.facts.uses, lambda use: use.point_class)
        ]
        charts = [
            use_by_zone(uses, str(self.words.code(code)), self.words, f"use-{place}")
            for place, (code, uses) in enumerate(by_class)
        ]
        heads = ("point_class", "zone", "groups", "over", "eligible_points", "threshold_points", "use",
                 "overage_points")  # fmt: skip
        rows = [
            (self.words.code(use.point_class), self.words.code(use.zone), use.groups, use.over,
             use.eligible_points, use.threshold_points, use.use, use.overage_points)
            for use in self.facts.uses
        ]  # fmt: skip
        made = self._section(
            "threshold_use", ["threshold_use_note"], charts, [self._grid("use", heads, rows)]
        )
        return replace(made, legend=self._legend(BAND_COLOURS))

    def _overage(self) -> Section:
        if not self.facts.over_threshold:
            return self._section("overage_ranking", ["no_overage"])
        bars = [
            Bar(self._group(group), group["overage_points"], shown(group["overage_points"]))
            for group in self.facts.over_threshold[:_BARS]
        ]
        title = self.words.text("overage_ranking")
        return self._section(
            "overage_ranking", ["overage_note"], [ranking(bars, title, "overage")], [self._overage_grid()]
        )

    def _overage_grid(self) -> Grid:
        points = ("eligible_points", "threshold_points", "overage_points", "unpaid_points")
        rows = [
            (place, self._institution(group["institution_id"]), self.words.code(group["zone"]),
             self.words.code(group["point_class"]), *(group[name] for name in points), group["clause"])
            for place, group in enumerate(self.facts.over_threshold, start=1)
        ]  # fmt: skip
        heads = ("rank", "institution", "zone", "point_class", *points, "clause")
        return self._grid("over_threshold", heads, rows)

    def _group(self, group: Row) -> str:
        code = group["institution_id"]
        return f"{self.facts.names.get(code, code)} · {self.words.code(group['point_class']).main}"

    def _institution(self, code: str) -> str:
        name = self.facts.names.get(code)
        return f"{name} {code}" if name else code

    def _courses(self) -> Section:
        charts = [self._course(course, f"course-{place}") for place, course in enumerate(self.facts.courses)]
        made = self._section("daily_course", ["daily_course_note"], charts)
        return replace(made, legend=self._legend(PART_COLOURS))

    def _legend(self, colours: Mapping[str, str]) -> dict[str, str]:
        return {colour: self.words.text(part) for part, colour in colours.items()}

    def _course(self, course: Course, key: str) -> Chart:
        title = f"{self._institution(course.group['institution_id'])} · {self.words.code(course.group['point_class'])}"
        if course.crossed is None:  # no day ends above: the overage came and went within a day
            return daily_course(course, title, "", self.words, key)
        told = self.words.text(
            "crossed",
            day=course.crossed.day,
            before=shown(course.running_before),
            after=shown(course.crossed.running),
            threshold=shown(course.group["threshold_points"]),
            total=shown(course.group["eligible_points"]),
        )
        return daily_course(course, title, told, self.words, key)

    # ------------------------------------------------------------ lines

    def _unpaid(self) -> Section:
        rows = self.facts.unpaid_by_reason
        if not rows:
            settled = self.facts.run["lines_settled"]
            return self._section("unpaid_by_reason", ["nothing_unpaid" if settled else "nothing_settled"])
        known = [UnpaidReason[row["reason"].upper()] for row in rows]
        bars = [
            Bar(self.words.short(reason), row["unpaid_points"], shown(row["unpaid_points"]))
            for reason, row in zip(known, rows, strict=True)
        ]
        cells = [
            (
                Term(reason.value, ""),
                self.words.meaning(reason),
                row["line_count"],
                row["unpaid_points"],
                reason.clause,
            )
            for reason, row in zip(known, rows, strict=True)
        ]
        heads = ("reason", "meaning", "lines", "unpaid_points", "clause")
        charts = [ranking(bars, self.words.text("unpaid_by_reason"), "unpaid")]
        return self._section("unpaid_by_reason", [], charts, [self._grid("unpaid_by_reason", heads, cells)])

    def _rejected(self) -> Section:
        rows = self.facts.rejected_by_rule
        if not rows:
            return self._section("rejected", ["nothing_rejected"])
        known = [RejectRule[row["rule"].upper()] for row in rows]
        bars = [
            Bar(self.words.short(rule), Decimal(row["line_count"]), shown(row["line_count"]))
            for rule, row in zip(known, rows, strict=True)
        ]
        cells = [
            (Term(rule.value, ""), self.words.meaning(rule), row["line_count"],
             self.words.text("file_row", source=row["source"], row=shown(row["row_number"])))
            for rule, row in zip(known, rows, strict=True)
        ]  # fmt: skip
        charts = [ranking(bars, self.words.text("rejected"), "rejected")]
        grid = self._grid("rejected_by_rule", ("rule", "meaning", "lines", "first_seen"), cells)
        return self._section("rejected", ["rejected_note"], charts, [grid])

    # ------------------------------------------------------------ money and findings

    def _money(self) -> Section:
        if not self.facts.has_money:
            return self._section("money", ["no_money_note"])
        statements = self.facts.tables["statements"]
        due = statements["payment_due"].max()
        texts = [self.words.text("statement_count", count=shown(statements.height))]
        if due:
            texts.append(self.words.text("payment_due", day=due))
        rows = [
            (self.words.column("statements", column.name), self.facts.total("statements", column.name))
            for column in STATEMENTS.columns
            if column.kind is Kind.MONEY
        ]
        grids = [self._grid("statements", ("statement_item", "yuan"), rows)]
        if not self.facts.tables["budgets"].is_empty():
            grids.append(self._budgets())
        return Section("money", self.words.term("money"), texts, (), grids)

    def _budgets(self) -> Grid:
        names = ("zone", "point_class", "budget", "pool_points", "point_value", "remainder")
        rows = [
            (
                self.words.term("every_zone") if zone == "*" else self.words.code(zone),
                self.words.code(code),
                *rest,
            )
            for zone, code, *rest in self.facts.tables["budgets"].select(names).rows()
        ]
        heads = [self.words.column("budgets", name) for name in names]
        return Grid("budgets", self.words.term("budgets"), heads, rows[:_ROWS], self._more(len(rows)))

    def _findings(self) -> Section:
        findings = self.facts.tables["findings"].to_dicts()
        if not findings:
            return self._section("findings", ["no_findings"])
        rows = [
            (self._institution(row["institution_id"]), self.words.meaning(Finding[row["finding"].upper()]),
             row["occurred_on"], self.words.told(row["detail"]), row["clause"])
            for row in findings
        ]  # fmt: skip
        grid = self._grid("findings", ("institution", "finding", "day", "detail", "clause"), rows)
        return self._section("findings", ["findings_note"], (), [grid])

    # ------------------------------------------------------------ where it comes from

    def _basis(self) -> Section:
        assumptions = [self.words.told(each) for each in self.facts.assumptions]
        grid = self._grid("readings", ("key", "value"), sorted(self.facts.readings.items()))
        key = "assumptions_note" if assumptions else "no_assumptions"
        return Section("basis", self.words.term("basis"), [self.words.text(key)], (), [grid], assumptions)

    def _identity(self) -> Section:
        run, head = self.facts.run, self.facts.head
        names = ("policy_id", "policy_status", "policy_sha256", "input_sha256", "engine_version", "finished_at",
                 "results_sha256")  # fmt: skip
        recorded: Mapping[str, Any] = {**run, "policy_status": self.words.code(run["policy_status"]),
                                       "finished_at": f"{run['finished_at']:%Y-%m-%d %H:%M:%S} UTC"}  # fmt: skip
        rows = [
            (self.words.column("runs", "run_id"), run["run_id"]),
            (self.words.term("status"), self.words.code(self.facts.status)),
            *((self.words.column("runs", name), recorded[name]) for name in names),
            (self.words.term("head"), f"{head.hash} ({self.words.text('act', seq=head.seq)})"),
        ]
        return self._section(
            "identity", ["identity_note"], (), [self._grid("identity", ("key", "value"), rows)]
        )

    # ------------------------------------------------------------ what the sections share

    def _section(
        self, key: str, notes: Sequence[str], charts: Sequence[Chart] = (), grids: Sequence[Grid] = ()
    ) -> Section:
        return Section(key, self.words.term(key), [self.words.text(note) for note in notes], charts, grids)

    def _grid(self, name: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Grid:
        headings = [self.words.term(head) for head in heads]
        return Grid(name, self.words.term(_TITLES[name]), headings, rows[:_ROWS], self._more(len(rows)))

    def _more(self, count: int) -> str:
        if count <= _ROWS:
            return ""
        return self.words.text("and_more", count=shown(count - _ROWS), file=self.workbook)
