"""Figures that do not fit are refused with exit 2 and nothing is written; they never wrap (design 4, commands)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from program import Done, program
from test_batch import ASSESSMENT, BUDGET, DEDUCTION, LINE, RELIEF, VALUE, write_batch

MOST = "9999999999999999.00"
CONVERTED = {**LINE, "charge_category": "10", "points": "10000000"}  # 中药饮片: no threshold
TCM = {**VALUE, "point_class": "tcm_decoction"}

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


def run(folder: Path, lines: list[dict[str, str]], **tables: list[dict[str, Any]]) -> Done:
    batch = write_batch(folder / "batch", lines, **tables)
    return program("run", batch, "--month", "2026-03", "--ledger", folder / "ledger")


@pytest.mark.parametrize(
    ("lines", "tables"),
    [
        ([LINE], {"point_values": [VALUE], "deductions": [{**DEDUCTION, "amount": MOST}] * 2}),
        ([LINE], {"point_values": [VALUE], "deductions": [{**DEDUCTION, "amount": MOST}] * 20}),
        ([CONVERTED], {"point_values": [{**TCM, "point_value": "1000000000"}]}),
        ([CONVERTED], {"point_values": [{**TCM, "point_value": "999999999999"}]}),
        ([{**LINE, "points": "0.0001"}], {"budgets": [{**BUDGET, "point_class": "service", "budget": MOST}]}),
        ([LINE], {"relief": [{**RELIEF, "approved_points": MOST}]}),
    ],
    ids=["18 digits of deductions", "64 bits of deductions", "18 digits", "64 bits", "point value", "relief"],
)
def test_a_month_that_does_not_fit_is_refused(
    tmp_path: Path, lines: list[dict[str, str]], tables: dict[str, list[dict[str, Any]]]
) -> None:
    done = run(tmp_path, lines, **tables)
    assert (done.code, done.out) == (2, "")
    assert "does not fit 18 digits" in done.err
    assert not (tmp_path / "ledger").exists()
    assert not list(tmp_path.glob("settlement-trace-*"))


def test_the_largest_amount_that_fits_is_settled(tmp_path: Path) -> None:
    """10 000 000 points at 999 999 999.999999: one more and it is 10¹⁶."""
    assert run(tmp_path, [CONVERTED], point_values=[{**TCM, "point_value": "999999999.999999"}]).code == 0


def test_a_year_whose_months_fit_and_whose_sum_does_not_is_refused(tmp_path: Path) -> None:
    """Two months of 6 · 10¹⁵ yuan each."""
    ledger = ("--ledger", tmp_path / "ledger")
    for month in ("2026-02", "2026-03"):
        moments = {"serviced_at": f"{month}-05 10:00:00", "settled_at": f"{month}-05 10:00:00"}
        values = [{**TCM, "month": month, "point_value": "600000000"}]
        batch = write_batch(
            tmp_path / month, [{**CONVERTED, **moments}], point_values=values, assessments=[ASSESSMENT]
        )
        assert program("run", batch, "--month", month, *ledger).code == 0
        assert program("close", month, *ledger).code == 0
    done = program("clear", "--year", "2026", *ledger)
    assert (done.code, done.out) == (2, "")
    assert "year 2026, sums" in done.err
