"""The small tables of a batch: registry, agreements, events, money tables. One bad row refuses the batch.

Money must not be paid on a broken registry, so every bad row is named with its rule, not only the first
(data 2). Cells are checked by the pandera schema; rules across rows and tables are expressions here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from .. import schemas
from ..errors import Refusal, Refusals
from ..policy import Policy
from ..terms import REQUIRED_TABLES, SETTLEMENT_FIELDS, SMALL_TABLES
from ..validation import pa
from . import csv_file
from .columns import Columns, matched
from .types import NUMERIC, TEMPORAL, TEXTUAL, as_text, refuse_type

KEYS = {
    "institutions": ("institution_id",),
    "agreements": ("agreement_id",),
    "events": ("event_id",),
    "point_values": ("month", "zone", "point_class"),
    "budgets": ("month", "zone", "point_class"),
    "assessments": ("institution_id", "year"),
}
_MEANT = {
    **dict.fromkeys(("start_date", "end_date", "occurred_on", "month", "settled_at"), TEMPORAL),
    **dict.fromkeys(("approved_points", "amount", "point_value", "budget", "score"), NUMERIC),
    **dict.fromkeys(("longitude", "latitude"), NUMERIC),
}
_TARGETED = ("department_suspended", "department_resumed", "physician_suspended", "physician_resumed")
_LINE = "line_in_file"


@dataclass(frozen=True)
class SourceFile:
    """What was found in one file of the batch.

    Claims files that are read together share `group`; their rows are counted through from `rows_before`.
    """

    name: str
    encoding: str
    columns: Columns
    group: int = 0
    rows_before: int = 0


def text_table(path: Path, name: str, fields: str, encoding: str | None) -> tuple[pl.DataFrame, SourceFile]:
    """A small file as text, one column per field of the contract (null where the file lacks it).

    Adds: line_in_file (Int64, 1 = first data row), broken (String). Raises: Refusal for an unreadable file.
    """
    contract = SETTLEMENT_FIELDS if fields == "settlements" else SMALL_TABLES[fields]
    if path.suffix == ".parquet":
        raw, header, decided = _parquet(path, name), None, "parquet"
        found = matched(raw.columns, contract, name)
        frame = raw.select(_as_text(raw, column, alias, name) for alias, column in found.header_of.items())
        frame = frame.with_row_index(_LINE, offset=1).with_columns(broken=pl.lit(None, dtype=pl.String))
    else:
        header = csv_file.open_csv(path, name, encoding)
        found, decided = matched(header.header, contract, name), header.encoding
        chunks = list(csv_file.frames(header, list(found.header_of.values())))
        frame = (pl.concat(chunks) if chunks else _no_rows(found)).rename(
            {csv_file.ROW_NUMBER: _LINE, **{old: new for new, old in found.header_of.items()}}
        )
    required = [field.name for field in contract if field.is_required]
    found.require(name, required, "add the column, or give it a name that docs/dictionary.md lists")
    absent = [
        pl.lit(None, dtype=pl.String).alias(field.name) for field in contract if field.name not in found
    ]
    return frame.with_columns(absent).with_columns(cleaned(field.name) for field in contract).sort(
        _LINE
    ), SourceFile(name, decided, found)


def _no_rows(found: Columns) -> pl.DataFrame:
    names = found.header_of.values()
    return pl.DataFrame(
        schema={csv_file.ROW_NUMBER: pl.Int64, csv_file.BROKEN: pl.String, **dict.fromkeys(names, pl.String)}
    )


def _parquet(path: Path, name: str) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable_parquet(name, error) from None


def unreadable_parquet(name: str, error: Exception) -> Refusal:
    return Refusal(
        name,
        f"no readable Parquet file ({str(error).splitlines()[0]})",
        "a whole Parquet file",
        "copy it again",
    )


def _as_text(frame: pl.DataFrame, column: str, alias: str, name: str) -> pl.Expr:
    dtype = frame.schema[column]
    if alias in ("longitude", "latitude") and dtype.is_float():
        return pl.col(column).cast(pl.String).alias(alias)  # degrees: nothing is paid by them
    refuse_type(f"{name}, column {column}", dtype, _MEANT.get(alias, TEXTUAL))
    if isinstance(dtype, pl.Date) and alias == "month":
        return pl.col(column).dt.strftime("%Y-%m").alias(alias)
    return as_text(pl.col(column), dtype).alias(alias)


def cleaned(name: str) -> pl.Expr:
    text = pl.col(name).str.strip_chars()
    return pl.when((text != "") & (text != "null")).then(text).alias(name)


class Problems:
    """Bad rows of all small tables, gathered before anything is refused."""

    def __init__(self) -> None:
        self.each: list[Refusal] = []

    def add(self, frame: pl.DataFrame, file: str, bad: pl.Expr, column: str, expected: str) -> None:
        """One problem per row for which `bad` holds; `found` is the row's cell in `column`."""
        for row in (
            frame.filter(bad.fill_null(False)).select(_LINE, pl.col(column).cast(pl.String)).iter_rows()
        ):
            self.add_cell(file, row[0], column, row[1], expected)

    def add_cell(self, file: str, line: int, column: str, found: str | None, expected: str) -> None:
        shown = "nothing" if found is None else found if len(found) <= 60 else found[:60] + "…"
        self.each.append(Refusal(f"{file}, row {line}, {column}", shown, expected))

    def refuse(self) -> None:
        if self.each:
            raise Refusals(
                "batch, small tables", self.each, "correct these rows and run again; nothing was settled"
            )


