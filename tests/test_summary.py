"""What the summary of a run says of overage and relief (rules 6.6, 7; D 37)."""

from __future__ import annotations

from pathlib import Path

import pytest

from program import program
from test_batch import LINE, RELIEF, write_batch

TIANJIN = Path(__file__).parents[1] / "thresholds" / "tianjin.toml"

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


def summary(folder: Path, points: str, tiers: str = "", relief: str = "") -> str:
    """The summary of a check, with single blanks."""
    text = TIANJIN.read_text("utf-8").replace("tiers = []", f"tiers = [{tiers}]")
    (folder / "policy.toml").write_text(text, "utf-8")
    approved = {"relief": [{**RELIEF, "approved_points": relief}]} if relief else {}
    batch = write_batch(folder / "batch", [{**LINE, "points": points}], **approved)
    done = program("check", batch, "--month", "2026-03", "--policy", folder / "policy.toml")
    assert done.code == 0, done
    return "\n".join(" ".join(line.split()) for line in done.out.splitlines())


def test_overage_is_shown_by_tier_with_its_share(tmp_path: Path) -> None:
    """Up to 1.1 × 25789.12 = 28368.032 half is paid; 1631.9680 points lie beyond."""
    text = summary(tmp_path, "30000", '{ up_to = "1.1", paid_share = "0.5" }')
    assert "Overage by tier 超出部分分档" in text
    assert "1.1 × threshold 0.5 1 2,578.9120 1,289.4560" in text
    assert "beyond 0 1 1,631.9680 0.0000" in text


def test_relief_is_shown_with_what_it_let_through(tmp_path: Path) -> None:
    text = summary(tmp_path, "25800", relief="100")
    assert "Relief 合理超支 (D 37): 1 institution(s), 100.0000 points approved, 10.8800 paid that" in text
    assert "Overage by tier" not in text


def test_a_month_without_overage_and_relief_says_nothing_of_them(tmp_path: Path) -> None:
    text = summary(tmp_path, "1")
    assert "Overage" not in text
    assert "Relief" not in text
