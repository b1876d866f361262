"""What must not change the result: order of rows, files, formats, encodings, names. And nothing is ever lost.

Each property is tried on random batches (random_batches.py) that Hypothesis draws by their seed.
"""

from __future__ import annotations

import codecs
import csv
import io
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import reference
from random_batches import write_random_batch
from settlement import load_policy, read_batch, settle
from settlement.errors import Refusal
from settlement.reconcile import proofs
from settlement.runs import Order, check
from settlement.terms import CLAIM_FIELDS, SETTLEMENT_FIELDS, SMALL_TABLES

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies

SEEDS = st.integers(min_value=0, max_value=10**9)
NAMES = {
    name: {field.name: list(field.national) for field in fields} for name, fields in SMALL_TABLES.items()
}
NAMES["settlements"] = {field.name: list(field.national) for field in SETTLEMENT_FIELDS}
NAMES["claims"] = {field.name: list(field.national) for field in CLAIM_FIELDS}
DAYS = ("start_date", "end_date", "occurred_on")
MOMENTS = ("serviced_at", "settled_at")
SCALES = {"points": 4, "amount": 2, "budget": 2, "approved_points": 2, "point_value": 6}

few = settings(
    derandomize=True, deadline=None, max_examples=7, suppress_health_check=list(HealthCheck), database=None
)
Row = dict[str, str | None]


@dataclass(frozen=True)
class File:
    """One file of a batch as text cells under the contract's own names."""

    table: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Batch:
    """A random batch, read by the reference; rows that no other format could hold (ragged …) are left out."""

    policy: str
    small: dict[str, File]
    claims: tuple[File, ...]


def random_batch(seed: int) -> Batch:
    with tempfile.TemporaryDirectory() as name:
        made = write_random_batch(Path(name), seed)
        folder = made["batch"]
        assume("refused" not in _outcome(folder, made["policy"]))
        small = {
            path.stem: _read(path, path.stem)
            for path in sorted(folder.glob("*.csv"))
            if path.stem != "claims"
        }
        claims = tuple(
            _read(path, "claims")
            for path in sorted([*folder.glob("claims.csv"), *folder.glob("claims/*.csv")])
        )
        return Batch(made["policy"].read_text("utf-8"), small, claims)


def _outcome(folder: Path, policy: Path) -> dict[str, Any]:
    try:
        return reference.settle(folder, "2026-03", policy)
    except reference.Refused as refusal:
        return {"refused": str(refusal)}


def _read(path: Path, table: str) -> File:
    read = reference.read_csv(path, path.name, NAMES[table])
    columns = tuple(column for column in NAMES[table] if column in read.columns)
    whole = [row.cells for row in read.rows if not row.is_ragged and not row.is_undecodable]
    return File(table, columns, tuple({column: cells[column] for column in columns} for cells in whole))


# ---------------------------------------------------------------- writing


@dataclass(frozen=True)
class Form:
    """How the files are written; the plain form is CSV with commas in UTF-8 under the contract's own names."""

    separator: str = ","
    encoding: str = "utf-8"
    line_end: str = "\n"
    is_national: bool = False
    is_parquet: bool = False
    is_typed: bool = False
    is_untidy: bool = False  # blanks about the texts, and every way to write a missing one


def write(
    folder: Path, batch: Batch, form: Form, claims: Iterable[tuple[str, File, Form]] | None = None
) -> None:
    """Write the batch; `claims` gives the claims files with their paths, by default one after the other."""
    folder.mkdir()
    (folder.parent / "policy.toml").write_text(batch.policy, "utf-8")
    for name, file in batch.small.items():
        write_file(folder / name, file, form)
    if claims is None:
        claims = [(f"claims/{number}", file, form) for number, file in enumerate(batch.claims)]
    for path, file, its_form in claims:
        write_file(folder / path, file, its_form)


