"""Kills, full disks, forbidden folders, two writers, readers: an act is whole or absent, and nobody is hindered.

SETTLEMENT_KILLS=400 kills that often; SETTLEMENT_KILL_SEED=7 draws other instants; with
SETTLEMENT_EVERY_CALL=1 each single call on the disk fails once. Figures in docs/reliability.md.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from settlement.errors import Refusal
from settlement.ledger import Ledger, publish, publish_if_stale, query, verify
from test_batch import write_batch
from test_ledger import APRIL, MARCH, post, snapshot

TESTS = Path(__file__).parent
KILLS, SEED = os.environ.get("SETTLEMENT_KILLS", "20"), os.environ.get("SETTLEMENT_KILL_SEED", "1")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger with one published run."""
    ledger = Ledger(tmp_path / "ledger")
    post(ledger)
    publish(ledger)
    return ledger


def program(
    *arguments: str | Path, cwd: Path | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "settlement.cli", *map(str, arguments)],
        capture_output=True, text=True, check=False, cwd=cwd, **options,
    )  # fmt: skip


# ---------------------------------------------------------------- kill -9


def test_a_process_killed_at_any_instant_leaves_all_or_nothing(tmp_path: Path) -> None:
    """After every kill the journal holds what was there and what was confirmed, at most the act at work besides;
    `verify` explains what is left by an interrupted writer, and is clean after the next command."""
    command = [sys.executable, str(TESTS / "killing.py"), str(tmp_path), SEED, KILLS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    kills = [json.loads(line) for line in done.stdout.splitlines()]
    assert [kill for kill in kills if kill["wrong"]] == []
    assert len(kills) == int(KILLS)
    assert len(Counter(kill["phase"] for kill in kills)) >= min(4, int(KILLS) // 10)


# ---------------------------------------------------------------- a full disk, call by call

CALLS = ("write", "pwrite", "fsync", "ftruncate", "rename", "replace", "mkdir", "chmod")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Disk:
    """Counts every call that changes the disk, and fails the `full_at`-th, and with `for_good` all after it."""

    def __init__(self, full_at: int = 0, *, for_good: bool = False, error: int = errno.ENOSPC) -> None:
        self.calls: list[str] = []
        self.full_at, self.for_good, self.error = full_at, for_good, error

    def call(self, name: str) -> None:
        self.calls.append(name)
        place = len(self.calls)
        if self.full_at and (place == self.full_at or (self.for_good and place > self.full_at)):
            raise OSError(self.error, os.strerror(self.error))

    @contextmanager
    def installed(self) -> Iterator[Disk]:
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self._counting(name, getattr(os, name)))
            patch.setattr(os, "open", self._opening(os.open))
            patch.setattr(io, "open", self._opening_file(io.open))
            patch.setattr(pl.LazyFrame, "sink_parquet", self._counting("sink", pl.LazyFrame.sink_parquet))
            patch.setattr(shutil, "copyfile", self._counting("copy", shutil.copyfile))
            yield self

    def _counting(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.call(name)
            return real(*arguments, **options)

        return counted

    def _opening(self, real: Callable[..., int]) -> Callable[..., int]:
        def opened(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            if flags & WRITING:
                self.call("open")
            return real(path, flags, *arguments, **options)

        return opened

    def _opening_file(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if mode.strip("bt") == "r":
                return real(file, mode, *arguments, **options)
            self.call("open")
            return Written(real(file, mode, *arguments, **options), self)

        return opened


class Written:
    """An open file whose writes count."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self.file, self.disk = file, disk

    def __enter__(self) -> Written:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, content: Any) -> Any:
        self.disk.call("file write")
        return self.file.write(content)


def posting(ledger: Ledger) -> None:
    post(ledger, APRIL)


def publishing(ledger: Ledger) -> None:
    publish(ledger)


def rebuilding(ledger: Ledger) -> None:
    publish(ledger, anew=True)


def repairing(ledger: Ledger) -> None:
    """After a kill that left everything there is to repair."""
    ledger.journal.write_bytes(ledger.journal.read_bytes() + b'{"act":')
    shutil.copytree(ledger.runs / "2026-03.1", ledger.runs / "2026-04.1", dirs_exist_ok=True)
    (ledger.folder / "posting").write_text("runs/2026-04.1")
    (ledger.folder / "staging" / f"1-{'0' * 16}").mkdir(parents=True, exist_ok=True)


def calls_of(act: Callable[[Ledger], None], folder: Path, scratch: Path) -> list[str]:
    ledger = Ledger(shutil.copytree(folder, scratch))
    with Disk().installed() as disk:
        act(ledger)
    return disk.calls


ONCE, FOR_GOOD = False, True


@pytest.mark.parametrize(
    ("act", "error", "for_good", "is_every"),
    [
        (posting, errno.ENOSPC, ONCE, True),
        (posting, errno.ENOSPC, FOR_GOOD, True),
        (posting, errno.EACCES, ONCE, False),
        (posting, errno.EIO, FOR_GOOD, False),
        (publishing, errno.ENOSPC, ONCE, True),
        (publishing, errno.ENOSPC, FOR_GOOD, True),
        (publishing, errno.EACCES, ONCE, False),
    ],
)
def test_a_disk_that_fails_at_any_call_is_refused_and_the_act_is_whole_or_absent(
    ledger: Ledger, tmp_path: Path, act: Callable[[Ledger], None], error: int, for_good: bool, is_every: bool
) -> None:
    if act is publishing:
        post(ledger, APRIL)  # so that there is something to publish
    before = snapshot(ledger)
    calls = calls_of(act, ledger.folder, tmp_path / "counted")
    assert len(calls) >= (30 if act is posting else 8)
    for place in places_in(calls, 2 if is_every else 1):
        hurt = Ledger(shutil.copytree(ledger.folder, tmp_path / f"at-{place}"))
        found = refused_with(hurt, act, Disk(place, for_good=for_good, error=error))
        assert found is None or os.strerror(error).lower() in found.lower(), (place, calls[place - 1])
        assert_whole_or_absent(hurt, before, (place, calls[place - 1]), is_published=act is publishing)
        if found and "nothing was posted" in found and not for_good:
            assert Ledger(hurt.folder).acts() == ledger.acts(), "refused, and posted all the same"
        shutil.rmtree(hurt.folder)


def places_in(calls: list[str], repeats: int) -> list[int]:
    """Of calls that follow one another alike, as when ten tables are written, so many; in the long form all."""
    seen: Counter[tuple[str, ...]] = Counter()
    places = []
    for place in range(1, len(calls) + 1):
        kind = tuple(calls[max(place - 3, 0) : place + 1])
        seen[kind] += 1
        if seen[kind] <= repeats or "SETTLEMENT_EVERY_CALL" in os.environ:
            places.append(place)
    return places


def refused_with(ledger: Ledger, act: Callable[[Ledger], None], disk: Disk) -> str | None:
    """What was refused; None if the act was done, which only calls that come after it can leave."""
    with disk.installed():
        try:
            act(ledger)
        except Refusal as refusal:
            return str(refusal)
    return None


def assert_whole_or_absent(
    ledger: Ledger, before: dict[str, bytes], where: object, *, is_published: bool = False
) -> None:
    """After the next command nothing is left of the act, or it is there as a whole."""
    ledger = Ledger(ledger.folder)
    with ledger.lock():
        pass
    after = snapshot(ledger)
    is_absent = after | {".published": b""} == before | {".published": b""}
    assert is_absent or len(ledger.acts()) == before["journal.jsonl"].count(b"\n") + 1, where
    if not is_absent or is_published:
        publish_if_stale(ledger)
        assert query(ledger, "select count(*) from runs").item() == len(ledger.acts()), where
    if not is_absent:
        assert verify(ledger).differences == [], where


def test_a_repair_that_fails_at_any_call_is_refused_and_done_by_the_next_command(
    ledger: Ledger, tmp_path: Path
) -> None:
    before = snapshot(ledger)

    def repaired(ledger: Ledger) -> None:
        with ledger.lock():
            pass

    repairing(ledger)
    for place in range(1, len(calls_of(repaired, ledger.folder, tmp_path / "counted")) + 1):
        hurt = Ledger(shutil.copytree(ledger.folder, tmp_path / f"at-{place}"))
        refused_with(hurt, repaired, Disk(place, for_good=True))
        repaired(hurt)
        assert snapshot(hurt) == before


# ---------------------------------------------------------------- a full disk, for real

LIMITED = """
import resource, sys
sys.path.insert(0, {tests!r})
import test_ledger as t
from settlement.errors import Refusal
ledger = t.Ledger(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    t.post(ledger, t.APRIL)
    print("posted", flush=True)
    t.publish(ledger)
    print("published", flush=True)
except Refusal as refusal:
    print(refusal, flush=True)
"""


def after_limit(ledger: Ledger, size: int) -> subprocess.CompletedProcess[str]:
    code = LIMITED.format(tests=str(TESTS))
    return subprocess.run(
        [sys.executable, "-c", code, str(ledger.folder), str(size)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("size", "is_posted"),
    [(0, False), (1, False), (1000, False), (3000, False), (30_000, True), (300_000, True)],
)
def test_files_that_cannot_grow_are_refused_and_the_run_is_whole_or_absent(
    ledger: Ledger, size: int, is_posted: bool
) -> None:
    """The system itself refuses every write beyond a size, also those of polars and DuckDB."""
    before = snapshot(ledger)
    done = after_limit(ledger, size)
    assert done.returncode == 0, done.stderr
    assert "found:" in done.stdout
    assert ("posted" in done.stdout.splitlines()) == is_posted
    assert "published" not in done.stdout.splitlines()
    assert_whole_or_absent(ledger, before, size)
    assert len(ledger.acts()) == 1 + is_posted


PRIVATELY = (shutil.which("unshare") or "unshare", "-m")
SMALL_DISK = """
set -e
mount -t tmpfs -o size="$2" settlement-test "$1"
cp -r "$3" "$1/ledger"
"$4" -c "$5" "$1/ledger" 100000000
rm -rf "$1/filler"
cp -r "$1/ledger" "$6"
"""


@pytest.mark.parametrize("room", [16, 36, 44, 400])
def test_a_disk_that_is_really_full_is_refused_and_the_run_is_whole_or_absent(
    ledger: Ledger, tmp_path: Path, room: int
) -> None:
    if shutil.which("unshare") is None or subprocess.run(
        [*PRIVATELY, "mount", "-t", "tmpfs", "x", str(tmp_path)], capture_output=True, check=False
    ).returncode:  # fmt: skip
        pytest.skip("mounting a small disk is not allowed here")
    before = snapshot(ledger)
    pages = sum(-(-path.stat().st_size // 4096) for path in ledger.folder.rglob("*") if path.is_file())
    size = f"{4 * pages + room}k"
    (tmp_path / "disk").mkdir()
    words = [
        tmp_path / "disk",
        size,
        ledger.folder,
        sys.executable,
        LIMITED.format(tests=str(TESTS)),
        tmp_path / "left",
    ]
    done = subprocess.run(
        [*PRIVATELY, "bash", "-c", SMALL_DISK, "bash", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert "found:" in done.stdout, done
    left = Ledger(tmp_path / "left")
    assert_whole_or_absent(left, before, size)
    assert len(left.acts()) == 1 + ("posted" in done.stdout.splitlines())


# ---------------------------------------------------------------- a folder that cannot be written

AS_NOBODY = """
import os, sys
sys.path.insert(0, {tests!r})
import test_ledger as t
from settlement.errors import Refusal
from settlement.ledger import publish_if_stale
t.results_sha256(t.month_of("2026-03.1"))
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
ledger = t.Ledger(sys.argv[1])
for act in (lambda: t.post(ledger, t.APRIL), lambda: t.publish(ledger)):
    try:
        act()
        print("done")
    except Refusal as refusal:
        print(refusal)
print(len(ledger.acts()), t.query(ledger, "select count(*) from runs").item())
"""


def test_a_read_only_folder_is_refused_and_can_still_be_read(ledger: Ledger, tmp_path: Path) -> None:
    """Written by another user, who let everybody read it; tests that run as root become nobody for it."""
    for path in (ledger.folder, *ledger.folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = snapshot(ledger)
    parents = [folder for folder in ledger.folder.parents if not folder.stat().st_mode & 0o001]
    for folder in parents if os.getuid() == 0 else []:
        folder.chmod(folder.stat().st_mode | 0o001)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY.format(tests=str(TESTS)), str(ledger.folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.count("found:    permission denied") == 2, done
    assert done.stdout.splitlines()[-1] == "1 1"
    assert snapshot(ledger) == before
    for path in (ledger.folder, *ledger.folder.rglob("*")):
        path.chmod(0o750 if path.is_dir() else 0o640)
    post(ledger, APRIL)


# ---------------------------------------------------------------- two writers, and readers

HOLDER = """
import sys
from settlement.ledger import Ledger
with Ledger(sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def started(code: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        yield other
        other.kill()


def test_of_two_runs_at_once_one_is_refused_with_the_holder_named(ledger: Ledger, tmp_path: Path) -> None:
    write_batch(tmp_path / "batch")
    before = snapshot(ledger)
    arguments = ("run", tmp_path / "batch", "--month", "2026-03", "--ledger", ledger.folder)
    with started(HOLDER, ledger.folder) as holder:
        done = program(*arguments)
        assert done.returncode == 2
        assert f"in use by process {holder.pid}\n" in done.stderr
        assert program("ledger", "rebuild", "--ledger", ledger.folder).returncode == 2
        assert snapshot(ledger) == before
        assert verify(ledger).differences == []  # who only reads is not refused
        assert program("runs", "--ledger", ledger.folder).returncode == 0
    assert program(*arguments).returncode == 0


def test_two_runs_started_together_are_both_posted_or_one_is_refused(tmp_path: Path) -> None:
    write_batch(tmp_path / "batch")
    command = [
        sys.executable,
        "-m",
        "settlement.cli",
        "run",
        "batch",
        "--month",
        "2026-03",
        "--ledger",
        "ledger",
    ]
    both = [
        subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    ends = [(one.communicate()[1], one.returncode) for one in both]
    assert [code for _, code in ends if code not in (0, 2)] == []
    assert all("in use by process" in message for message, code in ends if code == 2)
    ledger = Ledger(tmp_path / "ledger")
    assert len(ledger.acts()) == 1  # the same batch: whoever came second found it unchanged, or was refused
    assert verify(ledger).differences == []


READER = """
import duckdb, sys
reader = duckdb.connect(sys.argv[1], read_only=True)
rows = reader.execute("from settlements order by all").fetchall()
print(len(rows), flush=True)
sys.stdin.readline()
print(reader.execute("from settlements order by all").fetchall() == rows, flush=True)
sys.stdin.read()
"""


def test_a_reader_in_another_process_hinders_nothing_and_keeps_its_old_view(ledger: Ledger) -> None:
    with started(READER, ledger.database) as reader:
        post(ledger, APRIL)
        publish(ledger)
        post(ledger, MARCH)
        publish(ledger, anew=True)
        assert query(ledger, "select count(*) from settlements").item() == 9
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == "True\n"
    assert verify(ledger).differences == []
