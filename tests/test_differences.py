"""`diff RUN RUN`: what changed, per institution and point class, by cause; the parts add up (rules 11, commands)."""

# ruff: noqa: F811 - a fixture is asked for by the name under which it is imported

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from settlement import load_policy
from settlement.differences import Difference, difference
from settlement.errors import Refusal
from test_batch import INSTITUTION, LINE, csv_text
from test_cli import JSON_KEYS, Program, settlement  # noqa: F401
from test_restatement import ENDED, HOSPITAL, NAMES, VALUE_2, Books, books, lines_of  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


def diff(books: Books, earlier: str, later: str, folders: Mapping[str, Path] | None = None) -> Difference:
    return difference(books.ledger, earlier, later, folders or {}, lambda _: None)


def rows(found: Difference) -> list[tuple[str, ...]]:
    """(institution, cause, points, yuan) in the order shown."""
    columns = ("institution_id", "cause", "payable_points", "payable_amount")
    return [(NAMES[one], *map(str, rest)) for one, *rest in found.rows.select(columns).rows()]


def total(found: Difference) -> Decimal:
    return Decimal(found.rows["payable_amount"].sum() or 0)


def test_lines_removed_changed_and_added_are_told_apart(books: Books) -> None:
    """Claim 0 stays, 1 changes from 20 to 25, 2 goes (clinic), 3 comes."""
    books.run("2026-03", hospital="100 20", clinic="10 5")
    books.run("2026-03", hospital="100 25 7", clinic="10")
    found = diff(books, "2026-03.1", "2026-03.2")
    assert rows(found) == [
        ("hospital", "lines_changed", "5.0000", "5.00"),
        ("hospital", "lines_added", "7.0000", "7.00"),
        ("clinic", "lines_removed", "-5.0000", "-5.00"),
    ]
    assert found.notes == ()


def test_what_a_line_weighs_depends_on_the_lines_before_it(books: Books) -> None:
    """The threshold of urban service is 25789.12: what is added beyond it changes nothing."""
    books.run("2026-03", hospital="20000 10000")  # 4210.88 beyond
    books.run("2026-03", hospital="20000 11000 500")
    assert rows(diff(books, "2026-03.1", "2026-03.2")) == []  # full before, full after
    books.run("2026-03", hospital="20000")
    assert rows(diff(books, "2026-03.2", "2026-03.3")) == [
        ("hospital", "lines_removed", "-5789.1200", "-5789.12")
    ]


def test_every_cause_is_told_in_the_fixed_order_and_adds_up(books: Books) -> None:
    policy = load_policy("tianjin").with_readings({"attribution": "pro_rata"})
    books.run("2026-03", hospital="100 20", clinic="10")
    books.run("2026-03", policy, hospital="100 30 1", clinic="10", events=ENDED, point_values=VALUE_2)
    found = diff(books, "2026-03.1", "2026-03.2")
    assert rows(found) == [
        ("hospital", "lines_changed", "10.0000", "10.00"),
        ("hospital", "lines_added", "1.0000", "1.00"),
        ("hospital", "agreements_and_events", "-131.0000", "-131.00"),
        ("clinic", "money_tables", "0.0000", "10.00"),
    ]
    before, after = (books.ledger.recorded(run)["settlements"] for run in ("2026-03.1", "2026-03.2"))
    assert total(found) == after["payable_amount"].sum() - before["payable_amount"].sum()


def test_the_other_way_round_is_the_negative_whole(books: Books) -> None:
    books.run("2026-03", hospital="100 20")
    books.run("2026-03", hospital="100", point_values=VALUE_2)
    forth, back = diff(books, "2026-03.1", "2026-03.2"), diff(books, "2026-03.2", "2026-03.1")
    assert total(forth) == -total(back) == 80
    assert [cause for _, cause, *_ in rows(back)] == ["lines_added", "money_tables"]


def test_points_only_have_no_amounts(books: Books) -> None:
    books.run("2026-03", hospital="100", point_values=None)
    books.run("2026-03", hospital="130", point_values=None)
    assert rows(diff(books, "2026-03.1", "2026-03.2")) == [("hospital", "lines_changed", "30.0000", "None")]


