"""Writes docs/dictionary.md from the dictionary in `settlement.terms`, the views and the lists of codes.

Run it after a change of any of them: `python docs/make_dictionary.py`. With `--check` it only says whether the file
is up to date (exit 1 if not).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import duckdb

from settlement import terms
from settlement.ledger import VIEWS
from settlement.ledger.publish import LAYOUT
from settlement.ledger.views import APPLIED_TABLES
from settlement.policy import READING_VALUES
from settlement.reasons import Code, Finding, RejectRule, UnpaidReason
from settlement.schemas import CELLS
from settlement.terms import Column, Field, Table

FILE = Path(__file__).with_name("dictionary.md")
TABLES = (*terms.LEDGER_TABLES, terms.ANNUAL_STATEMENTS)
HEAD = """# Data dictionary 数据字典

Made by `docs/make_dictionary.py` from the program's own dictionary; do not edit it by hand.

Clauses: `T 3(3)` is the Tianjin notice 三（三）, `D 42` the Dongguan measures 第四十二条; `rules` and `data` name
sections of the specification the engine follows. Units: 点 points, 元 yuan, 元/点 yuan per point. Money and points
are exact decimals; `null` is said where a cell may be empty. In the DuckDB file the same words stand as comments:
`select table_name, column_name, comment from duckdb_columns()`.
"""
MEANINGS = {
    "coaching_scope": "how far the threshold rule reaches · 辅导期范围 · T 3(3)",
    "tcm_decoction": "where 中药饮片 count · 中药饮片 · T 3(3)",
    "month_basis": "which day puts a line into a month · 月份口径",
    "attribution": "which lines bear what is over the threshold · 超出部分归属",
    "partial_month": "thresholds of months that are only partly in force · 不足月",
}


def main(arguments: Sequence[str]) -> str | None:
    """Writes the file, or with --check gives the complaint if it is not up to date."""
    text = dictionary()
    if "--check" not in arguments:
        FILE.write_text(text, encoding="utf-8")
        return None
    is_current = FILE.is_file() and FILE.read_text(encoding="utf-8") == text
    return None if is_current else "docs/dictionary.md is not up to date: run python docs/make_dictionary.py"


def dictionary() -> str:
    return "\n".join((HEAD, *_contents(), *_tables(), *_views(), *_input(), *_codes())) + "\n"


def _contents() -> Iterator[str]:
    yield "**Tables of the ledger** " + " · ".join(_link(table.name) for table in TABLES)
    yield ""
    yield "**Views** " + " · ".join(_link(view.name) for view in VIEWS if not _is_current(view.name))
    yield ""
    yield "`current_settlements` and so on: the same columns, only the newest run of each month."
    yield ""
    yield "**Input** [claims](#claims) · " + " · ".join(
        _link(name) if name != "budgets" else "[budgets](#budgets-input)" for name in terms.SMALL_TABLES
    )
    yield ""
    yield "**Codes** [codes](#codes)"
    yield ""


def _link(name: str) -> str:
    return f"[{name}](#{name})"


def _is_current(name: str) -> bool:
    return name.startswith("current_")


def _rows(*heads: str, rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


# ---------------------------------------------------------------- output


def _tables() -> Iterator[str]:
    yield "## Tables of the ledger 结果表\n"
    yield from (line for table in TABLES for line in _table(table))
    yield "## What views need of a run's inputs 批次所用政策与名录\n"
    yield from (line for table in APPLIED_TABLES for line in _table(table))


def _table(table: Table) -> Iterator[str]:
    yield f"### {table.name}\n"
    yield f"{table.chinese} · one row per {table.row}. Order: {', '.join(table.key)}.\n"
    yield from _columns(table.columns, {column.name: column.kind.sql for column in table.columns})


def _columns(columns: Sequence[Column], types: dict[str, str]) -> Iterator[str]:
    yield from _rows(
        "column",
        "中文",
        "type",
        "unit",
        "meaning",
        "clause",
        rows=(
            (
                f"`{column.name}`",
                column.chinese,
                types[column.name] + (", null" if column.is_nullable else ""),
                column.kind.unit,
                column.meaning,
                column.clause,
            )
            for column in columns
        ),
    )


def _views() -> Iterator[str]:
    """The types of a view's columns are those that DuckDB gives them."""
    yield "## Views 视图\n"
    types: dict[str, dict[str, str]] = {}
    with duckdb.connect() as connection:
        for statement in LAYOUT:
            connection.execute(statement)
        for view, column, kind in connection.execute(
            "select table_name, column_name, data_type from duckdb_columns() where not internal"
        ).fetchall():
            types.setdefault(view, {})[column] = kind
    for view in VIEWS:
        if not _is_current(view.name):
            yield f"### {view.name}\n"
            yield f"{view.comment}.\n"
            yield from _columns(view.columns, types[view.name])


