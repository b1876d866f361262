"""The bad lines of a batch as the ledger knows them: where each stands, and the rule it breaks. Source: data 2, 3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ..schemas import result_schema, with_ledger_types
from ..terms import REJECTED_LINES
from .duplicates import place_number
from .lines import FAULTS
from .staging import staged
from .tables import SourceFile

_MOST_LINES = 1_000_000  # sorted together: about 100 MB
_BLOCK = 65_536  # rows that are counted together to find the ranges


@dataclass(frozen=True)
class Rejected:
    """`table`: the ledger's `rejected_lines` without run_id, in canonical order, over files; `points` in 10⁻⁴."""

    table: pl.LazyFrame
    lines: int
    points: int


def rejected(bad: pl.LazyFrame, sources: Sequence[SourceFile], folder: Path) -> Rejected:
    """The bad lines (`Batch.bad_lines`), written to `folder` a range of places at a time, so that memory stays flat."""
    paths, lines, points = [], 0, 0
    for number, (first, last) in enumerate(_ranges(bad, place_number())):
        part = located(bad.filter(place_number().is_between(first, last)), sources).collect()
        lines, points = lines + part.height, points + int(part["points"].sum())
        paths.append(folder / f"rejected-{number:06}.parquet")
        with_ledger_types(REJECTED_LINES, part).write_parquet(paths[-1])
    return Rejected(staged(paths, result_schema(REJECTED_LINES)), lines, points)


def put_together_rejected(rows: pl.LazyFrame, sources: Sequence[SourceFile], folder: Path) -> pl.LazyFrame:
    """Rows of `rejected_lines` from several parts of a batch, in any order, as one table in canonical order.

    Written to `folder` a range at a time, as `rejected` does.
    """
    number_of = {source.name: number for number, source in enumerate(sources)}
    place = pl.col("source").replace_strict(number_of, return_dtype=pl.Int64) * 2**40 + pl.col("row_number")
    paths = []
    for number, (first, last) in enumerate(_ranges(rows, place)):
        paths.append(folder / f"rejected-{number:06}.parquet")
        rows.filter(place.is_between(first, last)).sort(place).collect().write_parquet(paths[-1])
    return staged(paths, result_schema(REJECTED_LINES))


def _ranges(bad: pl.LazyFrame, place: pl.Expr) -> Iterator[tuple[int, int]]:
    """First and last `place`, a whole number, of consecutive parts of about so many bad lines as fit into memory."""
    block = pl.col("place") // _BLOCK
    counted = bad.select(place=place).group_by(block=block).len().sort("block").collect(engine="streaming")
    parts = counted.group_by(pl.col("len").cum_sum() // _MOST_LINES, maintain_order=True)
    for first, last in (
        parts.agg(first=pl.col("block").first(), last=pl.col("block").last()).select("first", "last").rows()
    ):
        yield first * _BLOCK, (last + 1) * _BLOCK - 1


def located(bad: pl.LazyFrame, sources: Sequence[SourceFile]) -> pl.LazyFrame:
    """Bad lines with the file and row they stand in.

    Rows: one per bad line, in order of file and row. Needs: source, row_number (counted through the files of a group),
    claim_id, line_id, points, fault. Adds: source (file), row_number (in it), rule, column_name; points (10⁻⁴, 0 for
    a cell that is no good number).
    """
    files = pl.LazyFrame(
        [(source.group, source.rows_before + 1, source.name) for source in sources],
        schema={"source": pl.UInt32, "first_row": pl.Int64, "file": pl.String},
        orient="row",
    )
    rules = {place: rule.value for place, (rule, _) in enumerate(FAULTS)}
    columns = {place: column for place, (_, column) in enumerate(FAULTS)}
    return (
        bad.sort("source", "row_number")
        .join_asof(
            files.sort("source", "first_row"),
            left_on="row_number",
            right_on="first_row",
            by="source",
            check_sortedness=False,
        )
        .select(
            source="file",
            row_number=pl.col("row_number") - pl.col("first_row") + 1,
            claim_id="claim_id",
            line_id="line_id",
            rule=pl.col("fault").replace_strict(rules, return_dtype=pl.String),
            column_name=pl.col("fault").replace_strict(columns, return_dtype=pl.String),
            points=pl.col("points").fill_null(0),
        )
    )
