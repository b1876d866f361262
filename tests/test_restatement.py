"""Closing and restating: a closed month never changes, and what it should have come to is paid or recovered once.

Source: rules 8.2, 11. Point values are 1.00 yuan, so that money reads like points; the deposit is 5 %.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

import settlement
from settlement import load_policy, restatement, runs
from settlement.batch import month_of
from settlement.errors import Fault, Refusal
from settlement.ledger import Ledger, export, paid_runs, publish, query, verify
from settlement.policy import Policy
from settlement.replay import replay
from settlement.restatement import restate
from settlement.runs import Order, Report, run
from test_batch import AGREEMENT, HOSPITAL, INSTITUTION, LINE, csv_text
from test_ledger import content_of

CLINIC, NEW = "H12010100007", "H12010100009"
NAMES = {HOSPITAL: "hospital", CLINIC: "clinic", NEW: "new"}
CODES = {name: code for code, name in NAMES.items()}
Rows = list[dict[str, str]]

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


# ---------------------------------------------------------------- months of few words


def lines_of(month: str, points: Mapping[str, str]) -> Rows:
    """{"hospital": "60 40"}: one line per number, in a claim of its own."""
    return [
        {
            **LINE,
            "claim_id": f"{name}-{number}",
            "institution_id": CODES[name],
            "serviced_at": f"{month}-05",
            "settled_at": f"{month}-05",
            "points": one,
            "reverses_line_id": "1" if one.startswith("-") else "",
        }
        for name, all_points in points.items()
        for number, one in enumerate(all_points.split())
    ]


def small_tables(month: str, institutions: tuple[str, ...] = (HOSPITAL, CLINIC)) -> dict[str, Rows]:
    return {
        "institutions": [{**INSTITUTION, "institution_id": one} for one in institutions],
        "agreements": [
            {**AGREEMENT, "agreement_id": one, "institution_id": one, "start_date": "2026-01-01",
             "end_date": "2026-12-31"}
            for one in institutions
        ],
        "point_values": [{"month": month, "zone": "*", "point_class": "service", "point_value": "1"}],
    }  # fmt: skip


@dataclass
class Books:
    """A ledger and the batches settled into it."""

    folder: Path
    batches: int = 0

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder / "ledger")

    def order(self, month: str, policy: Policy | None = None, **points_and_tables: Any) -> Order:
        """Institutions by name with their points, small tables as rows (None: no such file)."""
        self.batches += 1
        batch = self.folder / f"batch{self.batches}"
        batch.mkdir(parents=True)
        points = {name: text for name, text in points_and_tables.items() if name in CODES}
        tables = small_tables(month) | {
            name: rows for name, rows in points_and_tables.items() if name not in CODES
        }
        for name, rows in {"claims": lines_of(month, points), **tables}.items():
            if rows is not None:
                (batch / f"{name}.csv").write_text(csv_text(rows), "utf-8")
        return Order(batch, month, policy or load_policy("tianjin"))

    def run(self, month: str, policy: Policy | None = None, **given: Any) -> Report:
        return run(self.order(month, policy, **given), self.folder / "ledger", lambda _: None)

    def restate(
        self, month: str, policy: Policy | None = None, *, reason: str = "late lines", **given: Any
    ) -> Report:
        return restate(self.order(month, policy, **given), self.folder / "ledger", reason, lambda _: None)

    def close(self, month: str) -> None:
        restatement.close(self.ledger, month_of(month))

    def statement(self, run_id: str, name: str = "hospital") -> dict[str, str]:
        """The statement of an institution in a run, figures that are not zero as texts."""
        rows = self.ledger.scan(run_id, "statements").filter(institution_id=CODES[name]).collect()
        (row,) = rows.drop("run_id", "month", "institution_id", "payment_due").to_dicts()
        return {name: str(value) for name, value in row.items() if value}

    def adjustments(self, run_id: str) -> list[tuple[str, ...]]:
        """(institution, cause, points, yuan) of a restating run, sorted."""
        rows = self.ledger.scan(run_id, "adjustments").collect()
        columns = ("institution_id", "cause", "points_delta", "amount_delta")
        return sorted((NAMES[one], *map(str, rest)) for one, *rest in rows.select(columns).rows())


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


def with_values(policy: Policy, **values: Any) -> Policy:
    """The Tianjin policy with other money rules, as another file would give it."""
    text = policy.content.decode()
    for old, new in values["texts"]:
        assert old in text
        text = text.replace(old, new)
    path = values["folder"] / "changed.toml"
    path.write_text(text, "utf-8")
    return load_policy(path)


# ---------------------------------------------------------------- closing


def test_closing_makes_the_newest_run_stand_and_says_so_in_the_file_for_analysts(books: Books) -> None:
    books.run("2026-03", hospital="100")
    books.run("2026-03", hospital="120")
    books.close("2026-03")
    rows = query(books.ledger, "select run_id, status from runs order by run_id").rows()
    assert rows == [("2026-03.1", "superseded"), ("2026-03.2", "closed")]
    assert [act.act for act in books.ledger.acts()] == ["posted", "posted", "closed"]
    assert books.ledger.acts()[-1].run_id == "2026-03.2"


def test_a_month_without_a_run_or_closed_already_is_not_closed(books: Books) -> None:
    books.run("2026-03", hospital="100")
    with pytest.raises(Refusal, match="no run of month 2026-04"):
        books.close("2026-04")
    books.close("2026-03")
    with pytest.raises(Refusal, match="closed already"):
        books.close("2026-03")
    assert len(books.ledger.acts()) == 2


def test_a_run_that_settled_no_line_is_not_closed(books: Books) -> None:
    """Most likely a batch of another month, run over the good one: closed, it would pay nobody for good."""
    books.run("2026-03", hospital="100")
    good = books.folder / "ledger"
    of_april = books.order("2026-04", hospital="100")
    run(replace(of_april, month="2026-03"), good, lambda _: None)
    with pytest.raises(Refusal, match=r"2026-03\.2 settled no line: all 1 are rejected"):
        books.close("2026-03")
    books.run("2026-03", hospital="100")
    books.close("2026-03")


def test_a_closed_month_is_not_run_again_and_an_open_one_is_not_restated(books: Books) -> None:
    books.run("2026-03", hospital="100")
    with pytest.raises(Refusal, match="not closed"):
        books.restate("2026-03", hospital="140")
    with pytest.raises(Refusal, match="not closed"):
        books.restate("2026-04", hospital="140")
    books.close("2026-03")
    with pytest.raises(Refusal, match="settlement restate"):
        books.run("2026-03", hospital="140")
    assert len(books.ledger.acts()) == 2


@pytest.mark.parametrize("reason", ["", "  ", "\t\n"])
def test_a_restatement_needs_a_reason(books: Books, reason: str) -> None:
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    with pytest.raises(Refusal, match="--reason"):
        books.restate("2026-03", reason=reason, hospital="140")


def test_a_restatement_where_no_ledger_is_makes_none(books: Books) -> None:
    with pytest.raises(Refusal, match="no ledger there"):
        books.restate("2026-03", hospital="140")
    assert not (books.folder / "ledger").exists()


# ---------------------------------------------------------------- restating


def test_a_late_line_is_paid_by_the_next_open_month_with_its_deposit_withheld(books: Books) -> None:
    books.run("2026-03", hospital="100", clinic="10")
    books.close("2026-03")
    before = {path: path.read_bytes() for path in books.ledger.runs.rglob("*") if path.is_file()}
    books.restate("2026-03", reason=" late lines ", hospital="100 40", clinic="10")

    assert books.adjustments("2026-03.2") == [("hospital", "lines", "40.0000", "38.00")]
    act = books.ledger.acts()[-1]
    assert (act.act, act.run_id, act.reason) == ("restated", "2026-03.2", "late lines")
    assert books.ledger.statuses == {"2026-03.1": "restated", "2026-03.2": "closed"}
    assert {path: path.read_bytes() for path in before} == before  # what was closed has not changed
    # its own statement says what the month should have come to
    assert books.statement("2026-03.2") == {
        "payable_amount": "140.00", "deposit_withheld": "7.00", "net_payable": "133.00",
    }  # fmt: skip

    books.run("2026-04", hospital="10", clinic="20")
    assert books.statement("2026-04.1") == {
        "payable_amount": "10.00", "deposit_withheld": "0.50", "adjustment": "38.00", "net_payable": "47.50",
    }  # fmt: skip
    assert "adjustment" not in books.statement("2026-04.1", "clinic")


def test_a_restatement_with_fewer_lines_warns_that_what_is_missing_is_recovered(books: Books) -> None:
    books.run("2026-03", hospital="100 50")
    books.close("2026-03")
    fewer = books.restate("2026-03", hospital="40")
    assert fewer.lacks_lines
    assert "has 1 line(s), run 2026-03.1 had 2" in fewer.notes[0]
    assert not books.restate(
        "2026-03", hospital="100 50"
    ).lacks_lines  # as many as the run it restates, or more


def test_a_difference_to_recover_is_carried_forward_until_it_is_recovered(books: Books) -> None:
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    books.restate("2026-03", hospital="20")
    books.run("2026-04", hospital="40")  # 40 - 2 - 76
    assert books.statement("2026-04.1")["carried_forward"] == "-38.00"
    books.close("2026-04")
    books.run("2026-05", hospital="100")  # 100 - 5 - 38
    assert books.statement("2026-05.1")["net_payable"] == "57.00"


def test_an_institution_without_lines_gets_a_statement_for_its_adjustment(books: Books) -> None:
    books.run("2026-03", hospital="100", clinic="10")
    books.close("2026-03")
    books.restate("2026-03", hospital="100", clinic="10 10")
    books.run("2026-04", hospital="1")
    assert books.statement("2026-04.1", "clinic") == {"adjustment": "9.50", "net_payable": "9.50"}


def test_balances_come_from_the_statement_that_was_paid_not_from_the_one_that_should_have_been(
    books: Books,
) -> None:
    fine = [{"institution_id": HOSPITAL, "month": "2026-03", "kind": "penalty", "amount": "100"}]
    books.run("2026-03", hospital="20", deductions=fine)  # 20 - 1 - 100 = -81
    books.close("2026-03")
    books.restate("2026-03", hospital="20 40", deductions=fine)  # 60 - 3 - 100 = -43: 38 more
    books.run("2026-04", hospital="100")  # 95 - 81 + 38
    found = books.statement("2026-04.1")
    assert (found["brought_forward"], found["adjustment"], found["net_payable"]) == (
        "-81.00",
        "38.00",
        "52.00",
    )


def test_a_restatement_takes_the_balances_and_adjustments_of_the_run_it_replaces(books: Books) -> None:
    books.run("2026-02", hospital="10")
    books.close("2026-02")
    books.restate("2026-02", hospital="30")  # + 19
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    books.restate("2026-02", hospital="50")  # + 19 again, for April
    books.restate("2026-03", hospital="200")
    assert books.statement("2026-03.2")["adjustment"] == "19.00"
    books.run("2026-04", hospital="100")
    assert books.statement("2026-04.1")["adjustment"] == "114.00"  # 19 of February, 95 of March
    assert books.adjustments("2026-02.3") == [
        ("hospital", "lines", "20.0000", "19.00")
    ]  # against the first one


def test_the_same_inputs_post_nothing_also_after_a_restatement(books: Books) -> None:
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    assert books.restate("2026-03", hospital="100").is_unchanged
    assert books.ledger.statuses == {"2026-03.1": "closed"}
    assert not books.restate("2026-03", hospital="140").is_unchanged
    journal = books.ledger.journal.read_bytes()
    report = books.restate("2026-03", hospital="140")
    assert (report.is_unchanged, report.run_id) == (True, "2026-03.2")
    assert report.results_sha256 == books.ledger.acts()[-1].results_sha256  # of the run it names
    assert books.ledger.journal.read_bytes() == journal


def test_back_to_the_first_inputs_is_a_restatement_of_its_own(books: Books) -> None:
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    books.restate("2026-03", hospital="140")
    books.restate("2026-03", hospital="100", reason="the late line was an error")
    assert books.adjustments("2026-03.3") == [("hospital", "lines", "-40.0000", "-38.00")]
    books.run("2026-04", hospital="10")
    assert "adjustment" not in books.statement("2026-04.1")  # both together: nothing


def test_points_alone_are_told_and_never_paid(books: Books) -> None:
    books.run("2026-03", hospital="100", point_values=None)
    books.close("2026-03")
    books.restate("2026-03", hospital="140", point_values=None)
    assert books.adjustments("2026-03.2") == [("hospital", "lines", "40.0000", "None")]
    books.run("2026-04", hospital="10")
    assert "adjustment" not in books.statement("2026-04.1")
    assert query(books.ledger, "select applied_in_run from adjustments").rows() == [(None,)]


def test_a_month_closed_without_money_has_paid_nothing_yet(books: Books) -> None:
    books.run("2026-03", hospital="100", point_values=None)
    books.close("2026-03")
    books.restate("2026-03", hospital="100", reason="point values forgotten")
    assert books.adjustments("2026-03.2") == [("hospital", "money_tables", "0.0000", "95.00")]


def test_a_restatement_that_forgets_the_money_tables_is_refused(books: Books) -> None:
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    with pytest.raises(Refusal, match="neither point_values nor budgets"):
        books.restate("2026-03", hospital="100", point_values=None)
    assert len(books.ledger.acts()) == 2


def test_a_run_whose_statements_do_not_hold_the_recorded_differences_is_not_posted(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    books.restate("2026-03", hospital="140")
    one_fen = pl.DataFrame({"settling_id": [HOSPITAL], "adjustment": [3801]})
    monkeypatch.setattr("settlement.carried.Standing.adjustments", one_fen)
    with pytest.raises(Fault, match="adjustment of each statement = Σ recorded differences: 1 differ"):
        books.run("2026-04", hospital="10")
    assert len(books.ledger.acts()) == 3


# ---------------------------------------------------------------- the file for analysts


def applied(books: Books) -> list[tuple[Any, ...]]:
    asked = "select run_id, cause, amount_delta, applied_in_run from adjustments order by all"
    return query(books.ledger, asked).rows()


def test_the_file_names_the_run_that_takes_an_adjustment_and_the_record_never_does(books: Books) -> None:
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    books.restate("2026-03", hospital="140")
    results = books.ledger.acts()[-1].results_sha256
    assert applied(books) == [("2026-03.2", "lines", Decimal("38.00"), None)]
    books.run("2026-04", hospital="1")
    assert applied(books) == [("2026-03.2", "lines", Decimal("38.00"), "2026-04.1")]
    books.run("2026-04", hospital="2")
    assert applied(books) == [("2026-03.2", "lines", Decimal("38.00"), "2026-04.2")]
    recorded = books.ledger.scan("2026-03.2", "adjustments").collect()
    assert recorded["applied_in_run"].to_list() == [None]
    assert books.ledger.act_of("2026-03.2").results_sha256 == results

    carried_on = content_of(books.ledger)
    publish(books.ledger, anew=True)
    assert content_of(books.ledger) == carried_on


def test_the_export_holds_every_adjustment_also_of_a_restatement_that_was_restated(
    books: Books, tmp_path: Path
) -> None:
    """11: both differences of March are paid by April, so a reader without one cannot add April up."""
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    books.restate("2026-03", hospital="140")
    books.restate("2026-03", hospital="130")
    books.run("2026-04", hospital="10")
    export(books.ledger, tmp_path / "out")
    read = {name: pl.read_parquet(tmp_path / "out" / name) for name in ("adjustments", "statements", "runs")}
    rows = read["adjustments"].select("run_id", "amount_delta", "applied_in_run", pl.col("month").cast(str))
    assert sorted(rows.rows()) == [
        ("2026-03.2", Decimal("38.00"), "2026-04.1", "2026-03-01"),
        ("2026-03.3", Decimal("-9.50"), "2026-04.1", "2026-03-01"),
    ]
    assert read["statements"].filter(run_id="2026-04.1")["adjustment"].to_list() == [Decimal("28.50")]
    assert sorted(read["runs"]["run_id"]) == ["2026-03.3", "2026-04.1"]


def test_paid_statements_are_those_of_the_run_that_restates_nothing(books: Books) -> None:
    """11: a month run twice, closed and restated twice is paid by its second run; an open one by its newest."""
    books.run("2026-03", hospital="100")
    books.run("2026-03", hospital="110")
    books.close("2026-03")
    books.restate("2026-03", hospital="140")
    books.restate("2026-03", hospital="130")
    books.run("2026-04", hospital="10")
    books.close("2026-04")
    for points in range(1, 11):
        books.run("2026-05", hospital=f"{points}")
    asked = "select run_id, payable_amount from {} order by all"
    paid, current = (
        query(books.ledger, asked.format(f"{which}_statements")).rows() for which in ("paid", "current")
    )
    assert paid == [("2026-03.2", 110), ("2026-04.1", 10), ("2026-05.10", 10)]
    assert current == [("2026-03.4", 130), ("2026-04.1", 10), ("2026-05.10", 10)]
    runs = paid_runs(books.ledger.acts())
    assert sorted(runs.values()) == [run_id for run_id, _ in paid]


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        ("update adjustments set applied_in_run = null", "1 row(s) changed in applied_in_run"),
        ("update adjustments set amount_delta = 83", "1 row(s) changed in amount_delta"),
        ("delete from adjustments", "0 row(s) changed, 0 too many, 1 missing"),
    ],
)
def test_an_edited_adjustment_is_found_in_the_file_and_mended(books: Books, edit: str, found: str) -> None:
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    books.restate("2026-03", hospital="140")
    books.run("2026-04", hospital="100")
    with duckdb.connect(str(books.ledger.database)) as analyst:
        analyst.execute(edit)
    (difference,) = verify(books.ledger).differences
    assert f"table adjustments, run 2026-03.2: {found}" in str(difference)
    publish(books.ledger, anew=True)
    assert verify(books.ledger).differences == []


def test_a_month_that_paid_an_adjustment_and_is_restated_later_has_paid_it_by_its_first_run(
    books: Books,
) -> None:
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    books.restate("2026-03", hospital="140")
    books.run("2026-04", hospital="100")
    books.close("2026-04")
    books.restate("2026-04", hospital="200")
    assert applied(books) == [
        ("2026-03.2", "lines", Decimal("38.00"), "2026-04.1"),
        ("2026-04.2", "lines", Decimal("95.00"), None),
    ]
    assert verify(books.ledger).differences == []


# ---------------------------------------------------------------- causes

ENDED = [{"event_id": "E1", "institution_id": HOSPITAL, "occurred_on": "2026-03-02", "kind": "terminated",
          "target_id": ""}]  # fmt: skip
VALUE_2 = [{"month": "2026-03", "zone": "*", "point_class": "service", "point_value": "2"}]
FINE = [{"institution_id": HOSPITAL, "month": "2026-03", "kind": "penalty", "amount": "7"}]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"hospital": "100 40"}, [("hospital", "lines", "40.0000", "38.00")]),
        ({"hospital": "60"}, [("hospital", "lines", "-40.0000", "-38.00")]),
        ({"events": ENDED}, [("hospital", "agreements_and_events", "-100.0000", "-95.00")]),
        ({"point_values": VALUE_2}, [("clinic", "money_tables", "0.0000", "9.50"),
                                     ("hospital", "money_tables", "0.0000", "95.00")]),
        ({"deductions": FINE}, [("hospital", "money_tables", "0.0000", "-7.00")]),
        # two kinds of input: the lines first, at the old value; then the value, for all lines
        ({"hospital": "100 40", "point_values": VALUE_2},
         [("clinic", "money_tables", "0.0000", "9.50"),
          ("hospital", "lines", "40.0000", "38.00"),
          ("hospital", "money_tables", "0.0000", "133.00")]),
        # the added line is paid first, then the termination takes everything
        ({"hospital": "100 40", "events": ENDED},
         [("hospital", "agreements_and_events", "-140.0000", "-133.00"),
          ("hospital", "lines", "40.0000", "38.00")]),
        ({"events": ENDED, "point_values": VALUE_2},
         [("clinic", "money_tables", "0.0000", "9.50"),
          ("hospital", "agreements_and_events", "-100.0000", "-95.00")]),
    ],
    ids=str,
)  # fmt: skip
def test_each_cause_has_its_part_and_the_parts_add_up(
    books: Books, given: dict[str, Any], expected: list[tuple[str, ...]]
) -> None:
    books.run("2026-03", hospital="100", clinic="10")
    books.close("2026-03")
    books.restate("2026-03", **({"hospital": "100", "clinic": "10"} | given))
    assert books.adjustments("2026-03.2") == expected


def test_a_policy_and_a_reading_are_the_cause_policy(books: Books) -> None:
    policy = load_policy("tianjin")
    without_deposit = with_values(policy, folder=books.folder, texts=[('"0.05"', '"0.00"')])
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    books.restate("2026-03", without_deposit, hospital="100")
    assert books.adjustments("2026-03.2") == [("hospital", "policy", "0.0000", "5.00")]
    by_day = without_deposit.with_readings({"partial_month": "by_day"})
    books.restate("2026-03", by_day, hospital="100 40")
    assert books.adjustments("2026-03.3") == [("hospital", "lines", "40.0000", "40.00")]


def test_lines_of_an_institution_that_the_old_registry_lacks_count_with_the_registry(books: Books) -> None:
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    tables = small_tables("2026-03", (HOSPITAL, CLINIC, NEW))
    books.restate("2026-03", hospital="100", new="30", **tables)
    assert books.adjustments("2026-03.2") == [("new", "agreements_and_events", "30.0000", "28.50")]


def test_a_mixture_that_the_rules_refuse_is_told_with_the_next_cause(books: Books) -> None:
    """A registry with a division that only the new policy places in a zone, at another deposit."""
    policy = load_policy("tianjin")
    texts = [('"120116"]', '"120116", "120199"]'), ('"0.05"', '"0.00"')]
    wider = with_values(policy, folder=books.folder, texts=texts)
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    moved = [{**INSTITUTION, "division_code": "120199"}, {**INSTITUTION, "institution_id": CLINIC}]
    report = books.restate("2026-03", wider, hospital="100 40", institutions=moved)
    assert books.adjustments("2026-03.2") == [
        ("hospital", "lines", "40.0000", "38.00"),
        ("hospital", "policy", "0.0000", "7.00"),
    ]
    (note,) = report.notes
    assert "agreements_and_events" in note
    assert "120199" in note


@pytest.fixture
def faulty_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An engine 0.0.9 that pays half of every point value."""

    def settle_wrongly(batch: Any, *how: Any) -> Any:
        halved = batch.tables["point_values"].with_columns(pl.lit(Decimal("0.5")).alias("point_value"))
        tables = batch.tables | {"point_values": halved.cast(batch.tables["point_values"].schema)}
        return settlement.settle(replace(batch, tables=tables), *how)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "settle", settle_wrongly)
        patch.setattr(runs, "__version__", "0.0.9")
        yield patch


