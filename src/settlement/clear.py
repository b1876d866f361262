"""`settlement clear`: the closed months of a year → annual statements, posted as one act of the journal.

Layer 6. Source: rules 8.4, 11; T 3(1); D 36.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from . import exact
from .balances import paid_statements
from .batch.tables import read_small_table
from .errors import Refusal
from .ledger import (
    RESTATED,
    Ledger,
    paid_runs,
    publish,
    publish_if_stale,
    stage_table,
    standing_runs,
    table_sha256,
    taken_by,
)
from .policy import Policy
from .reconcile import Proof, year_proofs
from .rules import clearing
from .schemas import as_ledger_table, polars_schema
from .terms import ADJUSTMENTS, ANNUAL_STATEMENTS, STATEMENTS, Kind, Table


@dataclass(frozen=True)
class Year:
    """What the ledger holds of a year: run ids by month of the newest runs, and of those that were paid."""

    year: int
    standing: dict[date, str]
    paid: dict[date, str]

    @property
    def unsettled(self) -> list[date]:
        """The months without a run: whatever is settled of them later, the year has been cleared without."""
        return [
            month for number in range(1, 13) if (month := date(self.year, number, 1)) not in self.standing
        ]

    @property
    def newest(self) -> str:
        """The newest run of the last month."""
        return self.standing[max(self.standing)]


@dataclass(frozen=True)
class Cleared:
    """A cleared year. `statements`: rows of `annual_statements`; `unused`: institutions of the file without one.

    `policy`: whose bands released the deposit, that of the year's last month.
    """

    year: Year
    policy: Policy
    statements: pl.DataFrame
    proofs: tuple[Proof, ...]
    unused: tuple[str, ...]
    is_unchanged: bool


def clear(folder: Path, year: int, assessments: Path | None = None) -> Cleared:
    """Clear a year of the ledger in `folder`. Clearing it again with the same result posts nothing.

    `assessments`: a file of the contract's table; its scores add to those of the batches and come before them.

    Raises: Refusal, for a year without statements, with an open month, or cleared with another result; for
    institutions with a deposit and no assessment or no band; for a ledger in use.
    """
    ledger = Ledger(folder)
    with ledger.lock():
        of_year = _year(ledger, year)
        given = _of_file(assessments, year)
        policy = ledger.inputs(of_year.newest).policy
        scores = pl.concat([given, _of_batches(ledger, year)]).unique("institution_id", keep="first")
        rows, proven = _annual(ledger, of_year, scores, policy)
        unused = sorted(set(given["institution_id"]) - set(rows["institution_id"]))
        is_unchanged = _is_cleared(ledger, year, rows)
        if is_unchanged:
            publish_if_stale(ledger)
        else:
            _post(ledger, of_year, rows)
            publish(ledger)
        return Cleared(of_year, policy, rows, proven, tuple(unused), is_unchanged)


def _year(ledger: Ledger, year: int) -> Year:
    """The year's runs. Raises: Refusal, if it has none with statements, or a month is open (rules 8.4)."""
    acts = [act for act in ledger.acts() if act.month and act.month.year == year]
    standing, where = standing_runs(acts), f"ledger {ledger.folder}"
    opened = [month for month in sorted(standing) if not ledger.is_closed(month)]
    if opened:
        raise Refusal(
            where,
            f"open months of {year}: {', '.join(f'{month:%Y-%m}' for month in opened)}",
            "every settled month of the year closed",
            f"`settlement close {opened[0]:%Y-%m}`",
        )
    if not any(ledger.has_statements(run_id) for run_id in standing.values()):
        found = f"no statement in {year}" if standing else f"no run in {year}"
        raise Refusal(where, found, "a year with settled months that pay somebody", "see `settlement runs`")
    return Year(year, standing, paid_runs(acts))


# ---------------------------------------------------------------- scores


def _of_file(path: Path | None, year: int) -> pl.DataFrame:
    return _scores(read_small_table(path, "assessments") if path else None, year)


def _of_batches(ledger: Ledger, year: int) -> pl.DataFrame:
    """Scores kept with the standing runs of the year and of later months; the run posted last comes first."""
    months = [month for month in ledger.months if month.year >= year]
    acts = [act for month in months if (act := ledger.newest_run(month))]
    newest_first = sorted(acts, key=lambda act: act.seq, reverse=True)
    tables = [ledger.inputs(act.run_id).tables["assessments"] for act in newest_first if act.run_id]
    return pl.concat([_scores(None, year), *(_scores(table, year) for table in tables)])


