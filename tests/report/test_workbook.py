"""The workbook: read back it is the ledger, to the last digit, and nothing in it is a formula."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import openpyxl
import pytest

from reported import HOSTILE_IDS, HOSTILE_NAME, MARCH, Month, Reporter
from settlement.report import Words, workbook, write_report
from settlement.terms import RESULT_TABLES, Kind, Table

SPACE = {"x": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
DECIMALS = (Kind.POINTS, Kind.THRESHOLD, Kind.MONEY, Kind.POINT_VALUE)
SHEETS = ["about", "statements", *(table.name for table in RESULT_TABLES if table.name != "statements")]


@dataclass(frozen=True)
class Cell:
    """A cell as it stands in the file: its type, its text, whether it is marked as quoted."""

    type: str
    text: str
    is_quoted: bool


Sheet = list[dict[str, Cell]]


def sheets_of(path: Path) -> dict[str, Sheet]:
    """Sheet → rows, column letters → cells, read from the XML: no library comes between."""
    with zipfile.ZipFile(path) as book:
        names = [
            sheet.attrib["name"] for sheet in parsed(book, "xl/workbook.xml").iterfind(".//x:sheet", SPACE)
        ]
        formats = parsed(book, "xl/styles.xml").findall(".//x:cellXfs/x:xf", SPACE)
        quoted = {str(place) for place, one in enumerate(formats) if one.get("quotePrefix") == "1"}
        return {
            name: [
                row_of(row, quoted)
                for row in parsed(book, f"xl/worksheets/sheet{place}.xml").iterfind(".//x:row", SPACE)
            ]
            for place, name in enumerate(names, start=1)
        }


def parsed(book: zipfile.ZipFile, name: str) -> ElementTree.Element:
    return ElementTree.fromstring(book.read(name))  # noqa: S314 - our own file


def row_of(row: ElementTree.Element, quoted: set[str]) -> dict[str, Cell]:
    return {
        re.sub("[0-9]", "", cell.attrib["r"]): Cell(
            cell.get("t", "n"),
            "".join(part.text or "" for part in cell.iter() if part.tag.endswith(("}t", "}v"))),
            cell.get("s") in quoted,
        )
        for cell in row.iterfind("x:c", SPACE)
    }


@pytest.fixture
def demo_path(demo: Month, report: Reporter) -> Path:
    return report(demo).with_suffix(".xlsx")


@pytest.fixture
def hostile_sheets(hostile: Month, report: Reporter) -> dict[str, Sheet]:
    return sheets_of(report(hostile).with_suffix(".xlsx"))


def columns_of(sheet: Sheet) -> dict[str, str]:
    """English name → column letter, from the third row."""
    return {cell.text: letter for letter, cell in sheet[2].items()}


def values_of(sheet: Sheet, table: Table) -> list[tuple[Any, ...]]:
    """The rows of a sheet as values of the ledger; decimals from the column of exact texts."""
    letters = columns_of(sheet)
    names = [
        (f"{column.name} exact" if column.kind in DECIMALS else column.name, column.kind)
        for column in table.columns
    ]
    return [tuple(value_of(row.get(letters[name]), kind) for name, kind in names) for row in sheet[3:]]


def value_of(cell: Cell | None, kind: Kind) -> Any:
    if cell is None:
        return None
    if kind is Kind.COUNT:
        return int(cell.text)
    if kind is Kind.FLAG:
        return cell.text == "1"
    if kind is Kind.DAY:
        return date.fromordinal(date(1899, 12, 30).toordinal() + int(cell.text))
    if kind is Kind.MOMENT:
        return datetime.fromisoformat(cell.text)
    return Decimal(cell.text) if kind in DECIMALS else cell.text


@pytest.mark.parametrize("month", ["demo", "hostile", "plain", "empty"])
def test_every_table_is_read_back_as_it_was_recorded(
    month: str, report: Reporter, request: pytest.FixtureRequest
) -> None:
    settled: Month = request.getfixturevalue(month)
    sheets = sheets_of(report(settled).with_suffix(".xlsx"))
    assert list(sheets) == SHEETS
    for table in RESULT_TABLES:
        recorded = settled.ledger.scan("2026-03.1", table.name).collect().rows()
        assert values_of(sheets[table.name], table) == recorded, table.name


def test_a_number_stands_beside_every_exact_text_and_is_the_same(demo_path: Path) -> None:
    """Up to 15 digits, which is what a number in Excel keeps."""
    sheets, pairs = sheets_of(demo_path), 0
    for name in SHEETS[1:]:
        letters = columns_of(sheets[name])
        for column in (column for column in letters if f"{column} exact" in letters):
            for row in sheets[name][3:]:
                number, text = row.get(letters[column]), row.get(letters[f"{column} exact"])
                assert (number is None) == (text is None)
                if number and text:
                    assert (number.type, text.type) == ("n", "inlineStr")
                    assert Decimal(number.text) == Decimal(text.text)
                    pairs += 1
    assert pairs > 1000


def test_nothing_is_a_formula(demo_path: Path, report: Reporter, hostile: Month) -> None:
    for path in (demo_path, report(hostile).with_suffix(".xlsx")):
        with zipfile.ZipFile(path) as book:
            names = book.namelist()
            assert not [name for name in names if "vba" in name.lower() or "external" in name.lower()]
            assert not [name for name in names if b"<f>" in book.read(name) or b"<f " in book.read(name)]


def test_texts_that_begin_like_a_formula_are_quoted_texts(hostile_sheets: dict[str, Sheet]) -> None:
    cells = [cell for sheet in hostile_sheets.values() for row in sheet for cell in row.values()]
    for text in (*HOSTILE_IDS[2:], "=HYPERLINK(1)"):
        found = [cell for cell in cells if cell.text == text]
        assert found, text
        assert {(cell.type, cell.is_quoted) for cell in found} == {("inlineStr", not text.startswith("<"))}
    dangerous = [cell for cell in cells if cell.text.startswith(("=", "+", "@"))]
    assert {(cell.type, cell.is_quoted) for cell in dangerous} == {("inlineStr", True)}


def test_names_of_institutions_stand_beside_their_codes(hostile_sheets: dict[str, Sheet]) -> None:
    letter = columns_of(hostile_sheets["statements"])["institution_name"]
    assert [row[letter].text for row in hostile_sheets["statements"][3:]] == [HOSTILE_NAME]


def test_headers_are_in_both_languages_frozen_and_wide_enough(demo_path: Path) -> None:
    book = openpyxl.load_workbook(demo_path)
    for table in RESULT_TABLES:
        sheet = book[table.name]
        assert sheet.freeze_panes == "A4"
        assert "DRAFT 征求意见稿" in sheet["A1"].value
        assert "DRAFT" in sheet.oddHeader.left.text
        pairs = {
            sheet.cell(3, place).value: sheet.cell(2, place).value for place in range(1, sheet.max_column + 1)
        }
        for column in table.columns:
            assert pairs[column.name] == column.chinese
            if column.kind in DECIMALS:
                assert pairs[f"{column.name} exact"] == f"{column.chinese}（精确值）"
        assert all(width.width >= 14 for width in sheet.column_dimensions.values())


def test_the_first_sheet_says_what_it_is_of(demo: Month, demo_path: Path) -> None:
    rows = [[cell.text for cell in row.values()] for row in sheets_of(demo_path)["about"]]
    (run,) = demo.rows("select results_sha256, hash, assumptions from current_runs")
    shown = [text for row in rows for text in row]
    assert {run[0], run[1], *json.loads(str(run[2]))} <= set(shown)
    net = demo.value("select sum(net_payable) from current_statements")
    assert ["net payable 实付金额", f"{net:,}"] in rows


def test_what_excel_has_no_room_for_is_left_out_and_told(
    demo: Month, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbook, "SHEET_ROWS", 43)
    monkeypatch.setattr(workbook, "_CHUNK_ROWS", 7)
    _, path = write_report(demo.ledger, MARCH, tmp_path / "out", Words("en"), lambda _: None)
    sheets = sheets_of(path)
    count = demo.ledger.scan("2026-03.1", "unpaid_lines").collect().height
    assert len(sheets["unpaid_lines"]) == 43
    told = [[cell.text for cell in row.values()] for row in sheets["about"]]
    (row,) = [row for row in told if row[0] == "unpaid_lines"]
    assert row[-2:] == ["40", str(count - 40)]


def test_a_text_longer_than_a_cell_is_cut(tmp_path: Path) -> None:
    assert len(workbook.cell_text("x" * 40_000)) == workbook.LONGEST_TEXT
    assert workbook.cell_text("x" * 40_000).endswith("…")
    assert workbook.cell_text("short") == "short"
