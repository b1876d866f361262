"""What is paid of a group, and which of its lines lose: rules 7; T 3(3) 超出阈值部分不予支付.

Points are written with four decimals; the threshold stands in the test's text. f(x) is what is paid when x points
are eligible. The property tests walk every line of random groups with fractions, the slow and obvious way.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written import CENTRE_AND_STATION, cases, points, policy, refusal, settle, table, units

from settlement.policy import Overage, Tier
from settlement.rules import overage

REPEATABLE = settings(max_examples=150, deadline=None, derandomize=True)
NOTHING_MORE = Overage()


def shares(paid_share: str, *tiers: tuple[str, str]) -> Overage:
    slices = tuple(Tier(up_to=Decimal(up_to), paid_share=Decimal(share)) for up_to, share in tiers)
    return Overage(paid_share=Decimal(paid_share), tiers=slices)


def capped(eligible: str, threshold: str, rule: Overage, ineligible: str = "0") -> tuple[str, str, str]:
    """payable, overage and unpaid points of a group."""
    group = pl.DataFrame(
        {
            "submitted": [units(eligible) + units(ineligible)],
            "eligible": [units(eligible)],
            "threshold": pl.Series([units(threshold) if threshold else None], dtype=pl.Int64),
        }
    )
    row = overage.capped(group, rule).row(0, named=True)
    return points(row["payable"]), points(row["overage"]), points(row["unpaid"])


# ---------------------------------------------------------------- f(x)


@pytest.mark.parametrize(
    *cases("""
    threshold | eligible    | payable     | overage | unpaid
    40874.33  | 40874.3299  | 40874.3299  | 0.0000  | 0.0000
    40874.33  | 40874.3300  | 40874.3300  | 0.0000  | 0.0000
    40874.33  | 40874.3301  | 40874.3300  | 0.0001  | 0.0001
    40874.33  | 99999.0000  | 40874.3300  | 59124.6700 | 59124.6700
    0.00      | -0.0001     | -0.0001     | 0.0000  | 0.0000
    0.00      | 0.0000      | 0.0000      | 0.0000  | 0.0000
    0.00      | 0.0001      | 0.0000      | 0.0001  | 0.0001
    100.00    | -0.0001     | -0.0001     | 0.0000  | 0.0000
    100.00    | -5000.0000  | -5000.0000  | 0.0000  | 0.0000
    100.00    | 0.0001      | 0.0001      | 0.0000  | 0.0000
              | 99999.0001  | 99999.0001  | 0.0000  | 0.0000
              | -99999.0001 | -99999.0001 | 0.0000  | 0.0000
    """)
)
def test_what_exceeds_the_threshold_is_not_paid(
    threshold: str, eligible: str, payable: str, overage: str, unpaid: str
) -> None:
    """T 3(3) (7): beyond begins above the threshold; no threshold pays everything; f(x) = x for x ≤ 0."""
    assert capped(eligible, threshold, NOTHING_MORE) == (payable, overage, unpaid)


@pytest.mark.parametrize(
    *cases("""
    paid_share | eligible | payable  | exactly
    0.5        | 100.0000 | 100.0000 | at the threshold
    0.5        | 100.0001 | 100.0001 | 100.00005
    0.5        | 100.0002 | 100.0001 | 100.0001
    0.5        | 100.0003 | 100.0002 | 100.00015
    0.3        | 100.0001 | 100.0000 | 100.00003
    0.3        | 100.0002 | 100.0001 | 100.00006
    0.3        | 110.0000 | 103.0000 | 103
    1          | 250.1234 | 250.1234 | all of it
    0          | 250.1234 | 100.0000 | none of it
    0.9999999  | 200.0000 | 200.0000 | 199.99999
    0.0000001  | 200.0000 | 100.0000 | 100.00001
    """)
)
def test_the_paid_share_of_the_overage(paid_share: str, eligible: str, payable: str, exactly: str) -> None:
    """T 3(3) (7): threshold 100.00; half-up to 4 decimals."""
    assert capped(eligible, "100", shares(paid_share))[0] == payable


@pytest.mark.parametrize(
    *cases("""
    eligible  | payable   | exactly
    1033.3499 | 1033.3499 | below the threshold
    1033.3500 | 1033.3500 | at it
    1033.3501 | 1033.3501 | 1033.35005
    1136.6849 | 1085.0175 | 1033.35 + 103.3349 × 0.5 = 1085.01745
    1136.6850 | 1085.0175 | 1033.35 + 103.3350 × 0.5
    1136.6851 | 1085.0175 | … + 0.0001 × 0.25 = 1085.017525
    1136.6852 | 1085.0176 | … + 0.0002 × 0.25 = 1085.01755
    1291.6874 | 1123.7681 | … + 155.0024 × 0.25 = 1123.7681
    1291.6875 | 1123.7681 | bound 1.25 × 1033.35 = 1291.6875: 1123.768125
    1291.6876 | 1123.7681 | … + 0.0001 × 0.1 = 1123.768135
    1291.6877 | 1123.7681 | … + 0.0002 × 0.1 = 1123.768145
    1291.6878 | 1123.7682 | … + 0.0003 × 0.1 = 1123.768155
    2000.0000 | 1194.5994 | … + 708.3125 × 0.1 = 1194.599375
    """)
)
def test_each_slice_of_overage_counts_with_its_own_share(eligible: str, payable: str, exactly: str) -> None:
    """(7): half up to 1.10 × 1033.35, a quarter up to 1.25 ×, a tenth beyond; f is rounded once."""
    assert capped(eligible, "1033.35", shares("0.1", ("1.10", "0.5"), ("1.25", "0.25")))[0] == payable


@pytest.mark.parametrize(
    *cases("""
    of_the_first | of_the_second | beyond | eligible | payable
    0.499999999  | 1             | 1      | 100.0001 | 100.0000
    0.5          | 0             | 0      | 100.0001 | 100.0001
    1            | 0.499999999   | 1      | 110.0001 | 110.0000
    1            | 0.5           | 0      | 110.0001 | 110.0001
    1            | 1             | 0.499999999 | 120.0001 | 120.0000
    1            | 1             | 0.5    | 120.0001 | 120.0001
    """)
)
def test_a_slice_that_is_not_reached_adds_nothing(
    of_the_first: str, of_the_second: str, beyond: str, eligible: str, payable: str
) -> None:
    """(7): threshold 100.00, slices up to 110 and 120; a share just below a half of the last unit is not paid."""
    rule = shares(beyond, ("1.1", of_the_first), ("1.2", of_the_second))
    assert capped(eligible, "100", rule)[0] == payable


def test_a_threshold_of_zero_has_no_slices_but_the_last() -> None:
    """(7): tier bounds are multiples of the threshold (6.6): 1.10 × 0 = 0."""
    assert capped("10", "0", shares("0.1", ("1.10", "0.5")))[0] == "1.0000"
    assert capped("-10", "0", shares("0.1", ("1.10", "0.5")))[0] == "-10.0000"


@pytest.mark.parametrize(
    *cases("""
    eligible | ineligible | payable  | unpaid
    60       | 30         | 60.0000  | 30.0000
    120      | 30         | 100.0000 | 50.0000
    -20      | 30         | -20.0000 | 30.0000
    120      | -30        | 100.0000 | -10.0000
    """)
)
def test_unpaid_is_submitted_minus_payable(eligible: str, ineligible: str, payable: str, unpaid: str) -> None:
    """(7): ineligible points are unpaid, whatever the threshold of 100.00 leaves."""
    found = capped(eligible, "100", NOTHING_MORE, ineligible)
    assert (found[0], found[2]) == (payable, unpaid)


def half_up(number: Fraction) -> int:
    size = int(abs(number) + Fraction(1, 2))
    return -size if number < 0 else size


def f(x: int, threshold: int | None, rule: Overage) -> int:
    """What is paid of x, with fractions."""
    if threshold is None or x <= threshold:
        return x
    paid, lower = Fraction(threshold), Fraction(threshold)
    for tier in rule.tiers:
        upper = min(Fraction(x), threshold * Fraction(tier.up_to))
        paid += max(upper - lower, 0) * Fraction(tier.paid_share)
        lower = max(lower, upper)
    return half_up(paid + (x - lower) * Fraction(rule.paid_share))


TIERS = st.lists(
    st.tuples(st.integers(1, 3 * 10**9), st.integers(0, 10**9)), max_size=3, unique_by=lambda tier: tier[0]
)
COARSE_TIERS = st.lists(
    st.tuples(st.sampled_from([10**8, 10**9, 25 * 10**8]), st.sampled_from([0, 25 * 10**7, 10**9])),
    max_size=2,
    unique_by=lambda tier: tier[0],
)


def rule_of(share: int, tiers: list[tuple[int, int]]) -> Overage:
    """Shares and excess bounds in 10⁻⁹."""
    return shares(
        str(Decimal(share).scaleb(-9)),
        *((str(1 + Decimal(more).scaleb(-9)), str(Decimal(each).scaleb(-9))) for more, each in sorted(tiers)),
    )


@REPEATABLE
@given(
    eligible=st.integers(-(10**12), 10**12) | st.integers(-(2**62), 2**62),
    threshold=st.none() | st.integers(0, 10**10).map(lambda hundredths: hundredths * 100),
    share=st.integers(0, 10**9),
    tiers=TIERS,
)
def test_payable_points_against_fractions(
    eligible: int, threshold: int | None, share: int, tiers: list[tuple[int, int]]
) -> None:
    """(7): exact for every total that fits, however large."""
    rule = rule_of(share, tiers)
    frame = pl.DataFrame({"x": [eligible], "t": [threshold]}, schema={"x": pl.Int64, "t": pl.Int64})
    assert frame.select(overage.payable(pl.col("x"), pl.col("t"), rule)).item() == f(
        eligible, threshold, rule
    )


@REPEATABLE
@given(threshold=st.integers(0, 10**6), share=st.integers(0, 10**9), tiers=TIERS, x=st.integers(0, 3 * 10**6))
def test_more_eligible_points_are_never_paid_less(
    threshold: int, share: int, tiers: list[tuple[int, int]], x: int
) -> None:
    """(7): f does not fall, and never pays more than is eligible."""
    rule = rule_of(share, tiers)
    frame = pl.DataFrame({"x": [x, x + 1]})
    less, more = frame.select(paid=overage.payable(pl.col("x"), pl.lit(threshold), rule))["paid"]
    assert less <= more <= x + 1


# ---------------------------------------------------------------- group totals


def test_group_totals() -> None:
    """(7): submitted = all lines, ineligible = those with a reason, eligible = the rest; reversals count negative."""
    month = settle(
        """
        claim | points   | charge | insurance
        1     | 60.0001  | 05     | 310
        2     | -10.5    | 05     | 310
        3     | 30       | 05     | 390
        4     | -1       | 05     | 390
        5     | 7        | 09     | 310
        """
    )
    columns = ("point_class", "line_count", "submitted_points", "ineligible_points", "eligible_points")
    assert month.rows("settlements", *columns) == [
        ("drug_consumable", "1", "7.0000", "0.0000", "7.0000"),
        ("service", "4", "78.5001", "29.0000", "49.5001"),
    ]


@pytest.mark.parametrize(
    *cases("""
    first              | second              | eligible
    900000000000000    | 20000000000000      | 920000000000000.0000
    900000000000000    | -900000000000000    | 0.0000
    900000000000000    | 900000000000000     | raises
    -900000000000000   | -900000000000000    | raises
    """)
)
def test_totals_that_leave_sixty_four_bits_raise_instead_of_wrapping(
    first: str, second: str, eligible: str
) -> None:
    """Design 4: two of 9 · 10¹⁴ points would wrap."""
    profiles = pl.DataFrame(
        [
            {
                "settling_id": "A",
                "regime": "coaching",
                "point_class": "service",
                "payment_class": "c",
                "zone": "z",
                "coaching_year": 2026,
                "reason": None,
                "line_count": 1,
                "positive_points": max(size, 0),
                "negative_points": min(size, 0),
            }
            for size in (units(first), units(second))
        ],
        schema_overrides={"reason": pl.String},
    )
    if eligible == "raises":
        with pytest.raises(pl.exceptions.PolarsError):
            overage.totals(profiles)
    else:
        assert points(overage.totals(profiles)["eligible"][0]) == eligible


def test_daily_points_of_groups_with_a_threshold() -> None:
    """Data 3: per day of settlement, not of service; groups without a threshold have none."""
    month = settle(
        """
        claim | institution | points | charge | insurance | settled    | serviced
        1     | centre      | 60     | 05     | 310       | 2026-03-05 | 2026-03-01
        2     | centre      | 50     | 05     | 310       | 2026-03-05 | 2026-03-05
        3     | centre      | 30     | 05     | 390       | 2026-03-05 | 2026-03-05
        4     | centre      | 20     | 05     | 310       | 2026-03-07 | 2026-03-05
        5     | centre      | 20     | 10     | 310       | 2026-03-07 | 2026-03-05
        6     | centre      | 20     | 05     | 310       | 2026-03-30 | 2026-03-21
        7     | other       | 80     | 05     | 310       | 2026-03-06 | 2026-03-05
        8     | third       | 80     | 05     | 310       | 2026-03-06 | 2026-03-05
        """,
        institutions="institution\ncentre\nother\nthird",
        agreements="""
        agreement | institution | designation | from       | to
        A1        | centre      | coaching    | 2025-10-01 | 2026-03-20
        A2        | centre      | ordinary    | 2026-03-21 | 2026-12-31
        B1        | other       | ordinary    | 2025-10-01 | 2026-12-31
        C1        | third       | ordinary    | 2025-10-01 | 2026-12-31
        """,
        under=policy(
            institution_thresholds="""
            institution | from       | point_class | threshold
            other       | 2026-01-01 | service     | 70.00
            """
        ),
    )
    columns = ("institution_id", "regime", "day", "line_count", "submitted_points", "eligible_points")
    assert month.rows("daily_points", *columns) == [
        ("centre", "coaching", "2026-03-05", "3", "140.0000", "110.0000"),
        ("centre", "coaching", "2026-03-07", "1", "20.0000", "20.0000"),
        ("other", "ordinary", "2026-03-06", "1", "80.0000", "80.0000"),
    ]


# ---------------------------------------------------------------- which lines lose: chronological


def paid(lines: str, **given: Any) -> list[str]:
    """Payable points of every line, in the table's order; claims must differ."""
    rows = table(lines)
    text = "\n".join([" | ".join(list(rows[0])[:-1]), *(" | ".join(list(row.values())[:-1]) for row in rows)])
    month = settle(text, **given)
    cut = month.paid()
    return [cut.get(row["claim"], points(units(row["points"]))) for row in rows]


