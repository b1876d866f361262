"""Which threshold is in force for an institution, month, regime and point class: rules 6; T 3(3), T 3(7); D 37.

A row of a table is a group (or a month); its last column is the threshold, or `none`, or `refused`.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written import CENTRE_AND_STATION, COACHING, cases, coded, points, policy, refusal, settle, table, units

from settlement.errors import Refusal
from settlement.policy import GrowthRow, Policy, ThresholdRow
from settlement.rules import thresholds

NO_DAYS = "institution | regime | days"


def in_force(
    groups: str, under: Policy, month: str = "2026-03", relief: str = "", days: str = NO_DAYS
) -> list[str]:
    """Threshold of each group, in the table's order, with the engine's own step."""
    rows = table(groups)
    frame = pl.DataFrame(
        [
            (
                number,
                coded(row.get("institution") or "centre"),
                row.get("regime") or "coaching",
                row.get("point_class") or "service",
                row.get("class") or "other_primary",
                row.get("zone") or "urban",
                int(row.get("period") or 2026) if (row.get("regime") or "coaching") == "coaching" else None,
            )
            for number, row in enumerate(rows)
        ],
        schema={
            "number": pl.Int64,
            "settling_id": pl.String,
            "regime": pl.String,
            "point_class": pl.String,
            "payment_class": pl.String,
            "zone": pl.String,
            "coaching_year": pl.Int32,
        },
        orient="row",
    )
    extra = pl.DataFrame(
        [(coded(row["institution"]), row["point_class"], units(row["points"])) for row in table(relief)],
        schema={"settling_id": pl.String, "point_class": pl.String, "relief": pl.Int64},
        orient="row",
    )
    lasted = pl.DataFrame(
        [(coded(row["institution"]), row["regime"], int(row["days"])) for row in table(days)],
        schema={"settling_id": pl.String, "regime": pl.String, "days_in_force": pl.Int64},
        orient="row",
    )
    first = date.fromisoformat(f"{month}-01")
    found, _ = thresholds.with_thresholds(frame, under, first, extra, lasted)
    assert found.height == len(rows)
    return [
        "none" if value is None else f"{Decimal(value).scaleb(-4):f}".removesuffix("00")
        for value in found.sort("number")["threshold"]
    ]


def check(groups: str, under: Policy, **given: str) -> None:
    expected = [row["threshold"] for row in table(groups)]
    assert in_force(groups, under, **given) == expected


# ---------------------------------------------------------------- which row (6.1, 6.2)

DATED = """
    from       | class         | zone   | drug_consumable | service
    2026-03-02 | other_primary | urban  | 4.00            | 40.00
    2026-03-01 | other_primary | urban  | 3.00            | 30.00
    2025-01-01 | other_primary | urban  | 1.00            | 10.00
    2026-01-01 | other_primary | urban  | 2.00            | 20.00
    2025-01-01 | other_primary | binhai | 5.00            | 50.00
    2025-01-01 | primary_new   | urban  | 6.00            | 60.00
