"""An explanation makes every figure again: it says what was paid, or refuses where the record says otherwise."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.cells import cell_len

from random_batches import write_random_batch
from settlement import load_policy
from settlement.errors import Fault, Refusal
from settlement.explain import Explanation, explain
from settlement.ledger import Ledger, query
from settlement.runs import Order, run
from settlement.synthesis import write_demo
from test_batch import AGREEMENT, LINE, write_batch
from test_restatement import HOSPITAL, Books

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies
MARCH = date(2026, 3, 1)
CLINIC = "H12010400002"  # of the demo: over both thresholds, with relief
CROSSING = ("12202603000000269", "1220260300000026903")
SUSPENDED, STATION = "H12011800001", "H12010400003"


def settled(batch: Path, policy: str | Path, folder: Path, **readings: str) -> Ledger:
    chosen = load_policy(policy)
    run(Order(batch, "2026-03", chosen.with_readings(readings)), folder, lambda _: None)
    return Ledger(folder)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    folder = tmp_path_factory.mktemp("demo")
    return settled(write_demo(folder / "batch").folder, "tianjin", folder / "ledger")


@pytest.fixture
def copy(demo: Ledger, tmp_path: Path) -> Ledger:
    shutil.copytree(demo.folder, tmp_path / "ledger")
    return Ledger(tmp_path / "ledger")


def value_of(made: Explanation, label: str, place: int = 0) -> str:
    return [str(step.value) for step in made.steps if step.label.startswith(label)][place]


def fits_a_screen(made: Explanation) -> bool:
    lines = made.text().splitlines()
    return len(lines) <= 40 and max(map(cell_len, lines)) <= 100


# ---------------------------------------------------------------- what it says


def test_the_month_of_an_institution_from_threshold_to_net_payment(demo: Ledger) -> None:
    made = explain(demo, MARCH, CLINIC)
    lines = [re.sub(" +", " ", line).strip() for line in made.text().splitlines()]
    for line in (
        "H12010400002 南开民恩门诊部 · 2026-03 · run 2026-03.1 (open)",
        "DRAFT 征求意见稿: the policy is not in force; these figures are a trial settlement",
        "coaching 政策辅导期 2025-07-22 … 2026-01-21 T 3, T 3(6)",
        "base 表列阈值 101,432.21 row of 2025-01-01 三（三） 其他基层医疗机构-市区",
        "growth 2026 增幅 0 no rate in the policy: counted as 0 assumed 假定",
        "relief 合理超支 2,028.64 approved 核准 D 37",
        "threshold 阈值 103,460.85 = 101,432.21 + 2,028.64 T 3(3)",
        "overage 超出 27,183.8362 = 130,644.6862 - 103,460.85 三（三） 超出阈值部分不予支付",
        "crossed 越过阈值 2026-03-15 15:12:39 claim 12202603000000269 line 1220260300000026903",
        "running 累计 29,247.2256 = 18,168.4108 + 11,078.8148; paid 支付 7,620.7092 rules 7",
        "amount 金额 26,949.63 = 25,789.1200 × 1.045000 点值 rules 8.1",
        "net payable 实付 128,993.61 rules 8.2",
    ):
        assert line in lines, line


def test_an_explanation_of_every_institution_fits_a_screen(demo: Ledger) -> None:
    institutions = query(demo, "select distinct institution_id from settlements")["institution_id"].to_list()
    made = [explain(demo, MARCH, institution) for institution in institutions]
    assert len(made) == 23
    assert [each.institution_id for each in made if not fits_a_screen(each)] == []


def test_json_has_the_same_steps_with_plain_figures(demo: Ledger) -> None:
    made = explain(demo, MARCH, CLINIC).as_json()
    assert made["institution_id"] == CLINIC
    assert made["month"] == "2026-03"
    assert made["readings"]["attribution"] == "chronological"
    assert json.loads(json.dumps(made)) == made
    step = next(each for each in made["steps"] if each["label"].startswith("net payable"))
    assert step == {
        "indent": 1,
        "label": "net payable 实付",
        "value": "128993.61",
        "working": "",
        "clause": "rules 8.2",
    }


def test_growth_and_days_in_force_are_shown_as_they_multiply(tmp_path: Path) -> None:
    policy = tmp_path / "grown.toml"
    text = load_policy("tianjin").path.read_text("utf-8")
    growth = '[[growth]]\nyear = 2026\nrate = "0.0333"\nsource = "预算公告"\n\n[overage]'
    policy.write_text(text.replace("[overage]", growth), "utf-8")
    ledger = settled(
        write_demo(tmp_path / "batch").folder, policy, tmp_path / "ledger", partial_month="by_day"
    )
    lines = [re.sub(" +", " ", line).strip() for line in explain(ledger, MARCH, CLINIC).text().splitlines()]
    assert "growth 2026 增幅 0.0333 预算公告" in lines
    assert "in force 按日折算 104,809.90 = 104,809.90 × 31 ÷ 31 days 协议天数 rules 6.5" in lines
    assert "threshold 阈值 106,838.54 = 104,809.90 + 2,028.64 T 3(3)" in lines
    assert "readings 口径: partial_month = by_day" in lines


def test_an_institution_may_be_named_and_a_station_is_explained_with_its_centre(demo: Ledger) -> None:
    assert explain(demo, MARCH, "南开民恩门诊部").institution_id == CLINIC
    made = explain(demo, MARCH, STATION)
    assert made.institution_id == "H12010400001"
    assert "H12010400003 南开明健社区卫生服务站 is settled with H12010400001" in made.text()


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        ("南开民恩", "H12010400002 南开民恩门诊部"),
        ("H1201040002", "H12010400002 南开民恩门诊部"),
        ("nobody", "an exact name\n"),
    ],
)
def test_an_unknown_institution_is_refused_with_near_ones(demo: Ledger, wanted: str, near: str) -> None:
    with pytest.raises(Refusal) as refusal:
        explain(demo, MARCH, wanted)
    assert near in str(refusal.value)


def test_a_month_or_run_that_is_not_there_is_refused(demo: Ledger) -> None:
    for month, run_id in ((date(2026, 4, 1), None), (MARCH, "2026-03.2"), (date(2026, 4, 1), "2026-03.1")):
        with pytest.raises(Refusal):
            explain(demo, month, CLINIC, run_id=run_id)


def test_a_superseded_run_is_explained_by_its_own_policy(copy: Ledger, demo: Ledger) -> None:
    settled(demo.folder.parent / "batch", "tianjin", copy.folder, attribution="pro_rata")
    newest, first = explain(copy, MARCH, CLINIC), explain(copy, MARCH, CLINIC, run_id="2026-03.1")
    assert (newest.run_id, first.run_id, first.status) == ("2026-03.2", "2026-03.1", "superseded")
    assert "readings 口径: attribution = pro_rata" in newest.text()
    assert first.steps == explain(demo, MARCH, CLINIC).steps


def test_adjustments_of_restated_months_and_balances_brought_forward_are_told(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    books.restate("2026-03", hospital="40")
    books.run("2026-04", hospital="10")
    books.run("2026-05", hospital="100")
    april = explain(books.ledger, date(2026, 4, 1), HOSPITAL)
    assert value_of(april, "adjustment") == "-57.00"
    assert "of 2026-03, restated as 2026-03.2: lines" in april.text()
    assert value_of(april, "carried forward") == "-47.50"
    may = explain(books.ledger, date(2026, 5, 1), HOSPITAL)
    assert value_of(may, "brought forward") == "-47.50"
    assert value_of(may, "net payable") == "47.50"
    books.run("2026-04", hospital="90")  # a later run of April does not change what May brought forward
    assert explain(books.ledger, date(2026, 5, 1), HOSPITAL).steps == may.steps
    assert explain(books.ledger, MARCH, HOSPITAL).status == "closed"
    assert "not transferred" in explain(books.ledger, MARCH, HOSPITAL).text()
    paid = explain(books.ledger, MARCH, HOSPITAL, run_id="2026-03.1")
    assert "not transferred" not in paid.text() + april.text()


# ---------------------------------------------------------------- one line


def test_the_line_that_crosses_the_threshold_is_paid_the_rest_of_it(demo: Ledger) -> None:
    made = explain(demo, MARCH, CLINIC, line=CROSSING)
    assert value_of(made, "before") == "18168.4108"
    assert value_of(made, "after") == "29247.2256"
    assert value_of(made, "threshold") == "25789.12"
    assert value_of(made, "paid") == "7620.7092"
    assert value_of(made, "unpaid") == "3458.1056"
    assert value_of(made, "position") == "1"
    assert "is paid in part 部分支付" in made.text()


def test_a_line_that_is_not_eligible_has_its_reason_and_what_stands_against_it(demo: Ledger) -> None:
    line = ("12202603000000044", "1220260300000004402")
    text = explain(demo, MARCH, SUSPENDED, line=line).text()
    assert "is paid nothing 不予支付" in text
    assert "the agreement was suspended on the day of service 协议中止" in text
    assert "2026-03-13 … 2026-03-24" in text
    assert "the day of service" in text


@pytest.mark.parametrize(
    ("agreement", "line", "covers"),
    [
        ({}, {"insurance_type": "390"}, "covers 310 (the policy's)"),
        ({"insurance_types": "310;340"}, {"insurance_type": "390"}, "covers 310, 340"),
        ({}, {"visit_type": "21"}, "covers outpatient, special_outpatient"),
        ({}, {"visit_type": "14", "disease_code": "M1"}, "covers none"),
        ({"special_diseases": "M0;M2"}, {"visit_type": "14", "disease_code": "M1"}, "covers M0, M2"),
    ],
)
def test_a_line_that_the_agreement_does_not_cover_shows_what_it_covers_and_where_to_look(
    tmp_path: Path, agreement: dict[str, str], line: dict[str, str], covers: str
) -> None:
    """4: blank types are the policy's for a coaching agreement, blank diseases none; the record has no codes."""
    listed = {
        **AGREEMENT,
        "service_categories": "outpatient;special_outpatient",
        "insurance_types": "",
        **agreement,
    }
    batch = write_batch(tmp_path / "batch", [{**LINE, **line}], agreements=[listed])
    text = explain(settled(batch, "tianjin", tmp_path / "ledger"), MARCH, HOSPITAL, line=("c1", "1")).text()
    (shown,) = [row for row in text.splitlines() if covers in row]
    assert shown.partition(covers)[2].strip() in ("", "T 4", "T 3(1)")
    assert re.search(r"look in 见 +claims.csv, SHA-256 [0-9a-f]{16}…", text)


