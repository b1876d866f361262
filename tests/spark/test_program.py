"""`settlement run --engine spark` as a user starts it, also where processes of the cluster or the driver are killed.

SETTLEMENT_SPARK_LINES=20000000 settles so many generated lines instead of 5 million.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmarks.standalone import Standalone, descendants
from settlement.ledger import Ledger, verify

LINES = int(os.environ.get("SETTLEMENT_SPARK_LINES", "5000000"))
PROGRAM = [sys.executable, "-m", "settlement.cli"]
SECONDS = 400  # after which something hangs


def generated(folder: Path, lines: int, institutions: int, *more: str) -> Path:
    words = ["generate", "--month", "2026-03", "--lines", lines, "--institutions", institutions]
    subprocess.run(
        [*PROGRAM, *map(str, words), "--seed", "5", "--out", folder, *more], check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generated(tmp_path_factory.mktemp("batch") / "batch", 200_000, 60, "--capped", "0.5")


def words(batch: Path, ledger: Path, *more: str) -> list[str]:
    return [*PROGRAM, "run", str(batch), "--month", "2026-03", "--ledger", str(ledger), "--json", *more]


def on(cluster: Standalone, *more: str) -> list[str]:
    return ["--engine", "spark", "--master", cluster.url, *more]


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode in (0, 1), done.stderr
    return dict(json.loads(done.stdout))


def run(command: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=SECONDS
    )


def but_time(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "seconds"}


def wait_until(holds: Callable[[], object], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + SECONDS
    while not holds():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.02)


def parts(ledger: Path) -> list[Path]:
    """What shards have written so far."""
    return list(ledger.glob("staging/*/*/unpaid_lines-*.parquet"))


def test_the_program_posts_the_same_run(batch: Path, standalone: Standalone, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    expected = answer(run(words(batch, here)))
    done = run(words(batch, there, *on(standalone, "--shards", "5")), standalone.environment)
    assert but_time(answer(done)) == but_time(expected)
    assert done.stderr == ""
    for table in ("unpaid_lines", "rejected_lines", "settlements", "daily_points"):
        file = f"runs/2026-03.1/{table}.parquet"
        assert pl.read_parquet(here / file).equals(pl.read_parquet(there / file))
    assert list((there / "staging").iterdir()) == []
    assert not verify(Ledger(there)).differences
    assert {oct(path.stat().st_mode & 0o007) for path in there.rglob("*")} == {"0o0"}
    again = run(words(batch, there))
    assert answer(again)["unchanged"]


def test_an_executor_killed_in_mid_run_changes_nothing(
    batch: Path, standalone: Standalone, tmp_path: Path
) -> None:
    expected = answer(run(words(batch, tmp_path / "here")))
    ledger = tmp_path / "there"
    command = words(batch, ledger, *on(standalone, "--shards", "12"))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=standalone.environment
    ) as running:
        wait_until(lambda: parts(ledger), running)
        killed = standalone.kill_an_executor()
        found, errors = running.communicate(timeout=SECONDS)
    assert not Path(f"/proc/{killed}").exists()
    assert running.returncode in (0, 1), errors
    assert but_time(json.loads(found)) == but_time(expected)
    assert list((ledger / "staging").iterdir()) == []


def test_a_killed_driver_leaves_the_ledger_untouched(
    batch: Path, standalone: Standalone, tmp_path: Path
) -> None:
    ledger, small = tmp_path / "ledger", generated(tmp_path / "small", 2_000, 20)
    first = answer(run(words(small, ledger)))
    before = {
        path: path.read_bytes() for path in ledger.rglob("*") if path.is_file() and path.name != ".lock"
    }
    command = words(batch, ledger, *on(standalone, "--shards", "12"))
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, env=standalone.environment
    ) as running:
        wait_until(lambda: parts(ledger), running)
        of_driver = descendants(running.pid)
        running.send_signal(signal.SIGKILL)
    wait_until_gone(of_driver)
    kept = {path: path.read_bytes() for path in before}
    assert kept == before
    assert Ledger(ledger).statuses == {"2026-03.1": "open"}
    assert list((ledger / "staging").iterdir()) != []
    assert answer(run(words(small, ledger)))["results_sha256"] == first["results_sha256"]
    assert list((ledger / "staging").iterdir()) == []
    assert not verify(Ledger(ledger)).differences


def wait_until_gone(processes: list[int]) -> None:
    """Spark's own process of the driver ends by itself."""
    until = time.monotonic() + SECONDS
    while any(Path(f"/proc/{process}").exists() for process in processes):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_many_lines(standalone: Standalone, tmp_path: Path) -> None:
    batch = generated(tmp_path / "batch", LINES, min(LINES // 1_000, 4_000), "--capped", "0.3")
    expected = answer(run(words(batch, tmp_path / "here")))
    done = run(words(batch, tmp_path / "there", *on(standalone)), standalone.environment)
    assert but_time(answer(done)) == but_time(expected)


def test_an_unreadable_file_is_refused(batch: Path, standalone: Standalone, tmp_path: Path) -> None:
    """Damaged where only the columns of lines are, so that a worker meets it."""
    damaged = tmp_path / "batch"
    damaged.mkdir()
    for path in batch.iterdir():
        (damaged / path.name).symlink_to(path)
    (damaged / "claims").unlink()
    (damaged / "claims").mkdir()
    (whole,) = (batch / "claims").iterdir()
    content = bytearray(whole.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200_000] = bytes(200_000)
    (damaged / "claims" / whole.name).write_bytes(content)
    done = run(words(damaged, tmp_path / "ledger", *on(standalone)), standalone.environment)
    assert done.returncode == 2, done.stderr
    assert f"claims/{whole.name}" in done.stderr
    assert not (tmp_path / "ledger").exists()