def test_a_line_that_was_rejected_and_now_counts_is_an_added_one(books: Books) -> None:
    first = lines_of("2026-03", {"hospital": "100 20"})
    books.run("2026-03", hospital="1", claims=[first[0], first[1] | {"points": "2O"}])
    books.run("2026-03", hospital="1", claims=first)
    assert rows(diff(books, "2026-03.1", "2026-03.2")) == [("hospital", "lines_added", "20.0000", "20.00")]


def test_without_the_earlier_lines_lines_are_one_cause(books: Books) -> None:
    books.run("2026-03", hospital="100 20", clinic="10")
    books.run("2026-03", hospital="100 25 7", clinic="10", point_values=VALUE_2)
    shutil.rmtree(books.folder / "batch1")
    assert rows(diff(books, "2026-03.1", "2026-03.2")) == [
        ("hospital", "lines", "12.0000", "12.00"),
        ("hospital", "money_tables", "0.0000", "132.00"),
        ("clinic", "money_tables", "0.0000", "10.00"),
    ]


def test_one_cause_alone_needs_no_lines(books: Books) -> None:
    books.run("2026-03", hospital="100")
    books.run("2026-03", hospital="100", point_values=VALUE_2)
    books.run("2026-03", hospital="90", point_values=VALUE_2)
    for folder in books.folder.glob("batch*"):
        shutil.rmtree(folder)
    assert rows(diff(books, "2026-03.1", "2026-03.2")) == [("hospital", "money_tables", "0.0000", "100.00")]
    assert rows(diff(books, "2026-03.2", "2026-03.3")) == [("hospital", "lines", "-10.0000", "-20.00")]


