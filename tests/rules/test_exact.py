"""Whole numbers for points and money: 四舍五入, bounds, and nothing that wraps. Rules, head; design 4."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written import cases, settle

import settlement
from settlement import exact
from settlement.errors import Refusal

REPEATABLE = settings(max_examples=200, deadline=None, derandomize=True)
WIDEST = 2**63 - 1
INT64 = st.integers(-WIDEST, WIDEST)
SMALL = st.integers(-1000, 1000)


def wide(*numbers: int) -> pl.DataFrame:
    """One row of 128-bit whole numbers a, b, c."""
    columns = zip("abc", numbers, strict=False)
    return pl.DataFrame([pl.Series(name, [number], dtype=pl.Int128) for name, number in columns])


def narrow(*numbers: int) -> pl.DataFrame:
    """One row of 64-bit whole numbers a, b, c, as the engine holds them."""
    columns = zip("abc", numbers, strict=False)
    return pl.DataFrame([pl.Series(name, [number], dtype=pl.Int64) for name, number in columns])


def half_up(number: Fraction) -> int:
    """四舍五入, the obvious way: whole part of |x| + ½, with the sign."""
    size = int(abs(number) + Fraction(1, 2))
    return -size if number < 0 else size


def fits(number: int) -> bool:
    return -(2**63) <= number <= WIDEST


# ---------------------------------------------------------------- half-up


@pytest.mark.parametrize(
    *cases("""
    dividend | divisor | rounded | exactly
    5        | 2       | 3       | 2.5
    -5       | 2       | -3      | -2.5
    3        | 2       | 2       | 1.5
    1        | 2       | 1       | 0.5
    -1       | 2       | -1      | -0.5
    0        | 2       | 0       | 0
    1        | 3       | 0       | 0.33…
    2        | 3       | 1       | 0.66…
    -1       | 3       | 0       | -0.33…
    -2       | 3       | -1      | -0.66…
    3        | 7       | 0       | 0.428…
    4        | 7       | 1       | 0.571…
    -4       | 7       | -1      | -0.571…
    49       | 100     | 0       | 0.49
    50       | 100     | 1       | 0.5
    -50      | 100     | -1      | -0.5
    -49      | 100     | 0       | -0.49
    250      | 100     | 3       | 2.5
    9        | 1       | 9       | 9
    """)
)
def test_half_up_rounds_the_absolute_value_and_keeps_the_sign(
    dividend: str, divisor: str, rounded: str, exactly: str
) -> None:
    """四舍五入."""
    a, b, expected = int(dividend), int(divisor), int(rounded)
    assert wide(a).select(exact.half_up(pl.col("a"), b)).item() == expected
    assert wide(a, b).select(exact.half_up(pl.col("a"), pl.col("b"))).item() == expected
    assert exact.half_up_whole(Fraction(a, b)) == expected


@REPEATABLE
@given(
    dividend=SMALL | INT64 | st.integers(-(10**37), 10**37),
    divisor=st.integers(1, 20) | st.integers(1, 10**18) | st.sampled_from([10**9, 10**18, 2**62, 2**62 + 1]),
)
def test_half_up_against_fractions(dividend: int, divisor: int) -> None:
    """Odd and even divisors, either sign, huge values."""
    expected = half_up(Fraction(dividend, divisor))
    assert wide(dividend).select(exact.half_up(pl.col("a"), divisor)).item() == expected
    assert wide(dividend, divisor).select(exact.half_up(pl.col("a"), pl.col("b"))).item() == expected
    assert exact.half_up_whole(Fraction(dividend, divisor)) == expected


@REPEATABLE
@given(whole=SMALL | INT64, divisor=st.integers(1, 10**9))
def test_a_half_is_rounded_away_from_zero_whatever_the_divisor(whole: int, divisor: int) -> None:
    """At exactly a half, and one unit to either side of it."""
    even = 2 * divisor
    for beside in (-1, 0, 1):
        dividend = whole * even + divisor + beside
        found = wide(dividend).select(exact.half_up(pl.col("a"), even)).item()
        assert found == half_up(Fraction(dividend, even))


def test_missing_stays_missing() -> None:
    """A group without a threshold has none after rounding either."""
    missing = pl.DataFrame({"a": [None]}, schema={"a": pl.Int64})
    for rounded in (exact.half_up(pl.col("a"), 2), exact.coarsely(pl.col("a")), exact.as_points(pl.col("a"))):
        assert missing.select(rounded).item() is None


# ---------------------------------------------------------------- from decimals and back


@pytest.mark.parametrize(
    *cases("""
    number                | decimals | units
    14141.55              | 4        | 141415500
    -0.0001               | 4        | -1
    1.50000               | 1        | 15
    0                     | 4        | 0
    9999999999999999.9999 | 4        | 99999999999999999999
    0.00001               | 4        | refused
    1.05                  | 1        | refused
    -1.005                | 2        | refused
    """)
)
def test_whole_units_of_a_decimal(number: str, decimals: str, units: str) -> None:
    """Decimals count by value; more of them than the unit has raise instead of being cut."""
    if units == "refused":
        with pytest.raises(ValueError, match=number):
            exact.whole_units(Decimal(number), int(decimals))
    else:
        assert exact.whole_units(Decimal(number), int(decimals)) == int(units)


@pytest.mark.parametrize(
    *cases("""
    column      | most                 | as_written
    points      | 999999999999999999   | 99999999999999.9999
    threshold   | 999999999999999900   | 99999999999999.99
    money       | 999999999999999999   | 9999999999999999.99
    point_value | 999999999999999999   | 999999999999.999999
    """)
)
def test_a_ledger_column_takes_eighteen_digits_and_no_more(column: str, most: str, as_written: str) -> None:
    """Data 3: DECIMAL(18,s); one unit more raises, on either side of zero."""
    made = {
        "points": exact.as_points,
        "threshold": exact.as_threshold,
        "money": exact.as_money,
        "point_value": exact.as_point_value,
    }[column](pl.col("a"))
    for sign in (1, -1):
        found = narrow(sign * int(most)).select(made)
        assert found.item() == sign * Decimal(as_written)
        assert str(found.item()) == str(sign * Decimal(as_written))
    if column != "threshold":
        for sign in (1, -1):
            with pytest.raises(pl.exceptions.PolarsError):
                narrow(sign * (int(most) + 1)).select(made)
    for sign in (1, -1):
        if column != "threshold":
            with pytest.raises(pl.exceptions.PolarsError):
                narrow(sign * WIDEST).select(made)


@REPEATABLE
@given(whole=st.integers(-(10**18) + 1, 10**18 - 1), decimals=st.integers(0, 9))
def test_as_decimal_changes_the_unit_and_not_the_value(whole: int, decimals: int) -> None:
    """Whole units of 10^-decimals as DECIMAL(18, decimals)."""
    found = narrow(whole).select(exact.as_decimal(pl.col("a"), decimals, decimals)).item()
    assert Fraction(found) == Fraction(whole, 10**decimals)


@pytest.mark.parametrize(
    *cases("""
    decimal             | scale | decimals | units
    12.34               | 2     | 4        | 123400
    -0.01               | 2     | 2        | -1
    922337203685477.58  | 2     | 4        | 9223372036854775800
    922337203685477.59  | 2     | 4        | too large
    -922337203685477.59 | 2     | 4        | too large
    """)
)
def test_whole_units_of_a_decimal_column(decimal: str, scale: str, decimals: str, units: str) -> None:
    """Money tables and relief enter as Decimal; what does not fit 64 bits raises."""
    column = pl.Series("a", [Decimal(decimal)], dtype=pl.Decimal(38, int(scale)))
    read = exact.whole_of_decimal(pl.col("a"), int(scale), int(decimals))
    if units == "too large":
        with pytest.raises(pl.exceptions.PolarsError):
            column.to_frame().select(read)
    else:
        assert column.to_frame().select(read).item() == int(units)


@pytest.mark.parametrize(
    *cases("""
    whole               | text
    0                   | 0.0000
    1                   | 0.0001
    -1                  | -0.0001
    10000               | 1.0000
    408743301           | 40874.3301
    9223372036854775807 | 922337203685477.5807
    """)
)
def test_points_as_text(whole: str, text: str) -> None:
    """Four decimals, no exponent."""
    assert exact.points_text(int(whole)) == text


# ---------------------------------------------------------------- products and quotients


def check(frame: pl.DataFrame, made: pl.Expr, expected: int) -> None:
    """The engine's result is the expected whole number if it fits 64 bits, else it raises."""
    if fits(expected):
        assert frame.select(made).item() == expected
        assert frame.select(made).dtypes == [pl.Int64]
    else:
        with pytest.raises(pl.exceptions.PolarsError):
            frame.select(made)


