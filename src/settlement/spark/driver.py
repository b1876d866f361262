"""The driver's part: deal the lines of a batch out over a cluster, and put together what its shards came to.

The driver counts lines per settling institution, which gives shards of equal size. The cluster cuts every split into
blobs, moves those of one shard to one task, and settles the shard there. A task that dies is run again: what it had
written has a name that no answer mentions, and goes with the folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..batch import Progress
from ..batch.splits import Split, counted, divided, splits_of
from ..errors import Fault, Refusal
from ..pipeline import Work
from ..shard import Plan, Shard, first_of, put_together, settling_of
from . import LINES_PER_SHARD, Cluster, worker
from .session import session, told_in_our_words

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def settle(cluster: Cluster, work: Work, progress: Progress) -> None:
    """Take all lines of the batch through the line steps on the cluster.

    Raises Refusal where the rules refuse, or if there is no such cluster.
    """
    progress(f"connecting with {cluster.master}")
    with session(cluster.master) as spark, told_in_our_words():
        progress("counting lines")
        job = _job(work, cluster.shards, spark.sparkContext.defaultParallelism)
        progress(f"settling on Spark, {job.division.shards} shard(s)")
        shards = _settled(spark, job)
        progress("putting the shards together")
    put_together(work, shards)


def _job(work: Work, shards: int | None, cores: int) -> worker.Job:
    """How the lines are dealt out: in so many shards, or as many as lines and cores suggest."""
    work.batch.staging.path.chmod(0o750)  # workers may belong to another user of the group: they read here
    work.staging.path.chmod(0o770)  # and write here
    plan, splits = Plan.of(work.batch), splits_of(work.batch)
    settling, wanted = settling_of(plan), shards or max(work.batch.lines_in // LINES_PER_SHARD, cores)
    division = divided(settling, counted(splits, settling), wanted)
    return worker.Job(plan, splits, division, work.staging.path)


def _numbers(spark: SparkSession, splits: Sequence[Split]) -> DataFrame:
    """A task for each split."""
    return spark.range(0, len(splits), 1, len(splits))


def _settled(spark: SparkSession, job: worker.Job) -> list[Shard]:
    """All shards, in order. Raises Refusal with what shards were refused for."""
    blobs = _numbers(spark, job.splits).mapInArrow(partial(worker.cut, job), worker.CUT)
    of_shards = blobs.repartitionById(job.division.shards, blobs["shard"])
    answers = of_shards.mapInArrow(partial(worker.settle, job), worker.SETTLED).collect()
    shards = list(_told(answers, job.division.shards, job.results))
    refusals = [shard for shard in shards if isinstance(shard, Refusal)]
    if refusals:
        raise first_of(refusals)
    return [shard for shard in shards if isinstance(shard, Shard)]


def _told(answers: Sequence[Any], shards: int, results: Path) -> Iterator[Shard | Refusal]:
    cells: dict[int, dict[str, bytes]] = {}
    for shard, name, content in answers:
        cells.setdefault(shard, {})[name] = bytes(content)
    if sorted(cells) != list(range(shards)):
        raise Fault("spark", f"answers of {len(cells)} shard(s)", f"one of each of {shards}")
    for shard in range(shards):
        yield worker.shard_from(cells[shard], results)