"""


@pytest.mark.parametrize(
    *cases("""
    month   | threshold
    2024-12 | refused
    2025-01 | 10.00
    2025-12 | 10.00
    2026-01 | 20.00
    2026-02 | 20.00
    2026-03 | 30.00
    2026-04 | 40.00
    2027-12 | 40.00
    """)
)
def test_the_newest_row_on_or_before_the_first_day_of_the_month(month: str, threshold: str) -> None:
    """T 3(3) (6.2): a row of 2 March comes too late for March, whatever the order of the rows."""
    try:
        found = in_force("period\n2026", policy(thresholds=DATED), month)
    except Refusal:
        found = ["refused"]
    assert found == [threshold]


def test_each_zone_payment_class_and_point_class_has_its_own_value() -> None:
    """T 3(3) (6.1, 6.2): only coaching groups of drugs and services meet the table."""
    check(
        """
        regime    | point_class     | class         | zone   | threshold
        coaching  | drug_consumable | other_primary | urban  | 3.00
        coaching  | service         | other_primary | urban  | 30.00
        coaching  | drug_consumable | other_primary | binhai | 5.00
        coaching  | service         | other_primary | binhai | 50.00
        coaching  | service         | primary_new   | urban  | 60.00
        coaching  | tcm_decoction   | other_primary | urban  | none
        coaching  | inpatient       | other_primary | urban  | none
        ordinary  | service         | other_primary | urban  | none
        emergency | service         | other_primary | urban  | none
        none      | service         | other_primary | urban  | none
        """,
        policy(thresholds=DATED),
    )


@pytest.mark.parametrize(
    *cases("""
    zone   | point_class   | threshold
    urban  | service       | some
    urban  | tcm_decoction | none
    urban  | inpatient     | none
    binhai | service       | none
           | service       | none
    """)
)
def test_the_table_knows_nothing_of_other_classes_and_zones(
    zone: str, point_class: str, threshold: str
) -> None:
    """6.1, 6.2: never zero, never unlimited: no value at all."""
    value = thresholds.table_value(
        policy(), "other_primary", zone or None, point_class, 2026, date(2026, 3, 1)
    )
    assert ("none" if value is None else "some") == threshold


def test_a_threshold_states_its_clause_and_phrase() -> None:
    """Section 2 of the contract's tables: the clause that decides, with its phrase; null where there is none."""
    month = settle("claim | points | charge\n1 | 1 | 05\n2 | 1 | 10")
    assert month.rows("settlements", "point_class", "threshold_points", "clause") == [
        ("service", "100.00", "三（三） other_primary-urban"),
        ("tcm_decoction", "", ""),
    ]


# ---------------------------------------------------------------- no row: refused (6.2)

PLACES = """
    institution | class         | division
    centre      | other_primary | 120101
    other       | primary_new   | 120101
    third       | other_primary | 120116
    clinic      | primary_new   | 120101
    hospice     | primary_new   | 120116
"""
EVERYONE = "institution | agreement | designation\n" + "\n".join(
    f"{name} | {name}-1 | {'ordinary' if name == 'clinic' else 'coaching'}"
    for name in ("centre", "other", "third", "clinic", "hospice")
)


def test_without_a_row_the_month_is_refused_with_the_list_of_institutions() -> None:
    """6.2: never zero, never unlimited; institutions that have a row or need none are not listed."""
    text = refusal(
        """
        claim | institution | points | charge
        1     | centre      | 1      | 05
        2     | other       | 1      | 05
        3     | third       | 1      | 05
        4     | third       | 1      | 09
        5     | clinic      | 1      | 05
        6     | hospice     | 1      | 10
        """,
        institutions=PLACES,
        agreements=EVERYONE,
    )
    assert (
        "no threshold row for payment class other_primary in zone binhai; "
        "no threshold row for payment class primary_new in zone urban "
        "in force on 2026-03-01, but lines of 2 institution(s) need one: other, third\n"
    ) in text


@pytest.mark.parametrize(
    *cases("""
    what                     | points | charge | visit | insurance | serviced   | result
    services                 | 1      | 05     | 11    | 310       | 2026-03-10 | refused
    drugs                    | 1      | 09     | 11    | 310       | 2026-03-10 | refused
    no points in the group   | 0      | 05     | 11    | 310       | 2026-03-10 | refused
    an ineligible line       | 1      | 05     | 11    | 390       | 2026-03-10 | refused
    a late line              | 1      | 05     | 11    | 310       | 2025-12-10 | refused
    decoction pieces         | 1      | 10     | 11    | 310       | 2026-03-10 | settled
    inpatient                | 1      | 05     | 21    | 310       | 2026-03-10 | settled
    no agreement             | 1      | 05     | 11    | 310       | 2025-09-30 | settled
    emergency, no agreement  | 1      | 05     | 13    | 310       | 2025-09-30 | settled
    """)
)
def test_which_groups_need_a_row(
    what: str, points: str, charge: str, visit: str, insurance: str, serviced: str, result: str
) -> None:
    """6.1, 6.2: every coaching group of class drug_consumable or service in the month; here no row is in effect."""
    later = policy(
        thresholds="""
        from       | class         | zone  | drug_consumable | service
        2026-03-02 | other_primary | urban | 200.00          | 100.00
        """
    )
    lines = (
        "claim | points | charge | visit | insurance | serviced\n"
        f"1 | {points} | {charge} | {visit} | {insurance} | {serviced}"
    )
    assert ("lines of 1 institution(s) need one: centre" in refusal(lines, under=later)) == (
        result == "refused"
    )


