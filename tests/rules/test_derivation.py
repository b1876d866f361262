"""How payable points came about: overage by tier with its share, and what relief let through (rules 6.6, 7; D 37)."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written import cases, policy, settle, units

from settlement.policy import Overage, Tier
from settlement.rules import overage

TIERS = (("1.10", "0.5"), ("1.20", "0.25"))
SERVICE = "institution_id | month | point_class | approved_points\ncentre | 2026-03 | service | "


def tier_rows(
    eligible: str, tiers: tuple[tuple[str, str], ...] = TIERS, paid_share: str = "0"
) -> list[tuple[str, ...]]:
    """(share, points of the slice, paid of them) of each tier, under a threshold of 100 points."""
    month = settle(f"claim | points\n1 | {eligible}", under=policy(tiers=tiers, paid_share=paid_share))
    rows = month.settlement.overage_by_tier.sort("tier")
    return [
        (
            f"{row['paid_share'].normalize():f}",
            *(f"{Decimal(row[name]).scaleb(-4):f}" for name in ("overage", "paid")),
        )
        for row in rows.iter_rows(named=True)
    ]


@pytest.mark.parametrize(
    *cases("""
    eligible | first          | second         | beyond
    100.0001 | 0.0001 0.0001  | 0.0000 0.0000  | 0.0000 0.0000
    110      | 10.0000 5.0000 | 0.0000 0.0000  | 0.0000 0.0000
    110.0001 | 10.0000 5.0000 | 0.0001 0.0000  | 0.0000 0.0000
    115      | 10.0000 5.0000 | 5.0000 1.2500  | 0.0000 0.0000
    500      | 10.0000 5.0000 | 10.0000 2.5000 | 380.0000 0.0000
    """)
)
def test_each_slice_of_overage_counts_with_its_own_share(
    eligible: str, first: str, second: str, beyond: str
) -> None:
    """7: up to 1.10 × threshold half is paid, up to 1.20 a quarter, beyond nothing."""
    rows = [" ".join(row) for row in tier_rows(eligible)]
    assert rows == [f"0.5 {first}", f"0.25 {second}", f"0 {beyond}"]


def test_without_tiers_all_overage_is_one_slice() -> None:
    assert tier_rows("130", (), "0.1") == [("0.1", "30.0000", "3.0000")]


def test_at_the_threshold_there_is_no_overage() -> None:
    assert tier_rows("100") == []


@pytest.mark.parametrize(
    *cases("""
    eligible | approved | through
    99       | 20       | 0.0000
    100.0001 | 20       | 0.0001
    115      | 20       | 15.0000
    500      | 20       | 20.0000
    -5       | 20       | 0.0000
    """)
)
def test_relief_lets_through_what_would_not_have_been_paid(
    eligible: str, approved: str, through: str
) -> None:
    """6.6, D 37: of a threshold of 100 points, and of no more than was approved."""
    month = settle(f"claim | points\n1 | {eligible}", relief=f"{SERVICE}{approved}")
    (row,) = month.settlement.relief.iter_rows(named=True)
    assert (row["relief"], row["let_through"]) == (units(approved), units(through))


def test_relief_for_a_class_without_threshold_lets_nothing_through() -> None:
    relief = "institution_id | month | point_class | approved_points\ncentre | 2026-03 | tcm_decoction | 5"
    assert settle("claim | points | charge\n1 | 500 | 10", relief=relief).settlement.relief.is_empty()


UNITS = st.integers(0, 10**7) | st.integers(0, 10**15)
SHARE = st.integers(0, 10**9)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    threshold=UNITS,
    over=UNITS,
    bounds=st.lists(st.integers(1, 3 * 10**9), max_size=3, unique=True),
    shares=st.lists(SHARE, min_size=4, max_size=4),
    relief=UNITS,
)
def test_slices_and_relief_against_fractions(
    threshold: int, over: int, bounds: list[int], shares: list[int], relief: int
) -> None:
    """Every slice is exact to its rounded ends, and the slices add up to the group's overage and payable points."""
    tiers = [
        Tier(up_to=1 + Decimal(bound).scaleb(-9), paid_share=Decimal(share).scaleb(-9))
        for bound, share in zip(sorted(bounds), shares, strict=False)
    ]
    rule = Overage(paid_share=Decimal(shares[-1]).scaleb(-9), tiers=tuple(tiers))
    eligible, whole = threshold + over, pl.Int64
    groups = pl.DataFrame(
        [("I", "coaching", "service", eligible, eligible, threshold, relief)],
        schema={
            **dict.fromkeys(("settling_id", "regime", "point_class"), pl.String),
            **dict.fromkeys(("submitted", "eligible", "threshold", "relief"), whole),
        },
        orient="row",
    )
    capped = overage.capped(groups, rule)
    rows = overage.by_tier(groups, rule)
    assert sum(rows["overage"]) == over == capped["overage"].item()
    assert sum(rows["paid"]) == (capped["payable"].item() - threshold if over else 0)
    ends = [Fraction(threshold)]
    for tier in tiers:
        ends.append(max(ends[-1], min(Fraction(eligible), threshold * Fraction(tier.up_to))))
    ends.append(Fraction(eligible))
    sizes = [upper - lower for lower, upper in pairwise(ends)] if over else []
    assert all(abs(found - size) <= 1 for found, size in zip(rows["overage"], sizes, strict=True))
    if relief <= threshold:
        through = overage.let_through(capped, rule)["let_through"].to_list()
        before = groups.with_columns(threshold=pl.col("threshold") - pl.col("relief"))
        paid_before = overage.capped(before, rule)["payable"].item()
        assert through == ([capped["payable"].item() - paid_before] if relief else [])
