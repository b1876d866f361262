"""Reading a batch: which cell breaks which rule, and what refuses the whole batch (data 1 and 2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from settlement import load_policy, read_batch, schemas
from settlement.batch import month_of
from settlement.batch.columns import matched
from settlement.batch.lines import FAULTS, Context, first_fault, violations
from settlement.batch.staging import few_of_many
from settlement.errors import Refusal
from settlement.policy import Policy
from settlement.terms import CLAIM_FIELDS, DEDUCTION_KINDS, EVENT_KINDS, SMALL_TABLES

HOSPITAL, STATION = "H12010100001", "P12010100002"
LINE = {
    "claim_id": "c1", "line_id": "1", "institution_id": HOSPITAL, "department_id": "", "physician_id": "",
    "serviced_at": "2026-03-05 09:00:00", "settled_at": "2026-03-05 10:00:00", "insurance_type": "310",
    "visit_type": "11", "disease_code": "", "charge_category": "05", "points": "10", "amount": "",
    "reverses_line_id": "", "is_valid": "1",
}  # fmt: skip
INSTITUTION = {
    "institution_id": HOSPITAL, "name": "甲", "institution_type": "outpatient_department",
    "payment_class": "other_primary", "division_code": "120101",
}  # fmt: skip
AGREEMENT = {
    "agreement_id": "A1", "institution_id": HOSPITAL, "start_date": "2026-01-05", "end_date": "2027-01-04",
    "designation": "coaching", "service_categories": "outpatient", "special_diseases": "", "insurance_types": "310",
}  # fmt: skip
EVENT = {
    "event_id": "E1",
    "institution_id": HOSPITAL,
    "occurred_on": "2026-03-01",
    "kind": "inspected",
    "target_id": "",
}
RELIEF = {"institution_id": HOSPITAL, "month": "2026-03", "point_class": "service", "approved_points": "5"}
DEDUCTION = {"institution_id": HOSPITAL, "month": "2026-03", "kind": "penalty", "amount": "5"}
VALUE = {"month": "2026-03", "zone": "*", "point_class": "service", "point_value": "1"}
BUDGET = {"month": "2026-03", "zone": "*", "point_class": "inpatient", "budget": "0"}
ASSESSMENT = {"institution_id": HOSPITAL, "year": "2026", "score": "90"}
EXAMPLES = {
    "institutions": INSTITUTION, "agreements": AGREEMENT, "events": EVENT, "relief": RELIEF,
    "deductions": DEDUCTION, "point_values": VALUE, "budgets": BUDGET, "assessments": ASSESSMENT,
}  # fmt: skip
Rows = list[Mapping[str, Any]]

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


def csv_text(rows: Rows, columns: list[str] | None = None) -> str:
    names = columns or list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    return "".join(",".join(f'"{cell}"' if "," in cell else cell for cell in line) + "\n" for line in lines)


def write_batch(
    folder: Path,
    claims: Rows | pl.DataFrame | str | bytes | None = None,
    **tables: Rows | pl.DataFrame | str | bytes | None,
) -> Path:
    """A batch of one institution with one agreement and one good line, with whatever is given instead or besides.

    A table is rows, a frame (written as Parquet), the text or bytes of its CSV, or None for no such file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given: dict[str, Any] = {"institutions": [INSTITUTION], "agreements": [AGREEMENT]}
    for name, content in {"claims": [LINE] if claims is None else claims, **given, **tables}.items():
        if isinstance(content, pl.DataFrame):
            content.write_parquet(folder / f"{name}.parquet")
        elif isinstance(content, str | bytes):
            (folder / f"{name}.csv").write_bytes(content.encode() if isinstance(content, str) else content)
        elif content is not None:
            (folder / f"{name}.csv").write_text(csv_text(content), "utf-8")
    return folder


def named(value: Any) -> str | None:
    """The same name of a test in every process: cells as they are, expressions as polars writes them."""
    if isinstance(value, dict):
        return ", ".join(f"{name}={cell}" for name, cell in value.items())[:80] or "as it is"
    return str(value)[:60] if isinstance(value, pl.Expr | list) else None


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy("tianjin")


def with_factor(policy: Policy, folder: Path) -> Policy:
    """The Tianjin policy with two points per yuan of every class."""
    text = (Path(__file__).parents[1] / "thresholds" / "tianjin.toml").read_text("utf-8")
    factors = "".join(
        f'{name} = "2"\n' for name in ("drug_consumable", "service", "tcm_decoction", "inpatient")
    )
    path = folder / "with_factor.toml"
    path.write_text(f"{text}\n[points_per_yuan]\n{factors}", "utf-8")
    return load_policy(path)


def rejected(folder: Path, policy: Policy) -> list[tuple[str | None, ...]]:
    """(row number, rule, column_name) of every rejected line."""
    batch = read_batch(folder, "2026-03", policy)
    try:
        frame = batch.rejected(batch.staging.path).table.collect()
    finally:
        batch.close()
    return frame.select("row_number", "rule", "column_name").rows()


def good_lines(folder: Path, policy: Policy) -> pl.DataFrame:
    batch = read_batch(folder, "2026-03", policy)
    try:
        return batch.good_lines.sort("source", "row_number").collect()
    finally:
        batch.close()


def fault_of(tmp_path: Path, policy: Policy, **cells: str) -> tuple[str | None, ...] | None:
    """(rule, column) of a line that is good but for these cells; None if it is good."""
    rows = rejected(write_batch(tmp_path / "batch", [{**LINE, **cells}]), policy)
    return rows[0][1:] if rows else None


def refusal_of(folder: Path, policy: Policy, month: str = "2026-03") -> str:
    with pytest.raises(Refusal) as refusal:
        read_batch(folder, month, policy)
    return str(refusal.value)


# ---------------------------------------------------------------- each rule, each column

REQUIRED = [field.name for field in CLAIM_FIELDS if field.is_required]
X31, ZHONG31 = "x" * 31, "中" * 31


