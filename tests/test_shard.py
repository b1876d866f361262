"""The kernel without Spark: a batch dealt out into shards, in blobs of Arrow, settles as on one machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis.errors import UnsatisfiedAssumption

from random_batches import write_random_batch
from settlement import load_policy, read_batch
from settlement.batch import Batch, Progress, splits, spool
from settlement.batch.splits import Split, counted, divided, splits_of
from settlement.errors import Fault, Refusal
from settlement.pipeline import Settlement, Work, settle
from settlement.reconcile import proofs
from settlement.runs import sha256_of
from settlement.shard import Plan, Shard, first_of, put_together, settling_of
from settlement.spark import worker
from test_properties import Batch as RandomBatch
from test_properties import Form, _can_be_typed, random_batch, write

pytestmark = [
    pytest.mark.filterwarnings("ignore:Implicitly cleaning up"),  # see test_cli, temporary copies
    pytest.mark.filterwarnings("ignore:Using `assume` outside"),  # a batch that it rejects is drawn again
]


def numbers(pieces: list[Split]) -> Iterator[pa.RecordBatch]:
    """What Spark's `range` gives: one number per task."""
    return (pa.RecordBatch.from_pydict({"id": [number]}) for number in range(len(pieces)))


def blobs_of(job: worker.Job) -> dict[int, list[pa.RecordBatch]]:
    """What Spark moves: the blobs of each shard, the last first, so that no order of lines can be relied on."""
    found: dict[int, list[pa.RecordBatch]] = {}
    for batch in worker.cut(job, numbers(list(job.splits))):
        for row in range(batch.num_rows):
            found.setdefault(batch.column(0)[row].as_py(), []).insert(0, batch.slice(row, 1))
    return found


def cells_of(answers: Iterator[pa.RecordBatch]) -> dict[str, bytes]:
    return {row["name"]: row["content"] for batch in answers for row in batch.to_pylist()}


def in_shards(shards: int, work: Work, _: Progress, lost: int = 0) -> None:
    """As `spark.driver.settle`, in this process. `lost`: so many blobs never reach the first shard."""
    pieces, plan = splits_of(work.batch, most=40), Plan.of(work.batch)
    settling = settling_of(plan)
    division = divided(settling, counted(pieces, settling), shards)
    job = worker.Job(plan, pieces, division, work.staging.path)
    blobs = blobs_of(job)
    assert sorted(blobs) == list(range(job.division.shards))
    del blobs[0][:lost]
    answers = [cells_of(worker.settle(job, iter(blobs[shard]))) for shard in sorted(blobs)]
    found = [worker.shard_from(cells, job.results) for cells in answers]
    refusals = [one for one in found if isinstance(one, Refusal)]
    if refusals:
        raise first_of(refusals)
    put_together(work, [one for one in found if isinstance(one, Shard)])


def outcome(batch: Batch, policy: Any, **options: Any) -> Any:
    """Results hash, counts, assumptions; or the refusal."""
    try:
        made: Settlement = settle(batch, policy, **options)
    except Refusal as refusal:
        return str(refusal)
    proofs(batch, made)
    return sha256_of(made.tables), made.counts, made.assumptions


@pytest.mark.parametrize("shards", [1, 2, 7])
@pytest.mark.parametrize("seed", range(2000, 2012))
def test_shards_come_to_the_same_as_one_machine(seed: int, shards: int, tmp_path: Path) -> None:
    made = write_random_batch(tmp_path, seed)
    policy = load_policy(made["policy"])
    try:
        here, there = (read_batch(made["batch"], made["month"], policy) for _ in range(2))
    except Refusal:
        return
    expected = outcome(here, policy)
    found = outcome(there, policy, through=partial(in_shards, shards))
    assert found == expected


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("is_untidy", [False, True], ids=["tidy", "untidy"])
@pytest.mark.parametrize("seed", range(2100, 2106))
def test_shards_of_typed_parquet_come_to_the_same(
    seed: int, is_untidy: bool, shards: int, tmp_path: Path
) -> None:
    """Files whose rows are read and judged by the workers; untidy codes have blanks about them."""
    batch, form = typed_batch(seed), Form(is_parquet=True, is_typed=True, is_untidy=is_untidy)
    write(tmp_path / "batch", batch, form)
    policy = load_policy(tmp_path / "policy.toml")
    here, there = (read_batch(tmp_path / "batch", "2026-03", policy) for _ in range(2))
    assert here.lines.typed or not any("settled_at" in file.columns for file in batch.claims)
    expected = outcome(here, policy)
    assert outcome(there, policy, through=partial(in_shards, shards)) == expected


