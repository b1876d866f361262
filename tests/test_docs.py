"""The documents for analysts: the dictionary is that of the program, the recipes show what the ledger answers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from settlement.ledger import VIEWS
from settlement.terms import LEDGER_TABLES, SMALL_TABLES

DOCS = Path(__file__).parents[1] / "docs"
RECIPES = (DOCS / "recipes.md").read_text(encoding="utf-8")
DICTIONARY = (DOCS / "dictionary.md").read_text(encoding="utf-8")


def test_the_dictionary_is_up_to_date() -> None:
    made = subprocess.run([sys.executable, str(DOCS / "make_dictionary.py"), "--check"], check=False)
    assert made.returncode == 0, "run `python docs/make_dictionary.py`"


def test_the_dictionary_has_every_table_view_and_column() -> None:
    for table in LEDGER_TABLES:
        assert f"### {table.name}\n" in DICTIONARY
        assert not [name for name in table.names if f"| `{name}` |" not in DICTIONARY]
    for view in VIEWS:
        if not view.name.startswith("current_"):
            assert f"### {view.name}\n" in DICTIONARY
            assert not [column.name for column in view.columns if f"| `{column.name}` |" not in DICTIONARY]
    for name, fields in SMALL_TABLES.items():
        assert f"### {name}" in DICTIONARY
        assert not [field.name for field in fields if f"| `{field.name}` |" not in DICTIONARY]


def sections(text: str) -> list[str]:
    """Each recipe with its question, SQL and output."""
    return re.split(r"^### ", text, flags=re.MULTILINE)[1:]


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The recipes as the ledger answers them, on the ledger that the document's commands make."""
    sys.path.insert(0, str(DOCS))
    try:
        import make_recipes
    finally:
        sys.path.remove(str(DOCS))
    ledger = make_recipes.made_ledger(RECIPES, tmp_path_factory.mktemp("recipes"))
    return sections(make_recipes.filled(RECIPES, ledger))


@pytest.mark.parametrize(
    "place", range(len(sections(RECIPES))), ids=[each.split("\n")[0] for each in sections(RECIPES)]
)
def test_a_recipe_shows_what_the_ledger_answers(place: int, answered: list[str]) -> None:
    assert answered[place] == sections(RECIPES)[place], "run `python docs/make_recipes.py`"


def test_the_recipes_are_many_and_none_is_empty() -> None:
    assert len(sections(RECIPES)) >= 25
    assert not [each for each in sections(RECIPES) if "```text" not in each or "\n0 row(s)" in each]
    used = {view.name for view in VIEWS if re.search(rf"from {view.name}\b", RECIPES)}
    assert {view.name for view in VIEWS if not view.name.startswith("current_")} <= used
