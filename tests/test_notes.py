"""What the first reading notes of a row is found again by the row's position, and nothing else is found."""

from __future__ import annotations

import errno
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from settlement import exact, load_policy, pipeline, read_batch
from settlement.batch import Batch, notes
from settlement.batch.notes import POSITION, Careful, Listed, Notes, Numbers, first_position, picked
from settlement.errors import Fault
from settlement.rules import profiles
from test_batch import LINE, write_batch
from test_properties import Form, write
from test_shard import outcome, typed_batch

pytestmark = [
    pytest.mark.filterwarnings("ignore:Implicitly cleaning up"),  # see test_cli, temporary copies
    pytest.mark.filterwarnings("ignore:Using `assume` outside"),  # a batch that it rejects is drawn again
]
ROWS = 1_000


@pytest.fixture
def noted(tmp_path: Path) -> Notes:
    """The number of each row is its position + 1; the pieces come from last to first, row 500 and the last lack."""
    kept = Notes(tmp_path / "notes", np.int64)
    for first in (700, 501, 300, 0):
        count = {700: 299, 501: 199, 300: 200, 0: 300}[first]
        kept.put(first, np.arange(first + 1, first + count + 1))
    return kept


def test_a_row_has_the_number_that_was_noted_for_it(noted: Notes) -> None:
    assert noted.get(498, 4).tolist() == [499, 500, 0, 502]
    assert noted.at(np.array([0, 299, 300, 998])).tolist() == [1, 300, 301, 999]


def test_a_row_that_was_not_noted_has_no_number(noted: Notes) -> None:
    assert noted.get(997, 5).tolist() == [998, 999, 0, 0, 0]
    assert Notes(noted._file.with_name("none"), np.int64).get(0, 2).tolist() == [0, 0]