def test_a_line_that_is_not_unpaid_was_rejected_or_elsewhere_or_paid_in_full_if_it_was_there(
    demo: Ledger,
) -> None:
    rejected = ("12202603000000180", "1220260300000018003")
    text = explain(demo, MARCH, CLINIC, line=rejected).text()
    assert "void_line" in text
    assert "row 744" in text
    assert "paid in full" not in text
    assert CLINIC in explain(demo, MARCH, SUSPENDED, line=CROSSING).text()
    text = explain(demo, MARCH, CLINIC, line=("nothing", "1")).text()
    assert "paid in full 全额支付" in text
    assert "whether the run had this line: lines paid in full are not recorded" in text


def test_every_unpaid_line_of_an_institution_can_be_explained(demo: Ledger) -> None:
    lines = query(demo, f"from line_explanations where institution_id = '{CLINIC}'").to_dicts()
    assert len(lines) == 28
    for line in lines:
        made = explain(demo, MARCH, CLINIC, line=(line["claim_id"], line["line_id"]))
        assert value_of(made, "paid") == str(line["payable_points"])
        assert value_of(made, "after") == str(line["running_total_after"])
        assert fits_a_screen(made)


# ---------------------------------------------------------------- it never disagrees with what was paid


@pytest.mark.parametrize("seed", [*range(3000, 3012), 2084, 2183])
def test_random_batches_are_explained_without_a_disagreement(seed: int, tmp_path: Path) -> None:
    """Reversals, tiers, stations, days in force, budgets and deductions, under every reading."""
    made = write_random_batch(tmp_path, seed, money=seed % 2 == 0)
    try:
        ledger = settled(made["batch"], made["policy"], tmp_path / "ledger")
    except Refusal:
        pytest.skip("refused batch")
    sql = "select institution_id from settlements union select institution_id from statements"
    for (institution,) in query(ledger, sql).rows():
        assert explain(ledger, MARCH, institution).steps