BAD_LINES: list[tuple[dict[str, str], str, str]] = [
    *(({name: ""}, "missing_value", name) for name in [*REQUIRED, "points"]),
    *(({name: "null"}, "missing_value", name) for name in [*REQUIRED, "points"]),
    ({"claim_id": " \t "}, "missing_value", "claim_id"),
    *(({"points": text}, "bad_number", "points") for text in (
        "1e3", "abc", "5.", ".5", "--1", "+-1", "NaN", "inf", "1.5.5", "0x1", "1 000", "NULL", "１", "-", "1_0",
    )),
    ({"points": "1,000"}, "bad_number", "points"),
    ({"amount": "1e3"}, "bad_number", "amount"),
    ({"amount": "x"}, "bad_number", "amount"),
    *(({"serviced_at": text}, "bad_datetime", "serviced_at") for text in (
        "2026-02-29", "2026-3-5", "2026/03/05", "20260305", "05.03.2026", "2026-13-01", "2026-00-10", "2026-03-32",
        "2026-03-05 9:00:00", "2026-03-05 24:00:00", "2026-03-05 09:60:00", "2026-03-05 09:00:60",
        "2026-03-05T09:00", "2026-03-05  09:00:00", "2026-03-05t09:00:00", "2026-03-05 09:00:00Z",
        "2026-03-05 09:00:00+08:00", "2026-03-05 09:00:00.", "2026-03-05 09:00:00.1234567", "2026030509000",
        "20260305 090000", "20260229000000", "20260305240000", "20260305090000.5", "20261305090000", "x", "0",
    )),
    ({"settled_at": "x"}, "bad_datetime", "settled_at"),
    ({"claim_id": X31}, "bad_code", "claim_id"),
    ({"claim_id": ZHONG31}, "bad_code", "claim_id"),
    ({"line_id": X31}, "bad_code", "line_id"),
    *(({"institution_id": text}, "bad_code", "institution_id") for text in (
        "X1", "H1201010000", "H120101000011", "h12010100001", "12010100001", "G12010100001", "H1201010000A",
        "H１2010100001",
    )),
    ({"points": "1.00001"}, "too_many_decimals", "points"),
    ({"points": "-1.00001"}, "too_many_decimals", "points"),
    ({"amount": "1.001"}, "too_many_decimals", "amount"),
    ({"points": "10000000.0001"}, "out_of_range", "points"),
    ({"points": "-10000000.0001"}, "out_of_range", "points"),
    ({"points": "100000000"}, "out_of_range", "points"),
    ({"points": "9" * 40}, "out_of_range", "points"),
    ({"amount": "10000000000000000.00"}, "out_of_range", "amount"),
    ({"amount": "9" * 40}, "out_of_range", "amount"),
    ({"serviced_at": "2026-03-05 10:00:00.000001"}, "serviced_after_settled", "serviced_at"),
    ({"serviced_at": "2026-03-06"}, "serviced_after_settled", "serviced_at"),
    ({"serviced_at": "2026-02-01", "settled_at": "2026-02-28 23:59:59.999999"}, "outside_month", "settled_at"),
    ({"settled_at": "2026-04-01"}, "outside_month", "settled_at"),
    ({"settled_at": "2027-03-05"}, "outside_month", "settled_at"),
    ({"institution_id": "H99999999999"}, "unknown_institution", "institution_id"),
    *(({"charge_category": text}, "unknown_charge_category", "charge_category") for text in (
        "5", "00", "15", "051", "０5",
    )),
    ({"visit_type": "21", "charge_category": "99"}, "unknown_charge_category", "charge_category"),
    *(({"visit_type": text}, "unknown_visit_type", "visit_type") for text in ("1", "2", "99", "911", "１1")),
    ({"is_valid": "0"}, "void_line", "is_valid"),
    ({"points": "-1"}, "reversal_without_reference", "reverses_line_id"),
    ({"points": "-0.0001", "reverses_line_id": "null"}, "reversal_without_reference", "reverses_line_id"),
]  # fmt: skip
GOOD_LINES: list[dict[str, str]] = [
    *({"points": text} for text in (
        "0", "+1", "-0", "00010", "1.50000", "1.0000000000", "10000000", "10000000.0000", "0.0001", "010.5", "+0.5",
        "0" * 40 + "1", "1." + "0" * 40,
    )),
    {"points": "-10000000", "reverses_line_id": "1"},
    {"points": "-0.0001", "reverses_line_id": "any text"},
    {"amount": "9999999999999999.99"}, {"amount": "-5.5"}, {"amount": "1.5000"}, {"amount": "null"},
    *({"serviced_at": text} for text in (
        "2026-03-05", "2026-03-05 00:00:00", "2026-03-05T00:00:00", "20260305000000", "2026-03-05 09:00:00.1",
        "2026-03-05 09:00:00.123456", "2024-02-29", "2026-03-05 10:00:00", "1999-12-31",
    )),
    {"settled_at": "2026-03-31 23:59:59.999999"},
    {"serviced_at": "2026-02-28", "settled_at": "2026-03-01"},
    {"claim_id": "x" * 30}, {"claim_id": "中" * 30}, {"line_id": "😀" * 30},
    {"is_valid": ""}, {"is_valid": "null"}, {"is_valid": "00"}, {"is_valid": "x"},
    {"visit_type": "1101"}, {"visit_type": "21"}, {"insurance_type": "anything"},
    {"department_id": "null", "physician_id": " ", "disease_code": "x" * 200},
    {"claim_id": "  c1  ", "visit_type": "\t11", "charge_category": "05 "},
]  # fmt: skip


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory, policy: Policy) -> dict[int, tuple[str, str]]:
    """(rule, column) by row number, of BAD_LINES and after them GOOD_LINES, read once as one file."""
    cells = [*(line[0] for line in BAD_LINES), *GOOD_LINES]
    rows = [{**LINE, "physician_id": "x", "line_id": f"n{place}", **line} for place, line in enumerate(cells)]
    found = rejected(write_batch(tmp_path_factory.mktemp("lines") / "batch", rows), policy)
    return {row: (rule, column) for row, rule, column in found}


@pytest.mark.parametrize("row", range(1, len(BAD_LINES) + 1), ids=lambda row: named(BAD_LINES[row - 1][0]))
def test_a_line_is_rejected_by_its_rule_and_column(row: int, faults: dict[int, tuple[str, str]]) -> None:
    _, rule, column = BAD_LINES[row - 1]
    assert faults[row] == (rule, column)


@pytest.mark.parametrize("place", range(len(GOOD_LINES)), ids=lambda place: named(GOOD_LINES[place]))
def test_a_line_at_the_edge_of_the_rules_is_good(place: int, faults: dict[int, tuple[str, str]]) -> None:
    assert faults.get(len(BAD_LINES) + 1 + place) is None


def test_the_first_rule_of_the_contract_wins_and_of_one_rule_the_first_column(
    tmp_path: Path, policy: Policy
) -> None:
    """Every rule is added to a line that breaks all later ones."""
    worse: dict[str, str] = {}
    for cells, rule, column in (
        ({"points": "-1"}, "reversal_without_reference", "reverses_line_id"),
        ({"is_valid": "0"}, "void_line", "is_valid"),
        ({"visit_type": "99"}, "unknown_visit_type", "visit_type"),
        ({"charge_category": "99"}, "unknown_charge_category", "charge_category"),
        ({"institution_id": "H99999999999"}, "unknown_institution", "institution_id"),
        ({"settled_at": "2026-04-05"}, "outside_month", "settled_at"),
        ({"serviced_at": "2026-05-01"}, "serviced_after_settled", "serviced_at"),
        ({"amount": "9" * 20}, "out_of_range", "amount"),
        ({"points": "-99999999"}, "out_of_range", "points"),
        ({"amount": "9" * 20 + ".001"}, "too_many_decimals", "amount"),
        ({"points": "-99999999.00001"}, "too_many_decimals", "points"),
        ({"institution_id": "X"}, "bad_code", "institution_id"),
        ({"line_id": X31}, "bad_code", "line_id"),
        ({"claim_id": X31}, "bad_code", "claim_id"),
        ({"settled_at": "x"}, "bad_datetime", "settled_at"),
        ({"serviced_at": "x"}, "bad_datetime", "serviced_at"),
        ({"amount": "x"}, "bad_number", "amount"),
        ({"points": "x"}, "bad_number", "points"),
        ({"points": ""}, "missing_value", "points"),
        ({"charge_category": ""}, "missing_value", "charge_category"),
        ({"visit_type": ""}, "missing_value", "visit_type"),
        ({"insurance_type": ""}, "missing_value", "insurance_type"),
        ({"settled_at": ""}, "missing_value", "settled_at"),
        ({"serviced_at": ""}, "missing_value", "serviced_at"),
        ({"institution_id": ""}, "missing_value", "institution_id"),
        ({"line_id": ""}, "missing_value", "line_id"),
        ({"claim_id": ""}, "missing_value", "claim_id"),
    ):
        worse |= cells
        assert fault_of(tmp_path, policy, **worse) == (rule, column)