def check(lines: str, **given: Any) -> None:
    """The last column is what each line is paid."""
    assert paid(lines, **given) == [row["paid"] for row in table(lines)]


def test_lines_are_paid_in_the_order_of_settlement_until_the_threshold() -> None:
    """Attribution chronological (7): the line that crosses 100.00 is paid in part; later ones are not."""
    check(
        """
        claim | settled             | points  | paid
        5     | 2026-03-09          | 10      | 0.0000
        1     | 2026-03-05 09:00:00 | 60      | 60.0000
        4     | 2026-03-05 10:00:02 | 0.0001  | 0.0000
        2     | 2026-03-05 10:00:00 | 39.9999 | 39.9999
        3     | 2026-03-05 10:00:01 | 20      | 0.0001
        """
    )


@pytest.mark.parametrize(
    *cases("""
    last   | of_the_last
    9.9999 | 9.9999
    10     | 10.0000
    10.0001 | 10.0000
    """)
)
def test_the_last_line_at_the_threshold(last: str, of_the_last: str) -> None:
    """T 3(3) (7): 90 points before it, threshold 100.00."""
    check(
        f"""
        claim | settled    | points | paid
        1     | 2026-03-01 | 90     | 90.0000
        2     | 2026-03-31 | {last} | {of_the_last}
        """
    )