# ---------------------------------------------------------------- growth (6.4)

BASE = """
    from       | class         | zone  | drug_consumable | service
    2024-01-01 | other_primary | urban | 100.00          | 100.00
    2025-06-01 | primary_new   | urban | 100.00          | 100.00
"""
RATES = {2024: "0.5", 2025: "0.10", 2026: "0.20", 2027: "0.30"}


@pytest.mark.parametrize(
    *cases("""
    row_of | period | month   | grown_by           | threshold
    2024   | 2024   | 2024-12 | nothing            | 100.00
    2024   | 2024   | 2025-01 | 2025               | 110.00
    2024   | 2024   | 2026-12 | 2025, 2026         | 132.00
    2024   | 2025   | 2025-12 | nothing            | 100.00
    2024   | 2025   | 2026-01 | 2026               | 120.00
    2024   | 2025   | 2027-06 | 2026, 2027         | 156.00
    2024   | 2026   | 2026-12 | nothing            | 100.00
    2024   | 2020   | 2025-03 | 2025               | 110.00
    2025   | 2024   | 2025-12 | nothing            | 100.00
    2025   | 2024   | 2026-01 | 2026               | 120.00
    2025   | 2026   | 2027-01 | 2027               | 130.00
    2024   | 2027   | 2026-12 | nothing            | 100.00
    """)
)
def test_growth_of_the_years_after_the_later_of_period_and_row(
    row_of: str, period: str, month: str, grown_by: str, threshold: str
) -> None:
    """T 3(3) (6.4): s = the later of the year in which the period starts and that of the row; k = s+1 … y."""
    payment_class = {"2024": "other_primary", "2025": "primary_new"}[row_of]
    under = policy(thresholds=BASE, growth=RATES)
    assert in_force(f"class | period\n{payment_class} | {period}", under, month) == [threshold]


@pytest.mark.parametrize(
    *cases("""
    base    | of_2025 | of_2026 | threshold | exactly
    100.03  | 0.5     | 0       | 150.05    | 150.045
    100.01  | 0.5     | 0       | 150.02    | 150.015
    1.00    | 0.005   | 0.005   | 1.01      | 1.010025, not 1.005 → 1.01, then 1.01505 → 1.02
    1000.05 | 0.0333  | 0       | 1033.35   | 1033.351665
    100.00  | -0.5    | 0.5     | 75.00     | 75
    0.01    | -0.5    | 0       | 0.01      | 0.005
    0.01    | -0.501  | 0       | 0.00      | 0.00499
    0.00    | 0.5     | 0.5     | 0.00      | 0
    14141.55 | 0.000000001 | 0  | 14141.55  | 14141.55001414155
    """)
)
def test_grown_thresholds_are_rounded_half_up_to_a_hundredth_once(
    base: str, of_2025: str, of_2026: str, threshold: str, exactly: str
) -> None:
    """6.4: after the last factor, not after each."""
    under = policy(
        thresholds=f"""
        from       | class         | zone  | drug_consumable | service
        2024-01-01 | other_primary | urban | 1.00            | {base}
        """,
        growth={2025: of_2025, 2026: of_2026},
    )
    assert in_force("period\n2024", under) == [threshold]


