"""A standalone master with two workers settles as this machine does: the same results hash, whatever the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.standalone import Standalone
from random_batches import write_random_batch
from settlement import load_policy, read_batch
from settlement.errors import Refusal
from settlement.pipeline import settle
from settlement.reconcile import proofs
from settlement.runs import sha256_of
from settlement.spark import Cluster
from test_cases import CASE_NAMES, CASES, month_of

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


def outcome(batch: Path, month: str, policy_path: Path, **options: Any) -> Any:
    """Results hash, counts, assumptions; or the refusal."""
    try:
        policy = load_policy(policy_path)
        read = read_batch(batch, month, policy)
        made = settle(read, policy, **options)
    except Refusal as refusal:
        return str(refusal)
    proofs(read, made)
    return sha256_of(made.tables), made.counts, made.assumptions


@pytest.mark.skipif(not CASE_NAMES, reason=f"no worked cases: {CASES} is missing")
@pytest.mark.parametrize("name", CASE_NAMES)
def test_a_case(name: str, connected: Standalone) -> None:
    folder = CASES / name
    order = (folder / "batch", month_of(folder), folder / "policy.toml")
    assert outcome(*order, through=Cluster(connected.url, 3).settle) == outcome(*order)


@pytest.mark.parametrize("seed", range(3000, 3006))
def test_a_random_batch(seed: int, connected: Standalone, tmp_path: Path) -> None:
    made = write_random_batch(tmp_path, seed, lines=400)
    order = (made["batch"], made["month"], made["policy"])
    assert outcome(*order, through=Cluster(connected.url, 4).settle) == outcome(*order)