def test_reversals_stay_in_their_place() -> None:
    """(7), 11: after 110 points a reversal of 30 takes back 20 that were paid; the next 30 are paid 20."""
    check(
        """
        claim | settled    | points | paid
        1     | 2026-03-01 | 110    | 100.0000
        2     | 2026-03-02 | -30    | -20.0000
        3     | 2026-03-03 | 30     | 20.0000
        4     | 2026-03-04 | -5     | 0.0000
        5     | 2026-03-05 | -6     | -1.0000
        6     | 2026-03-06 | 1      | 1.0000
        """
    )


def test_a_month_that_falls_below_zero() -> None:
    """(7): f(x) = x for x ≤ 0: the reversal of an older month's claim is taken back in full."""
    check(
        """
        claim | settled    | points | paid
        1     | 2026-03-01 | -50    | -50.0000
        2     | 2026-03-02 | 120    | 120.0000
        3     | 2026-03-03 | 40     | 30.0000
        4     | 2026-03-04 | -400   | -390.0000
        """
    )


def test_ineligible_lines_take_no_place_in_the_order() -> None:
    """(7): line 1 is not covered; lines 2 and 3 share the threshold."""
    check(
        """
        claim | settled    | insurance | points | paid
        1     | 2026-03-01 | 390       | 90     | 0.0000
        2     | 2026-03-02 | 310       | 90     | 90.0000
        3     | 2026-03-03 | 310       | 90     | 10.0000
        """
    )


