"""What is exported is the record of the current runs, to the row and type, as a whole or not at all (data 4)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import duckdb
import polars as pl
import pytest

from settlement.errors import Refusal
from settlement.ledger import Ledger, export, publish, query
from settlement.schemas import polars_schema
from settlement.terms import LEDGER_TABLES
from test_ledger import APRIL, MARCH, close, post


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """March run twice and closed, April once."""
    ledger = Ledger(tmp_path / "ledger")
    post(ledger, eligible="900")
    post(ledger, APRIL, eligible="130")
    post(ledger)
    close(ledger, MARCH)
    publish(ledger)
    return ledger


@pytest.mark.parametrize("table", LEDGER_TABLES, ids=lambda table: table.name)
def test_duckdb_and_polars_read_back_what_the_ledger_holds(
    ledger: Ledger, tmp_path: Path, table: object
) -> None:
    name, names = table.name, table.names  # type: ignore[attr-defined]
    export(ledger, tmp_path / "out")
    order = f"run_id, {', '.join(table.key)}"  # type: ignore[attr-defined]
    expected = query(ledger, f"from current_{name} order by {order}")
    read = pl.read_parquet(tmp_path / "out" / name).select(names)
    assert dict(read.schema) == dict(polars_schema(table))  # type: ignore[arg-type]
    assert read.sort("run_id", *table.key).rows() == expected.rows()  # type: ignore[attr-defined]
    with duckdb.connect() as connection:
        relation = connection.sql(
            f"select {', '.join(names)} from '{tmp_path}/out/{name}/**/*.parquet' order by {order}"  # noqa: S608
        )
        assert [str(kind) for kind in relation.types] == [column.kind.sql for column in table.columns]  # type: ignore[attr-defined]
        assert relation.fetchall() == expected.rows()


def test_every_table_has_a_folder_and_every_month_a_partition(ledger: Ledger, tmp_path: Path) -> None:
    files = export(ledger, tmp_path / "out")
    assert {path.relative_to(tmp_path / "out").as_posix() for path in files} == {
        f"{table.name}/month={month}/{run}.parquet"
        for table in LEDGER_TABLES
        for month, run in (("2026-03-01", "2026-03.2"), ("2026-04-01", "2026-04.1"))
    }
    assert pl.read_parquet(tmp_path / "out" / "rejected_lines").schema["month"] == pl.Date
    runs = pl.read_parquet(tmp_path / "out" / "runs").select("run_id", "status").sort("run_id").rows()
    assert runs == [("2026-03.2", "closed"), ("2026-04.1", "open")]


def test_it_goes_into_a_new_or_empty_folder_only(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    export(ledger, tmp_path / "empty")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Refusal, match="a new or empty folder"):
        export(ledger, tmp_path / "empty")
    with pytest.raises(Refusal, match="a new or empty folder"):
        export(ledger, ledger.journal)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_failed_export_leaves_nothing(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(tmp_path.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Refusal, match="no space left"):
            export(ledger, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_ledger_without_a_run_is_refused(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    publish(ledger)
    with pytest.raises(Refusal, match="no run"):
        export(ledger, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_exported_is_for_owner_and_group(ledger: Ledger, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        export(ledger, tmp_path / "out")
    finally:
        os.umask(before)
    made = [tmp_path / "out", *(tmp_path / "out").rglob("*")]
    assert [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o027] == []
