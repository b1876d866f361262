"""Points → money: rules 8.1. Point values given or computed from a budget, amounts, pools, remainders.

A row of a table is a group; its last columns are its point value and its amount. Points have four decimals,
point values six, money two; the random tables are computed again with fractions.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written import cases, policy, refusal, settle, table, units

from settlement.errors import Refusal
from settlement.rules import pricing
from settlement.rules.pricing import MoneyTables

MARCH = date(2026, 3, 1)
NO_KEYS = pl.DataFrame(schema={"month": pl.Date, "zone": pl.String, "point_class": pl.String})
GROUPS = {
    "settling_id": pl.String,
    "regime": pl.String,
    "point_class": pl.String,
    "zone": pl.String,
    "payable": pl.Int64,
}


def money_tables(point_values: str = "", budgets: str = "", both: str = "") -> MoneyTables:
    """Tables zone | point_class | point_value and zone | point_class | budget; "" if the batch has no such file."""

    def made(text: str, column: str, decimals: int) -> pl.DataFrame | None:
        rows = [
            (row["zone"], row["point_class"], int(Decimal(row[column]).scaleb(decimals)))
            for row in table(text)
        ]
        schema = {"zone": pl.String, "point_class": pl.String, column: pl.Int64}
        return pl.DataFrame(rows, schema=schema, orient="row") if text else None

    keys = [(date.fromisoformat(row["month"]), row["zone"], row["point_class"]) for row in table(both)]
    return MoneyTables(
        made(point_values, "point_value", 6),
        made(budgets, "budget", 2),
        pl.DataFrame(keys, schema=NO_KEYS.schema, orient="row"),
    )


def groups_of(text: str) -> pl.DataFrame:
    rows = [
        (
            row.get("institution") or f"I{number:02}",
            row.get("regime") or "ordinary",
            row.get("point_class") or "service",
            (row.get("zone") if "zone" in row else "urban") or None,
            units(row["payable"]),
        )
        for number, row in enumerate(table(text))
    ]
    return pl.DataFrame(rows, schema=GROUPS, orient="row")


def text_of(whole: int | None, decimals: int) -> str:
    return "" if whole is None else f"{Decimal(whole).scaleb(-decimals):f}"


def check(groups: str, expected_budgets: str = "", **tables: str) -> None:
    """Hold `value` and `amount` of each group, and pool, value and remainder of each budget, against the tables."""
    frame = groups_of(groups)
    priced, budgets = pricing.priced(frame, money_tables(**tables), MARCH)
    keys = ["settling_id", "regime", "point_class"]
    assert priced.select(keys).rows() == sorted(frame.select(keys).rows())
    found = {
        row[keys[0]]: (text_of(row["point_value"], 6), text_of(row["amount"], 2))
        for row in priced.rows(named=True)
    }
    for number, row in enumerate(table(groups)):
        institution = row.get("institution") or f"I{number:02}"
        assert (institution, *found[institution]) == (institution, row["value"], row["amount"])
    columns = ("zone", "point_class", "budget", "pool", "value", "remainder")
    assert [
        dict(
            zip(
                columns,
                (
                    row["zone"],
                    row["point_class"],
                    text_of(row["budget"], 2),
                    text_of(row["pool_points"], 4),
                    text_of(row["point_value"], 6),
                    text_of(row["remainder"], 2),
                ),
                strict=True,
            )
        )
        for row in budgets.rows(named=True)
    ] == table(expected_budgets)


# ---------------------------------------------------------------- given point values


def test_amounts_are_rounded_half_up_to_the_fen_once() -> None:
    """8.1: 四舍五入 of points × point value; negative totals round by their absolute value."""
    check(
        """
        payable  | value    | amount
        1.0000   | 0.015000 | 0.02
        -1.0000  | 0.015000 | -0.02
        3.0000   | 0.015000 | 0.05
        -3.0000  | 0.015000 | -0.05
        1.6666   | 0.015000 | 0.02
        0.3333   | 0.015000 | 0.00
        0.3334   | 0.015000 | 0.01
        -0.3333  | 0.015000 | 0.00
        -0.3334  | 0.015000 | -0.01
        0.0000   | 0.015000 | 0.00
        """,
        point_values="zone | point_class | point_value\nurban | service | 0.015",
    )


def test_the_zones_row_comes_first_then_the_row_of_all_zones() -> None:
    """8.1: both tables are searched for the zone's row first, then for `*`."""
    check(
        """
        zone   | point_class     | payable  | value    | amount
        urban  | service         | 10.0000  | 2.000000 | 20.00
        binhai | service         | 10.0000  | 3.000000 | 30.00
               | service         | 10.0000  | 3.000000 | 30.00
        urban  | drug_consumable | 4.0000   | 5.000000 | 20.00
        binhai | drug_consumable | 16.0000  | 0.625000 | 10.00
        binhai | inpatient       | 1.0000   | 7.000000 | 7.00
        """,
        """
        zone   | point_class     | budget | pool    | value    | remainder
        *      | drug_consumable | 10.00  | 16.0000 | 0.625000 | 0.00
        binhai | inpatient       | 7.00   | 1.0000  | 7.000000 | 0.00
        """,
        point_values="""
        zone  | point_class     | point_value
        urban | service         | 2
        *     | service         | 3
        urban | drug_consumable | 5
        *     | inpatient       | 9
        """,
        budgets="""
        zone   | point_class     | budget
        *      | drug_consumable | 10
        binhai | inpatient       | 7
        """,
    )


