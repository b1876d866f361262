"""What the contract allows but is most likely meant otherwise is said in the summary, before anybody believes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from program import program
from test_batch import EVENT, LINE, write_batch

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


def warnings(batch: Path, month: str = "2026-03") -> list[str]:
    """The warnings of a check, with single blanks."""
    done = program("check", batch, "--month", month)
    text = " ".join(done.out.split())
    return [part.split(" Rejected")[0].split(" By zone")[0] for part in text.split("WARNING 注意: ")[1:]]


def test_a_batch_as_it_should_be_raises_no_doubt(tmp_path: Path) -> None:
    assert warnings(write_batch(tmp_path / "batch", [LINE], events=[EVENT])) == []


def test_a_file_of_another_name_is_named(tmp_path: Path) -> None:
    """events.csv with a letter missing: its suspensions would be lost without a word."""
    batch = write_batch(tmp_path / "batch", [LINE], events=[EVENT])
    (batch / "events.csv").rename(batch / "event.csv")
    (batch / "claims").mkdir()
    (batch / "claims.csv").rename(batch / "claims" / "1.csv")
    (batch / "claims" / "more.xlsx").touch()
    (batch / "notes.md").touch()
    [told] = warnings(batch)
    assert "not read, for the contract knows no such file: claims/more.xlsx, event.csv" in told


@pytest.mark.parametrize(
    ("column", "near"), [("physicianid", "physician_id"), ("Physician_ID", "physician_id")]
)
def test_a_column_that_is_nearly_one_the_file_lacks_is_named(tmp_path: Path, column: str, near: str) -> None:
    """Without it no physician is suspended."""
    lines = [{column: "D1", **{name: cell for name, cell in LINE.items() if name != "physician_id"}}]
    [told] = warnings(write_batch(tmp_path / "batch", lines))
    assert f"column {column} is not known; is it meant as {near}, which the file lacks?" in told


def test_a_column_is_named_once_for_all_claims_files(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "batch", [{"physicianid": "D1", **LINE}], events=[{**EVENT, "target": ""}])
    lines = (batch / "claims.csv").read_text("utf-8").replace(",physician_id", ",other")
    events = (batch / "events.csv").read_text("utf-8").replace(",target_id", ",other")
    (batch / "events.csv").write_text(events, "utf-8")
    (batch / "claims.csv").unlink()
    (batch / "claims").mkdir()
    for name in ("1.csv", "2.csv"):
        (batch / "claims" / name).write_text(lines, "utf-8")
    told = warnings(batch)
    assert [one.split(":")[0] for one in told] == ["claims/1.csv", "events.csv"]


def test_a_column_of_another_kind_or_of_one_that_is_there_raises_no_doubt(tmp_path: Path) -> None:
    lines = [{**LINE, "weather": "fair", "physician_idd": "D1", "physician_id": "D2"}]
    assert warnings(write_batch(tmp_path / "batch", lines)) == []


def test_lines_of_another_month_are_told_from_lines_that_break_another_rule(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "batch", [LINE])
    [told] = warnings(batch, "2026-04")
    assert "of 1 line(s) 1 belong to another month than 2026-04, and 0 are settled. Is --month right?" in told
    [told] = warnings(write_batch(tmp_path / "bad", [{**LINE, "points": "many"}]))
    assert "no line settled; 1 of 1 break the rule bad_number (points)" in told


@pytest.mark.parametrize("misspelt", ["settled_att", "setled_at", "SETTLED_AT", "settled"])
def test_a_refusal_for_a_missing_column_names_one_that_is_nearly_it(tmp_path: Path, misspelt: str) -> None:
    """Others are not named: in a file without a header they would be cells."""
    lines = [
        {(misspelt if name == "settled_at" else name): cell for name, cell in LINE.items()} | {"abc": "1"}
    ]
    done = program("check", write_batch(tmp_path / "batch", lines), "--month", "2026-03")
    assert done.code == 2
    assert "no column settled_at" in done.err
    assert f"is_valid, {misspelt}" in done.err
    assert "abc" not in done.err
