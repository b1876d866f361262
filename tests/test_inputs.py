"""What a run was settled from is kept with it: policy, small tables, order; not the claim lines (rules 11, data 3)."""

from __future__ import annotations

import shutil
import stat
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from settlement import load_policy, read_batch
from settlement.errors import Fault, Refusal
from settlement.ledger import Ledger, inputs
from settlement.runs import Order, Report, run
from settlement.terms import SMALL_TABLES
from test_batch import AGREEMENT, DEDUCTION, EVENT, LINE, RELIEF, VALUE, write_batch

TABLES = {"events": [EVENT], "relief": [RELIEF], "deductions": [DEDUCTION], "point_values": [VALUE]}

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


def order_of(folder: Path) -> Order:
    policy = load_policy("tianjin").with_readings({"attribution": "pro_rata"})
    return Order(folder, "2026-03", policy, "utf-8", submitted_on=date(2026, 4, 2), has_due_date=True)


def posted(order: Order, folder: Path) -> Report:
    return run(order, folder, lambda _: None)


def test_a_run_keeps_what_it_was_settled_from(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "batch", [{**LINE, "person_id": "12010119900101001X"}], **TABLES)
    order = order_of(batch)
    posted(order, tmp_path / "ledger")

    kept = Ledger(tmp_path / "ledger").inputs("2026-03.1")
    assert kept.policy == order.policy  # path, bytes, readings and all
    assert (kept.submitted_on, kept.has_due_date, kept.encoding) == (date(2026, 4, 2), True, "utf-8")
    assert kept.batch_folder == batch
    read = read_batch(batch, "2026-03", order.policy)
    assert kept.files == read.file_sha256
    assert set(kept.claims_files) == {"claims.csv"}
    assert kept.sizes == {name: (batch / name).stat().st_size for name in kept.files}
    assert set(kept.tables) == set(SMALL_TABLES)
    for name, frame in kept.tables.items():
        assert frame.equals(read.tables[name])
        assert frame.schema == read.tables[name].schema
        assert kept.has_table(name) == read.has_table(name)


def test_claim_lines_and_persons_are_not_kept(tmp_path: Path) -> None:
    line = {**LINE, "claim_id": "claim-of-a-person", "person_id": "12010119900101001X"}
    posted(order_of(write_batch(tmp_path / "batch", [line])), tmp_path / "ledger")
    for path in (tmp_path / "ledger" / "runs" / "2026-03.1" / "inputs").iterdir():
        assert b"12010119900101001X" not in path.read_bytes()
        assert b"claim-of-a-person" not in path.read_bytes()


def test_every_kept_file_stands_in_the_journal(tmp_path: Path) -> None:
    posted(order_of(write_batch(tmp_path / "batch")), tmp_path / "ledger")
    ledger = Ledger(tmp_path / "ledger")
    files = ledger.act_of("2026-03.1").files
    found = {path.relative_to(ledger.folder).as_posix() for path in ledger.runs.rglob("*") if path.is_file()}
    assert set(files) == found
    assert {f"runs/2026-03.1/inputs/{name}" for name in inputs.FILES} < found


@pytest.mark.parametrize("name", ["policy.toml", "agreements.parquet", "order.json"])
def test_changed_or_missing_inputs_are_refused(tmp_path: Path, name: str) -> None:
    posted(order_of(write_batch(tmp_path / "batch")), tmp_path / "ledger")
    ledger = Ledger(tmp_path / "ledger")
    path = ledger.runs / "2026-03.1" / "inputs" / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(Refusal, match="changed"):
        ledger.inputs("2026-03.1")
    path.unlink()
    with pytest.raises(Refusal, match="missing"):
        ledger.inputs("2026-03.1")
    with pytest.raises(Refusal, match=r"no run 2026-03\.2"):
        ledger.inputs("2026-03.2")


def test_the_same_inputs_in_another_folder_are_the_same_run(tmp_path: Path) -> None:
    order = order_of(write_batch(tmp_path / "batch"))
    posted(order, tmp_path / "ledger")
    shutil.copytree(tmp_path / "batch", tmp_path / "copy")
    assert posted(replace(order, batch=tmp_path / "copy"), tmp_path / "ledger").is_unchanged
    assert Ledger(tmp_path / "ledger").inputs("2026-03.1").batch_folder == tmp_path / "batch"


def test_the_policy_is_kept_as_it_was_read_whatever_becomes_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    shutil.copy(load_policy("tianjin").path, path)
    policy = load_policy(path)
    path.write_text("replaced meanwhile", "utf-8")
    batch = write_batch(tmp_path / "batch", agreements=[AGREEMENT])
    posted(Order(batch, "2026-03", policy), tmp_path / "ledger")
    assert Ledger(tmp_path / "ledger").inputs("2026-03.1").policy == policy


def test_lists_days_and_numbers_of_the_small_tables_keep_their_types(tmp_path: Path) -> None:
    posted(order_of(write_batch(tmp_path / "batch", **TABLES)), tmp_path / "ledger")
    tables = Ledger(tmp_path / "ledger").inputs("2026-03.1").tables
    assert tables["agreements"].schema["service_categories"] == pl.List(pl.String)
    assert tables["agreements"].schema["start_date"] == pl.Date
    assert tables["point_values"].schema["point_value"] == pl.Decimal(38, 6)


def test_inputs_that_do_not_fit_on_the_disk_are_refused_and_nothing_is_posted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_of(write_batch(tmp_path / "batch"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(Refusal, match="no space left"):
            posted(order, tmp_path / "ledger")
    assert not (tmp_path / "ledger").exists()
    posted(order, tmp_path / "ledger")
    assert Ledger(tmp_path / "ledger").inputs("2026-03.1").policy == order.policy


def test_inputs_with_a_file_missing_or_foreign_are_our_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = inputs.Inputs.write

    def with_a_note(kept: inputs.Inputs, folder: Path) -> None:
        write(kept, folder)
        (folder / "claims.csv").touch()

    monkeypatch.setattr(inputs.Inputs, "write", with_a_note)
    with pytest.raises(Fault, match="missing or foreign"):
        posted(order_of(write_batch(tmp_path / "batch")), tmp_path / "ledger")


def test_inputs_are_for_owner_and_group(tmp_path: Path) -> None:
    posted(order_of(write_batch(tmp_path / "batch")), tmp_path / "ledger")
    folder = tmp_path / "ledger" / "runs" / "2026-03.1" / "inputs"
    made = [folder, *folder.iterdir()]
    assert [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o027] == []
