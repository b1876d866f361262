"""Peer: the same in plain polars, as an analyst writes it: one ordered running total per group over all lines."""

from __future__ import annotations

import polars as pl

from .job import UNIT, Job

_GROUP = ["settling_id", "point_class"]
_ORDER = ["settled_at", "claim_id", "line_id", "institution_id"]


def running_total(job: Job) -> None:
    """Exact in whole numbers; `min_horizontal` passes over the null of a group without a threshold."""
    lines, points, after = _placed(job), pl.col("points"), pl.col("after")
    groups = (
        lines.group_by(_GROUP)
        .agg(pl.col("threshold").first(), eligible=points.sum())
        .with_columns(payable=pl.min_horizontal("eligible", "threshold"))
        .drop("threshold")
        .collect()
    )
    groups.write_parquet(job.groups)
    order = ["rank", *_ORDER] if job.attribution == "priority" else _ORDER
    running = lines.with_columns(after=points.cum_sum().over(_GROUP, order_by=order))
    paid = _up_to_threshold
    if job.attribution == "pro_rata":
        paid, cut = _pro_rata, groups.filter(pl.col("eligible") != pl.col("payable"))
        running = running.join(cut.lazy(), on=_GROUP, how="inner")
    (
        running.select(
            "institution_id", "claim_id", "line_id", unpaid=points - paid(after) + paid(after - points)
        )
        .filter(pl.col("unpaid") != 0)
        .sink_parquet(job.unpaid)
    )


def _placed(job: Job) -> pl.LazyFrame:
    return (
        pl.scan_parquet(job.lines)
        .join(pl.scan_parquet(job.institutions), on="institution_id", how="left")
        .join(pl.scan_parquet(job.categories), on="charge_category", how="left")
        .join(pl.scan_parquet(job.thresholds), on=_GROUP, how="left")
        .with_columns(points=(pl.col("points") * UNIT).cast(pl.Int64))
        .select(*_GROUP, "rank", *_ORDER, "points", "threshold")
    )


def _up_to_threshold(running: pl.Expr) -> pl.Expr:
    return pl.min_horizontal(running, pl.col("threshold"))


def _pro_rata(running: pl.Expr) -> pl.Expr:
    """running × payable ÷ eligible, rounded half-up."""
    eligible, wide = pl.col("eligible").cast(pl.Int128), running.cast(pl.Int128)
    return ((2 * wide.abs() * pl.col("payable") + eligible) // (2 * eligible) * wide.sign()).cast(pl.Int64)
