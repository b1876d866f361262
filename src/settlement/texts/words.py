"""The texts in one language: those that have a name, and those the program has made in English.

Results, messages and records are made in English, whoever reads them; `Words.told` gives a finished English text in
the language of the reader, by the table's sentence that it was made from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

from ..errors import Refusal, Refusals, SettlementError
from ..reasons import Code, Finding, RejectRule, UnpaidReason
from ..terms import ANNUAL_STATEMENTS, CHINESE, LEDGER_TABLES
from .messages import MESSAGES
from .named import TEXTS
from .printed import CODES, HEADS, PRINTED

LANGUAGES = ("en", "zh")
SENTENCES: Mapping[str, str] = {**MESSAGES, **PRINTED}
# columns of printed tables: cells that are codes, and cells that are sentences; all others stay as they are
_CODED = ("zone", "regime", "point_class", "payment_class", "status", "policy_status", "cause")
_TOLD = ("detail", "lack", "scenario", "meaning")
_PLAIN = 6  # letters and signs of a template; one with fewer takes no value with blanks in it


class Term(NamedTuple):
    """A word of the field: in the language of the page, and in the other one."""

    main: str
    other: str

    def __str__(self) -> str:
        return self.main if self.main == self.other or not self.other else f"{self.main} {self.other}"


@dataclass(frozen=True)
class Words:
    """The texts in one language of `LANGUAGES`."""

    language: str

    @property
    def other_language(self) -> str:
        return "zh" if self.language == "en" else "en"

    @property
    def is_chinese(self) -> bool:
        return self.language == "zh"

    # ------------------------------------------------------------ texts with a name

    def text(self, key: str, **figures: object) -> str:
        """Running text."""
        english, chinese = TEXTS[key]
        return (chinese if self.is_chinese else english).format(**figures)

    def term(self, key: str) -> Term:
        return self._term(*TEXTS[key])

    def code(self, code: str | None) -> Term:
        """A code of the ledger, as `drug_consumable`; null is a dash."""
        if code is None:
            return Term("–", "")
        if code in TEXTS:
            return self.term(code)
        return self._term(code.replace("_", " "), CHINESE.get(code, ""))

    def column(self, table: str, column: str) -> Term:
        """The name of a ledger column."""
        found = next(each for each in LEDGER_TABLES if each.name == table)[column]
        return self._term(column.replace("_", " "), found.chinese)

    def meaning(self, code: Code) -> Term:
        return self._term(code.sentence, code.chinese)

    def short(self, code: Code) -> str:
        """A code where there is no room for its sentence."""
        return self._term(code.value.replace("_", " "), code.chinese).main

    def _term(self, english: str, chinese: str) -> Term:
        if self.is_chinese and chinese:
            return Term(chinese, english)
        return Term(english, chinese)

    # ------------------------------------------------------------ texts made in English

    def told(self, text: str) -> str:
        """A text of the program in this language. What the tables do not know stays as it is.

        >>> Words("zh").told("month 2026-03 is closed"), Words("en").told("month 2026-03 is closed")
        ('2026-03 已关账', 'month 2026-03 is closed')
        """
        return in_chinese(text) if self.is_chinese else text

    def head(self, column: str) -> str:
        """The head of a printed table's column."""
        return _heads().get(column, column) if self.is_chinese else column

    def cell(self, column: str, value: object) -> str:
        """A cell of a printed table; names and figures as they are, null as nothing."""
        text = "" if value is None else str(value)
        if self.is_chinese and column in _CODED:
            return _codes().get(text, text)
        return " · ".join(map(self.told, text.split(" · "))) if column in _TOLD else text

    def pair(self, name: str, meaning: str) -> str:
        """A name and what it means."""
        return f"{self.told(name)}{'：' if self.is_chinese else ': '}{self.told(meaning)}"

    def error(self, error: SettlementError) -> str:
        """A refusal or fault, part by part."""
        if not self.is_chinese:
            return str(error)
        parts = dict(error.parts)
        told = {label: in_chinese(text) for label, text in parts.items() if label != "found"}
        return "\n".join(f"{in_chinese(label)}：{told.get(label) or _found(error)}" for label in parts)

    def difference(self, where: str, found: str, expected: str, remedy: str) -> str:
        """One line of `verify`, whatever a foreign hand put into names and rows."""
        where, found, expected, remedy = map(self.told, (where, found, expected, remedy))
        shape = "{}：{}；应为：{}；处理：{}" if self.is_chinese else "{}: {}; expected {}; to do: {}"
        line = shape.format(where, found, expected, remedy)
        return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)


ENGLISH = Words("en")


def _found(error: SettlementError) -> str:
    """What was found; of several refusals each in a line of its own."""
    if not isinstance(error, Refusals):
        return in_chinese(error.found)
    return "\n  ".join([in_chinese(f"{len(error.each)} problem(s)"), *map(_problem, error.each)])