# ---------------------------------------------------------------- budgets


def test_the_pool_is_all_groups_that_draw_on_the_row_of_all_regimes() -> None:
    """8.1: coaching, ordinary, emergency and none; the zone with its own row does not draw on `*`."""
    check(
        """
        institution | regime    | zone   | payable | value     | amount
        A           | coaching  | urban  | 1.0000  | 33.333333 | 33.33
        B           | ordinary  | urban  | 1.0000  | 33.333333 | 33.33
        C           | emergency | urban  | 1.0000  | 33.333333 | 33.33
        D           | none      | urban  | 0.0000  | 33.333333 | 0.00
        E           | ordinary  | binhai | 2.0000  | 3.333333  | 6.67
        F           | ordinary  |        | 1.0000  | 3.333333  | 3.33
        """,
        """
        zone  | point_class | budget | pool   | value     | remainder
        *     | service     | 10.00  | 3.0000 | 3.333333  | 0.00
        urban | service     | 100.00 | 3.0000 | 33.333333 | 0.01
        """,
        budgets="zone | point_class | budget\n* | service | 10\nurban | service | 100",
    )


@pytest.mark.parametrize(
    *cases("""
    budget | first  | second | value    | remainder | why
    2.00   | 1.0000 | 2.0000 | 0.666666 | 0.00      | cut down, not 0.666667: 0.67 + 1.33
    2.00   | 2.9999 | 0.0001 | 0.666666 | 0.00      | 2.00 + 0.00
    0.01   | 0.5000 | 0.5000 | 0.010000 | -0.01     | each half a fen is rounded up
    0.01   | 0.4999 | 0.4999 | 0.010002 | 0.01      | each is rounded down
    0.00   | 5.0000 | 5.0000 | 0.000000 | 0.00      | an empty budget
    1.00   | 0.0001 | 0.0000 | 10000.000000 | 0.00  | one unit
    10.00  | -5.0000 | 5.0001 | 100000.000000 | 0.00 | 0.0001 in all: −500000.00 + 500010.00
    10.00  | -5.0000 | 5.0000 | 0.000000 | 10.00     | nothing in all
    10.00  | -5.0000 | 4.9999 | 0.000000 | 10.00     | less than nothing
    """)
)
def test_a_budgets_point_value_is_cut_down_to_six_decimals(
    budget: str, first: str, second: str, value: str, remainder: str, why: str
) -> None:
    """8.1: budget ÷ Σ payable points, floor; without positive points 0; remainder = budget − Σ amounts."""
    frame = groups_of(f"payable\n{first}\n{second}")
    rows = f"zone | point_class | budget\nurban | service | {budget}"
    priced, budgets = pricing.priced(frame, money_tables(budgets=rows), MARCH)
    row = budgets.row(0, named=True)
    assert (text_of(row["point_value"], 6), text_of(row["remainder"], 2)) == (value, remainder), why
    assert row["budget"] - priced["amount"].sum() == row["remainder"]


