"""New ordinary thresholds after coaching: rules 9; T 3(7) 按照同区域同类别医疗机构重新核算阈值.

A row of a settlements table is one institution's month: its place, regime and eligible points.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written import cases, table

from settlement import exact
from settlement.policy import Recalculation
from settlement.rules import recalculation

PLACED = ("urban", "other_primary")


def years(text: str) -> pl.DataFrame:
    rows = [
        (row["institution"], date.fromisoformat(row["to"]) if row["to"] else None, row["coaching"] == "yes")
        for row in table(text)
    ]
    schema = {"institution_id": pl.String, "in_force_to": pl.Date, "is_coaching_year": pl.Boolean}
    return pl.DataFrame(rows, schema=schema, orient="row")


def months(text: str) -> pl.DataFrame:
    """institution, month (2026), eligible; zone (urban), class (other_primary), regime (ordinary), points (service)."""
    rows = [
        (
            date(2026, int(row["month"]), 1),
            row["institution"],
            row.get("zone") or "urban",
            row.get("class") or "other_primary",
            row.get("regime") or "ordinary",
            row.get("points") or "service",
            Decimal(row["eligible"]),
        )
        for row in table(text)
    ]
    schema = {
        "month": pl.Date,
        "institution_id": pl.String,
        "zone": pl.String,
        "payment_class": pl.String,
        "regime": pl.String,
        "point_class": pl.String,
        "eligible_points": pl.Decimal(18, 4),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def outcome(
    settlements: pl.DataFrame, statistic: str = "mean", min_months: int = 2, percentile: str | None = None
) -> dict[str, str]:
    """point class → the threshold of `clinic` as text, or why it has none."""
    ended = pl.DataFrame({"institution_id": ["clinic"], "ended_on": [date(2026, 6, 30)]})
    own = months("institution | month | eligible | regime\nclinic | 1 | 1 | coaching")
    by = Recalculation(
        statistic=statistic, min_months=min_months, percentile=Decimal(percentile) if percentile else None
    )
    rows = recalculation.recalculated(
        ended,
        recalculation.places(pl.concat([own, settlements])),
        recalculation.monthly_points(settlements),
        by,
    )
    return {
        row["point_class"]: row["lack"] or exact.threshold_text(row["threshold"])
        for row in rows.iter_rows(named=True)
    }


# ---------------------------------------------------------------- whose coaching has ended


@pytest.mark.parametrize(
    *cases("""
    to         | coaching | ended
    2026-12-30 | yes      | 2026-12-30
    2026-12-31 | yes      | 2026-12-31
    2027-01-01 | yes      |
    2026-06-30 | no       |
               | yes      |
    """)
)
def test_coaching_has_ended_when_its_agreement_year_has(to: str, coaching: str, ended: str) -> None:
    """T 3(7) 政策辅导期所属协议年度结束后: on the last day of the year it has; a later year has not begun to end."""
    frame = years(f"institution | to | coaching\nclinic | {to} | {coaching}")
    found = recalculation.ended(frame, date(2026, 12, 31))
    assert [str(day) for day in found["ended_on"]] == ([ended] if ended else [])


def test_every_coaching_year_must_have_ended_not_only_the_first() -> None:
    frame = years("""
        institution | to         | coaching
        clinic      | 2025-12-31 | yes
        clinic      | 2026-12-31 | yes
        hospice     | 2025-12-31 | yes
        hospice     | 2026-05-31 | yes
        hospice     | 2027-05-31 | no
    """)
    found = recalculation.ended(frame, date(2026, 6, 30))
    assert found.rows() == [("hospice", date(2026, 5, 31))]


# ---------------------------------------------------------------- who is a peer

TWO_PEERS = """
    institution | month | eligible
    centre      | 1     | 100.0000
    centre      | 2     | 200.0000
    other       | 1     | 300.0000
    other       | 2     | 600.0000