def typed_tables(
    texts: Mapping[str, pl.DataFrame], names: Mapping[str, str], policy: Policy
) -> dict[str, pl.DataFrame]:
    """Check every small table and read its cells. Raises Refusals naming all bad rows (data 2)."""
    problems = Problems()
    for table, frame in texts.items():
        _check_cells(table, frame, names[table], problems)
    typed = {table: _typed(table, frame) for table, frame in texts.items()}
    _check_keys(typed, names, problems)
    _check_registry(typed, names, policy, problems)
    _check_agreements(typed, names, policy, problems)
    _check_references(typed, names, policy, problems)
    problems.refuse()
    empty = {table: _typed(table, _no_text(table)) for table in SMALL_TABLES if table not in typed}
    return {table: frame.drop(_LINE) for table, frame in {**typed, **empty}.items()}


def read_small_table(path: Path, table: str) -> pl.DataFrame:
    """One small table from a file of its own, outside a batch, with the rules on its cells and keys.

    Raises: Refusal for an unreadable file, Refusals naming all bad rows (data 2).
    """
    if not path.is_file():
        raise Refusal(str(path), "no such file", f"the table {table} as CSV or Parquet", "check the path")
    problems = Problems()
    text, _ = text_table(path, path.name, table, None)
    _check_cells(table, text, path.name, problems)
    typed = _typed(table, text)
    _check_keys({table: typed}, {table: path.name}, problems)
    problems.refuse()
    return typed.drop(_LINE)


def refuse_unfit(tables: Mapping[str, pl.DataFrame], present: Collection[str], policy: Policy) -> None:
    """Hold typed tables against each other and a policy, where they do not come from one batch.

    `present`: the tables that have a file. Raises Refusals as `typed_tables`.
    """
    problems = Problems()
    typed = {table: tables[table].with_row_index(_LINE, offset=1) for table in present}
    names = {table: table for table in typed}
    _check_registry(typed, names, policy, problems)
    _check_agreements(typed, names, policy, problems)
    _check_references(typed, names, policy, problems)
    problems.refuse()


def _no_text(table: str) -> pl.DataFrame:
    return pl.DataFrame(schema={_LINE: pl.Int64, **{field.name: pl.String for field in SMALL_TABLES[table]}})


