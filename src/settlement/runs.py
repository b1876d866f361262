"""One run: read, settle, prove, post. What `run` and `check` do, without printing.

Layer 6. Source: data 2 and 3, rules 8.2, 11.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from . import __version__, balances, exact, terms
from .batch import Batch, Progress, month_of, read_batch, room_to_write
from .carried import Standing, of_open_month
from .errors import Fault, Refusal
from .ledger import Inputs, Ledger, publish, publish_if_stale, results_sha256, stage_inputs, stage_table
from .pipeline import Carried, Settlement, Tables, here, readings_text, settle
from .policy import Policy
from .reconcile import Proof, held, proofs
from .schemas import polars_schema
from .spark import Cluster
from .workdays import payment_due


@dataclass(frozen=True)
class Order:
    """What the clerk asked for."""

    batch: Path
    month: str
    policy: Policy
    encoding: str | None = None
    is_strict: bool = False
    submitted_on: date | None = None
    has_due_date: bool = True
    cluster: Cluster | None = None  # settles the lines, instead of this machine


@dataclass(frozen=True)
class Report:
    """A settled month. `run_id` is None for a check; `is_unchanged`: the ledger held this very run already.

    `replaces`: the run that this one restates; `notes`: what of the difference could not be told apart.
    `lacks_lines`: it was given fewer lines than that run, which the first note tells.
    """

    batch: Batch
    policy: Policy
    settlement: Settlement
    proofs: tuple[Proof, ...]
    results_sha256: str
    seconds: Decimal
    run_id: str | None = None
    is_unchanged: bool = False
    replaces: str | None = None
    notes: tuple[str, ...] = ()
    lacks_lines: bool = False

    @property
    def counts(self) -> Mapping[str, int]:
        return self.settlement.counts

    def as_json(self) -> dict[str, Any]:
        """The object of `run --json`; decimals as text (commands). A restatement adds its adjustments."""
        groups, statements = self.settlement.settlements, self.settlement.statements
        amounts = groups["payable_amount"].drop_nulls()
        return {
            "run_id": self.run_id,
            "month": f"{self.batch.first_day:%Y-%m}",
            "policy_id": self.policy.id,
            "policy_status": self.policy.status,
            "lines_in": self.counts["lines_in"],
            "lines_settled": self.counts["lines_settled"],
            "lines_rejected": self.counts["lines_rejected"],
            "institutions": groups["institution_id"].n_unique(),
            "submitted_points": str(groups["submitted_points"].sum()),
            "payable_points": str(groups["payable_points"].sum()),
            "unpaid_points": str(groups["unpaid_points"].sum()),
            "payable_amount": str(amounts.sum()) if amounts.len() or not statements.is_empty() else None,
            "assumptions": list(self.settlement.assumptions),
            "findings": self.settlement.findings.select(
                "institution_id", "finding", pl.col("occurred_on").cast(pl.String), "detail"
            ).to_dicts(),
            "results_sha256": self.results_sha256,
            "seconds": str(self.seconds),
            "unchanged": self.is_unchanged,
            **(self._restated() if self.replaces else {}),
        }

    def _restated(self) -> dict[str, Any]:
        columns = ("institution_id", "cause", "points_delta", "amount_delta")
        rows = self.settlement.adjustments.select(pl.col(columns).cast(pl.String)).to_dicts()
        return {"replaces": self.replaces, "adjustments": rows, "notes": list(self.notes)}


def check(order: Order, progress: Progress) -> Report:
    """Settle without a ledger: nothing is written, nothing brought forward."""
    return settled(order, Standing(), progress)


def run(order: Order, folder: Path, progress: Progress) -> Report:
    """Settle a month into the ledger in `folder`. The same input and policy post nothing new (rules 11).

    Raises Refusal for a closed month, a ledger in use and everything the rules refuse.
    """
    ledger, month = Ledger(folder), month_of(order.month)
    with _leaves_nothing_behind(ledger), ledger.lock(), _scratch(ledger, order) as scratch:
        run_id, standing = ledger.next_run_id(month), of_open_month(ledger, month, ledger.acts())
        report = _with_balances(ledger, settled(order, standing, progress, scratch))
        known = same_run(ledger, report)
        if known:
            publish_if_stale(ledger)
            return replace(_of_record(ledger, known, report), run_id=known, is_unchanged=True)
        progress("posting the run")
        post(ledger, run_id, report, order)
        progress("publishing settlement.duckdb")
        publish(ledger)
        return replace(_of_record(ledger, run_id, report), run_id=run_id)


@contextmanager
def _scratch(ledger: Ledger, order: Order) -> Iterator[Path | None]:
    """Where a run's temporary files lie: a cluster's workers see the ledger, not this machine's temporary folder."""
    if order.cluster is None:
        yield None
        return
    folder = ledger.staging()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _of_record(ledger: Ledger, run_id: str, report: Report) -> Report:
    """The report with large tables as the run recorded them: what it was settled into goes with the scratch folder."""
    recorded = {
        name: ledger.scan(run_id, name).drop("run_id")
        for name, table in report.settlement.tables.items()
        if isinstance(table, pl.LazyFrame)
    }
    tables = {**report.settlement.tables, **recorded}
    return replace(report, settlement=replace(report.settlement, tables=tables))