"""


def test_the_mean_is_of_all_months_of_all_peers() -> None:
    """9: (100 + 200 + 300 + 600) ÷ 4; a class without peers has no threshold."""
    assert outcome(months(TWO_PEERS)) == {"drug_consumable": "no peer", "service": "300.00"}


@pytest.mark.parametrize(
    *cases("""
    institution | zone   | pay_class | regime    | points    | counts
    third       | urban  |           | ordinary  | service   | yes
    third       | binhai |           | ordinary  | service   |
    third       | urban  | secondary | ordinary  | service   |
    third       | urban  |           | coaching  | service   |
    third       | urban  |           | emergency | service   |
    third       | urban  |           | none      | service   |
    third       | urban  |           | ordinary  | inpatient |
    clinic      | urban  |           | ordinary  | service   |
    """)
)
def test_a_peer_is_another_of_the_same_zone_class_and_point_class_under_ordinary_agreements(
    institution: str, zone: str, pay_class: str, regime: str, points: str, counts: str
) -> None:
    """9; T 3(7) 同区域同类别: two months of 0 points bring the mean of 300 down to 200 if they count."""
    header = "institution | month | eligible | zone | class | regime | points"
    more = months(
        header
        + "".join(
            f"\n{institution} | {month} | 0 | {zone} | {pay_class} | {regime} | {points}" for month in (1, 2)
        )
    )
    found = outcome(pl.concat([months(TWO_PEERS), more]))["service"]
    assert found == ("200.00" if counts else "300.00")


@pytest.mark.parametrize(
    *cases("""
    min_months | service
    1          | 400.00
    2          | 300.00
    3          | no peer with enough settled months
    """)
)
def test_a_peer_has_enough_settled_months(min_months: str, service: str) -> None:
    """9: a third institution with one month of 800 counts if one month is enough."""
    third = months("institution | month | eligible\nthird | 2 | 800")
    assert outcome(pl.concat([months(TWO_PEERS), third]), min_months=int(min_months))["service"] == service


def test_the_place_is_that_of_the_newest_settled_month() -> None:
    """9: who has moved is recalculated where it is now; who was never settled has no known place."""
    moved = months("""
        institution | month | eligible | zone   | regime
        clinic      | 2     | 5        | binhai | coaching
        centre      | 1     | 40       | binhai | ordinary
        centre      | 2     | 50       | binhai | ordinary
    """)
    assert outcome(pl.concat([months(TWO_PEERS), moved]))["service"] == "45.00"
    ended = pl.DataFrame({"institution_id": ["unseen"], "ended_on": [date(2026, 6, 30)]})
    rows = recalculation.recalculated(
        ended,
        recalculation.places(moved),
        recalculation.monthly_points(months(TWO_PEERS)),
        Recalculation(statistic="mean", min_months=1),
    )
    assert rows["lack"].to_list() == [recalculation.NO_PLACE] * 2
    assert rows["threshold"].null_count() == 2


def test_a_negative_statistic_makes_no_threshold() -> None:
    """9: months of reversals; a threshold is never below zero, and none is guessed."""
    reversed_months = months("""
        institution | month | eligible
        centre      | 1     | -30
        centre      | 2     | 29.98
    """)
    assert outcome(reversed_months)["service"] == recalculation.NEGATIVE


# ---------------------------------------------------------------- the statistic


@pytest.mark.parametrize(
    *cases("""
    statistic  | percentile | first  | second | threshold
    mean       |            | 0.0050 | 0.0050 | 0.01
    mean       |            | 0.0050 | 0.0049 | 0.00
    mean       |            | 1.0001 | 1.0098 | 1.00
    mean       |            | 1.0001 | 1.0099 | 1.01
    median     |            | 10     | 20     | 15.00
    percentile | 0          | 10     | 20     | 10.00
    percentile | 50         | 10     | 20     | 15.00
    percentile | 75         | 10     | 20     | 17.50
    percentile | 99.95      | 10     | 20     | 20.00
    percentile | 99.94      | 10     | 20     | 19.99
    percentile | 100        | 10     | 20     | 20.00
    """)
)
def test_the_statistic_is_rounded_half_up_to_hundredths_once(
    statistic: str, percentile: str, first: str, second: str, threshold: str
) -> None:
    """9; thresholds have two decimals."""
    rows = months(f"institution | month | eligible\ncentre | 1 | {first}\ncentre | 2 | {second}")
    assert outcome(rows, statistic, percentile=percentile)["service"] == threshold


WHOLE = st.integers(-(10**6), 10**6) | st.integers(-(2**63) + 1, 2**63 - 1)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(values=st.lists(WHOLE, min_size=1, max_size=30), percent=st.integers(0, 1000))
def test_statistics_against_fractions(values: list[int], percent: int) -> None:
    """Mean, median and percentile of any whole units, huge and negative ones included, are exact."""
    series, share = pl.Series(values, dtype=pl.Int64), Fraction(percent, 1000)
    ordered = sorted(values)
    place = share * (len(values) - 1)
    below = [value for rank, value in enumerate(ordered) if rank <= place][-1]
    above = next(value for rank, value in enumerate(ordered) if rank >= place)
    expected = below + (place - int(place)) * (above - below)
    assert exact.mean(series) == Fraction(sum(values), len(values))
    assert exact.percentile(series, Decimal(percent).scaleb(-1)) == expected
    by_median = recalculation.statistic(series, Recalculation(statistic="median", min_months=1))
    assert by_median == (Fraction(ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2)
