"""docs/simulate.md and docs/forecast.md are executed: what they show is what the program prints."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def commands(name: str) -> list[tuple[str, list[str]]]:
    """(command, lines it shows); `…` stands for any lines."""
    session = "\n".join(re.findall(r"```console\n(.*?)```", (DOCS / name).read_text("utf-8"), re.DOTALL))
    parts = [part.partition("\n") for part in re.split(r"^\$ settlement ", session, flags=re.MULTILINE)[1:]]
    return [
        (command, [line for line in shown.splitlines() if line not in ("", "…")])
        for command, _, shown in parts
    ]


@pytest.mark.parametrize("name", ["simulate.md", "forecast.md"])
def test_the_document_shows_what_the_program_prints(name: str, tmp_path: Path) -> None:
    assert len(commands(name)) >= 2
    for command, shown in commands(name):
        done = subprocess.run(
            [sys.executable, "-m", "settlement.cli", *shlex.split(command)],
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        printed = [" ".join(line.split()) for line in done.stdout.splitlines()]
        assert [line for line in shown if " ".join(line.split()) not in printed] == [], command
