"""Who can read it, what is never written, what a question or a name cannot reach (data 3, commands)."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from settlement.errors import Refusal
from settlement.ledger import Ledger, publish, query
from settlement.spreadsheet import without_formulas
from test_batch import EVENT, INSTITUTION, LINE, csv_text, write_batch
from test_cli import PLANTED, everything_in
from test_ledger import post

SRC = Path(__file__).parents[1] / "src" / "settlement"


def program(*arguments: str | Path, cwd: Path, umask: int = -1) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "settlement.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, check=False, umask=umask)


# ---------------------------------------------------------------- owner and group

TOO_OPEN = """
import sys
from settlement import cli, runs
def bug(*_):
    raise RuntimeError({planted!r})
runs.settle = bug
sys.argv = ["settlement", *sys.argv[1:]]
cli.main()
"""


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_folders_are_750_and_files_640_whatever_the_callers_umask(tmp_path: Path, umask: int) -> None:
    write_batch(tmp_path / "batch")
    command = ("run", "batch", "--month", "2026-03", "--ledger", "deep/ledger")
    assert program(*command, cwd=tmp_path, umask=umask).returncode == 0
    assert program("ledger", "rebuild", "--ledger", "deep/ledger", cwd=tmp_path, umask=umask).returncode == 0
    ledger = tmp_path / "deep" / "ledger"
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (ledger, *ledger.rglob("*"))}
    assert len(modes) > 15
    assert {
        path: oct(mode) for path, mode in modes.items() if mode != (0o750 if path.is_dir() else 0o640)
    } == {}


def test_a_trace_is_for_owner_and_group_and_quotes_no_cell(tmp_path: Path) -> None:
    write_batch(
        tmp_path / "batch", [{**LINE, "psn_no": PLANTED}, {**LINE, "psn_no": PLANTED, "points": PLANTED}]
    )
    code = TOO_OPEN.format(planted=PLANTED)
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "batch", "--month", "2026-03", "--ledger", "ledger"],
        cwd=tmp_path, capture_output=True, check=False, umask=0,
    )  # fmt: skip
    assert done.returncode == 3
    (trace,) = tmp_path.glob("settlement-trace-*")
    assert stat.S_IMODE(trace.stat().st_mode) == 0o640
    assert PLANTED.encode() not in done.stdout + done.stderr + trace.read_bytes()


# ---------------------------------------------------------------- person ids

WATCHED = """
import pathlib, sys, tempfile
from settlement import cli, runs
real = runs.settle
def watched(*arguments):
    for path in pathlib.Path(tempfile.gettempdir()).rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".parquet":
                import polars
                content += polars.read_parquet(path, glob=False).write_csv().encode()
            assert {planted!r}.encode() not in content, path
    print(len(list(pathlib.Path(tempfile.gettempdir()).rglob("*"))), file=open("staged", "w"))
    return real(*arguments)