# ---------------------------------------------------------------- input


def _input() -> Iterator[str]:
    yield "## Input 输入表\n"
    yield "### claims\n"
    yield "费用明细 · one row per charge line. National names also serve, the first listed that is present.\n"
    yield from _fields(terms.CLAIM_FIELDS, {})
    yield "A file `settlements` (结算单) gives " + ", ".join(f"`{name}`" for name in terms.FROM_SETTLEMENTS)
    yield "by `claim_id` where the claims lack them.\n"
    for name, fields in terms.SMALL_TABLES.items():
        yield f"### {name}\n" if name != "budgets" else "### budgets (input)\n"
        yield from _fields(fields, {column: cell.expected for column, cell in CELLS[name].items()})


def _fields(fields: Sequence[Field], expected: dict[str, str]) -> Iterator[str]:
    heads = ["column", "national names 国标字段", "required"] + (["expected"] if expected else [])
    rows = []
    for field in fields:
        national = ", ".join(f"`{name}`" for name in field.national)
        row = [f"`{field.name}`", national, "yes" if field.is_required else ""]
        rows.append(row + ([expected[field.name]] if expected else []))
    yield from _rows(*heads, rows=rows)


# ---------------------------------------------------------------- codes


def _codes() -> Iterator[str]:
    yield "## Codes\n"
    for title, codes in (
        ("zone 区域", terms.ZONES),
        ("point_class 点数类别", terms.POINT_CLASSES),
        ("regime 结算方式", terms.REGIMES),
        ("policy_status 政策状态", ("draft", "in_force", "lapsed")),
    ):
        yield f"**{title}** " + ", ".join(f"`{code}` {terms.CHINESE[code]}" for code in codes) + "\n"
    yield "**status of a run 批次状态** " + ", ".join(f"`{code}`" for code in terms.RUN_STATUSES) + "\n"
    charges = ", ".join(f"`{code}` {chinese}" for code, chinese in terms.CHARGE_CATEGORIES.items())
    yield f"**charge_category 费用类别** {charges}\n"
    yield "### readings 口径\n"
    yield from _rows(
        "key",
        "meaning",
        "default",
        "others",
        rows=(
            (f"`{key}`", MEANINGS[key], f"`{values[0]}`", ", ".join(f"`{value}`" for value in values[1:]))
            for key, values in READING_VALUES.items()
        ),
    )
    yield from _code_table("reason 不予支付原因", UnpaidReason)
    yield from _code_table("rule 剔除规则", RejectRule)
    yield from _code_table("finding 待处理事项", Finding)


def _code_table(title: str, codes: type[Code]) -> Iterator[str]:
    yield f"### {title}\n"
    yield "In order of precedence: the first that fits wins.\n" if codes is not Finding else ""
    yield from _rows(
        "code",
        "中文",
        "meaning",
        "clause",
        rows=((f"`{code.value}`", code.chinese, code.sentence, code.clause) for code in codes),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
