"""The views of the DuckDB file say what a plain recomputation from the batch's lines says, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest

import reference
from random_batches import write_random_batch
from settlement import load_policy
from settlement.errors import Refusal
from settlement.ledger import VIEWS, Ledger, query
from settlement.runs import Order, run
from settlement.synthesis import write_demo

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies
Rows = list[dict[str, Any]]
LineKey = tuple[str, str, str]


def settled(batch: Path, policy: str | Path, ledger: Path) -> Ledger:
    chosen = load_policy(policy)
    run(Order(batch, "2026-03", chosen), ledger, lambda _: None)
    return Ledger(ledger)


def rows_of(ledger: Ledger, sql: str) -> Rows:
    return query(ledger, sql).to_dicts()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    folder = tmp_path_factory.mktemp("demo")
    return settled(write_demo(folder / "batch").folder, "tianjin", folder / "ledger")


# ---------------------------------------------------------------- the file


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_view_has_the_columns_that_are_described_in_their_order(demo: Ledger, view: Any) -> None:
    found = query(demo, f"from {view.name} limit 0")
    assert found.columns == [column.name for column in view.columns]


@pytest.mark.parametrize("alias", ["settlement", "ledger", "march", "runs"])
def test_views_work_under_any_name_that_the_file_is_attached_by(demo: Ledger, alias: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"attach '{demo.database}' as {alias} (read_only)")
        for view in VIEWS:
            connection.table(f"{alias}.main.{view.name}").fetchall()


# ---------------------------------------------------------------- running totals

SEEDS = (
    *range(2000, 2024),
    2084,
    2183,
    2670,
)  # the last three: reversals over the threshold and back below it


class Plain:
    """Every settled line of a batch, walked by the reference: its running total and the group's threshold."""

    def __init__(self) -> None:
        self.lines: dict[LineKey, tuple[Fraction, Fraction, Fraction | None]] = {}
        self.places: dict[LineKey, int] = {}

    def attribute(
        self,
        lines: list[Any],
        threshold: Fraction | None,
        policy: Any,
        month: date,
        inner: Callable[..., None],
    ) -> None:
        inner(lines, threshold, policy, month)
        order = sorted(lines, key=reference.canonical_key)
        for place, line in enumerate((line for line in order if line.points != line.paid), start=1):
            self.places[key_of(line)] = place
        if policy.readings["attribution"] == "priority":
            order.sort(key=lambda line: reference.priority_rank(line, policy, month))
        running = Fraction(0)
        for line in (line for line in order if line.reason is None):
            before, running = running, running + line.points
            self.lines[key_of(line)] = before, running, threshold


def key_of(line: Any) -> LineKey:
    return line["institution_id"], line["claim_id"], line["line_id"]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Plain]:
    walked, inner = Plain(), reference.attribute
    monkeypatch.setattr(reference, "attribute", lambda *arguments: walked.attribute(*arguments, inner=inner))
    return walked


def explained(folder: Path, seed: int) -> tuple[dict[str, Any], Rows] | None:
    """The batch of a seed and its line_explanations; None if the batch is refused."""
    made = write_random_batch(folder, seed)
    try:
        reference.settle(made["batch"], made["month"], made["policy"])
        ledger = settled(made["batch"], made["policy"], folder / "ledger")
    except (reference.Refused, Refusal):
        return None
    return made, rows_of(ledger, "from line_explanations")


def is_known(row: dict[str, Any], cap: Any) -> bool:
    """Where the record must know the running total: nothing is paid over the threshold, and lines keep their order."""
    reading = cap.readings.attribution
    if cap.overage.paid_share or any(tier.paid_share for tier in cap.overage.tiers) or reading == "pro_rata":
        return False
    return reading == "chronological" or row["payable_points"] != 0


def test_running_totals_are_those_of_the_lines_or_null(plain: Plain, tmp_path: Path) -> None:
    """Random batches with reversals, tiers, paid shares and every attribution."""
    ways: Counter[tuple[str, str]] = Counter()
    for seed in SEEDS:
        found = explained(tmp_path / str(seed), seed)
        if found is not None:
            cap = load_policy(found[0]["policy"])
            for row in found[1]:
                check(row, plain, cap)
            ways.update((cap.readings.attribution, way_of(row)) for row in found[1] if is_over(row))
        plain.lines.clear()
        plain.places.clear()
    readings = ("chronological", "pro_rata", "priority")
    met = {(reading, way) for reading in readings for way in ("known", "unknown")}
    assert met | {("chronological", "back down"), ("priority", "back down")} == set(ways), ways  # a guard


def is_over(row: dict[str, Any]) -> bool:
    return bool(row["reason"] == "over_threshold")


def way_of(row: dict[str, Any]) -> str:
    if row["running_total_before"] is None:
        return "unknown"
    is_back = row["is_crossing_line"] and row["points"] < 0
    return "back down" if is_back and row["payable_points"] else "known"