def test_two_runs_of_one_earlier_engine_differ_by_their_inputs(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("settlement.runs.__version__", "0.0.9")
        books.run("2026-03", hospital="100")
        books.run("2026-03", hospital="100", point_values=VALUE_2)
        books.run("2026-03", hospital="90 5")
    expected = [
        ("hospital", "lines_changed", "-10.0000", "-20.00"),
        ("hospital", "lines_added", "5.0000", "10.00"),
        ("hospital", "money_tables", "0.0000", "-95.00"),
    ]
    assert rows(diff(books, "2026-03.2", "2026-03.3")) == expected
    shutil.rmtree(books.folder / "batch2")
    assert rows(diff(books, "2026-03.1", "2026-03.2")) == [("hospital", "money_tables", "0.0000", "100.00")]


def test_lines_that_are_needed_and_gone_are_refused_with_folder_and_option(books: Books) -> None:
    books.run("2026-03", hospital="100")
    books.run("2026-03", hospital="90", point_values=VALUE_2)
    kept = shutil.copytree(books.folder / "batch2", books.folder / "kept")
    claims = books.folder / "batch2" / "claims.csv"
    claims.write_text(claims.read_text("utf-8") + "\n", "utf-8")
    with pytest.raises(Refusal) as refused:
        diff(books, "2026-03.1", "2026-03.2")
    for word in (str(books.folder / "batch2"), "claims.csv", "--batch RUN=PATH"):
        assert word in str(refused.value)
    found = diff(books, "2026-03.1", "2026-03.2", {"2026-03.2": kept})
    assert total(found) == 80


def test_a_given_folder_with_other_lines_is_refused(books: Books) -> None:
    books.run("2026-03", hospital="100")
    books.run("2026-03", hospital="90")
    for folder in (books.folder / "batch2", books.folder / "nowhere"):
        with pytest.raises(Refusal, match=r"claims\.csv"):
            diff(books, "2026-03.1", "2026-03.2", {"2026-03.1": folder})
    with pytest.raises(Refusal, match="--batch"):
        diff(books, "2026-03.1", "2026-03.2", {"2026-03.9": books.folder})


def test_a_file_of_lines_that_came_later_counts(books: Books) -> None:
    """A settlements file beside the claims would be read: the lines are no longer those of the run."""
    books.run("2026-03", hospital="100")
    books.run("2026-03", hospital="90", point_values=VALUE_2)
    (books.folder / "batch2" / "settlements.csv").write_text("claim_id\nx\n", "utf-8")
    with pytest.raises(Refusal, match=r"settlements\.csv"):
        diff(books, "2026-03.1", "2026-03.2")


def test_runs_of_different_months_or_unknown_ones_are_refused(books: Books) -> None:
    books.run("2026-03", hospital="100")
    books.run("2026-04", hospital="90")
    with pytest.raises(Refusal, match="different months"):
        diff(books, "2026-03.1", "2026-04.1")
    with pytest.raises(Refusal, match=r"no run 2026-03\.2"):
        diff(books, "2026-03.1", "2026-03.2")


def test_a_run_does_not_differ_from_itself(books: Books) -> None:
    books.run("2026-03", hospital="100")
    assert diff(books, "2026-03.1", "2026-03.1").rows.is_empty()


# ---------------------------------------------------------------- from the command line


def test_diff_exits_with_1_for_differences_and_0_without(settlement: Program) -> None:
    books = Books(Path())
    books.run("2026-03", hospital="100", clinic="10")
    books.run("2026-03", hospital="130", clinic="10")
    done = settlement("diff", "2026-03.1", "2026-03.2", "--ledger", "ledger")
    assert (done.code, done.err) == (1, "")
    assert "lines_changed" in done.out
    assert settlement("diff", "2026-03.1", "2026-03.1", "--ledger", "ledger").code == 0
    found = json.loads(settlement("diff", "2026-03.1", "2026-03.2", "--ledger", "ledger", "--json").out)
    assert found == {
        "earlier": "2026-03.1",
        "later": "2026-03.2",
        "differences": [
            {"institution_id": HOSPITAL, "point_class": "service", "cause": "lines_changed",
             "payable_points": "30.0000", "payable_amount": "30.00"}
        ],
        "notes": [],
    }  # fmt: skip
    done = settlement("diff", "2026-03.1", "2026-03.2", "--ledger", "ledger", "--batch", "batch1")
    assert done.code == 2
    assert "RUN=PATH" in done.err


def test_close_and_restate_from_the_command_line(settlement: Program) -> None:
    books = Books(Path())
    books.run("2026-03", hospital="100")
    books.order("2026-03", hospital="100 40")
    assert (
        settlement("close", "2026-03", "--ledger", "ledger").out
        == "month 2026-03 closed: run 2026-03.1 stands\n"
    )
    assert settlement("close", "2026-03", "--ledger", "ledger").code == 2
    words = ("restate", "batch2", "--month", "2026-03", "--ledger", "ledger")
    assert settlement(*words).code == 2  # a reason is required
    assert settlement(*words, "--reason", " ").code == 2
    done = settlement(*words, "--reason", "late lines")
    assert done.code == 0
    assert "restating 2026-03.1" in done.out
    assert "38.00" in done.out
    again = settlement(*words, "--reason", "late lines")
    assert (again.code, "unchanged" in again.out) == (0, True)
    assert "restated" in settlement("runs", "--ledger", "ledger").out


def test_the_json_of_a_restatement_is_that_of_a_run_with_its_adjustments(settlement: Program) -> None:
    books = Books(Path())
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    books.order("2026-03", hospital="100 40")
    words = ("restate", "batch2", "--month", "2026-03", "--ledger", "ledger", "--reason", "x", "--json")
    found = json.loads(settlement(*words).out)
    assert list(found) == [*JSON_KEYS, "replaces", "adjustments", "notes"]
    assert found["adjustments"] == [
        {"institution_id": HOSPITAL, "cause": "lines", "points_delta": "40.0000", "amount_delta": "38.00"}
    ]
    assert list(json.loads(settlement(*words).out)) == JSON_KEYS  # unchanged: nothing to tell


Spoil = Callable[[Path], Any]


def replayed(settlement: Program, run_id: str, batch: str, *more: str) -> Any:
    return settlement("run", "--replay", run_id, batch, "--ledger", "ledger", *more)


def test_a_replay_gives_the_same_results_and_writes_nothing(settlement: Program) -> None:
    books = Books(Path())
    books.run(
        "2026-03", load_policy("tianjin").with_readings({"attribution": "pro_rata"}), hospital="30000 -5"
    )
    books.close("2026-03")
    books.restate("2026-03", hospital="100", events=ENDED)
    books.run("2026-04", hospital="10", clinic="5")
    shutil.copytree("batch3", "elsewhere")
    everything = {path: path.read_bytes() for path in Path("ledger").rglob("*") if path.is_file()}
    for run_id, batch in (("2026-03.1", "batch1"), ("2026-03.2", "batch2"), ("2026-04.1", "elsewhere")):
        done = replayed(settlement, run_id, batch)
        assert (done.code, done.err) == (0, "")
        assert "the same results" in done.out
    assert replayed(settlement, "2026-04.1", "elsewhere", "--month", "2026-04").code == 0
    assert json.loads(replayed(settlement, "2026-03.2", "batch2", "--json").out)["same"] is True
    assert {path: path.read_bytes() for path in Path("ledger").rglob("*") if path.is_file()} == everything


def test_a_replay_is_of_the_ledger_as_it_stood_then(settlement: Program) -> None:
    """April was run before March was restated: it took nothing then, and takes nothing when it is replayed."""
    books = Books(Path())
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    books.run("2026-04", hospital="10")
    books.restate("2026-03", hospital="140")
    assert replayed(settlement, "2026-04.1", "batch2").code == 0


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda batch: (batch / "claims.csv").write_text(csv_text([LINE]), "utf-8"), "claims.csv"),
        (lambda batch: (batch / "events.csv").write_text(csv_text(ENDED), "utf-8"), "events.csv"),
        (lambda batch: (batch / "point_values.csv").unlink(), "point_values.csv"),
        (lambda batch: (batch / "institutions.csv").write_text(csv_text([INSTITUTION]), "utf-8"), "institutions.csv"),
    ],
)  # fmt: skip
def test_a_replay_from_other_files_is_refused_and_names_them(
    settlement: Program,
    spoil: Spoil,
    named: str,
) -> None:
    books = Books(Path())
    books.run("2026-03", hospital="100")
    spoil(Path("batch1"))
    done = replayed(settlement, "2026-03.1", "batch1")
    assert done.code == 2
    assert named in done.err
    assert done.err.count(".csv") == 1


