"""The page: its parts in one HTML file that needs nothing but itself."""

from __future__ import annotations

from decimal import Decimal
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from .. import __version__
from ..texts import Term, Words
from .facts import Facts
from .sections import Parts, shown


def page_of(facts: Facts, words: Words, workbook: str) -> str:
    """The HTML of a run's report. `workbook`: name of the file beside it."""
    parts = Parts(facts, words, workbook)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "cell": lambda value: _cell(value, words),
        "both": lambda term: _both(term, words),
    }
    environment.tests["term"] = lambda value: isinstance(value, Term)
    template = environment.from_string(_resource("page.html"))
    return template.render(
        words=words,
        facts=facts,
        month=f"{facts.run['month']:%Y-%m}",
        workbook=workbook,
        style=Markup(_resource("page.css")),  # noqa: S704 - our own file
        notes=list(parts.notes()),
        tiles=list(parts.tiles()),
        sections=list(parts.sections()),
        gap="" if words.language == "zh" else " ",
        generator=f"settlement {__version__}",
    )


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _cell(value: object, words: Words) -> Markup:
    """A value as HTML; a figure carries its exact text for machines."""
    if isinstance(value, Term):
        return _both(value, words)
    if isinstance(value, int | Decimal):
        return Markup('<data value="{}">{}</data>').format(value, shown(value))
    return Markup("{}").format(shown(value))


def _both(term: Term, words: Words) -> Markup:
    if not term.other or term.other == term.main:
        return Markup("{}").format(term.main)
    other = "zh-Hans" if words.other_language == "zh" else "en"
    return Markup('{} <span class="other" lang="{}">{}</span>').format(term.main, other, term.other)
