# ruff: noqa: E501 - attacks are tables, one a row
"""`verify` finds and names every attack on a cleared year and on what a run was settled from (data 3; rules 8.4)."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from settlement import load_policy
from settlement.ledger import CLEARED, Ledger, publish, stage_table, table_sha256, verify
from settlement.ledger.journal import parsed
from settlement.runs import Order, run
from settlement.schemas import polars_schema
from settlement.terms import ANNUAL_STATEMENTS, Kind
from test_batch import LINE, write_batch
from test_ledger import APRIL, AT, MARCH, close, post
from test_verify import LATER_FILE, Attack, add, assert_told, executed, forge, lines_of, told

YEAR = "clearings/2026/annual_statements.parquet"
INPUTS = "runs/2026-05.1/inputs"
MAY = {"serviced_at": "2026-05-05", "settled_at": "2026-05-05"}

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


def annual() -> pl.DataFrame:
    row = {column.name: Decimal(1) for column in ANNUAL_STATEMENTS.columns if column.kind is Kind.MONEY}
    rows = [
        row | {"year": 2026, "months": 3, "institution_id": one, "clause": "D 36"}
        for one in ("H12010100001", "H12010100002")
    ]
    return pl.DataFrame(rows, schema=polars_schema(ANNUAL_STATEMENTS))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """March and April without, May with what it was settled from; March closed, the year cleared; published."""
    folder = tmp_path_factory.mktemp("year")
    ledger = Ledger(folder / "ledger")
    post(ledger)
    post(ledger, APRIL)
    batch = write_batch(folder / "batch", [{**LINE, **MAY}])
    run(Order(batch, "2026-05", load_policy("tianjin")), ledger.folder, lambda _: None)
    close(ledger, MARCH)
    with ledger.lock():
        staged = ledger.staging()
        stage_table(staged, ANNUAL_STATEMENTS, annual())
        ledger.post_clearing(staged, 2026, table_sha256(ANNUAL_STATEMENTS, annual()), "2026", AT)
    publish(ledger)
    return ledger


@pytest.fixture
def ledger(whole: Ledger, tmp_path: Path) -> Ledger:
    return Ledger(shutil.copytree(whole.folder, tmp_path / "ledger"))


def test_a_cleared_year_as_written_has_no_differences(ledger: Ledger) -> None:
    found = verify(ledger)
    assert (found.differences, found.notes) == ([], [])
    files = [path for top in (ledger.runs, ledger.clearings) for path in top.rglob("*") if path.is_file()]
    assert (found.lines, found.runs, found.files) == (5, 3, len(files))


# ---------------------------------------------------------------- attacks on the files


def edited(name: str) -> Attack:
    return lambda ledger: (ledger.folder / name).write_bytes((ledger.folder / name).read_bytes() + b"\n")


def removed(name: str) -> Attack:
    return lambda ledger: (ledger.folder / name).unlink()


def interrupted(ledger: Ledger) -> None:
    add("clearings/2027/annual_statements.parquet")(ledger)
    (ledger.folder / "posting").write_text("clearings/2027")


def line_removed(ledger: Ledger) -> None:
    ledger.journal.write_bytes(b"".join(lines_of(ledger)[:-1]))


def thoroughly(name: str, edit: Callable[[Path], object]) -> Attack:
    """A file changed, its hash put right in a journal that fits, the DuckDB file made anew."""

    def attack(ledger: Ledger) -> None:
        edit(ledger.folder / name)
        found = hashlib.sha256((ledger.folder / name).read_bytes()).hexdigest()
        forge(ledger, lambda acts: [
            replace(act, files={**act.files, name: found}) if name in act.files else act for act in acts
        ])  # fmt: skip
        _published_as_far_as_it_goes(ledger)

    return attack


def _published_as_far_as_it_goes(ledger: Ledger) -> None:
    acts = [act for line in lines_of(ledger) if (act := parsed(line.rstrip()))]
    executed(
        f"update ledger.head set hash = '{acts[-1].hash}'",  # noqa: S608 - of this test
        *(
            f"update runs set hash = '{act.hash}' where run_id = '{act.run_id}'"  # noqa: S608 - of this test
            for act in acts
            if act.made_run
        ),
        "checkpoint",
    )(ledger)


def with_rows(**columns: pl.Expr) -> Callable[[Path], object]:
    return lambda path: pl.read_parquet(path, glob=False).with_columns(**columns).write_parquet(path)


def relabelled(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n# another policy\n")


def other_reading(path: Path) -> None:
    text = path.read_text("utf-8")
    assert '"chronological"' in text
    path.write_text(text.replace('"chronological"', '"pro_rata"'), "utf-8")


def without_files(ledger: Ledger) -> None:
    """A clearing that names nothing, by a journal that fits."""
    forge(ledger, lambda acts: [*acts[:-1], replace(acts[-1], files={})])
    shutil.rmtree(ledger.clearings)
    publish(ledger, anew=True)


def with_two_files(ledger: Ledger) -> None:
    """One line for two years: neither could be told to be the cleared one."""
    other = YEAR.replace("2026", "2027")
    shutil.copytree(ledger.clearings / "2026", ledger.clearings / "2027")
    forge(ledger, lambda acts: [
        *acts[:-1], replace(acts[-1], files={YEAR: acts[-1].files[YEAR], other: acts[-1].files[YEAR]})
    ])  # fmt: skip
    _published_as_far_as_it_goes(ledger)


def thoroughly_with_results(edit: Callable[[Path], object]) -> Attack:
    """A year's file changed, its file hash and its results hash put right in a journal that fits."""

    def attack(ledger: Ledger) -> None:
        edit(ledger.folder / YEAR)
        found = hashlib.sha256((ledger.folder / YEAR).read_bytes()).hexdigest()
        results = table_sha256(ANNUAL_STATEMENTS, ledger.folder / YEAR)
        forge(ledger, lambda acts: [
            *acts[:-1], replace(acts[-1], files={YEAR: found}, results_sha256=results)
        ])  # fmt: skip
        _published_as_far_as_it_goes(ledger)

    return attack