def test_groups_do_not_share_a_threshold() -> None:
    """(7): drugs have 200.00, services 100.00, decoction pieces none."""
    check(
        """
        claim | settled    | charge | points | paid
        1     | 2026-03-01 | 05     | 90     | 90.0000
        2     | 2026-03-02 | 09     | 150    | 150.0000
        3     | 2026-03-03 | 10     | 900    | 900.0000
        4     | 2026-03-04 | 01     | 90     | 10.0000
        5     | 2026-03-05 | 11     | 90     | 50.0000
        """
    )


def test_slices_of_overage_are_attributed_line_by_line() -> None:
    """(7): half of the points from 100 to 110, nothing beyond; each line is paid f(after) − f(before)."""
    check(
        """
        claim | settled    | points  | paid
        1     | 2026-03-01 | 95      | 95.0000
        2     | 2026-03-02 | 10.0001 | 7.5001
        3     | 2026-03-03 | 0.0001  | 0.0000
        4     | 2026-03-04 | 0.0001  | 0.0001
        5     | 2026-03-05 | 20      | 2.4998
        6     | 2026-03-06 | 1       | 0.0000
        """,
        under=policy(tiers=[("1.10", "0.5")]),
    )


def test_slices_of_overage_over_several_days() -> None:
    """(7): half from 100 to 110, a quarter up to 150, nothing beyond; one line a day."""
    check(
        """
        claim | settled    | points | paid
        1     | 2026-03-01 | 105    | 102.5000
        2     | 2026-03-02 | 10     | 3.7500
        3     | 2026-03-03 | 20     | 5.0000
        4     | 2026-03-04 | 20     | 3.7500
        5     | 2026-03-05 | 10     | 0.0000
        6     | 2026-03-06 | -20    | -1.2500
        """,
        under=policy(tiers=[("1.10", "0.5"), ("1.50", "0.25")]),
    )


