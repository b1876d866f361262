"""docs/reliability.md says how many attacks the tests make: the numbers are those of the tests."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import pytest

import test_faults
import test_ledger
import test_security
import test_verify
import test_verify_year

TEXT = (Path(__file__).parents[1] / "docs" / "reliability.md").read_text("utf-8")


def cases(*tests: Callable[..., Any]) -> int:
    """How many cases the tests have together."""
    return sum(prod(len(mark.args[1]) for mark in _tables(test)) for test in tests)


def _tables(test: Callable[..., Any]) -> list[pytest.Mark]:
    marks: list[pytest.Mark] = getattr(test, "pytestmark", [])
    return [mark for mark in marks if mark.name == "parametrize"]


COUNTED = [
    # how the row begins, its numbers in the column "tried"
    ("a disk that is really full", [
        cases(test_faults.test_files_that_cannot_grow_are_refused_and_the_run_is_whole_or_absent),
        cases(test_faults.test_a_disk_that_is_really_full_is_refused_and_the_run_is_whole_or_absent),
        1]),
    ("lines of the journal", [
        cases(test_verify.test_an_attack_on_the_journal_is_named),
        cases(test_verify.test_a_path_that_leaves_the_ledger_is_told_and_not_followed)]),
    ("files of a run", [cases(test_verify.test_an_attack_on_the_files_is_named)]),
    ("tables that do not fit", [cases(test_verify.test_tables_that_do_not_fit_the_results_hash_are_named)]),
    ("truncation without trace", [
        cases(test_verify.test_what_nothing_inside_shows_is_shown_by_a_head_kept_elsewhere)]),
    ("a cleared year", [
        cases(test_verify_year.test_an_attack_on_a_year_or_on_inputs_is_named),
        cases(test_verify_year.test_a_forged_line_of_any_shape_is_told_and_is_no_fault)]),
    ("the DuckDB file", [
        cases(test_verify.test_an_attack_on_the_duckdb_file_is_named_and_mended_by_a_rebuild),
        cases(test_verify_year.test_an_attack_on_the_published_year_is_named_and_mended_by_a_rebuild)]),
    ("SQL that writes", [
        cases(test_security.test_a_question_cannot_write_reach_out_or_change_settings),
        cases(test_ledger.test_sql_that_writes_reaches_out_or_fails_is_refused)]),
]  # fmt: skip


@pytest.mark.parametrize(("row", "numbers"), COUNTED, ids=[row for row, _ in COUNTED])
def test_the_document_counts_the_attacks_that_the_tests_make(row: str, numbers: list[int]) -> None:
    (line,) = [line for line in TEXT.splitlines() if line.startswith(f"| {row}")]
    assert line.split(" | ")[2] == " + ".join(map(str, numbers))


def test_cases_of_a_test_are_counted() -> None:
    mark = pytest.mark.parametrize

    @mark("one", [1, 2, 3])
    @mark("other", [1, 2])
    def test(one: int, other: int) -> None: ...

    assert (
        cases(test),
        cases(test, test),
        cases(test_the_document_counts_the_attacks_that_the_tests_make),
    ) == (
        6,
        12,
        len(COUNTED),
    )
