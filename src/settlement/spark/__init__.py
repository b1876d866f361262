"""Settling on Apache Spark: the same line steps on shards, wherever the cluster has cores. Needs the extra `spark`.

`worker` is what runs on the cluster, from Arrow to Arrow; `driver` deals the lines out and puts the results together;
`session` starts and names the cluster. Layer 5. pyspark is imported only when a cluster is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..batch import Progress
from ..pipeline import Work

LINES_PER_SHARD = 2_000_000


@dataclass(frozen=True)
class Cluster:
    """Which cluster settles, and in how many shards; None: as the lines and the cluster's cores suggest."""

    master: str
    shards: int | None = None

    def settle(self, work: Work, progress: Progress) -> None:
        """Take all lines of the batch through the line steps on the cluster (`pipeline.Through`)."""
        from . import driver

        driver.settle(self, work, progress)