ATTACKS: list[tuple[str, Attack, list[str]]] = [
    ("a year's file edited", edited(YEAR), [f"{YEAR}: SHA-256 "]),
    ("a year's file removed", removed(YEAR), [f"{YEAR}: no such file"]),
    ("a foreign file beside it", add("clearings/2026/notes.txt"), ["clearings/2026/notes.txt: a foreign file or folder"]),
    ("a foreign folder beside the years", add("clearings/old/x"), ["clearings/old: a foreign file or folder"]),
    ("a year of nobody", add("clearings/2027/x"), ["clearings/2027: a clearing folder without a journal line"]),
    ("a clearing interrupted", interrupted, ["clearings/2027: a clearing that was never posted whole"]),
    ("the line of the clearing removed", line_removed, ["clearings/2026: a clearing folder without a journal line", LATER_FILE,
     "table annual_statements, year 2026: 2 row(s); expected none"]),
    ("a clearing that names no file", without_files, ["act 5 clears a year and names 0 files"]),
    ("a clearing that names two files", with_two_files, ["act 5 clears a year and names 2 files"]),
    ("rows of another year", thoroughly_with_results(with_rows(year=pl.lit(2027, pl.Int64))), [f"{YEAR}: rows of another year"]),
    ("rows that do not fit the line", thoroughly(YEAR, with_rows(net_payable=pl.lit(Decimal("9.00"), pl.Decimal(18, 2)))),
     [f"{YEAR}: rows with the results hash"]),
    ("a year's file that is no table", thoroughly(YEAR, lambda path: path.write_bytes(b"PAR1 no PAR1")), [f"{YEAR}: tables that cannot"]),
    *[(f"kept {name} edited", edited(f"{INPUTS}/{name}"), [f"{INPUTS}/{name}: SHA-256 "])
      for name in ("policy.toml", "order.json", "institutions.parquet")],
    ("a kept table removed", removed(f"{INPUTS}/agreements.parquet"), [f"{INPUTS}/agreements.parquet: no such file"]),
    ("a foreign file among the inputs", add(f"{INPUTS}/claims.csv"), [f"{INPUTS}/claims.csv: a foreign file or folder"]),
    ("inputs of a run that kept none", add("runs/2026-03.1/inputs/policy.toml"), ["runs/2026-03.1/inputs: a foreign file or folder"]),
    ("another policy", thoroughly(f"{INPUTS}/policy.toml", relabelled), [f"{INPUTS}: another policy or other readings"]),
    ("other readings", thoroughly(f"{INPUTS}/order.json", other_reading), [f"{INPUTS}: another policy or other readings"]),
    ("a policy that cannot be read", thoroughly(f"{INPUTS}/policy.toml", lambda path: path.write_bytes(b"?")), ["tianjin.toml: it is not TOML"]),
    ("readings of the run row that are none", thoroughly("runs/2026-05.1/runs.parquet", with_rows(readings=pl.lit("?"))),
     ["runs/2026-05.1: tables that cannot be read (JSONDecodeError)"]),
    ("an order that cannot be read", thoroughly(f"{INPUTS}/order.json", lambda path: path.write_bytes(b"{}")),
     ["runs/2026-05.1: "]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("attack", "expected"), [pytest.param(*attack[1:], id=attack[0]) for attack in ATTACKS]
)
def test_an_attack_on_a_year_or_on_inputs_is_named(
    ledger: Ledger, attack: Attack, expected: list[str]
) -> None:
    attack(ledger)
    assert_told(told(ledger), expected)


def test_a_damaged_year_hinders_no_other_comparison(ledger: Ledger) -> None:
    edited(YEAR)(ledger)
    executed("update runs set lines_in = 7 where run_id = '2026-04.1'")(ledger)
    assert_told(told(ledger), [f"{YEAR}: SHA-256", "run 2026-04.1: 1 row(s) changed in lines_in"])
    assert verify(ledger).notes == ["settlement.duckdb: not compared, their record is damaged: 2026"]


def test_a_clearing_at_work_is_a_note(ledger: Ledger) -> None:
    interrupted(ledger)
    with (ledger.folder / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = verify(ledger)
    assert (found.differences, found.notes) == ([], ["clearing 2027 is being posted"])


def test_a_lost_journal_of_a_cleared_year_is_no_missing_ledger(ledger: Ledger) -> None:
    ledger.journal.unlink()
    shutil.rmtree(ledger.runs)
    assert "clearings/2026: a clearing folder without a journal line" in told(ledger)[0]


@pytest.mark.parametrize(
    "change",
    [
        {"run_id": ["x"]},
        {"reason": 5},
        {"files": {"x": 1}},
        {"act": CLEARED, "run_id": None, "files": {"x": "y"}},
    ],
    ids=str,
)
def test_a_forged_line_of_any_shape_is_told_and_is_no_fault(
    ledger: Ledger, change: dict[str, object]
) -> None:
    forge(ledger, lambda acts: [*acts[:3], replace(acts[3], **change)])  # type: ignore[arg-type]
    assert any("line 4: " in line for line in told(ledger))


# ---------------------------------------------------------------- attacks on the DuckDB file

DATABASE_ATTACKS: list[tuple[str, Attack, str]] = [
    ("a figure of a year", executed("update annual_statements set deposit_released = 9 where institution_id = 'H12010100002'"),
     "table annual_statements, year 2026: 1 row(s) changed in deposit_released, 0 too many, 0 missing; for example year 2026, institution_id H12010100002"),
    ("a row of a year removed", executed("delete from annual_statements where institution_id = 'H12010100001'"),
     "table annual_statements, year 2026: 0 row(s) changed, 0 too many, 1 missing"),
    ("a year never cleared", executed("insert into annual_statements (year, institution_id) values (2027, 'H1')"),
     "table annual_statements, year 2027: 1 row(s); expected none"),
    ("the name of an institution", executed("update applied.institutions set name = 'x'"),
     "table applied.institutions, run 2026-05.1: 1 row(s) changed in name"),
    ("the reading of a run", executed("update applied.policies set attribution = 'pro_rata'"),
     "table applied.policies, run 2026-05.1: 1 row(s) changed in attribution"),
    ("a policy of a run that kept none", executed("insert into applied.policies (run_id) values ('2026-03.1')"),
     "table applied.policies, run 2026-03.1: 0 row(s) changed, 1 too many"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("attack", "expected"), [pytest.param(*attack[1:], id=attack[0]) for attack in DATABASE_ATTACKS]
)
def test_an_attack_on_the_published_year_is_named_and_mended_by_a_rebuild(
    ledger: Ledger, attack: Attack, expected: str
) -> None:
    attack(ledger)
    assert_told(told(ledger), [expected])
    publish(ledger, anew=True)
    assert told(ledger) == []
