"""What-if: every scenario is settled as `run` would settle it under that policy (commands; rules 6.4, 7, 10)."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from random_batches import write_random_batch
from settlement import cli, exact, load_policy, pipeline, read_batch, schemas, settle, terms
from settlement.batch import Batch
from settlement.errors import Refusal
from settlement.policy import Overage, Policy, Tier
from settlement.simulate import (
    Scenario,
    Simulation,
    _stated,
    growth_change,
    other_readings,
    scale_change,
    scaled,
    scenarios,
    simulate,
    worked,
)
from settlement.synthesis import generate, write_demo
from test_batch import LINE, write_batch

MARCH = date(2026, 3, 1)
TIANJIN = load_policy("tianjin")

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


def every_kind(base: Policy, month: date) -> list[Scenario]:
    """One scenario at least of every kind that there is, and parts of a policy that no option changes."""
    tiers = Overage(
        tiers=(Tier(up_to=Decimal("1.5"), paid_share=Decimal("0.35")),), paid_share=Decimal("0.1")
    )
    asked = [
        *scenarios(base, month, growth=["0.0333", "-0.5"], scale=["factor=0.37"], every_reading=True),
        Scenario("tiers", replace(base, overage=tiers)),
        Scenario(
            "no suspension lapses",
            replace(base, agreements=replace(base.agreements, suspension_limit_days=900)),
        ),
        Scenario(
            "no visit is an emergency", replace(base, visit_types=replace(base.visit_types, emergency=()))
        ),
        Scenario("a span elsewhere", replace(base, effective_from=date(2040, 1, 1))),
        Scenario("another deposit", replace(base, money=replace(base.money, deposit_rate=Decimal("0.01")))),
    ]
    for row in base.thresholds[:1]:
        _, change = scale_change(f"zone={row.zone},class=service,factor=0.5")
        asked.append(Scenario("one zone and class", change(base)))
    if base.coaching:
        short = replace(base.coaching, base_months=1, insurance_types=())
        asked.append(Scenario("a short coaching period", replace(base, coaching=short)))
    return asked


def settlements_of(work: pipeline.Work) -> pl.DataFrame:
    """The ledger's settlements table of a scenario, made by the step that makes it in a run."""
    pipeline.report_groups(work)
    schema = schemas.polars_schema(terms.SETTLEMENTS)
    columns = [pl.col(name).cast(dtype) for name, dtype in schema.items() if name != "run_id"]
    made = work.tables["settlements"].lazy().collect()
    return made.select(columns).sort(terms.SETTLEMENTS.key, maintain_order=True)


def settled_alone(path: Path, month: date, policy: Policy) -> pipeline.Settlement | str:
    """What a run of its own makes of it."""
    batch: Batch | None = None
    try:
        batch = read_batch(path, month, policy)
        return settle(batch, policy)
    except Refusal as refusal:
        return str(refusal)
    finally:
        if batch:
            batch.close()


def assert_settled_as_by_run(path: Path, month: date, asked: list[Scenario]) -> set[str]:
    """Same groups, same statements, same counts and assumptions, or refused in the same words; who was settled."""
    found = dict(worked(path, month, [each.policy for each in asked]))
    assert sorted(found) == list(range(len(asked)))
    names = set()
    for place, scenario in enumerate(asked):
        alone, work = settled_alone(path, month, scenario.policy), _stated(found[place])
        if isinstance(work, Refusal):
            assert str(work) == alone, scenario.name
            continue
        assert not isinstance(alone, str), (scenario.name, alone)
        assert settlements_of(work).equals(alone.settlements), scenario.name
        stated = work.tables["statements"].lazy().collect()
        assert stated.height == alone.statements.height
        assert stated["net_payable"].sum() == alone.statements["net_payable"].sum()
        assert work.counts == alone.counts, scenario.name
        assert tuple(dict.fromkeys(work.assumptions)) == alone.assumptions, scenario.name
        names.add(scenario.name)
    return names


@pytest.mark.parametrize("seed", range(2000, 2003))
def test_a_scenario_is_settled_as_by_a_run_of_that_policy(seed: int, tmp_path: Path) -> None:
    made = write_random_batch(tmp_path, seed)
    base = load_policy(made["policy"])
    month = date.fromisoformat(f"{made['month']}-01")
    assert_settled_as_by_run(made["batch"], month, [Scenario("in force", base), *every_kind(base, month)])


def test_typed_files_are_settled_alike_too(tmp_path: Path) -> None:
    """Parquet is passed where it lies; every other pass over it sees the same lines."""
    folder = generate(tmp_path / "batch", "2026-03", 3000, 40, 7, "parquet", "0.3").folder
    asked = [Scenario("in force", TIANJIN), *every_kind(TIANJIN, MARCH)]
    settled = assert_settled_as_by_run(folder, MARCH, asked)
    assert {"growth 2026 = 0.0333", "one zone and class", "reading tcm_decoction = service"} <= settled


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("what-if") / "batch").folder


def total(simulation: Simulation, place: int) -> dict[str, Decimal]:
    return simulation.table(simulation.outcomes[place], ()).to_dicts()[0]