def write_file(stem: Path, file: File, form: Form) -> None:
    stem.parent.mkdir(exist_ok=True)
    names = {column: _name(file.table, column, form) for column in file.columns}
    if form.is_parquet:
        columns = [_series(names[column], column, file, form) for column in file.columns]
        pl.DataFrame(columns).write_parquet(stem.with_name(f"{stem.name}.parquet"))
        return
    text = io.StringIO()
    writer = csv.writer(text, delimiter=form.separator, lineterminator=form.line_end)
    writer.writerow(names.values())
    writer.writerows([row[column] or "" for column in file.columns] for row in file.rows)
    stem.with_name(f"{stem.name}.csv").write_bytes(text.getvalue().encode(form.encoding))


def _name(table: str, column: str, form: Form) -> str:
    national = NAMES[table][column]
    return national[-1] if form.is_national and national else column


def _series(name: str, column: str, file: File, form: Form) -> pl.Series:
    cells = [row[column] for row in file.rows]
    if form.is_typed and column in SCALES:
        numbers = [None if cell is None else Decimal(cell) for cell in cells]
        return pl.Series(name, numbers, dtype=pl.Decimal(18, SCALES[column]))
    if form.is_typed and column in MOMENTS:
        moments = [None if cell is None else reference.parse_moment(cell) for cell in cells]
        return pl.Series(name, moments, dtype=pl.Datetime("us"))
    if form.is_typed and column in DAYS:
        return pl.Series(name, [reference.parse_day(cell or "") for cell in cells], dtype=pl.Date)
    if form.is_untidy:
        draw = random.Random(f"{column} {len(cells)}")
        cells = [_untidy(cell, draw) for cell in cells]
    return pl.Series(name, cells, dtype=pl.String)


def _untidy(cell: str | None, draw: random.Random) -> str | None:
    if cell is None:
        return draw.choice([None, "", "null", "  ", " null "])
    return draw.choice([cell, cell, f" {cell}", f"{cell}\t", f"\u3000{cell} "])


# ---------------------------------------------------------------- comparing


@dataclass(frozen=True)
class Result:
    """Hash of all tables, the tables, and what was rejected without its place."""

    results_sha256: str
    tables: dict[str, list[dict[str, Any]]]
    rejected: Counter[tuple[Any, ...]]
    counts: dict[str, int]

    @property
    def apart_from_places(self) -> tuple[Any, ...]:
        """Everything but file and row of the rejected lines."""
        others = {name: rows for name, rows in self.tables.items() if name != "rejected_lines"}
        return others, self.rejected, self.counts


