"""docs/closing.md is executed: what it shows is what the program prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "docs" / "closing.md").read_text("utf-8")
SESSION = "\n".join(re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = [part.partition("\n") for part in re.split(r"^\$ ", SESSION, flags=re.MULTILINE)[1:]]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each command printed, in a shell that finds this source's program as `settlement`."""
    folder, programs = tmp_path_factory.mktemp("closing"), tmp_path_factory.mktemp("programs")
    program = programs / "settlement"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m settlement.cli "$@"\n', "utf-8")
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    printed = []
    for command, _, _ in COMMANDS:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            check=False,
        )
        printed.append(done.stdout)
    return printed


@pytest.mark.parametrize("place", range(len(COMMANDS)), ids=[command[:40] for command, _, _ in COMMANDS])
def test_the_example_shows_what_the_program_prints(place: int, outputs: list[str]) -> None:
    command, _, shown = COMMANDS[place]
    printed = [" ".join(line.split()) for line in outputs[place].splitlines()]
    missing = [
        line for line in shown.splitlines() if line not in ("", "…") and " ".join(line.split()) not in printed
    ]
    assert missing == [], command
