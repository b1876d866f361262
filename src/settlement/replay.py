"""Settling a recorded run once more: does today's engine still give the same results from the same inputs?

Layer 6. Nothing is written. Source: rules 11.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from .batch import Progress, batch_files, file_sha256
from .carried import of_open_month, of_restatement
from .causes import differing
from .errors import Fault, Refusal
from .ledger import RESTATED, Act, Ledger
from .restatement import with_adjustments
from .runs import Order, Report, settled
from .terms import RESULT_TABLES


@dataclass(frozen=True)
class Replay:
    """A run settled once more. `tables`: names of the result tables that differ from the recorded ones."""

    run_id: str
    recorded_sha256: str
    results_sha256: str
    tables: tuple[str, ...]
    recorded_engine: str

    @property
    def is_same(self) -> bool:
        return self.recorded_sha256 == self.results_sha256

    def as_json(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "same": self.is_same,
            "recorded_sha256": self.recorded_sha256,
            "results_sha256": self.results_sha256,
            "tables": list(self.tables),
        }


def replay(ledger: Ledger, run_id: str, batch: Path, progress: Progress) -> Replay:
    """Settle the batch as run `run_id` was settled: its policy, readings and order, and what earlier runs had left.

    Raises: Refusal for an unknown run, one whose inputs were not kept, and a batch with other files.
    """
    act, kept = ledger.act_of(run_id), ledger.inputs(run_id)
    _refuse_other_files(batch, kept.files, run_id)
    engine = str(ledger.scan(run_id, "runs").select("engine_version").collect().item())
    order = Order(
        batch,
        run_id.partition(".")[0],
        kept.policy,
        kept.encoding,
        submitted_on=kept.submitted_on,
        has_due_date=kept.has_due_date,
    )
    report = _settled_again(ledger, act, order, engine, progress)
    return Replay(
        run_id, str(act.results_sha256), report.results_sha256, tuple(_differing(ledger, act, report)), engine
    )


def _settled_again(ledger: Ledger, act: Act, order: Order, engine: str, progress: Progress) -> Report:
    """With the ledger as it stood before the run was posted."""
    if act.month is None:
        raise Fault(f"journal, act {act.seq}", "a run without a month", "its month")
    earlier = ledger.acts()[: act.seq - 1]
    if act.act != RESTATED:
        return settled(order, of_open_month(ledger, act.month, earlier), progress)
    replaced = str([one.run_id for one in earlier if one.month == act.month and one.made_run][-1])
    report = settled(order, of_restatement(ledger, replaced, earlier), progress)
    return with_adjustments(ledger, replaced, order, report, engine, progress)


def _refuse_other_files(batch: Path, kept: dict[str, str], run_id: str) -> None:
    found = {name: file_sha256(path) for name, path in batch_files(batch).items()}
    names = differing(kept, found)
    if names:
        raise Refusal(
            str(batch),
            f"other files than those of run {run_id}: {', '.join(names)}",
            "the files the run was settled from, byte for byte",
            "give the folder that holds them",
        )


def _differing(ledger: Ledger, act: Act, report: Report) -> list[str]:
    """Names of the result tables whose rows are not the recorded ones."""
    return [
        table.name
        for table in RESULT_TABLES
        if not _recorded(ledger, act, table.name).equals(
            report.settlement.tables[table.name].lazy().collect()
        )
    ]


def _recorded(ledger: Ledger, act: Act, table: str) -> pl.DataFrame:
    return ledger.scan(str(act.run_id), table).drop("run_id").collect()
