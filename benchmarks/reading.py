"""Where the time of the first reading goes: `make bench-reading`.

Each plan does one part more than the one before it; what it costs more is the part's. CPU time of the process, the
least of several executions, for other work on the machine only ever adds to it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from settlement import pipeline
from settlement.batch import Batch, read_batch
from settlement.batch.duplicates import Hashes, key_hash
from settlement.batch.keyed import Keyed
from settlement.batch.reading import FirstReading
from settlement.batch.staging import Staging
from settlement.policy import load_policy
from settlement.rules.profiles import Profiles

from . import data, job


def main() -> None:
    words = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__)
    words.add_argument("--lines", type=int, default=20_000_000)
    words.add_argument("--repeats", type=int, default=3)
    words.add_argument("--data", type=Path, default=data.default_folder())
    chosen = words.parse_args()
    folder = data.batch(data.Spec(chosen.lines, "0.03", "parquet"), chosen.data)
    policy = load_policy(folder.parent / job.POLICY_FILE)
    batch = read_batch(folder, job.MONTH, policy)
    try:
        work = pipeline.begun(batch, policy)
        pipeline.time(work)
        _show(batch, Profiles(pipeline.relevant(work)), chosen.repeats)
    finally:
        batch.close()


def _show(batch: Batch, coding: Profiles, repeats: int) -> None:
    before = 0
    with tempfile.TemporaryDirectory() as folder:
        for part, plan in _plans(batch, coding, Path(folder)):
            spent = min(_cpu_ns(plan) for _ in range(repeats))
            print(f"{part:<72}{(spent - before) / batch.lines_in:6.0f} ns per line", flush=True)
            before = spent
        print(f"{'together':<72}{before / batch.lines_in:6.0f} ns per line")


def _plans(batch: Batch, coding: Profiles, folder: Path) -> Iterator[tuple[str, pl.LazyFrame]]:
    files = batch.lines.typed[0]
    columns = files.raw.collect_schema().names()
    reading = FirstReading(files, Hashes(folder).of(0), folder, batch.lines.careful)
    keyed = Keyed(batch.lines, coding, Staging(folder))
    numbers = pl.col(coding.keys).max(), pl.col("points").sum()
    told = files.raw.with_columns(files.way.coded).with_columns(is_plain=files.way.is_plain)
    plain, sums = pl.col("is_plain").sum(), pl.col(columns).null_count()
    yield f"decode {len(columns)} columns", files.raw.select(sums)
    yield "tell plain lines", told.select(sums, plain)
    yield "hash the key", told.with_columns(hash=key_hash()).select(sums, plain, pl.col("hash").max())
    yield "note the hashes, count, set odd lines aside", reading.noted().select(sums, plain)
    yield "derive, write the profile as a number", coding.keyed(reading.told()).select(numbers)
    yield "note the profiles", keyed.noted(files, reading.told()).select(numbers)
    yield "group by profile", pipeline.summed(keyed.noted(files, reading.told()), coding.keys)


def _cpu_ns(plan: pl.LazyFrame) -> int:
    started = time.process_time_ns()
    plan.collect(engine="streaming")
    return time.process_time_ns() - started


if __name__ == "__main__":
    main()