def settled(writer: Callable[[Path], None]) -> Result | str:
    """What `settlement check` makes of the batch that `writer` writes; the word "refused" if it refuses."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "batch"
        writer(folder)
        try:
            report = check(Order(folder, "2026-03", load_policy(Path(name) / "policy.toml")), lambda _: None)
        except Refusal:
            return "refused"
        report.batch.close()
    tables = {name: frame.to_dicts() for name, frame in report.settlement.frames.items()}
    rejected = Counter(
        (row["claim_id"], row["line_id"], row["rule"], row["column_name"]) for row in tables["rejected_lines"]
    )
    return Result(report.results_sha256, tables, rejected, report.settlement.counts)


def plainly(batch: Batch) -> Result | str:
    return settled(lambda folder: write(folder, batch, Form()))


def without_ties(batch: Batch) -> Batch:
    """Without unequal copies of a line settled at one moment: there the first in the file is kept (data 2)."""
    seen: dict[tuple[Any, ...], Row] = {}
    files = []
    for file in batch.claims:
        rows = []
        for row in file.rows:
            moment = reference.parse_moment(row.get("settled_at") or "")
            key = (row["institution_id"], row["claim_id"], row["line_id"], moment)
            if seen.setdefault(key, row) == row:
                rows.append(row)
        files.append(replace(file, rows=tuple(rows)))
    return replace(batch, claims=tuple(files))


# ---------------------------------------------------------------- what must not change the result


@few
@given(SEEDS)
def test_the_order_of_rows_changes_nothing(seed: int) -> None:
    batch = without_ties(random_batch(seed))
    draw = random.Random(seed)

    def shuffled(file: File) -> File:
        return replace(file, rows=tuple(draw.sample(file.rows, len(file.rows))))

    other = replace(
        batch,
        small={name: shuffled(file) for name, file in batch.small.items()},
        claims=tuple(shuffled(file) for file in batch.claims),
    )
    before, after = plainly(batch), plainly(other)
    assert isinstance(before, Result)
    assert isinstance(after, Result)
    assert after.apart_from_places == before.apart_from_places


@few
@given(SEEDS)
def test_the_partition_into_files_changes_nothing(seed: int) -> None:
    batch = without_ties(random_batch(seed))
    draw = random.Random(seed)
    parts: dict[str, tuple[File, Form]] = {}
    for file in batch.claims:
        for name in draw.sample(["b", "B", "10", "9", "中", "z"], 4):
            form = draw.choice([Form(), Form(separator="\t"), Form(is_parquet=True), Form(is_national=True)])
            parts[f"claims/{len(parts)}-{name}"] = (replace(file, rows=()), form)
        for row in file.rows:
            chosen = draw.choice([path for path, (part, _) in parts.items() if part.columns == file.columns])
            part, form = parts[chosen]
            parts[chosen] = (replace(part, rows=(*part.rows, row)), form)
    cut = [(path, *part) for path, part in parts.items()]
    before = plainly(batch)
    after = settled(lambda folder: write(folder, batch, Form(), cut))
    assert isinstance(before, Result)
    assert isinstance(after, Result)
    assert after.apart_from_places == before.apart_from_places


@pytest.mark.parametrize(
    "form",
    [
        Form(separator="\t"),
        Form(encoding="utf-8-sig"),
        Form(encoding="gb18030", line_end="\r\n"),
        Form(is_national=True),
        Form(separator="\t", encoding="gb18030", is_national=True),
    ],
    ids=["tabs", "byte order mark", "GB18030 with CRLF", "national names", "tabs in GB18030, national names"],
)
@few
@given(seed=SEEDS)
def test_separator_encoding_and_names_change_nothing(form: Form, seed: int) -> None:
    batch = random_batch(seed)
    before, after = plainly(batch), settled(lambda folder: write(folder, batch, form))
    assert isinstance(before, Result)
    assert isinstance(after, Result)
    assert after.results_sha256 == before.results_sha256  # rejected lines with their places included


@few
@given(SEEDS)
def test_text_in_parquet_changes_nothing(seed: int) -> None:
    batch = random_batch(seed)
    before, after = plainly(batch), settled(lambda folder: write(folder, batch, Form(is_parquet=True)))
    assert isinstance(before, Result)
    assert isinstance(after, Result)
    assert after.apart_from_places == before.apart_from_places
    assert [row["row_number"] for row in after.tables["rejected_lines"]] == [
        row["row_number"] for row in before.tables["rejected_lines"]
    ]


@pytest.mark.parametrize("is_untidy", [False, True], ids=["tidy", "untidy"])
@few
@given(seed=SEEDS)
def test_types_in_parquet_change_nothing(is_untidy: bool, seed: int) -> None:
    """Points and money as DECIMAL, moments as TIMESTAMP, days as DATE. Cells that no type holds are left out."""
    batch = random_batch(seed)
    can_be_typed = replace(
        batch,
        claims=tuple(replace(file, rows=tuple(filter(_can_be_typed, file.rows))) for file in batch.claims),
        small={
            name: replace(file, rows=tuple(filter(_can_be_typed, file.rows)))
            for name, file in batch.small.items()
        },
    )
    before = plainly(can_be_typed)
    form = Form(is_parquet=True, is_typed=True, is_untidy=is_untidy)
    after = settled(lambda folder: write(folder, can_be_typed, form))
    assume(before != "refused")  # every line may have been left out
    assert isinstance(before, Result)
    assert isinstance(after, Result)
    assert after.apart_from_places == before.apart_from_places


def _can_be_typed(row: Row) -> bool:
    moments = (row.get(column) for column in MOMENTS)
    numbers = ((row.get(column), scale) for column, scale in SCALES.items())
    return all(cell is None or reference.parse_moment(cell) is not None for cell in moments) and all(
        cell is None or _fits(cell, scale) for cell, scale in numbers
    )


def _fits(cell: str, scale: int) -> bool:
    if not reference.is_plain_number(cell) or reference.count_decimals(cell) > scale:
        return False
    return abs(reference.number_of(cell)) < 10 ** (18 - scale)


# ---------------------------------------------------------------- nothing is lost


@few
@given(SEEDS)
def test_every_line_and_every_point_is_settled_or_rejected(seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        made = write_random_batch(Path(name), seed)
        policy = load_policy(made["policy"])
        try:
            batch = read_batch(made["batch"], made["month"], policy)
            result = settle(batch, policy)
        except Refusal:
            assume(False)
        files = sorted([*made["batch"].glob("claims.csv"), *made["batch"].glob("claims/*.csv")])
        tables = [reference.read_csv(path, path.name, NAMES["claims"]) for path in files]
        held = proofs(batch, result)
        batch.close()
    counts = result.counts
    assert all(proof.holds for proof in held)
    assert counts["lines_in"] == sum(len(table.rows) for table in tables)
    assert counts["lines_in"] == counts["lines_settled"] + counts["lines_rejected"]
    assert counts["lines_rejected"] == result.rejected_lines.height
    assert counts["lines_settled"] == result.settlements["line_count"].sum()
    if all("points" in table.columns for table in tables):
        assert Fraction(counts["points_in"], 10_000) == sum(
            (_points_of(row["points"]) for table in tables for row in table.rows if row.cells), Fraction(0)
        )
    assert counts["points_in"] == counts["points_settled"] + counts["points_rejected"]
    groups = result.settlements.to_dicts()
    assert Decimal(counts["points_settled"]).scaleb(-4) == total(groups, "submitted_points")
    for group in groups:
        assert group["submitted_points"] == group["payable_points"] + group["unpaid_points"]
        assert group["submitted_points"] == group["eligible_points"] + group["ineligible_points"]
        key = ("institution_id", "regime", "point_class")
        mine = [
            line
            for line in result.unpaid_lines.to_dicts()
            if [line[name] for name in key] == [group[name] for name in key]
        ]
        assert group["unpaid_points"] == total(mine, "unpaid_points")
        refused = [line for line in mine if line["reason"] != "over_threshold"]
        assert group["ineligible_points"] == total(refused, "points")


def _points_of(cell: str | None) -> Fraction:
    """Data 2: a plain number of at most 4 decimals within range counts, anything else with 0."""
    if cell is None or not reference.is_plain_number(cell) or reference.count_decimals(cell) > 4:
        return Fraction(0)
    number = reference.number_of(cell)
    return number if abs(number) <= 10_000_000 else Fraction(0)


def total(rows: list[dict[str, Any]], column: str) -> Decimal:
    return sum((row[column] for row in rows), Decimal(0))


def test_the_forms_are_what_they_say(tmp_path: Path) -> None:
    """A guard on this file: the writers write what their names promise."""
    file = File(
        "claims",
        ("claim_id", "points", "settled_at"),
        ({"claim_id": "中", "points": "1.5", "settled_at": None},),
    )
    write_file(tmp_path / "a", file, Form(separator="\t", encoding="gb18030", is_national=True))
    assert (tmp_path / "a.csv").read_bytes() == "setl_id\tpoints\tsetl_time\n中\t1.5\t\n".encode("gb18030")
    write_file(tmp_path / "b", file, Form(encoding="utf-8-sig"))
    assert (tmp_path / "b.csv").read_bytes().startswith(codecs.BOM_UTF8)
    write_file(tmp_path / "c", file, Form(is_parquet=True, is_typed=True))
    assert pl.read_parquet(tmp_path / "c.parquet").schema == {
        "claim_id": pl.String(),
        "points": pl.Decimal(18, 4),
        "settled_at": pl.Datetime("us"),
    }
    assert datetime(2026, 3, 5, 9) == reference.parse_moment("20260305090000")