@pytest.mark.parametrize("seed", [2200, 2201])
def test_an_institution_larger_than_any_piece_settles(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines come in many blobs, are kept in many files, and its rejected lines are sorted in many parts."""
    made = write_random_batch(tmp_path, seed, lines=1_500, bad_lines=0.2)
    policy = load_policy(made["policy"])
    here, there = (read_batch(made["batch"], made["month"], policy) for _ in range(2))
    expected = outcome(here, policy)
    monkeypatch.setattr(splits, "MORSEL", 50)
    monkeypatch.setattr(spool, "_MOST_LINES", 120)
    monkeypatch.setattr(sys.modules["settlement.batch.rejected"], "_MOST_LINES", 30)
    monkeypatch.setattr(sys.modules["settlement.batch.rejected"], "_BLOCK", 16)
    assert not isinstance(expected, str)
    assert outcome(there, policy, through=partial(in_shards, 1)) == expected


def test_lines_lost_on_the_way_fail_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "MORSEL", 50)
    made = write_random_batch(tmp_path, 2200, lines=1_500)
    policy = load_policy(made["policy"])
    batch = read_batch(made["batch"], made["month"], policy)
    settled = settle(batch, policy, through=partial(in_shards, 2, lost=1))
    with pytest.raises(Fault, match="lines in = lines read"):
        proofs(batch, settled)


def typed_batch(seed: int) -> RandomBatch:
    """A random batch of which only lines are left that typed columns can hold, in at least one file."""
    for number in range(seed * 100, seed * 100 + 100):
        try:
            batch = random_batch(number)
        except UnsatisfiedAssumption:
            continue
        claims = tuple(
            replace(file, rows=tuple(filter(_can_be_typed, file.rows)))
            for file in batch.claims
            if "points" in file.columns
        )
        small = {
            name: replace(file, rows=tuple(filter(_can_be_typed, file.rows)))
            for name, file in batch.small.items()
        }
        if any(file.rows for file in claims):
            return replace(batch, claims=claims, small=small)
    raise AssertionError("no such batch")


def test_shards_are_of_equal_size_and_hold_institutions_in_order() -> None:
    names = [f"H{number:011}" for number in range(100)]
    settling = pl.DataFrame({"institution_id": names, "settling_id": names})
    lines = pl.DataFrame({"settling_id": names[10:], "lines": [10_000] + [10] * 89})
    found = divided(settling, lines, 5)
    by_shard = found.shard_of.join(lines, left_on="institution_id", right_on="settling_id", how="left")
    sizes = by_shard.group_by("shard").agg(pl.col("lines").sum()).sort("shard")
    assert found.shard_of["shard"].is_sorted()
    assert found.shards == sizes.height == 2  # the large one, with those before it, and all the others
    assert sizes["lines"].to_list() == [10_000, 890]


def test_a_station_belongs_to_the_shard_of_its_centre() -> None:
    settling = pl.DataFrame({"institution_id": ["A", "B", "C", "D"], "settling_id": ["A", "D", "C", "D"]})
    lines = pl.DataFrame({"settling_id": ["A", "C", "D"], "lines": [5, 5, 5]})
    found = dict(divided(settling, lines, 3).shard_of.iter_rows())
    assert found == {"A": 0, "B": 2, "C": 1, "D": 2}


def test_without_a_line_of_a_known_institution_there_is_one_shard() -> None:
    settling = pl.DataFrame({"institution_id": ["A", "B"], "settling_id": ["A", "B"]})
    lines = pl.DataFrame(schema={"settling_id": pl.String, "lines": pl.Int64})
    assert divided(settling, lines, 3).shards == 1


def test_refusals_of_several_shards_are_told_together_if_they_say_the_same() -> None:
    one, other, third = Refusal("w", "A", "e", "r"), Refusal("w", "B", "e", "r"), Refusal("x", "C", "e", "r")
    assert first_of([one, third, other]).args == ("w", "A; B", "e", "r")