def test_broken_rows_have_no_ids_and_count_no_points(tmp_path: Path, policy: Policy) -> None:
    text = csv_text([LINE]).encode() + csv_text([LINE]).splitlines()[1].encode() + b",9\nc3,\xff\n"
    batch = read_batch(write_batch(tmp_path / "batch", text), "2026-03", policy)
    bad = batch.rejected(batch.staging.path)
    rows = bad.table.collect().rows()
    batch.close()
    assert rows == [
        ("claims.csv", 2, None, None, "ragged_row", None),
        ("claims.csv", 3, None, None, "undecodable", None),
    ]
    assert bad.points == 0


@pytest.mark.parametrize(
    ("points", "counted"),
    [
        ("10.5", 105_000),
        ("-3", -30_000),
        ("1.00001", 0),
        ("x", 0),
        ("", 0),
        ("10000000", 10**11),
        ("10000001", 0),
    ],
)
def test_a_rejected_line_counts_with_its_points_if_they_are_plain(
    tmp_path: Path, policy: Policy, points: str, counted: int
) -> None:
    folder = write_batch(tmp_path / "batch", [LINE, {**LINE, "claim_id": "", "points": points}])
    batch = read_batch(folder, "2026-03", policy)
    assert batch.rejected(batch.staging.path).points == counted
    batch.close()


# ---------------------------------------------------------------- values


def test_numbers_are_exact_and_codes_keep_their_zeros(tmp_path: Path, policy: Policy) -> None:
    cells = {
        "claim_id": " 0001", "line_id": "01", "points": "0010.50000", "amount": "+7.10", "department_id": " 007 ",
        "disease_code": "null", "serviced_at": "20260301083000", "settled_at": "2026-03-05T10:00:00.25",
    }  # fmt: skip
    row = good_lines(write_batch(tmp_path / "batch", [{**LINE, **cells}]), policy).row(0, named=True)
    assert (row["claim_id"], row["line_id"], row["department_id"]) == ("0001", "01", "007")
    assert (row["points"], row["amount"]) == (105_000, 710)
    assert row["disease_code"] is None
    assert row["physician_id"] is None
    assert row["serviced_at"] == datetime(2026, 3, 1, 8, 30)
    assert row["settled_at"] == datetime(2026, 3, 5, 10, 0, 0, 250_000)


def test_a_day_alone_is_its_midnight(tmp_path: Path, policy: Policy) -> None:
    rows = [{**LINE, "serviced_at": "2026-03-05", "settled_at": "2026-03-05 00:00:00"}]
    assert good_lines(write_batch(tmp_path / "batch", rows), policy)["serviced_at"].to_list() == [
        datetime(2026, 3, 5)
    ]


@pytest.mark.parametrize(
    "month", ["2026-3", "2026-13", "202603", "2026-03-05", "March", "", "2026-00", "２０２６-03"]
)
def test_a_month_is_written_yyyy_mm(month: str) -> None:
    with pytest.raises(Refusal, match="YYYY-MM"):
        month_of(month)


def test_a_month_may_be_given_as_any_of_its_days() -> None:
    assert month_of("2026-03") == month_of(date(2026, 3, 31)) == date(2026, 3, 1)


# ---------------------------------------------------------------- points from amounts


def amounts(**cells: str) -> dict[str, str]:
    return {name: cell for name, cell in {**LINE, "amount": "2.50", **cells}.items() if name != "points"}


def test_a_file_without_points_is_converted_by_the_policys_factor(tmp_path: Path, policy: Policy) -> None:
    folder = write_batch(tmp_path / "batch", [amounts(), amounts(line_id="2", visit_type="21")])
    lines = good_lines(folder, with_factor(policy, tmp_path))
    assert lines["points"].to_list() == [50_000, 50_000]
    assert lines["point_class"].to_list() == ["service", "inpatient"]


@pytest.mark.parametrize(
    ("cells", "rule", "column"),
    [
        ({"amount": ""}, "missing_value", "amount"),
        ({"amount": "x"}, "bad_number", "amount"),
        ({"amount": "1.001"}, "too_many_decimals", "amount"),
        ({"amount": "5000000.01"}, "out_of_range", "amount"),
        ({"amount": "-1"}, "reversal_without_reference", "reverses_line_id"),
    ],
    ids=named,
)
def test_in_a_file_without_points_the_amount_is_what_counts(
    tmp_path: Path, policy: Policy, cells: dict[str, str], rule: str, column: str
) -> None:
    folder = write_batch(tmp_path / "batch", [amounts(), amounts(line_id="2", **cells)])
    assert rejected(folder, with_factor(policy, tmp_path)) == [(2, rule, column)]


def test_a_blank_cell_in_a_points_column_is_missing_even_beside_an_amount(
    tmp_path: Path, policy: Policy
) -> None:
    rows = [{**LINE, "points": "", "amount": "5"}]
    folder = write_batch(tmp_path / "batch", rows)
    assert rejected(folder, with_factor(policy, tmp_path)) == [(1, "missing_value", "points")]


# ---------------------------------------------------------------- duplicates


