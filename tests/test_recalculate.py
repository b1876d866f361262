"""`settlement thresholds recalculate`: from a ledger's year to rows of a policy that `run` accepts (rules 9, 6.7)."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from program import program
from settlement.ledger import Ledger
from test_batch import AGREEMENT, INSTITUTION, LINE, write_batch

TIANJIN = Path(__file__).parents[1] / "thresholds" / "tianjin.toml"
CLINIC, FIRST, SECOND, ELSEWHERE, LONELY = (f"H1201010000{number}" for number in range(1, 6))
PEERS = (FIRST, SECOND)
ZONES = {CLINIC: "urban", FIRST: "urban", SECOND: "urban", ELSEWHERE: "binhai", LONELY: "outer"}
# of each month: first peer, second peer
POINTS = {1: ("100", "10000"), 2: ("200.0001", "20000"), 3: ("300", "30000.0100")}


def agreement(institution: str, start: str, end: str, designation: str = "ordinary") -> dict[str, str]:
    return {
        **AGREEMENT,
        "agreement_id": f"{institution}-{start}",
        "institution_id": institution,
        "start_date": start,
        "end_date": end,
        "designation": designation,
    }


AGREEMENTS = [
    agreement(CLINIC, "2026-01-01", "2026-02-28", "coaching"),
    agreement(CLINIC, "2026-03-01", "2027-12-31"),
    agreement(LONELY, "2026-01-01", "2026-02-28", "coaching"),
    agreement(ELSEWHERE, "2026-02-01", "2027-01-31", "coaching"),
    *(agreement(peer, "2026-01-01", "2027-12-31") for peer in PEERS),
]


def line(institution: str, month: str, points: str) -> dict[str, str]:
    day = f"{month}-05 10:00:00"
    return {**LINE, "claim_id": f"{institution}-{month}", "institution_id": institution,
            "serviced_at": day, "settled_at": day, "points": points}  # fmt: skip


def batch(folder: Path, month: str, lines: dict[str, str]) -> Path:
    institutions = [
        {**INSTITUTION, "institution_id": one, "zone": zone, "name": one} for one, zone in ZONES.items()
    ]
    claims = [line(institution, month, points) for institution, points in lines.items()]
    return write_batch(folder, claims, institutions=institutions, agreements=AGREEMENTS)


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with policy.toml (two months are enough), and a ledger of January to March 2026."""
    folder = tmp_path_factory.mktemp("year")
    text = TIANJIN.read_text("utf-8").replace("min_months = 6", "min_months = 2")
    (folder / "policy.toml").write_text(text, "utf-8")
    for month, (first, second) in POINTS.items():
        lines = {CLINIC: "7", LONELY: "7", ELSEWHERE: "7", FIRST: first, SECOND: second}
        run_month(folder, f"2026-{month:02}", lines)
    return folder


def run_month(folder: Path, month: str, lines: dict[str, str], policy: str = "policy.toml") -> None:
    made = batch(folder / f"batch-{len(list(folder.iterdir()))}", month, lines)
    done = program("run", made, "--month", month, "--policy", folder / policy, "--ledger", folder / "ledger")
    assert done.code == 0, done


def recalculated(folder: Path, *more: str | Path, year: str = "2026") -> str:
    done = program(
        "thresholds", "recalculate", "--year", year, "--policy", folder / "policy.toml",
        "--ledger", folder / "ledger", *more,
    )  # fmt: skip
    assert done.code == 0, done
    return done.out


# (100 + 200.0001 + 300 + 10000 + 20000 + 30000.0100) ÷ 6 = 10100.00168…
MEAN = "10100.00"


def test_the_fragment_names_threshold_day_statistic_months_and_peers(year: Path) -> None:
    (row,) = tomllib.loads(recalculated(year))["institution_thresholds"]
    assert (row["institution_id"], row["point_class"], row["threshold"]) == (CLINIC, "service", MEAN)
    assert str(row["effective_from"]) == "2027-01-01"
    assert row["source"] == "mean of 6 months of 2 peer(s) in 2026, urban other_primary"
    assert row["note"] == f"coaching ended 2026-02-28; peers: {FIRST}, {SECOND}"
    assert row["clause"] == "三（七）"


