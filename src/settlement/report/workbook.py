"""The workbook: what it is about, then one sheet per ledger table, the statements first.

Every decimal stands twice: as a number to sum and sort, and as a text with the exact value. Texts are texts
whatever they begin with: nothing in the workbook is a formula.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.utility import xl_range
from xlsxwriter.worksheet import Worksheet

from ..ledger import Ledger
from ..spreadsheet import FORMULA_SIGNS
from ..terms import RESULT_TABLES, STATEMENTS, Column, Kind, Table
from ..texts import Words
from .facts import Facts
from .sections import shown

SHEET_ROWS = 1_048_576  # Excel's own limit
HEADER_ROWS = 3  # title, Chinese names, English names
LONGEST_TEXT = 32_767  # of a cell
_CHUNK_ROWS = 20_000
_SHEETS = (STATEMENTS, *(table for table in RESULT_TABLES if table is not STATEMENTS))
_NUMBER_FORMATS = {
    Kind.COUNT: "#,##0",
    Kind.POINTS: "#,##0.0000",
    Kind.THRESHOLD: "#,##0.00",
    Kind.MONEY: "#,##0.00",
    Kind.POINT_VALUE: "0.000000",
}
_DECIMALS = (Kind.POINTS, Kind.THRESHOLD, Kind.MONEY, Kind.POINT_VALUE)
_WIDE = {"clause": 44, "detail": 44, "source": 32, "claim_id": 24, "line_id": 24, "agreement_id": 22}


@dataclass(frozen=True)
class Cells:
    """A column of a sheet: its names in both languages, its width, and how a value is written in a place."""

    chinese: str
    english: str
    width: int
    source: str
    write: Callable[[Worksheet, int, int, Any], object]
    is_exact: bool = False


class _Styles:
    """The formats of one workbook."""

    def __init__(self, book: xlsxwriter.Workbook) -> None:
        self.title: Format = book.add_format({"bold": True, "font_size": 12})
        self.draft: Format = book.add_format({"bold": True, "font_size": 12, "font_color": "#8A2B00"})
        self.head: Format = book.add_format(
            {"bold": True, "bg_color": "#E7ECF1", "bottom": 1, "text_wrap": True, "valign": "top"}
        )
        self.text: Format = book.add_format({"num_format": "@"})
        self.wrapped: Format = book.add_format({"num_format": "@", "text_wrap": True, "valign": "top"})
        # As if typed with an apostrophe: stays a text when a clerk edits the cell.
        self.quoted: Format = book.add_format({"num_format": "@", "quote_prefix": True})
        self.exact: Format = book.add_format({"num_format": "@", "align": "right", "font_color": "#595959"})
        self.day: Format = book.add_format({"num_format": "yyyy-mm-dd", "align": "left"})
        self.numbers: Mapping[Kind, Format] = {
            kind: book.add_format({"num_format": pattern}) for kind, pattern in _NUMBER_FORMATS.items()
        }


def write_workbook(
    path: Path, ledger: Ledger, facts: Facts, words: Words, progress: Callable[[str], None]
) -> None:
    """Writes the workbook of a run. Rows stream from the record; memory stays flat."""
    with xlsxwriter.Workbook(path, {"constant_memory": True}) as book:
        book.set_properties({"title": _title(facts), "created": facts.run["finished_at"]})
        styles = _Styles(book)
        run_id = facts.run["run_id"]
        scans = {table.name: ledger.scan(run_id, table.name) for table in _SHEETS}
        counts = {name: int(scan.select(pl.len()).collect().item()) for name, scan in scans.items()}
        _about(book.add_worksheet("about"), styles, facts, words, counts)
        for table in _SHEETS:
            progress(f"writing the sheet {table.name}")
            sheet = book.add_worksheet(table.name)
            _mark(sheet, facts)
            _fill(sheet, table, scans[table.name], counts[table.name], styles, facts)


def _title(facts: Facts) -> str:
    restating = f" · 更正 restates {facts.paid}" if facts.is_restating else ""
    draft = " · DRAFT 征求意见稿" if facts.is_draft else ""
    return f"结算 settlement {facts.run['month']:%Y-%m} · 批次 run {facts.run['run_id']}{restating}{draft}"


def _mark(sheet: Worksheet, facts: Facts) -> None:
    """How the sheet prints: A4 across, its title on every page."""
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.set_header(f"&L{_title(facts)}&R&A &P/&N")
    if facts.is_draft:
        sheet.set_tab_color("#8A2B00")


# ---------------------------------------------------------------- a ledger table


def _fill(
    sheet: Worksheet, table: Table, rows: pl.LazyFrame, count: int, styles: _Styles, facts: Facts
) -> None:
    cells = list(_cells_of(table, styles, facts.names))
    kept = min(count, SHEET_ROWS - HEADER_ROWS)
    _head(sheet, table, cells, styles, facts)
    if kept:
        sheet.autofilter(HEADER_ROWS - 1, 0, HEADER_ROWS + kept - 1, len(cells) - 1)
        exact = [place for place, cell in enumerate(cells) if cell.is_exact]
        spans = [xl_range(HEADER_ROWS, place, HEADER_ROWS + kept - 1, place) for place in exact]
        if spans:  # meant so: no green corner in every cell
            sheet.ignore_errors({"number_stored_as_text": " ".join(spans)})
    number = HEADER_ROWS
    for chunk in rows.head(kept).collect_batches(chunk_size=_CHUNK_ROWS, maintain_order=True):
        for row in chunk.iter_rows(named=True):
            for place, cell in enumerate(cells):
                value = row[cell.source]
                if value is not None:
                    cell.write(sheet, number, place, value)
            number += 1


def _head(sheet: Worksheet, table: Table, cells: list[Cells], styles: _Styles, facts: Facts) -> None:
    """Title, Chinese and English names, all of them frozen."""
    title = f"{table.chinese} {table.name} · {_title(facts)}"
    sheet.write_string(0, 0, title, styles.draft if facts.is_draft else styles.title)
    for place, cell in enumerate(cells):
        sheet.set_column(place, place, cell.width)
    for row, language in ((1, "chinese"), (2, "english")):
        for place, cell in enumerate(cells):
            sheet.write_string(row, place, getattr(cell, language), styles.head)
    sheet.freeze_panes(HEADER_ROWS, 0)
    sheet.repeat_rows(1, HEADER_ROWS - 1)


def _cells_of(table: Table, styles: _Styles, names: Mapping[str, str]) -> Iterator[Cells]:
    for column in table.columns:
        yield _cells(column, styles)
        if column.kind in _DECIMALS:
            yield _exact(column, styles)
        if column.name == "institution_id" and names:
            yield _named(column, styles, names)


def _cells(column: Column, styles: _Styles) -> Cells:
    width = _WIDE.get(column.name, 18 if column.kind in _DECIMALS else 16)
    return Cells(column.chinese, column.name, width, column.name, _writer(column.kind, styles))


def _exact(column: Column, styles: _Styles) -> Cells:
    def write(sheet: Worksheet, row: int, place: int, value: Any) -> None:
        sheet.write_string(row, place, f"{value:f}", styles.exact)

    return Cells(f"{column.chinese}（精确值）", f"{column.name} exact", 18, column.name, write, True)


def _named(column: Column, styles: _Styles, names: Mapping[str, str]) -> Cells:
    def write(sheet: Worksheet, row: int, place: int, value: Any) -> None:
        _write_text(sheet, row, place, names.get(value, ""), styles)

    return Cells("机构名称", "institution_name", 28, column.name, write)


def _writer(kind: Kind, styles: _Styles) -> Callable[[Worksheet, int, int, Any], object]:
    """How values of a kind are written. Decimals become numbers inside the library that writes them."""
    if kind in styles.numbers:
        number = styles.numbers[kind]
        return lambda sheet, row, place, value: sheet.write_number(row, place, value, number)
    if kind is Kind.DAY:
        return lambda sheet, row, place, value: sheet.write_datetime(row, place, value, styles.day)
    if kind is Kind.FLAG:
        return lambda sheet, row, place, value: sheet.write_boolean(row, place, value)
    return lambda sheet, row, place, value: _write_text(sheet, row, place, str(value), styles)


def _write_text(sheet: Worksheet, row: int, place: int, text: str, styles: _Styles) -> None:
    """A text cell, whatever the text begins with."""
    style = styles.quoted if text.startswith(FORMULA_SIGNS) else styles.text
    sheet.write_string(row, place, cell_text(text), style)


def cell_text(text: str) -> str:
    """The text as far as a cell can hold it; what is cut ends in …"""
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


# ---------------------------------------------------------------- the first sheet


def _about(sheet: Worksheet, styles: _Styles, facts: Facts, words: Words, counts: Mapping[str, int]) -> None:
    _mark(sheet, facts)
    sheet.set_column(0, 0, 34)
    sheet.set_column(1, 1, 72)
    sheet.set_column(2, 3, 20)
    sheet.write_string(0, 0, _title(facts), styles.draft if facts.is_draft else styles.title)
    row = 2
    for block in (_identity(facts, words), _notes(facts, words), _sums(facts, words), _lists(counts, words)):
        for cells in block:
            for place, text in enumerate(cells):
                sheet.write_string(row, place, text, styles.wrapped)
            row += 1
        row += 1


def _identity(facts: Facts, words: Words) -> Iterator[tuple[str, ...]]:
    run = facts.run
    yield str(words.term("run")), run["run_id"]
    yield str(words.term("status")), str(words.code(facts.status))
    yield str(words.term("policy")), run["policy_id"]
    yield str(words.term("policy_status")), str(words.code(run["policy_status"]))
    for name in ("lines_in", "lines_settled", "lines_rejected"):
        yield str(words.term(name)), shown(run[name])
    yield str(words.column("runs", "results_sha256")), run["results_sha256"]
    yield str(words.term("head")), facts.head.hash


def _notes(facts: Facts, words: Words) -> Iterator[tuple[str, ...]]:
    if facts.is_draft:
        yield str(words.term("draft")), words.text("draft_note", policy=facts.run["policy_id"])
    if facts.is_restating:
        yield str(words.term("restating")), words.text("restating_note", paid=facts.paid)
    if not facts.has_money:
        yield str(words.term("money")), words.text("no_money_note")
    yield str(words.term("exact")), words.text("exact_note")
    for assumption in facts.assumptions:
        yield str(words.term("assumption")), words.told(assumption)
    for key, value in sorted(facts.readings.items()):
        yield str(words.term("readings")), f"{key} = {value}"


def _sums(facts: Facts, words: Words) -> Iterator[tuple[str, ...]]:
    """Exact sums of the statements."""
    if facts.has_money:
        yield str(words.term("sums")), str(words.term("yuan"))
        for column in STATEMENTS.columns:
            if column.kind is Kind.MONEY:
                name = str(words.column("statements", column.name))
                yield name, shown(facts.total("statements", column.name))


def _lists(counts: Mapping[str, int], words: Words) -> Iterator[tuple[str, ...]]:
    """The sheets, how many rows each holds, and how many Excel has no room for."""
    yield str(words.term("sheet")), "", str(words.term("rows")), str(words.term("rows_left_out"))
    for table in _SHEETS:
        count = counts[table.name]
        left_out = max(count - (SHEET_ROWS - HEADER_ROWS), 0)
        yield table.name, f"{table.chinese} · {table.row}", shown(count - left_out), shown(left_out)
    yield "", words.text("left_out_note")
