"""Money → what is transferred: rules 8.2; D 17, D 33, D 38. Deposit, deductions, balances.

A row of a table is one institution's month, its last columns what it is paid and what it owes.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written import CENTRE_AND_STATION, cases, policy, settle, table

from settlement.errors import Refusal
from settlement.rules import statements

KINDS = ("disallowed", "penalty", "recovery", "prepayment")
FEN = pl.Int64


def fen(text: str) -> int:
    return int(Decimal(text or "0").scaleb(2))


def yuan(whole: int) -> str:
    return f"{Decimal(whole).scaleb(-2):f}"


def stated(
    amounts: list[tuple[str, int]],
    deductions: list[tuple[str, str, int]] = (),  # type: ignore[assignment]
    adjustments: list[tuple[str, int]] = (),  # type: ignore[assignment]
    balances: list[tuple[str, int]] = (),  # type: ignore[assignment]
    rate: str = "0.05",
) -> pl.DataFrame:
    text = pl.String
    return statements.stated(
        pl.DataFrame(amounts, schema={"settling_id": text, "amount": FEN}, orient="row"),
        pl.DataFrame(
            list(deductions), schema={"settling_id": text, "kind": text, "amount": FEN}, orient="row"
        ),
        pl.DataFrame(list(adjustments), schema={"settling_id": text, "adjustment": FEN}, orient="row"),
        pl.DataFrame(list(balances), schema={"settling_id": text, "brought_forward": FEN}, orient="row"),
        Decimal(rate),
    )


# ---------------------------------------------------------------- deposit


@pytest.mark.parametrize(
    *cases("""
    gross      | rate        | deposit
    0.10       | 0.05        | 0.01
    0.09       | 0.05        | 0.00
    0.30       | 0.05        | 0.02
    0.29       | 0.05        | 0.01
    100.00     | 0.05        | 5.00
    100.00     | 0           | 0.00
    0.01       | 0.05        | 0.00
    0.00       | 0.05        | 0.00
    -0.10      | 0.05        | 0.00
    -100.00    | 0.05        | 0.00
    12345.67   | 0.033333333 | 411.52
    9999999999999999.99 | 0.05 | 500000000000000.00
    """)
)
def test_the_deposit_is_withheld_of_a_positive_gross_half_up(gross: str, rate: str, deposit: str) -> None:
    """质量保证金 (8.2): half-up(gross × deposit_rate) if gross > 0."""
    row = stated([("A", fen(gross))], rate=rate).row(0, named=True)
    assert (yuan(row["gross"]), yuan(row["deposit"])) == (gross, deposit)
    assert row["net_payable"] + row["carried_forward"] == fen(gross) - fen(deposit)


def test_the_deposit_is_taken_of_the_institutions_gross_not_of_each_group() -> None:
    """8.2: gross = Σ payable_amount; three groups of 0.09 make 0.27, and 0.0135 is 0.01; each alone makes none."""
    row = stated([("A", 9), ("A", 9), ("A", 9)]).row(0, named=True)
    assert (row["gross"], row["deposit"], row["net_payable"]) == (27, 1, 26)
    mixed = stated([("A", 1000), ("A", -900)]).row(0, named=True)
    assert (mixed["gross"], mixed["deposit"]) == (100, 5)


@pytest.mark.parametrize(
    *cases("""
    rate        | result
    0           | taken
    0.05        | taken
    0.050000001 | refused
    """)
)
def test_a_deposit_of_more_than_five_percent_is_refused(rate: str, result: str) -> None:
    """8.2: at most 5 %."""
    if result == "taken":
        assert policy(deposit_rate=rate).money.deposit_rate == Decimal(rate)
    else:
        with pytest.raises(Refusal, match="deposit_rate"):
            policy(deposit_rate=rate)


# ---------------------------------------------------------------- net


@pytest.mark.parametrize(
    *cases("""
    gross  | disallowed | penalty | recovery | prepayment | adjustment | brought | net_payable | carried
    100.00 |            |         |          |            |            |         | 95.00       | 0.00
    100.00 | 10.00      | 20.00   | 30.00    | 34.99      |            |         | 0.01        | 0.00
    100.00 | 10.00      | 20.00   | 30.00    | 35.00      |            |         | 0.00        | 0.00
    100.00 | 10.00      | 20.00   | 30.00    | 35.01      |            |         | 0.00        | -0.01
    100.00 |            |         |          |            | 7.00       |         | 102.00      | 0.00
    100.00 |            |         |          |            | -7.00      | -3.00   | 85.00       | 0.00
    100.00 |            |         |          |            |            | -95.00  | 0.00        | 0.00
    100.00 |            |         |          |            |            | -95.01  | 0.00        | -0.01
    -40.00 |            |         |          |            |            |         | 0.00        | -40.00
    -40.00 |            | 5.00    |          |            | 60.00      | -1.00   | 14.00       | 0.00
           | 5.00       |         |          |            |            |         | 0.00        | -5.00
           |            |         |          |            | 5.00       |         | 5.00        | 0.00
           |            |         |          |            |            | -5.00   | 0.00        | -5.00
    """)
)
def test_what_is_transferred_and_what_is_carried_forward(
    gross: str,
    disallowed: str,
    penalty: str,
    recovery: str,
    prepayment: str,
    adjustment: str,
    brought: str,
    net_payable: str,
    carried: str,
) -> None:
    """8.2: gross − deposit − deductions + adjustment + brought forward; below zero it is carried to the next month."""
    amounts = zip(KINDS, (disallowed, penalty, recovery, prepayment), strict=True)
    frame = stated(
        [("A", fen(gross))] if gross else [],
        [("A", kind, fen(amount)) for kind, amount in amounts if amount],
        [("A", fen(adjustment))] if adjustment else [],
        [("A", fen(brought))] if brought else [],
    )
    row = frame.row(0, named=True)
    assert (yuan(row["net_payable"]), yuan(row["carried_forward"])) == (net_payable, carried)
    written = dict(zip(KINDS, (disallowed, penalty, recovery, prepayment), strict=True))
    written |= {"gross": gross, "adjustment": adjustment, "brought_forward": brought}
    assert {name: row[name] for name in written} == {name: fen(cell) for name, cell in written.items()}


def test_everyone_with_lines_a_deduction_an_adjustment_or_a_balance_has_one_statement() -> None:
    """8.2: and nobody else; nothing is null."""
    frame = stated([("D", 5), ("A", 0)], [("B", "penalty", 1)], [("C", 2)], [("E", -3), ("A", -1)])
    assert frame["settling_id"].to_list() == ["A", "B", "C", "D", "E"]
    assert sum(frame.null_count().row(0)) == 0


def test_deductions_of_one_kind_add_up() -> None:
    """8.2: by kind; none of a kind is 0."""
    rows = [("A", "penalty", 1), ("A", "penalty", 2), ("A", "recovery", 4), ("B", "penalty", 8)]
    frame = statements.by_kind(
        pl.DataFrame(rows, schema={"settling_id": pl.String, "kind": pl.String, "amount": FEN}, orient="row")
    ).sort("settling_id")
    assert frame.select("settling_id", *KINDS).rows() == [("A", 0, 3, 4, 0), ("B", 0, 8, 0, 0)]


# ---------------------------------------------------------------- end to end

VALUE = "month | zone | point_class | point_value\n2026-03 | * | service | 1"


def statements_of(lines: str, **given: Any) -> list[tuple[Any, ...]]:
    columns = (
        "institution_id",
        "payable_amount",
        "deposit_withheld",
        *KINDS,
        "net_payable",
        "carried_forward",
    )
    return settle(lines, point_values=VALUE, **given).rows("statements", *columns)


def test_a_stations_deductions_are_booked_to_its_centre() -> None:
    """D 5, D 15 (8.2): those of the month only; an institution without lines has a statement for its deduction."""
    found = statements_of(
        "claim | institution | points\n1 | centre | 60\n2 | station | 20",
        institutions=CENTRE_AND_STATION + "    other       |\n    third       |\n",
        deductions="""
        institution_id | month   | kind       | amount
        centre         | 2026-03 | disallowed | 1.25
        station        | 2026-03 | disallowed | 2.00
        station        | 2026-03 | penalty    | 3.00
        station        | 2026-02 | recovery   | 99.00
        other          | 2026-03 | prepayment | 4.00
        third          | 2026-04 | prepayment | 4.00
        """,
    )
    assert found == [
        ("centre", "80.00", "4.00", "3.25", "3.00", "0.00", "0.00", "69.75", "0.00"),
        ("other", "0.00", "0.00", "0.00", "0.00", "0.00", "4.00", "0.00", "-4.00"),
    ]


def test_gross_is_the_amount_of_all_regimes_and_classes() -> None:
    """8.2: coaching 100 of 150, emergency 7; unpaid lines alone make a statement of nothing."""
    found = statements_of(
        """
        claim | institution | points | visit | serviced   | insurance
        1     | centre      | 150    | 11    | 2026-03-10 | 310
        2     | centre      | 7      | 13    | 2025-09-10 | 310
        3     | other       | 50     | 11    | 2026-03-10 | 390
        """,
        institutions="institution\ncentre\nother\nthird",
        agreements="institution | agreement | designation\ncentre | A | coaching\nother | B | coaching",
    )
    nothing = ("0.00",) * 4
    assert found == [
        ("centre", "107.00", "5.35", *nothing, "101.65", "0.00"),
        ("other", "0.00", "0.00", *nothing, "0.00", "0.00"),
    ]


def test_a_month_of_reversals_is_carried_forward() -> None:
    """8.2: no deposit of a negative gross; nothing is transferred."""
    assert statements_of("claim | points\n1 | -12.345") == [
        ("centre", "-12.35", "0.00", "0.00", "0.00", "0.00", "0.00", "0.00", "-12.35")
    ]


# ---------------------------------------------------------------- random months against fractions

NAMES = st.sampled_from(["A", "B", "C"])
AMOUNT = st.integers(-2000, 2000) | st.integers(-(10**16), 10**16)


def half_up(number: Fraction) -> int:
    size = int(abs(number) + Fraction(1, 2))
    return -size if number < 0 else size


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    amounts=st.lists(st.tuples(NAMES, AMOUNT), max_size=6),
    deductions=st.lists(st.tuples(NAMES, st.sampled_from(KINDS), st.integers(1, 10**12)), max_size=6),
    adjustments=st.dictionaries(NAMES, AMOUNT),
    balances=st.dictionaries(NAMES, st.integers(-(10**12), -1)),
    rate=st.integers(0, 5 * 10**7),
)
def test_random_months_against_fractions(
    amounts: list[tuple[str, int]],
    deductions: list[tuple[str, str, int]],
    adjustments: dict[str, int],
    balances: dict[str, int],
    rate: int,
) -> None:
    """8.2: every column of every statement; what is paid and carried add up to the net."""
    frame = stated(
        amounts,
        deductions,
        list(adjustments.items()),
        list(balances.items()),
        str(Decimal(rate).scaleb(-9)),
    )
    parts = (amounts, deductions, adjustments.items(), balances.items())
    everyone = sorted({row[0] for part in parts for row in part})
    expected = []
    for name in everyone:
        gross = sum(amount for own, amount in amounts if own == name)
        deposit = half_up(Fraction(gross * rate, 10**9)) if gross > 0 else 0
        kinds = [sum(size for own, kind, size in deductions if (own, kind) == (name, each)) for each in KINDS]
        adjusted, brought = adjustments.get(name, 0), balances.get(name, 0)
        net = gross - deposit - sum(kinds) + adjusted + brought
        expected.append((name, gross, deposit, *kinds, adjusted, brought, max(net, 0), min(net, 0)))
    columns = ["settling_id", "gross", "deposit", *KINDS, "adjustment", "brought_forward"]
    assert frame.select(*columns, "net_payable", "carried_forward").rows() == expected


# ---------------------------------------------------------------- huge values


def carried_after(penalties: int) -> str:
    """carried_forward of 95.00 less so many penalties of the largest amount a row may have; or `raises`."""
    row = "centre | 2026-03 | penalty | 9999999999999999.00"
    deductions = "institution_id | month | kind | amount\n" + "\n".join([row] * penalties)
    try:
        return str(statements_of("claim | points\n1 | 100", deductions=deductions)[0][-1])
    except Exception:  # how it says so is open; that it stops is the rule
        return "raises"


@pytest.mark.parametrize(
    *cases("""
    penalties | carried_forward
    1         | -9999999999999904.00
    2         | raises
    9         | raises
    10        | raises
    """)
)
def test_deductions_that_do_not_fit_raise(penalties: str, carried_forward: str) -> None:
    """Design 4: DECIMAL(18,2) takes one of them, no more."""
    assert carried_after(int(penalties)) == carried_forward


@pytest.mark.parametrize("penalties", [18, 19, 37])
def test_deductions_that_leave_sixty_four_bits_raise_instead_of_wrapping(penalties: int) -> None:
    """Design 4: 2⁶⁴ fen are 18.4 of them: never a payment or a small balance out of nowhere."""
    assert carried_after(penalties) == "raises"


def test_the_tables_of_this_file_are_whole() -> None:
    """The tests' own arithmetic."""
    assert (fen("12.34"), fen(""), fen("-0.01"), yuan(-1)) == (1234, 0, -1, "-0.01")
    assert table("a | b\n1 |") == [{"a": "1", "b": ""}]
