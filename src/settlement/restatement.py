"""Correcting a closed month: settle it anew, and book the difference as adjustments, by cause.

Layer 6. A closed month never changes. The new run stands beside the old one; what they differ in is paid or recovered
by the statements of the next open month. Source: rules 8.2, 11.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from . import __version__, exact
from .balances import refuse_stale
from .batch import Progress, month_of
from .carried import of_restatement
from .causes import Side, has_money, holds_lines_of, of_statements, parted
from .errors import Fault, Refusal
from .ledger import Inputs, Ledger, publish, publish_if_stale
from .runs import Order, Report, inputs_of, post, same_run, settled, sha256_of
from .schemas import result_schema
from .terms import ADJUSTMENTS


def close(ledger: Ledger, month: date) -> str:
    """Closes a month and says which run stands. Raises Refusal for one without a run, or closed. Source: rules 11."""
    with ledger.lock():
        newest = ledger.newest_run(month)
        if newest and newest.run_id and not ledger.is_closed(month):
            _refuse_empty(ledger, month, newest.run_id)
            refuse_stale(ledger, month, newest.run_id)
        act = ledger.close(month, datetime.now(UTC))
        publish(ledger)
    return str(act.run_id)


def _refuse_empty(ledger: Ledger, month: date, run_id: str) -> None:
    """A month of which no line was settled is most likely a batch of another month: it would pay nobody for good."""
    settled, rejected = ledger.scan(run_id, "runs").select("lines_settled", "lines_rejected").collect().row(0)
    if not settled:
        raise Refusal(
            f"ledger {ledger.folder}",
            f"run {run_id} settled no line: all {rejected} are rejected",
            "a run with settled lines",
            f"`settlement run BATCH --month {month:%Y-%m}` with the lines of that month, then close it",
        )


def restate(order: Order, folder: Path, reason: str, progress: Progress) -> Report:
    """Settle a closed month anew, beside the run that stands, and post the difference as adjustments.

    The new run takes the balances and adjustments that the old one took: its statements say what the month should have
    come to. The same inputs and results post nothing.

    Raises: Refusal for a blank reason, a month that is not closed, a run whose inputs were not kept, money tables that
    are missing where the month was settled with them, and everything the rules refuse.
    """
    if not reason.strip():
        raise Refusal(
            "--reason", repr(reason), "why the month is restated", 'for example --reason "late lines"'
        )
    ledger, month = Ledger(folder), month_of(order.month)
    if not ledger.journal.exists():
        raise Refusal(
            str(folder), "no ledger there", "the ledger in which the month was closed", "give --ledger"
        )
    with ledger.lock():
        run_id = ledger.next_run_id(month, is_restating=True)
        replaced = _standing_run(ledger, month)
        report = settled(order, of_restatement(ledger, replaced, ledger.acts()), progress)
        known = same_run(ledger, report)
        if known:
            publish_if_stale(ledger)
            recorded = str(ledger.scan(known, "runs").collect()["results_sha256"].item())
            return replace(report, run_id=known, is_unchanged=True, results_sha256=recorded)
        report = with_adjustments(ledger, replaced, order, report, __version__, progress)
        progress("posting the restatement")
        post(ledger, run_id, report, order, reason.strip())
        progress("publishing settlement.duckdb")
        publish(ledger)
        return replace(report, run_id=run_id)


def _standing_run(ledger: Ledger, month: date) -> str:
    newest = ledger.newest_run(month)
    if newest is None or newest.run_id is None:
        raise Fault(f"ledger {ledger.folder}", f"month {month:%Y-%m} closed without a run", "a run")
    return newest.run_id


def with_adjustments(
    ledger: Ledger, replaced: str, order: Order, report: Report, engine_version: str, progress: Progress
) -> Report:
    """The report with its table `adjustments`: what it changes against the run it replaces, by cause.

    `engine_version`: of the engine that settled, or once settled, the report.
    Rows: month × institution × cause whose points or amount are not zero. Adds: points_delta, payable points;
    amount_delta, what the statement comes to before adjustments and balances: gross less deposit and deductions
    (null if both runs have points only; a month first settled without money counts as paid 0.00).
    """
    before, after = ledger.inputs(replaced), inputs_of(order, report.batch)
    _refuse_lost_money(before, after, report.batch.first_day)
    new = Side(after, engine_version, of_statements(report.settlement.tables), report.batch.folder)
    old = _recorded_side(ledger, replaced, before)
    missing = _missing_lines(ledger, replaced, report)
    parts = parted(old, new, report.batch.first_day, of_statements, progress=progress)
    amount = exact.as_money(pl.col("amount")) if has_money(before) or has_money(after) else pl.lit(None)
    columns = {
        "month": pl.lit(report.batch.first_day),
        "points_delta": exact.as_points(pl.col("points")),
        "amount_delta": amount,
        "applied_in_run": pl.lit(None),  # never known in the record: the journal tells it on publishing
    }
    schema = result_schema(ADJUSTMENTS)
    rows = parts.rows.with_columns(**columns).select(pl.col(name).cast(kind) for name, kind in schema.items())
    tables = {**report.settlement.tables, ADJUSTMENTS.name: rows.sort(ADJUSTMENTS.key)}
    return replace(
        report,
        settlement=replace(report.settlement, tables=tables),
        results_sha256=sha256_of(tables),
        replaces=replaced,
        notes=(*missing, *parts.notes),
        lacks_lines=bool(missing),
    )


def _missing_lines(ledger: Ledger, replaced: str, report: Report) -> list[str]:
    """A restatement settles the whole month anew: one with late lines alone would recover all the others."""
    had = int(ledger.scan(replaced, "runs").collect()["lines_in"].item())
    has = report.counts["lines_in"]
    if has >= had:
        return []
    return [
        f"this batch has {has:,} line(s), run {replaced} had {had:,}: a restatement settles the whole month anew, and "
        "what is missing is recovered. If only late lines were meant, restate again with all lines of the month"
    ]


def _recorded_side(ledger: Ledger, replaced: str, inputs: Inputs) -> Side:
    """The earlier run as it was recorded. Its lines are looked for only where an older engine is to be measured."""
    recorded = ledger.recorded(replaced)
    engine = str(recorded["runs"]["engine_version"].item())
    is_needed = engine != __version__ and holds_lines_of(inputs.batch_folder, inputs)
    return Side(inputs, engine, of_statements(recorded), inputs.batch_folder if is_needed else None)


def _refuse_lost_money(before: Inputs, after: Inputs, month: date) -> None:
    """A forgotten file would recover from every institution all that the month has paid."""
    if has_money(before) and not has_money(after):
        raise Refusal(
            f"batch, {month:%Y-%m}",
            "neither point_values nor budgets, but the month was settled with money",
            "the month's money tables",
            "add point_values or budgets to the batch",
        )
