"""Every refusal has four parts: where, what was found, what was expected, what to do (commands).

Only those that stand in a list leave the last one out: the list says once what to do.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import settlement

SOURCES = sorted(Path(settlement.__file__).parent.rglob("*.py"))
REFUSALS = ("Refusal", "LedgerInUse")


def incomplete(source: str) -> list[str]:
    """Line and text of each refusal made with fewer than four parts, or an empty one."""
    tree = ast.parse(source)
    listed = {id(one) for call in calls(tree) if name_of(call) == "append" for one in call.args}
    return [
        f"{call.lineno}: {ast.unparse(call)}"
        for call in calls(tree)
        if name_of(call) in REFUSALS and id(call) not in listed and not has_four_parts(call)
    ]


def calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def name_of(call: ast.Call) -> str:
    """`Refusal(…)` and `errors.Refusal(…)` alike."""
    called = call.func
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def has_four_parts(call: ast.Call) -> bool:
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    is_spread = any(isinstance(one, ast.Starred) for one in given)
    return is_spread or (len(given) == 4 and not any(is_empty(one) for one in given))


def is_empty(part: ast.expr) -> bool:
    return isinstance(part, ast.Constant) and not part.value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_refusal_says_what_to_do(path: Path) -> None:
    assert incomplete(path.read_text("utf-8")) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_function_that_makes_refusals_leaves_out_what_to_do(path: Path) -> None:
    """But for the class itself: a default would let a caller forget it."""
    silent = [
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and path.name != "errors.py"
        for argument, default in zip(node.args.args[::-1], node.args.defaults[::-1], strict=False)
        if argument.arg == "remedy" and is_empty(default)
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("Refusal('a', 'b', 'c', 'd')", 0),
        ("Refusal('a', 'b', 'c', remedy='d')", 0),
        ("each.append(Refusal('a', 'b', 'c'))", 0),
        ("Refusal(*parts)", 0),
        ("Refusal('a', 'b', 'c')", 1),
        ("errors.Refusal('a', 'b', 'c', '')", 1),
        ("LedgerInUse('a', 'b')", 1),
    ],
)
def test_an_incomplete_refusal_is_seen(source: str, found: int) -> None:
    assert len(incomplete(source)) == found
