"""docs/report.md: its session is executed, its files are there, and it names what the page and workbook hold."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from reported import Month, Reporter, page_at
from settlement.terms import RESULT_TABLES

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "report.md").read_text(encoding="utf-8")


def test_the_session_shows_what_the_program_prints(tmp_path: Path) -> None:
    (session,) = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    for part in session.split("$ settlement ")[1:]:
        command, *shown = part.splitlines()
        program = [sys.executable, "-m", "settlement.cli", *shlex.split(command)]
        done = subprocess.run(
            program, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, done.stderr
        assert shown == ["…"] or done.stdout.splitlines() == shown


def test_every_part_and_sheet_is_named(demo: Month, report: Reporter) -> None:
    headings = [text for text in page_at(report(demo)).text if f"| {text.strip()} " in TEXT]
    assert len({text.strip() for text in headings}) >= 7
    assert not [table.name for table in RESULT_TABLES if f"`{table.name}`" not in TEXT]


def test_files_that_it_links_to_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", TEXT) + re.findall(r'src="([^"]+)"', TEXT)
    assert len(links) >= 4
    assert not [link for link in links if not (DOCS / link).exists()]
