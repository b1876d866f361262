"""The command line: exit codes, messages, what is written and what never is (commands; data 3)."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from settlement import cli, load_policy, policy, runs
from settlement.errors import Fault
from test_batch import AGREEMENT, ASSESSMENT, INSTITUTION, LINE, VALUE, csv_text, write_batch

ROOT = Path(__file__).parents[1]
JSON_KEYS = [
    "run_id", "month", "policy_id", "policy_status", "lines_in", "lines_settled", "lines_rejected", "institutions",
    "submitted_points", "payable_points", "unpaid_points", "payable_amount", "assumptions", "findings",
    "results_sha256", "seconds", "unchanged",
]  # fmt: skip
BAD_LINE = {**LINE, "line_id": "2", "points": "x"}

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see the test of temporary copies


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Program = Callable[..., Done]


@pytest.fixture
def settlement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Program]:
    """The program in this process, in an empty folder: settlement("run", "batch", …)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["settlement", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
        except SystemExit as left:
            code = left.code
        else:
            raise AssertionError("main() returned")
        out, err = capsys.readouterr()
        return Done(int(code or 0), out, err)

    yield call
    cli._OPEN_LEDGER.clear()


def run(settlement: Program, *more: str | Path, month: str = "2026-03") -> Done:
    """`settlement run batch --month 2026-03 --ledger ledger …`."""
    return settlement("run", "batch", "--month", month, "--ledger", "ledger", *more)


def assert_refused(done: Done, *words: str) -> None:
    """Exit 2, with where, found and expected; no traceback, nothing written."""
    assert done.code == 2, done
    for label in ("where:", "found:", "expected", *words):
        assert label in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert not Path("ledger").exists()
    assert not list(Path().glob("settlement-trace-*"))


# ---------------------------------------------------------------- help


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    group = group or cli.program()
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())


def example_of(command: Any) -> list[str]:
    """The words of the runnable example with which the help ends."""
    last = " ".join(command.help.strip().split("\n\n")[-1].split())
    assert last.startswith("Example: settlement ")
    return shlex.split(last.removeprefix("Example: settlement "))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_help_of_every_command_ends_in_an_example_with_options_that_exist(path: tuple[str, ...]) -> None:
    words = example_of(COMMANDS[path])
    assert tuple(words[: len(path)]) == path
    known = {option for parameter in COMMANDS[path].params for option in parameter.opts}
    used = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert used <= known


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_has_its_help(path: tuple[str, ...]) -> None:
    assert [parameter.name for parameter in COMMANDS[path].params if not parameter.help] == []


def test_every_example_runs(settlement: Program, tmp_path: Path) -> None:
    """In a folder with a batch that has money and a ledger of two runs; of /tmp, a folder of this test."""
    write_batch(tmp_path / "batch", point_values=[VALUE], assessments=[ASSESSMENT])
    for reading in ("pro_rata", "chronological"):
        assert run(settlement, "--reading", f"attribution={reading}").code == 0
    for path, command in COMMANDS.items():
        words = [word.replace("/tmp", str(tmp_path / "tmp")) for word in example_of(command)]  # noqa: S108
        done = settlement(*("2000" if word == "100000" else word for word in words))
        assert done.code in (0, 1), (path, done)
        assert done.out


@pytest.mark.parametrize("arguments", [["--help"], *([*path, "--help"] for path in COMMANDS)], ids=" ".join)
def test_help_and_version_exit_with_0(settlement: Program, arguments: list[str]) -> None:
    assert settlement(*arguments).code == 0
    assert re.fullmatch(r"settlement \d+\.\d+\.\d+\n", settlement("--version").out)


# ---------------------------------------------------------------- run


def test_a_settled_month_exits_with_0_and_one_with_rejected_lines_with_1(settlement: Program) -> None:
    write_batch(Path("batch"))
    assert run(settlement).code == 0
    assert settlement("check", "batch", "--month", "2026-03").code == 0
    write_batch(Path("batch"), [LINE, BAD_LINE])
    done = run(settlement)
    assert done.code == 1
    assert "bad_number" in done.out
    assert settlement("check", "batch", "--month", "2026-03").code == 1


