"""Is a contender's result the engine's? If not there is nothing to compare, and the benchmark fails."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from .job import Job

_LINE = ["institution_id", "claim_id", "line_id"]
_GROUP = ["settling_id", "point_class"]
_LINES_AT_ONCE = 4_000_000


class Differs(Exception):
    """A contender's result is not the engine's."""


def refuse_difference(name: str, found: Path, expected: Path) -> None:
    """Compare every group's totals and every unpaid line, in any order. Raises Differs with some that differ.

    A group without eligible points may be left out.
    """
    mine, right = Job(found, found, ""), Job(expected, expected, "")
    groups = (
        pl.scan_parquet(job.groups).filter(pl.any_horizontal(pl.col("eligible", "payable") != 0))
        for job in (mine, right)
    )
    _refuse(f"{name}, groups", *(each.select(*_GROUP, "eligible", "payable").collect() for each in groups))
    lines = [pl.scan_parquet(job.unpaid).select(*_LINE, "unpaid") for job in (mine, right)]
    parts = 1 + lines[1].select(pl.len()).collect().item() // _LINES_AT_ONCE
    for part in range(parts):  # so many at a time that memory suffices
        here = pl.col("claim_id").hash() % parts == part
        _refuse(f"{name}, unpaid lines", *(each.filter(here).collect() for each in lines))


def _refuse(where: str, found: pl.DataFrame, right: pl.DataFrame) -> None:
    texts = [name for name in right.columns if name in (*_LINE, *_GROUP)]
    both = [
        frame.with_columns(pl.col(texts).cast(pl.String), pl.exclude(texts).cast(pl.Int64)).sort(
            right.columns
        )
        for frame in (found, right)
    ]
    if not both[0].equals(both[1]):
        only = [one.join(other, on=right.columns, how="anti") for one, other in (both, both[::-1])]
        raise Differs(
            f"{where}: {found.height} rows instead of {right.height}; "
            f"only here {only[0].head(3).rows()}, only in the engine's {only[1].head(3).rows()}"
        )
