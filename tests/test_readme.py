"""The README's session is executed: what it shows is what a newcomer sees."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SESSION = "\n".join(re.findall(r"```console\n(.*?)```", README, re.DOTALL))
PROGRAM = [sys.executable, "-m", "settlement.cli"]


def commands() -> list[tuple[str, list[str]]]:
    """(command, lines it shows) in order; a line `…` stands for any lines, at a line's end for the rest of it."""
    parts = re.split(r"^\$ settlement ", SESSION, flags=re.MULTILINE)[1:]
    return [(part.split("\n", 1)[0], part.split("\n", 1)[1].splitlines()) for part in parts]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("session")
    return [
        subprocess.run(
            [*PROGRAM, *shlex.split(command)],
            cwd=folder,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        ).stdout
        for command, _ in commands()
    ]


@pytest.mark.parametrize("place", range(len(commands())), ids=[command[:40] for command, _ in commands()])
def test_the_session_shows_what_the_program_prints(place: int, outputs: list[str]) -> None:
    command, shown = commands()[place]
    printed = [" ".join(line.split()) for line in outputs[place].splitlines()]
    for line in shown:
        words = " ".join(line.split())
        if words in ("", "…"):
            continue
        start = words.removesuffix("…").strip()
        found = [one for one in printed if one == words or (words.endswith("…") and one.startswith(start))]
        assert found, f"{command}\nshown in the README but not printed: {line}"


def test_the_python_example_runs(outputs: list[str], tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    made = subprocess.run([*PROGRAM, "demo", "trial"], cwd=tmp_path, capture_output=True, check=False)
    assert made.returncode == 0
    run = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("shape: (71, 3)")


def test_files_that_the_readme_links_to_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
