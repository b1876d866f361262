"""What should be looked at before a run is believed: allowed by the contract, but most likely meant otherwise. Layer 6.

Unknown columns and files are passed over (data 1): then a suspension may be lost by a letter in a name.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from .batch import Batch
from .reasons import RejectRule
from .runs import Report

_DATA = (".csv", ".gz", ".parquet", ".tsv", ".txt", ".xls", ".xlsx", ".zip")


def doubts(report: Report) -> Iterator[str]:
    """Each as a sentence."""
    yield from _of_lines(report)
    yield from _of_files(report.batch)
    yield from _of_columns(report.batch)


def _of_lines(report: Report) -> Iterator[str]:
    counts, rejected = report.counts, report.settlement.tables["rejected_lines"].lazy()
    elsewhere = (
        rejected.filter(pl.col("rule") == RejectRule.OUTSIDE_MONTH.value).select(pl.len()).collect().item()
    )
    if elsewhere and (counts["lines_settled"] == 0 or elsewhere * 2 > counts["lines_in"]):
        month = f"{report.batch.first_day:%Y-%m}"
        yield (
            f"of {counts['lines_in']:,} line(s) {elsewhere:,} belong to another month than {month}, and "
            f"{counts['lines_settled']:,} are settled. Is --month right?"
        )
    elif counts["lines_settled"] == 0:
        by_rule = rejected.group_by("rule", "column_name").len().sort("len", "rule", descending=[True, False])
        rule, column, lines = by_rule.collect().row(0)
        yield f"no line settled; {lines:,} of {counts['lines_in']:,} break the rule {rule} ({column or '-'})"


def _of_files(batch: Batch) -> Iterator[str]:
    """Files of data that no table has as its own."""
    claims = batch.folder / "claims"
    there = [*batch.folder.iterdir(), *(claims.iterdir() if claims.is_dir() else ())]
    unread = sorted(
        path.relative_to(batch.folder).as_posix()
        for path in there
        if path.is_file() and path.suffix.lower() in _DATA and path not in batch.files
    )
    if unread:
        yield f"not read, for the contract knows no such file: {', '.join(unread)}"


def _of_columns(batch: Batch) -> Iterator[str]:
    """Unknown columns whose names are nearly those of columns that the file lacks; of claims files the first."""
    told = set()
    for source in (*batch.sources, *batch.small_files):
        for column, meant in source.columns.misspelt:
            doubt = (source.name.partition("/")[0], column)
            if doubt not in told:
                yield f"{source.name}: column {column} is not known; is it meant as {meant}, which the file lacks?"
            told.add(doubt)