def _check_cells(table: str, frame: pl.DataFrame, file: str, problems: Problems) -> None:
    problems.add(
        frame,
        file,
        pl.col("broken").is_not_null(),
        "broken",
        "a decodable row with as many cells as the header",
    )
    whole = frame.filter(pl.col("broken").is_null())
    try:
        schemas.small_table(table).validate(whole.select(list(schemas.CELLS[table])), lazy=True)
    except pa.errors.SchemaErrors as errors:
        lines = whole[_LINE]
        for failure in errors.failure_cases.sort("index").iter_rows(named=True):
            expected = "a value" if failure["check"] == "not_nullable" else failure["check"]
            problems.add_cell(
                file, lines[failure["index"]], failure["column"], failure["failure_case"], expected
            )


def _typed(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    cells = schemas.CELLS[table].items()
    return frame.select(_LINE, *(cell.value(pl.col(column)).alias(column) for column, cell in cells))


def _check_keys(typed: Mapping[str, pl.DataFrame], names: Mapping[str, str], problems: Problems) -> None:
    for table, key in KEYS.items():
        if table in typed:
            repeated = pl.struct(key).is_duplicated() & pl.all_horizontal(pl.col(key).is_not_null())
            expected = f"every {' + '.join(key)} once"
            problems.add(typed[table], names[table], repeated, key[0], expected)


def _check_registry(
    typed: Mapping[str, pl.DataFrame], names: Mapping[str, str], policy: Policy, problems: Problems
) -> None:
    registry, file = typed["institutions"], names["institutions"]
    if registry.is_empty():
        problems.add_cell(file, 1, "institution_id", None, "at least one institution")
    station = pl.col("settles_under")
    stations = registry.filter(station.is_not_null())["institution_id"].implode()
    listed = registry["institution_id"].implode()
    problems.add(registry, file, ~station.is_in(listed), "settles_under", "an institution of the registry")
    problems.add(
        registry,
        file,
        station.is_in(stations),
        "settles_under",
        "an institution that settles for itself: chains and circles are not allowed",
    )
    zones = known_zones(policy)
    if zones:
        problems.add(
            registry, file, ~pl.col("zone").is_in(zones), "zone", f"one of {', '.join(zones)}, or empty"
        )


def known_zones(policy: Policy) -> list[str]:
    """Zones that the policy names, in its zone table or its threshold rows; empty if it names none."""
    return list(
        dict.fromkeys([zone.name for zone in policy.zones.each] + [row.zone for row in policy.thresholds])
    )


def _check_agreements(
    typed: Mapping[str, pl.DataFrame], names: Mapping[str, str], policy: Policy, problems: Problems
) -> None:
    agreements, file = typed["agreements"], names["agreements"]
    start, end = pl.col("start_date"), pl.col("end_date")
    is_coaching = pl.col("designation") == "coaching"
    problems.add(agreements, file, end < start, "end_date", "an end on or after the start")
    last = start.dt.offset_by("12mo").dt.offset_by("-1d")
    for line, found, most in (
        agreements.filter(is_coaching & (end > last)).select(_LINE, end, last.alias("last")).rows()
    ):
        problems.add_cell(
            file,
            line,
            "end_date",
            str(found),
            f"at most 12 months for a coaching agreement: {most} at the latest",
        )
    if policy.coaching is None:
        problems.add(
            agreements,
            file,
            is_coaching,
            "designation",
            f"ordinary: policy {policy.id} has no [coaching] section",
        )
    _check_overlaps(agreements, file, problems)


def _check_overlaps(agreements: pl.DataFrame, file: str, problems: Problems) -> None:
    """Agreements of one institution that overlap as written, before any event (rules 3.1)."""
    before = pl.col("end_date").cum_max().shift(1).over("institution_id", order_by=["start_date", _LINE])
    holder = pl.col("agreement_id").shift(1).over("institution_id", order_by=["start_date", _LINE])
    overlapping = (
        agreements.drop_nulls(["institution_id", "start_date", "end_date"])
        .with_columns(before=before, holder=holder)
        .filter(pl.col("start_date") <= pl.col("before"))
        .sort(_LINE)
    )
    for row in overlapping.iter_rows(named=True):
        problems.add_cell(
            file,
            row[_LINE],
            "start_date",
            f"{row['agreement_id']} of {row['institution_id']} starts on {row['start_date']}, within {row['holder']}",
            f"agreements of one institution that do not overlap: a start after {row['before']}",
        )


def _check_references(
    typed: Mapping[str, pl.DataFrame], names: Mapping[str, str], policy: Policy, problems: Problems
) -> None:
    registry = typed["institutions"]
    listed = registry["institution_id"].implode()
    settling = registry.filter(pl.col("settles_under").is_null())["institution_id"].implode()
    unknown = ~pl.col("institution_id").is_in(listed)
    for table in ("agreements", "events", "relief", "deductions", "assessments"):
        if table in typed:
            problems.add(
                typed[table], names[table], unknown, "institution_id", "an institution of the registry"
            )
    if "relief" in typed:
        rolled_up = ~unknown & ~pl.col("institution_id").is_in(settling)
        expected = "a settling institution: this one settles under another"
        problems.add(typed["relief"], names["relief"], rolled_up, "institution_id", expected)
    if "events" in typed:
        untargeted = pl.col("kind").is_in(_TARGETED) & pl.col("target_id").is_null()
        expected = "the department or physician that the event is about"
        problems.add(typed["events"], names["events"], untargeted, "target_id", expected)
    zones = known_zones(policy)  # where the policy names none, any zone may have a row
    for table in ("point_values", "budgets"):
        if table in typed and zones:
            expected = f"* or one of {', '.join(zones)}"
            problems.add(typed[table], names[table], ~pl.col("zone").is_in([*zones, "*"]), "zone", expected)


def found_tables(folder: Path) -> dict[str, Path]:
    """The small tables' files in a batch. Raises Refusal for a missing registry or a table in two files."""
    found: dict[str, Path] = {}
    for table in SMALL_TABLES:
        paths = [path for ending in ("csv", "parquet") if (path := folder / f"{table}.{ending}").exists()]
        if len(paths) > 1:
            raise Refusal(
                str(folder),
                f"{paths[0].name} and {paths[1].name}",
                "one of the two",
                "remove the file that is not meant",
            )
        if paths:
            found[table] = paths[0]
    missing = [table for table in REQUIRED_TABLES if table not in found]
    if missing:
        raise Refusal(
            str(folder),
            f"no {' and no '.join(f'{table}.csv or {table}.parquet' for table in missing)}",
            "the registry of institutions and their agreements",
            "export them into the batch folder",
        )
    return found


def settlements_table(path: Path, encoding: str | None) -> tuple[pl.DataFrame, SourceFile]:
    """settlements.csv or .parquet as text, one row per claim (claims lack these columns).

    Its other cells are judged with the lines they serve. Raises Refusals for rows without a claim, a claim
    twice, and broken rows (data 2).
    """
    problems = Problems()
    frame, found = text_table(path, path.name, "settlements", encoding)
    whole = "a decodable row with as many cells as the header"
    problems.add(frame, path.name, pl.col("broken").is_not_null(), "broken", whole)
    unclaimed = pl.col("claim_id").is_null() & pl.col("broken").is_null()
    problems.add(frame, path.name, unclaimed, "claim_id", "a claim id")
    twice = pl.col("claim_id").is_duplicated() & pl.col("claim_id").is_not_null()
    problems.add(frame, path.name, twice, "claim_id", "every claim once")
    problems.refuse()
    return frame.drop(_LINE, "broken"), found
