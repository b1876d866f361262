"""Lines that come twice: found by 64-bit hashes first, and by full keys only among equal hashes.

Source: data 2. Sought among lines that broke no other rule.
"""

from __future__ import annotations

import polars as pl

from ..reasons import RejectRule
from .lines import FAULTS, JUDGED

KEY = ("institution_id", "claim_id", "line_id")
PLACE = ("source", "row_number")
_REJECTED = (*PLACE, "claim_id", "line_id", "points", "fault")
_ODD = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)  # mix the three hashes unevenly


def repeated_lines(good: pl.LazyFrame) -> pl.DataFrame:
    """The copies to reject, with their fault.

    Rows:  one per rejected copy. Needs: the columns of JUDGED, without fault.
    Adds:  source, row_number, claim_id, line_id, points, fault (never null), ordered by place. Cells are compared
           by value, not points that were converted from an amount.
    """
    hashes = good.select(hash=_hash()).collect().to_series().sort()
    repeated = hashes.filter(hashes == hashes.shift()).unique()
    if repeated.is_empty():
        return pl.DataFrame(schema={name: JUDGED[name] for name in _REJECTED})
    written_points = pl.when(~pl.col("is_converted")).then(pl.col("points"))
    copies = (
        good.with_columns(hash=_hash())
        .join(repeated.to_frame("hash").lazy(), on="hash", how="semi")
        .select(*PLACE, *KEY, "settled_at", "amount", "points", written_points=written_points)
        .collect()
        .filter(pl.struct(KEY).is_duplicated())
    )
    return (
        copies.with_columns(
            differs_in_points=pl.col("written_points").n_unique().over(KEY) > 1,
            differs_in_amount=pl.col("amount").n_unique().over(KEY) > 1,
            order=pl.int_range(pl.len()).over(KEY, order_by=["settled_at", *PLACE]),
        )
        .with_columns(fault=_fault())
        .drop_nulls("fault")
        .select(_REJECTED)
        .sort(PLACE)
    )


def place_number() -> pl.Expr:
    """One whole number per place: source and row number (of which there are fewer than 2⁴⁰)."""
    return pl.col("source").cast(pl.Int64) * 2**40 + pl.col("row_number")


def _hash() -> pl.Expr:
    """64 bits of the whole key; wrapping is meant here, nothing is counted."""
    mixed = (
        pl.col(name).hash(seed) * pl.lit(odd, dtype=pl.UInt64)
        for seed, (name, odd) in enumerate(zip(KEY, _ODD, strict=True))
    )
    return pl.fold(pl.lit(0, dtype=pl.UInt64), lambda total, part: total + part, list(mixed))


def _fault() -> pl.Expr:
    """If any copy differs in points or amount, all are conflicting; else all but the first are duplicates."""
    return (
        pl.when(pl.col("differs_in_points"))
        .then(_place(RejectRule.CONFLICTING_DUPLICATE, "points"))
        .when(pl.col("differs_in_amount"))
        .then(_place(RejectRule.CONFLICTING_DUPLICATE, "amount"))
        .when(pl.col("order") > 0)
        .then(_place(RejectRule.DUPLICATE_LINE, "claim_id"))
        .cast(pl.UInt8)
    )


def _place(rule: RejectRule, column: str) -> pl.Expr:
    return pl.lit(FAULTS.index((rule, column)), dtype=pl.UInt8)
