"""This machine against Spark on this machine: what does the cluster cost, and from when does it pay?

    python -m benchmarks.scale --sizes "1M 5M 20M" --repeats 3

settles each batch with the local engine and on a standalone master with two workers of one core each, in turn. All
results hashes of a batch must be equal. The figures go to results/NAME.json and NAME.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from settlement import load_policy
from settlement.runs import Order, run
from settlement.spark import Cluster

from . import data, machine
from .bench import RESULTS, sizes
from .job import MONTH, POLICY_FILE
from .measure import Sample, once, warm
from .standalone import Standalone

COLUMNS = ("lines", "engine", "shards", "seconds", "M lines/s", "lines/s and core", "CPU s of this process")
WAYS = ("local", "spark")


def main() -> None:
    chosen = _options().parse_args()
    if chosen.settle:
        _settle(*chosen.settle)
        return
    with tempfile.TemporaryDirectory() as folder, Standalone(Path(folder) / "cluster") as cluster:
        found = [_measured(lines, chosen, cluster, Path(folder)) for lines in chosen.sizes]
    rows = [row for each in found for row in each]
    _write(rows, chosen.repeats, chosen.name)
    print(_table(rows))


def _options() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    words.add_argument("--sizes", type=sizes, default="1M 5M 20M", help="lines, as in '1M 5M 20M'")
    words.add_argument("--share", default="0.30", help="of institutions over a threshold")
    words.add_argument("--shards", default="", help="of the cluster; default: its own choice")
    words.add_argument("--repeats", type=int, default=3, help="of which the median is shown")
    words.add_argument("--data", type=Path, default=data.default_folder(), help="where batches are kept")
    words.add_argument("--name", default=f"{machine.description()['date']}-scale", help="of the result files")
    words.add_argument("--settle", nargs=4, help=argparse.SUPPRESS)  # what a measured process does
    return words


# ---------------------------------------------------------------- a measured process


def _settle(batch: str, ledger: str, master: str, shards: str) -> None:
    """Settle a batch into a new ledger and print the results hash and the seconds of each step."""
    cluster = Cluster(master, int(shards) if shards else None) if master else None
    order = Order(Path(batch), MONTH, load_policy(Path(batch).parent / POLICY_FILE), cluster=cluster)
    told: list[tuple[str, float]] = []
    report = run(order, Path(ledger), lambda sentence: told.append((sentence, time.perf_counter())))
    ends = [*(start for _, start in told[1:]), time.perf_counter()]
    steps: dict[str, float] = {}
    for (sentence, start), end in zip(told, ends, strict=True):
        steps[sentence] = steps.get(sentence, 0) + end - start
    print(json.dumps({"results_sha256": report.results_sha256, "steps": steps}))


def _command(batch: Path, out: Path, master: str, shards: str) -> Sequence[str]:
    words = [sys.executable, "-m", "benchmarks.scale", "--settle"]
    return [*words, str(batch), str(out / "ledger"), master, shards]


# ---------------------------------------------------------------- a size


def _measured(
    lines: int, chosen: argparse.Namespace, cluster: Standalone, scratch: Path
) -> list[dict[str, object]]:
    batch = data.batch(data.Spec(lines, chosen.share, "parquet"), chosen.data)
    warm(data.claims(batch))
    samples: dict[str, list[Sample]] = {way: [] for way in WAYS}
    with _environment(cluster.environment):
        for number in range(chosen.repeats):
            for way, master in zip(WAYS, ("", cluster.url), strict=True):
                print(f"{lines:,} lines, {way}, {number + 1} of {chosen.repeats}", file=sys.stderr)
                command = _command(batch, scratch / "out", master, chosen.shards if master else "")
                samples[way].append(once(lambda _, words=command: words, scratch / "out"))  # type: ignore[misc]
    if len({sample.answer["results_sha256"] for way in WAYS for sample in samples[way]}) != 1:
        raise AssertionError(f"{lines} lines: results differ")
    return [_row(lines, way, samples[way], cluster) for way in WAYS]


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _row(lines: int, way: str, samples: Sequence[Sample], cluster: Standalone) -> dict[str, object]:
    seconds = median(sample.process_seconds for sample in samples)
    cores = cluster.workers * cluster.cores if way == "spark" else os.cpu_count() or 1
    middle = sorted(samples, key=lambda sample: sample.process_seconds)[len(samples) // 2]
    return {
        "lines": lines,
        "engine": way,
        "cores": cores,
        "seconds": seconds,
        "all_seconds": [sample.process_seconds for sample in samples],
        "cpu_seconds": median(sample.cpu_seconds for sample in samples),
        "steps": middle.answer["steps"],
    }


# ---------------------------------------------------------------- the figures


def _shards(row: Mapping[str, object]) -> str:
    steps = row["steps"]
    assert isinstance(steps, Mapping)
    counts = [step.split()[3] for step in steps if step.startswith("settling on Spark")]
    return counts[0] if counts else "-"


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---:|---|" + "---:|" * (len(COLUMNS) - 2)]
    for row in rows:
        count, seconds, cores = (float(str(row[name])) for name in ("lines", "seconds", "cores"))
        cells = (
            f"{count / 1e6:g} M",
            str(row["engine"]),
            _shards(row),
            f"{seconds:.3g}",
            f"{count / seconds / 1e6:.3g}",
            f"{count / seconds / cores:,.0f}",
            f"{float(str(row['cpu_seconds'])):.3g}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _steps(rows: Sequence[Mapping[str, object]]) -> str:
    parts = []
    for row in rows:
        steps = row["steps"]
        assert isinstance(steps, Mapping)
        told = [f"{step} {float(seconds):.1f} s" for step, seconds in steps.items() if float(seconds) > 0.1]
        parts.append(f"- {int(str(row['lines'])):,} lines, {row['engine']}: {'; '.join(told)}")
    return "\n".join(parts) + "\n"


def _write(rows: Sequence[Mapping[str, object]], repeats: int, name: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    kept = {"machine": machine.description(), "repeats": repeats, "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    about = " · ".join(f"{key} {value}" for key, value in machine.description().items())
    text = f"# Local against Spark\n\n{about}; median of {repeats}\n\n{_table(rows)}\nSteps of the middle run:\n\n"
    (RESULTS / f"{name}.md").write_text(text + _steps(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