def test_a_budget_without_groups_is_stated_too() -> None:
    """8.1, data 3: one row per budget row of the month."""
    check(
        "payable | value | amount\n1.0000 | 4.000000 | 4.00",
        """
        zone   | point_class | budget | pool   | value    | remainder
        *      | inpatient   | 7.50   | 0.0000 | 0.000000 | 7.50
        binhai | service     | 3.00   | 0.0000 | 0.000000 | 3.00
        urban  | service     | 4.00   | 1.0000 | 4.000000 | 0.00
        """,
        budgets="zone | point_class | budget\nurban | service | 4\nbinhai | service | 3\n* | inpatient | 7.5",
    )


# ---------------------------------------------------------------- refusals


def test_a_group_that_is_paid_and_has_no_key_is_refused_with_the_keys_listed() -> None:
    """8.1: payable points ≠ 0, negative ones too; keys that are found are not listed."""
    groups = """
        zone   | point_class     | payable
        urban  | service         | 1
        urban  | drug_consumable | 1
        urban  | drug_consumable | 2
        binhai | service         | -1
               | tcm_decoction   | 1
        binhai | inpatient       | 0
    """
    rows = "zone | point_class | point_value\nurban | service | 1"
    with pytest.raises(Refusal) as refused:
        pricing.priced(groups_of(groups), money_tables(point_values=rows), MARCH)
    assert (
        "no point value and no budget for tcm_decoction in (no zone); service in binhai; drug_consumable in urban\n"
        in str(refused.value)
    )
    assert "2026-03" in str(refused.value)


def test_a_group_that_is_paid_nothing_needs_no_key() -> None:
    """8.1: point value null, amount 0.00."""
    check(
        """
        zone   | point_class | payable | value    | amount
        urban  | service     | 1.0000  | 1.000000 | 1.00
        binhai | inpatient   | 0.0000  |          | 0.00
        """,
        point_values="zone | point_class | point_value\nurban | service | 1",
    )


def test_without_money_tables_there_are_points_only() -> None:
    """8.1: amounts null."""
    check("payable | value | amount\n5 | |\n-5 | |")


def test_one_key_in_both_tables_is_refused() -> None:
    """8.1: of whatever month; the keys are named."""
    with pytest.raises(Refusal) as refused:
        pricing.priced(
            groups_of("payable\n1"),
            money_tables(
                "zone | point_class | point_value\nurban | service | 1",
                both="""
                month      | zone   | point_class
                2026-04-01 | urban  | service
                2026-03-01 | binhai | inpatient
                """,
            ),
            MARCH,
        )
    assert "one key in both: inpatient in binhai; service in urban\n" in str(refused.value)
    assert "2026-03, 2026-04" in str(refused.value)


VALUES = "month | zone | point_class | point_value\n"
BUDGETS = "month | zone | point_class | budget\n"