@pytest.mark.parametrize(
    *cases("""
    month   | rates     | assumed
    2024-12 |           | none
    2025-03 |           | 2025
    2026-03 |           | 2025 2026
    2026-03 | 2025      | 2026
    2026-03 | 2026      | 2025
    2026-03 | 2025 2026 | none
    2026-03 | 2024 2027 | 2025 2026
    """)
)
def test_a_year_without_a_rate_counts_as_zero_and_is_listed(month: str, rates: str, assumed: str) -> None:
    """6.4: period of 2024; a rate of 0 that the policy states is no assumption."""
    under = policy(thresholds=BASE, growth={int(year): "0" for year in rates.split()})
    settled = settle(
        "claim | points\n1 | 250",
        agreements="agreement | designation | from | to\nA1 | coaching | 2024-02-01 | 2024-12-31\n"
        "A2 | coaching | 2025-01-01 | 2025-12-31\nA3 | coaching | 2026-01-01 | 2026-12-31",
        under=policy(thresholds=BASE, growth={int(year): "0" for year in rates.split()}, base_months=60),
        month=month,
    )
    listed = [text.split(":")[0] for text in settled.settlement.assumptions if text.startswith("growth")]
    years = [] if assumed == "none" else assumed.split()
    assert listed == [f"growth of {year}" for year in years]
    assert settled.group("threshold_points") == "100.00"
    first = date.fromisoformat(f"{month}-01")
    value = thresholds.table_value(under, "other_primary", "urban", "service", 2024, first)
    assert value is not None
    assert value.ungrown_years == tuple(int(year) for year in years)


def test_where_two_periods_meet_in_one_group_the_later_year_counts() -> None:
    """6.4: A1 of 2025 was terminated on 5 March, A2 begins a new period in 2026: no growth yet."""
    agreements = """
        agreement | designation | from       | to
        A1        | coaching    | 2025-10-01 | 2026-03-05
        A2        | coaching    | 2026-03-06 | 2027-03-05
    """
    events = "day | event\n2026-03-05 | terminated"
    under = policy(growth={2026: "0.10"})
    one = "claim | points | serviced\n1 | 60 | 2026-03-04"
    both = one + "\n2 | 60 | 2026-03-06"
    found = [settle(text, agreements=agreements, events=events, under=under) for text in (one, both)]
    assert [month.group("threshold_points") for month in found] == ["110.00", "100.00"]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    base=st.integers(0, 10**12),
    since=st.integers(2018, 2030),
    row_year=st.integers(2018, 2027),
    rates=st.dictionaries(st.integers(2018, 2031), st.integers(1 - 10**9, 3 * 10**9), max_size=8),
    year=st.integers(2027, 2030),
)
def test_growth_against_fractions(
    base: int, since: int, row_year: int, rates: dict[int, int], year: int
) -> None:
    """6.4: base × Π (1 + growth), half-up to 0.01 once, computed with fractions."""
    row = ThresholdRow(
        effective_from=date(row_year, 1, 1),
        payment_class="c",
        zone="z",
        drug_consumable=Decimal(0),
        service=Decimal(base).scaleb(-2),
    )
    growth = tuple(GrowthRow(year=each, rate=Decimal(rate).scaleb(-9)) for each, rate in rates.items())
    under = Policy(**{**vars(policy()), "thresholds": (row,), "growth": growth})
    value = thresholds.table_value(under, "c", "z", "service", since, date(year, 5, 1))
    exact = Fraction(base, 100)
    for each in range(max(since, row_year) + 1, year + 1):
        exact *= 1 + Fraction(rates.get(each, 0), 10**9)
    assert value is not None
    hundredths, rest = divmod(exact * 100, 1)
    assert value.units == (hundredths + (rest >= Fraction(1, 2))) * 100


# ---------------------------------------------------------------- days in force (6.5)


@pytest.mark.parametrize(
    *cases("""
    month   | base    | days | threshold | exactly
    2026-03 | 1033.35 | 31   | 1033.35   | the whole month
    2026-03 | 1033.35 | 30   | 1000.02   | 1000.0161…
    2026-03 | 1033.35 | 10   | 333.34    | 333.3387…
    2026-03 | 1000.05 | 12   | 387.12    | 387.1161…
    2026-03 | 1033.35 | 1    | 33.33     | 33.3338…
    2026-03 | 1033.35 | 0    | 1033.35   | late lines only: full
    2026-04 | 0.01    | 14   | 0.00      | 0.00466…
    2026-04 | 0.01    | 15   | 0.01      | 0.005
    2026-04 | 0.05    | 15   | 0.03      | 0.025
    2026-04 | 0.03    | 15   | 0.02      | 0.015
    2026-02 | 100.00  | 14   | 50.00     | 28 days
    2028-02 | 100.00  | 14   | 48.28     | 29 days
    2026-03 | 0.00    | 14   | 0.00      |
    """)
)
def test_the_part_of_the_month_in_force(
    month: str, base: str, days: str, threshold: str, exactly: str
) -> None:
    """6.5: × days in force ÷ days of the month, half-up to 0.01, under the reading by_day only."""
    rows = f"""
        from       | class         | zone  | drug_consumable | service
        2024-01-01 | other_primary | urban | 1.00            | {base}
    """
    lasted = f"""
        institution | regime   | days
        centre      | coaching | {days}
        centre      | ordinary | 7
        other       | coaching | 3
    """
    group = f"period\n{month[:4]}"
    by_day = policy(thresholds=rows, partial_month="by_day")
    assert in_force(group, by_day, month, days=lasted) == [threshold]
    assert in_force(group, policy(thresholds=rows), month, days=lasted) == [base]


