"""The layout of design 3 and the rules of its section 4 that can be read off the source itself."""

from __future__ import annotations

import ast
import io
import re
import statistics
import tokenize
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "settlement"
FILES = sorted(SRC.rglob("*.py"))
LAYERS = {
    "errors": 0, "terms": 0, "validation": 0,
    "exact": 1, "reasons": 1, "schemas": 1, "spreadsheet": 1, "workdays": 1,
    "policy": 2, "batch": 2, "texts": 2,
    "rules": 3,
    "attribution": 4, "pipeline": 4, "reconcile": 4, "shard": 4,
    "ledger": 5, "spark": 5,
    "carried": 6, "causes": 6, "runs": 6, "restatement": 6, "differences": 6, "replay": 6,
    "summary": 6, "synthesis": 6, "explain": 6, "simulate": 6, "forecast": 6, "report": 6,
    "balances": 6, "doubts": 6, "recalculate": 6, "clear": 6,
    "cli": 7,
}  # fmt: skip
# Within a layer, one stands below the other.
BELOW = {
    ("schemas", "exact"),
    ("batch", "policy"),
    ("reconcile", "pipeline"),
    ("pipeline", "attribution"),
    ("shard", "pipeline"),
    ("summary", "runs"),
    ("summary", "clear"),
    ("summary", "doubts"),
    ("doubts", "runs"),
    ("clear", "balances"),
    ("runs", "balances"),
    ("restatement", "balances"),
    ("runs", "carried"),
    ("restatement", "runs"),
    ("restatement", "carried"),
    ("restatement", "causes"),
    ("differences", "causes"),
    ("replay", "runs"),
    ("replay", "restatement"),
    ("replay", "causes"),
    ("replay", "carried"),
    ("explain", "carried"),
    ("simulate", "runs"),
    ("forecast", "runs"),
}
LONGEST_P90 = 25
Function = ast.FunctionDef | ast.AsyncFunctionDef


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module_of(path: Path) -> str:
    """`batch.lines` for src/settlement/batch/lines.py, `batch` for its __init__, empty for the package's own."""
    return ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def imports_of(path: Path) -> Iterator[str]:
    """Modules of settlement that a file imports, wherever in it, as `batch.lines`."""
    package = list(path.relative_to(SRC).parent.parts)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (
                alias.name.removeprefix("settlement").lstrip(".")
                for alias in node.names
                if alias.name.partition(".")[0] == "settlement"
            )
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - (node.level - 1)]
            elif (node.module or "").partition(".")[0] == "settlement":
                base = []
            else:
                continue
            named = (
                (node.module or "").removeprefix("settlement").lstrip(".") if not node.level else node.module
            )
            parts = [*base, *(named.split(".") if named else [])]
            for alias in node.names:
                inner = SRC.joinpath(*parts, alias.name)
                is_module = inner.with_suffix(".py").is_file() or inner.is_dir()
                yield ".".join([*parts, alias.name] if is_module else parts)


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(tree_of(path)) if isinstance(node, Function))


IMPORTS = [
    (module_of(path), imported)
    for path in FILES
    if module_of(path)  # the package itself only re-exports, on first use
    for imported in imports_of(path)
    if imported
]


def test_the_imports_are_seen() -> None:
    """A guard on this file."""
    assert ("cli", "runs") in IMPORTS
    assert ("batch", "terms") in IMPORTS
    assert ("rules.pricing", "exact") in IMPORTS
    assert ("batch.lines", "policy") in IMPORTS
    assert ("synthesis", "terms") in IMPORTS
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: module_of(path) or "settlement")
def test_every_module_has_its_layer(path: Path) -> None:
    head = module_of(path).partition(".")[0]
    assert head in LAYERS or not head


@pytest.mark.parametrize(("module", "imported"), sorted(set(IMPORTS)), ids=str)
def test_a_module_imports_only_from_a_lower_layer(module: str, imported: str) -> None:
    upper, lower = module.partition(".")[0], imported.partition(".")[0]
    if upper == lower:
        return  # parts of one package; of rules, see below
    assert LAYERS[lower] < LAYERS[upper] or (upper, lower) in BELOW


def test_rules_never_import_one_another() -> None:
    assert [
        (module, name) for module, name in IMPORTS if module.startswith("rules") and name.startswith("rules")
    ] == []


def test_the_package_imports_nothing_before_it_is_used() -> None:
    """`settlement --help` must appear at once."""
    statements = tree_of(SRC / "__init__.py").body
    assert [
        ast.unparse(node)
        for node in statements
        if isinstance(node, ast.Import | ast.ImportFrom)
        and getattr(node, "module", "") not in ("__future__", "typing")
    ] == []


@pytest.mark.parametrize("path", [path for path in FILES if module_of(path) != "cli"], ids=module_of)
def test_only_the_command_line_prints(path: Path) -> None:
    calls = (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call))
    found = [ast.unparse(call.func) for call in calls]
    prints = {"print", "typer.echo", "click.echo", "sys.stdout.write", "sys.stderr.write"}
    assert [name for name in found if name in prints or name.endswith("console.print")] == []


SHAPES = (
    "synthesis",
)  # draws made-up batches; numpy's floating point shapes them before anything is counted


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_binary_float_touches_points_or_money(path: Path) -> None:
    """`float(`, Float64, to_float and numbers such as 0.5, outside comments and strings."""
    text = path.read_text(encoding="utf-8")
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    casts = [
        f"line {token.start[0]}: {token.string}"
        for token, following in pairwise(tokens)
        if token.type == tokenize.NAME
        and (
            token.string in ("Float32", "Float64", "to_float")
            or (token.string in ("float", "float32", "float64") and following.string == "(")
        )
    ]
    numbers = [
        f"line {node.lineno}: {node.value}"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, float)
    ]
    assert casts + ([] if module_of(path) in SHAPES else numbers) == []


CLAUSE = re.compile(r"Source:|\b[TD] \d|\brules? \d|\bdata \d|\bpolicy\.md")


def test_every_public_rule_names_its_clause() -> None:
    public = {
        f"{path.stem}.{node.name}": ast.get_docstring(node) or ""
        for path in FILES
        if module_of(path).startswith("rules.")
        for node in tree_of(path).body
        if isinstance(node, Function) and not node.name.startswith("_")
    }
    assert {name for name, text in public.items() if not CLAUSE.search(text)} == set()


def length_of(function: Function) -> int:
    """Lines from `def` to the end, without decorators and docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        assert first.end_lineno is not None
        lines -= first.end_lineno - first.lineno + 1
    return lines


def test_functions_are_short() -> None:
    lengths = sorted(length_of(function) for path in FILES for function in functions(path))
    median, p90 = statistics.median(lengths), lengths[len(lengths) * 9 // 10]
    assert p90 <= LONGEST_P90, f"median {median}, p90 {p90} lines"
