"""Claim lines: from the cells of a file to exact values, and the first rule a bad line breaks.

Every rule is one expression (`violations`). The quarantine takes the first that fits (`judged`), and
`schemas.claim_lines` makes the pandera schema of good lines from the same expressions. Source: data 1 and 2.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import polars as pl

from .. import exact
from ..policy import Policy
from ..reasons import RejectRule
from ..terms import CLAIM_FIELDS, POINT_CLASSES, VISIT_CATEGORIES
from .types import NUMERIC, TEMPORAL, TEXTUAL, as_text, refuse_type

INSTITUTION_PATTERN = "^[HP][0-9]{11}$"
_NUMBER = r"^[+-]?[0-9]+(?:\.[0-9]+)?$"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_DASHED = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(?:[ T]{_CLOCK})?$"
_COMPACT = r"^[0-9]{8}(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]$"
_LONGEST_ID = 30
_REQUIRED = tuple(field.name for field in CLAIM_FIELDS if field.is_required)
_CLASSES, _CATEGORIES = pl.Enum(POINT_CLASSES), pl.Enum(VISIT_CATEGORIES)
_MOMENTS = ("serviced_at", "settled_at")
_MEANT = {"points": NUMERIC, "amount": NUMERIC, "serviced_at": TEMPORAL, "settled_at": TEMPORAL}

# (rule, column) in order of precedence: rules as in data 2, columns as in the table of data 1
FAULTS: tuple[tuple[RejectRule, str | None], ...] = (
    (RejectRule.UNDECODABLE, None),
    (RejectRule.RAGGED_ROW, None),
    *((RejectRule.MISSING_VALUE, name) for name in (*_REQUIRED, "points", "amount")),
    *((RejectRule.BAD_NUMBER, name) for name in ("points", "amount")),
    *((RejectRule.BAD_DATETIME, name) for name in _MOMENTS),
    *((RejectRule.BAD_CODE, name) for name in ("claim_id", "line_id", "institution_id")),
    *((RejectRule.TOO_MANY_DECIMALS, name) for name in ("points", "amount")),
    *((RejectRule.OUT_OF_RANGE, name) for name in ("points", "amount")),
    (RejectRule.SERVICED_AFTER_SETTLED, "serviced_at"),
    *((RejectRule.OUTSIDE_MONTH, name) for name in _MOMENTS),
    (RejectRule.UNKNOWN_INSTITUTION, "institution_id"),
    (RejectRule.UNKNOWN_CHARGE_CATEGORY, "charge_category"),
    (RejectRule.UNKNOWN_VISIT_TYPE, "visit_type"),
    (RejectRule.VOID_LINE, "is_valid"),
    (RejectRule.REVERSAL_WITHOUT_REFERENCE, "reverses_line_id"),
    *((RejectRule.CONFLICTING_DUPLICATE, name) for name in ("points", "amount")),
    (RejectRule.DUPLICATE_LINE, "claim_id"),
)


@dataclass(frozen=True)
class Context:
    """What a line is held against: the month, the policy, the registry."""

    first_day: date
    last_day: date
    policy: Policy
    registered: Collection[str]


# Columns of a judged line. `points` is null where the policy has no factor for a converted line (is_converted: the
# file has no points column);
# `fault` is the place in FAULTS of the first rule the line breaks, null for a good line.
JUDGED: dict[str, pl.DataType] = {
    "source": pl.UInt32(),
    "row_number": pl.Int64(),
    "claim_id": pl.String(),
    "line_id": pl.String(),
    "institution_id": pl.String(),
    "department_id": pl.String(),
    "physician_id": pl.String(),
    "serviced_at": pl.Datetime("us"),
    "settled_at": pl.Datetime("us"),
    "insurance_type": pl.String(),
    "visit_category": pl.Enum(VISIT_CATEGORIES),
    "is_emergency": pl.Boolean(),
    "disease_code": pl.String(),
    "charge_category": pl.String(),
    "point_class": pl.Enum(POINT_CLASSES),
    "points": pl.Int64(),
    "amount": pl.Int64(),
    "is_converted": pl.Boolean(),
    "fault": pl.UInt8(),
}


def judged(raw: pl.LazyFrame, source: int, context: Context) -> pl.LazyFrame:
    """Turn the rows of one file into lines with exact values and the first rule they break.

    Rows:  one per row, bad ones included.
    Needs: row_number, broken (String), and the contract's columns that the file has, as text or typed.
    Adds:  the columns of JUDGED; points in 10⁻⁴, amount in fen.
    Raises: Refusal for a column stored as binary floating point or with a time zone.
    Source: data 1, data 2.
    """
    schema = raw.collect_schema()
    has_points = "points" in schema
    _refuse_inexact(schema)
    values = (
        raw.with_columns(_absent(schema))
        .with_columns(_clean(name, schema.get(name)) for name in _texts(schema))
        .with_columns(
            **_number("points", schema.get("points"), exact.POINT_DECIMALS, exact.MOST_POINTS),
            **_number("amount", schema.get("amount"), exact.MONEY_DECIMALS, exact.MOST_FEN),
            **{f"{name}_moment": _moment(name, schema.get(name)) for name in _MOMENTS},
            **_placed(context.policy),
        )
        .with_columns(point_class=_point_class(context.policy))
    )
    if not has_points:
        values = values.with_columns(_converted(context.policy))
    return values.with_columns(
        fault=first_fault(violations(has_points, context)),
        source=pl.lit(source, dtype=pl.UInt32),
        serviced_at=pl.col("serviced_at_moment"),
        settled_at=pl.col("settled_at_moment"),
        points=pl.col("points_units"),
        is_converted=pl.lit(not has_points),
        amount=pl.col("amount_units"),
    ).select(pl.col(name).cast(dtype) for name, dtype in JUDGED.items())


def first_fault(broken: Mapping[tuple[RejectRule, str | None], pl.Expr]) -> pl.Expr:
    """Place in FAULTS of the first violation that holds, null for none (UInt8)."""
    places = [(place, broken[fault]) for place, fault in enumerate(FAULTS) if fault in broken]
    return pl.coalesce(pl.when(holds).then(pl.lit(place, dtype=pl.UInt8)) for place, holds in places)


def violations(has_points: bool, context: Context) -> dict[tuple[RejectRule, str | None], pl.Expr]:
    """Each rule as one yes/no expression, never null, over the columns that `judged` prepares."""
    counted = "points" if has_points else "amount"
    day = f"{context.policy.readings.month_basis}_moment"
    rules: dict[tuple[RejectRule, str | None], pl.Expr] = {
        (RejectRule.UNDECODABLE, None): pl.col("broken") == RejectRule.UNDECODABLE.value,
        (RejectRule.RAGGED_ROW, None): pl.col("broken") == RejectRule.RAGGED_ROW.value,
        (RejectRule.SERVICED_AFTER_SETTLED, "serviced_at"): is_serviced_after_settled(),
        (RejectRule.OUTSIDE_MONTH, context.policy.readings.month_basis): is_outside_month(day, context),
        (RejectRule.UNKNOWN_INSTITUTION, "institution_id"): is_unregistered(context.registered),
        (RejectRule.UNKNOWN_CHARGE_CATEGORY, "charge_category"): pl.col("charge_class").is_null(),
        (RejectRule.UNKNOWN_VISIT_TYPE, "visit_type"): pl.col("visit_category").is_null(),
        (RejectRule.VOID_LINE, "is_valid"): pl.col("is_valid") == "0",
        (RejectRule.REVERSAL_WITHOUT_REFERENCE, "reverses_line_id"): is_reversal_without_reference(),
    }
    rules |= {(RejectRule.MISSING_VALUE, name): pl.col(name).is_null() for name in (*_REQUIRED, counted)}
    for name in ("points", "amount"):
        rules[RejectRule.BAD_NUMBER, name] = ~pl.col(f"{name}_is_number")
        rules[RejectRule.TOO_MANY_DECIMALS, name] = pl.col(f"{name}_has_too_many_decimals")
        rules[RejectRule.OUT_OF_RANGE, name] = pl.col(f"{name}_is_out_of_range")
    for name in _MOMENTS:
        rules[RejectRule.BAD_DATETIME, name] = pl.col(name).is_not_null() & pl.col(f"{name}_moment").is_null()
    for name in ("claim_id", "line_id"):
        rules[RejectRule.BAD_CODE, name] = pl.col(name).str.len_chars() > _LONGEST_ID
    rules[RejectRule.BAD_CODE, "institution_id"] = ~pl.col("institution_id").str.contains(INSTITUTION_PATTERN)
    return {fault: holds.fill_null(False) for fault, holds in rules.items()}


def is_serviced_after_settled() -> pl.Expr:
    return pl.col("serviced_at_moment") > pl.col("settled_at_moment")


def is_outside_month(moment: str, context: Context) -> pl.Expr:
    """Month = calendar month of `settled_at`, or as the reading month_basis says (rules 2)."""
    return ~pl.col(moment).dt.date().is_between(context.first_day, context.last_day)


def is_unregistered(registered: Collection[str]) -> pl.Expr:
    return ~pl.col("institution_id").is_in(sorted(registered))


def is_reversal_without_reference() -> pl.Expr:
    return (pl.col("points_units") < 0) & pl.col("reverses_line_id").is_null()


# ---------------------------------------------------------------- plain lines


@dataclass(frozen=True)
class Plain:
    """A short way for lines that surely break no rule, in files whose numbers and times are typed.

    Nearly all lines of a real file are plain. `coded` turns each code into its place in a short list, once;
    `is_plain` tells plain lines by cheap comparisons alone; whatever it does not recognise (a blank at an end, a
    code not seen before) is judged in full instead, so that it never decides anything: a test holds
    both ways to the same result. `columns` are those of JUDGED, with institution and insurance as Enum.
    """

    coded: tuple[pl.Expr, ...]
    is_plain: pl.Expr
    columns: tuple[pl.Expr, ...]

    def told_by(self, plain: pl.LazyFrame, stored: Collection[str]) -> pl.LazyFrame:
        """Of plain rows, which have `stored` columns of their file: what these alone tell of the columns of JUDGED."""
        coded = [code for code in self.coded if set(code.meta.root_names()) <= set(stored)]
        known = {*stored, *(code.meta.output_name() for code in coded)}
        return plain.with_columns(coded).with_columns(
            column for column in self.columns if set(column.meta.root_names()) <= known
        )


def plain_way(raw: pl.LazyFrame, source: int, context: Context) -> Plain | None:
    """The short way for this file; None if its columns are not typed for it. Looks at some first rows for codes."""
    schema = raw.collect_schema()
    _refuse_inexact(schema)
    if not _is_typed_for_it(schema):
        return None
    seen = raw.select("insurance_type", "visit_type").head(_SAMPLE).unique().collect()
    codes = {
        "institution_id": sorted(context.registered),
        "insurance_type": _clean_codes(seen["insurance_type"]),
        "visit_type": [
            text for text in _clean_codes(seen["visit_type"]) if context.policy.visit_category_of(text)
        ],
        "charge_category": sorted(context.policy.point_class_by_charge()),
    }
    return Plain(
        tuple(_coded_columns(codes, schema)),
        _is_plain(schema, list(codes), context),
        tuple(_plain_columns(schema, source, codes, context.policy)),
    )


_SAMPLE = 50_000


def _is_typed_for_it(schema: pl.Schema) -> bool:
    points, amount = schema.get("points"), schema.get("amount", pl.Decimal(18, 2))
    codes = [name for name in (*_REQUIRED, "is_valid", *_FREE_CODES) if name not in _MOMENTS]
    return (
        isinstance(points, pl.Decimal)
        and isinstance(amount, pl.Decimal)
        and all(schema.get(name) == pl.Datetime("us") for name in _MOMENTS)
        and all(schema.get(name, pl.String()) == pl.String() for name in codes)
        and all(name in schema for name in _REQUIRED)
    )


_FREE_CODES = ("department_id", "physician_id", "disease_code")


def _clean_codes(seen: pl.Series) -> list[str]:
    return sorted(
        text for text in seen.drop_nulls().unique() if text == text.strip() and text not in ("", "null")
    )


def _coded_columns(codes: Mapping[str, list[str]], schema: pl.Schema) -> Iterator[pl.Expr]:
    for name, known in codes.items():
        yield pl.col(name).cast(pl.Enum(known), strict=False).alias(f"{name}_code")
    yield _whole_points(schema).alias("points_units")
    yield (_whole_amount(schema) if "amount" in schema else pl.lit(None, dtype=pl.Int64)).alias(
        "amount_units"
    )


def _is_plain(schema: pl.Schema, codes: list[str], context: Context) -> pl.Expr:
    day = pl.col(context.policy.readings.month_basis)
    after = datetime.combine(context.last_day, time()) + timedelta(days=1)
    holds = [
        *(_is_clean_id(pl.col(name)) for name in ("claim_id", "line_id")),
        *(pl.col(f"{name}_code").is_not_null() for name in codes),
        *(_is_clean_or_missing(pl.col(name)) for name in _FREE_CODES if name in schema),
        pl.col("serviced_at") <= pl.col("settled_at"),
        pl.col("serviced_at") >= datetime.min,
        pl.col("settled_at") <= datetime.max,
        day.is_between(datetime.combine(context.first_day, time()), after, closed="left"),
        (pl.col("points_units") >= 0) | _names_reversed_line(schema),
    ]
    if "amount" in schema:
        holds.append(pl.col("amount").is_null() | pl.col("amount_units").is_not_null())
    if "is_valid" in schema:
        holds.append(pl.col("is_valid").is_null() | (pl.col("is_valid") == "1"))
    return pl.all_horizontal(holds).fill_null(False)


def _names_reversed_line(schema: pl.Schema) -> pl.Expr:
    """Surely a good reversal. Points that are no good number at all are null, and so is what is asked of them."""
    if schema.get("reverses_line_id") != pl.String():
        return pl.lit(False)
    return pl.col("points_units").is_not_null() & _is_clean_id(pl.col("reverses_line_id"))


def _is_clean_id(text: pl.Expr) -> pl.Expr:
    """Present, at most 30 bytes, nothing to trim."""
    return (text.str.len_bytes() <= _LONGEST_ID) & _is_clean(text)


def _is_clean_or_missing(text: pl.Expr) -> pl.Expr:
    return text.is_null() | _is_clean(text)


def _is_clean(text: pl.Expr) -> pl.Expr:
    """Surely neither empty nor `null` nor to be trimmed: it begins and ends with a visible ASCII character, not with
    the last of `null`.

    Codes do. To look at two bytes costs a third of trimming the text to see whether it changes.
    """
    last = text.cast(pl.Binary).bin.get(-1, null_on_oob=True)
    return text.is_between(pl.lit("!"), pl.lit("~")) & last.is_between(0x21, 0x7E) & (last != ord("l"))


def _whole_points(schema: pl.Schema) -> pl.Expr:
    """Points in 10⁻⁴; null where they have more decimals or are out of range."""
    return _number("points", schema["points"], exact.POINT_DECIMALS, exact.MOST_POINTS)["points_units"]


def _whole_amount(schema: pl.Schema) -> pl.Expr:
    return _number("amount", schema["amount"], exact.MONEY_DECIMALS, exact.MOST_FEN)["amount_units"]


def _plain_columns(
    schema: pl.Schema, source: int, codes: Mapping[str, list[str]], policy: Policy
) -> Iterator[pl.Expr]:
    visits, charges = codes["visit_type"], codes["charge_category"]
    classes = policy.point_class_by_charge()
    category = _meaning("visit_type", [policy.visit_category_of(text) for text in visits], _CATEGORIES)
    charge_class = _meaning("charge_category", [classes[text] for text in charges], _CLASSES)
    inpatient = pl.lit("inpatient", dtype=_CLASSES)
    made = {
        "source": pl.lit(source),
        "institution_id": pl.col("institution_id_code"),
        "insurance_type": pl.col("insurance_type_code"),
        "visit_category": category,
        "is_emergency": _meaning("visit_type", [policy.is_emergency(text) for text in visits], pl.Boolean()),
        "point_class": pl.when(category == "inpatient").then(inpatient).otherwise(charge_class),
        "points": pl.col("points_units"),
        "amount": pl.col("amount_units"),
        "is_converted": pl.lit(False),
        "fault": pl.lit(None),
        **{name: pl.lit(None) for name in _FREE_CODES if name not in schema},
    }
    for name, dtype in JUDGED.items():
        kept = name in ("institution_id", "insurance_type")
        column = made.get(name, pl.col(name))
        yield (column if kept else column.cast(dtype)).alias(name)


def _meaning(name: str, meanings: Sequence[str | bool | None], dtype: pl.DataType) -> pl.Expr:
    """What each code of the column stands for, by its place in the list of codes."""
    return pl.lit(pl.Series(meanings, dtype=dtype)).gather(pl.col(f"{name}_code").to_physical())


def _coded(text: pl.Expr, meaning: Mapping[str, str | None], dtype: pl.Enum) -> pl.Expr:
    """The meaning of a code, null for others. (`replace_strict` would hold the whole column in memory.)"""
    kinds = sorted({kind for kind in meaning.values() if kind})
    codes = {kind: [code for code, known in meaning.items() if known == kind] for kind in kinds}
    choices = [pl.when(text.is_in(codes[kind])).then(pl.lit(kind, dtype=dtype)) for kind in kinds]
    return pl.coalesce(pl.lit(None, dtype=dtype), *choices)


# ---------------------------------------------------------------- values


def _absent(schema: pl.Schema) -> list[pl.Expr]:
    """Columns that the file lacks, as null; they are optional, or `read_batch` has refused the file."""
    names = (field.name for field in CLAIM_FIELDS if field.name != "person_id")
    return [pl.lit(None, dtype=pl.String).alias(name) for name in names if name not in schema]


def _refuse_inexact(schema: pl.Schema) -> None:
    for name, dtype in schema.items():
        if name not in ("row_number", "broken"):
            refuse_type(f"claims, column {name}", dtype, _MEANT.get(name, TEXTUAL))


def _texts(schema: pl.Schema) -> list[str]:
    typed: dict[str, tuple[type[pl.DataType], ...]] = {
        **dict.fromkeys(("points", "amount"), (pl.Decimal,)),
        **dict.fromkeys(_MOMENTS, (pl.Datetime, pl.Date)),
    }
    return [
        field.name
        for field in CLAIM_FIELDS
        if field.name != "person_id" and not isinstance(schema.get(field.name), typed.get(field.name, ()))
    ]


def _clean(name: str, dtype: pl.DataType | None = None) -> pl.Expr:
    """Trimmed text; `null` and empty mean missing."""
    text = as_text(pl.col(name), dtype).str.strip_chars()
    return pl.when((text != "") & (text != "null")).then(text).alias(name)


def _number(name: str, dtype: pl.DataType | None, decimals: int, most: int) -> dict[str, pl.Expr]:
    """Four columns: is it a number, too many decimals, out of range, and the value in whole units."""
    if isinstance(dtype, pl.Decimal):
        return _decimal_number(name, dtype, decimals, most)
    return _written_number(name, decimals, most)


def _written_number(name: str, decimals: int, most: int) -> dict[str, pl.Expr]:
    text = pl.col(name)
    is_number = text.str.contains(_NUMBER)
    whole = text.str.extract("^[+-]?0*([0-9]*)")
    fraction = text.str.extract(r"\.([0-9]*?)0*$").fill_null("")
    most_digits = len(str(most // 10**decimals))
    fits = is_number & (whole.str.len_bytes() <= most_digits) & (fraction.str.len_bytes() <= decimals)
    digits = pl.concat_str(whole, fraction.str.pad_end(decimals, "0"))
    size = pl.when(fits).then(digits).cast(pl.Int64, strict=False)
    is_small = size.fill_null(0) <= most
    is_long = whole.str.len_bytes() > most_digits
    return {
        f"{name}_is_number": is_number.fill_null(True),
        f"{name}_has_too_many_decimals": is_number & (fraction.str.len_bytes() > decimals),
        f"{name}_is_out_of_range": is_number & (is_long | ~is_small),
        f"{name}_units": pl.when(is_small)
        .then(pl.when(text.str.starts_with("-")).then(-size).otherwise(size))
        .otherwise(None),
    }


def _decimal_number(name: str, dtype: pl.Decimal, decimals: int, most: int) -> dict[str, pl.Expr]:
    """Checked before it is scaled, so that nothing can wrap; what the type rules out is not asked of every line."""
    finer, coarser = 10 ** max(dtype.scale - decimals, 0), 10 ** max(decimals - dtype.scale, 0)
    limit, most_stored = most * finer // coarser, 10**dtype.precision - 1
    stored = pl.col(name).to_physical().cast(pl.Int64 if most_stored < 2**63 else pl.Int128)
    is_exact = stored % finer == 0 if finer > 1 else pl.lit(True)
    is_small = stored.abs() <= limit if limit < most_stored else pl.lit(True)
    units = pl.when(is_exact & is_small).then(stored) if finer > 1 or limit < most_stored else stored
    if finer > 1 or coarser > 1:
        units = units // finer * coarser
    return {
        f"{name}_is_number": pl.lit(True),
        f"{name}_has_too_many_decimals": ~is_exact,
        f"{name}_is_out_of_range": ~is_small,
        f"{name}_units": units.cast(pl.Int64),
    }


def _moment(name: str, dtype: pl.DataType | None) -> pl.Expr:
    """Date and time as written, null where there is no such day or time. A date alone is its midnight.

    A year has four digits: a stored day before year 1 or after 9999 is no day.
    """
    if isinstance(dtype, pl.Datetime | pl.Date):
        has_year = pl.col(name).dt.year().is_between(1, 9999)
        return pl.when(has_year).then(pl.col(name)).cast(pl.Datetime("us"))
    text = pl.col(name)
    dashed = pl.when(text.str.contains(_DASHED)).then(text.str.replace("T", " ", literal=True))
    midnight = pl.when(text.str.len_bytes() == 10).then(pl.concat_str(dashed, pl.lit(" 00:00:00")))
    compact = pl.when(text.str.contains(_COMPACT)).then(text)
    return pl.coalesce(
        midnight.otherwise(dashed).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False),
        compact.str.to_datetime("%Y%m%d%H%M%S", time_unit="us", strict=False),
    )


def _placed(policy: Policy) -> dict[str, pl.Expr]:
    """Visit category by longest prefix, emergency by any prefix, class of the charge category (rules 5)."""
    visit = pl.col("visit_type")
    by_prefix = policy.visit_types.by_prefix()
    category = pl.coalesce(
        pl.when(visit.str.starts_with(prefix)).then(
            pl.lit(by_prefix[prefix], dtype=pl.Enum(VISIT_CATEGORIES))
        )
        for prefix in sorted(by_prefix, key=len, reverse=True)
    )
    emergencies = [visit.str.starts_with(prefix) for prefix in policy.visit_types.emergency]
    return {
        "visit_category": category,
        "is_emergency": pl.any_horizontal(pl.lit(False), *emergencies).fill_null(False),
        "charge_class": _coded(pl.col("charge_category"), policy.point_class_by_charge(), _CLASSES),
    }


def _point_class(policy: Policy) -> pl.Expr:
    """Inpatient lines are of class inpatient whatever their charge category (rules 5); null if not known."""
    is_inpatient = pl.col("visit_category") == "inpatient"
    outpatient = pl.when(pl.col("visit_category").is_not_null()).then(pl.col("charge_class"))
    return pl.when(is_inpatient).then(pl.lit("inpatient", dtype=_CLASSES)).otherwise(outpatient)


def _converted(policy: Policy) -> list[pl.Expr]:
    """Points of a file without them: amount × factor of the class, half-up per line (rules 5).

    A line whose class has no factor keeps null points; `read_batch` refuses the batch if it is a good line.
    """
    factors = {
        name: policy.factor_of(name) for name in ("drug_consumable", "service", "tcm_decoction", "inpatient")
    }
    wide = pl.coalesce(
        pl.lit(None, dtype=pl.Int128),
        *(
            pl.when(pl.col("point_class") == name).then(
                exact.points_of_amount(pl.col("amount_units"), factor)
            )
            for name, factor in factors.items()
            if factor is not None
        ),
    )
    is_small = wide.abs() <= exact.MOST_POINTS
    return [
        pl.when(is_small).then(wide).cast(pl.Int64).alias("points_units"),
        (pl.col("amount_is_out_of_range") | ~is_small.fill_null(True)).alias("amount_is_out_of_range"),
    ]
