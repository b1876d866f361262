"""Kills a process that posts, publishes and rebuilds, at random instants, and looks at what is left.

    python tests/killing.py FOLDER SEED KILLS

prints one JSON object per kill: the `phase` it hit, and `wrong`, what was not as it must be (empty if all is well).
This process only forks: polars and DuckDB are imported here, and used in the children alone.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import duckdb

from settlement.ledger import Ledger, publish, publish_if_stale, record, results_sha256, verify
from test_ledger import APRIL, MARCH, close, month_of, post

PHASES = {
    b"l": "taking the lock and repairing",
    b"s": "writing the tables",
    b"m": "moving the run into place",
    b"j": "writing the journal line",
    b"e": "after the journal line",
    b"p": "publishing",
    b"r": "rebuilding",
}
PER_LEDGER = 5  # kills in one ledger, so that what one leaves behind meets the next
LONGEST = 0.2  # seconds from the first command to the kill: a few commands


def main() -> None:
    folder, draw, kills = Path(sys.argv[1]), random.Random(int(sys.argv[2])), int(sys.argv[3])
    checked = checker()
    next(checked)
    for number in range(kills):
        ledger = Ledger(folder / f"ledger-{number // PER_LEDGER}")
        phase, confirmed = killed(ledger, draw)
        wrong = checked.send((str(ledger.folder), confirmed))
        print(json.dumps({"phase": PHASES[phase], "wrong": wrong}), flush=True)


def killed(ledger: Ledger, draw: random.Random) -> tuple[bytes, int]:
    """Starts a writer and kills it. Gives the phase it was in and how many acts it had confirmed by then."""
    shared = mmap.mmap(-1, 16)
    seed, delay = draw.random(), draw.uniform(0, LONGEST)
    child = os.fork()
    if not child:
        try:
            write_for_ever(ledger, random.Random(seed), shared)
        finally:
            os._exit(1)
    while shared[:1] == b"\0" and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the writer stopped by itself"
    return shared[:1], int.from_bytes(shared[8:12], "little")


def write_for_ever(ledger: Ledger, draw: random.Random, shared: mmap.mmap) -> None:
    def entering(owner: Any, name: str, phase: bytes) -> None:
        real = getattr(owner, name)

        def marked(*arguments: Any, **options: Any) -> Any:
            shared[:1] = phase
            result = real(*arguments, **options)
            if name == "_append":
                shared[8:12] = (int.from_bytes(shared[8:12], "little") + 1).to_bytes(4, "little")
                shared[:1] = b"e"
            return result

        setattr(owner, name, marked)

    entering(record.Ledger, "_repair", b"l")
    entering(record.Ledger, "staging", b"s")
    entering(record.Ledger, "_announce", b"m")
    entering(record.Ledger, "_append", b"j")
    results_sha256(month_of("2026-03.1"))  # so that the libraries are warm when the clock starts
    duckdb.connect().close()
    while True:
        shared[:1] = b"l"
        act = draw.choice(["post"] * 6 + ["publish", "rebuild", "close"])
        if act == "post":
            month = MARCH if not ledger.is_closed(MARCH) else APRIL
            post(ledger, month, eligible=f"{draw.randrange(100, 999)}")
        elif act == "close" and ledger.months == [MARCH] and not ledger.is_closed(MARCH):
            close(ledger, MARCH)
        else:
            with ledger.lock():
                shared[:1] = b"p" if act == "publish" else b"r"
                _marking_only(shared, lambda act=act: publish(ledger, anew=act == "rebuild"))


def _marking_only(shared: mmap.mmap, act: Callable[[], object]) -> None:
    """Publishing stages a file too: the phase stays that of publishing."""
    phase = bytes(shared[:1])
    staging, record.Ledger.staging = record.Ledger.staging, _STAGING  # type: ignore[method-assign]
    try:
        act()
        assert bytes(shared[:1]) == phase
    finally:
        record.Ledger.staging = staging  # type: ignore[method-assign]


_STAGING = record.Ledger.staging


def checker() -> Generator[list[str], tuple[str, int], None]:
    """One process that checks after every kill, for as long as this one lives."""
    to_child, from_child = os.pipe(), os.pipe()
    if not os.fork():
        os.close(to_child[1])
        known: dict[str, list[str]] = {}
        with os.fdopen(to_child[0]) as asked, os.fdopen(from_child[1], "w") as answer:
            for line in asked:
                folder, confirmed = json.loads(line)
                wrong, known[folder] = what_is_wrong(Path(folder), known.get(folder, []), confirmed)
                print(json.dumps(wrong), file=answer, flush=True)
        os._exit(0)
    os.close(to_child[0])
    os.close(from_child[1])
    with os.fdopen(to_child[1], "w") as ask, os.fdopen(from_child[0]) as answered:
        wrong: list[str] = []
        while True:
            print(json.dumps((yield wrong)), file=ask, flush=True)
            wrong = json.loads(answered.readline() or '["the check itself failed"]')


def what_is_wrong(folder: Path, known: list[str], confirmed: int) -> tuple[list[str], list[str]]:
    """All that is not as it must be, right after the kill and after the next command; and the acts there are.

    `known`: hashes of the acts before. `confirmed`: how many acts the killed writer was told were done.
    """
    ledger, wrong = Ledger(folder), []
    found = [act.hash for act in ledger.acts()]
    if found[: len(known)] != known:
        wrong.append("an act that was there before is gone")
    if len(found) - len(known) - confirmed not in (0, 1):
        wrong.append(f"{len(found) - len(known)} new acts, {confirmed} confirmed")
    if ledger.journal.exists() or any(folder.glob("runs/*")):
        remedies = {one.remedy for one in verify(ledger).differences}
        wrong += [remedy for remedy in remedies if "next command" not in remedy and "rebuild" not in remedy]
    with ledger.lock():  # what every writing command begins with
        pass
    publish_if_stale(ledger)
    if [act.hash for act in ledger.acts()] != found:
        wrong.append("the repair changed the journal's acts")
    if found:
        wrong += [f"after the next command: {one}" for one in verify(ledger).differences]
    if list((folder / "staging").glob("*")) or (folder / "posting").exists():
        wrong.append("something was left behind")
    return wrong, found


if __name__ == "__main__":
    main()
