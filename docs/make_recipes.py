"""Fills the outputs in docs/recipes.md anew: `python docs/make_recipes.py`.

Each SQL block is run with `settlement sql` against the ledger that the document's own commands make.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from pathlib import Path

from typer.testing import CliRunner

from settlement.cli import app

FILE = Path(__file__).with_name("recipes.md")
_COMMANDS = re.compile(r"^\$ settlement (.*)$", re.MULTILINE)
_RECIPE = re.compile(r"```sql\n(.*?)```(?:\n\n```text\n.*?```)?", re.DOTALL)


def ran(*arguments: str) -> str:
    """What the command prints; a refusal is raised."""
    result = CliRunner(env={"LC_ALL": "C.UTF-8"}).invoke(app, arguments)  # the recipes are in English
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return "\n".join(line.rstrip() for line in result.stdout.splitlines())


def made_ledger(text: str, folder: Path) -> Path:
    """Runs the document's commands in a folder and gives the ledger they make."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        for command in _COMMANDS.findall(text):
            ran(*shlex.split(command))
    finally:
        os.chdir(before)
    return folder / "trial" / "ledger"


def filled(text: str, ledger: Path) -> str:
    """The document with the output of every recipe."""

    def with_output(recipe: re.Match[str]) -> str:
        sql = recipe.group(1)
        return f"```sql\n{sql}```\n\n```text\n{ran('sql', '--ledger', str(ledger), sql)}\n```"

    return _RECIPE.sub(with_output, text)


if __name__ == "__main__":
    document = FILE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        FILE.write_text(filled(document, made_ledger(document, Path(scratch))), encoding="utf-8")
