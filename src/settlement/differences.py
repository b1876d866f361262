"""What changed between two runs of a month: per institution and point class, split by cause.

Layer 6. The parts add up to the whole exactly. Source: rules 11, commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from . import exact
from .batch import Progress
from .causes import Side, differing_lines, has_money, holds_lines_of, of_groups, parted
from .errors import Refusal
from .ledger import Inputs, Ledger


@dataclass(frozen=True)
class Difference:
    """`rows`: institution_id, point_class, cause, payable_points (18,4), payable_amount (18,2; null without money):
    later less earlier, only rows that are not zero.
    """

    earlier: str
    later: str
    rows: pl.DataFrame
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Decimals as text."""
        numbers = pl.col("payable_points", "payable_amount").cast(pl.String)
        rows = self.rows.with_columns(numbers).to_dicts()
        return {"earlier": self.earlier, "later": self.later, "differences": rows, "notes": list(self.notes)}


def difference(
    ledger: Ledger, earlier: str, later: str, folders: Mapping[str, Path], progress: Progress
) -> Difference:
    """What the later run pays more or less than the earlier one, by cause.

    `folders`: run → the folder with its claim lines, where it is not the one it was settled from.

    Raises: Refusal for runs of different months, an unknown run, and lines that are needed but gone.
    """
    months = [ledger.act_of(run_id).month for run_id in (earlier, later)]
    if months[0] is None or months[0] != months[1]:
        raise Refusal(
            f"{earlier}, {later}",
            "runs of different months",
            "two runs of one month",
            "see `settlement runs`",
        )
    _refuse_stray(folders, earlier, later)
    sides = [_side(ledger, run_id, folders.get(run_id)) for run_id in (earlier, later)]
    parts = parted(sides[0], sides[1], months[0], of_groups, parts_lines=True, progress=progress)
    amount = exact.as_money(pl.col("amount"))
    rows = parts.rows.select(
        "institution_id",
        "point_class",
        "cause",
        payable_points=exact.as_points(pl.col("points")),
        payable_amount=amount
        if any(has_money(side.inputs) for side in sides)
        else pl.lit(None, pl.Decimal(18, 2)),
    )
    return Difference(earlier, later, rows, parts.notes)


def _refuse_stray(folders: Mapping[str, Path], *run_ids: str) -> None:
    for run_id in folders:
        if run_id not in run_ids:
            raise Refusal(
                "--batch", run_id, f"{' or '.join(run_ids)}", "--batch RUN=PATH names a compared run"
            )


def _side(ledger: Ledger, run_id: str, folder: Path | None) -> Side:
    inputs, recorded = ledger.inputs(run_id), ledger.recorded(run_id)
    engine = str(recorded["runs"]["engine_version"].item())
    return Side(inputs, engine, of_groups(recorded), _lines(run_id, inputs, folder))


def _lines(run_id: str, inputs: Inputs, folder: Path | None) -> Path | None:
    """Where the run's lines lie, byte for byte. Raises Refusal for a given folder that does not hold them."""
    if folder is None:
        return inputs.batch_folder if holds_lines_of(inputs.batch_folder, inputs) else None
    names = differing_lines(folder, inputs)
    if names:
        raise Refusal(
            f"--batch {run_id}={folder}",
            f"other files than the run was settled from: {', '.join(names)}",
            "the run's files of claim lines, byte for byte",
            "give the folder that holds them",
        )
    return folder
