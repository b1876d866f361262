"""Which stored types a Parquet column may have, and how its cells read as the text a CSV would hold.

Source: data 1. Codes stay text; nothing binary, no time zone, no floating point.
"""

from __future__ import annotations

import polars as pl

from ..errors import Refusal

_WORDS = (
    pl.String,
    pl.Categorical,
    pl.Enum,
    pl.Null,
    pl.Boolean,
    pl.Binary,
)  # some writers leave text unmarked
TEXTUAL = "text or whole numbers"
NUMERIC = "DECIMAL, whole numbers or text"
TEMPORAL = "TIMESTAMP without a time zone, DATE or text"


def refuse_type(where: str, dtype: pl.DataType, meant: str) -> None:
    """Raises Refusal unless a column of this type can be read exactly as what is meant."""
    is_temporal = isinstance(dtype, pl.Date) or (isinstance(dtype, pl.Datetime) and dtype.time_zone is None)
    is_whole = dtype.is_integer() or (isinstance(dtype, pl.Decimal) and dtype.scale == 0)
    is_number = isinstance(dtype, pl.Decimal) and meant == NUMERIC
    if not (isinstance(dtype, _WORDS) or is_whole or is_number or (is_temporal and meant == TEMPORAL)):
        found = f"binary floating point ({dtype})" if dtype.is_float() else f"{dtype}"
        raise Refusal(where, found, meant, "store the column in one of these types: values must be exact")


def as_text(column: pl.Expr, dtype: pl.DataType | None) -> pl.Expr:
    """The cells as a CSV would hold them: days without a clock, moments to the microsecond, yes/no as 1 and 0."""
    if isinstance(dtype, pl.Boolean):
        return pl.when(column).then(pl.lit("1")).when(~column).then(pl.lit("0"))
    if isinstance(dtype, pl.Datetime):
        moment = column.cast(pl.Datetime("us"))
        is_day = moment == moment.dt.truncate("1d")
        return (
            pl.when(is_day)
            .then(moment.dt.strftime("%Y-%m-%d"))
            .otherwise(moment.dt.strftime("%Y-%m-%d %H:%M:%S%.6f"))
        )
    return column.cast(pl.String, strict=not isinstance(dtype, pl.Binary))
