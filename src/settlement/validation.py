"""pandera, imported without what it does to its surroundings. Layer 0.

Where pyspark is installed, pandera imports all of it, which takes seconds, and sets SPARK_LOCAL_IP, which would keep a
cluster's workers from reaching this process. Settlement checks polars frames only: pandera need not know of pyspark.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["pa"]

_SET_BY_PANDERA = ("SPARK_LOCAL_IP", "PYARROW_IGNORE_TIMEZONE")


@contextmanager
def _without_pyspark() -> Iterator[None]:
    """To import pyspark fails inside; what it was before is there again outside, and the environment too."""
    loaded = sys.modules.get("pyspark")
    variables = {name: os.environ.get(name) for name in _SET_BY_PANDERA}
    sys.modules["pyspark"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["pyspark"]
        if loaded is not None:
            sys.modules["pyspark"] = loaded
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)


with _without_pyspark():
    import pandera.polars as pa