@pytest.mark.parametrize(
    ("copies", "faults"),
    [
        ([{}, {}], [(2, "duplicate_line", "claim_id")]),
        ([{}, {"points": "10.0000"}, {"charge_category": "09"}],
         [(2, "duplicate_line", "claim_id"), (3, "duplicate_line", "claim_id")]),
        ([{"settled_at": "2026-03-06"}, {}], [(1, "duplicate_line", "claim_id")]),
        ([{}, {"points": "11"}], [(1, "conflicting_duplicate", "points"), (2, "conflicting_duplicate", "points")]),
        ([{}, {"amount": "0"}], [(1, "conflicting_duplicate", "amount"), (2, "conflicting_duplicate", "amount")]),
        ([{"amount": "0.0"}, {"amount": "0"}], [(2, "duplicate_line", "claim_id")]),
        ([{}, {"points": "11", "amount": "1"}, {}],
         [(row, "conflicting_duplicate", "points") for row in (1, 2, 3)]),
        ([{}, {"is_valid": "0"}], [(2, "void_line", "is_valid")]),
        ([{}, {"points": "x"}], [(2, "bad_number", "points")]),
        ([{}, {"claim_id": " c1 "}], [(2, "duplicate_line", "claim_id")]),
        ([{}, {"line_id": "2"}, {"claim_id": "c2"}, {"claim_id": "C1"}], []),
        ([{"claim_id": "a", "line_id": "bc"}, {"claim_id": "ab", "line_id": "c"}], []),
    ],
    ids=named,
)  # fmt: skip
def test_copies_of_a_line(
    tmp_path: Path, policy: Policy, copies: list[dict[str, str]], faults: list[tuple[Any, ...]]
) -> None:
    assert (
        rejected(write_batch(tmp_path / "batch", [{**LINE, **cells} for cells in copies]), policy) == faults
    )


def test_copies_are_sought_over_all_files_in_byte_order_of_their_names(
    tmp_path: Path, policy: Policy
) -> None:
    folder = write_batch(tmp_path / "batch")
    (folder / "claims.csv").unlink()
    (folder / "claims").mkdir()
    for name in ("a.csv", "B.csv", "10.csv"):
        (folder / "claims" / name).write_text(csv_text([LINE]), "utf-8")
    batch = read_batch(folder, "2026-03", policy)
    found = batch.rejected(batch.staging.path).table.collect().select("source", "rule").rows()
    batch.close()
    assert [source.name for source in batch.sources] == ["claims/10.csv", "claims/B.csv", "claims/a.csv"]
    assert found == [("claims/B.csv", "duplicate_line"), ("claims/a.csv", "duplicate_line")]


# ---------------------------------------------------------------- columns and names


def renamed(row: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    return {names.get(name, name): cell for name, cell in row.items()}


@pytest.mark.parametrize(
    ("own", "national"), [(field.name, name) for field in CLAIM_FIELDS for name in field.national]
)
def test_every_column_may_bear_its_national_name(
    tmp_path: Path, policy: Policy, own: str, national: str
) -> None:
    plain = {**LINE, "person_id": "p", "amount": "5", "disease_code": "M1", "department_id": "D"}
    folder = write_batch(tmp_path / "batch", [renamed(plain, {own: national})])
    same = write_batch(tmp_path / "same", [plain])
    assert good_lines(folder, policy).equals(good_lines(same, policy))
    assert rejected(folder, policy) == []


@pytest.mark.parametrize("own", [field.name for field in CLAIM_FIELDS if field.national])
def test_the_own_and_a_national_name_together_are_refused(tmp_path: Path, policy: Policy, own: str) -> None:
    national = next(field.national[-1] for field in CLAIM_FIELDS if field.name == own)
    message = refusal_of(write_batch(tmp_path / "batch", [{**LINE, "person_id": "p", national: "x"}]), policy)
    assert own in message
    assert national in message
    assert "claims.csv" in message


def test_of_several_national_names_the_first_listed_is_taken_and_told(tmp_path: Path, policy: Policy) -> None:
    row = {"det_item_fee_sumamt": "9.99", "inscp_amt": "8.88", **renamed(LINE, {"amount": "inscp_scp_amt"})}
    folder = write_batch(tmp_path / "batch", [{**row, "inscp_scp_amt": "1.23"}])
    batch = read_batch(folder, "2026-03", policy)
    assert batch.good_lines.collect()["amount"].to_list() == [123]
    assert batch.sources[0].columns.passed_over == ("inscp_amt", "det_item_fee_sumamt")
    batch.close()


def test_unknown_columns_are_ignored_and_listed_once(tmp_path: Path, policy: Policy) -> None:
    folder = write_batch(
        tmp_path / "batch", [{**LINE, "备注": "x", "SETL_ID": "y"}, {**LINE, "line_id": "2"}]
    )
    batch = read_batch(folder, "2026-03", policy)
    assert batch.sources[0].columns.unknown == ("备注", "SETL_ID")
    assert batch.lines_in == 2
    batch.close()


@pytest.mark.parametrize("table", [name for name in SMALL_TABLES if "institution_id" in EXAMPLES[name]])
def test_fixmedins_code_serves_in_every_table(tmp_path: Path, policy: Policy, table: str) -> None:
    rows = [renamed(EXAMPLES[table], {"institution_id": "fixmedins_code"})]
    batch = read_batch(write_batch(tmp_path / "batch", **{table: rows}), "2026-03", policy)
    assert batch.tables[table]["institution_id"].to_list() == [HOSPITAL]
    batch.close()


@pytest.mark.parametrize("column", [*REQUIRED, "points"])
def test_a_missing_column_is_refused_by_name(tmp_path: Path, policy: Policy, column: str) -> None:
    row = {name: cell for name, cell in LINE.items() if name not in (column, "amount")}
    message = refusal_of(write_batch(tmp_path / "batch", [row]), policy)
    assert "claims.csv" in message
    assert column in message


# ---------------------------------------------------------------- the settlements file

SETTLED = ("settled_at", "insurance_type", "visit_type")


def without(row: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: cell for name, cell in row.items() if name not in names}


def settlement_row(**cells: str) -> dict[str, str]:
    return {"claim_id": "c1", **{name: LINE[name] for name in SETTLED}, **cells}


def test_settlements_serves_the_columns_that_the_claims_lack(tmp_path: Path, policy: Policy) -> None:
    whole = good_lines(write_batch(tmp_path / "whole"), policy)
    served = write_batch(
        tmp_path / "batch", [without(LINE, *SETTLED)], settlements=[settlement_row(claim_id=" c1 ")]
    )
    assert good_lines(served, policy).equals(whole)


def test_settlements_serves_only_columns_that_the_claims_lack(tmp_path: Path, policy: Policy) -> None:
    row = settlement_row(settled_at="2026-03-06", visit_type="99", insurance_type="")
    folder = write_batch(tmp_path / "batch", [without(LINE, "settled_at")], settlements=[row])
    lines = good_lines(folder, policy)
    assert lines["settled_at"].to_list() == [datetime(2026, 3, 6)]
    assert lines["insurance_type"].to_list() == ["310"]


@pytest.mark.parametrize(
    ("cells", "rule", "column"),
    [
        ({"claim_id": "c2"}, "missing_value", "settled_at"),
        ({"settled_at": "null"}, "missing_value", "settled_at"),
        ({"insurance_type": ""}, "missing_value", "insurance_type"),
        ({"settled_at": "x"}, "bad_datetime", "settled_at"),
        ({"settled_at": "2026-04-01"}, "outside_month", "settled_at"),
        ({"visit_type": "99"}, "unknown_visit_type", "visit_type"),
    ],
    ids=named,
)
def test_a_bad_cell_in_settlements_rejects_that_claims_lines(
    tmp_path: Path, policy: Policy, cells: dict[str, str], rule: str, column: str
) -> None:
    line = without(LINE, *SETTLED)
    rows = [settlement_row(**cells), settlement_row(claim_id="c9")]
    folder = write_batch(tmp_path / "batch", [line, {**line, "claim_id": "c9"}], settlements=rows)
    assert rejected(folder, policy) == [(1, rule, column)]


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([settlement_row(), settlement_row(settled_at="2026-03-07")], ["row 1", "row 2", "c1"]),
        ([settlement_row(), settlement_row(claim_id="")], ["row 2", "claim_id"]),
        ([without(settlement_row(), "visit_type")], ["settlements.csv", "visit_type"]),
        ([without(settlement_row(), "claim_id")], ["settlements.csv", "claim_id"]),
        ([{**settlement_row(), "setl_time": "x"}], ["settlements.csv", "settled_at", "setl_time"]),
        (None, ["claims.csv", "settled_at, insurance_type, visit_type", "no settlements file"]),
    ],
    ids=[
        "a claim twice",
        "no claim",
        "lacks a column",
        "lacks claim_id",
        "column under two names",
        "no file",
    ],
)
def test_a_broken_settlements_file_refuses_the_batch(
    tmp_path: Path, policy: Policy, rows: Rows | None, named: list[str]
) -> None:
    message = refusal_of(write_batch(tmp_path / "batch", [without(LINE, *SETTLED)], settlements=rows), policy)
    for words in named:
        assert words in message


