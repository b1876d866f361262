"""A temporary folder for what does not fit into memory."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from weakref import finalize


class Staging:
    """A folder that goes with this object, or when it is closed."""

    def __init__(self) -> None:
        self.path = Path(mkdtemp(prefix="settlement-"))
        self.close = finalize(self, rmtree, self.path, ignore_errors=True)
