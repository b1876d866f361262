"""docs/twelve_months.py runs: a year settles, closes and clears (rules 8, 9, 11)."""

from __future__ import annotations

import runpy
from pathlib import Path

import polars as pl
import pytest

from settlement import load_policy
from settlement.ledger import Ledger

SCRIPT = Path(__file__).parents[1] / "docs" / "twelve_months.py"
DEDUCTIONS = ("deposit_withheld", "disallowed", "penalty", "recovery", "prepayment")

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script's year, a small one."""
    folder = tmp_path_factory.mktemp("months") / "year"
    runpy.run_path(str(SCRIPT))["main"](folder, "600", "12")
    return folder


def test_every_month_is_closed_and_the_year_cleared(folder: Path) -> None:
    ledger = Ledger(folder / "ledger")
    assert [f"{month:%Y-%m}" for month in ledger.months] == [f"2026-{n:02}" for n in range(1, 13)] + [
        "2027-01"
    ]
    assert list(ledger.statuses.values()) == ["closed"] * 12 + ["open"]
    assert ledger.clearing_of(2026) is not None


def test_the_months_add_up_to_the_year(folder: Path) -> None:
    """What the twelve statements came to is transferred or carried forward; the deposit is released or forfeited."""
    ledger = Ledger(folder / "ledger")
    year = pl.read_parquet(ledger.annual_statements(2026))
    months = pl.concat(ledger.scan(f"2026-{n:02}.1", "statements") for n in range(1, 13)).collect()
    for column in ("payable_amount", "net_payable", *DEDUCTIONS):
        assert year[column].sum() == months[column].sum()
    came_to = year["payable_amount"].sum() - sum(year[column].sum() for column in DEDUCTIONS)
    assert came_to == year["net_payable"].sum() + year["carried_forward"].sum()
    assert year["deposit_withheld"].sum() == year["deposit_released"].sum() + year["deposit_forfeited"].sum()
    assert months["brought_forward"].sum() < 0
    assert year["deposit_released"].sum() > 0


def test_the_next_january_is_settled_under_the_recalculated_thresholds(folder: Path) -> None:
    made = load_policy(folder / "tianjin-recalculated.toml").institution_thresholds
    settlements = Ledger(folder / "ledger").scan("2027-01.1", "settlements").collect()
    in_force = settlements.filter((pl.col("regime") == "ordinary") & pl.col("threshold_points").is_not_null())
    rows = {(row.institution_id, row.point_class): row.threshold for row in made}
    found = in_force.select("institution_id", "point_class", "threshold_points").rows()
    assert found
    assert all(rows[institution, point_class] == threshold for institution, point_class, threshold in found)
