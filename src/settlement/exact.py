"""Whole numbers for points and money: scales, half-up rounding (四舍五入), bounds.

Layer 1, and the only module that multiplies, divides or rounds. Inside the engine points are whole numbers
of 10⁻⁴ point, thresholds of 10⁻⁴ too, money of one fen; `Decimal` appears at the edges only. Products are
formed in 128 bits; what does not fit raises instead of wrapping.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from math import isqrt

import polars as pl

from .errors import Refusal

POINT_DECIMALS = 4
MONEY_DECIMALS = 2
POINT = 10**POINT_DECIMALS  # whole units in one point
FEN = 10**MONEY_DECIMALS  # whole units in one yuan
HUNDREDTH: int = POINT // 100  # thresholds have two decimals
MOST_POINTS = 10_000_000 * POINT  # of one line, data 1
MOST_PRECISION = 18  # digits of a whole number that surely fits 64 bits
MOST_FEN = 10**MOST_PRECISION - 1  # DECIMAL(18,2)
FRACTION_DECIMALS = 9  # of shares, rates and factors in a policy
FINE = 10**FRACTION_DECIMALS
_WIDEST = 2**63 - 1


def whole_units(number: Decimal, decimals: int) -> int:
    """`number` in units of 10^-decimals. Raises ValueError if it has more decimals than that.

    >>> whole_units(Decimal("14141.55"), 4)
    141415500
    """
    scaled = Fraction(number) * Fraction(10**decimals)
    if scaled.denominator != 1:
        raise ValueError(f"{number} has more than {decimals} decimals")
    return int(scaled.numerator)


def half_up_whole(number: Fraction) -> int:
    """`number` rounded half-up to a whole number: the absolute value is rounded, the sign kept.

    >>> half_up_whole(Fraction(-1, 2)), half_up_whole(Fraction(5, 2)), half_up_whole(Fraction(49, 100))
    (-1, 3, 0)
    """
    size = (abs(number.numerator) + number.denominator // 2) // number.denominator
    return -size if number < 0 else size


def half_up(dividend: pl.Expr, divisor: pl.Expr | int) -> pl.Expr:
    """dividend ÷ divisor (> 0) in whole numbers, half-up, sign kept (Int128).

    With an odd divisor (d - 1)/2 is added and the result is the same, since the dividend is whole.
    """
    wide = dividend.cast(pl.Int128)
    by = pl.lit(divisor, dtype=pl.Int128) if isinstance(divisor, int) else divisor.cast(pl.Int128)
    rounded: pl.Expr = (wide.abs() + by // 2) // by * wide.sign()
    return rounded


def narrow(wide: pl.Expr) -> pl.Expr:
    """Int128 → Int64. Raises where it does not fit: refused, never wrapped."""
    return wide.cast(pl.Int64, strict=True)


def summed(whole: pl.Expr) -> pl.Expr:
    """Sum of a column in a group (Int64). Raises where it does not fit; polars' own 64-bit sum would wrap."""
    return narrow(whole.cast(pl.Int128).sum())


def finely(whole: pl.Expr) -> pl.Expr:
    """Whole units → units 10⁻⁹ finer, wide enough for one more factor of 10⁹."""
    fine: pl.Expr = whole.cast(pl.Int128) * FINE
    return fine


def times(whole: pl.Expr, factor: Decimal) -> pl.Expr:
    """whole × factor in units 10⁻⁹ finer than those of `whole`, exact (Int128)."""
    product: pl.Expr = whole.cast(pl.Int128) * whole_units(factor, FRACTION_DECIMALS)
    return product


def coarsely(fine: pl.Expr, decimals: int = FRACTION_DECIMALS) -> pl.Expr:
    """Units `decimals` finer → whole units, half-up, once."""
    return narrow(half_up(fine, 10**decimals))