def test_who_has_no_peers_is_listed_and_whose_coaching_runs_on_is_not_asked(year: Path) -> None:
    """9: listed, never guessed. ELSEWHERE is coached until January 2027."""
    lines = [text for text in recalculated(year).splitlines() if "NO THRESHOLD" in text]
    assert lines == [
        f"# NO THRESHOLD for {CLINIC} drug_consumable, urban other_primary: no peer.",
        f"# NO THRESHOLD for {LONELY} drug_consumable, outer other_primary: no peer.",
        f"# NO THRESHOLD for {LONELY} service, outer other_primary: no peer.",
    ]
    assert ELSEWHERE not in recalculated(year)


def test_a_run_accepts_the_policy_with_the_fragment_and_caps_by_it(year: Path, tmp_path: Path) -> None:
    """6.7: of 10100.01 points of January 2027 0.01 are not paid; both ways to join the fragment give one policy."""
    recalculated(year, "--out", tmp_path / "fragment.toml", "--policy-out", tmp_path / "joined.toml")
    by_hand = (year / "policy.toml").read_text("utf-8") + (tmp_path / "fragment.toml").read_text("utf-8")
    assert tomllib.loads(by_hand) == tomllib.loads((tmp_path / "joined.toml").read_text("utf-8"))
    (tmp_path / "joined-by-hand.toml").write_text(by_hand, "utf-8")
    run_month(tmp_path, "2027-01", {CLINIC: "10100.01", FIRST: "999999"}, "joined-by-hand.toml")
    run = Ledger(tmp_path / "ledger").scan("2027-01.1", "settlements").collect()
    rows = {row["institution_id"]: row for row in run.iter_rows(named=True)}
    capped = rows[CLINIC]
    assert (capped["regime"], str(capped["threshold_points"])) == ("ordinary", MEAN)
    assert (str(capped["payable_points"]), str(capped["unpaid_points"])) == ("10100.0000", "0.0100")
    assert capped["clause"] == "三（七） mean of 6 months of 2 peer(s) in 2026, urban other_primary"
    assert rows[FIRST]["threshold_points"] is None


def test_only_the_newest_run_of_each_month_counts(year: Path, tmp_path: Path) -> None:
    """11: a superseded run is of no account."""
    (tmp_path / "policy.toml").write_bytes((year / "policy.toml").read_bytes())
    for first in ("5000", "1"):
        run_month(tmp_path, "2026-01", {CLINIC: "7", FIRST: first})
    run_month(tmp_path, "2026-03", {CLINIC: "7", FIRST: "2"})
    (row,) = tomllib.loads(recalculated(tmp_path))["institution_thresholds"]
    assert row["threshold"] == "1.50"
    assert "Runs: 2026-01.2 (open), 2026-03.1 (open)." in recalculated(tmp_path)


def test_nobody_to_recalculate_makes_a_fragment_without_rows(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_bytes(TIANJIN.read_bytes())
    run_month(tmp_path, "2026-01", {CLINIC: "7", FIRST: "1"})
    text = recalculated(tmp_path)
    assert tomllib.loads(text) == {}
    assert "nothing to recalculate" in text


@pytest.mark.parametrize(
    ("change", "year_asked", "words"),
    [
        ("", "2025", ("no run in 2025", "settled months")),
        ("[recalculation]", "2026", ("no [recalculation]", "statistic")),
        ("rows", "2026", ("with the new rows", "two rows with", CLINIC)),
    ],
)
def test_what_cannot_be_recalculated_is_refused(
    year: Path, tmp_path: Path, change: str, year_asked: str, words: tuple[str, ...]
) -> None:
    """A year without runs, a policy without statistic, a policy that has the rows already."""
    text = (year / "policy.toml").read_text("utf-8")
    if change == "rows":
        text += recalculated(year)
    elif change:
        text = text[: text.index(change)]
    (tmp_path / "policy.toml").write_text(text, "utf-8")
    done = program(
        "thresholds", "recalculate", "--year", year_asked, "--policy", tmp_path / "policy.toml",
        "--ledger", year / "ledger", "--out", tmp_path / "out.toml",
    )  # fmt: skip
    assert done.code == 2
    assert all(word in done.err for word in words), done.err
    assert not (tmp_path / "out.toml").exists()


def test_a_file_with_other_content_is_not_overwritten(year: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("mine", "utf-8")
    done = program(
        "thresholds", "recalculate", "--year", "2026", "--policy", year / "policy.toml",
        "--ledger", year / "ledger", "--out", tmp_path / "mine.toml",
    )  # fmt: skip
    assert (done.code, (tmp_path / "mine.toml").read_text("utf-8")) == (2, "mine")
    assert "other content" in done.err
    out = tmp_path / "new.toml"
    assert recalculated(year, "--out", out) == recalculated(year, "--out", out)
