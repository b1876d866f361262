"""One cluster and one session for all tests here: to start them takes longer than most tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from benchmarks.standalone import Standalone, lacking

REASON = lacking()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if REASON:
        for item in items:
            if "spark" in item.path.parts:
                item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture(scope="session")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    with Standalone(tmp_path_factory.mktemp("spark") / "cluster") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def connected(standalone: Standalone) -> Iterator[Standalone]:
    """The cluster, with a session of this process that every settlement uses."""
    from settlement.spark.session import session

    before = dict(os.environ)
    os.environ.update(standalone.environment)
    try:
        with session(standalone.url):
            yield standalone
    finally:
        os.environ.clear()
        os.environ.update(before)
