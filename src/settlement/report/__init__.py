"""A month's report: one HTML page that needs nothing but itself, and an Excel workbook.

Layer 6. Everything comes from the record; nothing is settled anew. The libraries that draw and write are those of
the extra `report`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkstemp

from ..errors import Refusal
from ..ledger import Ledger
from ..texts import Words, words_in
from .facts import Facts, facts_of

__all__ = ["Facts", "Words", "facts_of", "words_in", "write_report"]

_LIBRARIES = ("altair", "vl_convert", "jinja2", "xlsxwriter")
_OWN = re.compile(r"settlement-[0-9]{4}-[0-9]{2}\.(html|xlsx)")
Progress = Callable[[str], None]


def write_report(ledger: Ledger, month: date, out: Path, words: Words, progress: Progress) -> list[Path]:
    """Writes settlement-YYYY-MM.html and .xlsx of the month's newest run into `out`; the same run, the same files.

    Raises: Refusal, if the extra is not installed, the month has no run, or the folder holds anything else.
    """
    _refuse_missing_libraries()
    _refuse_foreign_files(out)
    progress("reading the record")
    facts = facts_of(ledger, month)
    from .page import page_of
    from .workbook import write_workbook

    page, workbook = (out / f"settlement-{month:%Y-%m}.{ending}" for ending in ("html", "xlsx"))
    progress("drawing the page")
    html = page_of(facts, words, workbook.name)
    with _refusing_what_cannot_be_written(out):
        out.mkdir(parents=True, exist_ok=True)
        _put(page, lambda path: path.write_text(html, encoding="utf-8"))
        _put(workbook, lambda path: write_workbook(path, ledger, facts, words, progress))
    return [page, workbook]


def _refuse_missing_libraries() -> None:
    missing = [library for library in _LIBRARIES if find_spec(library) is None]
    if missing:
        raise Refusal(
            "settlement report",
            f"not installed: {', '.join(missing)}",
            "the libraries of the extra `report`",
            "pip install 'settlement[report]'",
        )


def _refuse_foreign_files(out: Path) -> None:
    """Earlier reports may be written over; a folder that serves another purpose is left alone."""
    if out.exists() and not out.is_dir():
        raise Refusal(f"--out {out}", "a file", "a new or empty folder", "name another")
    entries = sorted(out.iterdir()) if out.exists() else []
    foreign = [entry.name for entry in entries if not (_OWN.fullmatch(entry.name) and entry.is_file())]
    if foreign:
        raise Refusal(
            f"--out {out}",
            f"files that no report wrote: {', '.join(foreign[:3])}{' …' if len(foreign) > 3 else ''}",
            "a new or empty folder, or one of earlier reports",
            "name another, or remove them",
        )


def _put(path: Path, write: Callable[[Path], object]) -> None:
    """Writes beside the file and renames: a reader finds the old file or the new one, whole. For owner and group."""
    handle, name = mkstemp(prefix=".settlement-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    made = Path(name)
    try:
        write(made)
        made.chmod(0o640)
        made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise


@contextmanager
def _refusing_what_cannot_be_written(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refusal(
            f"--out {error.filename or out}",
            (error.strerror or str(error)).lower(),
            "a folder that can be written, on a disk with space",
            "mend this, or name another folder",
        ) from error
