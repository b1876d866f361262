"""`settlement` as it starts where nothing but itself is installed: `python -m benchmarks.as_installed run …`.

Packages that only the development environment has are hidden: pandera would import pandas and hypothesis, which takes
half a second, wherever it finds them.
"""

from __future__ import annotations

import sys
from typing import Any

NOT_INSTALLED = ("hypothesis", "pandas", "pyarrow", "pyspark")


class _Hiding:
    """A finder of modules that does not find these packages."""

    def __init__(self, finder: Any) -> None:
        self._finder = finder

    def find_spec(self, name: str, *where: Any) -> Any:
        return None if name.partition(".")[0] in NOT_INSTALLED else self._finder.find_spec(name, *where)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)


if __name__ == "__main__":
    sys.meta_path[:] = map(_Hiding, sys.meta_path)
    from settlement.cli import main

    main()