def test_a_replay_with_other_results_exits_with_1_and_says_where(
    settlement: Program,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    books = Books(Path())
    books.run("2026-03", hospital="30000")
    monkeypatch.setattr("settlement.rules.statements.deposit", lambda gross, rate: pl.lit(0, dtype=pl.Int64))
    done = replayed(settlement, "2026-03.1", "batch1")
    assert done.code == 1
    assert "other results, in statements\n" in done.out
    assert done.out.count("recorded: ") == done.out.count("now: ") == 1


@pytest.mark.parametrize(
    "option",
    [
        ["--reading", "attribution=pro_rata"],
        ["--month", "2026-04"],
        ["--policy", "tianjin"],
        ["--no-due-date"],
    ],
    ids=" ".join,
)
def test_a_replay_takes_no_options_of_its_own(settlement: Program, option: list[str]) -> None:
    books = Books(Path())
    books.run("2026-03", hospital="100")
    done = replayed(settlement, "2026-03.1", "batch1", *option)
    assert done.code == 2
    assert option[0] in done.err


def test_a_replay_where_no_ledger_or_run_is_makes_nothing(settlement: Program) -> None:
    assert replayed(settlement, "2026-03.1", "batch1").code == 2
    assert not Path("ledger").exists()
    Books(Path()).run("2026-03", hospital="100")
    done = replayed(settlement, "2026-03.7", "batch1")
    assert (done.code, "no run 2026-03.7" in done.err) == (2, True)