def test_check_needs_no_ledger_and_leaves_none(settlement: Program) -> None:
    write_batch(Path("batch"))
    before = sorted(Path().rglob("*"))
    assert settlement("check", "batch", "--month", "2026-03").code == 0
    assert sorted(Path().rglob("*")) == before


def refuse_float(text: str) -> None:
    raise AssertionError(f"{text} is a binary float")


@pytest.mark.parametrize("with_money", [False, True])
def test_json_is_one_object_with_the_keys_of_the_contract_and_decimals_as_text(
    settlement: Program, with_money: bool
) -> None:
    write_batch(Path("batch"), [LINE, BAD_LINE], **({"point_values": [VALUE]} if with_money else {}))
    done = run(settlement, "--json")
    found = json.loads(done.out, parse_float=refuse_float)
    assert list(found) == JSON_KEYS
    assert (found["run_id"], found["month"], found["unchanged"]) == ("2026-03.1", "2026-03", False)
    assert (found["policy_id"], found["policy_status"]) == ("tianjin", "draft")
    assert (found["lines_in"], found["lines_settled"], found["lines_rejected"]) == (2, 1, 1)
    assert found["institutions"] == 1
    assert (found["submitted_points"], found["payable_points"]) == ("10.0000", "10.0000")
    assert Decimal(found["unpaid_points"]) == 0
    assert found["payable_amount"] == ("10.00" if with_money else None)
    assert isinstance(found["assumptions"], list)
    assert isinstance(found["findings"], list)
    assert re.fullmatch("[0-9a-f]{64}", found["results_sha256"])
    assert Decimal(found["seconds"]) > 0
    assert done.err == ""


def test_json_of_check_has_the_same_keys_and_no_run(settlement: Program) -> None:
    write_batch(Path("batch"))
    found = json.loads(settlement("check", "batch", "--month", "2026-03", "--json").out)
    assert list(found) == JSON_KEYS
    assert found["run_id"] is None


def test_the_same_input_and_policy_are_recognised_and_not_stored_twice(settlement: Program) -> None:
    write_batch(Path("batch"))
    first = json.loads(run(settlement, "--json").out)
    journal = Path("ledger/journal.jsonl").read_bytes()
    second = json.loads(run(settlement, "--json").out)
    assert (second["unchanged"], second["run_id"]) == (True, first["run_id"])
    assert second["results_sha256"] == first["results_sha256"]
    assert Path("ledger/journal.jsonl").read_bytes() == journal
    assert "unchanged" in run(settlement).out
    other = json.loads(run(settlement, "--json", "--reading", "attribution=pro_rata").out)
    assert (other["unchanged"], other["run_id"]) == (False, "2026-03.2")
    back = json.loads(run(settlement, "--json").out)
    assert (back["unchanged"], back["run_id"]) == (False, "2026-03.3")


def test_a_draft_policy_is_marked_on_the_summary(settlement: Program) -> None:
    write_batch(Path("batch"))
    assert "DRAFT" in run(settlement).out


def test_strict_refuses_a_batch_with_a_rejected_line(settlement: Program) -> None:
    write_batch(Path("batch"), [LINE, BAD_LINE, {**BAD_LINE, "line_id": "3", "visit_type": ""}])
    assert_refused(
        run(settlement, "--strict"), "--strict", "2 rejected", "bad_number 1", "missing_value 1", "row 2"
    )
    write_batch(Path("batch"))
    assert run(settlement, "--strict").code == 0


