"""Peer: the same in DuckDB, as an analyst writes it: one window over all lines, exact in DuckDB's whole numbers.

`over_only` is the better query: totals first, then a window over the lines of the groups that pass their threshold.
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from .job import UNIT, Job

_ORDER = "settled_at, claim_id, line_id, institution_id"
_ORDERS = {"chronological": _ORDER, "pro_rata": _ORDER, "priority": f"rank, {_ORDER}"}
# What is paid when the running total is c; `least` passes over the null of a group without a threshold.
_UP_TO_THRESHOLD = "least({c}, threshold)"
_PRO_RATA = "sign({c}) * ((2 * abs({c})::hugeint * payable + eligible) // (2 * eligible::hugeint))"
_CUT_LINES = "placed join (from groups where payable <> eligible) using (settling_id, point_class)"


def window(job: Job) -> None:
    """One window over all lines; pro rata, where the groups' totals are needed anyway, over those of cut groups."""
    _execute(job, _CUT_LINES if job.attribution == "pro_rata" else "placed")


def over_only(job: Job) -> None:
    """A window over the lines of the groups of which something is unpaid."""
    _execute(job, _CUT_LINES)


def _execute(job: Job, lines: str) -> None:
    with duckdb.connect(config={"temp_directory": str(job.out)}) as connection:
        for statement in _statements(job, lines):
            connection.execute(statement)


def _statements(job: Job, lines: str) -> Iterator[str]:
    paid = _PRO_RATA if job.attribution == "pro_rata" else _UP_TO_THRESHOLD
    yield f"""
        create view placed as
        select institution_id, claim_id, line_id, settled_at, rank, settling_id, point_class, threshold,
               (points * {UNIT})::bigint as points
        from read_parquet('{job.lines}/*.parquet')
        join '{job.institutions}' using (institution_id)
        join '{job.categories}' using (charge_category)
        left join '{job.thresholds}' using (settling_id, point_class)"""
    yield """
        create table groups as
        select settling_id, point_class, sum(points)::bigint as eligible,
               least(eligible, any_value(threshold)) as payable
        from placed group by all"""
    yield f"copy groups to '{job.groups}'"
    yield f"""
        copy (
          with running as (
            select *, sum(points) over (
              partition by settling_id, point_class order by {_ORDERS[job.attribution]}
              rows between unbounded preceding and current row
            ) as after
            from {lines}
          )
          select institution_id, claim_id, line_id,
                 (points - {paid.format(c="after")} + {paid.format(c="(after - points)")})::bigint as unpaid
          from running where unpaid <> 0
        ) to '{job.unpaid}'"""
