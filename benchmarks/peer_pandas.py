"""Peer: the same in pandas, as an analyst writes it: sort all lines, then a running total per group."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .job import UNIT, Job

_GROUP = ["settling_id", "point_class"]
_ORDER = ["settled_at", "claim_id", "line_id", "institution_id"]


def running_total(job: Job) -> None:
    """Exact in whole numbers: decimals become them in Arrow, before pandas sees them."""
    lines = _placed(job).sort_values(["rank", *_ORDER] if job.attribution == "priority" else _ORDER)
    by_group = lines.groupby(_GROUP, observed=True)
    groups = by_group.agg(eligible=("points", "sum"), threshold=("threshold", "first"))
    groups["payable"] = groups[["eligible", "threshold"]].min(axis=1)
    groups[["eligible", "payable"]].reset_index().to_parquet(job.groups)
    lines["after"] = by_group["points"].cumsum()
    cut = lines.merge(groups[groups.payable != groups.eligible].drop(columns="threshold"), on=_GROUP)
    paid = _pro_rata if job.attribution == "pro_rata" else _up_to_threshold
    cut["unpaid"] = cut.points - paid(cut, cut.after) + paid(cut, cut.after - cut.points)
    cut.loc[cut.unpaid != 0, ["institution_id", "claim_id", "line_id", "unpaid"]].to_parquet(job.unpaid)


def _placed(job: Job) -> pd.DataFrame:
    table = pq.read_table(job.lines, columns=[*_ORDER, "charge_category", "points"])
    whole = pc.multiply(table["points"], pa.scalar(UNIT)).cast(pa.int64())
    table = table.set_column(table.column_names.index("points"), "points", whole)
    lines = table.to_pandas()
    for small in (job.institutions, job.categories, job.thresholds):
        lines = lines.merge(pd.read_parquet(small, dtype_backend="pyarrow"), how="left")
    return lines


def _up_to_threshold(lines: pd.DataFrame, running: pd.Series) -> pd.Series:
    return running.clip(upper=lines.threshold)


def _pro_rata(lines: pd.DataFrame, running: pd.Series) -> pd.Series:
    """running × payable ÷ eligible, rounded half-up; Python's whole numbers, for the product leaves 64 bits."""
    size, eligible = running.abs().astype(object), lines.eligible.astype(object)
    share = (2 * size * lines.payable.astype(object) + eligible) // (2 * eligible)
    return share.astype("int64").where(running >= 0, -share.astype("int64"))