def test_a_broken_row_of_settlements_is_named(tmp_path: Path, policy: Policy) -> None:
    text = csv_text([settlement_row()]) + "c2,2026-03-05\n"
    message = refusal_of(write_batch(tmp_path / "batch", settlements=text), policy)
    assert "settlements.csv, row 2" in message


# ---------------------------------------------------------------- small tables

BAD_CELLS = [
    *(("institutions", {"institution_id": text}) for text in ("", "H1", "h12010100001", "X12010100001")),
    *(("institutions", {name: ""}) for name in ("name", "institution_type", "payment_class", "division_code")),
    ("institutions", {"division_code": "12010"}),
    ("institutions", {"division_code": "1201011"}),
    ("institutions", {"zone": "nowhere"}),
    ("institutions", {"settles_under": "H99999999999"}),
    ("institutions", {"settles_under": HOSPITAL}),
    ("institutions", {"longitude": "181"}),
    ("institutions", {"longitude": "1e1"}),
    ("institutions", {"latitude": "-90.5"}),
    *(("agreements", {name: ""}) for name in (
        "agreement_id", "institution_id", "start_date", "end_date", "designation", "service_categories",
    )),
    ("agreements", {"institution_id": "H99999999999"}),
    *(("agreements", {"start_date": text}) for text in ("2026-02-29", "20260105", "2026-1-5", "2026-01-05 00:00:00")),
    ("agreements", {"end_date": "2026-01-04"}),
    ("agreements", {"end_date": "2027-01-05"}),
    ("agreements", {"designation": "trial"}),
    ("agreements", {"service_categories": "outpatient;dental"}),
    ("agreements", {"service_categories": ";"}),
    *(("events", {name: ""}) for name in ("event_id", "institution_id", "occurred_on", "kind")),
    ("events", {"institution_id": "H99999999999"}),
    ("events", {"kind": "closed"}),
    *(("events", {"kind": kind}) for kind in EVENT_KINDS if kind.startswith(("department", "physician"))),
    *(("relief", {name: ""}) for name in ("institution_id", "month", "point_class", "approved_points")),
    *(("relief", {"approved_points": text}) for text in ("0", "-1", "1.001", "x", "1e2", "9" * 17)),
    ("relief", {"month": "2026-13"}),
    ("relief", {"month": "2026-03-01"}),
    ("relief", {"point_class": "dental"}),
    ("relief", {"institution_id": "H99999999999"}),
    *(("deductions", {name: ""}) for name in ("institution_id", "month", "kind", "amount")),
    *(("deductions", {"amount": text}) for text in ("0", "-1", "1.001")),
    ("deductions", {"kind": "fine"}),
    *(("point_values", {"point_value": text}) for text in ("", "0", "-1", "0.0000001", "1000000000000")),
    ("point_values", {"zone": ""}),
    ("point_values", {"zone": "nowhere"}),
    *(("budgets", {"budget": text}) for text in ("", "-0.01", "0.001")),
    ("budgets", {"zone": "nowhere"}),
    *(("assessments", {"score": text}) for text in ("", "-1", "100.0001", "90.00001")),
    ("assessments", {"year": "26"}),
]  # fmt: skip


@pytest.mark.parametrize(("table", "cells"), BAD_CELLS, ids=named)
def test_a_bad_row_of_a_small_table_refuses_the_batch_by_file_row_and_column(
    tmp_path: Path, policy: Policy, table: str, cells: dict[str, str]
) -> None:
    message = refusal_of(write_batch(tmp_path / "batch", **{table: [{**EXAMPLES[table], **cells}]}), policy)
    (column,) = cells
    place = "target_id" if column == "kind" and cells[column].endswith(("suspended", "resumed")) else column
    assert f"{table}.csv, row 1, {place}: " in message
    assert "expected" in message


GOOD_CELLS = [
    ("institutions", {"zone": "outer", "division_code": "999999"}),
    ("institutions", {"longitude": "-180", "latitude": "90"}),
    ("institutions", {"longitude": "117.190182", "latitude": "39.125596"}),
    ("agreements", {"end_date": "2026-01-05"}),
    ("agreements", {"start_date": "2024-02-29", "end_date": "2025-02-27"}),
    ("agreements", {"start_date": "2024-01-31", "end_date": "2025-01-30"}),
    ("agreements", {"designation": "ordinary", "end_date": "2099-12-31"}),
    ("agreements", {"service_categories": " outpatient ; inpatient ;"}),
    ("agreements", {"special_diseases": "M1;;M2", "insurance_types": ""}),
    *(("events", {"kind": kind, "target_id": "D1"}) for kind in EVENT_KINDS),
    ("relief", {"approved_points": "0.01"}),
    ("relief", {"approved_points": "9999999999999999"}),
    *(("deductions", {"kind": kind, "amount": "0.01"}) for kind in DEDUCTION_KINDS),
    ("point_values", {"point_value": "0.000001"}),
    ("budgets", {"budget": "0"}),
    ("budgets", {"budget": "9999999999999999.00"}),
    ("assessments", {"score": "0"}),
    ("assessments", {"score": "100"}),
    ("assessments", {"score": "89.9999"}),
]


@pytest.mark.parametrize(("table", "cells"), GOOD_CELLS, ids=named)
def test_a_row_at_the_edge_of_the_rules_is_good(
    tmp_path: Path, policy: Policy, table: str, cells: dict[str, str]
) -> None:
    batch = read_batch(
        write_batch(tmp_path / "batch", **{table: [{**EXAMPLES[table], **cells}]}), "2026-03", policy
    )
    assert batch.tables[table].height == 1
    batch.close()


