"""What the workers of a cluster do: cut lines into shards, settle a shard. Both go from Arrow to Arrow.

Nothing here knows Spark: it hands over batches of Arrow rows, one task at a time, and takes such batches back. Lines
travel as blobs (Arrow IPC), so that the cluster moves few large cells and no rows of fourteen columns. A worker sees
the batch's files and the folder for results at the paths that the driver sees them at.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from .. import exact
from ..batch import refuse_damaged, room_to_write
from ..batch.splits import Division, Split
from ..batch.spool import Piece
from ..errors import Refusal, SettlementError
from ..shard import IN_FILES, IN_MEMORY, Plan, Shard, settled

if TYPE_CHECKING:
    import pyarrow as pa

CUT = "shard int, source int, rows binary"
SETTLED = "shard int, name string, content binary"
TOLD = "told"
REFUSED, FAILED = "settlement refused", "settlement failed"  # what follows them in Spark's message is ours

Batches = Iterable["pa.RecordBatch"]


@dataclass(frozen=True)
class Job:
    """All that workers need: where lines are, whose they are, what they are settled with, where results go."""

    plan: Plan
    splits: Sequence[Split]
    division: Division
    results: Path

    def plan_of(self, shard: int) -> Plan:
        """The plan for the institutions of a shard."""
        return self.plan.for_only(self.division.shard_of.filter(pl.col("shard") == shard)["institution_id"])


# ---------------------------------------------------------------- the two tasks


def cut(job: Job, numbers: Batches) -> Iterator[pa.RecordBatch]:
    """Numbers of splits → a blob of lines for each shard, from every piece of the splits."""
    with _told_without_cells():
        for split in _named(job.splits, numbers):
            with _readable(split):
                for morsel in split.morsels():
                    parts = list(job.division.cut(morsel))
                    yield _arrow(
                        shard=([shard for shard, _ in parts], "int32"),
                        source=([split.source] * len(parts), "int32"),
                        rows=([_blob(rows) for _, rows in parts], "binary"),
                    )


def settle(job: Job, blobs: Batches) -> Iterator[pa.RecordBatch]:
    """The blobs of one shard → what its lines came to: small tables as blobs, large ones as files in `job.results`.

    A refusal is an answer too: told, not raised, for to raise is to be tried again.
    """
    with _told_without_cells():
        for shard, pieces in _by_shard(blobs):
            yield _answer(shard, _settled(job, shard, pieces))


def _settled(job: Job, shard: int, pieces: Iterable[Piece]) -> dict[str, bytes]:
    try:
        with _scratch() as scratch, room_to_write(), _fitting_sums():
            return _written(settled(job.plan_of(shard), pieces, scratch), job.results, shard)
    except Refusal as refusal:
        return {TOLD: json.dumps({"refused": refusal.args}).encode()}


def _written(found: Shard, results: Path, shard: int) -> dict[str, bytes]:
    """The shard as cells; its large tables in files with names that no other attempt at this shard has."""
    files = {name: f"{name}-{shard:06}-{secrets.token_hex(8)}.parquet" for name in IN_FILES}
    for name, file in files.items():
        found.tables[name].lazy().sink_parquet(results / file, compression="lz4")
        (results / file).chmod(0o640)
    told = {"counts": found.counts, "assumptions": found.assumptions, "files": files}
    small = {name: _blob(found.tables[name].lazy().collect()) for name in IN_MEMORY}
    return {TOLD: json.dumps(told).encode(), **small}


# ---------------------------------------------------------------- what comes back


def shard_from(cells: dict[str, bytes], results: Path) -> Shard | Refusal:
    """What `settle` has told of one shard."""
    told = json.loads(cells[TOLD])
    if "refused" in told:
        return Refusal(*told["refused"])
    tables: dict[str, Any] = {name: pl.read_ipc_stream(cells[name]) for name in IN_MEMORY}
    tables |= {name: pl.scan_parquet(results / file, glob=False) for name, file in told["files"].items()}
    return Shard(tables, told["counts"], tuple(told["assumptions"]))


# ---------------------------------------------------------------- Arrow


def _arrow(**columns: tuple[Any, str]) -> pa.RecordBatch:
    import pyarrow

    arrays = {
        name: pyarrow.array(list(values), pyarrow.type_for_alias(kind))
        for name, (values, kind) in columns.items()
    }
    return pyarrow.RecordBatch.from_pydict(arrays)


def _answer(shard: int, cells: dict[str, bytes]) -> pa.RecordBatch:
    return _arrow(
        shard=([shard] * len(cells), "int32"),
        name=(cells.keys(), "string"),
        content=(cells.values(), "binary"),
    )


def _blob(rows: pl.DataFrame) -> bytes:
    kept = BytesIO()
    rows.write_ipc_stream(kept, compression="lz4")
    return kept.getvalue()


def _named(splits: Sequence[Split], numbers: Batches) -> Iterator[Split]:
    for batch in numbers:
        for number in batch.column(0).to_pylist():
            yield splits[number]


def _by_shard(blobs: Batches) -> Iterator[tuple[int, Iterator[Piece]]]:
    """Shards with their pieces, one shard after the other: the cluster gives a task the blobs of one shard only."""
    rows = _rows(blobs)
    first = next(rows, None)
    if first is not None:
        yield first[0], _pieces(first, rows)


def _pieces(
    first: tuple[int, int | None, bytes], rows: Iterator[tuple[int, int | None, bytes]]
) -> Iterator[Piece]:
    shard, source, blob = first
    yield source, pl.read_ipc_stream(blob)
    for other, source, blob in rows:
        if other != shard:
            raise ValueError(f"blobs of shards {shard} and {other} in one task")
        yield source, pl.read_ipc_stream(blob)


def _rows(blobs: Batches) -> Iterator[tuple[int, int | None, bytes]]:
    for batch in blobs:
        for row in range(batch.num_rows):
            shard, source, blob = (batch.column(number)[row].as_py() for number in range(3))
            yield shard, source, blob


# ---------------------------------------------------------------- files and failures


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder on this worker's own disk, among those that Spark removes with the application even after a kill."""
    own = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0]
    with tempfile.TemporaryDirectory(prefix="settlement-", dir=own or None) as folder:
        yield Path(folder)


@contextmanager
def _readable(split: Split) -> Iterator[None]:
    """Raises Refusal naming a file that is damaged."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError):
        refuse_damaged([split.path], split.folder)
        raise


@contextmanager
def _fitting_sums() -> Iterator[None]:
    try:
        yield
    except pl.exceptions.PolarsError as error:
        if exact.is_too_large(error):
            raise exact.too_large("batch, sums") from error
        raise


@contextmanager
def _told_without_cells() -> Iterator[None]:
    """Spark logs what goes wrong: frames only, for messages of libraries may quote cells of the input."""
    try:
        yield
    except Refusal as refusal:
        raise RuntimeError(f"{REFUSED} {json.dumps(refusal.args)}") from None
    except Exception as error:
        message = f": {error}" if isinstance(error, SettlementError) else ""
        frames = traceback.format_list(traceback.extract_tb(error.__traceback__))
        raise RuntimeError(f"{FAILED} {type(error).__name__}{message}\n{''.join(frames)}") from None
