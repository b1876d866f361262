"""The program in this process: `program("run", "batch", …)` gives its exit code and what it printed."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from settlement import cli


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def program(*arguments: str | Path) -> Done:
    """`settlement` with these arguments."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with (
            redirect_stdout(out),
            redirect_stderr(err),
            patch("sys.argv", ["settlement", *map(str, arguments)]),
        ):
            cli.main()
    except SystemExit as left:
        return Done(int(left.code or 0), out.getvalue(), err.getvalue())
    finally:
        cli._OPEN_LEDGER.clear()
    raise AssertionError("main() returned")