def proportion(part: pl.Expr, share: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """part × share ÷ whole (> 0), half-up, once; all three in the same whole units."""
    return narrow(half_up(part.cast(pl.Int128) * share.cast(pl.Int128), whole))


def grown(base: Decimal, rates: Iterable[Decimal]) -> int:
    """base × Π (1 + rate) in 10⁻⁴ point, half-up to 0.01 once (rules 6.4).

    >>> grown(Decimal("1000.05"), [Decimal("0.0333")])
    10333500
    """
    grown_base = Fraction(base)
    for rate in rates:
        grown_base *= 1 + Fraction(rate)
    return half_up_whole(grown_base * 100) * HUNDREDTH


def mean(whole: pl.Series) -> Fraction:
    """The mean of whole units (at least one), not rounded.

    >>> mean(pl.Series([1, 2]))
    Fraction(3, 2)
    """
    return Fraction(int(whole.cast(pl.Int128).sum()), whole.len())


def percentile(whole: pl.Series, percent: Decimal) -> Fraction:
    """The percentile (0 … 100) of whole units (at least one), not rounded.

    The values in ascending order stand at the ranks 0 … n - 1; the percentile stands at rank (n - 1) × percent ÷ 100,
    between two values in proportion to its distance from them. So 0 is the least, 50 the median, 100 the greatest.

    >>> percentile(pl.Series([4, 1, 2, 8]), Decimal(50)), percentile(pl.Series([4, 1, 2, 8]), Decimal(10))
    (Fraction(3, 1), Fraction(13, 10))
    """
    ordered = whole.sort()
    rank = (ordered.len() - 1) * Fraction(percent) / 100
    below = rank.numerator // rank.denominator
    lower, upper = int(ordered[below]), int(ordered[min(below + 1, ordered.len() - 1)])
    return lower + (rank - below) * (upper - lower)


def hundredths(units: Fraction) -> int:
    """10⁻⁴ point, half-up to 0.01 as thresholds are, in 10⁻⁴ point (rules 9).

    >>> hundredths(Fraction(50)), hundredths(Fraction(99, 2)), hundredths(Fraction(-150))
    (100, 0, -200)
    """
    return half_up_whole(units / HUNDREDTH) * HUNDREDTH


def scaled(base: Decimal, factor: Decimal) -> Decimal:
    """base × factor, half-up to 0.01: a threshold of a what-if.

    >>> scaled(Decimal("25789.12"), Decimal("1.1")), scaled(Decimal("0.05"), Decimal("0.5"))
    (Decimal('28368.03'), Decimal('0.03'))
    """
    return Decimal(half_up_whole(Fraction(base) * Fraction(factor) * 100)).scaleb(-2)


def expected_sum(parts: Iterable[tuple[int, int, int]]) -> int:
    """Σ days × points ÷ days seen, half-up once: what days to come bring if they are like those seen.

    >>> expected_sum([(2, 100, 3), (1, 50, 4)])  # 66.67 + 12.5
    79
    """
    return half_up_whole(sum((Fraction(days * points, seen) for days, points, seen in parts), Fraction(0)))


def spread(samples: Iterable[Sequence[int]]) -> Fraction | None:
    """Squared deviations of values from the mean of their own sample, ÷ (values − samples − 2).

    The 2 widens the spread of few values, as Student's distribution has it. None with too few of them.

    >>> spread([[1, 3, 1, 3], [5, 7]]), spread([[1, 2, 3]])
    (Fraction(3, 1), None)
    """
    known = [values for values in samples if values]
    freedom = sum(map(len, known)) - len(known) - 2
    squares = (
        sum(value * value for value in values) - Fraction(sum(values) ** 2, len(values)) for values in known
    )
    return sum(squares, Fraction(0)) / freedom if freedom > 0 else None


def deviations(times: int, square: Fraction, weight: Fraction) -> int:
    """times × √(square × weight), rounded up to a whole number.

    >>> deviations(2, Fraction(9), Fraction(4)), deviations(2, Fraction(1, 2), Fraction(1))
    (12, 2)
    """
    wanted = times**2 * square * weight
    root = isqrt(wanted.numerator // wanted.denominator)
    return root if root * root >= wanted else root + 1


def part_of_month(threshold: pl.Expr, days: pl.Expr, days_of_month: int) -> pl.Expr:
    """threshold (10⁻⁴) × days ÷ days of the month, half-up to 0.01 (Int128; rules 6.5)."""
    part: pl.Expr = half_up(threshold.cast(pl.Int128) * days, days_of_month * HUNDREDTH) * HUNDREDTH
    return part


def points_of_amount(fen: pl.Expr, factor: Decimal) -> pl.Expr:
    """Points of an amount (fen × points per yuan), half-up to 4 decimals once per line (Int128; rules 5)."""
    fen_to_point = FRACTION_DECIMALS + MONEY_DECIMALS - POINT_DECIMALS
    return half_up(times(fen, factor), 10**fen_to_point)


def as_decimal(whole: pl.Expr, unit_decimals: int, scale: int, precision: int = 18) -> pl.Expr:
    """Whole units of 10^-unit_decimals → Decimal(precision, scale). Raises where it does not fit."""
    unit = pl.lit(Decimal(1).scaleb(-unit_decimals)).cast(pl.Decimal(38, unit_decimals))
    exact = whole.cast(pl.Decimal(38, 0)) * unit
    return exact.cast(pl.Decimal(precision, scale), strict=True)


def as_points(whole: pl.Expr) -> pl.Expr:
    """Whole units of 10⁻⁴ point → DECIMAL(18,4)."""
    return as_decimal(whole, POINT_DECIMALS, 4)


def as_threshold(whole: pl.Expr) -> pl.Expr:
    """Whole units of 10⁻⁴ point → DECIMAL(18,2); thresholds are whole hundredths."""
    return as_decimal(whole, POINT_DECIMALS, 2)


def as_money(fen: pl.Expr) -> pl.Expr:
    """Fen → DECIMAL(18,2) yuan."""
    return as_decimal(fen, MONEY_DECIMALS, 2)


def whole_of_decimal(column: pl.Expr, scale: int, decimals: int) -> pl.Expr:
    """A Decimal column of the given scale → whole units of 10^-decimals (Int64); scale <= decimals."""
    return narrow(column.to_physical().cast(pl.Int128) * 10 ** (decimals - scale))


def points_text(whole: int) -> str:
    """Whole units of 10⁻⁴ point as text with four decimals.

    >>> points_text(-1), points_text(408743301)
    ('-0.0001', '40874.3301')
    """
    return f"{Decimal(whole).scaleb(-POINT_DECIMALS):f}"


def threshold_text(whole: int) -> str:
    """Whole hundredths in units of 10⁻⁴ point as text with two decimals.

    >>> threshold_text(408743300)
    '40874.33'
    """
    return f"{Decimal(whole // HUNDREDTH).scaleb(-2):f}"


def percent(part: Decimal, whole: Decimal) -> Decimal | None:
    """part ÷ whole in percent, half-up to 0.1; null unless whole > 0.

    >>> percent(Decimal("2.0005"), Decimal("2.00")), percent(Decimal("-0.0010"), Decimal("2.00"))
    (Decimal('100.0'), Decimal('-0.1'))
    >>> percent(Decimal("1"), Decimal("0")) is None
    True
    """
    if whole <= 0:
        return None
    return Decimal(half_up_whole(Fraction(part) / Fraction(whole) * 1000)).scaleb(-1)


def refuse_sums_beyond_bounds(lines: int, most: int) -> None:
    """Refuse a batch whose sums could leave 64 bits: `lines` lines of at most `most` whole units each."""
    if lines * most > _WIDEST:
        raise Refusal(
            "claims",
            f"{lines} lines of up to {points_text(most)} points each",
            f"sums of at most {points_text(_WIDEST)} points",
            "settle the month in batches of fewer institutions",
        )


_DOES_NOT_FIT = re.compile(
    r"conversion from `(?:i128|decimal\[38,[0-9]+\])` to `(?:i64|decimal\[18,[0-9]+\])`"
)


def is_too_large(error: Exception) -> bool:
    """Did polars stop at a figure that does not fit 64 bits or 18 digits? Those are refused, never wrapped."""
    return isinstance(error, pl.exceptions.InvalidOperationError) and bool(_DOES_NOT_FIT.search(str(error)))


def too_large(where: str) -> Refusal:
    """The refusal of figures that do not fit."""
    return Refusal(
        where,
        "a sum or product of points or money that does not fit 18 digits",
        "figures below 100 trillion points and 10 quadrillion yuan",
        "look for mistyped amounts in the small tables",
    )


VALUE_DECIMALS = 6  # of a point value, yuan per point


def product(points: Decimal, point_value: Decimal) -> Fraction:
    """points × point value in yuan, not rounded: what an amount is before it is rounded to the fen.

    >>> product(Decimal("66.6666"), Decimal("0.5"))
    Fraction(333333, 10000)
    """
    return Fraction(points) * Fraction(point_value)


def cut_value(budget: Decimal, points: Decimal) -> Fraction:
    """budget ÷ points (> 0), cut down to the decimals of a point value (rules 8.1).

    >>> cut_value(Decimal(100), Decimal(150))
    Fraction(333333, 500000)
    """
    finer = 10**VALUE_DECIMALS
    exactly = Fraction(budget) / Fraction(points) * finer
    return Fraction(exactly.numerator // exactly.denominator, finer)


def yuan_text(yuan: Fraction) -> str:
    """Yuan as text with all places a product of points and point value can have, without trailing zeros.

    >>> yuan_text(Fraction(333333, 10000)), yuan_text(Fraction(-1, 10**10)), yuan_text(Fraction(20))
    ('33.3333', '-0.0000000001', '20')
    """
    places = POINT_DECIMALS + VALUE_DECIMALS
    whole = abs(yuan * 10**places)
    text = f"{int(whole):0{places + 1}}"
    written = f"{text[:-places]}.{text[-places:]}".rstrip("0").rstrip(".")
    return f"-{written}" if yuan < 0 else written


def half_up_fen(yuan: Fraction) -> Decimal:
    """Yuan rounded half-up to the fen (rules 8.1)."""
    return Decimal(half_up_whole(yuan * FEN)).scaleb(-MONEY_DECIMALS)


def amount_of_points(points: pl.Expr, point_value: pl.Expr) -> pl.Expr:
    """points (10⁻⁴) × point value (10⁻⁶ yuan) in fen, half-up, once (rules 8.1)."""
    fine = points.cast(pl.Int128) * point_value.cast(pl.Int128)
    return coarsely(fine, POINT_DECIMALS + VALUE_DECIMALS - MONEY_DECIMALS)


def cut_quotient(fen: pl.Expr, points: pl.Expr) -> pl.Expr:
    """fen (>= 0) ÷ points (10⁻⁴, > 0) as a point value in 10⁻⁶ yuan, cut down (rules 8.1)."""
    finer = 10 ** (VALUE_DECIMALS + POINT_DECIMALS - MONEY_DECIMALS)
    return narrow(fen.cast(pl.Int128) * finer // points.cast(pl.Int128))


def as_point_value(whole: pl.Expr) -> pl.Expr:
    """10⁻⁶ yuan per point → DECIMAL(18,6)."""
    return as_decimal(whole, VALUE_DECIMALS, VALUE_DECIMALS)