def test_a_simulation_without_a_change_equals_the_run(demo: Path) -> None:
    alone = settled_alone(demo, MARCH, TIANJIN)
    assert not isinstance(alone, str)
    found = simulate(demo, MARCH, TIANJIN, [Scenario("the same", TIANJIN)])
    table = found.table(found.outcomes[0])
    expected = (
        alone.settlements.group_by("zone", "point_class")
        .agg(pl.col("payable_points", "unpaid_points").sum())
        .sort("zone", "point_class")
    )
    names = expected.columns
    assert table.select(names).cast(expected.schema).equals(expected)
    assert total(found, 0)["payable_points_change"] == 0
    assert total(found, 0)["unpaid_points_change"] == 0


def test_what_is_gained_is_not_lost_elsewhere(demo: Path) -> None:
    """A higher threshold pays more of the same points; a lower one less; no other zone or class moves."""
    more, less = "zone=urban,class=service,factor=1.1", "zone=urban,class=service,factor=0.5"
    found = simulate(demo, MARCH, TIANJIN, scenarios(TIANJIN, MARCH, scale=[more, less]))
    for place, sign in ((0, 1), (1, -1)):
        table = found.table(found.outcomes[place])
        change = table["payable_points_change"]
        assert (change + table["unpaid_points_change"]).to_list() == [0] * table.height
        moved = table.filter(pl.col("payable_points_change") != 0).select("zone", "point_class").rows()
        assert moved == [("urban", "service")]
        assert total(found, place)["payable_points_change"] * sign > 0


def test_scenarios_that_differ_in_thresholds_share_one_pass(
    demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    profile = pipeline.profile
    monkeypatch.setattr(pipeline, "profile", lambda work: (passes.append(work.policy), profile(work)))
    monkeypatch.setattr(
        "settlement.simulate._GROUPING",
        [step if step is not profile else pipeline.profile for _, step in pipeline.STEPS[:6]],
    )
    rates = [f"0.{each:03}" for each in range(40)]
    simulate(demo, MARCH, TIANJIN, scenarios(TIANJIN, MARCH, growth=rates, scale=["factor=2"]))
    assert len(passes) == 1
    passes.clear()
    simulate(demo, MARCH, TIANJIN, other_readings(TIANJIN))
    assert len(passes) == 4  # in force, tcm_decoction twice, month_basis; the others need none of their own


def test_a_scaled_threshold_is_rounded_half_up_to_the_hundredth() -> None:
    policy = scaled(TIANJIN, Decimal("1.1"), "urban", ("service",))
    by_zone = {row.zone: row for row in policy.thresholds}
    assert by_zone["urban"].service == Decimal("28368.03")  # 25789.12 × 1.1 = 28368.032
    assert by_zone["urban"].drug_consumable == Decimal("101432.21")
    assert by_zone["ring"].service == Decimal("34138.58")
    assert exact.scaled(Decimal("0.01"), Decimal("0.5")) == Decimal("0.01")
    assert exact.scaled(Decimal("0.01"), Decimal("0.499999999")) == Decimal("0.00")


def test_growth_takes_the_place_of_the_policys_for_that_year_alone() -> None:
    policy = growth_change("0.05", 2026)[1](growth_change("0.01", 2025)[1](TIANJIN))
    again = growth_change("-0.02", 2026)[1](policy)
    assert [again.growth_of(year) for year in (2025, 2026, 2027)] == [Decimal("0.01"), Decimal("-0.02"), None]


def test_every_other_reading_is_tried_once() -> None:
    names = [each.name for each in other_readings(TIANJIN.with_readings({"attribution": "pro_rata"}))]
    assert names == [
        "reading coaching_scope = coaching_period",
        "reading tcm_decoction = drug_consumable",
        "reading tcm_decoction = service",
        "reading month_basis = serviced_at",
        "reading attribution = chronological",
        "reading attribution = priority",
        "reading partial_month = by_day",
    ]


def test_a_reading_that_refuses_is_listed_with_its_reason(demo: Path) -> None:
    found = simulate(demo, MARCH, TIANJIN, other_readings(TIANJIN)).as_json()
    refused = {each["name"]: each["refused"] for each in found["scenarios"] if each["refused"]}
    assert list(refused) == ["reading attribution = priority"]
    assert "no list is in effect" in refused["reading attribution = priority"]["found"]


def test_each_change_stands_alone_or_all_are_combined() -> None:
    asked = {"growth": ["0.01", "0.02"], "scale": ["factor=2"]}
    alone = [each.name for each in scenarios(TIANJIN, MARCH, **asked)]
    assert alone == ["growth 2026 = 0.01", "growth 2026 = 0.02", "scale factor=2"]
    combined = [each.name for each in scenarios(TIANJIN, MARCH, **asked, is_combined=True)]
    assert combined == [
        "scale factor=2",
        "growth 2026 = 0.01",
        "growth 2026 = 0.01 · scale factor=2",
        "growth 2026 = 0.02",
        "growth 2026 = 0.02 · scale factor=2",
    ]


@pytest.mark.parametrize("text", ["-1", "1e-3", "", "0.0000000001", "nan", "1001", "3 %"])
def test_a_growth_that_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="above -1"):
        growth_change(text, 2026)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1", ("growth of 100 %", "1 % is written 0.01", "--scale factor=2")),
        ("3", ("growth of 300 %", "3 % is written 0.03", "--scale factor=4")),
        ("+2.5", ("growth of 250", "+2.5 % is written 0.025", "--scale factor=3.5")),
    ],
)
def test_growth_that_was_meant_as_a_percentage_is_refused(text: str, told: tuple[str, ...]) -> None:
    with pytest.raises(Refusal) as refused:
        growth_change(text, 2026)
    assert [words for words in told if words not in str(refused.value)] == []


