"""Months to report on, each settled once."""

from __future__ import annotations

from pathlib import Path

import pytest

from reported import HOSTILE_NAME, MARCH, Month, Reporter, crossing_lines, settled
from settlement.report import Words, write_report
from settlement.synthesis import write_demo
from test_batch import AGREEMENT, INSTITUTION, LINE, VALUE, write_batch


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Month:
    """The demo: a draft policy, 24 institutions, thresholds, money, rejected lines, a finding."""
    folder = tmp_path_factory.mktemp("demo")
    return settled(folder, write_demo(folder / "batch").folder)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Month:
    """One clinic over its threshold, whose name and claims try to be markup and formulas."""
    folder = tmp_path_factory.mktemp("hostile")
    registry = [{**INSTITUTION, "name": HOSTILE_NAME.replace('"', '""').join('""')}]
    return settled(
        folder, write_batch(folder / "batch", crossing_lines(), institutions=registry, point_values=[VALUE])
    )


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Month:
    """Dongguan: a policy in force that caps nothing, and no money tables."""
    folder = tmp_path_factory.mktemp("plain")
    agreement = {**AGREEMENT, "designation": "ordinary"}
    return settled(folder, write_batch(folder / "batch", agreements=[agreement]), "dongguan")


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Month:
    """A month of which every line was rejected."""
    folder = tmp_path_factory.mktemp("empty")
    return settled(folder, write_batch(folder / "batch", [{**LINE, "points": "x"}]))


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Reporter:
    """Writes a month's report once per language."""
    made: dict[tuple[Path, str], Path] = {}

    def write(month: Month, language: str = "en") -> Path:
        key = (month.ledger.folder, language)
        if key not in made:
            out = tmp_path_factory.mktemp("report")
            made[key], _ = write_report(month.ledger, MARCH, out, Words(language), lambda _: None)
        return made[key]

    return write