# ---------------------------------------------------------------- ties: the canonical order


@pytest.mark.parametrize(
    *cases("""
    earlier   | later     | why
    1         | 2         | as texts
    10        | 9         | as texts, not as numbers
    01        | 1         | a leading zero is kept
    1         | 1 1       | the shorter first
    A         | a         | capitals first
    Z         | _         | by their bytes
    Z         | a         | by their bytes
    z         | é         | by their bytes
    é         | 中        | by their bytes
    ～        | 😀        | by UTF-8, not UTF-16
    """)
)
def test_ties_are_broken_by_claim_then_line(earlier: str, later: str, why: str) -> None:
    """(7): lines settled at the same moment; texts compare by their UTF-8 bytes."""
    for lines in (
        f"claim | line | points\n{earlier} | 9 | 100\n{later} | 1 | 100",
        f"claim | line | points\n{later} | 1 | 100\n{earlier} | 9 | 100",
        f"claim | line | points\nsame | {earlier} | 100\nsame | {later} | 100",
    ):
        loser = settle(lines).rows("unpaid_lines", "claim_id", "line_id", "payable_points")
        same = "same" in lines
        assert loser == [("same" if same else later, later if same else "1", "0.0000")], why


@pytest.mark.parametrize(
    *cases("""
    first   | its_line | second  | its_line_too | loser
    centre  | 1        | station | 1            | station
    station | 1        | centre  | 1            | station
    centre  | 2        | station | 1            | centre
    centre  | 1        | station | 2            | station
    """)
)
def test_the_last_tie_is_broken_by_the_submitting_institution(
    first: str, its_line: str, second: str, its_line_too: str, loser: str
) -> None:
    """(7): settled_at, claim_id, line_id, submitting institution_id; the centre's code is the smaller."""
    rows = f"{first} | 1 | {its_line} | 70\n{second} | 1 | {its_line_too} | 70"
    month = settle(f"institution | claim | line | points\n{rows}", institutions=CENTRE_AND_STATION)
    assert month.rows("unpaid_lines", "submitted_by", "payable_points") == [(loser, "30.0000")]


