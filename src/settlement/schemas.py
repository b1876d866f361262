"""pandera schemas of every table at an edge: small input tables, claim lines, ledger tables.

Layer 1. A rule on a cell is one expression with the sentence of what it expects; the schema that checks it and
the step that reads the value are made from the same `Cell`. Checks are column-level: pandera then names each
failing row. Source: data 1 and 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

import polars as pl

from . import exact, terms
from .terms import Kind
from .validation import pa

Expression = Callable[[pl.Expr], pl.Expr]
_PLAIN_NUMBER = r"^[+-]?[0-9]+(?:\.[0-9]+)?$"


@dataclass(frozen=True)
class Cell:
    """How the text of a cell is checked and read. Both take the trimmed text; null means missing."""

    expected: str
    is_good: Expression
    value: Expression = lambda text: text


def pattern(regex: str, expected: str) -> Cell:
    return Cell(expected, lambda text: text.str.contains(regex))


def one_of(codes: Iterable[str]) -> Cell:
    known = list(codes)
    return Cell(f"one of {', '.join(known)}", lambda text: text.is_in(known))


def several_of(codes: Iterable[str]) -> Cell:
    known = list(codes)
    return Cell(
        f"one or more of {', '.join(known)}, separated by ;",
        lambda text: (
            (items(text).list.len() > 0) & items(text).list.eval(pl.element().is_in(known)).list.all()
        ),
        items,
    )


def items(text: pl.Expr) -> pl.Expr:
    """`a; b;` → ["a", "b"]; null stays null."""
    parts = text.str.split(";").list.eval(pl.element().str.strip_chars())
    return pl.when(text.is_not_null()).then(parts.list.eval(pl.element().filter(pl.element() != "")))


def number(decimals: int, low: str, high: str, *, is_open: bool = False) -> Cell:
    """A plain number with at most so many decimals, from low (excluded if open) to high; read as Decimal."""
    least, most = Decimal(low), Decimal(high)
    edge = "above" if is_open else "from"

    def read(text: pl.Expr) -> pl.Expr:
        return pl.when(is_plain(text)).then(text).cast(pl.Decimal(38, decimals), strict=False)

    def is_plain(text: pl.Expr) -> pl.Expr:
        whole = text.str.extract("^[+-]?0*([0-9]*)").str.len_bytes()
        fraction = text.str.extract(r"\.([0-9]*?)0*$").fill_null("").str.len_bytes()
        return text.str.contains(_PLAIN_NUMBER) & (whole <= 38 - decimals) & (fraction <= decimals)

    def is_good(text: pl.Expr) -> pl.Expr:
        value = read(text)
        above = value > least if is_open else value >= least
        return is_plain(text) & (above & (value <= most)).fill_null(False)

    return Cell(f"a number with at most {decimals} decimals, {edge} {low} to {high}", is_good, read)


TEXT = Cell("text", lambda text: text.is_not_null())
LIST = Cell("texts separated by ;", lambda text: text.is_not_null(), items)
INSTITUTION = pattern("^[HP][0-9]{11}$", "letter H or P and 11 digits")
DAY = Cell(
    "a day written YYYY-MM-DD",
    lambda text: (
        text.str.contains("^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
        & text.str.to_date("%Y-%m-%d", strict=False).is_not_null()
    ),
    lambda text: text.str.to_date("%Y-%m-%d", strict=False),
)
MONTH = Cell(
    "a month written YYYY-MM",
    lambda text: text.str.contains("^[0-9]{4}-(0[1-9]|1[0-2])$"),
    lambda text: pl.concat_str(text, pl.lit("-01")).str.to_date("%Y-%m-%d", strict=False),
)
_POINT_CLASS = one_of(terms.POINT_CLASSES)
_MOST = "9999999999999999"

CELLS: Mapping[str, Mapping[str, Cell]] = {
    "institutions": {
        "institution_id": INSTITUTION,
        "name": TEXT,
        "institution_type": TEXT,
        "payment_class": TEXT,
        "division_code": pattern("^[0-9]{6}$", "6 digits"),
        "zone": TEXT,
        "settles_under": INSTITUTION,
        "longitude": number(20, "-180", "180"),
        "latitude": number(20, "-90", "90"),
    },
    "agreements": {
        "agreement_id": TEXT,
        "institution_id": INSTITUTION,
        "start_date": DAY,
        "end_date": DAY,
        "designation": one_of(terms.DESIGNATIONS),
        "service_categories": several_of(terms.VISIT_CATEGORIES),
        "special_diseases": LIST,
        "insurance_types": LIST,
    },
    "events": {
        "event_id": TEXT,
        "institution_id": INSTITUTION,
        "occurred_on": DAY,
        "kind": one_of(terms.EVENT_KINDS),
        "target_id": TEXT,
        "note": TEXT,
    },
    "relief": {
        "institution_id": INSTITUTION,
        "month": MONTH,
        "point_class": _POINT_CLASS,
        "approved_points": number(2, "0", _MOST, is_open=True),
        "reference": TEXT,
    },
    "deductions": {
        "institution_id": INSTITUTION,
        "month": MONTH,
        "kind": one_of(terms.DEDUCTION_KINDS),
        "amount": number(2, "0", _MOST, is_open=True),
        "reference": TEXT,
    },
    "point_values": {
        "month": MONTH,
        "zone": TEXT,
        "point_class": _POINT_CLASS,
        "point_value": number(6, "0", "999999999999", is_open=True),
    },
    "budgets": {
        "month": MONTH,
        "zone": TEXT,
        "point_class": _POINT_CLASS,
        "budget": number(2, "0", _MOST),
    },
    "assessments": {
        "institution_id": INSTITUTION,
        "year": pattern("^[0-9]{4}$", "a year of 4 digits"),
        "score": number(4, "0", "100"),
    },
}


def small_table(name: str) -> pa.DataFrameSchema:
    """Schema of a small input table as text: required cells filled, every filled cell good.

    The name of each check is the sentence of what was expected.
    """
    required = {field.name for field in terms.SMALL_TABLES[name] if field.is_required}
    columns = {
        column: pa.Column(pl.String, checks=[_check(cell)], nullable=column not in required)
        for column, cell in CELLS[name].items()
    }
    return pa.DataFrameSchema(columns, name=name)


def _check(cell: Cell) -> pa.Check:
    def passes(data: pa.PolarsData) -> pl.LazyFrame:
        text = pl.col(data.key)
        return data.lazyframe.select(text.is_null() | cell.is_good(text).fill_null(False))

    return pa.Check(passes, name=cell.expected)


def claim_lines(violations: Mapping[tuple[str, str | None], pl.Expr]) -> pa.DataFrameSchema:
    """Schema of good claim lines: no row breaks any rule. `violations` are those of the quarantine.

    The name of each check is `rule column`. It holds for exactly the lines that the quarantine lets through.
    """
    return pa.DataFrameSchema(
        checks=[
            _none_breaks(f"{rule} {column or ''}".strip(), holds)
            for (rule, column), holds in violations.items()
        ],
        name="claim_lines",
    )


def _none_breaks(name: str, violation: pl.Expr) -> pa.Check:
    return pa.Check(lambda data: data.lazyframe.select(~violation), name=name)


_POLARS = {
    Kind.TEXT: pl.String(),
    Kind.COUNT: pl.Int64(),
    Kind.FLAG: pl.Boolean(),
    Kind.DAY: pl.Date(),
    Kind.MOMENT: pl.Datetime("us"),
    Kind.POINTS: pl.Decimal(18, 4),
    Kind.THRESHOLD: pl.Decimal(18, 2),
    Kind.MONEY: pl.Decimal(18, 2),
    Kind.POINT_VALUE: pl.Decimal(18, 6),
    Kind.SCORE: pl.Decimal(7, 4),
    Kind.SHARE: pl.Decimal(10, 9),
}


def polars_type(kind: Kind) -> pl.DataType:
    return _POLARS[kind]


def polars_schema(table: terms.Table) -> pl.Schema:
    """The exact polars types of a ledger table."""
    return pl.Schema({column.name: polars_type(column.kind) for column in table.columns})


def result_schema(table: terms.Table) -> pl.Schema:
    """The types of a ledger table's rows that belong to no run yet: all its columns but run_id."""
    return pl.Schema({name: dtype for name, dtype in polars_schema(table).items() if name != "run_id"})