def more(value: Any) -> Any:
    """The same kind of value, another one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, Decimal):
        return value + Decimal(1).scaleb(int(value.as_tuple().exponent))
    if isinstance(value, date):
        return value + timedelta(1)
    return value + 1 if isinstance(value, int) else f"{value}x"


def tamper(
    ledger: Ledger, table: str, column: str, which: pl.Expr, change: Callable[[Any], Any] = more
) -> None:
    """Changes one cell of the first row that fits, in the record's file."""
    path = ledger.path("2026-03.1", table)
    frame = pl.read_parquet(path)
    place = frame.with_row_index("row").filter(which)["row"][0]
    values = frame[column].to_list()
    values[place] = change(values[place])
    frame.with_columns(pl.Series(column, values, dtype=frame.schema[column])).write_parquet(path)


OF_CLINIC = pl.col("institution_id") == CLINIC
OF_GROUP = OF_CLINIC & (pl.col("point_class") == "service")
FIGURES = [
    *(
        ("settlements", column, OF_GROUP)
        for column in (
            *(
                "zone",
                "payment_class",
                "line_count",
                "submitted_points",
                "ineligible_points",
                "eligible_points",
            ),
            *("threshold_points", "overage_points", "payable_points", "unpaid_points", "point_value"),
            *("payable_amount", "clause"),
        )
    ),
    *(("unpaid_lines", column, OF_GROUP) for column in ("points", "payable_points", "unpaid_points")),
    *(("daily_points", name, OF_GROUP) for name in ("line_count", "submitted_points", "eligible_points")),
    *(
        ("statements", column, OF_CLINIC)
        for column in (
            *("payable_amount", "deposit_withheld", "disallowed", "penalty", "recovery", "prepayment"),
            *("adjustment", "brought_forward", "net_payable", "carried_forward"),
        )
    ),
    *(
        ("agreement_years", column, OF_CLINIC)
        for column in ("in_force_from", "in_force_to", "coaching_from", "coaching_to", "is_coaching_year")
    ),
]


