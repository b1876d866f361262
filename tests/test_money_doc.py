"""docs/money.md is executed: what it shows is printed, and its query leads from every transfer back to its lines."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import duckdb
import pytest

from program import program

TEXT = (Path(__file__).parents[1] / "docs" / "money.md").read_text("utf-8")
SESSION = "\n".join(re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = [part.partition("\n") for part in re.split(r"^\$ ", SESSION, flags=re.MULTILINE)[1:]]
(QUERY,) = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("money")


@pytest.fixture(scope="module")
def outputs(folder: Path) -> list[str]:
    """What each command printed, in one folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        return [_printed(command) for command, _, _ in COMMANDS]
    finally:
        os.chdir(before)


def _printed(command: str) -> str:
    if command.startswith("settlement "):
        return program(*shlex.split(command)[1:]).out
    return subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("place", range(len(COMMANDS)), ids=[command[:40] for command, _, _ in COMMANDS])
def test_the_page_shows_what_the_program_prints(place: int, outputs: list[str]) -> None:
    command, _, shown = COMMANDS[place]
    printed = [" ".join(line.split()) for line in outputs[place].splitlines()]
    missing = [
        line for line in shown.splitlines() if line not in ("", "…") and " ".join(line.split()) not in printed
    ]
    assert missing == [], command


@pytest.fixture(scope="module")
def analyst(folder: Path, outputs: list[str]) -> duckdb.DuckDBPyConnection:
    """DuckDB, in which the page's query was executed."""
    assert len(outputs) == len(COMMANDS)
    connection = duckdb.connect()
    query = QUERY.replace("'march/", f"'{folder}/march/").replace("'books/", f"'{folder}/books/")
    assert len(connection.execute(query).fetchall()) > 100
    return connection


def test_the_query_gives_the_lines_of_the_transfer(analyst: duckdb.DuckDBPyConnection) -> None:
    """A line that is not paid in full names its reason and clause, and no other line does."""
    of_institution = "from lines_of_the_month where settling_id = 'H12011000001'"
    found = analyst.execute(
        f"select paid_points <> points, reason is not null, clause is not null, count(*) {of_institution} group by all"
    ).fetchall()
    assert sorted(row[:3] for row in found) == [(False,) * 3, (True,) * 3]


def test_the_lines_add_up_to_every_transfer_of_the_month(analyst: duckdb.DuckDBPyConnection) -> None:
    """Lines → groups → statement → transfer, without a difference."""
    by_group = """
        select coalesce(s.institution_id, l.settling_id), coalesce(s.point_class, l.point_class)
        from (select institution_id, point_class, sum(payable_points) as points, sum(line_count)::bigint as count
              from ledger.settlements group by all) s
        full join (select settling_id, point_class, sum(paid_points) as points, count(*) as count
                   from lines_of_the_month group by all) l
            on l.settling_id = s.institution_id and l.point_class = s.point_class
        where l.points is distinct from s.points or l.count is distinct from s.count"""
    assert analyst.execute(by_group).fetchall() == []
    by_statement = """
        select t.institution_id from ledger.statements t
        join (select institution_id, sum(payable_amount) as amount from ledger.settlements group by all) s
            using (institution_id)
        where t.payable_amount <> s.amount
            or t.net_payable + t.carried_forward <> s.amount - t.deposit_withheld - t.penalty"""
    assert analyst.execute(by_statement).fetchall() == []
    assert analyst.execute("select count(*) from ledger.statements").fetchall() == [(12,)]