@pytest.mark.parametrize(
    *cases("""
    value_of | value_zone | budget_of | budget_zone | result
    2026-03  | urban      |           |             | value 2.000000
             |            | 2026-03   | urban       | value 3.000000
    2026-03  | urban      | 2026-03   | *           | value 2.000000
    2026-03  | *          | 2026-03   | urban       | value 3.000000
    2026-03  | urban      | 2026-03   | urban       | one key in both: service in urban
    2026-02  | urban      | 2026-02   | urban       | one key in both: service in urban
    2026-02  | urban      | 2026-03   | urban       | value 3.000000
    2026-02  | urban      |           |             | no point value and no budget for service in urban
             |            | 2026-04   | *           | no point value and no budget for service in urban
    2026-03  | binhai     |           |             | no point value and no budget for service in urban
             |            |           |             | no value
    """)
)
def test_money_tables_of_a_month(
    value_of: str, value_zone: str, budget_of: str, budget_zone: str, result: str
) -> None:
    """8.1: 100 of 150 points are paid; rows of other months do not count, a file without a row of the month does."""
    money = {}
    if value_of:
        money["point_values"] = VALUES + f"{value_of} | {value_zone} | service | 2"
    if budget_of:
        money["budgets"] = BUDGETS + f"{budget_of} | {budget_zone} | service | 300"
    lines = "claim | points\n1 | 150"
    if result.startswith(("value", "no value")):
        month = settle(lines, **money)
        assert month.group("point_value") == result.removeprefix("no ").removeprefix("value").strip()
    else:
        assert f"{result}\n" in refusal(lines, **money)


def test_without_money_tables_deductions_are_refused_and_no_statement_is_made() -> None:
    """8.1: deductions of another month are none of this one."""
    lines = "claim | points\n1 | 50"
    row = "institution_id | month | kind | amount\ncentre | {0} | penalty | 5\ncentre | {0} | recovery | 6"
    assert "deductions of the month for centre, but neither point_values nor budgets\n" in refusal(
        lines, deductions=row.format("2026-03")
    )
    month = settle(lines, deductions=row.format("2026-02"))
    assert month.rows("statements", "institution_id") == []
    assert month.rows("settlements", "point_value", "payable_amount") == [("", "")]
    assert month.rows("budgets", "zone") == []


def test_the_pool_counts_payable_points_not_eligible_ones() -> None:
    """8.1, end to end: thresholds 100.00 cut 150 to 100; the ordinary group is paid its 50."""
    month = settle(
        "claim | institution | points\n1 | centre | 150\n2 | other | 50",
        institutions="institution\ncentre\nother",
        agreements="institution | agreement | designation\ncentre | A | coaching\nother | B | ordinary",
        budgets=BUDGETS + "2026-03 | * | service | 100",
        under=policy(),
    )
    assert month.rows("budgets", "pool_points", "point_value", "remainder") == [
        ("150.0000", "0.666666", "0.00")
    ]
    assert month.rows("settlements", "institution_id", "payable_amount") == [
        ("centre", "66.67"),
        ("other", "33.33"),
    ]


# ---------------------------------------------------------------- random tables against fractions

ZONES = ["urban", "binhai", None]
CLASSES = ["service", "inpatient"]
ROW_KEYS = [(zone, point_class) for zone in ("urban", "binhai", "*") for point_class in CLASSES]
GROUP_ROWS = st.lists(
    st.tuples(
        st.sampled_from(ZONES),
        st.sampled_from(CLASSES),
        st.integers(-5 * 10**4, 20 * 10**4) | st.integers(-(10**13), 10**14),
    ),
    min_size=1,
    max_size=8,
)
KEYED = st.dictionaries(
    st.sampled_from(ROW_KEYS),
    st.tuples(st.booleans(), st.integers(1, 10**8) | st.integers(0, 10**12)),
    max_size=6,
)


def half_up(number: Fraction) -> int:
    size = int(abs(number) + Fraction(1, 2))
    return -size if number < 0 else size