def _scores(assessments: pl.DataFrame | None, year: int) -> pl.DataFrame:
    """institution_id and score (Decimal(7, 4)) of the year."""
    schema = {"institution_id": pl.String(), "score": polars_schema(ANNUAL_STATEMENTS)["score"]}
    if assessments is None:
        return pl.DataFrame(schema=schema)
    return assessments.filter(pl.col("year") == f"{year:04}").select(
        pl.col(name).cast(dtype) for name, dtype in schema.items()
    )


# ---------------------------------------------------------------- the statements


def _annual(
    ledger: Ledger, year: Year, scores: pl.DataFrame, policy: Policy
) -> tuple[pl.DataFrame, tuple[Proof, ...]]:
    """Rows of `annual_statements`, proven against the months they are made of."""
    standing, paid = (_read(ledger, runs.values(), STATEMENTS) for runs in (year.standing, year.paid))
    before = paid_statements(ledger).filter(pl.col("month").dt.year() < year.year)
    differences = _differences(ledger, year)
    try:
        sums = clearing.annual(standing, paid, differences)
        rows = _as_table(clearing.released(sums, scores, policy.money.deposit_release), year.year)
    except pl.exceptions.PolarsError as error:
        raise exact.too_large(f"year {year.year}, sums") if exact.is_too_large(error) else error from error
    return rows, year_proofs(rows, standing, paid, before, differences)


def _differences(ledger: Ledger, year: Year) -> pl.DataFrame:
    """Recorded differences of the year's restated months, and whether a paid statement of the year took them."""
    acts = ledger.acts()
    taken = taken_by(acts, ledger.has_statements)
    in_year = sorted({one for run_id in year.paid.values() for one in taken[run_id]})
    restating = [
        act.run_id for act in acts if act.act == RESTATED and act.month in year.standing and act.run_id
    ]
    rows = _read(ledger, restating, ADJUSTMENTS)
    return rows.with_columns(is_taken=pl.col("run_id").is_in(in_year))


def _read(ledger: Ledger, runs: Iterable[str], table: Table) -> pl.DataFrame:
    frames = [ledger.scan(run_id, table.name) for run_id in runs]
    return pl.concat([pl.LazyFrame(schema=polars_schema(table)), *frames]).collect()


def _as_table(cleared: pl.DataFrame, year: int) -> pl.DataFrame:
    """Fen as yuan; the dictionary's columns, types and order."""
    money = [column.name for column in ANNUAL_STATEMENTS.columns if column.kind is Kind.MONEY]
    yuan = {name: exact.as_money(pl.col(name)) for name in money}
    return as_ledger_table(ANNUAL_STATEMENTS, cleared.with_columns(year=pl.lit(year), **yuan))


def _is_cleared(ledger: Ledger, year: int, rows: pl.DataFrame) -> bool:
    """Was the year cleared with these very rows? Raises: Refusal, if it was cleared with others."""
    act = ledger.clearing_of(year)
    if act is None:
        return False
    if act.results_sha256 != table_sha256(ANNUAL_STATEMENTS, rows):
        kept = pl.read_parquet(ledger.annual_statements(year), glob=False)
        both = pl.concat([kept, rows])
        differing = both.filter(both.is_unique())["institution_id"].unique().sort()
        raise Refusal(
            f"ledger {ledger.folder}",
            f"year {year} is cleared, with other figures for {', '.join(differing)}",
            "the figures of the clearing: it is made once",
            "settle the difference in a later month; restatements after the clearing reach it as adjustments",
        )
    return True


def _post(ledger: Ledger, year: Year, rows: pl.DataFrame) -> None:
    staged = ledger.staging()
    stage_table(staged, ANNUAL_STATEMENTS, rows)
    reason = f"{year.year}: {', '.join(year.standing[month] for month in sorted(year.standing))}"
    digest = table_sha256(ANNUAL_STATEMENTS, rows)
    ledger.post_clearing(staged, year.year, digest, reason, datetime.now(UTC))