runs.settle = watched
sys.argv = ["settlement", *sys.argv[1:]]
cli.main()
"""


def test_person_ids_are_not_in_the_copies_made_while_running(tmp_path: Path) -> None:
    lines = [{**LINE, "psn_no": PLANTED}, {**LINE, "line_id": "2", "psn_no": PLANTED, "points": "x"}]
    write_batch(tmp_path / "batch", lines)
    (tmp_path / "temporary").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", WATCHED.format(planted=PLANTED), "run", "batch", "--month", "2026-03"],
        cwd=tmp_path, capture_output=True, check=False, env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert int((tmp_path / "staged").read_text()) > 0
    assert list((tmp_path / "temporary").iterdir()) == []
    for content in everything_in(tmp_path / "ledger"):
        assert PLANTED.encode() not in content


@pytest.mark.parametrize(
    "command", [("verify",), ("runs",), ("export", "--out", "out"), ("sql", "--csv", "from runs")]
)
def test_person_ids_are_in_no_output_of_the_other_commands(tmp_path: Path, command: tuple[str, ...]) -> None:
    write_batch(
        tmp_path / "batch", pl.DataFrame([{**LINE, "person_id": PLANTED}, {**LINE, "person_id": PLANTED}])
    )
    assert program("run", "batch", "--month", "2026-03", cwd=tmp_path).returncode == 1
    done = program(*command, cwd=tmp_path)
    assert done.returncode == 0
    assert PLANTED.encode() not in done.stdout + done.stderr
    for path in (tmp_path / "out").rglob("*.parquet"):
        assert PLANTED not in pl.read_parquet(path).write_csv()


# ---------------------------------------------------------------- what a question cannot reach


@pytest.mark.parametrize(
    "sql",
    [
        "with x as (insert into runs from runs returning *) from x",
        "explain analyze insert into runs from runs",
        "explain copy runs to '{folder}/out'",
        "copy (select 1) to '/dev/stdout'",
        "select getenv('HOME')",
        "from query('drop table runs')",
        "from query_table('/etc/passwd')",
        "from '/etc/passwd'",
        "from read_blob('/etc/passwd')",
        "from sniff_csv('/etc/passwd')",
        "from parquet_metadata('{folder}/ledger/runs/2026-03.1/runs.parquet')",
        "from read_duckdb('{folder}/ledger/settlement.duckdb')",
        "pivot (from read_csv('/etc/passwd')) on column0",
        "from duckdb_secrets()",
        "from enable_logging()",
        "set variable x = 1",
        "use memory",
        "create macro f() as 1",
        "detach settlement",
        "import database '{folder}'",
        "vacuum",
        "checkpoint",
        "execute p",
    ],
)
def test_a_question_cannot_write_reach_out_or_change_settings(tmp_path: Path, sql: str) -> None:
    ledger = Ledger(tmp_path / "ledger")
    post(ledger)
    publish(ledger)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(Refusal):
        query(ledger, sql.format(folder=tmp_path))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_large_question_spills_into_no_folder_of_others(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    post(ledger)
    publish(ledger)
    spill = Path(query(ledger, "select current_setting('temp_directory')").item())
    assert spill.is_absolute()
    assert not spill.exists()


@pytest.mark.parametrize("part", ["runs", "runs/2026-03.1", "runs/2026-03.1/settlements.parquet"])
def test_a_link_is_not_followed_out_of_the_ledger(tmp_path: Path, part: str) -> None:
    ledger = Ledger(tmp_path / "ledger")
    post(ledger)
    (ledger.folder / part).rename(tmp_path / "elsewhere")
    (ledger.folder / part).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refusal, match="symbolic link"):
        ledger.scan("2026-03.1", "settlements")
    with pytest.raises(Refusal, match="symbolic link"):
        publish(ledger, anew=True)


# ---------------------------------------------------------------- names and notes

NASTY = (
    "$(touch owned)",
    "`touch owned`",
    "; touch owned",
    "../../owned",
    "-rf",
    "|touch owned",
    "a\nb",
    "'; drop--",
)


def test_no_code_of_ours_starts_a_shell_or_runs_text() -> None:
    forbidden = {"subprocess", "pty", "os.system", "os.popen", "eval", "exec", "pickle", "marshal"}
    found = []
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found.append(node.module or "")
            elif isinstance(node, ast.Call):
                found.append(ast.unparse(node.func))
    assert forbidden & set(found) == set()


def test_names_and_notes_reach_no_shell_and_no_path(tmp_path: Path) -> None:
    write_batch(
        tmp_path / "batch",
        institutions=[{**INSTITUTION, "name": NASTY[0]}],
        events=csv_text(
            [{**EVENT, "event_id": f"E{n}", "note": note.replace("\n", " ")} for n, note in enumerate(NASTY)]
        ),
    )  # fmt: skip
    (tmp_path / "batch" / "claims").mkdir()
    (tmp_path / "batch" / "claims.csv").rename(tmp_path / "batch" / "claims" / "$(touch owned);'.csv")
    assert program("run", "batch", "--month", "2026-03", cwd=tmp_path).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"batch", "ledger"}
    assert list(tmp_path.rglob("owned")) == []


# ---------------------------------------------------------------- formulas


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+86 22", "'+86 22"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("＝HYPERLINK", "'＝HYPERLINK"),
        ("津南=1", "津南=1"),
        ("H12011200002", "H12011200002"),
        ("", ""),
        (None, None),
    ],
)
def test_a_text_that_begins_as_a_formula_is_made_harmless(text: str | None, cell: str | None) -> None:
    frame = pl.DataFrame({"name": [text]}, schema={"name": pl.String})
    assert without_formulas(frame)["name"].to_list() == [cell]


def test_numbers_and_days_stay_what_they_are() -> None:
    frame = pl.DataFrame({"points": [Decimal("-1.0000")], "count": [-1], "=x": ["-"]})
    assert without_formulas(frame).rows() == [(Decimal("-1.0000"), -1, "'-")]
    assert without_formulas(frame).columns == ["points", "count", "'=x"]


def test_sql_prints_csv_that_a_spreadsheet_can_open(tmp_path: Path) -> None:
    write_batch(tmp_path / "batch")
    assert program("run", "batch", "--month", "2026-03", cwd=tmp_path).returncode == 0
    done = program("sql", "--csv", "select '=1' as a, cast(-1 as decimal(18,4)) as b", cwd=tmp_path)
    assert done.stdout.decode() == "a,b\n'=1,-1.0000\n"
    assert program("sql", "--csv", "select [1] as a", cwd=tmp_path).returncode == 2
