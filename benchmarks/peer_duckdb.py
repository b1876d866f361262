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
_PAID = {
    "chronological": "least(c, threshold)",
    "priority": "least(c, threshold)",
    "pro_rata": "case when payable = eligible then c else "
    "sign(c) * ((2 * abs(c)::hugeint * payable + eligible) // (2 * eligible::hugeint)) end",
}


def window(job: Job) -> None:
    """One window over all lines."""
    _execute(job, "placed join groups using (settling_id, point_class)")


def over_only(job: Job) -> None:
    """A window over the lines of the groups of which something is unpaid."""
    cut = "(from groups where payable <> eligible)"
    _execute(job, f"placed join {cut} using (settling_id, point_class)")


def _execute(job: Job, lines: str) -> None:
    with duckdb.connect(config={"temp_directory": str(job.out)}) as connection:
        for statement in _statements(job, lines):
            connection.execute(statement)


def _statements(job: Job, lines: str) -> Iterator[str]:
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
    yield f"create macro paid(c, threshold, eligible, payable) as {_PAID[job.attribution]}"
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
                 (points - paid(after, threshold, eligible, payable)
                         + paid(after - points, threshold, eligible, payable))::bigint as unpaid
          from running where unpaid <> 0
        ) to '{job.unpaid}'"""
