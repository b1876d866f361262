"""How long does a command take in a fresh process, and how much memory?

As a program, `measure.py COMMAND …` runs one command and prints what the operating system says of it as JSON. It is
a process of its own that imports next to nothing, because Linux starts a child's peak memory at the size of the
process that forked it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
Command = Callable[[Path], Sequence[str]]  # the command that writes into this new folder


class Failed(Exception):
    """A measured command ended with an error: then there is nothing to measure."""


class Sample(NamedTuple):
    """One execution. `seconds`: of the work as the command states it, without imports; else of the process."""

    seconds: float
    process_seconds: float
    cpu_seconds: float
    peak_bytes: int
    answer: Mapping[str, object]


class Measurement(NamedTuple):
    """Several executions of one command on the same files."""

    samples: tuple[Sample, ...]

    @property
    def seconds(self) -> float:
        return median(sample.seconds for sample in self.samples)

    @property
    def best_seconds(self) -> float:
        return min(sample.seconds for sample in self.samples)

    @property
    def cpu_seconds(self) -> float:
        return median(sample.cpu_seconds for sample in self.samples)

    @property
    def peak_bytes(self) -> int:
        return max(sample.peak_bytes for sample in self.samples)


def in_turn(commands: Mapping[str, Command], repeats: int, scratch: Path) -> dict[str, Measurement]:
    """Run each command once, then each again, so that a slow minute of the machine falls on all of them.

    The folder of a command's last execution stays, as `scratch/name`; earlier ones are removed.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            samples[name].append(once(command, scratch / name))
    return {name: Measurement(tuple(each)) for name, each in samples.items()}


def once(command: Command, out: Path) -> Sample:
    """Run a command that writes into the folder `out`, made anew. Raises Failed if it ends with an error."""
    rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    words = [sys.executable, "-I", __file__, *command(out)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    if found["exit"] not in (0, 1) or not found["stdout"]:  # 1: done, with rejected lines
        raise Failed(f"exit {found['exit']}: {' '.join(command(out))}\n{found['stderr']}")
    answer = json.loads(found["stdout"].splitlines()[-1])
    seconds = float(answer.get("work_seconds", found["seconds"]))
    return Sample(seconds, found["seconds"], found["cpu_seconds"], found["peak_bytes"], answer)


def warm(paths: Sequence[Path]) -> None:
    """Read files once, so that every row finds them in the page cache."""
    for path in paths:
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass


def _main(command: Sequence[str]) -> None:
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)  # of this one child and its own children
    found = {
        "exit": done.returncode,
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "stdout": done.stdout,
        "stderr": done.stderr[-4000:],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    _main(sys.argv[1:])