@pytest.mark.parametrize(
    *cases("""
    number               | result
    9223372036854775807  | fits
    9223372036854775808  | raises
    -9223372036854775808 | fits
    -9223372036854775809 | raises
    """)
)
def test_sixty_four_bits_and_no_more(number: str, result: str) -> None:
    """Refused, never wrapped."""
    assert fits(int(number)) == (result == "fits")
    check(wide(int(number)), exact.narrow(pl.col("a")), int(number))


@REPEATABLE
@given(
    whole=SMALL | INT64,
    factor=st.integers(0, 10**9) | st.integers(0, 10**18).map(lambda size: size // 10**9 * 10**9),
)
def test_times_and_back(whole: int, factor: int) -> None:
    """whole × factor, exact in units 10⁻⁹ finer; back to whole units half-up, once."""
    product = exact.times(pl.col("a"), Decimal(factor).scaleb(-9))
    assert narrow(whole).select(product).item() == whole * factor
    check(narrow(whole), exact.coarsely(product), half_up(Fraction(whole * factor, 10**9)))
    assert narrow(whole).select(exact.coarsely(exact.finely(pl.col("a")))).item() == whole


@REPEATABLE
@given(part=SMALL | INT64, share=SMALL | INT64, total=st.integers(1, 1000) | st.integers(1, WIDEST))
def test_proportions(part: int, share: int, total: int) -> None:
    """part × share ÷ whole: pro rata, with the largest numbers there are."""
    made = exact.proportion(pl.col("a"), pl.col("b"), pl.col("c"))
    check(narrow(part, share, total), made, half_up(Fraction(part * share, total)))


@pytest.mark.parametrize(
    *cases("""
    fen                | points_per_yuan | points
    1                  | 1               | 0.0100
    1                  | 0.005           | 0.0001
    1                  | 0.004999999     | 0.0000
    -1                 | 0.005           | -0.0001
    12345              | 1.23456         | 152.4064
    999999999999999999 | 1               | 9999999999999999.9900
    999999999999999999 | 999999999       | 9999999989999999990000000.0100
    """)
)
def test_points_of_an_amount(fen: str, points_per_yuan: str, points: str) -> None:
    """Rules 5: amount × points_per_yuan, half-up to 4 decimals per line; huge ones stay whole for the range check."""
    made = exact.points_of_amount(pl.col("a"), Decimal(points_per_yuan))
    found = narrow(int(fen)).select(made).item()
    assert Fraction(found, 10**4) == Fraction(points)
    assert found == half_up(Fraction(int(fen), 100) * Fraction(points_per_yuan) * 10**4)


@REPEATABLE
@given(points=SMALL | INT64, value=st.integers(0, 10**7) | st.integers(0, 10**18))
def test_amounts_of_points(points: int, value: int) -> None:
    """Rules 8.1: points × point value, half-up to the fen, once."""
    made = exact.amount_of_points(pl.col("a"), pl.col("b"))
    check(narrow(points, value), made, half_up(Fraction(points * value, 10**8)))


@REPEATABLE
@given(
    fen=st.integers(0, 1000) | st.integers(0, 10**18), points=st.integers(1, 1000) | st.integers(1, WIDEST)
)
def test_quotients_are_cut_down(fen: int, points: int) -> None:
    """Rules 8.1: budget ÷ points, floor to 6 decimals."""
    made = exact.cut_quotient(pl.col("a"), pl.col("b"))
    check(narrow(fen, points), made, fen * 10**8 // points)


# ---------------------------------------------------------------- sums


@pytest.mark.parametrize(
    *cases("""
    lines               | most                | result
    0                   | 100000000000        | fits
    92233720            | 100000000000        | fits
    92233721            | 100000000000        | refused
    1                   | 9223372036854775807 | fits
    7                   | 1317624576693539401 | fits
    7                   | 1317624576693539402 | refused
    2                   | 4611686018427387904 | refused
    9223372036854775807 | 1                   | fits
    9223372036854775808 | 1                   | refused
    """)
)
def test_a_batch_whose_sums_could_leave_sixty_four_bits_is_refused(
    lines: str, most: str, result: str
) -> None:
    """So many lines of at most so many whole units each: the sum may be 2⁶³ − 1 at most."""
    if result == "fits":
        exact.refuse_sums_beyond_bounds(int(lines), int(most))
    else:
        with pytest.raises(Refusal) as refusal:
            exact.refuse_sums_beyond_bounds(int(lines), int(most))
        assert f"{lines} lines of up to {exact.points_text(int(most))} points" in str(refusal.value)
        assert "922337203685477.5807" in str(refusal.value)


@pytest.mark.parametrize(
    *cases("""
    first               | second               | third                | total
    9223372036854775806 | 1                    | 0                    | 9223372036854775807
    9223372036854775807 | 1                    | 0                    | raises
    9223372036854775807 | 1                    | -1                   | 9223372036854775807
    -9223372036854775807 | -1                  | -1                   | raises
    9223372036854775807 | 9223372036854775807  | 2                    | raises
    """)
)
def test_a_sum_that_does_not_fit_raises_instead_of_wrapping(
    first: str, second: str, third: str, total: str
) -> None:
    """Design 4: the last row would wrap to 0 in 64 bits."""
    frame = pl.DataFrame({"a": [int(first), int(second), int(third)]}, schema={"a": pl.Int64})
    if total == "raises":
        with pytest.raises(pl.exceptions.PolarsError):
            frame.select(exact.summed(pl.col("a")))
    else:
        assert frame.select(exact.summed(pl.col("a"))).item() == int(total)


def test_the_scales_of_points_and_money() -> None:
    """Data 3: points 10⁻⁴, thresholds whole hundredths, money fen, shares 10⁻⁹; a line at most 10 000 000 points."""
    assert (exact.POINT, exact.HUNDREDTH, exact.FEN, exact.FINE) == (10_000, 100, 100, 10**9)
    assert exact.MOST_POINTS == 10_000_000 * 10_000
    assert exact.MOST_FEN == 10**18 - 1


# ---------------------------------------------------------------- no binary floats, and the documentation holds


def test_no_table_of_a_settlement_holds_a_binary_float() -> None:
    """Rules, head: binary floating point never touches points or money."""
    month = settle(
        "claim | points\n1 | 60.3333\n2 | 60.1",
        budgets="month | zone | point_class | budget\n2026-03 | urban | service | 99.99",
        deductions="institution_id | month | kind | amount\ncentre | 2026-03 | penalty | 0.07",
    )
    assert {
        f"{name}.{column}"
        for name, frame in month.settlement.frames.items()
        for column, dtype in frame.schema.items()
        if dtype.is_float()
    } == set()
    assert month.rows("settlements", "point_value", "payable_amount") == [("0.999900", "99.99")]


MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(settlement.__path__, "settlement.")
    if not module.name.endswith("__main__")
)


def test_the_examples_in_the_documentation_hold() -> None:
    """Design 4: a step's docstring ends with a doctest on the boundary."""
    results = {name: doctest.testmod(importlib.import_module(name)) for name in MODULES}
    assert {name: result.failed for name, result in results.items() if result.failed} == {}
    assert sum(result.attempted for result in results.values()) >= 6
