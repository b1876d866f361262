"""The engine against the independent reference (reference.py) on random batches; both must say the same.

SETTLEMENT_SEEDS=0:1000 runs these seeds instead.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine import REFUSED, differences, engine_tables, reference_tables
from random_batches import write_random_batch

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


def seeds() -> range:
    """`from:to` of the environment, else the seeds of the normal run; `to` is not among them."""
    first, _, last = os.environ.get("SETTLEMENT_SEEDS", "1000:1120").partition(":")
    return range(int(first), int(last))


@pytest.mark.parametrize("seed", seeds())
def test_engine_and_reference_settle_alike(seed: int, tmp_path: Path) -> None:
    made = write_random_batch(tmp_path, seed)
    expected = reference_tables(made["batch"], made["month"], made["policy"])
    found = engine_tables(made["batch"], made["month"], made["policy"])
    assert differences(expected, found) == []


@pytest.mark.parametrize("seed", [3, 4, 5, 6])
def test_engine_and_reference_settle_alike_where_nearly_every_line_is_bad(seed: int, tmp_path: Path) -> None:
    made = write_random_batch(tmp_path, seed, bad_lines=0.9, lines=150)
    expected = reference_tables(made["batch"], made["month"], made["policy"])
    found = engine_tables(made["batch"], made["month"], made["policy"])
    assert differences(expected, found) == []


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_engine_and_reference_settle_alike_where_groups_are_large(seed: int, tmp_path: Path) -> None:
    made = write_random_batch(tmp_path, seed, lines=1500, money=True)
    expected = reference_tables(made["batch"], made["month"], made["policy"])
    found = engine_tables(made["batch"], made["month"], made["policy"])
    assert REFUSED not in expected
    assert differences(expected, found) == []
