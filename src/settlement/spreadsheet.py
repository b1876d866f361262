"""Cells for spreadsheets: text from the input is never taken for a formula."""

from __future__ import annotations

import polars as pl

from .errors import Refusal

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # how a formula begins
_FORMULA = "^[" + "".join(FORMULA_SIGNS).replace("-", r"\-") + "]"


def without_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with an apostrophe before every text that a spreadsheet would read as a formula, headings too.

    Only text: a number such as -1.0000 is what it is, and stays a number.

    Raises: Refusal, for a column of lists or structs, which is no cell.
    """
    nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
    if nested:
        raise Refusal(
            "CSV", f"lists or structs in {', '.join(nested)}", "plain cells", "cast them to VARCHAR"
        )
    texts = [name for name, kind in frame.schema.items() if kind in (pl.String, pl.Categorical, pl.Enum)]
    cells = frame.with_columns(harmless(pl.col(name).cast(pl.String)) for name in texts)
    headings = pl.DataFrame({"name": frame.columns}, schema={"name": pl.String}).select(
        harmless(pl.col("name"))
    )
    return cells.rename(dict(zip(frame.columns, headings["name"], strict=True)))


def harmless(text: pl.Expr) -> pl.Expr:
    """The text itself, or with an apostrophe in front if it begins as a formula does."""
    is_plain = ~text.str.contains(_FORMULA).fill_null(False)
    return pl.when(is_plain).then(text).otherwise(pl.concat_str(pl.lit("'"), text))