# ---------------------------------------------------------------- usage


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--reading", "colour=red"], ["colour", "attribution"]),
        (
            ["--reading", "attribution=alphabetical"],
            ["alphabetical", "chronological", "pro_rata", "priority"],
        ),
        (["--reading", "attribution"], ["--reading", "key=value"]),
        (["--encoding", "latin-1"], ["--encoding", "latin-1", "gb18030"]),
        (["--policy", "atlantis"], ["atlantis", "tianjin", "dongguan"]),
        (["--policy", "batch"], ["batch"]),
        (["--policy", "batch/claims.csv"], ["claims.csv"]),
        (["--submitted-on", "3 April"], ["--submitted-on", "YYYY-MM-DD"]),
        (["--submitted-on", "2026-02-30"], ["--submitted-on", "YYYY-MM-DD"]),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_with_what_is_known(
    settlement: Program, arguments: list[str], words: list[str]
) -> None:
    write_batch(Path("batch"))
    assert_refused(run(settlement, *arguments), *words)


@pytest.mark.parametrize("month", ["2026-3", "2026-13", "202603", "March", "2026-03-05"])
def test_a_wrong_month_is_refused(settlement: Program, month: str) -> None:
    write_batch(Path("batch"))
    assert_refused(run(settlement, month=month), "--month", month, "YYYY-MM")


def test_a_month_outside_the_policy_is_refused_with_its_span(settlement: Program) -> None:
    write_batch(Path("batch"), [{**LINE, "serviced_at": "2024-12-05", "settled_at": "2024-12-05"}])
    assert_refused(run(settlement, month="2024-12"), "2024-12", "2025-01-01")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "batch"],
        ["run", "--month", "2026-03"],
        ["run", "batch", "--month", "2026-03", "--colour"],
        ["settle", "batch"],
        ["generate", "--month", "2026-03", "--lines", "many", "--institutions", "1", "--out", "x"],
    ],
    ids=str,
)
def test_a_command_that_is_not_understood_exits_with_2(settlement: Program, arguments: list[str]) -> None:
    done = settlement(*arguments)
    assert done.code == 2
    assert "Usage" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs", "--ledger", "nowhere"],
        ["sql", "select 1", "--ledger", "nowhere"],
        ["ledger", "rebuild", "--ledger", "nowhere"],
        ["thresholds", "show", "--policy", "atlantis"],
        ["thresholds", "show", "--month", "2026-13"],
        ["demo", "filled"],
        [
            "generate",
            "--month",
            "2026-03",
            "--lines",
            "9",
            "--institutions",
            "1",
            "--out",
            "x",
            "--format",
            "xml",
        ],
        ["generate", "--month", "2026-3", "--lines", "9", "--institutions", "1", "--out", "x"],
        ["generate", "--month", "2026-03", "--lines", "9", "--institutions", "1", "--out", "filled"],
        ["check", "nowhere", "--month", "2026-03"],
    ],
    ids=str,
)
def test_every_command_refuses_in_the_same_form(settlement: Program, arguments: list[str]) -> None:
    Path("filled").mkdir()
    Path("filled/file").touch()
    assert_refused(settlement(*arguments))
    assert not Path("x").exists()
    assert not Path("nowhere").exists()


def test_sql_reads_and_cannot_write(settlement: Program) -> None:
    write_batch(Path("batch"))
    run(settlement)
    asked = "select institution_id, payable_points from current_settlements"
    assert settlement("sql", asked, "--csv", "--ledger", "ledger").out == (
        f"institution_id,payable_points\n{LINE['institution_id']},10.0000\n"
    )
    for statement in ("delete from runs", "create table t (a int)", "selec 1", "copy runs to 'x.csv'"):
        done = settlement("sql", statement, "--ledger", "ledger")
        assert done.code == 2
        assert "Traceback" not in done.err
    assert not Path("x.csv").exists()


# ---------------------------------------------------------------- wrong files

CLAIMS = csv_text([LINE]).encode()


def instead(name: str, content: bytes) -> Callable[[Path], None]:
    """Write these bytes in place of a file of the batch."""

    def spoil(batch: Path) -> None:
        (batch / name).write_bytes(content)

    return spoil


