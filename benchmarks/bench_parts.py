"""Parts of a run, each alone (`make bench-parts`): where a change of one of them shows before the whole run does.

Not collected by `make test`. 500 000 lines, 30 % of institutions over their threshold.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from settlement import Policy, load_policy, read_batch
from settlement.batch import Batch
from settlement.batch.duplicates import Hashes, key_hash
from settlement.batch.lines import Context, plain_way
from settlement.ledger import Ledger, publish
from settlement.ledger.digest import results_sha256
from settlement.pipeline import STEPS, Carried, Work
from settlement.runs import Order, run
from settlement.terms import RESULT_TABLES

from . import data
from .job import MONTH

ROUNDS = 5


@pytest.fixture(scope="module")
def folder() -> Path:
    return data.batch(data.Spec(500_000, "0.30", "parquet"), data.default_folder())


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy("tianjin")


@pytest.fixture(scope="module")
def batch(folder: Path, policy: Policy) -> Iterator[Batch]:
    read = read_batch(folder, MONTH, policy)
    yield read
    read.close()


@pytest.fixture(scope="module")
def ledger(folder: Path, policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    place = tmp_path_factory.mktemp("ledger")
    run(Order(folder, MONTH, policy), place, lambda _: None)
    return Ledger(place)


def test_reading(benchmark: BenchmarkFixture, folder: Path, policy: Policy) -> None:
    """Read a batch and stage the lines that are not plain."""
    benchmark.pedantic(lambda: read_batch(folder, MONTH, policy).close(), rounds=ROUNDS, warmup_rounds=1)


def test_plain_lines(benchmark: BenchmarkFixture, folder: Path, batch: Batch, policy: Policy) -> None:
    """Tell the lines that surely break no rule."""
    raw = pl.scan_parquet(data.claims(folder))
    registered = frozenset(batch.tables["institutions"]["institution_id"])
    way = plain_way(raw, 0, Context(batch.first_day, batch.last_day, policy, registered))
    assert way is not None
    plain = raw.with_columns(way.coded).select(way.is_plain.sum())
    benchmark.pedantic(plain.collect, kwargs={"engine": "streaming"}, rounds=ROUNDS, warmup_rounds=1)


def test_duplicates(benchmark: BenchmarkFixture, batch: Batch, tmp_path: Path) -> None:
    """Keep the hashes of all keys, look for equal ones and for the rows they stand in."""
    hashes = batch.good_lines.select(hash=key_hash()).collect().to_series()

    def find() -> None:
        kept = Hashes(tmp_path)
        kept.of(0).put(0, hashes.to_numpy())
        assert not len(kept.positions(0))

    benchmark.pedantic(find, rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.parametrize("sentence", ["totals of the lines", "attribution to lines"])
def test_step(benchmark: BenchmarkFixture, batch: Batch, policy: Policy, sentence: str) -> None:
    """One step of `pipeline.STEPS`, after those before it."""
    work = Work(batch, policy, Carried())
    for name, step in STEPS:
        if name == sentence:
            benchmark.pedantic(step, [work], rounds=ROUNDS, warmup_rounds=1)
            return
        step(work)
    pytest.fail(f"no step {sentence!r}")


def test_results_hash(benchmark: BenchmarkFixture, ledger: Ledger) -> None:
    """Hash every row of a run's result tables."""
    run_id = str(ledger.acts()[-1].run_id)
    tables = {table.name: ledger.path(run_id, table.name) for table in RESULT_TABLES}
    benchmark.pedantic(results_sha256, [tables], rounds=ROUNDS, warmup_rounds=1)


def test_publishing(benchmark: BenchmarkFixture, ledger: Ledger) -> None:
    """Make the DuckDB file anew from the record."""
    benchmark.pedantic(publish, [ledger], {"anew": True}, rounds=ROUNDS, warmup_rounds=1)
