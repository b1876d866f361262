"""The benchmarks compare like with like: every contender's result is the engine's, and a loss of speed is noticed."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from importlib import import_module
from pathlib import Path

import polars as pl
import pytest

from benchmarks import agree, bench, check, data, measure, report
from benchmarks.case import FLOOR, RUN, Case, Found
from benchmarks.job import MONTH, POLICY_FILE, Job
from benchmarks.work import CONTENDERS
from settlement import load_policy
from settlement.runs import Order, run

ATTRIBUTIONS = ("chronological", "pro_rata", "priority")


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data.batch(data.Spec(5_000, "0.30", "parquet"), tmp_path_factory.mktemp("batches"))


@pytest.fixture(scope="module", params=ATTRIBUTIONS)
def expected(request: pytest.FixtureRequest, batch: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """What contenders get of a batch settled under one attribution, and in `out` what they must find."""
    folder = tmp_path_factory.mktemp(request.param)
    policy = load_policy(batch.parent / POLICY_FILE).with_readings({"attribution": request.param})
    run(Order(batch, MONTH, policy), folder / "ledger", lambda _: None)
    data.prepare(batch, folder / "ledger", folder / "prepared")
    data.expect(folder / "ledger", folder / "expected")
    return Job(folder / "prepared", folder / "expected", request.param)


def attributed(name: str, expected: Job, out: Path) -> Path:
    module, function = CONTENDERS[name]
    getattr(import_module(f"benchmarks.{module}"), function)(Job(expected.given, out, expected.attribution))
    return out


@pytest.mark.parametrize("name", CONTENDERS)
def test_a_contender_finds_the_engine_s_totals_and_unpaid_lines(
    name: str, expected: Job, tmp_path: Path
) -> None:
    agree.refuse_difference(name, attributed(name, expected, tmp_path), expected.out)


def test_the_lines_compared_hold_what_matters(expected: Job) -> None:
    lines = pl.read_parquet(expected.lines)
    unpaid = pl.read_parquet(expected.unpaid)
    groups = pl.read_parquet(expected.groups)
    assert not lines.filter(pl.col("points") < 0).is_empty(), "reversals"
    assert not groups.filter(pl.col("eligible") > pl.col("payable")).is_empty(), "groups over their threshold"
    assert not groups.filter(pl.col("eligible") == pl.col("payable")).is_empty(), "groups under it"
    assert not unpaid.is_empty()


@pytest.mark.parametrize(
    ("table", "spoiled"),
    [
        ("unpaid", lambda rows: rows.with_columns(pl.col("unpaid") + (pl.int_range(pl.len()) == 3))),
        ("unpaid", lambda rows: rows.slice(1)),
        ("unpaid", lambda rows: pl.concat([rows, rows.head(1)])),
        ("groups", lambda rows: rows.with_columns(pl.col("payable") - (pl.int_range(pl.len()) == 3))),
    ],
    ids=["one unit of 0.0001 more", "a line less", "a line twice", "a group's total"],
)
def test_one_difference_fails(table: str, spoiled, expected: Job, tmp_path: Path) -> None:
    found = Job(tmp_path, attributed("duckdb", expected, tmp_path), "")
    path = getattr(found, table)
    spoiled(pl.read_parquet(path)).write_parquet(path)
    with pytest.raises(agree.Differs, match="duckdb"):
        agree.refuse_difference("duckdb", tmp_path, expected.out)


@pytest.mark.parametrize(
    ("now", "lost"),
    [("4.000", False), ("5.000", False), ("5.001", True), ("3.000", False)],
    ids=["the same", "a loss of 25 %", "more", "a gain"],
)
def test_a_loss_of_more_than_a_quarter_is_reported(now: str, lost: bool) -> None:
    told = check.losses({"run / floor": Decimal(now)}, {"run / floor": Decimal("4.000")})
    assert bool(told) == lost
    assert all("run / floor" in sentence and now in sentence for sentence in told)


def test_a_slower_engine_has_larger_ratios() -> None:
    usual = {FLOOR: 1.0, RUN: 6.0, "alike": 2.0, "duckdb": 16.0}
    before, after = check.ratios(usual), check.ratios({**usual, RUN: 12.0})
    assert {name for name in before if after[name] > before[name]} == {"run / floor", "run / duckdb"}
    assert set(json.loads(check.RECORD.read_text(encoding="utf-8"))["ratios"]) == set(before)


def test_peak_memory_is_the_child_s_own(tmp_path: Path) -> None:
    def holding(mebibytes: int) -> measure.Sample:
        program = f"kept = b'x' * ({mebibytes} << 20); print('{{}}')"
        return measure.once(lambda _: [sys.executable, "-c", program], tmp_path / "out")

    assert holding(300).peak_bytes > 300 << 20
    assert holding(1).peak_bytes < 60 << 20, "not that of this process, which holds polars and more"


def test_a_command_that_fails_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(measure.Failed, match="no such thing"):
        measure.once(lambda _: [sys.executable, "-c", "raise SystemExit('no such thing')"], tmp_path / "out")


def test_sizes_are_written_short() -> None:
    chosen = bench._options().parse_args(["--sizes", "500k 20M"])
    assert chosen.sizes == [500_000, 20_000_000]
    cases = list(bench._cases(chosen))
    assert {case.attribution for case in cases} == set(ATTRIBUTIONS)
    assert {case.spec.file_format for case in cases} == {"parquet", "csv"}


def test_what_is_written_names_no_folder(tmp_path: Path) -> None:
    sample = measure.Sample(2.0, 2.5, 3.0, 1 << 20, {})
    rows = {name: measure.Measurement((sample,)) for name in (FLOOR, RUN, "alike")}
    case = Case(data.Spec(1_000_000, "0.03", "parquet"), contenders=("alike",))
    report.write([Found(case, rows, {"reading": 1.5})], 1, tmp_path, "trial")
    markdown, kept = ((tmp_path / f"trial.{end}").read_text(encoding="utf-8") for end in ("md", "json"))
    assert "| 1 M | 3% | parquet | chronological | full run | 2 | 0.5 | 3 | 1 | 1.0 | 1.0 |" in markdown
    assert "| reading | 1.50 |" in markdown
    assert json.loads(kept)["cases"][0]["rows"][RUN]["lines_per_second"] == 500_000
    assert str(tmp_path.parent) not in markdown + kept