def check(row: dict[str, Any], plain: Plain, cap: Any) -> None:
    key = (row["submitted_by"], row["claim_id"], row["line_id"])
    assert row["position"] == plain.places[key], row
    figures = row["running_total_before"], row["running_total_after"], row["is_crossing_line"]
    if not is_over(row):
        assert figures == (None, None, None)
        return
    before, after, threshold = plain.lines[key]
    assert threshold is not None
    crosses = (before <= threshold < after) or (after <= threshold < before)
    assert figures in ((before, after, crosses), (None, None, None)), row
    assert row["running_total_before"] is not None or not is_known(row, cap), row


# ---------------------------------------------------------------- the other views


def test_the_ranking_is_by_overage_within_month_and_zone(demo: Ledger) -> None:
    rows = rows_of(demo, "from overage_ranking order by rank, institution_id")
    groups = [row for row in rows_of(demo, "from settlements") if row["overage_points"] > 0]
    assert len(rows) == len(groups) == 8
    for row in rows:
        more = [other for other in groups if other["overage_points"] > row["overage_points"]]
        assert row["rank"] == 1 + len(more)
        assert row["rank_in_zone"] == 1 + sum(other["zone"] == row["zone"] for other in more)
        share = Fraction(row["overage_points"]) / sum(Fraction(other["overage_points"]) for other in groups)
        assert row["overage_share"] == reference.to_decimal(reference.half_up(share, 4))
        use = Fraction(row["eligible_points"]) / Fraction(row["threshold_points"])
        assert row["threshold_use"] == reference.to_decimal(reference.half_up(use, 4))
    assert rows[0]["name"] == "津南佳泰医务室"


def test_unpaid_points_add_up_by_reason(demo: Ledger) -> None:
    rows = rows_of(demo, "from unpaid_by_reason order by precedence")
    lines = rows_of(demo, "from unpaid_lines")
    assert [row["reason"] for row in rows][-1] == "over_threshold"
    assert rows[-1]["reason_chinese"] == "超出阈值"
    for row in rows:
        mine = [line for line in lines if line["reason"] == row["reason"]]
        assert row["line_count"] == len(mine)
        assert row["unpaid_points"] == sum(line["unpaid_points"] for line in mine)
        assert row["institutions"] == len({line["institution_id"] for line in mine})
    assert sum(row["line_count"] for row in rows) == len(lines)


def test_every_unpaid_line_is_explained_once_with_reason_clause_and_phrase(demo: Ledger) -> None:
    rows = rows_of(demo, "from line_explanations")
    assert len(rows) == query(demo, "from unpaid_lines").height == 456
    assert {row["phrase"] for row in rows if row["reason"] == "over_threshold"} == {"超出阈值部分不予支付"}
    assert not [
        row for row in rows if not row["clause"] or not row["reason_chinese"] or not row["arithmetic"]
    ]
    (crossing,) = [
        row
        for row in rows
        if row["institution_id"] == "H12010400002"
        and row["point_class"] == "service"
        and row["is_crossing_line"]
    ]
    assert crossing["arithmetic"] == (
        "running total 18168.4108 + 11078.8148 = 29247.2256, threshold 25789.12; "
        "paid 25789.1200 - 18168.4108 = 7620.7092, unpaid 11078.8148 - 7620.7092 = 3458.1056"
    )


def two_months(folder: Path) -> Ledger:
    """March as in the demo; April with the lines of one institution, moved there."""
    made = write_demo(folder / "batch").folder
    ledger = settled(made, "tianjin", folder / "ledger")
    claims = next((made / "claims").iterdir())
    header, *lines = claims.read_bytes().decode("gb18030").splitlines()
    april = [line.replace("2026-03-", "2026-04-") for line in lines if "H12010400002" in line]
    claims.write_bytes("\n".join([header, *april]).encode("gb18030"))
    for name in ("settlements", "point_values"):
        path = made / f"{name}.csv"
        path.write_bytes(path.read_bytes().replace(b"2026-03", b"2026-04"))
    run(Order(made, "2026-04", load_policy("tianjin")), ledger.folder, lambda _: None)
    return ledger


def test_a_month_is_held_against_the_one_before_also_where_a_group_came_or_went(tmp_path: Path) -> None:
    ledger = two_months(tmp_path)
    rows = {
        (str(row["month"]), row["institution_id"], row["regime"], row["point_class"]): row
        for row in rows_of(ledger, "from month_over_month")
    }
    groups = {
        (str(row["month"]), row["institution_id"], row["regime"], row["point_class"]): row
        for row in rows_of(ledger, "from settlements")
    }
    march = {key[1:] for key in groups if key[0] == "2026-03-01"}
    april = {key[1:] for key in groups if key[0] == "2026-04-01"}
    assert april < march
    assert set(rows) == {("2026-03-01", *key) for key in march} | {
        ("2026-04-01", *key) for key in march | april
    }
    assert {row["previous_run_id"] for key, row in rows.items() if key[0] == "2026-04-01"} == {"2026-03.1"}
    nothing = Decimal(0)
    for (month, *key), row in rows.items():
        for name in ("submitted_points", "eligible_points", "unpaid_points", "payable_amount"):
            now = groups.get((month, *key), {}).get(name, nothing)
            before = groups.get(("2026-03-01", *key), {}).get(name, nothing)
            is_first = month == "2026-03-01"
            assert row[name] == now
            assert row[f"previous_{name}"] == (None if is_first else before)
            assert row[f"{name}_change"] == (None if is_first else now - before)