def test_the_moment_of_settlement_comes_before_the_claim() -> None:
    """(7): to the microsecond."""
    check(
        """
        claim | settled                    | points | paid
        1     | 2026-03-05 10:00:00.000002 | 70     | 30.0000
        2     | 2026-03-05 10:00:00.000001 | 70     | 70.0000
        """
    )


# ---------------------------------------------------------------- pro rata


def test_pro_rata_shares_the_cut_over_all_lines() -> None:
    """Reading attribution = pro_rata (7): P = 100, S = 150; line i is paid r(C_i·P/S) − r(C_(i−1)·P/S)."""
    check(
        """
        claim | settled    | points   | paid
        1     | 2026-03-01 | 0.0001   | 0.0001
        2     | 2026-03-02 | 0.0001   | 0.0000
        3     | 2026-03-03 | 0.0001   | 0.0001
        4     | 2026-03-04 | 99.9997  | 66.6665
        5     | 2026-03-05 | -30      | -20.0000
        6     | 2026-03-06 | 80       | 53.3333
        """,
        under=policy(attribution="pro_rata"),
    )


@pytest.mark.parametrize(
    *cases("""
    first | second  | paid_first | paid_second | why
    60    | 40      | 60.0000    | 40.0000     | P = S at the threshold
    60    | 40.0001 | 59.9999    | 40.0001     | P < S: 60 × 100 / 100.0001 = 59.99994
    60    | -60     | 60.0000    | -60.0000    | S = 0
    -60   | 20      | -60.0000   | 20.0000     | S < 0
    120   | -120    | 120.0000   | -120.0000   | S = 0, though above the threshold on the way
    """)
)
def test_pro_rata_at_its_edges(first: str, second: str, paid_first: str, paid_second: str, why: str) -> None:
    """(7): P = S or S = 0: each line is paid in full."""
    lines = f"claim | points | paid\n1 | {first} | {paid_first}\n2 | {second} | {paid_second}"
    check(lines, under=policy(attribution="pro_rata"))


def test_pro_rata_pays_days_after_the_threshold_was_passed_too() -> None:
    """(7): P = 100, S = 200: every line is paid half, the reversal as well."""
    check(
        """
        claim | settled    | points | paid
        1     | 2026-03-01 | 150    | 75.0000
        2     | 2026-03-02 | 60     | 30.0000
        3     | 2026-03-03 | -10    | -5.0000
        """,
        under=policy(attribution="pro_rata"),
    )


def test_pro_rata_of_a_threshold_of_zero_pays_nothing() -> None:
    """(7): P = 0, S = 70."""
    nothing = policy(
        thresholds="from | class | zone | drug_consumable | service\n2025-01-01 | other_primary | urban | 0 | 0",
        attribution="pro_rata",
    )
    check("claim | points | paid\n1 | 60 | 0.0000\n2 | 10 | 0.0000", under=nothing)


# ---------------------------------------------------------------- priority

LISTS = """
    from       | charge_categories
    2026-03-02 | 14
    2026-03-01 | 05;03
    2025-01-01 | 01
"""


def test_priority_pays_the_charge_categories_in_the_order_of_the_list() -> None:
    """Reading attribution = priority (7): 05 first, then 03, the others share the last rank chronologically."""
    check(
        """
        claim | settled    | charge | points | paid
        1     | 2026-03-01 | 01     | 10     | 10.0000
        2     | 2026-03-02 | 14     | 10     | 5.0000
        3     | 2026-03-03 | 04     | 10     | 0.0000
        4     | 2026-03-04 | 03     | 40     | 40.0000
        5     | 2026-03-05 | 05     | 30     | 30.0000
        6     | 2026-03-06 | 05     | 15     | 15.0000
        """,
        under=policy(attribution="priority", priority=LISTS),
    )


