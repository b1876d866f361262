"""The sentences that the source makes: texts of refusals and faults, and every other string that reads like one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from settlement.texts import SENTENCES, in_chinese

SRC = Path(__file__).parents[1] / "src" / "settlement"
MESSAGES = ("Refusal", "Fault", "Refusals", "LedgerInUse", "differs", "_unfit")
PRINTED = ("_say", "told", "Step")
# Not for readers of the program, or bilingual by themselves: the dictionary, codes, SQL, pages and drawings.
ELSEWHERE = (
    "texts/", "terms.py", "reasons.py", "ledger/views.py", "report/charts.py", "report/page.py", "report/workbook.py",
)  # fmt: skip
# Made of the reader's own words, or of code: the same in every language.
SAME = {
    "--month {}", "--replay {}", "--batch {}={}", "--scale {}", "--out {}", "RUN=PATH", "key=value", "sql", "CSV",
    "--month", "--as-of", "--reason", "--format", "--engine", "--reading", "--encoding", "--batch", "--scale",
    "--growth {}", "`settlement close {}`", "[policy] effective_to", "[visit_types] emergency", "[overage] tiers",
    "[money] deposit_release", "[recalculation] percentile", "[[thresholds]] {} {} zone", "[point_classes]", "[zones]",
    "[visit_types]", "settlement report", "pip install 'settlement[report]'", "settlements.csv and settlements.parquet",
    "`with ledger.lock():`", "claims", "claims, --strict", "assessments", "month", "synthesis",
    "pipeline.STEPS", "{}/claims", "{}/runs.parquet", "SHA-256 {}", "settlement {}",
    "settlement {}\n{}\n{}\n{}", "settlement sql --ledger {} 'from threshold_use'",
    "settlement run {} --month 2026-03 --ledger {} --reading attribution=pro_rata",
    "settlement explain H12010400002 --month 2026-03 --ledger {}",
    # told apart by language in `Words`
    "{}: {}; expected {}", "{} problem(s)\n  ", "{}: {}; expected {}; to do: {}",
    # what only a programmer sees: errors of Python, kinds of days, clauses and lines of a policy file
    "module 'settlement' has no attribute {}", "{} has more than {} decimals", "no table {}; there are {}", "any day",
    "percentile {}", "place unknown", "{} of {} months of {} peer(s) in {}", "coaching ended {}; peers: {}",
    "D 36; from score {} on {} {} {}", "Missing option '--month'.",
    # between a cluster's workers and its driver
    "--engine spark", "--master {}", "spark", "PySpark does not yet fully support pandas",
    "blobs of shards {} and {} in one task", "shard int, source int, rows binary",
    "shard int, name string, content binary", "settlement failed", "settlement refused",
    # shapes whose every outcome stands in the table
    "run {} {}", "read {} ({}){}", "{} row(s) changed{}{}, {} too many, {} missing; for example {}", "no {}",
    "a list{} of {}, none of them twice", "{} points of {}", "is paid {}", "payable{}{}", "{}, SHA-256 {}…",
    "budget of {} = amounts + remainder", "point value of {} = budget ÷ points of the pool, cut down",
    "remainder of {} = {} left by the cut point value - {} added by rounding {} amount(s)", "all of {} submitted 申报",
}  # fmt: skip
_CODE = re.compile(
    r"#|select |from |with held|cast\(|held\.|count\(|create |comment on |delete from |insert into |set |attach |use |"
    r"detach |where |case when |storage_version |rules \d|\\\(os error|conversion from|[a-z]+_[a-z_]+$|runs\.parquet$"
)


class Sentence(NamedTuple):
    """A string of the source with `{}` for its values. `is_part`: of a longer text, so it need not stand alone."""

    place: str
    text: str
    is_part: bool


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def files() -> list[Path]:
    return [path for path in sorted(SRC.rglob("*.py")) if not name_of(path).startswith(ELSEWHERE)]


def name_of(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def text_of(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def strings(node: ast.AST, *, is_part: bool = False) -> Iterator[tuple[int, str, bool]]:
    """(line, text, whether it is a part) of every string under a node; those inside an f-string's values too."""
    text = text_of(node)
    if text is not None:
        yield getattr(node, "lineno", 0), text, is_part
    inside = is_part or not isinstance(node, ast.IfExp | ast.BoolOp | ast.Call | ast.keyword)
    for child in ast.iter_child_nodes(node):
        if isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant):
            continue
        if not isinstance(child, ast.Call | ast.Compare | ast.Subscript | ast.FormattedValue) or is_told(
            child
        ):
            yield from strings(child, is_part=inside)
        elif isinstance(child, ast.FormattedValue) and not isinstance(child.value, ast.Subscript | ast.Call):
            yield from strings(child.value, is_part=True)


def is_told(node: ast.AST) -> bool:
    """Calls that hand texts on: `", ".join(…)` of texts."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join"


def called(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]


def makers(tree: ast.Module) -> set[str]:
    """Functions of a module that only make a refusal of what they are given."""
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.returns and ast.unparse(node.returns) in MESSAGES
    } | {*MESSAGES, *PRINTED}


def of_messages(path: Path) -> Iterator[Sentence]:
    """What refusals, faults and sentences that are printed are made of."""
    tree = tree_of(path)
    names = makers(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) in names:
            for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
                for line, text, is_part in strings(argument):
                    if re.search("[A-Za-z]{2}", text) and not _CODE.match(text):
                        yield Sentence(f"{name_of(path)}:{line}", text.strip("\n"), is_part)


def of_source(path: Path) -> Iterator[Sentence]:
    """Every other string with two words in it; not help, docstrings and patterns of dates."""
    tree, aside = tree_of(path), set[int]()
    for node in ast.walk(tree):
        is_aside = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_aside or (isinstance(node, ast.keyword) and node.arg in ("help", "style", "validate")):
            aside |= {id(inner) for inner in ast.walk(node)}
        if isinstance(node, ast.JoinedStr | ast.FormattedValue):
            aside |= {id(inner) for inner in ast.iter_child_nodes(node) if isinstance(inner, ast.Constant)}
    for node in ast.walk(tree):
        text = text_of(node)
        if text is None or id(node) in aside or _CODE.match(text):
            continue
        if re.search(r"[a-z]{2},? [a-z{]|[}\]] [a-z]{2}|[a-z]{2}: |[a-z] [一-鿿]", text):
            yield Sentence(f"{name_of(path)}:{node.lineno}", text.strip("\n").lstrip("<"), True)


def has_chinese(sentence: Sentence) -> bool:
    """Whether the table translates it, alone or in a longer text."""
    text = sentence.text
    sample = text.replace("{}", "7")
    if text in SAME or text in SENTENCES or in_chinese(sample) != sample:
        return True
    return sentence.is_part and any(text.strip(" ,;") in english for english in SENTENCES)