def _with_balances(ledger: Ledger, report: Report) -> Report:
    """The report with the proof of its balances; none without statements, which leave balances where they are."""
    statements, month = report.settlement.statements, report.batch.first_day
    if statements.is_empty():
        return report
    balances.refuse_under_closed(ledger, month, statements)
    return replace(report, proofs=(*report.proofs, *held(balances.proof_of_run(ledger, month, statements))))


@contextmanager
def _leaves_nothing_behind(ledger: Ledger) -> Iterator[None]:
    """A refused first run leaves no empty ledger folder, and none of the folders made for it."""
    made = [folder for folder in (ledger.folder, *ledger.folder.parents) if not folder.exists()]
    try:
        yield
    except BaseException:
        if made and not ledger.journal.exists():
            shutil.rmtree(made[-1], ignore_errors=True)
        raise


@room_to_write()
def settled(order: Order, standing: Standing, progress: Progress, scratch: Path | None = None) -> Report:
    """Read, settle and prove a month that takes `standing` from earlier runs; nothing is written.

    `scratch`: where temporary copies lie, instead of the temporary folder.
    """
    started = time.monotonic_ns()
    carried, through = _carried(order, standing), order.cluster.settle if order.cluster else here
    batch = read_batch(
        order.batch, order.month, order.policy, encoding=order.encoding, scratch=scratch, progress=progress
    )
    try:
        with refusing_unfit(batch):
            settlement = settle(batch, order.policy, progress, carried, through)
            progress("proofs")
            proven = proofs(batch, settlement, standing.taken)
    finally:
        batch.close()
    if order.is_strict and settlement.counts["lines_rejected"]:
        raise _strict_refusal(settlement)
    seconds = Decimal(time.monotonic_ns() - started).scaleb(-9).quantize(Decimal("0.001"))
    return Report(batch, order.policy, settlement, proven, sha256_of(settlement.tables), seconds)


