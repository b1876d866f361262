"""Annual clearing: rules 8.4, 11; D 36 年终清算, 质量保证金退还; T 3(1) 考核在90分以上.

Statements are settled by the engine's own rule, month after month; the year is held against fractions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written import cases, table

from settlement import exact
from settlement.errors import Refusal
from settlement.policy import DepositBand
from settlement.reconcile import year_proofs
from settlement.rules import clearing, statements
from settlement.schemas import polars_schema
from settlement.terms import ANNUAL_STATEMENTS, DEDUCTION_KINDS, STATEMENTS

BANDS = (
    DepositBand(score_min=Decimal(80), share=Decimal("0.5")),
    DepositBand(score_min=Decimal(90), share=Decimal(1), clause="三（一）", phrase="考核在90分以上"),
    DepositBand(score_min=Decimal(0), share=Decimal(0)),
)
MONEY = [column.name for column in STATEMENTS.columns if column.kind.unit == "元"]


def yuan(fen: int) -> Decimal:
    return Decimal(fen).scaleb(-2)


def statement_rows(text: str) -> pl.DataFrame:
    """institution, month (of 2026) and any money columns; what is not given is 0."""
    rows = [
        {name: Decimal(row.get(name) or "0") for name in MONEY}
        | {"run_id": "", "month": date(2026, int(row["month"]), 1), "institution_id": row["institution"]}
        for row in table(text)
    ]
    schema = polars_schema(STATEMENTS)
    return pl.DataFrame([row | {"payment_due": None} for row in rows], schema=schema)


def differences(rows: Sequence[tuple[str, str, bool]] = ()) -> pl.DataFrame:
    schema = {"institution_id": pl.String, "amount_delta": pl.Decimal(18, 2), "is_taken": pl.Boolean}
    return pl.DataFrame(
        [(one, Decimal(amount), taken) for one, amount, taken in rows], schema=schema, orient="row"
    )


def released(deposit: str, score: str, bands: Sequence[DepositBand] = BANDS) -> tuple[str, str, str | None]:
    """deposit_released, deposit_forfeited and clause of one institution; a refusal's text if it is refused."""
    sums = pl.DataFrame({"institution_id": ["centre"], "deposit_withheld": [int(Decimal(deposit).scaleb(2))]})
    rows = [("centre", Decimal(score))] if score else []
    scores = pl.DataFrame(rows, schema={"institution_id": pl.String, "score": pl.Decimal(7, 4)}, orient="row")
    row = clearing.released(sums, scores, bands).row(0, named=True)
    return f"{yuan(row['deposit_released'])}", f"{yuan(row['deposit_forfeited'])}", row["clause"]


# ---------------------------------------------------------------- the deposit's release


@pytest.mark.parametrize(
    *cases("""
    deposit | score   | back   | kept
    100.00  | 90      | 100.00 | 0.00
    100.00  | 89.9999 | 50.00  | 50.00
    100.00  | 80      | 50.00  | 50.00
    100.00  | 79.9999 | 0.00   | 100.00
    100.00  | 0       | 0.00   | 100.00
    0.01    | 85      | 0.01   | 0.00
    0.03    | 85      | 0.02   | 0.01
    0.00    | 85      | 0.00   | 0.00
    0.00    |         | 0.00   | 0.00
    """)
)
def test_the_band_of_the_score_releases_the_deposit(deposit: str, score: str, back: str, kept: str) -> None:
    """8.4: from score_min on, half-up to the fen; the remainder is forfeited; the bands' order in the file is free."""
    assert released(deposit, score)[:2] == (back, kept)


def test_the_release_names_its_clause() -> None:
    assert released("1.00", "95")[2] == "D 36; from score 90 on 1 三（一） 考核在90分以上"
    assert released("1.00", "85")[2] == "D 36; from score 80 on 0.5"
    assert released("0.00", "")[2] is None


def test_a_deposit_without_assessment_or_band_is_refused_by_name() -> None:
    """8.4: never guessed."""
    with pytest.raises(Refusal, match="no assessment score: centre"):
        released("0.01", "")
    with pytest.raises(Refusal, match="below every band of deposit_release: centre"):
        released("0.01", "79", BANDS[:2])
    assert released("0.00", "79", BANDS[:2]) == ("0.00", "0.00", None)