def test_notes_are_the_same_whatever_the_piece(noted: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = noted.get(0, ROWS - 1)
    monkeypatch.setattr(notes, "_PIECE", 7)
    assert np.array_equal(np.concatenate([numbers for _, numbers in noted.pieces()]), whole)
    assert noted.at(np.array([0, 6, 7, 998])).tolist() == [1, 7, 8, 999]


@pytest.mark.parametrize("chunk", [1, 13, ROWS])
def test_rows_are_picked_by_their_number_and_keep_it(noted: Notes, chunk: int) -> None:
    rows = pl.DataFrame({POSITION: range(ROWS), "text": [f"a text of row {row}" for row in range(ROWS)]})

    def tens(first: int, count: int) -> Numbers:
        numbers = noted.get(first, count)
        return np.where(numbers % 10 == 0, numbers, 0)

    found = pl.concat(picked(part.lazy(), tens).collect() for part in rows.iter_slices(chunk))
    assert found["number"].to_list() == [*range(10, 500, 10), 500, *range(510, ROWS, 10)]
    assert found["text"].to_list() == [f"a text of row {number - 1}" for number in found["number"]]


def test_rows_out_of_order_are_our_own_fault() -> None:
    with pytest.raises(Fault, match="consecutive rows"):
        first_position(pl.DataFrame({POSITION: [4, 6]}))


def test_a_copy_is_taken_off_the_file_it_stands_in(tmp_path: Path) -> None:
    """Files of two forms: row 3 of the second is row 1 of the first once more; row 3 of the first is paid."""
    rows = [{**LINE, "line_id": str(number), "points": str(number)} for number in range(1, 6)]
    files = {"1": (rows[:3], pl.Decimal(18, 4)), "2": ([*rows[3:], rows[0]], pl.Decimal(12, 2))}
    batch = write_batch(tmp_path / "batch")
    (batch / "claims.csv").unlink()
    (batch / "claims").mkdir()
    for name, (lines, points) in files.items():
        typed(lines, points).write_parquet(batch / "claims" / f"{name}.parquet")
    policy = load_policy("tianjin")
    found = read_batch(batch, "2026-03", policy)
    assert len(found.lines.typed) == 2
    assert all(files.told().collect()["is_plain"].all() for files in found.lines.typed)
    settled = pipeline.settle(found, policy)
    assert settled.rejected_lines.select("source", "row_number").rows() == [("claims/2.parquet", 3)]
    assert settled.settlements["submitted_points"].to_list() == [Decimal("15.0000")]
    assert settled.daily_points["line_count"].to_list() == [5]


def typed(rows: list[dict[str, str]], points: pl.Decimal) -> pl.DataFrame:
    return (
        pl.DataFrame(rows, strict=False)
        .with_columns(pl.all().replace("", None))
        .with_columns(
            pl.col("points").cast(points),
            pl.col("amount").cast(pl.Decimal(18, 2)),
            pl.col("serviced_at", "settled_at").str.to_datetime(),
        )
    )


KEYS = st.lists(st.tuples(*[st.integers(0, 40) | st.integers(0, 2**63 - 1)] * 2), unique=True)


@given(KEYS, KEYS)
def test_a_key_is_found_where_it_is_listed_and_no_other(
    listed: list[tuple[int, int]], others: list[tuple[int, int]]
) -> None:
    asked = [*listed, *others, (-1, -1)]
    places = {key: place for place, key in enumerate(listed, start=1)}
    found = Listed(parts(listed)).numbers(parts(asked))
    assert found.tolist() == [places.get(key, 0) for key in asked]


def parts(keys: list[tuple[int, int]]) -> list[Numbers]:
    return list(np.array(keys, np.int64).reshape(-1, 2).T.copy())


@pytest.mark.parametrize("is_untidy", [False, True], ids=["tidy", "untidy"])
@pytest.mark.parametrize("seed", range(2300, 2304))
def test_profiles_of_several_numbers_settle_alike(
    seed: int, is_untidy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile whose digits do not fit into one number: lines are noted and found by all of its numbers."""
    form = Form(is_parquet=True, is_typed=True, is_untidy=is_untidy)
    write(tmp_path / "batch", typed_batch(seed), form)
    policy = load_policy(tmp_path / "policy.toml")
    expected = outcome(read_batch(tmp_path / "batch", "2026-03", policy), policy)
    monkeypatch.setattr(profiles, "_MOST", 100)
    batch = read_batch(tmp_path / "batch", "2026-03", policy)
    assert len(numbers_of_profiles(batch)) > 2
    assert outcome(batch, policy) == expected


def numbers_of_profiles(batch: Batch) -> list[str]:
    work = pipeline.begun(batch, batch.policy)
    pipeline.time(work)
    return profiles.Profiles(pipeline.relevant(work)).keys


def test_an_error_while_noting_is_raised_when_all_rows_have_streamed_past(tmp_path: Path) -> None:
    """Raised in the middle, it may leave the threads of the stream waiting for ever: a full disk would hang a run."""
    noted, passed = [], []

    def full(rows: pl.DataFrame) -> None:
        noted.append(rows.height)
        raise OSError(errno.ENOSPC, "No space left on device")

    def count(rows: pl.DataFrame) -> pl.DataFrame:
        passed.append(rows.height)
        return rows

    for number in range(4):
        pl.DataFrame({POSITION: range(number * ROWS, (number + 1) * ROWS)}).write_parquet(
            tmp_path / f"{number}.parquet"
        )
    careful = Careful()
    stream = careful.noting(full, pl.scan_parquet(tmp_path)).map_batches(count, streamable=True)
    with pytest.raises(OSError, match="No space left"):
        careful.collected(stream)
    assert len(noted) >= 1
    assert sum(passed) == 4 * ROWS


@pytest.mark.parametrize("is_typed", [True, False], ids=["typed", "CSV"])
def test_points_whose_sums_could_leave_64_bits_are_refused_whatever_their_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_typed: bool
) -> None:
    line = {"points": "-9", "reverses_line_id": "1"}
    rows = [
        {**LINE, "line_id": "1", "points": "8"},
        {**LINE, **line, "line_id": "2"},
        {**LINE, **line, "line_id": "3"},
    ]
    frame = typed(rows, pl.Decimal(18, 4))
    policy = load_policy("tianjin")
    for most, is_refused in ((3 * 90_000, False), (3 * 90_000 - 1, True)):
        monkeypatch.setattr(exact, "_WIDEST", most)
        batch = read_batch(write_batch(tmp_path / str(most), frame if is_typed else rows), "2026-03", policy)
        assert bool(batch.lines.typed) == is_typed
        found = outcome(batch, policy)
        assert ("3 lines of up to 9.0000 points each" in str(found)) == is_refused, found