def test_every_bad_row_of_every_small_table_is_named_not_only_the_first(
    tmp_path: Path, policy: Policy
) -> None:
    folder = write_batch(
        tmp_path / "batch",
        institutions=[INSTITUTION, {**INSTITUTION, "institution_id": "P1"}, {**INSTITUTION, "name": ""}],
        agreements=[AGREEMENT, {**AGREEMENT, "start_date": "2026-06-01", "end_date": "2026-07-01"}],
        events=[EVENT, {**EVENT, "event_id": "E2", "kind": "x", "occurred_on": "2026-02-30"}],
        relief=[{**RELIEF, "approved_points": "0"}, RELIEF, {**RELIEF, "month": "x"}],
    )
    message = refusal_of(folder, policy)
    for words in (
        "institutions.csv, row 2, institution_id: P1", "institutions.csv, row 3, name: nothing",
        "institutions.csv, row 1, institution_id", "institutions.csv, row 3, institution_id",
        "agreements.csv, row 1, agreement_id: A1", "agreements.csv, row 2, agreement_id: A1",
        "agreements.csv, row 2, start_date", "within A1", "events.csv, row 2, kind: x",
        "events.csv, row 2, occurred_on: 2026-02-30", "relief.csv, row 1, approved_points: 0",
        "relief.csv, row 3, month: x", "nothing was settled",
    ):  # fmt: skip
        assert words in message
    assert "relief.csv, row 2" not in message
    assert "events.csv, row 1" not in message


def test_a_row_that_is_good_is_not_named_beside_a_bad_one(tmp_path: Path, policy: Policy) -> None:
    rows = [
        {**AGREEMENT, "start_date": "05.01.2026"},
        {**AGREEMENT, "agreement_id": "A2", "start_date": "2028-01-05", "end_date": "2028-02-05"},
    ]
    message = refusal_of(write_batch(tmp_path / "batch", agreements=rows), policy)
    assert "agreements.csv, row 1, start_date" in message
    assert "agreements.csv, row 2" not in message


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        ("institutions", [INSTITUTION, INSTITUTION]),
        ("agreements", [AGREEMENT, {**AGREEMENT, "start_date": "2028-01-05", "end_date": "2028-02-05"}]),
        ("events", [EVENT, {**EVENT, "kind": "suspended"}]),
        ("point_values", [VALUE, {**VALUE, "point_value": "2"}]),
        ("budgets", [BUDGET, BUDGET]),
        ("assessments", [ASSESSMENT, {**ASSESSMENT, "score": "1"}]),
    ],
)
def test_a_repeated_key_names_both_rows(tmp_path: Path, policy: Policy, table: str, rows: Rows) -> None:
    message = refusal_of(write_batch(tmp_path / "batch", **{table: rows}), policy)
    assert f"{table}.csv, row 1" in message
    assert f"{table}.csv, row 2" in message
    assert "once" in message


def test_relief_and_deductions_may_repeat_they_add_up(tmp_path: Path, policy: Policy) -> None:
    folder = write_batch(tmp_path / "batch", relief=[RELIEF, RELIEF], deductions=[DEDUCTION, DEDUCTION])
    batch = read_batch(folder, "2026-03", policy)
    assert (batch.tables["relief"].height, batch.tables["deductions"].height) == (2, 2)
    batch.close()


def test_settling_under_another_has_no_chains_and_no_circles(tmp_path: Path, policy: Policy) -> None:
    third = "P12010100003"
    chain = [
        INSTITUTION,
        {**INSTITUTION, "institution_id": STATION, "settles_under": HOSPITAL},
        {**INSTITUTION, "institution_id": third, "settles_under": STATION},
    ]
    circle = [
        {**row, "settles_under": other} for row, other in zip(chain, (STATION, third, HOSPITAL), strict=True)
    ]
    assert "institutions.csv, row 3, settles_under" in refusal_of(
        write_batch(tmp_path / "chain", institutions=chain), policy
    )
    message = refusal_of(write_batch(tmp_path / "circle", institutions=circle), policy)
    assert all(f"institutions.csv, row {row}, settles_under" in message for row in (1, 2, 3))
    relief = refusal_of(
        write_batch(
            tmp_path / "relief", institutions=chain[:2], relief=[{**RELIEF, "institution_id": STATION}]
        ),
        policy,
    )
    assert "relief.csv, row 1, institution_id" in relief


def test_a_coaching_agreement_needs_a_policy_with_coaching(tmp_path: Path) -> None:
    dongguan = load_policy("dongguan")
    assert "agreements.csv, row 1, designation" in refusal_of(write_batch(tmp_path / "batch"), dongguan)


@pytest.mark.parametrize("bad", ["H12010100001,甲\n", "H12010100001,甲,a,b,120101,more\n", b"\xff\n"])
def test_a_broken_row_of_a_small_table_is_named(tmp_path: Path, policy: Policy, bad: str | bytes) -> None:
    row = bad if isinstance(bad, bytes) else bad.encode()
    message = refusal_of(
        write_batch(tmp_path / "batch", institutions=csv_text([INSTITUTION]).encode() + row), policy
    )
    assert "institutions.csv, row 2" in message


def test_a_missing_registry_is_refused(tmp_path: Path, policy: Policy) -> None:
    message = refusal_of(write_batch(tmp_path / "batch", institutions=None, agreements=None), policy)
    assert "institutions.csv" in message
    assert "agreements.csv" in message


def test_an_empty_registry_is_refused(tmp_path: Path, policy: Policy) -> None:
    message = refusal_of(
        write_batch(tmp_path / "batch", institutions=csv_text([], list(INSTITUTION))), policy
    )
    assert "institutions.csv" in message


# ---------------------------------------------------------------- Parquet


def typed(**columns: pl.Expr) -> pl.DataFrame:
    """The good line as a typed file would hold it, with these columns instead."""
    frame = pl.DataFrame(
        [{name: cell or None for name, cell in LINE.items()}], schema=dict.fromkeys(LINE, pl.String)
    )
    return frame.with_columns(
        pl.col("serviced_at", "settled_at").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us"),
        pl.col("points").cast(pl.Decimal(18, 4)),
        pl.col("amount").cast(pl.Decimal(18, 2)),
    ).with_columns(**columns)


def decimal(text: str, precision: int, scale: int) -> pl.Expr:
    return pl.lit(Decimal(text)).cast(pl.Decimal(precision, scale))


def parquet_batch(folder: Path, frame: pl.DataFrame) -> Path:
    return write_batch(folder, frame)