def test_a_corrected_engine_is_a_cause_of_its_own(books: Books, faulty_engine: pytest.MonkeyPatch) -> None:
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    faulty_engine.undo()
    books.restate("2026-03", hospital="100 40")
    assert books.adjustments("2026-03.2") == [
        ("hospital", "engine", "0.0000", "47.50"),
        ("hospital", "lines", "40.0000", "38.00"),
    ]


def test_without_the_old_lines_the_engine_is_told_with_the_lines_and_a_note_says_so(
    books: Books, faulty_engine: pytest.MonkeyPatch
) -> None:
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    faulty_engine.undo()
    shutil.rmtree(books.folder / "batch1")
    report = books.restate("2026-03", hospital="100 40")
    assert books.adjustments("2026-03.2") == [("hospital", "lines", "40.0000", "85.50")]
    assert "0.0.9" in report.notes[0]


def test_the_engine_alone_is_the_cause_where_no_input_differs(
    books: Books, faulty_engine: pytest.MonkeyPatch
) -> None:
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    faulty_engine.undo()
    books.restate("2026-03", hospital="100")
    assert books.adjustments("2026-03.2") == [("hospital", "engine", "0.0000", "47.50")]


def test_parts_that_do_not_add_up_are_our_fault(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    monkeypatch.setattr("settlement.causes._nonzero", lambda rows: rows.head(0) if "cause" in rows else rows)
    with pytest.raises(Fault, match="no cause has"):
        books.restate("2026-03", hospital="140")
    assert len(books.ledger.acts()) == 2


def test_a_run_whose_inputs_were_changed_is_not_restated(books: Books) -> None:
    books.run("2026-03", hospital="100")
    books.close("2026-03")
    path = books.ledger.runs / "2026-03.1" / "inputs" / "events.parquet"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(Refusal, match="changed"):
        books.restate("2026-03", hospital="140")


# ---------------------------------------------------------------- over the year


def total_paid(ledger: Ledger, paid_runs: list[str]) -> dict[str, Decimal]:
    """Institution → Σ net payable of the statements that were paid, and the balance that is left at the end."""
    statements = pl.concat(ledger.scan(run_id, "statements") for run_id in paid_runs).collect().sort("month")
    sums: dict[str, Decimal] = {}
    for (institution,), rows in statements.group_by("institution_id"):
        sums[str(institution)] = rows["net_payable"].sum() + rows["carried_forward"][-1]
    return {institution: amount for institution, amount in sums.items() if amount}


def random_points(rng: random.Random) -> dict[str, str]:
    """Few lines, among them large ones beyond the threshold and reversals."""
    return {
        name: " ".join(
            rng.choice(["7.77", "30000", "0.01", "123.45", "-50", "25789.13"])
            for _ in range(rng.randint(1, 3))
        )
        for name in ("hospital", "clinic")
        if rng.random() < 0.8
    } or {"hospital": "1"}


def random_tables(rng: random.Random, month: str) -> dict[str, Any]:
    value = rng.choice(["1", "0.333333", "2.5"])
    fined = rng.choice([CLINIC, HOSPITAL])
    return {
        "point_values": [{"month": month, "zone": "*", "point_class": "service", "point_value": value}],
        "deductions": [{"institution_id": fined, "month": month, "kind": "penalty", "amount": "99.99"}]
        if rng.random() < 0.4
        else None,
    }


@pytest.mark.parametrize("seed", range(2))
def test_over_the_year_everybody_gets_what_the_right_lines_would_have_given(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Months are settled wrongly, closed and restated at any time, some run again, some restated twice.

    The file for analysts is left out: this is about the record. Every run is replayed at the end.
    """
    for module in (runs, restatement):
        monkeypatch.setattr(module, "publish", lambda ledger: None)
    rng = random.Random(seed)
    real, ideal = Books(tmp_path / "real"), Books(tmp_path / "ideal")
    right: dict[str, dict[str, Any]] = {}
    paid: list[str] = []
    months = [f"2026-0{number}" for number in range(1, 5)]
    for month in months:
        for _ in range(rng.choice([1, 1, 2])):
            right[month] = random_points(rng) | random_tables(rng, month)
            real.run(month, **right[month])
            if paid and rng.random() < 0.4:  # between a run and the next of the same month
                earlier = rng.choice(months[: len(paid)])
                right[earlier] = random_points(rng) | random_tables(rng, earlier)
                real.restate(earlier, **right[earlier])
        newest = real.ledger.newest_run(month_of(month))
        assert newest is not None
        paid.append(str(newest.run_id))
        real.close(month)
        for _ in range(rng.choice([0, 1, 2])):
            earlier = rng.choice(months[: len(paid)])
            right[earlier] = random_points(rng) | random_tables(rng, earlier)
            real.restate(earlier, **right[earlier])
    right["2026-05"] = {"hospital": "1000", "clinic": "1000"}
    real.run("2026-05", **right["2026-05"])
    for month, given in right.items():
        ideal.run(month, **given)

    assert total_paid(real.ledger, [*paid, "2026-05.1"]) == total_paid(
        ideal.ledger, [f"{month}.1" for month in right]
    )
    for run_id in real.ledger.statuses:
        folder = real.ledger.inputs(run_id).batch_folder
        assert replay(real.ledger, run_id, folder, lambda _: None).is_same