@settings(max_examples=150, deadline=None, derandomize=True)
@given(rows=GROUP_ROWS, keyed=KEYED)
def test_random_money_tables_against_fractions(
    rows: list[tuple[str | None, str, int]], keyed: dict[tuple[str, str], tuple[bool, int]]
) -> None:
    """8.1: keys, values, amounts, pools and remainders; refused exactly where a paid group has no key."""
    frame = pl.DataFrame(
        [
            (f"I{number:02}", "ordinary", point_class, zone, size)
            for number, (zone, point_class, size) in enumerate(rows)
        ],
        schema=GROUPS,
        orient="row",
    )
    given_values = {key: max(size, 1) for key, (is_budget, size) in keyed.items() if not is_budget}
    given_budgets = {key: size for key, (is_budget, size) in keyed.items() if is_budget}

    def made(given: dict[tuple[str, str], int], column: str) -> pl.DataFrame:
        rows = [(*key, size) for key, size in given.items()]
        return pl.DataFrame(
            rows, schema={"zone": pl.String, "point_class": pl.String, column: pl.Int64}, orient="row"
        )

    tables = MoneyTables(made(given_values, "point_value"), made(given_budgets, "budget"), NO_KEYS)
    key_of = [
        next((key for key in ((zone, point_class), ("*", point_class)) if key in keyed), None)
        for zone, point_class, _ in rows
    ]
    if any(key is None and size for key, (_, _, size) in zip(key_of, rows, strict=True)):
        with pytest.raises(Refusal, match="no point value and no budget"):
            pricing.priced(frame, tables, MARCH)
        return
    pools = {
        key: sum(size for own, (_, _, size) in zip(key_of, rows, strict=True) if own == key)
        for key in given_budgets
    }
    values: dict[tuple[str, str], Fraction] = {
        key: Fraction(size, 10**6) for key, size in given_values.items()
    }
    for key, budget in given_budgets.items():
        if pools[key] > 0:
            exactly = Fraction(budget, 100) / Fraction(pools[key], 10**4)
            values[key] = Fraction(exactly.numerator * 10**6 // exactly.denominator, 10**6)
        else:
            values[key] = Fraction(0)
    amounts = [
        half_up(Fraction(size, 10**4) * (values[key] if key else 0) * 100)
        for key, (_, _, size) in zip(key_of, rows, strict=True)
    ]
    if any(abs(amount) >= 2**63 for amount in amounts):
        with pytest.raises(pl.exceptions.PolarsError):
            pricing.priced(frame, tables, MARCH)
        return
    priced, budgets = pricing.priced(frame, tables, MARCH)
    assert priced["amount"].to_list() == amounts
    assert priced["point_value"].to_list() == [int(values[key] * 10**6) if key else None for key in key_of]
    expected = [
        (
            *key,
            budget,
            pools[key],
            int(values[key] * 10**6),
            budget - sum(amount for own, amount in zip(key_of, amounts, strict=True) if own == key),
        )
        for key, budget in sorted(given_budgets.items())
    ]
    found = budgets.select("zone", "point_class", "budget", "pool_points", "point_value", "remainder").rows()
    assert found == expected


# ---------------------------------------------------------------- huge values


@pytest.mark.parametrize(
    *cases("""
    points         | point_value         | amount
    90000000000000 | 100                 | 9000000000000000.00
    90000000000000 | 1000                | raises
    1              | 999999999999.999999 | 1000000000000.00
    99999999       | 999999999999.999999 | raises
    """)
)
def test_an_amount_that_does_not_fit_raises_instead_of_wrapping(
    points: str, point_value: str, amount: str
) -> None:
    """Design 4: products are formed in 128 bits; what does not fit DECIMAL(18,2) raises at the latest there."""
    from settlement import exact

    rows = f"zone | point_class | point_value\nurban | service | {point_value}"
    groups = groups_of(f"payable\n{points}")
    if amount == "raises":
        with pytest.raises(pl.exceptions.PolarsError):
            pricing.priced(groups, money_tables(rows), MARCH)[0].select(exact.as_money(pl.col("amount")))
    else:
        priced, _ = pricing.priced(groups, money_tables(rows), MARCH)
        assert text_of(priced["amount"][0], 2) == amount
