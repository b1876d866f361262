"""Golden months: small batches whose results hash is written down. Every engine must settle them the same.

`capped`: thresholds, budgets, deductions, a reversal, rejected lines, pro-rata attribution. `restated`: a month closed,
restated with other lines, events, point values and readings, and the next month, which takes the adjustments.
Their policy is a copy of its own: a change of the law is no change of the engine. A hash here changes only with a
correction of the engine, and then the changelog names months, lines and clause.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from test_cli import Program, settlement  # noqa: F401 - a fixture

# ruff: noqa: F811 - a fixture is asked for by the name under which it is imported
GOLDEN = Path(__file__).parent / "golden"
MONTHS: dict[str, list[dict[str, Any]]] = json.loads((GOLDEN / "golden.json").read_text("utf-8"))


def act(settlement: Program, golden: Path, step: dict[str, Any]) -> dict[str, Any]:
    """Does one step in the ledger of the current folder; what a settled month printed as JSON."""
    if step["act"] == "close":
        assert settlement("close", step["month"], "--ledger", "ledger").code == 0
        return {}
    done = settlement(
        *(step["act"], golden / step["batch"], "--month", step["month"], "--ledger", "ledger", "--json"),
        *("--policy", GOLDEN / "policy.toml", *step["options"]),
    )
    assert done.code in (0, 1), done.err
    return dict(json.loads(done.out))


@pytest.mark.parametrize("name", MONTHS)
def test_a_golden_month_gives_its_results_and_its_replay_gives_them_again(
    settlement: Program, name: str
) -> None:
    runs = [(step, act(settlement, GOLDEN / name, step)) for step in MONTHS[name]]
    settled = [(step, found) for step, found in runs if found]
    assert settled
    for step, found in settled:
        assert found["results_sha256"] == step["results_sha256"], (name, found["run_id"])
        done = settlement(
            "run", "--replay", found["run_id"], GOLDEN / name / step["batch"], "--ledger", "ledger"
        )
        assert (done.code, done.err) == (0, "")
        assert step["results_sha256"] in done.out


def test_a_later_engine_with_the_same_rules_replays_a_restatement(
    settlement: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version alone is no difference: its part is measured, and is nothing."""
    for step in MONTHS["restated"]:
        act(settlement, GOLDEN / "restated", step)
    for module in ("causes", "runs", "restatement"):
        monkeypatch.setattr(f"settlement.{module}.__version__", "99.0.0")
    corrected = GOLDEN / "restated" / "2026-03-corrected"
    assert settlement("run", "--replay", "2026-03.2", corrected, "--ledger", "ledger").code == 0


def test_a_golden_month_with_one_point_more_gives_other_results(settlement: Program) -> None:
    """A guard on this file."""
    (step,) = MONTHS["capped"]
    shutil.copytree(GOLDEN / "capped", "capped")
    claims = Path("capped/2026-03/claims.csv")
    claims.write_text(claims.read_text("utf-8").replace("467.7937", "467.7938"), "utf-8")
    assert act(settlement, Path("capped"), step)["results_sha256"] != step["results_sha256"]