@pytest.mark.parametrize("text", ["0.999999999", "0.03", "0", "-0.03", "-0.999999999"])
def test_growth_below_doubling_is_taken_as_it_is(text: str) -> None:
    _, change = growth_change(text, 2026)
    assert change(TIANJIN).growth_of(2026) == Decimal(text)


@pytest.mark.parametrize(
    "text",
    [
        "zone=urban",
        "factor=0",
        "factor=-1",
        "class=inpatient,factor=1",
        "colour=red,factor=1",
        "1.1",
        "zone=,factor=1",
    ],
)
def test_a_scale_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="--scale"):
        scale_change(text)


def test_a_zone_without_a_row_is_refused() -> None:
    with pytest.raises(Refusal, match="binhai, outer, ring, urban"):
        scale_change("zone=moon,factor=1")[1](TIANJIN)


def test_what_the_policy_in_force_refuses_is_refused(demo: Path) -> None:
    with pytest.raises(Refusal, match="span"):
        simulate(
            demo, MARCH, replace(TIANJIN, effective_from=date(2040, 1, 1)), [Scenario("tianjin", TIANJIN)]
        )


def called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[int, str, str]:
    """Exit code, output and messages of the program."""
    monkeypatch.setattr(sys, "argv", ["settlement", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    done = capsys.readouterr()
    return int(left.value.code or 0), done.out, done.err


def test_the_command_names_the_rejected_lines_as_a_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By rule, the most frequent first, with where the first one stands: exit code 1 is explained."""
    lines = [{**LINE, "line_id": str(number)} for number in range(1, 6)]
    lines[1]["points"] = "1,5"
    lines[2]["is_valid"] = lines[4]["is_valid"] = "0"
    batch = write_batch(tmp_path / "batch", lines)
    code, out, _ = called(monkeypatch, capsys, "simulate", batch, "--month", "2026-03")
    shown = out.partition("3 line(s) rejected")[2].partition("\nin force")[0]
    rows = [line.split() for line in shown.splitlines() if "claims.csv" in line]
    assert (code, [(row[0], row[1], row[-1]) for row in rows]) == (
        1,
        [("2", "void_line", "3"), ("1", "bad_number", "2")],
    )
    code, out, _ = called(monkeypatch, capsys, "simulate", batch, "--month", "2026-03", "--json")
    assert (code, json.loads(out)["rejected"]) == (1, {"void_line": 2, "bad_number": 1})


def test_without_rejected_lines_none_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = write_batch(tmp_path / "batch", [LINE])
    code, out, _ = called(monkeypatch, capsys, "simulate", batch, "--month", "2026-03")
    assert (code, "rejected" in out) == (0, False)


def test_the_command_prints_one_object_and_touches_no_ledger(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--growth", "0.03", "--scale", "zone=urban,class=service,factor=1.1", "--json")
    code, out, _ = called(monkeypatch, capsys, "simulate", demo, "--month", "2026-03", *options)
    found = json.loads(out)
    assert code == 1  # the demo has rejected lines
    assert (found["month"], found["policy_id"], found["policy_status"]) == ("2026-03", "tianjin", "draft")
    assert [each["name"] for each in found["scenarios"]] == [
        "growth 2026 = 0.03",
        "scale zone=urban,class=service,factor=1.1",
    ]
    base, grown = found["base"], found["scenarios"][0]
    change = Decimal(grown["total"]["payable_points"]) - Decimal(base["total"]["payable_points"])
    assert change == Decimal(grown["total"]["payable_points_change"]) > 0
    for part in ("zones", "classes"):
        assert sum(Decimal(row["payable_points_change"]) for row in grown[part]) == change
        assert all(isinstance(row["payable_amount"], str) for row in grown[part])
    assert list(tmp_path.iterdir()) == []


def test_the_command_shows_a_draft_and_refuses_like_the_others(
    demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = called(monkeypatch, capsys, "simulate", demo, "--month", "2026-03", "--scale", "factor=2")
    assert (code, "DRAFT 征求意见稿" in out, "scale factor=2" in out) == (1, True, True)
    code, out, err = called(monkeypatch, capsys, "simulate", demo, "--month", "2026-03", "--growth", "x")
    assert (code, out) == (2, "")
    assert "--growth" in err
    assert "above -1" in err
