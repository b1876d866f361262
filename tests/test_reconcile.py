"""Proofs after every run: a figure that is out by a fen stops it (rules 8; design 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import polars as pl
import pytest

from settlement import Settlement, load_policy, read_batch, settle
from settlement.batch import Batch
from settlement.errors import Fault
from settlement.reconcile import proofs
from test_batch import AGREEMENT, BUDGET, DEDUCTION, HOSPITAL, INSTITUTION, LINE, VALUE, write_batch

OTHER = "H12010100003"
FEN = Decimal("0.01")

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Batch, Settlement]]:
    """Services of 100 and 50 points share a budget of 100.00; drugs have a point value; one penalty."""
    lines = [
        {**LINE, "points": "100"},
        {**LINE, "line_id": "2", "charge_category": "09", "points": "0.3333"},
        {**LINE, "claim_id": "c2", "institution_id": OTHER, "points": "50"},
    ]
    folder = write_batch(
        tmp_path_factory.mktemp("batch"),
        lines,
        institutions=[INSTITUTION, {**INSTITUTION, "institution_id": OTHER}],
        agreements=[AGREEMENT, {**AGREEMENT, "agreement_id": "A2", "institution_id": OTHER}],
        point_values=[{**VALUE, "point_class": "drug_consumable", "point_value": "1.5"}],
        budgets=[{**BUDGET, "point_class": "service", "budget": "100.00"}],
        deductions=[DEDUCTION],
    )
    batch = read_batch(folder, "2026-03", load_policy("tianjin"))
    yield batch, settle(batch, batch.policy)
    batch.close()


def test_a_sound_month_proves_each_figure(month: tuple[Batch, Settlement]) -> None:
    made = {proof.sentence: (proof.left, proof.right) for proof in proofs(*month)}
    assert made["budget of service in * = amounts + remainder"] == ("100.00", "100.00")
    assert (
        made["point value of service in * = budget ÷ points of the pool, cut down"] == ("333333/500000",) * 2
    )


def test_the_remainder_of_a_budget_is_told_in_its_parts(month: tuple[Batch, Settlement]) -> None:
    """100 ÷ 150 is cut to 0.666666, which leaves 0.0001; 66.6666 becomes 66.67 and 33.3333 becomes 33.33."""
    (sentence,) = [proof.sentence for proof in proofs(*month) if proof.sentence.startswith("remainder")]
    assert sentence == (
        "remainder of service in * = 0.0001 left by the cut point value - 0.0001 added by rounding 2 amount(s)"
    )


def with_a_fen_more(frame: pl.DataFrame, column: str, institution: str) -> pl.DataFrame:
    """In the rows of one institution, or in all rows of a table without institutions."""
    is_meant = pl.lit(True)
    if "institution_id" in frame.columns:
        is_meant = pl.col("institution_id") == institution
    dtype = frame.schema[column]
    return frame.with_columns(pl.when(is_meant).then(pl.col(column) + FEN).otherwise(column).cast(dtype))


@pytest.mark.parametrize(
    ("table", "column", "sentence"),
    [
        ("statements", "payable_amount", "gross of each statement = Σ its groups"),
        ("settlements", "payable_amount", "each amount = payable points × point value, half-up once"),
        ("statements", "deposit_withheld", "each statement = what is transferred or carried forward"),
        ("statements", "penalty", "each statement = what is transferred or carried forward"),
        ("statements", "adjustment", "each statement = what is transferred or carried forward"),
        ("statements", "brought_forward", "each statement = what is transferred or carried forward"),
        ("statements", "net_payable", "each statement = what is transferred or carried forward"),
        ("statements", "carried_forward", "each statement = what is transferred or carried forward"),
        ("budgets", "remainder", "budget of service in * = amounts + remainder"),
        ("budgets", "remainder", "remainder of service in * = "),
        ("budgets", "budget", "budget of service in * = amounts + remainder"),
        (
            "budgets",
            "point_value",
            "point value of service in * = budget ÷ points of the pool, cut down",
        ),
    ],
)
def test_a_figure_that_is_out_by_a_fen_stops_the_run(
    month: tuple[Batch, Settlement], table: str, column: str, sentence: str
) -> None:
    batch, settled = month
    wrong = replace(
        settled, tables={**settled.tables, table: with_a_fen_more(settled.tables[table], column, HOSPITAL)}
    )
    with pytest.raises(Fault) as fault:
        proofs(batch, wrong)
    assert sentence in str(fault.value)