@pytest.mark.parametrize(
    ("columns", "points"),
    [
        ({}, 100_000),
        ({"points": decimal("1.5", 18, 6)}, 15_000),
        ({"points": decimal("7", 10, 0)}, 70_000),
        ({"points": decimal("-2.5", 18, 1), "reverses_line_id": pl.lit("9")}, -25_000),
        ({"points": pl.lit(12)}, 120_000),
        ({"points": pl.lit("3.25")}, 32_500),
        ({"points": decimal("10000000", 18, 4)}, 10**11),
        ({"points": decimal("0.5", 38, 30)}, 5_000),
        ({"points": decimal("0.5", 38, 38)}, 5_000),
        ({"visit_type": pl.lit(11), "insurance_type": pl.lit(310, dtype=pl.UInt16)}, 100_000),
        ({"claim_id": pl.lit(20260305)}, 100_000),
        ({"serviced_at": pl.lit(date(2026, 3, 5))}, 100_000),
        ({"serviced_at": pl.lit(datetime(2026, 3, 5)).cast(pl.Datetime("ns"))}, 100_000),
        ({"serviced_at": pl.lit(datetime(2026, 3, 5)).cast(pl.Datetime("ms"))}, 100_000),
        ({"serviced_at": pl.lit("20260305090000")}, 100_000),
        ({"charge_category": pl.lit("05").cast(pl.Categorical)}, 100_000),
        ({"visit_type": pl.lit(b"11")}, 100_000),
        ({"amount": pl.lit(None)}, 100_000),
        ({"weight": pl.lit(True)}, 100_000),
    ],
    ids=named,
)
def test_a_parquet_file_may_be_typed(
    tmp_path: Path, policy: Policy, columns: dict[str, pl.Expr], points: int
) -> None:
    folder = parquet_batch(tmp_path / "batch", typed(**columns))
    assert good_lines(folder, policy)["points"].to_list() == [points]


@pytest.mark.parametrize(
    ("columns", "rule", "column"),
    [
        ({"points": decimal("1.00005", 18, 6)}, "too_many_decimals", "points"),
        ({"points": decimal("-1.00005", 18, 6)}, "too_many_decimals", "points"),
        ({"points": decimal("10000000.0001", 18, 4)}, "out_of_range", "points"),
        ({"points": decimal("-10000000.0001", 18, 4)}, "out_of_range", "points"),
        ({"points": decimal("10000001", 18, 6)}, "out_of_range", "points"),
        ({"points": pl.lit(None, dtype=pl.Decimal(18, 4))}, "missing_value", "points"),
        ({"points": decimal("-1", 18, 4)}, "reversal_without_reference", "reverses_line_id"),
        ({"amount": decimal("0.001", 18, 3)}, "too_many_decimals", "amount"),
        ({"amount": decimal("10000000000000000", 38, 2)}, "out_of_range", "amount"),
        ({"charge_category": pl.lit(5)}, "unknown_charge_category", "charge_category"),
        ({"claim_id": pl.lit(" ")}, "missing_value", "claim_id"),
        ({"claim_id": pl.lit("null")}, "missing_value", "claim_id"),
        ({"serviced_at": pl.lit(None, dtype=pl.Datetime("us"))}, "missing_value", "serviced_at"),
        ({"settled_at": pl.lit(datetime(2026, 4, 1))}, "outside_month", "settled_at"),
        ({"settled_at": pl.lit(datetime(9999, 12, 31)).dt.offset_by("1d")}, "bad_datetime", "settled_at"),
        ({"serviced_at": pl.lit(datetime(1, 1, 1)).dt.offset_by("-1us")}, "bad_datetime", "serviced_at"),
        ({"is_valid": pl.lit(0)}, "void_line", "is_valid"),
    ],
    ids=named,
)
def test_a_typed_cell_breaks_the_same_rules(
    tmp_path: Path, policy: Policy, columns: dict[str, pl.Expr], rule: str, column: str
) -> None:
    assert rejected(parquet_batch(tmp_path / "batch", typed(**columns)), policy) == [(1, rule, column)]


def test_a_typed_file_without_rows_adds_nothing(tmp_path: Path, policy: Policy) -> None:
    folder = write_batch(tmp_path / "batch")
    (folder / "claims.csv").unlink()
    (folder / "claims").mkdir()
    typed().write_parquet(folder / "claims" / "1.parquet")
    finer = typed(points=decimal("1.5", 18, 6))
    for name in ("0", "2"):
        finer.clear().write_parquet(folder / "claims" / f"{name}.parquet")
    assert good_lines(folder, policy)["points"].to_list() == [100_000]


@pytest.mark.parametrize("column", ["points", "amount", "claim_id", "institution_id", "visit_type"])
@pytest.mark.parametrize("dtype", [pl.Float64, pl.Float32])
def test_binary_floating_point_is_refused(
    tmp_path: Path, policy: Policy, column: str, dtype: type[pl.DataType]
) -> None:
    message = refusal_of(parquet_batch(tmp_path / "batch", typed(**{column: pl.lit(1, dtype=dtype)})), policy)
    assert column in message
    assert "floating" in message


def test_binary_floating_point_in_a_column_that_nobody_reads_does_not_matter(
    tmp_path: Path, policy: Policy
) -> None:
    folder = parquet_batch(tmp_path / "batch", typed(weight=pl.lit(1, dtype=pl.Float64)))
    assert rejected(folder, policy) == []


def test_a_time_zone_is_refused(tmp_path: Path, policy: Policy) -> None:
    zoned = pl.col("settled_at").dt.replace_time_zone("Asia/Shanghai")
    message = refusal_of(parquet_batch(tmp_path / "batch", typed(settled_at=zoned)), policy)
    assert "settled_at" in message
    assert "time zone" in message


def test_small_tables_may_be_typed_parquet(tmp_path: Path, policy: Policy) -> None:
    agreements = pl.DataFrame([AGREEMENT]).with_columns(
        pl.col("start_date", "end_date").str.to_date(), insurance_types=pl.lit(310)
    )
    values = pl.DataFrame([VALUE]).with_columns(
        month=pl.lit(date(2026, 3, 1)), point_value=decimal("0.335", 18, 6)
    )
    institutions = pl.DataFrame([INSTITUTION]).with_columns(longitude=pl.lit(117, dtype=pl.Float64))
    folder = write_batch(
        tmp_path / "batch", agreements=agreements, point_values=values, institutions=institutions
    )
    for name in ("agreements", "point_values", "institutions"):
        (folder / f"{name}.csv").unlink(missing_ok=True)
    batch = read_batch(folder, "2026-03", policy)
    assert batch.tables["agreements"]["start_date"].to_list() == [date(2026, 1, 5)]
    assert batch.tables["point_values"].row(0) == (date(2026, 3, 1), "*", "service", Decimal("0.335000"))
    batch.close()


def test_binary_floating_point_in_a_small_table_is_refused(tmp_path: Path, policy: Policy) -> None:
    budgets = pl.DataFrame([BUDGET]).with_columns(budget=pl.lit(1, dtype=pl.Float64))
    message = refusal_of(write_batch(tmp_path / "batch", budgets=budgets), policy)
    assert "budget" in message
    assert "floating" in message


def test_a_decimal_beyond_all_bounds_is_out_of_range_not_zero(tmp_path: Path, policy: Policy) -> None:
    for name, cell in (("points", 2**124), ("amount", 2**126)):
        frame = typed(**{name: decimal(str(cell), 38, 0)})
        assert rejected(parquet_batch(tmp_path / name, frame), policy) == [(1, "out_of_range", name)]


