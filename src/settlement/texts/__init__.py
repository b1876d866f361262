"""Every text of the program in English and Chinese, in one table of three parts.

Layer 2. `named`: texts of the report that code asks for by name; `messages`: refusals and faults; `printed`: what is
printed of results. A new text is a line there; a test finds every text of the source that has none.
"""

from __future__ import annotations

from .named import TEXTS
from .words import ENGLISH, LANGUAGES, SENTENCES, Term, Words, in_chinese, words_in

__all__ = ["ENGLISH", "LANGUAGES", "SENTENCES", "TEXTS", "Term", "Words", "in_chinese", "words_in"]