# ---------------------------------------------------------------- sums of the months


def test_the_year_is_the_sum_of_its_months() -> None:
    """8.4: balances are those at the year's two ends, of the institution's own first and last statement."""
    months = statement_rows("""
        institution | month | payable_amount | deposit_withheld | penalty | brought_forward | net_payable
        centre      | 1     | 100.00         | 5.00             | 200.00  | -1.00           | 0.00
        centre      | 2     | 300.00         | 15.00            |         | -106.00         | 179.00
        centre      | 4     | -2.00          |                  |         |                 | 0.00
        other       | 4     | 10.00          | 0.50             |         |                 | 9.50
    """)
    carried = (
        pl.when(pl.col("payable_amount") == -2).then(pl.lit(Decimal("-2.00"))).otherwise("carried_forward")
    )
    months = months.with_columns(carried_forward=carried.cast(pl.Decimal(18, 2)))
    year = clearing.annual(months, months, differences())
    columns = ("institution_id", "months", "payable_amount", "deposit_withheld", "penalty", "brought_forward")
    assert year.select(columns).rows() == [
        ("centre", 3, 39800, 2000, 20000, -100),
        ("other", 1, 1000, 50, 0, 0),
    ]
    assert year.select("net_payable", "carried_forward", "restated").rows() == [(17900, -200, 0), (950, 0, 0)]


def test_of_a_restated_month_the_newest_run_counts_and_the_first_was_paid() -> None:
    """11: January came to 90.00 although 95.00 were transferred; the difference stands out."""
    head = "institution | month | payable_amount | deposit_withheld | net_payable\n"
    paid = statement_rows(f"{head} centre | 1 | 100.00 | 5.00 | 95.00")
    standing = statement_rows(f"{head} centre | 1 | 90.00 | 4.50 | 85.50")
    year = clearing.annual(standing, paid, differences([("centre", "-9.50", False)]))
    columns = ("payable_amount", "deposit_withheld", "net_payable", "restated", "outstanding")
    assert year.select(columns).row(0) == (9000, 450, 9500, -950, -950)


# ---------------------------------------------------------------- random years against fractions

INSTITUTIONS = ("A", "B", "C")
AMOUNT = st.integers(-(10**4), 10**5) | st.integers(-(10**14), 10**14)
MONTH = st.fixed_dictionaries(
    {
        "amounts": st.lists(st.tuples(st.sampled_from(INSTITUTIONS), AMOUNT), max_size=4),
        "deductions": st.lists(
            st.tuples(st.sampled_from(INSTITUTIONS), st.sampled_from(DEDUCTION_KINDS), st.integers(1, 10**6)),
            max_size=3,
        ),
        "restated": st.none() | st.tuples(st.sampled_from(INSTITUTIONS), AMOUNT),
    }
)


def half_up(number: Fraction) -> int:
    size = int(abs(number) + Fraction(1, 2))
    return -size if number < 0 else size


def stated(
    number: int,
    amounts: list[tuple[str, int]],
    deductions: list[tuple[str, str, int]],
    adjustments: dict[str, int],
    balances: dict[str, int],
) -> pl.DataFrame:
    """Statements of a month by the engine's rule, as rows of the ledger."""
    text, fen = pl.String, pl.Int64
    made = statements.stated(
        pl.DataFrame(amounts, schema={"settling_id": text, "amount": fen}, orient="row"),
        pl.DataFrame(deductions, schema={"settling_id": text, "kind": text, "amount": fen}, orient="row"),
        pl.DataFrame(
            list(adjustments.items()), schema={"settling_id": text, "adjustment": fen}, orient="row"
        ),
        pl.DataFrame(
            list(balances.items()), schema={"settling_id": text, "brought_forward": fen}, orient="row"
        ),
        Decimal("0.05"),
    ).rename({"settling_id": "institution_id", "gross": "payable_amount", "deposit": "deposit_withheld"})
    money = [exact.as_money(pl.col(name)).alias(name) for name in MONEY]
    return made.select(
        pl.lit("", dtype=text).alias("run_id"),
        pl.lit(date(2026, number, 1)).alias("month"),
        "institution_id",
        *money,
        pl.lit(None, dtype=pl.Date).alias("payment_due"),
    )