@pytest.mark.parametrize(
    *cases("""
    month   | paid_first
    2024-12 | refused
    2025-01 | 01
    2026-02 | 01
    2026-03 | 05
    2026-04 | 14
    """)
)
def test_the_newest_priority_list_on_or_before_the_first_day_of_the_month(
    month: str, paid_first: str
) -> None:
    """(7): none: refused."""
    under = policy(
        attribution="priority",
        priority=LISTS,
        thresholds=(
            "from | class | zone | drug_consumable | service\n2024-01-01 | other_primary | urban | 0 | 100"
        ),
        base_months=60,
    )
    lines = "claim | charge | points\n1 | 14 | 100\n2 | 05 | 100\n3 | 01 | 100"
    given: dict[str, Any] = {
        "agreements": "agreement | designation | from | to\n"
        + "\n".join(f"A{year} | coaching | {year}-01-01 | {year}-12-31" for year in (2024, 2025, 2026)),
        "under": under,
        "month": month,
    }
    if paid_first == "refused":
        assert "no list is in effect on 2024-12-01" in refusal(lines, **given)
    else:
        unpaid = {claim for claim, _ in settle(lines, **given).rows("unpaid_lines", "claim_id", "reason")}
        charges = {"1": "14", "2": "05", "3": "01"}
        assert [charge for claim, charge in charges.items() if claim not in unpaid] == [paid_first]


# ---------------------------------------------------------------- order and files change nothing


@pytest.mark.parametrize("attribution", ["chronological", "pro_rata", "priority"])
def test_row_order_changes_nothing(attribution: str) -> None:
    """(7): the same lines turned round, and dealt out."""
    rows = [
        f"{number % 7} | {number} | 2026-03-{1 + number % 3:02} | {['05', '03', '14'][number % 3]} | "
        f"{'-' if number % 5 == 0 else ''}{number * 37 % 23}.{number}"
        for number in range(1, 30)
    ]
    under = policy(attribution=attribution, priority=LISTS)
    found = [
        settle("claim | line | settled | charge | points\n" + "\n".join(order), under=under).settlement.frames
        for order in (rows, rows[::-1], rows[::3] + rows[1::3] + rows[2::3])
    ]
    assert not found[0]["unpaid_lines"].is_empty()
    for other in found[1:]:
        assert {name: frame.rows() for name, frame in other.items() if name != "runs"} == {
            name: frame.rows() for name, frame in found[0].items() if name != "runs"
        }


# ---------------------------------------------------------------- located: never a line misjudged

LINE = st.tuples(
    st.sampled_from(["A", "B"]),  # settling institution
    st.integers(1, 4),  # day
    st.integers(0, 2),  # rank
    st.integers(0, 2),  # moment of the day
    st.sampled_from(["1", "10", "9", "é"]),  # claim
    st.integers(-40, 60) | st.integers(1, 40),  # points
    st.sampled_from([None, None, None, "suspended"]),  # reason
)