def test_by_day_counts_days_of_agreement_years_also_after_a_suspension_or_under_the_narrow_reading() -> None:
    """6.5: from 20 March twelve days; suspended days count; coaching_scope = coaching_period changes nothing."""
    agreements = """
        agreement | institution | designation | from       | to
        A1        | centre      | coaching    | 2026-03-20 | 2027-03-19
        B1        | other       | coaching    | 2025-10-01 | 2026-03-05
        B2        | other       | ordinary    | 2026-03-06 | 2026-12-31
        C1        | third       | coaching    | 2025-09-11 | 2026-09-10
    """
    for scope in ("agreement_year", "coaching_period"):
        month = settle(
            """
            claim | institution | points | serviced
            1     | centre      | 250    | 2026-03-21
            2     | other       | 250    | 2026-03-05
            3     | third       | 250    | 2026-03-05
            """,
            agreements=agreements,
            events="day | event\n2026-03-22 | suspended\n2026-03-25 | resumed",
            institutions="institution\ncentre\nother\nthird",
            under=policy(partial_month="by_day", coaching_scope=scope),
        )
        assert month.rows("settlements", "institution_id", "regime", "threshold_points") == [
            ("centre", "coaching", "38.71"),
            ("other", "coaching", "16.13"),
            ("third", "coaching", "100.00"),
        ]


# ---------------------------------------------------------------- relief (6.6) and institution thresholds (6.7)

OWN = """
    institution | from       | point_class     | threshold
    centre      | 2026-03-02 | service         | 999.00
    centre      | 2026-03-01 | service         | 70.00
    centre      | 2025-01-01 | service         | 60.00
    centre      | 2025-01-01 | drug_consumable | 50.00
"""


def test_an_ordinary_group_meets_the_institutions_own_threshold() -> None:
    """T 3(7) (6.7): the newest row for the class on or before the first day of the month; otherwise none."""
    under = policy(institution_thresholds=OWN)
    check(
        """
        institution | regime    | point_class     | threshold
        centre | ordinary  | service         | 70.00
        centre | ordinary  | drug_consumable | 50.00
        centre | ordinary  | tcm_decoction   | none
        centre | ordinary  | inpatient       | none
        other  | ordinary  | service         | none
        centre      | coaching  | service         | 100.00
        centre | emergency | service         | none
        centre | none      | service         | none
        """,
        under,
    )
    group = "institution | regime\ncentre | ordinary"
    assert in_force(group, under, "2026-02") == ["60.00"]
    assert in_force(group, under, "2026-04") == ["999.00"]
    assert in_force(group, under, "2024-12") == ["none"]


def test_an_ordinary_group_is_cut_at_its_own_threshold_and_states_its_source() -> None:
    """T 3(7) (6.7): settled, with the days in force under agreements that are not coaching years."""
    agreements = """
        agreement | designation | from       | to
        A1        | coaching    | 2025-09-11 | 2026-03-10
        A2        | ordinary    | 2026-03-11 | 2026-12-31
    """
    lines = "claim | points | serviced\n1 | 150 | 2026-03-10\n2 | 150 | 2026-03-11"
    columns = ("regime", "threshold_points", "payable_points", "clause")
    found = {}
    for reading in ("full", "by_day"):
        under = policy(institution_thresholds=OWN, partial_month=reading)
        found[reading] = settle(lines, agreements=agreements, under=under).rows("settlements", *columns)
    table_clause, own_clause = "三（三） other_primary-urban", "三（七） test"
    assert found == {
        "full": [
            ("coaching", "100.00", "100.0000", table_clause),
            ("ordinary", "70.00", "70.0000", own_clause),
        ],
        "by_day": [
            ("coaching", "32.26", "32.2600", table_clause),
            ("ordinary", "47.42", "47.4200", own_clause),
        ],
    }


