"""A ledger from its first run to the clearing of its year, by the commands alone: everything fits everything else.

January carries a balance into February, is restated after it was closed, and March takes the difference; the year is
cleared, verified, exported, made anew and verified again. Source: rules 8, 11; data 3, 4; commands.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from program import Done, program
from settlement.ledger import Ledger
from settlement.terms import ANNUAL_STATEMENTS, LEDGER_TABLES
from test_batch import AGREEMENT, HOSPITAL, INSTITUTION, LINE, STATION, csv_text, write_batch
from test_ledger import content_of

CLINIC, LEFT = "H12010100003", "H12010100004"  # the one that left settles in January alone
RECIPES = Path(__file__).parents[1] / "docs" / "recipes.md"
RUNS = ("2026-01.1", "2026-01.2", "2026-02.1", "2026-03.1")

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


def batch(
    folder: Path, month: str, points: dict[str, str], *others: str, **tables: list[dict[str, str]]
) -> Path:
    """Services at 1 yuan a point and drugs out of a budget; a station that settles under the hospital."""
    day = f"{month}-05 10:00:00"
    line = {**LINE, "serviced_at": day, "settled_at": day}
    services = [
        {**line, "claim_id": f"{one}-{place}", "institution_id": one, "points": each}
        for one, text in points.items()
        for place, each in enumerate(text.split())
    ]
    drugs = [
        {
            **line,
            "claim_id": f"{one}-drug",
            "institution_id": one,
            "charge_category": "09",
            "points": "30.0001",
        }
        for one in (HOSPITAL, CLINIC)
    ]
    paid = [HOSPITAL, CLINIC, *others]
    key = {"month": month, "zone": "*"}
    return write_batch(
        folder,
        services + drugs,
        institutions=[
            *({**INSTITUTION, "institution_id": one, "name": f"name of {one}", "settles_under": ""} for one in paid),
            {**INSTITUTION, "institution_id": STATION, "name": "station", "settles_under": HOSPITAL},
        ],
        agreements=[
            {**AGREEMENT, "agreement_id": one, "institution_id": one, "start_date": "2026-01-01",
             "end_date": "2026-12-31"}
            for one in paid
        ],
        point_values=[{**key, "point_class": "service", "point_value": "1"}],
        budgets=[{**key, "point_class": "drug_consumable", "budget": "50"}],
        **tables,
    )  # fmt: skip


class Life:
    def __init__(self, folder: Path) -> None:
        self.folder, self.ledger = folder, Ledger(folder / "ledger")

    def call(self, *words: str | Path, code: int = 0) -> Done:
        done = program(*words, "--ledger", self.ledger.folder)
        assert done.code == code, done
        return done

    def lived(self) -> None:
        """Every act, in the order in which a bureau does them."""
        penalty = [{"institution_id": CLINIC, "month": "2026-01", "kind": "penalty", "amount": "500"}]
        january = {HOSPITAL: "20000 20000.5", STATION: "7", CLINIC: "100"}
        restated = january | {CLINIC: "160", LEFT: "40"}
        of = self.folder
        self.call("run", batch(of / "january", "2026-01", january, deductions=penalty), "--month", "2026-01")
        self.call(
            "run", batch(of / "february", "2026-02", {HOSPITAL: "9", CLINIC: "200"}), "--month", "2026-02"
        )
        self.call("close", "2026-01")
        self.call("close", "2026-02")
        late = batch(of / "late", "2026-01", restated, LEFT, deductions=penalty)
        self.call("restate", late, "--month", "2026-01", "--reason", "late lines")
        self.call("run", batch(of / "march", "2026-03", {HOSPITAL: "9", CLINIC: "300"}), "--month", "2026-03")
        self.call("close", "2026-03")
        scores = [{"institution_id": one, "year": "2026", "score": "90"} for one in (HOSPITAL, CLINIC, LEFT)]
        (of / "scores.csv").write_text(csv_text(scores), "utf-8")
        self.call("clear", "--year", "2026", "--assessments", of / "scores.csv")


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    life = Life(tmp_path_factory.mktemp("life"))
    life.lived()
    return life


def test_it_is_verified_before_and_after_it_is_made_anew(life: Life) -> None:
    """Data 3: the DuckDB file carried on from act to act is the one made from the record, to the last row."""
    before = content_of(life.ledger), life.call("verify").out
    assert "0 difference(s) in 8 journal line(s), 4 run(s)" in before[1]
    life.ledger.database.unlink()
    life.call("verify", code=1)
    life.call("ledger", "rebuild")
    assert (content_of(life.ledger), life.call("verify").out) == before


def test_runs_lists_every_run_and_what_became_of_it(life: Life) -> None:
    found = [line.split()[:2] for line in life.call("runs").out.splitlines() if line.startswith("2026")]
    assert found == [list(row) for row in zip(RUNS, ("restated", "closed", "closed", "closed"), strict=True)]


def statement(life: Life, run_id: str, institution: str) -> dict[str, str]:
    rows = life.ledger.scan(run_id, "statements").filter(institution_id=institution).collect()
    return {name: str(value) for name, value in rows.row(0, named=True).items() if value}


def test_the_months_hand_on_what_they_owe(life: Life) -> None:
    """Rules 8.2, 11: -381.25 of January is taken in February; 60 points more, less 5 % deposit, and what they take
    of the budget, in March."""
    assert statement(life, "2026-01.1", CLINIC)["carried_forward"] == "-381.25"
    assert statement(life, "2026-02.1", CLINIC)["brought_forward"] == "-381.25"
    assert statement(life, "2026-03.1", CLINIC)["adjustment"] == "57.00"
    assert statement(life, "2026-03.1", LEFT)["net_payable"] == "38.00"


@pytest.mark.parametrize("run_id", RUNS)
def test_every_figure_of_every_run_is_explained(life: Life, run_id: str) -> None:
    """Rules 8, 11: for whoever has a statement, also one that is there for an adjustment alone."""
    owed = life.ledger.scan(run_id, "statements").collect()["institution_id"].to_list()
    assert len(owed) == (3 if run_id in ("2026-01.2", "2026-03.1") else 2)
    for one in [*owed, STATION]:
        done = life.call("explain", one, "--month", run_id[:7], "--run", run_id)
        assert "net payable" in done.out
    if run_id == "2026-03.1":
        assert "adjustment 更正" in life.call("explain", CLINIC, "--month", "2026-03").out


def test_every_recipe_is_answered(life: Life) -> None:
    text = RECIPES.read_text("utf-8")
    recipes = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert len(recipes) >= 25
    for sql in recipes:
        life.call("sql", sql)


def test_every_view_is_answered(life: Life) -> None:
    views = [row[0] for row in content_of_views(life)]
    assert len(views) > 10
    for view in views:
        life.call("sql", f"from {view}")


def content_of_views(life: Life) -> list[tuple[str]]:
    from settlement.ledger import query

    return query(life.ledger, "select view_name from duckdb_views() where not internal").rows()  # type: ignore[return-value]


def test_the_export_holds_the_newest_runs_the_year_and_which_run_took_an_adjustment(
    life: Life, tmp_path: Path
) -> None:
    life.call("export", "--out", tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {table.name for table in (*LEDGER_TABLES, ANNUAL_STATEMENTS)}
    taken = pl.read_parquet(tmp_path / "out" / "adjustments")
    assert set(taken.select("run_id", "applied_in_run").rows()) == {("2026-01.2", "2026-03.1")}
    year = pl.read_parquet(tmp_path / "out" / "annual_statements").select(ANNUAL_STATEMENTS.names)
    assert year.rows() == pl.read_parquet(life.ledger.annual_statements(2026)).rows()
    assert year.height == 3


@pytest.mark.parametrize(
    "file", ["clearings/2026/annual_statements.parquet", "runs/2026-03.1/inputs/policy.toml"]
)
def test_a_changed_file_of_any_kind_is_found(life: Life, tmp_path: Path, file: str) -> None:
    copy = Path(shutil.copytree(life.ledger.folder, tmp_path / "ledger"))
    (copy / file).write_bytes((copy / file).read_bytes() + b"\n")
    done = program("verify", "--ledger", copy)
    assert (done.code, file in done.out) == (1, True)