def half_a_parquet_file(batch: Path) -> None:
    (batch / "claims.csv").unlink()
    pl.DataFrame([LINE] * 1000).write_parquet(batch / "claims.parquet")
    content = (batch / "claims.parquet").read_bytes()
    (batch / "claims.parquet").write_bytes(content[: len(content) // 2])


def a_parquet_file_with_a_damaged_page(batch: Path) -> None:
    (batch / "claims.csv").unlink()
    pl.DataFrame([{**LINE, "line_id": str(number)} for number in range(5000)]).write_parquet(
        batch / "claims.parquet"
    )
    content = bytearray((batch / "claims.parquet").read_bytes())
    content[200:2000] = b"\xff" * 1800
    (batch / "claims.parquet").write_bytes(content)


def a_folder_instead_of_a_file(batch: Path) -> None:
    (batch / "institutions.csv").unlink()
    (batch / "institutions.csv").mkdir()


def claims_twice(batch: Path) -> None:
    (batch / "claims").mkdir()
    (batch / "claims" / "a.csv").write_bytes(CLAIMS)


def no_claims(batch: Path) -> None:
    (batch / "claims.csv").unlink()


def an_empty_claims_folder(batch: Path) -> None:
    (batch / "claims.csv").unlink()
    (batch / "claims").mkdir()


def a_folder_named_like_a_file_in_claims(batch: Path) -> None:
    an_empty_claims_folder(batch)
    (batch / "claims" / "x.csv").mkdir()


def a_table_in_two_files(batch: Path) -> None:
    pl.DataFrame([AGREEMENT]).write_parquet(batch / "agreements.parquet")


def a_link_to_nothing(batch: Path) -> None:
    (batch / "events.csv").unlink(missing_ok=True)
    (batch / "claims.csv").unlink()
    (batch / "claims.csv").symlink_to("nowhere.csv")


REFUSED_FILES = [
    (instead("claims.csv", b""), ["claims.csv", "empty"]),
    (instead("claims.csv", CLAIMS.splitlines()[0]), ["claims.csv", "only a header"]),
    (instead("claims.csv", b"\x7fELF\x02\x01\0\0\n\0"), ["claims.csv", "binary"]),
    (instead("claims.csv", CLAIMS.decode().encode("utf-16")), ["claims.csv", "binary", "UTF-8"]),
    (instead("claims.csv", CLAIMS.replace(b"visit_type", b"visit_typo")), ["claims.csv", "visit_type"]),
    (instead("claims.csv", CLAIMS.replace(b"amount", b"points")), ["claims.csv", "points"]),
    (instead("claims.csv", CLAIMS.splitlines()[1].replace(b",1,", b",2,", 1)), ["claims.csv", "header", "claim_id"]),
    (instead("claims.csv", CLAIMS.replace(b",", b";")), ["claims.csv", "header"]),
    (instead("institutions.csv", b""), ["institutions.csv", "empty"]),
    (instead("institutions.csv", csv_text([INSTITUTION]).encode("utf-16-le")), ["institutions.csv", "binary"]),
    (instead("agreements.csv", b"PAR1"), ["agreements.csv", "binary"]),
    (instead("settlements.csv", b""), ["settlements.csv", "empty"]),
    (instead("claims.parquet", CLAIMS), ["claims.csv", "claims.parquet"]),
    (half_a_parquet_file, ["claims.parquet", "Parquet"]),
    (a_folder_instead_of_a_file, ["institutions.csv"]),
    (claims_twice, ["claims and claims.csv"]),
    (no_claims, ["no claims"]),
    (an_empty_claims_folder, ["batch/claims"]),
    (a_folder_named_like_a_file_in_claims, ["x.csv"]),
    (a_table_in_two_files, ["agreements.csv", "agreements.parquet"]),
    (a_link_to_nothing, ["no claims"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "words"), REFUSED_FILES, ids=[f"{spoil.__name__}-{words[0]}-{number}" for number, (spoil, words) in
                                            enumerate(REFUSED_FILES)]
)  # fmt: skip
def test_a_wrong_file_is_refused_by_its_name(
    settlement: Program, spoil: Callable[[Path], None], words: list[str]
) -> None:
    spoil(write_batch(Path("batch")))
    assert_refused(run(settlement), *words)


def test_a_parquet_file_with_a_damaged_page_is_refused_by_its_name(settlement: Program) -> None:
    a_parquet_file_with_a_damaged_page(write_batch(Path("batch")))
    assert_refused(run(settlement), "claims.parquet", "Parquet")


@pytest.mark.parametrize("path", ["nowhere", "batch/claims.csv"])
def test_a_batch_is_a_folder(settlement: Program, path: str) -> None:
    write_batch(Path("batch"))
    assert_refused(settlement("run", path, "--month", "2026-03", "--ledger", "ledger"), path)


def test_a_ledger_is_a_folder(settlement: Program) -> None:
    write_batch(Path("batch"))
    Path("file").write_text("mine", "utf-8")
    done = settlement("run", "batch", "--month", "2026-03", "--ledger", "file")
    assert_refused(done, "file")
    assert Path("file").read_text("utf-8") == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_refused(settlement: Program) -> None:
    write_batch(Path("batch"))
    Path("batch/claims.csv").chmod(0)
    assert_refused(run(settlement), "claims.csv")


@pytest.mark.parametrize(
    ("extra", "rules"),
    [
        (b'"never closed,1\n', ["ragged_row"]),
        (b"\xff\xfe\xfd\n", ["undecodable"]),
        (b"x" * 10_000_000 + b"\n", ["ragged_row"]),
        (b'"' + b"x" * 10_000_000 + b"\n", ["ragged_row"]),
        (b"\0\0\0\n", ["ragged_row"]),
    ],
    ids=["unclosed quote", "bytes", "10 MB in one line", "10 MB in an unclosed quote", "NUL"],
)
def test_a_broken_row_is_rejected_and_the_others_are_settled(
    settlement: Program, extra: bytes, rules: list[str]
) -> None:
    other = csv_text([{**LINE, "line_id": "2"}]).encode().splitlines()[1]
    instead("claims.csv", CLAIMS + extra + other)(write_batch(Path("batch")))
    done = run(settlement, "--json")
    assert done.code == 1
    assert done.err == ""
    assert json.loads(done.out)["lines_settled"] == 2
    found = settlement(
        "sql", "select rule, row_number from rejected_lines", "--csv", "--ledger", "ledger"
    ).out
    assert found.splitlines()[1:] == [f"{rule},2" for rule in rules]


@pytest.mark.parametrize(
    "content", [b"x" * 10_000_000, CLAIMS.replace(b"\n", b"\r")], ids=["10 MB", "old Mac"]
)
def test_a_file_of_a_single_line_is_refused(settlement: Program, content: bytes) -> None:
    instead("claims.csv", content)(write_batch(Path("batch")))
    assert_refused(run(settlement), "claims.csv")


@pytest.mark.parametrize(("file", "wrong"), [("claims", "claims"), ("claims.csv/a.csv", "claims.csv")])
def test_claims_are_a_folder_and_claims_csv_is_a_file(settlement: Program, file: str, wrong: str) -> None:
    batch = write_batch(Path("batch"))
    (batch / "claims.csv").unlink()
    (batch / file).parent.mkdir(exist_ok=True)
    (batch / file).write_bytes(CLAIMS)
    assert_refused(run(settlement), wrong)


def test_a_refused_first_run_leaves_no_folder_at_all(settlement: Program) -> None:
    write_batch(Path("batch"), institutions=None)
    done = settlement("run", "batch", "--month", "2026-03", "--ledger", "books/2026/ledger")
    assert done.code == 2
    assert not Path("books").exists()


def test_temporary_copies_of_the_lines_are_removed_by_the_run_itself(tmp_path: Path) -> None:
    write_batch(tmp_path / "batch")
    command = [sys.executable, "-W", "always::ResourceWarning", "-m", "settlement.cli", "check", "batch"]
    done = subprocess.run(
        [*command, "--month", "2026-03"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "Implicitly cleaning up" not in done.stderr


# ---------------------------------------------------------------- person ids

PLANTED = "PLANTED-7788"


def everything_in(ledger: Path) -> Iterator[bytes]:
    """Every byte of the files, and, since they are compressed, every cell as text."""
    for path in sorted(path for path in ledger.rglob("*") if path.is_file()):
        yield path.read_bytes()
        if path.suffix == ".parquet":
            yield repr(pl.read_parquet(path).rows()).encode()
    with duckdb.connect(str(ledger / "settlement.duckdb"), read_only=True) as connection:
        names = connection.execute(
            "select table_schema, table_name from information_schema.tables"
        ).fetchall()
        for schema, name in names:
            rows = connection.execute(f'select * from "{schema}"."{name}"').fetchall()  # noqa: S608
            yield repr(rows).encode()


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("name", ["psn_no", "person_id"])
def test_person_ids_are_in_no_byte_of_the_ledger_and_in_no_output(
    settlement: Program, form: str, name: str
) -> None:
    lines = [
        {**LINE, name: PLANTED},
        {**LINE, name: PLANTED},
        {**BAD_LINE, name: PLANTED, "settled_at": "x"},
        {**LINE, "line_id": "3", name: PLANTED, "points": "99999"},
        {**LINE, "line_id": "4", name: PLANTED, "insurance_type": "390"},
    ]
    columns = [name for name in lines[0] if name not in ("visit_type", "settled_at")]
    rows = [{column: line[column] for column in columns} for line in lines]
    settled = [{"claim_id": "c1", "setl_time": LINE["settled_at"], "med_type": "11", name: PLANTED}]
    if form == "csv":
        text = csv_text(rows, [*columns[1:], columns[0]])
        broken = f"{PLANTED},1\n".encode() + b"\xff," + f'{PLANTED}\n"{PLANTED}\n'.encode()
        write_batch(Path("batch"), text.encode() + broken, settlements=settled)
    else:
        write_batch(Path("batch"), pl.DataFrame(rows), settlements=pl.DataFrame(settled))
    for arguments in ([], ["--json"], ["--reading", "attribution=pro_rata"], ["--strict"]):
        done = run(settlement, *arguments)
        assert done.code == (2 if arguments == ["--strict"] else 1)
        assert PLANTED not in done.out + done.err
    for content in everything_in(Path("ledger")):
        assert PLANTED.encode() not in content


def test_a_refusal_shows_no_person_id(settlement: Program) -> None:
    line = {**LINE, "psn_no": PLANTED}
    for claims, settlements in (
        ([line], [{"claim_id": "c1", "psn_no": PLANTED}] * 2),
        ([{**line, "person_id": PLANTED}], None),
        (csv_text([{**line, "is_valid": "yes"}]).splitlines()[1], None),
        ([{name: cell for name, cell in line.items() if name != "visit_type"}], None),
    ):
        shutil.rmtree("batch", ignore_errors=True)
        write_batch(Path("batch"), claims, settlements=settlements)
        done = run(settlement)
        assert_refused(done)
        assert PLANTED not in done.err


def test_a_file_without_a_header_shows_no_person_id(settlement: Program) -> None:
    write_batch(
        Path("batch"), csv_text([{**LINE, "psn_no": PLANTED, "psn_cert_no": PLANTED}]).splitlines()[1]
    )
    done = run(settlement)
    assert_refused(done)
    assert PLANTED not in done.err


# ---------------------------------------------------------------- our own fault


@pytest.mark.parametrize(
    "fault", [RuntimeError(f"cell {PLANTED}"), Fault("proofs", "1 differs", "0 differ")], ids=repr
)
def test_our_own_fault_exits_with_3_names_the_place_and_leaves_a_trace_beside_the_ledger(
    settlement: Program, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def broken_step(*_: Any) -> None:
        raise fault

    write_batch(Path("batch"))
    Path("books").mkdir()
    monkeypatch.setattr(runs, "proofs", broken_step)
    done = settlement("run", "batch", "--month", "2026-03", "--ledger", "books/ledger")
    assert done.code == 3
    assert "broken_step" in done.err
    assert "Traceback" not in done.err
    (trace,) = Path("books").glob("settlement-trace-*.txt")
    assert str(trace.absolute()) in done.err
    text = trace.read_text("utf-8")
    assert "broken_step" in text
    assert type(fault).__name__ in text
    assert PLANTED not in text + done.err + done.out  # messages of libraries may quote cells
    assert not Path("books/ledger").exists()


def test_our_own_fault_leaves_an_existing_ledger_as_it_was(
    settlement: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_step(*_: Any) -> None:
        raise RuntimeError

    write_batch(Path("batch"))
    run(settlement)
    before = {path: path.read_bytes() for path in Path("ledger").rglob("*") if path.is_file()}
    monkeypatch.setattr(runs, "post", broken_step)
    assert run(settlement, "--reading", "attribution=pro_rata").code == 3
    after = {path: path.read_bytes() for path in Path("ledger").rglob("*") if path.is_file()}
    assert {path.name for path in after.keys() ^ before.keys()} <= {".lock"}
    assert all(after[path] == content for path, content in before.items() if path.name != ".lock")


# ---------------------------------------------------------------- the package


def test_importing_settlement_is_quick_for_it_loads_neither_polars_nor_pandera() -> None:
    program = "import settlement, sys; print(sorted({'polars', 'pandera', 'duckdb'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_help_loads_neither_polars_nor_pandera() -> None:
    program = (
        "import sys, settlement.cli as cli\n"
        "sys.argv = ['settlement', 'run', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'polars', 'pandera', 'duckdb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_shipped_policies_are_found_by_their_id() -> None:
    assert {"tianjin", "dongguan"} <= set(policy.known_policies())
    assert load_policy("tianjin").id == "tianjin"


def test_an_installed_settlement_finds_the_shipped_thresholds(tmp_path: Path) -> None:
    """Laid out as the wheel is (pyproject: force-include), away from the checkout."""
    site = tmp_path / "site"
    shutil.copytree(
        ROOT / "src" / "settlement", site / "settlement", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(ROOT / "thresholds", site / "settlement" / "thresholds")
    command = [sys.executable, "-m", "settlement.cli", "thresholds", "show", "--policy", "tianjin"]
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert "14141.55" in done.stdout
    where = [sys.executable, "-c", "import settlement; print(settlement.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(site / "settlement" / "__init__.py")


def test_thresholds_show_prints_the_rows_with_their_clauses(settlement: Program) -> None:
    done = settlement("thresholds", "show", "--policy", "tianjin", "--month", "2026-03")
    assert done.code == 0
    for words in ("tianjin", "draft", "binhai", "14141.55", "40874.33", "三（三）"):
        assert words in done.out


def test_check_takes_the_options_of_run(settlement: Program, tmp_path: Path) -> None:
    """commands: what a run would refuse, such as a year the calendar does not know, shows before it."""
    made = settlement(
        "generate", "--month", "2026-03", "--lines", "400", "--institutions", "20", "--out", tmp_path / "b"
    )
    assert made.code == 0
    checked = ("check", tmp_path / "b", "--month", "2026-03", "--engine", "local", "--submitted-on")
    assert settlement(*checked, "2026-04-03").code in (0, 1)
    assert_refused(settlement(*checked, "2031-04-03"), "2031", "--no-due-date")
    assert settlement(*checked, "2031-04-03", "--no-due-date").code in (0, 1)