def ledger_table(table: terms.Table) -> pa.DataFrameSchema:
    """Schema of a ledger table: exact types, no nulls but where the dictionary allows them, in this order."""
    columns = {
        column.name: pa.Column(polars_type(column.kind), nullable=column.is_nullable)
        for column in table.columns
        if column.name != "run_id"
    }
    return pa.DataFrameSchema(columns, name=table.name, ordered=True)


def decimal_units(column: str, scale: int, decimals: int) -> pl.Expr:
    """A Decimal column read by `number(scale, …)` in whole units of 10^-decimals."""
    return exact.whole_of_decimal(pl.col(column), scale, decimals)


_Frame = TypeVar("_Frame", pl.DataFrame, pl.LazyFrame, pl.DataFrame | pl.LazyFrame)


def as_ledger_table(table: terms.Table, frame: _Frame) -> _Frame:
    """The columns of a ledger table but run_id, with exact types, in canonical order; a lazy frame has both already."""
    if isinstance(frame, pl.LazyFrame):
        return frame
    return with_ledger_types(table, frame).sort(table.key, maintain_order=True)


def with_ledger_types(table: terms.Table, rows: pl.DataFrame) -> pl.DataFrame:
    """The columns of a ledger table but run_id, with exact types; rows stay in their order."""
    return rows.select(pl.col(name).cast(dtype) for name, dtype in result_schema(table).items())
