"""What the record holds of one institution and run, read once; nothing is derived here."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import polars as pl

from ..carried import Standing, of_open_month, of_restatement
from ..errors import Refusal
from ..ledger import RESTATED, Act, Inputs, Ledger, explained_lines
from ..rules import timeline

Row = dict[str, Any]
GROUP = ("regime", "point_class")  # of one institution


@dataclass(frozen=True)
class Case:
    """One settling institution in one run.

    `asked`: registry row of the institution that was asked for, `institution` that of the one it settles under, or
    the same. `run`: row of `runs`, its status as the journal has it now. `act`: the one that posted the run,
    `earlier`: those before it.
    `all_groups`: settlements of the run; `tables`: the institution's rows of every other table of the run;
    `lines`: its rows of `line_explanations`, for this run. `timelines`: of the institution and what settles under it.
    """

    ledger: Ledger
    asked: Row
    institution: Row
    run: Row
    act: Act
    earlier: Sequence[Act]
    inputs: Inputs
    all_groups: pl.DataFrame
    tables: dict[str, pl.DataFrame]
    lines: list[Row]
    timelines: timeline.Registry

    @property
    def id(self) -> str:
        return str(self.institution["institution_id"])

    @property
    def run_id(self) -> str:
        return str(self.run["run_id"])

    @property
    def month(self) -> timeline.Span:
        first: date = self.run["month"]
        return timeline.Span(first, timeline.months_later(first, 1) - timeline.ONE_DAY)

    @property
    def timeline(self) -> timeline.Timeline:
        return self.timelines.timelines[self.id]

    @property
    def groups(self) -> list[Row]:
        """Rows of settlements, those with a threshold first."""
        rows = self.tables["settlements"].to_dicts()
        return sorted(rows, key=lambda row: (row["threshold_points"] is None, *(row[name] for name in GROUP)))

    @property
    def statement(self) -> Row | None:
        rows = self.tables["statements"].to_dicts()
        return rows[0] if rows else None

    @cached_property
    def standing(self) -> Standing:
        """What earlier runs left to the statement, as it stood when the run was posted."""
        if self.act.act != RESTATED:
            return of_open_month(self.ledger, self.month.first, self.earlier)
        replaced = [act for act in self.earlier if act.made_run and act.month == self.month.first]
        return of_restatement(self.ledger, str(replaced[-1].run_id), self.earlier)

    def lines_of(self, group: Row) -> list[Row]:
        """The group's unpaid lines in canonical order."""
        return [line for line in self.lines if all(line[name] == group[name] for name in GROUP)]


_OF_INSTITUTION = ("settlements", "daily_points", "agreement_years", "statements", "findings")


def case_of(ledger: Ledger, month: date, wanted: str, run_id: str | None = None) -> Case:
    """Reads the record of one institution, given by id or exact name.

    Raises: Refusal, for an unknown institution (naming near ones), month or run, and for a run without its inputs.
    """
    act = _act(ledger, month, run_id)
    chosen = str(act.run_id)
    inputs = ledger.inputs(chosen)
    earlier = [each for each in ledger.acts() if each.seq < act.seq]
    institutions = _registry(ledger, chosen, inputs.tables["institutions"], earlier)
    asked = _institution(institutions, wanted, chosen)
    settling = asked["settles_under"] or asked["institution_id"]
    tables = {
        name: ledger.scan(chosen, name).filter(pl.col("institution_id") == settling).collect()
        for name in _OF_INSTITUTION
    } | {"budgets": ledger.scan(chosen, "budgets").collect()}
    run = ledger.scan(chosen, "runs").collect().row(0, named=True)
    return Case(
        ledger=ledger,
        asked=asked,
        institution=_row(institutions, settling),
        run=run | {"status": ledger.statuses[chosen]},
        act=act,
        earlier=earlier,
        inputs=inputs,
        all_groups=ledger.scan(chosen, "settlements").collect(),
        tables=tables,
        lines=explained_lines(ledger, chosen, settling).to_dicts(),
        timelines=_timelines(institutions, inputs, settling),
    )


def _act(ledger: Ledger, month: date, run_id: str | None) -> Act:
    act = ledger.newest_run(month) if run_id is None else ledger.act_of(run_id)
    months = ", ".join(f"{each:%Y-%m}" for each in ledger.months)
    if act is None:
        raise Refusal(
            f"ledger {ledger.folder}",
            f"no run of {month:%Y-%m}",
            f"a settled month: {months}",
            "give it with --month",
        )
    if act.month != month:
        raise Refusal(
            f"run {run_id}", f"it is not of {month:%Y-%m}", "a run of the month", "see `settlement runs`"
        )
    return act


def _registry(ledger: Ledger, run_id: str, listed: pl.DataFrame, earlier: Sequence[Act]) -> pl.DataFrame:
    """The registry of the run, and whoever it pays or recovers from without listing them, as listed last before.

    A balance or an adjustment reaches also an institution that has left since (rules 8.2).
    """
    paid = ledger.scan(run_id, "statements").select("institution_id").collect()
    for act in reversed(earlier):
        left = paid.join(listed, on="institution_id", how="anti")
        if left.is_empty():
            break
        if act.made_run and act.kept_inputs:
            before = ledger.inputs_of(act).tables["institutions"].join(left, on="institution_id", how="semi")
            listed = pl.concat([listed, before.with_columns(settles_under=pl.lit(None, pl.String))])
    return listed


def _row(institutions: pl.DataFrame, institution_id: str) -> Row:
    return institutions.row(by_predicate=pl.col("institution_id") == institution_id, named=True)


def _institution(institutions: pl.DataFrame, wanted: str, run_id: str) -> Row:
    """The institution with this id, else with exactly this name."""
    for column in ("institution_id", "name"):
        found = institutions.filter(pl.col(column) == wanted.strip())
        if found.height == 1:
            return found.row(0, named=True)
        if found.height > 1:
            raise Refusal(
                f"institution {wanted!r}",
                f"{found.height} of this name",
                _listed(found),
                "give the id instead",
            )
    near = institutions.filter(pl.col("institution_id").is_in(_near(institutions, wanted)))
    raise Refusal(
        f"institution {wanted!r}",
        f"the registry of run {run_id} does not list it",
        "an id, or an exact name" + (f"; near ones: {_listed(near)}" if near.height else ""),
        'all of them: `settlement sql "from applied.institutions"`',
    )


def _near(institutions: pl.DataFrame, wanted: str) -> list[str]:
    """Ids of institutions whose id or name is like the one wanted, or holds it."""
    ids = {text: row[0] for row in institutions.select("institution_id", "name").rows() for text in row}
    close = difflib.get_close_matches(wanted, ids, n=5)
    return [ids[text] for text in (*close, *[text for text in ids if wanted in text][:5])]


def _listed(institutions: pl.DataFrame) -> str:
    return ", ".join(
        " ".join(row) for row in institutions.select("institution_id", "name").sort("institution_id").rows()
    )


def _timelines(institutions: pl.DataFrame, inputs: Inputs, settling: str) -> timeline.Registry:
    institutions = institutions.filter(pl.coalesce("settles_under", "institution_id") == settling)
    own = pl.col("institution_id").is_in(institutions["institution_id"].implode())
    agreements, events = (inputs.tables[name].filter(own) for name in ("agreements", "events"))
    return timeline.registry(institutions, agreements, events, inputs.policy)