@settings(REPEATABLE, max_examples=400)
@given(
    drawn=st.lists(LINE, min_size=1, max_size=14),
    thresholds=st.tuples(*[st.none() | st.integers(0, 25) | st.integers(0, 60) | st.integers(0, 150)] * 2),
    share=st.sampled_from([0, 0, 0, 333333333, 10**9]),
    tiers=COARSE_TIERS,
    attribution=st.sampled_from(["chronological", "pro_rata", "priority"]),
    scale=st.sampled_from([1, 7, 10**9]),
)
def test_every_line_is_paid_as_if_all_lines_were_walked(
    drawn: list[tuple[str, int, int, int, str, int, str | None]],
    thresholds: tuple[int | None, int | None],
    share: int,
    tiers: list[tuple[int, int]],
    attribution: str,
    scale: int,
) -> None:
    """(7): days paid in full and days not paid at all are told from totals; this never misjudges a line.

    And the lines add up to the group's payable points exactly.
    """
    rule = rule_of(share, tiers)
    lines = pl.DataFrame(
        [
            {
                "settling_id": who,
                "regime": "coaching",
                "point_class": "service",
                "payment_class": "c",
                "zone": "z",
                "coaching_year": 2026,
                "rank": rank if attribution == "priority" else 0,
                "settled_on": date(2026, 3, day),
                "settled_at": datetime(2026, 3, day, moment),
                "claim_id": claim,
                "line_id": str(number),
                "institution_id": who,
                "points": size * scale,
                "reason": reason,
            }
            for number, (who, day, rank, moment, claim, size, reason) in enumerate(drawn)
        ],
        schema_overrides={"reason": pl.String, "coaching_year": pl.Int32},
    )
    size = pl.col("points")
    keys = [
        "payment_class",
        "zone",
        "coaching_year",
        *overage.CELL,
        "reason",
        "claim_id",
    ]  # several in a cell
    profiles = lines.group_by(keys).agg(
        line_count=pl.len(),
        positive_points=size.filter(size > 0).sum(),
        negative_points=size.filter(size < 0).sum(),
    )
    scaled = [None if each is None else each * scale for each in thresholds]
    threshold_of = dict(zip(["A", "B"], scaled, strict=True))
    in_force = pl.DataFrame(
        {"settling_id": ["A", "B"], "threshold": scaled}, schema_overrides={"threshold": pl.Int64}
    )
    groups = overage.capped(overage.totals(profiles).join(in_force, on="settling_id", how="left"), rule)
    cells = overage.located(profiles, groups, rule, attribution)

    eligible = lines.filter(pl.col("reason").is_null()).join(cells, on=overage.CELL, how="left")
    assert eligible["cut"].null_count() == 0
    walked = overage.attributed(eligible.filter(pl.col("cut") == "walk").lazy(), rule, attribution).collect()
    found = {row["line_id"]: row["line_payable"] for row in walked.rows(named=True)}
    for row in eligible.filter(pl.col("cut") != "walk").rows(named=True):
        found[row["line_id"]] = row["points"] if row["cut"] == "full" else 0

    expected: dict[str, int] = {}
    for group in groups.rows(named=True):
        threshold = threshold_of[group["settling_id"]]
        own = eligible.filter(pl.col("settling_id") == group["settling_id"]).rows(named=True)
        own.sort(
            key=lambda row: (
                row["rank"],
                row["settled_at"],
                row["claim_id"].encode(),
                row["line_id"].encode(),
            )
        )
        total = sum(row["points"] for row in own)
        payable = f(total, threshold, rule)
        assert (group["eligible"], group["payable"]) == (total, payable)
        running, before = 0, 0
        for row in own:
            running += row["points"]
            if attribution != "pro_rata":
                after = f(running, threshold, rule)
            elif payable == total or total == 0:
                after = running
            else:
                after = half_up(Fraction(running * payable, total))
            expected[row["line_id"]], before = after - before, after
        assert sum(found[row["line_id"]] for row in own) == payable
    assert found == expected


@pytest.mark.parametrize(
    *cases("""
    day_totals           | day_1 | day_2   | day_3
    60 30 10             | full  | full    | full
    60 30 10.0001        | full  | full    | walk
    60 40.0001 10        | full  | walk    | nothing
    100 0 50             | full  | full    | nothing
    101 5 -6             | walk  | nothing | nothing
    101 5 -6.0001        | walk  | nothing | walk
    150 -20 10           | walk  | nothing | nothing
    150 -50 10           | walk  | nothing | nothing
    150 -50.0001 10      | walk  | walk    | walk
    """)
)
def test_which_days_are_walked(day_totals: str, day_1: str, day_2: str, day_3: str) -> None:
    """Design 5: threshold 100.00; one line a day: only days that can cross the threshold are ever sorted."""
    sizes = [units(each) for each in day_totals.split()]
    profiles = pl.DataFrame(
        [
            {
                "settling_id": "A",
                "regime": "coaching",
                "point_class": "service",
                "payment_class": "c",
                "zone": "z",
                "coaching_year": 2026,
                "rank": 0,
                "settled_on": date(2026, 3, day),
                "reason": None,
                "line_count": 1,
                "positive_points": max(size, 0),
                "negative_points": min(size, 0),
            }
            for day, size in enumerate(sizes, start=1)
        ],
        schema_overrides={"reason": pl.String},
    )
    groups = overage.capped(
        overage.totals(profiles).with_columns(threshold=pl.lit(units("100"), dtype=pl.Int64)), NOTHING_MORE
    )
    cells = overage.located(profiles, groups, NOTHING_MORE, "chronological").sort("settled_on")
    assert cells["cut"].to_list() == [day_1, day_2, day_3]
