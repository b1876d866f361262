"""`settlement thresholds recalculate`: a ledger's year → new ordinary thresholds, as a fragment of a policy file.

Layer 6. Source: rules 9, 6.7; T 3(7). The fragment is rows of `[[institution_thresholds]]`: appended to the policy
file they hold from the day they name. It is read back as part of the policy before it is given out.
"""

from __future__ import annotations

import calendar
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from . import exact
from .errors import Refusal
from .ledger import Ledger
from .policy import Policy, Recalculation, policy_of
from .rules import recalculation

_CLAUSE = "三（七）"


@dataclass(frozen=True)
class Recalculated:
    """New thresholds of a base year. `rows`: as made by `rules.recalculation`; `runs`: run id → status."""

    year: int
    policy: Policy
    by: Recalculation
    runs: Mapping[str, str]
    known_on: date
    rows: pl.DataFrame

    @property
    def effective_from(self) -> date:
        """The first day after the base year."""
        return date(self.year + 1, 1, 1)

    @property
    def made(self) -> pl.DataFrame:
        """The rows with a threshold."""
        return self.rows.filter(pl.col("lack").is_null())

    @property
    def missing(self) -> pl.DataFrame:
        """The rows without one; `lack` says why."""
        return self.rows.filter(pl.col("lack").is_not_null())

    @property
    def statistic(self) -> str:
        """mean, median or, for example, percentile 75."""
        is_percentile = self.by.statistic == "percentile" and self.by.percentile is not None
        return f"percentile {self.by.percentile:f}" if is_percentile else self.by.statistic

    @property
    def fragment(self) -> str:
        """What to append to the policy file: from what it was made, then one table per threshold."""
        tables = [line for row in self.made.iter_rows(named=True) for line in ("", *self._table(row))]
        return "\n".join([*self._head(), *tables, ""])

    @property
    def whole_policy(self) -> str:
        """The policy file with the fragment appended."""
        return f"{self.policy.content.decode('utf-8-sig').rstrip()}\n\n{self.fragment}"

    def _head(self) -> Iterator[str]:
        runs = ", ".join(f"{run_id} ({status})" for run_id, status in self.runs.items())
        yield f"# Ordinary thresholds from {self.effective_from} on, recalculated after coaching ({_CLAUSE})."
        yield f"# {self.statistic} of the monthly eligible points of {self.year} of the peers: others of the same zone,"
        yield f"# payment class and point class, regime ordinary, with {self.by.min_months} or more settled months."
        yield f"# Coaching agreement years that have ended by {self.known_on}. Runs: {runs}."
        yield f"# Policy {self.policy.id}, SHA-256 {self.policy.sha256}."
        for row in self.missing.iter_rows(named=True):
            without = f"{row['institution_id']} {row['point_class']}, {place_of(row)}: {row['lack']}"
            yield f"# NO THRESHOLD for {_quoted(without)[1:-1]}."
        if self.rows.is_empty():
            yield "# No institution's coaching agreement years have ended: there is nothing to recalculate."

    def _table(self, row: Mapping[str, Any]) -> Iterator[str]:
        peers = row["peers"]
        taken_of = f"{self.statistic} of {row['peer_months']} months of {len(peers)} peer(s) in {self.year}"
        record = f"coaching ended {row['ended_on']}; peers: {', '.join(peers)}"
        yield "[[institution_thresholds]]"
        yield f"institution_id = {_quoted(row['institution_id'])}"
        yield f"effective_from = {self.effective_from}"
        yield f"point_class = {_quoted(row['point_class'])}"
        yield f"threshold = {_quoted(exact.threshold_text(row['threshold']))}"
        yield f"clause = {_quoted(_CLAUSE)}"
        yield f"source = {_quoted(f'{taken_of}, {place_of(row)}')}"
        yield f"note = {_quoted(record)}"


def recalculate(ledger: Ledger, year: int, policy: Policy) -> Recalculated:
    """New ordinary thresholds from the ledger's current runs of a base year (rules 9).

    Whose coaching has ended is asked of the newest run: agreements as known on the last day of its month.

    Raises: Refusal, if the year has no run, the policy no [recalculation], or the new rows do not fit the policy.
    """
    if policy.recalculation is None:
        raise Refusal(
            f"policy {policy.id}",
            "no [recalculation]",
            "statistic and min_months",
            "add the table to the policy",
        )
    months = ledger.months
    of_year = [month for month in months if month.year == year]
    if not of_year:
        raise Refusal(
            f"ledger {ledger.folder}",
            f"no run in {year}",
            "a year with settled months",
            "see `settlement runs`",
        )
    known_on = _last_day(months[-1])
    ended = recalculation.ended(_read(ledger, months[-1:], "agreement_years"), known_on)
    monthly = recalculation.monthly_points(_read(ledger, of_year, "settlements"))
    placed = recalculation.places(_read(ledger, months, "settlements"))
    rows = recalculation.recalculated(ended, placed, monthly, policy.recalculation)
    runs = {run_id: ledger.statuses[run_id] for run_id in _current(ledger, of_year)}
    made = Recalculated(year, policy, policy.recalculation, runs, known_on, rows)
    _refuse_unfit(made)
    return made


def write(path: Path, text: str) -> None:
    """Write a text to a new file. Raises: Refusal, if the file holds something else or cannot be written."""
    try:
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise Refusal(str(path), "a file with other content", "a new file", "name another, or remove it")
        path.write_text(text, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(
            str(path),
            f"cannot be written: {error}",
            "a path that can be written",
            "name another file, or mend this and run the command again",
        ) from error


def place_of(row: Mapping[str, Any]) -> str:
    """Zone and payment class of a row, in words."""
    parts = [part for part in (row["zone"], row["payment_class"]) if part]
    return " ".join(parts) or "place unknown"


def _current(ledger: Ledger, months: Sequence[date]) -> list[str]:
    """The run that stands for each month: the newest one, neither superseded nor restated."""
    return [act.run_id for month in months if (act := ledger.newest_run(month)) and act.run_id]


def _read(ledger: Ledger, months: Sequence[date], table: str) -> pl.DataFrame:
    return pl.concat([ledger.scan(run_id, table) for run_id in _current(ledger, months)]).collect()


def _last_day(month: date) -> date:
    return month.replace(day=calendar.monthrange(month.year, month.month)[1])


def _refuse_unfit(made: Recalculated) -> None:
    """What is given out is a policy that a run accepts, together with the file it was made for."""
    try:
        policy_of(made.whole_policy.encode(), made.policy.path)
    except Refusal as unfit:
        raise Refusal(
            f"policy {made.policy.path.name} with the new rows", unfit.found, unfit.expected, unfit.remedy
        ) from unfit


def _quoted(text: str) -> str:
    """A text as TOML has it; JSON writes the same, but for the control character 127."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