@contextmanager
def refusing_unfit(batch: Batch) -> Iterator[None]:
    """Raises Refusal where polars gives up over a damaged file, or a sum that does not fit 64 bits."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        batch.refuse_damaged_files()
        if exact.is_too_large(error):
            raise exact.too_large("batch, sums") from error
        raise


def sha256_of(tables: Tables) -> str:
    """The results hash of tables that belong to no run yet."""
    return results_sha256(_with_run_id(tables, ""))


def _carried(order: Order, standing: Standing) -> Carried:
    """Balances and adjustments of earlier months, and the payment day (rules 8.2, 8.3)."""
    due = None
    if order.submitted_on and order.has_due_date:
        due = payment_due(order.submitted_on, order.policy.money.payment_working_days)
    return Carried(standing.balances, standing.adjustments, due)


def _strict_refusal(settlement: Settlement) -> Refusal:
    rejected = settlement.tables["rejected_lines"].lazy()
    by_rule = rejected.group_by("rule").len().sort("len", "rule", descending=[True, False]).collect().rows()
    first = rejected.head(1).collect().row(0, named=True)
    lines = settlement.counts["lines_rejected"]
    return Refusal(
        "claims, --strict",
        f"{lines} rejected line(s): {', '.join(f'{rule} {count}' for rule, count in by_rule)}; "
        f"the first is row {first['row_number']} of {first['source']}",
        "no rejected line",
        "correct the lines, or run without --strict",
    )


def _with_run_id(tables: Tables, run_id: str) -> dict[str, pl.DataFrame | pl.LazyFrame]:
    return {
        name: frame.select(pl.lit(run_id, dtype=pl.String).alias("run_id"), pl.all())
        for name, frame in tables.items()
    }


def same_run(ledger: Ledger, report: Report) -> str | None:
    """The newest run of the month, if it had the same input, policy and readings and gave the same results.

    What a restating run adds, its adjustments, belongs to the run it replaced: here it counts as the same.
    """
    newest = ledger.newest_run(report.batch.first_day)
    if newest is None or newest.run_id is None:
        return None
    kept = ledger.scan(newest.run_id, "runs").collect().row(0, named=True)
    same = (report.batch.input_sha256, report.policy.sha256, readings_text(report.policy))
    if same != (kept["input_sha256"], kept["policy_sha256"], kept["readings"]):
        return None
    adjustments = ledger.scan(newest.run_id, "adjustments").drop("run_id").collect()
    found = report.results_sha256
    if not adjustments.is_empty():
        found = sha256_of({**report.settlement.tables, "adjustments": adjustments})
    return newest.run_id if found == kept["results_sha256"] else None


def post(ledger: Ledger, run_id: str, report: Report, order: Order, reason: str | None = None) -> None:
    """Posts a settled month as run `run_id`, with what it was settled from; with a reason, as a restatement."""
    staged, month = ledger.staging(), report.batch.first_day
    at = datetime.now(UTC).replace(tzinfo=None)
    frames = {**_with_run_id(report.settlement.tables, run_id), "runs": _run_row(run_id, month, report, at)}
    for table in terms.LEDGER_TABLES:
        stage_table(staged, table, frames[table.name])
    stage_inputs(staged, inputs_of(order, report.batch))
    act = ledger.post_run(staged, month, report.results_sha256, at, reason)
    if act.run_id != run_id:
        raise Fault(f"ledger {ledger.folder}", f"run {act.run_id} posted", f"run {run_id}")


def inputs_of(order: Order, batch: Batch) -> Inputs:
    """What a month is settled from, to be kept with the run."""
    return Inputs(
        policy=order.policy,
        tables=batch.tables,
        files=batch.file_sha256,
        sizes={name: (batch.folder / name).stat().st_size for name in batch.file_sha256},
        batch_folder=batch.folder.absolute(),
        submitted_on=order.submitted_on,
        has_due_date=order.has_due_date,
        encoding=order.encoding,
    )


def _run_row(run_id: str, month: date, report: Report, at: datetime) -> pl.DataFrame:
    counts = report.counts
    row = {
        "run_id": run_id,
        "month": month,
        "status": "open",
        "policy_id": report.policy.id,
        "policy_status": report.policy.status,
        "policy_sha256": report.policy.sha256,
        "readings": readings_text(report.policy),
        "assumptions": json.dumps(report.settlement.assumptions, ensure_ascii=False),
        "input_sha256": report.batch.input_sha256,
        "engine_version": __version__,
        **{name: counts[name] for name in ("lines_in", "lines_settled", "lines_rejected")},
        **{
            name: Decimal(counts[name]).scaleb(-exact.POINT_DECIMALS)
            for name in ("points_in", "points_settled", "points_rejected")
        },
        "finished_at": at,
        "results_sha256": report.results_sha256,
        "hash": None,
    }
    return pl.DataFrame([row], schema=polars_schema(terms.RUNS))