def test_relief_is_added_in_full_after_days_in_force() -> None:
    """D 37 (6.6): to the coaching group's threshold, and to the ordinary group's if it has one."""
    groups = """
        institution | regime    | point_class     | threshold
        centre      | coaching  | service         | {}
        centre      | coaching  | drug_consumable | {}
        centre | ordinary  | service         | {}
        centre | emergency | service         | none
        centre | none      | service         | none
        centre      | coaching  | tcm_decoction   | none
        other  | coaching  | service         | 100.00
        other  | ordinary  | service         | none
    """
    relief = """
        institution | point_class   | points
        centre | service       | 30.25
        centre | tcm_decoction | 5.00
    """
    check(groups.format("130.25", "200.00", "100.25"), policy(institution_thresholds=OWN), relief=relief)
    by_day = policy(institution_thresholds=OWN, partial_month="by_day")
    days = """
        institution | regime   | days
        centre      | coaching | 10
        centre | ordinary | 21
    """
    check(groups.format("62.51", "64.52", "77.67"), by_day, relief=relief, days=days)
    check(
        "institution | regime | threshold\nother  | ordinary | none",
        by_day,
        relief=relief.replace("0001", "0002"),
    )


@pytest.mark.parametrize(
    *cases("""
    points | payable  | of
    150    | 150.0000 | at the threshold with relief
    165    | 157.5000 | half of 15 up to 1.10 × 150
    166    | 157.5000 | nothing beyond 165
    """)
)
def test_rows_of_relief_add_up_and_tiers_are_multiples_of_the_result(
    points: str, payable: str, of: str
) -> None:
    """D 37 (6.6): 30 + 20 for services in March; not 99 of February, nor 7 for drugs, nor another institution's."""
    month = settle(
        f"claim | points\n1 | {points}",
        under=policy(tiers=[("1.10", "0.5")]),
        institutions="institution\ncentre\nother",
        relief="""
        institution_id | month   | point_class     | approved_points
        centre         | 2026-03 | service         | 30.00
        centre         | 2026-03 | service         | 20.00
        centre         | 2026-02 | service         | 99.00
        centre         | 2026-03 | drug_consumable | 7.00
        other          | 2026-03 | service         | 3.00
        """,
    )
    assert (month.group("threshold_points"), month.group("payable_points")) == ("150.00", payable)


# ---------------------------------------------------------------- zones (6.3)

TWO_ZONES = """
    from       | class         | zone   | drug_consumable | service
    2025-01-01 | other_primary | urban  | 200.00          | 100.00
    2025-01-01 | other_primary | binhai | 200.00          | 40.00
"""


@pytest.mark.parametrize(
    *cases("""
    zone   | division | result
           | 120101   | 100.00
           | 120102   | 100.00
           | 120116   | 40.00
    binhai | 120101   | 40.00
    urban  | 120116   | 100.00
    urban  | 999999   | 100.00
           | 120117   | refused
    """)
)
def test_the_zone_is_the_registrys_else_that_of_the_division(zone: str, division: str, result: str) -> None:
    """T 3(3) (6.3): needed by every settling institution with lines; a station's own zone does not count."""
    institutions = f"""
        institution | zone   | division   | settles_under
        centre      | {zone} | {division} |
        station     | binhai | 120117     | centre
        other       |        | 999999     |
    """
    lines = "claim | institution | points\n1 | station | 500"
    if result == "refused":
        text = refusal(lines, institutions=institutions, under=policy(thresholds=TWO_ZONES))
        assert "centre: division 120117 is in no zone\n" in text
    else:
        month = settle(lines, institutions=institutions, under=policy(thresholds=TWO_ZONES))
        assert month.group("threshold_points") == result


