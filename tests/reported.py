"""A settled month, and its page read back as a machine reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

from settlement import load_policy
from settlement.ledger import Ledger, query
from settlement.runs import Order, run
from test_batch import LINE, Rows

Reporter = Callable[..., Path]
MARCH = date(2026, 3, 1)
HOSTILE_NAME = """<img src=x onerror=alert(1)>&"'甲"""
HOSTILE_IDS = ("=1+1", "+1", "-1", "@SUM(A1)", '<b>&"x')


@dataclass
class Month:
    """A settled March, its ledger and the batch it came from."""

    ledger: Ledger
    batch: Path

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        return query(self.ledger, sql).rows()

    def value(self, sql: str) -> object:
        return self.rows(sql)[0][0]


@dataclass
class Page(HTMLParser):
    """A page as its tags, tiles, tables and drawings."""

    html: str
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    tiles: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    text: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    descriptions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.named = ""
        self.is_other = False
        self.feed(self.html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.tags.append((tag, given))
        self.open.append(tag)
        self.named = given.get("data-name") or self.named
        self.is_other = given.get("class") == "other"
        starts = {"figcaption": self.captions, "title": self.titles, "desc": self.descriptions}
        if tag in starts:
            starts[tag].append("")
        if tag == "table":
            self.tables[self.named] = []
        if tag == "tbody":
            self.is_head = False
        if tag == "tr":
            self.tables[self.named].append([])
        if tag in ("td", "th"):
            self.tables[self.named][-1].append("")
        if tag == "data":
            value = given["value"] or ""
            if "td" in self.open:
                self.tables[self.named][-1][-1] = value
            elif "dd" in self.open:
                self.tiles[self.named] = value

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass
        self.is_other = False

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        inner = self.open[-1] if self.open else ""
        if inner == "figcaption":
            self.captions[-1] += data
        elif inner == "title":
            self.titles[-1] += data
        elif inner == "desc":
            self.descriptions[-1] += data
        elif "td" in self.open and "data" not in self.open and not self.is_other:
            self.tables[self.named][-1][-1] += data.strip()

    def rows(self, table: str) -> list[list[str]]:
        """The rows of a table, without its heading: figures as exact texts, terms in the page's language."""
        return self.tables[table][1:]


def settled(folder: Path, batch: Path, policy: str = "tianjin") -> Month:
    run(Order(batch, "2026-03", load_policy(policy)), folder / "ledger", lambda _: None)
    return Month(Ledger(folder / "ledger"), batch)


def line(claim_id: str, day: int, points: str, **more: str) -> dict[str, str]:
    at = f"2026-03-{day:02} 09:00:00"
    return {**LINE, "claim_id": claim_id, "serviced_at": at, "settled_at": at, "points": points, **more}


def crossing_lines() -> Rows:
    """A clinic of the urban zone (service 25789.12): 20000 on the 4th, crossed on the 9th, a reversal after it."""
    return [
        line(HOSTILE_IDS[0], 4, "20000.0001"),
        line(HOSTILE_IDS[1], 9, "5789.12"),
        line(HOSTILE_IDS[2], 11, "8000.5"),
        line(HOSTILE_IDS[3], 12, "-500", reverses_line_id="1"),
        line(HOSTILE_IDS[4], 13, "10"),
        line("=HYPERLINK(1)", 14, "x"),
        line("gone", 14, "3", charge_category="99"),
    ]


def page_at(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def exact(text: object) -> Decimal:
    return Decimal(str(text))