@pytest.mark.parametrize(("table", "column", "which"), FIGURES, ids=lambda part: str(part)[:24])
def test_a_record_with_one_figure_changed_is_not_explained(
    copy: Ledger, table: str, column: str, which: pl.Expr
) -> None:
    tamper(copy, table, column, which)
    with pytest.raises(Fault):
        explain(copy, MARCH, CLINIC)


def test_points_moved_from_a_line_of_one_day_to_one_of_another_are_found(copy: Ledger) -> None:
    """Lines and group still add up, but not at the end of the day between."""
    lines = pl.read_parquet(copy.path("2026-03.1", "unpaid_lines")).filter(OF_GROUP).sort("settled_at")
    for place, sign in ((1, 1), (-1, -1)):
        which = OF_GROUP & (pl.col("line_id") == lines["line_id"][place])
        for column in ("points", "unpaid_points"):
            tamper(copy, "unpaid_lines", column, which, lambda value, by=sign: value + by)
    with pytest.raises(Fault, match=r"unpaid points of coaching service up to 2026-03-"):
        explain(copy, MARCH, CLINIC)


def test_a_changed_policy_or_registry_is_refused(copy: Ledger) -> None:
    path = copy.runs / "2026-03.1" / "inputs" / "policy.toml"
    path.write_bytes(path.read_bytes().replace(b"25789.12", b"25789.13"))
    with pytest.raises(Refusal, match="missing or changed"):
        explain(copy, MARCH, CLINIC)


# ---------------------------------------------------------------- the command


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "settlement.cli", "explain", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_the_command_prints_text_or_json_and_refuses_with_exit_code_2(demo: Ledger) -> None:
    at = ("--month", "2026-03", "--ledger", str(demo.folder))
    made = explain(demo, MARCH, CLINIC, line=CROSSING)
    assert command(CLINIC, *at, "--line", *CROSSING).stdout == made.text() + "\n"
    assert json.loads(command(CLINIC, *at, "--line", *CROSSING, "--json").stdout) == made.as_json()
    refused = command("H00000000000", *at)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "the registry of run 2026-03.1 does not list it" in refused.stderr