def net_of(frame: pl.DataFrame) -> dict[str, int]:
    """institution → fen before adjustments and balances."""
    return {
        row["institution_id"]: int(
            (
                row["payable_amount"] - row["deposit_withheld"] - sum(row[kind] for kind in DEDUCTION_KINDS)
            ).scaleb(2)
        )
        for row in frame.iter_rows(named=True)
    }


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    months=st.lists(MONTH, min_size=1, max_size=6),
    scores=st.lists(st.integers(0, 10**6), min_size=3, max_size=3),
)
def test_random_years_with_restatements_against_fractions(
    months: list[dict[str, Any]], scores: list[int]
) -> None:
    """8.4, 11: each month may be restated after it was paid; the next month takes the differences; all proofs hold."""
    paid, standing, rows = [], [], list[tuple[str, int, int]]()  # rows: institution, fen, month restated
    balances, pending = dict[str, int](), defaultdict[str, int](int)
    for number, month in enumerate(months, start=1):
        adjustments = {one: fen for one, fen in pending.items() if fen}
        pending.clear()
        first = stated(number, month["amounts"], month["deductions"], adjustments, balances)
        second = first
        if month["restated"]:
            amounts = [*month["amounts"], month["restated"]]
            second = stated(number, amounts, month["deductions"], adjustments, balances)
            before, after = net_of(first), net_of(second)
            for one in sorted(after):
                pending[one] += after[one] - before.get(one, 0)
                rows.append((one, after[one] - before.get(one, 0), number))
        paid.append(first)
        standing.append(second)
        for row in first.iter_rows(named=True):
            balances[row["institution_id"]] = int(row["carried_forward"].scaleb(2))
        balances = {one: fen for one, fen in balances.items() if fen}
    recorded = differences([(one, str(yuan(fen)), number < len(months)) for one, fen, number in rows])
    sums = clearing.annual(pl.concat(standing), pl.concat(paid), recorded)
    given_scores = pl.DataFrame(
        [(one, Decimal(score).scaleb(-4)) for one, score in zip(INSTITUTIONS, scores, strict=True)],
        schema={"institution_id": pl.String, "score": pl.Decimal(7, 4)},
        orient="row",
    )
    cleared = clearing.released(sums, given_scores, BANDS)
    for row in cleared.iter_rows(named=True):
        one = row["institution_id"]
        came_to = [fen for frame in standing for name, fen in net_of(frame).items() if name == one]
        assert row["payable_amount"] - row["deposit_withheld"] - sum(row[k] for k in DEDUCTION_KINDS) == sum(
            came_to
        )
        share = Fraction(1) if row["score"] >= 90 else Fraction(1, 2) if row["score"] >= 80 else Fraction(0)
        assert row["deposit_released"] == half_up(row["deposit_withheld"] * share)
        assert row["outstanding"] == pending[one]
        assert row["carried_forward"] == balances.get(one, 0)
    year_proofs(as_ledger(cleared), pl.concat(standing), pl.concat(paid), pl.concat(paid).clear(), recorded)


def as_ledger(cleared: pl.DataFrame) -> pl.DataFrame:
    """Money as the ledger has it."""
    money = [column.name for column in ANNUAL_STATEMENTS.columns if column.kind.unit == "元"]
    return cleared.with_columns(exact.as_money(pl.col(name)).alias(name) for name in money)


def test_a_sum_of_months_that_leaves_sixty_four_bits_raises_instead_of_wrapping() -> None:
    """Design 4: 1000 months of the largest amount there is."""
    row = statement_rows("institution | month | payable_amount\ncentre | 1 | 9999999999999999.99")
    with pytest.raises(pl.exceptions.PolarsError):
        clearing.annual(pl.concat([row] * 1000), row, differences())