def test_every_institution_without_a_zone_is_named() -> None:
    """6.3: also those whose lines meet no threshold."""
    text = refusal(
        """
        claim | institution | points | charge
        1     | centre      | 1      | 05
        2     | other       | 1      | 10
        3     | third       | 1      | 05
        """,
        institutions="institution | division\ncentre | 120117\nother | 999999\nthird | 120101",
    )
    assert "centre: division 120117 is in no zone; other: division 999999 is in no zone\n" in text


@pytest.mark.parametrize(
    *cases("""
    has_zones | money_month | money_zone | result
    yes       |             |            | refused
    no        |             |            | settled
    no        | 2026-03     | *          | settled
    no        | 2026-03     | urban      | refused
    no        | 2026-02     | urban      | settled
    """)
)
def test_who_needs_a_zone(has_zones: str, money_month: str, money_zone: str, result: str) -> None:
    """6.3: if the policy has zones or thresholds, or a money table of the month is keyed by zone; otherwise empty."""
    money = f"month | zone | point_class | point_value\n{money_month} | {money_zone} | drug_consumable | 1.5"
    given: dict[str, Any] = {
        "agreements": COACHING.replace("coaching", "ordinary"),
        "institutions": "institution | division | zone\ncentre | 999999 |\nother | 999999 | urban",
        "under": policy(thresholds="", zones=has_zones == "yes"),
    }
    if money_month:
        given["point_values"] = f"{money}\n2026-03 | * | service | 1"
    if result == "refused":
        assert "centre: division 999999 is in no zone\n" in refusal("claim | points\n1 | 1", **given)
    else:
        month = settle("claim | points\n1 | 1", **given)
        assert month.rows("settlements", "zone", "payable_points") == [("", "1.0000")]


def test_a_station_meets_its_centres_threshold_together_with_it() -> None:
    """D 5, D 15 (6): one group, one threshold."""
    month = settle(
        "claim | institution | points\n1 | centre | 60\n2 | station | 60", institutions=CENTRE_AND_STATION
    )
    columns = ("institution_id", "submitted_points", "threshold_points", "payable_points")
    assert month.rows("settlements", *columns) == [("centre", "120.0000", "100.00", "100.0000")]


def with_relief(threshold: str, *approved: str) -> str:
    """threshold_points with these rows of relief; or `raises`."""
    under = policy(
        thresholds=f"""
        from       | class         | zone  | drug_consumable | service
        2025-01-01 | other_primary | urban | 1.00            | {threshold}
        """
    )
    rows = "\n".join(f"centre | 2026-03 | service | {each}" for each in approved)
    relief = "institution_id | month | point_class | approved_points\n" + rows
    try:
        return str(settle("claim | points\n1 | 1", under=under, relief=relief).group("threshold_points"))
    except Exception:  # how it says so is open; that it stops is the rule
        return "raises"


@pytest.mark.parametrize(
    *cases("""
    threshold           | relief              | result
    900000000000000     | 20000000000000      | 920000000000000.00
    9999999999999999.99 | 0.01                | raises
    100                 | 9999999999999999.00 | raises
    """)
)
def test_a_threshold_too_large_for_the_arithmetic_raises(threshold: str, relief: str, result: str) -> None:
    """Design 4: what does not fit 64 bits raises."""
    assert with_relief(threshold, relief) == result


@pytest.mark.parametrize(
    "amounts",
    [("900000000000000", "900000000000000"), ("1", "900000000000000", "900000000000000")],
    ids=["threshold and relief", "two rows of relief"],
)
def test_relief_that_leaves_sixty_four_bits_raises_instead_of_wrapping(amounts: tuple[str, ...]) -> None:
    """Design 4: two of 9 · 10¹⁴ points leave 64 bits; the threshold must not become negative."""
    assert with_relief(*amounts) == "raises"


def test_points_and_units_of_these_tables() -> None:
    """The tests' own arithmetic."""
    assert (units("0.0001"), units("-12.5"), points(-1), points(408743301)) == (
        1,
        -125000,
        "-0.0001",
        "40874.3301",
    )
