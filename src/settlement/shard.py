"""A shard: the lines of some settling institutions, settled apart from those of all others.

Everything that `pipeline.LINE_STEPS` do turns on one settling institution at a time. So the lines of a batch can be
dealt out by settling institution and settled anywhere by the same steps; what they come to is put together again, in
canonical order, before the steps over the pool. Layer 4. Source: rules 3–7.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TypeAlias

import polars as pl

from .batch import Batch, context_of
from .batch.rejected import put_together_rejected
from .batch.spool import Piece, spooled
from .batch.staging import Staging
from .batch.tables import SourceFile
from .errors import Refusal
from .pipeline import TIME_STEPS, Work, begun, here
from .policy import Policy

Frame: TypeAlias = pl.DataFrame | pl.LazyFrame
IN_MEMORY = ("groups", "suspended", "daily_points")
IN_FILES = ("unpaid_lines", "rejected_lines")


@dataclass(frozen=True)
class Shard:
    """What the lines of some settling institutions came to.

    `tables`: groups, suspended and daily_points in memory; unpaid_lines and rejected_lines as lazy frames over files
    of `staging`, in canonical order. `counts` and `assumptions` as a Settlement has them.
    """

    tables: dict[str, Frame]
    counts: dict[str, int]
    assumptions: tuple[str, ...]
    staging: Staging | None = field(default=None, repr=False)

    @staticmethod
    def of(work: Work) -> Shard:
        """What the line steps have left."""
        made: dict[str, Frame] = {"groups": work.groups, "suspended": work.suspended}
        tables = {name: work.tables[name] for name in ("daily_points", *IN_FILES)}
        return Shard(made | tables, work.counts, tuple(work.assumptions), work.staging)


@dataclass(frozen=True)
class Plan:
    """What lines are settled with: all of a batch but its lines. It can be sent to another machine."""

    folder: Path
    first_day: date
    policy: Policy
    tables: dict[str, pl.DataFrame]
    present: frozenset[str]
    sources: tuple[SourceFile, ...]

    @staticmethod
    def of(batch: Batch) -> Plan:
        return Plan(
            batch.folder.absolute(), batch.first_day, batch.policy, batch.tables, batch.present, batch.sources
        )

    def for_only(self, institutions: pl.Series) -> Plan:
        """The plan with these institutions alone: those of a shard, with all who settle under one of them."""
        named = pl.col("institution_id").is_in(institutions.implode())
        own = {name: self.tables[name].filter(named) for name in ("institutions", "agreements", "events")}
        return replace(self, tables={**self.tables, **own})

    def batch(self, pieces: Iterable[Piece], scratch: Path) -> Batch:
        """The batch with these lines, kept in a folder of `scratch`."""
        staging = Staging(scratch)
        context = context_of(self.first_day, self.policy, self.tables)
        lines, lines_in = spooled(pieces, staging.path, context)
        return Batch(
            folder=self.folder,
            first_day=self.first_day,
            policy=self.policy,
            tables=self.tables,
            present=self.present,
            sources=self.sources,
            small_files=(),
            files=(),
            lines=lines,
            lines_in=lines_in,
            staging=staging,
        )


def settled(plan: Plan, pieces: Iterable[Piece], scratch: Path) -> Shard:
    """Take the lines of a shard, in pieces and in any order, through the line steps. `plan`: for its institutions.

    Files lie in folders of `scratch`. Raises Refusal where the rules refuse.
    """
    batch = plan.batch(pieces, scratch)
    try:
        work = begun(batch, plan.policy)
        for _, step in TIME_STEPS:
            step(work)
        here(work, lambda _: None)
        return Shard.of(work)
    finally:
        batch.close()


def settling_of(plan: Plan) -> pl.DataFrame:
    """institution_id, settling_id of every registered institution."""
    under = pl.coalesce("settles_under", "institution_id")
    return plan.tables["institutions"].select("institution_id", settling_id=under)


def put_together(work: Work, shards: Sequence[Shard]) -> None:
    """What all shards of a batch came to, as if its lines had gone through the line steps together.

    `shards`: in canonical order of their institutions. Lines in are those that the batch says it has, so that the
    proofs miss any that was lost on the way.
    """
    frames = {name: [shard.tables[name] for shard in shards] for name in (*IN_MEMORY, *IN_FILES)}
    work.groups, work.suspended, work.tables["daily_points"] = (
        pl.concat([frame.lazy().collect() for frame in frames[name]]) for name in IN_MEMORY
    )
    work.tables["unpaid_lines"] = pl.concat(frame.lazy() for frame in frames["unpaid_lines"])
    bad = pl.concat(frame.lazy() for frame in frames["rejected_lines"])
    work.tables["rejected_lines"] = put_together_rejected(bad, work.batch.sources, work.staging.path)
    sums = {name: sum(shard.counts[name] for shard in shards) for name in shards[0].counts}
    work.counts = {**sums, "lines_in": work.batch.lines_in}
    found = {one for shard in shards for one in shard.assumptions}
    work.assumptions += sorted(found.difference(work.assumptions))


def first_of(refusals: Sequence[Refusal]) -> Refusal:
    """The refusal of the first shard; all that it says of other shards' institutions too, if they say the same."""
    first = refusals[0]
    alike = [one.found for one in refusals if _but_found(one) == _but_found(first)]
    return Refusal(first.where, "; ".join(dict.fromkeys(alike)), first.expected, first.remedy)


def _but_found(refusal: Refusal) -> tuple[str, ...]:
    return (refusal.where, refusal.expected, refusal.remedy)