def test_points_that_need_more_than_64_bits_are_out_of_range(tmp_path: Path, policy: Policy) -> None:
    frame = typed(points=decimal("1000000000000000", 38, 0))
    assert rejected(parquet_batch(tmp_path / "batch", frame), policy) == [(1, "out_of_range", "points")]


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("claim_id", decimal("7", 18, 0)),
        ("claim_id", pl.lit(date(2026, 3, 5))),
        ("visit_type", decimal("11", 5, 0)),
        ("serviced_at", decimal("20260305090000", 18, 0)),
        ("points", pl.lit(date(2026, 3, 5))),
        ("department_id", pl.lit(b"\xff")),
        ("department_id", pl.lit(datetime(2026, 3, 5)) - pl.lit(datetime(2026, 3, 4))),
    ],
    ids=named,
)
def test_a_type_that_a_column_cannot_have_is_read_or_refused(
    tmp_path: Path, policy: Policy, column: str, cell: pl.Expr
) -> None:
    folder = parquet_batch(tmp_path / "batch", typed(**{column: cell}))
    try:
        rejected(folder, policy)
    except Refusal as refusal:
        assert column in str(refusal)  # noqa: PT017 — either way is right, a crash is not


def test_settlements_may_hold_nanoseconds_as_pandas_writes_them(tmp_path: Path, policy: Policy) -> None:
    settled = pl.DataFrame([settlement_row()]).with_columns(
        settled_at=pl.lit(datetime(2026, 3, 5, 10)).cast(pl.Datetime("ns"))
    )
    folder = write_batch(tmp_path / "batch", [without(LINE, *SETTLED)], settlements=settled)
    assert rejected(folder, policy) == []


# ---------------------------------------------------------------- the schema of good lines

CODES = st.sampled_from([None, "x", X31, HOSPITAL, "H99999999999", "0", "05"])
FLAGS = st.sampled_from([None, False, False, False, True])
MOMENTS = st.sampled_from([None, datetime(2026, 3, 5), datetime(2026, 3, 6), datetime(2026, 4, 1)])
UNITS = st.sampled_from([None, -1, 0, 100_000])
TEXTS = [*REQUIRED, "points", "amount", "reverses_line_id", "is_valid", "charge_class", "visit_category"]
NUMBER_FAULTS = ("has_too_many_decimals", "is_out_of_range")
PREPARED = {
    "broken": pl.String, **dict.fromkeys(TEXTS, pl.String), "serviced_at_moment": pl.Datetime("us"),
    "settled_at_moment": pl.Datetime("us"), "points_units": pl.Int64,
    **{f"{name}_{flag}": pl.Boolean for name in ("points", "amount")
       for flag in ("is_number", *NUMBER_FAULTS)},
}  # fmt: skip
GOOD = {
    "broken": None, **dict.fromkeys(TEXTS, "05"), "institution_id": HOSPITAL, "is_valid": "1",
    "serviced_at_moment": datetime(2026, 3, 5), "settled_at_moment": datetime(2026, 3, 6), "points_units": 1,
    **{f"{name}_is_number": True for name in ("points", "amount")},
    **{f"{name}_{flag}": False for name in ("points", "amount") for flag in NUMBER_FAULTS},
}  # fmt: skip
CELLS_OF = {
    "broken": st.sampled_from([None, None, "undecodable", "ragged_row"]), **dict.fromkeys(TEXTS, CODES),
    "serviced_at_moment": MOMENTS, "settled_at_moment": MOMENTS, "points_units": UNITS,
    **{name: FLAGS for name, dtype in PREPARED.items() if dtype == pl.Boolean},
    "points_is_number": st.sampled_from([None, True, True, False]),
    "amount_is_number": st.sampled_from([None, True, True, False]),
}  # fmt: skip
PREPARED_ROWS = st.lists(
    st.lists(st.sampled_from(sorted(PREPARED)), max_size=2, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: CELLS_OF[name] for name in names})
    ),
    min_size=1,
    max_size=8,
)


@settings(
    derandomize=True, deadline=None, max_examples=20, suppress_health_check=list(HealthCheck), database=None
)
@given(rows=PREPARED_ROWS, has_points=st.booleans())
def test_the_schema_of_good_lines_accepts_exactly_what_the_quarantine_lets_through(
    rows: list[dict[str, Any]], has_points: bool
) -> None:
    """Both are made of the same expressions; here they judge the same random frames, whole and line by line."""
    context = Context(date(2026, 3, 1), date(2026, 3, 31), load_policy("tianjin"), frozenset({HOSPITAL}))
    frame = pl.DataFrame([{**GOOD, **row} for row in rows], schema=PREPARED)
    broken = violations(has_points, context)
    schema = schemas.claim_lines(broken)
    faults = frame.select(first_fault(broken)).to_series()
    assert accepts(schema, frame) == (faults.null_count() == frame.height)
    assert accepts(schema, frame.filter(faults.is_null()))
    for number, fault in enumerate(faults):
        assert accepts(schema, frame[number]) == (fault is None), FAULTS[fault or 0]


def accepts(schema: Any, frame: pl.DataFrame) -> bool:
    try:
        schema.validate(frame, lazy=True)
    except schemas.pa.errors.SchemaErrors:
        return False
    return True


def test_the_schema_names_the_rule_and_the_column(policy: Policy) -> None:
    context = Context(date(2026, 3, 1), date(2026, 3, 31), policy, frozenset({HOSPITAL}))
    schema = schemas.claim_lines(violations(True, context))
    frame = pl.DataFrame([{**GOOD, "is_valid": "0"}], schema=PREPARED)
    with pytest.raises(schemas.pa.errors.SchemaErrors, match="void_line is_valid"):
        schema.validate(frame, lazy=True)


def test_a_known_column_twice_is_refused_and_an_unknown_one_is_not() -> None:
    with pytest.raises(Refusal, match="the column claim_id twice"):
        matched(["claim_id", "line_id", "claim_id"], CLAIM_FIELDS, "claims.csv")
    assert matched(["claim_id", "remark", "remark"], CLAIM_FIELDS, "claims.csv").unknown == (
        "remark",
        "remark",
    )


def test_few_lines_of_many_hold_no_more_than_their_own_texts() -> None:
    """Else memory grows with the month: some repeated lines would keep the texts of all of it."""
    lines = pl.DataFrame({"claim_id": [f"{number:030}" for number in range(10_000)]})
    few = lines.lazy().filter(pl.col("claim_id").str.ends_with("000"))

    def held(rows: pl.DataFrame) -> int:
        texts = rows["claim_id"].to_arrow(compat_level=pl.CompatLevel.newest())
        return sum(buffer.size for buffer in texts.buffers() if buffer)

    found = few_of_many(few).collect(engine="streaming")
    assert found.equals(few.collect())
    assert held(found) < 1_000 < held(few.collect())