def _problem(one: Refusal) -> str:
    found = one.found if _is_cell(one) else in_chinese(one.found)
    return f"{in_chinese(one.where)}：{found}；应为：{several(one.expected)}"


def _is_cell(one: Refusal) -> bool:
    """What was found is a word of the input, as it stands there, and no sentence about it."""
    return ", row " in one.where and " " not in one.found and one.found != "nothing"


def words_in(language: str | None, environment: Mapping[str, str]) -> Words:
    """The texts in the language asked for, else in that of the locale. Raises: Refusal for another language."""
    if language is None:
        locale = next(
            (environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), ""
        )
        return Words("zh" if locale.lower().startswith("zh") else "en")
    if language not in LANGUAGES:
        raise Refusal("--lang", repr(language), "en or zh", "for example --lang zh")
    return Words(language)


# ---------------------------------------------------------------- from English to Chinese


@lru_cache(maxsize=4096)
def in_chinese(text: str) -> str:
    """The Chinese sentence of a finished English one, with its values; the text itself if there is none.

    >>> in_chinese("no such file"), in_chinese("H12010100001")
    ('没有该文件', 'H12010100001')
    """
    known = _exact().get(text)
    if known is not None:
        return known
    for template in _templates():
        values = template.values_in(text)
        if values is not None:
            return template.chinese.format(*map(_Value, values))
    return _of_parts(text)


def _of_parts(text: str) -> str:
    """Known words with commas between them, or one with something in brackets; else the text itself."""
    parts = text.split(", ")
    if all(part in _exact() for part in parts):
        return "，".join(_exact()[part] for part in parts)
    head, _, rest = text.partition(" (")
    return f"{_exact()[head]}（{rest[:-1]}）" if head in _exact() and text.endswith(")") else text


def several(text: str) -> str:
    """Texts with "; " between them."""
    return "；".join(map(in_chinese, text.split("; ")))


class _Value(str):
    """What stands in the place of a `{}`."""

    __slots__ = ()

    def __format__(self, shape: str) -> str:
        return _SHAPES[shape](str(self))


_SHAPES: Mapping[str, Callable[[str], str]] = {
    "": str,
    "told": in_chinese,
    "several": several,
    "mute": lambda _: "",
}


@cache
def _exact() -> Mapping[str, str]:
    """Sentences without values; codes with their meaning, as the English summary names both."""
    meanings = {
        f"{code.sentence} {code.chinese}": code.chinese
        for kind in (RejectRule, UnpaidReason, Finding)
        for code in kind
    }
    terms = {f"{code} {chinese}": chinese for code, chinese in CHINESE.items()}
    plain = {english: chinese.format() for english, chinese in SENTENCES.items() if "{}" not in english}
    return {**_codes(), **terms, **meanings, **plain}


@dataclass(frozen=True)
class Template:
    """An English sentence with values in it, and the Chinese one. `literals`: what stands before, between, after them.

    >>> Template.of("month {} is closed", "{} 已关账").values_in("month 2026-03 is closed")
    ['2026-03']
    """

    literals: tuple[str, ...]
    chinese: str

    @staticmethod
    def of(english: str, chinese: str) -> Template:
        return Template(tuple(english.split("{}")), chinese)

    @property
    def said(self) -> int:
        """How much of the sentence is its own."""
        return sum(map(len, self.literals))

    def values_in(self, text: str) -> list[str] | None:
        """The values with which this sentence is the text; None if it is not. One walk through the text, however long.

        Of a short template the values have no blanks: it would fit anything.
        """
        first, *middle, last = self.literals
        start, end = len(first), len(text) - len(last)
        if start > end or not text.startswith(first) or not text.endswith(last):
            return None
        values = []
        for literal in middle:
            found = text.find(literal, start, end)
            if found < 0:
                return None
            values.append(text[start:found])
            start = found + len(literal)
        values.append(text[start:end])
        is_bare = self.said < _PLAIN and any(map(str.isspace, "".join(values)))
        return None if is_bare else values


@cache
def _templates() -> list[Template]:
    """Sentences with values, those first that say the most; those last that begin with a value and say little."""

    def order(template: Template) -> tuple[bool, int]:
        return not template.literals[0] and template.said < 2 * _PLAIN, -template.said

    return sorted((Template.of(*both) for both in SENTENCES.items() if "{}" in both[0]), key=order)


@cache
def _heads() -> Mapping[str, str]:
    columns = [column for table in (ANNUAL_STATEMENTS, *LEDGER_TABLES) for column in table.columns]
    return {**{column.name: column.chinese for column in columns}, **HEADS}


@cache
def _codes() -> Mapping[str, str]:
    return {**CHINESE, **CODES}
