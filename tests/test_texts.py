"""English and Chinese: every text has both, and whatever is asked in either language, the figures are the same."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from string import Formatter
from typing import Any

import polars as pl
import pytest
from rich.cells import cell_len

import sentences
from program import Done, program
from sentences import SAME, SRC, Sentence, files, has_chinese, of_messages, of_source
from settlement import cli
from settlement.batch import month_of
from settlement.errors import Refusal, Refusals
from settlement.explain import explain
from settlement.ledger import Ledger
from settlement.policy import READING_VALUES
from settlement.reasons import Finding, RejectRule, UnpaidReason
from settlement.terms import CHINESE, LEDGER_TABLES, SMALL_TABLES
from settlement.texts import SENTENCES, TEXTS, Words, in_chinese
from settlement.texts.words import _Value

ROOT = SRC.parents[1]
WORD = re.compile(r"[A-Za-z]{3}")
ZH = Words("zh")

# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("path", files(), ids=sentences.name_of)
def test_every_text_of_the_source_has_its_chinese(path: Path) -> None:
    """Refusals, faults and what is printed; a new one is a line of the table."""
    found = {*of_messages(path), *of_source(path)}
    assert sorted(sentence for sentence in found if not has_chinese(sentence)) == []


def test_the_messages_are_seen() -> None:
    """A guard on this file: a text without Chinese is found, alone and as a part."""
    assert sum(1 for path in files() for _ in of_messages(path)) > 500
    assert not has_chinese(Sentence("x.py:1", "a refusal that nobody has translated", is_part=False))
    assert not has_chinese(Sentence("x.py:1", "; and its second half", is_part=True))
    assert has_chinese(Sentence("x.py:1", "no such file", is_part=False))


def test_a_refusal_in_code_is_read_as_its_parts() -> None:
    code = 'Refusal(f"ledger {folder}", "missing" if gone else f"no {name}", ", ".join(rows), "a" + "one of")'
    assert [(text, is_part) for _, text, is_part in sentences.strings(ast.parse(code, mode="eval").body)] == [
        ("ledger {}", False), ("missing", False), ("no {}", False), (", ", True), ("a", True), ("one of", True),
    ]  # fmt: skip


def test_a_translation_has_the_values_of_its_text() -> None:
    """Each value once."""
    for english, chinese in SENTENCES.items():
        fields = list(Formatter().parse(chinese))
        names = [name for _, name, _, _ in fields if name is not None]
        places = [int(name or place) for place, name in enumerate(names)]
        assert sorted(places) == list(range(english.count("{}"))), english
        assert {shape for _, _, shape, _ in fields} <= {"", None, "told", "several", "mute"}, english


def test_no_text_is_taken_for_another() -> None:
    for english, chinese in SENTENCES.items():
        values, made = [f"v{place}" for place in range(english.count("{}"))], english
        for value in values:
            made = made.replace("{}", value, 1)
        assert in_chinese(made) == chinese.format(*map(_Value, values)), english


def test_a_translation_has_chinese_punctuation() -> None:
    """Full-width marks next to Chinese."""
    half = re.compile(r"[一-鿿][,;:?!]|[,;:?!][一-鿿]|[一-鿿]\(|\)[一-鿿]")
    assert [chinese for chinese in SENTENCES.values() if half.search(chinese)] == []


def test_every_text_of_the_table_is_used() -> None:
    tables = [SRC / "texts" / name for name in ("messages.py", "printed.py", "named.py")]
    source = [text for path in SRC.rglob("*.py") if path not in tables for text in texts_in(path)]
    notes = [f": {note}" for path in (ROOT / "thresholds").glob("*.toml") for note in notes_in(path)]
    system = [os.strerror(code).lower() for code in range(1, 134)]
    used = "\n".join([*source, *notes, *system])
    assert [text for text in SENTENCES if not all(is_used(part, used) for part in parts_of(text))] == []
    assert not is_used("a text that was removed", used)


def texts_in(path: Path) -> list[str]:
    return [
        text for node in ast.walk(sentences.tree_of(path)) if (text := sentences.text_of(node)) is not None
    ]


def notes_in(path: Path) -> list[str]:
    return re.findall(r'^note = "(.*)"$', path.read_text(encoding="utf-8"), flags=re.MULTILINE)


def parts_of(text: str) -> list[str]:
    """What stands between the values and marks of a text."""
    pieces = (piece.strip(" :;,·×()") for piece in re.split(r"\{\}|; |, |: (?=\w)| · ", text))
    return [piece for piece in pieces if WORD.search(piece)]


def is_used(part: str, used: str) -> bool:
    """As it is, or put together from two."""
    words = part.split(" ")
    halves = ((" ".join(words[:place]), " ".join(words[place:])) for place in range(1, len(words)))
    return part in used or any(left in used and right in used for left, right in halves)


def test_every_named_text_is_used_and_every_name_is_known() -> None:
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in (SRC / "report").iterdir() if path.is_file()
    )
    asked = re.findall(r"words\.(?:text|term)\(['\"](\w+)['\"]", source)
    assert [name for name in asked if name not in TEXTS] == []
    known = {column.name for table in LEDGER_TABLES for column in table.columns} | {"open", "closed"}
    statuses = {"superseded", "restated"}
    assert [name for name in TEXTS if f'"{name}"' not in source and f"'{name}'" not in source
            and name not in known | statuses] == []  # fmt: skip


def test_what_is_the_same_in_every_language_is_still_said() -> None:
    said = {sentence.text for path in files() for sentence in (*of_messages(path), *of_source(path))}
    assert SAME - said == set()


# ---------------------------------------------------------------- which language


def test_the_locale_decides_unless_a_language_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(*arguments: str, **environment: str) -> str:
        for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return program(*arguments).err.split("\n")[0]

    assert refusal("runs", "--ledger", "none") == "refused"
    assert refusal("runs", "--ledger", "none", LANG="zh_CN.UTF-8") == "已拒绝"
    assert refusal("runs", "--ledger", "none", LC_ALL="zh_TW.UTF-8", LANG="en_GB.UTF-8") == "已拒绝"
    assert refusal("runs", "--ledger", "none", LC_ALL="C", LANG="zh_CN.UTF-8") == "refused"
    assert refusal("--lang", "en", "runs", "--ledger", "none", LANG="zh_CN.UTF-8") == "refused"
    assert refusal("--lang", "zh", "runs", "--ledger", "none") == "已拒绝"
    assert refusal("runs", "--ledger", "none", "--lang", "zh") == "已拒绝"
    assert refusal("ledger", "rebuild", "--ledger", "none", "--lang=zh") == "已拒绝"
    assert refusal("--lang", "zh", "runs", "--ledger", "none", "--lang", "en") == "refused"


@pytest.mark.parametrize(
    "arguments", [("--lang", "fr", "runs"), ("runs", "--lang", "fr"), ("runs", "--lang", "")]
)
def test_another_language_is_refused(arguments: tuple[str, ...]) -> None:
    done = program(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "expected: en or zh\nto do:    for example --lang zh" in done.err


def test_every_command_takes_a_language() -> None:
    group = cli.program()
    lacking = [command.name for command in cli.commands_of(group) if "lang" not in option_names(command)]
    assert "lang" in option_names(group)
    assert lacking == []


def option_names(command: Any) -> set[str]:
    return {option.name for option in command.params}


# ---------------------------------------------------------------- the same in both languages

Say = Callable[..., Done]
Both = Callable[..., tuple[Done, Done]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts") / "demo"
    assert program("--lang", "en", "demo", folder).code == 0
    shutil.copytree(folder / "batch", folder / "late")
    (claims,) = (folder / "late" / "claims").glob("*.csv")
    claims.write_bytes(b"\n".join(claims.read_bytes().split(b"\n")[:-300]))
    (folder / "bad").mkdir()
    (folder / "bad" / "policy.toml").write_text('x = 1\n[policy]\nid = 7\n[[thresholds]]\nzone = ""\n')
    (folder / "scores.csv").write_text(
        "institution_id,year,score\n"
        + "".join(f"{one},2026,95\n" for one in institutions(folder) if one != "H12010200001")
    )
    return folder


def institutions(folder: Path) -> list[str]:
    return Ledger(folder / "ledger").scan("2026-03.1", "statements").collect()["institution_id"].to_list()


@pytest.fixture
def both(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Both:
    """A command in English and in Chinese, each in a copy of the demo of its own."""
    for language in ("en", "zh"):
        shutil.copytree(demo, tmp_path / language)

    def call(*arguments: str) -> tuple[Done, Done]:
        made = []
        for language in ("en", "zh"):
            monkeypatch.chdir(tmp_path / language)
            made.append(program("--lang", language, *arguments))
        return made[0], made[1]

    return call


FIGURE = re.compile(
    r"(?<![\d.:])-?\d[\d,]*\.(?:\d{6}|\d{4}|\d{2})(?![\d.])(?<!1234.50)"
)  # but the example in a rule's English sentence
RUN = ("--month", "2026-03")
PRINTING = {
    "check": [("check", "batch", *RUN)],
    "wrong month": [("check", "batch", "--month", "2026-04")],
    "run": [("run", "batch", *RUN, "--ledger", "new"), ("run", "batch", *RUN, "--ledger", "new")],
    "run --replay": [("run", "batch", "--replay", "2026-03.1")],
    "explain": [("explain", "H12010400002", *RUN), ("explain", "H12011200002", *RUN)],
    "explain --line": [
        ("explain", "H12010400002", *RUN, "--line", "12202603000000269", "1220260300000026903"),
        ("explain", "H12010400002", *RUN, "--line", "12202603000000269", "9"),
    ],
    "simulate": [("simulate", "batch", *RUN, "--growth", "0.03", "--every-reading")],
    "forecast": [("forecast", "batch", *RUN, "--as-of", "2026-03-15")],
    "close, restate, clear": [
        ("close", "2026-03"),
        ("restate", "late", *RUN, "--reason", "late lines"),
        ("explain", "H12010400002", *RUN),
        ("runs",),
        ("diff", "2026-03.1", "2026-03.2"),
        ("clear", "--year", "2026"),
        ("clear", "--year", "2026", "--assessments", "scores.csv"),
        ("close", "2026-03"),
    ],
    "verify": [("verify",), ("verify", "--head", "0" * 64)],
    "thresholds": [("thresholds", "show"), ("thresholds", "show", "--policy", "dongguan")],
    "generate": [("generate", *RUN, "--lines", "400", "--institutions", "4", "--out", "made")],
    "refusals": [
        ("run", "nowhere", *RUN),
        ("run", "batch", "--month", "2026-3"),
        ("check", "batch", *RUN, "--policy", "bad/policy.toml"),
        ("check", "batch", *RUN, "--policy", "unknown"),
        ("check", "batch", *RUN, "--strict"),
        ("check", "batch", *RUN, "--reading", "attribution=by_luck"),
        ("check", "batch", *RUN, "--submitted-on", "2034-04-01"),
        ("restate", "late", *RUN, "--reason", " "),
        ("explain", "H1201040000", *RUN),
        ("diff", "2026-03.1", "2026-03.9"),
        ("sql", "drop table runs"),
        ("forecast", "batch", *RUN, "--as-of", "2026-04-15"),
        ("simulate", "batch", *RUN, "--scale", "zone=moon,factor=2"),
        ("export", "--out", "batch"),
        ("thresholds", "recalculate", "--year", "2031"),
        ("generate", *RUN, "--lines", "0", "--institutions", "4", "--out", "made"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", PRINTING)
def test_figures_and_exit_codes_are_those_of_english_and_no_english_is_left(name: str, both: Both) -> None:
    for arguments in PRINTING[name]:
        english, chinese = both(*arguments)
        assert english.code == chinese.code, chinese.err
        for one, other in ((english.out, chinese.out), (english.err, chinese.err)):
            assert Counter(FIGURE.findall(one)) == Counter(FIGURE.findall(other))
            assert english_words(other) == []


CODES = {
    *(code.value for kind in (RejectRule, UnpaidReason, Finding) for code in kind),
    *(word for key, values in READING_VALUES.items() for word in (key, *values)),
    *(table.name for table in LEDGER_TABLES), *SMALL_TABLES,
    *(field.name for fields in SMALL_TABLES.values() for field in fields),
    *CHINESE, "settlement", "tianjin", "dongguan", "claims", "annual_statements", "current_settlements", "unknown",
    "policy", "zones", "visit_types", "point_classes", "agreements", "money", "recalculation", "growth", "overage",
    "thresholds", "priority", "readings", "institution_thresholds", "points_per_yuan", "coaching", "rules", "DRAFT",
    "SHA", "utf", "gb18030", "null", "sql", "DROP", "SELECT", "Windows", "effective_from", "zone", "factor", "class",
    "title", "status", "jurisdiction", "source", "checked_on", "draft", "in_force", "lapsed", "assumed", "clause",
    "phrase", "payment_class", "drug_consumable", "service", "effective_to", "note", "deposit_release", "score_min",
    "ledger", "batch", "moon", "true", "false", "setl_id", "YYYY", "made", "nowhere", "toml",
}  # fmt: skip


def english_words(text: str) -> list[str]:
    """English words that are no codes, names of files and columns, options or commands."""
    plain = re.sub(
        r"`[^`]*`|'[^']*'|\"[^\"]*\"|--[\w-]+|\S+\.(csv|parquet|toml|duckdb)\b|[\w./-]*/[\w./-]*", " ", text
    )
    plain = re.sub(r"未使用的列：.*|^  settlement .*|[0-9a-f]{12,}…?", " ", plain, flags=re.MULTILINE)
    return [word for word in re.findall(r"[A-Za-z_]{3,}\d*", plain) if word.strip("_") not in CODES]


def test_refusals_in_chinese(both: Both) -> None:
    assert both("run", "nowhere", *RUN)[1].err == (
        "已拒绝\n\n位置：nowhere\n发现：该处为空\n应为：数据目录：含 claims、institutions 和 agreements 的目录\n"
        "处理：检查路径\n"
    )
    assert both("check", "batch", *RUN, "--policy", "bad/policy.toml")[1].err.splitlines()[2:6] == [
        "位置：bad/policy.toml",
        "发现：共 21 处问题",
        '  [x]：未知键 "x"；应为：policy, zones, point_classes, points_per_yuan, visit_types, coaching, agreements, '
        "thresholds, growth, overage, priority, money, readings, recalculation, institution_thresholds 之一；将其删除",
        "  [policy] id：不带引号的 7；应为：带引号的标识，无空格和斜杠；写成带引号的字符串",
    ]
    assert both("explain", "H1201040000", *RUN)[1].err.splitlines()[2:4] == [
        "位置：机构 'H1201040000'",
        "发现：批次 2026-03.1 的机构登记中没有",
    ]


def test_verify_names_differences_in_chinese(both: Both, tmp_path: Path) -> None:
    for language in ("en", "zh"):
        (tmp_path / language / "ledger" / "runs" / "2026-03.1" / "budgets.parquet").unlink()
    english, chinese = both("verify")
    assert english.code == chinese.code == 1
    assert "budgets.parquet：没有该文件；应为：SHA-256 为 " in chinese.out
    assert english_words(chinese.out) == []


def test_a_fault_is_told_in_chinese_and_its_trace_is_not(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("settlement.runs.proofs", lambda *_: 1 / 0)
    english, chinese = both("check", "batch", *RUN)
    assert (english.code, chinese.code) == (3, 3)
    assert chinese.err.startswith("程序自身错误，请报告\n\n程序：test_texts.py，第 ")
    assert "\n跟踪：" in chinese.err


def test_summaries_in_chinese(both: Both) -> None:
    lines = [" ".join(line.split()) for line in both("check", "batch", *RUN)[1].out.splitlines()]
    assert "DRAFT 征求意见稿：政策尚未生效，以下数字均为试算" in lines
    assert "读入 4,000 969,373.7969" in lines
    assert "超出阈值：6 家机构" in lines
    assert "H12011200002 津南佳泰医务室 环城 药品耗材 88,503.4575 56,551.73 31,951.7275 39,816.3203" in lines
    assert "H12011800001 billed_while_suspended 2026-03-13 中止期间发生明细 151 行 D 43(4)" in lines
    assert any(line.startswith(("13 项核对全部相符；", "12 项核对全部相符；")) for line in lines)


# ---------------------------------------------------------------- what no language changes


def test_objects_and_records_never_depend_on_the_language(both: Both, tmp_path: Path) -> None:
    for arguments in (
        ("run", "batch", *RUN, "--ledger", "new", "--json"),
        ("check", "batch", *RUN, "--json"),
        ("explain", "H12010400002", *RUN, "--json"),
        ("simulate", "batch", *RUN, "--every-reading", "--json"),
        ("forecast", "batch", *RUN, "--as-of", "2026-03-15", "--json"),
    ):
        english, chinese = (json.loads(done.out) | {"seconds": ""} for done in both(*arguments))
        assert english == chinese
    runs, findings = (
        [
            pl.read_parquet(tmp_path / language / "new" / "runs" / "2026-03.1" / f"{table}.parquet")
            for language in ("en", "zh")
        ]
        for table in ("runs", "findings")
    )
    assert runs[0].drop("finished_at", "hash").equals(runs[1].drop("finished_at", "hash"))
    assert findings[0].equals(findings[1])


def test_names_of_the_input_are_shown_untouched(both: Both, tmp_path: Path) -> None:
    """A name that reads like a text of the program stays the name it is."""
    for language in ("en", "zh"):
        registry = tmp_path / language / "batch" / "institutions.csv"
        text = registry.read_bytes().decode("gb18030")
        registry.write_bytes(text.replace("津南佳泰医务室", "no such file").encode("gb18030"))
    _, chinese = both("check", "batch", *RUN)
    assert re.search(r"H12011200002 +no such file +环城", chinese.out)
    both("run", "batch", *RUN, "--ledger", "new")
    assert both("explain", "no such file", *RUN, "--ledger", "new")[1].out.startswith(
        "H12011200002 no such file ·"
    )
    assert "no such file" in both("forecast", "batch", *RUN, "--as-of", "2026-03-15")[1].out


def test_an_explanation_in_chinese_fits_a_screen(demo: Path) -> None:
    ledger, month = Ledger(demo / "ledger"), month_of("2026-03")
    for institution in institutions(demo):
        lines = explain(ledger, month, institution).text(ZH).splitlines()
        assert max(map(cell_len, lines)) <= 100, institution


def test_several_refusals_are_told_one_by_one() -> None:
    rows = Refusals(
        "batch, small tables", [Refusal("events.csv, row 2, kind", "x", "one of a, b")] * 2, "remove it"
    )
    assert ZH.error(rows) == (
        "位置：数据目录，小表\n发现：共 2 处问题\n  events.csv，第 2 行，kind：x；应为：a, b 之一\n"
        "  events.csv，第 2 行，kind：x；应为：a, b 之一\n处理：将其删除"
    )


def test_a_cell_of_the_input_is_quoted_as_it_is() -> None:
    cells = ["missing", "nothing"]  # the second stands for an empty cell
    rows = [Refusal("events.csv, row 2, kind", cell, "one of a, b") for cell in cells]
    told = ZH.error(Refusals("batch, small tables", rows, "remove it")).splitlines()
    assert [line.split("：")[1] for line in told[2:4]] == ["missing；应为", "无；应为"]


def test_a_text_that_holds_another_is_told_with_it() -> None:
    note = "this batch has 3,701 line(s), run 2026-03.1 had 4,000: a restatement settles the whole month anew, and "
    note += "what is missing is recovered. If only late lines were meant, restate again with all lines of the month"
    assert ZH.told(f"note: {note}").startswith("备注：本次数据有 3,701 行明细，批次 2026-03.1 有 4,000 行：")
    assert ZH.told("policy is told with the next cause, for the rules refuse it alone: no such file") == (
        "政策与下一项原因合并列示，因单独变更被规则拒绝：没有该文件"
    )


def test_a_text_that_lists_others_is_told_with_each() -> None:
    rows = "; ".join(f"no threshold row for payment class {name} in zone binhai" for name in ("a", "b"))
    assert ZH.told(f"{rows} in force on 2026-03-01, but lines of 1 institution(s) need one: H1") == (
        "支付类别 a、区域 binhai 没有阈值行；支付类别 b、区域 binhai 没有阈值行（2026-03-01），1 家机构需要：H1"
    )


def test_thousands_of_bad_rows_are_told_too() -> None:
    """A text is walked through once for each sentence it may be, however long: else this would not end."""
    rows = [Refusal(f"events.csv, row {row}, kind", "x", "one of a, b") for row in range(2_000)]
    assert ZH.error(Refusals("batch, small tables", rows, "remove it")).count("之一") == 2_000
    assert ZH.told("; ".join(f"H{number}: division 1 is in no zone" for number in range(2_000))).startswith(
        "H0"
    )


def test_a_line_of_verify_stays_one_line() -> None:
    assert "\n" not in ZH.difference("a\nb", "no such file", "none", "remove it")
