"""CSV as bureaus export it, read row by row without losing one: encodings, blank lines, quotes, ragged rows.

Rows that are plain (decodable, no quote, as many cells as the header) go through polars in one piece; the few
others are looked at one by one, since a short row, a stray quote or a byte of another encoding must become a
rejected row with its number, and must not swallow its neighbours. Source: data 1.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import Refusal
from ..reasons import RejectRule

CHUNK = 32 * 2**20
LONGEST_HEADER = 2**20
LONGEST_RECORD = 100  # lines that one quoted record may span; a stray quote must not swallow a file
ENCODINGS = {"utf-8": "utf-8", "utf8": "utf-8", "gb18030": "gb18030", "gbk": "gb18030", "gb2312": "gb18030"}
ROW_NUMBER, BROKEN = "row_number", "broken"

_Lines = NDArray[np.int64]
_Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class CsvFile:
    """A CSV file whose header has been read. `encoding` is what was decided, `separator` a comma or a tab."""

    path: Path
    name: str  # path in the batch, for messages and the ledger
    encoding: str
    separator: str
    header: tuple[str, ...]


def open_csv(path: Path, name: str, encoding: str | None = None) -> CsvFile:
    """Decide encoding and separator and read the header. Raises Refusal for what is no such file."""
    decided = _chosen(encoding) if encoding else detected_encoding(path)
    with path.open("rb") as file:
        first = _without_bom(file.readline(LONGEST_HEADER))
        while first and not first.strip():
            first = file.readline(LONGEST_HEADER)
    if not first:
        raise Refusal(name, "the file is empty", "a header line with column names", "export the file again")
    text = _header_text(first, decided, name)
    separator = "\t" if text.count("\t") > text.count(",") else ","
    rows = _parsed([text], separator) if text.count('"') % 2 == 0 else []
    if len(rows) != 1:
        raise Refusal(
            name,
            "a header that is not one line of column names",
            "column names in the first line, without line breaks in them",
            "export the file again with lines that end in LF or CRLF",
        )
    cells = tuple(cell.strip() for cell in rows[0])
    return CsvFile(path, name, decided, separator, cells)


def _chosen(encoding: str) -> str:
    if encoding.lower() not in ENCODINGS:
        raise Refusal("--encoding", encoding, f"one of {', '.join(ENCODINGS)}", "save the file as UTF-8")
    return ENCODINGS[encoding.lower()]


def detected_encoding(path: Path) -> str:
    """UTF-8 if the whole file is (or begins with a BOM), else GB18030 if the whole file is, else UTF-8."""
    with path.open("rb") as file:
        if file.read(3) == codecs.BOM_UTF8:
            return "utf-8"
    return next((name for name in ("utf-8", "gb18030") if _decodes_as(path, name)), "utf-8")


def _decodes_as(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    try:
        with path.open("rb") as file:
            while block := file.read(CHUNK):
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _without_bom(line: bytes) -> bytes:
    return line.removeprefix(codecs.BOM_UTF8)


def _header_text(line: bytes, encoding: str, name: str) -> str:
    looks_binary = b"\0" in line or line.startswith((b"PAR1", b"PK\x03\x04", b"\xff\xfe", b"\xfe\xff"))
    try:
        if looks_binary:
            raise UnicodeDecodeError(encoding, line, 0, 1, "binary")
        return line.decode(encoding).rstrip("\r\n")
    except UnicodeDecodeError:
        raise Refusal(
            name,
            "binary data, or text in another encoding, where the header should be",
            "CSV text in UTF-8 or GB18030",
            "export as CSV (UTF-8), or give the file its right ending (.parquet)",
        ) from None


def frames(file: CsvFile, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of the file, chunk by chunk, every line that is not blank being one row.

    Adds: row_number (Int64, 1 = first data row), broken (String, null for good rows, else the reject rule);
    the cells of `columns` as text, untrimmed, null where empty and in broken rows.
    """
    row, rest, block = 1, b"", b"-"
    with file.path.open("rb") as raw:
        _skip_header(raw)
        while block:
            block = raw.read(CHUNK)
            data = rest + block
            end = data.rfind(b"\n") + 1 if block else len(data)
            if not end:
                rest = data
                continue
            chunk = _Chunk(file, *_decoded(data[:end], file.encoding), is_last=not block)
            frame, row = chunk.frame(columns, row)
            rest = _last_lines(data[:end], chunk.unfinished) + data[end:]
            if frame.height:
                yield frame


def _skip_header(raw: BinaryIO) -> None:
    while line := raw.readline():
        if _without_bom(line).strip():
            return


def _last_lines(data: bytes, count: int) -> bytes:
    start = len(data)
    for _ in range(count):
        start = data.rfind(b"\n", 0, start - 1) + 1
    return data[start:]


def _decoded(data: bytes, encoding: str) -> tuple[bytes, _Flags]:
    if not data.endswith(b"\n"):
        data += b"\n"
    try:
        text = data if _is_utf8(data, encoding) else data.decode(encoding).encode()
        return text, np.zeros(text.count(b"\n"), dtype=np.bool_)
    except UnicodeDecodeError:
        return _decoded_line_by_line(data, encoding)


def _is_utf8(data: bytes, encoding: str) -> bool:
    if encoding != "utf-8":
        return False
    data.decode()
    return True


def _decoded_line_by_line(data: bytes, encoding: str) -> tuple[bytes, _Flags]:
    lines = data.split(b"\n")[:-1]
    bad = np.zeros(len(lines), dtype=np.bool_)
    for index, line in enumerate(lines):
        try:
            lines[index] = line.decode(encoding).encode()
        except UnicodeDecodeError:
            lines[index], bad[index] = line.decode(encoding, "replace").encode(), True
    return b"\n".join(lines) + b"\n", bad


class _Chunk:
    """Some whole lines of UTF-8 text, each looked at only as closely as it needs.

    `unfinished`: so many last lines hold a quoted record that goes on in the next chunk; they are no rows here.
    """

    def __init__(self, file: CsvFile, text: bytes, undecodable: _Flags, *, is_last: bool) -> None:
        self.file, self.text, self.undecodable, self.is_last = file, text, undecodable, is_last
        self.unfinished = 0
        self.bytes = np.frombuffer(text, dtype=np.uint8)
        self.ends: _Lines = np.flatnonzero(self.bytes == ord("\n"))
        self.starts: _Lines = np.concatenate([[0], self.ends[:-1] + 1])

    def frame(self, columns: Sequence[str], first_row: int) -> tuple[pl.DataFrame, int]:
        """The rows as `frames` describes them, and the number of the row after them."""
        cells = self._count(self.file.separator) + 1
        is_row = ~self._are_blank(cells) | self.undecodable
        quotes = self._count('"') if b'"' in self.text else np.zeros(len(self.ends), dtype=np.int64)
        is_plain = is_row & (quotes == 0) & ~self.undecodable & (cells == len(self.file.header))
        may_be_quoted = is_row & (quotes > 0) & (~self.undecodable | (quotes % 2 == 1))
        records = self._one_line_records(may_be_quoted & ~self.undecodable & (quotes % 2 == 0))
        may_be_quoted[list(records)] = False
        records |= self._records_over_lines(may_be_quoted, records, is_plain, is_row)
        if self.unfinished:
            is_row[-self.unfinished :] = is_plain[-self.unfinished :] = False
        numbers = np.cumsum(is_row) + first_row - 1
        parts = [self._plain(is_plain, numbers, columns), self._quoted(records, numbers, columns)]
        is_quoted = np.isin(np.arange(len(is_row)), list(records))
        parts += [self._broken(is_row & ~is_plain & ~is_quoted, numbers, columns)]
        return pl.concat([part for part in parts if part.height] or parts[:1]), int(
            numbers[-1] + 1 if len(numbers) else first_row
        )

    def _count(self, character: str) -> _Lines:
        return np.add.reduceat(self.bytes == ord(character), self.starts, dtype=np.int64)

    def _are_blank(self, cells: _Lines) -> _Flags:
        blank = np.zeros(len(cells), dtype=np.bool_)
        for index in np.flatnonzero(cells == 1).tolist():
            blank[index] = not self._line(index).strip()
        return blank

    def _line(self, index: int) -> bytes:
        return self.text[self.starts[index] : self.ends[index] + 1]

    def _one_line_records(self, candidates: _Flags) -> dict[int, list[str]]:
        """Cells of the records that open and close their quotes in one line, by line."""
        lines = np.flatnonzero(candidates).tolist()
        rows = _parsed([self._line(line).decode() for line in lines], self.file.separator)
        if len(rows) != len(lines):  # a quote stays open after all: each line has to be looked at alone
            return {}
        return {line: row for line, row in zip(lines, rows, strict=True) if len(row) == len(self.file.header)}

    def _records_over_lines(
        self, candidates: _Flags, known: dict[int, list[str]], is_plain: _Flags, is_row: _Flags
    ) -> dict[int, list[str]]:
        """Cells of each other record with quotes, by its first line; its further lines are then no rows."""
        records: dict[int, list[str]] = {}
        done = -1
        for index in np.flatnonzero(candidates).tolist():
            if index <= done:
                continue
            found = self._record_from(index)
            if self.unfinished:
                break
            if found:
                done, cells = found
                if self.undecodable[index : done + 1].any():
                    self.undecodable[index] = True
                elif len(cells) == len(self.file.header):
                    records[index] = cells
                is_row[index + 1 : done + 1] = is_plain[index + 1 : done + 1] = False
                for swallowed in range(index + 1, done + 1):
                    known.pop(swallowed, None)
        for swallowed in range(len(self.ends) - self.unfinished, len(self.ends)):
            known.pop(swallowed, None)
        return records

    def _record_from(self, index: int) -> tuple[int, list[str]] | None:
        """Last line and cells of the record that starts in this line, if its quotes are whole and close soon."""
        alone = _parsed([self._line(index).decode()], self.file.separator, strict=True)
        if len(alone) == 1 and len(alone[0]) == len(self.file.header):
            return index, alone[0]  # its odd quote stands inside a cell and opens nothing
        record, beyond = b"", index + LONGEST_RECORD
        for last in range(index, min(beyond, len(self.ends))):
            record += self._line(last)
            if record.count(b'"') % 2 == 0:
                is_strict = last > index  # a stray quote must not swallow the lines after it
                rows = _parsed(StringIO(record.decode(), newline="\n"), self.file.separator, strict=is_strict)
                return (last, rows[0]) if len(rows) == 1 else None
        if beyond > len(self.ends) and not self.is_last:
            self.unfinished = len(self.ends) - index
        return None

    def _plain(self, is_plain: _Flags, numbers: _Lines, columns: Sequence[str]) -> pl.DataFrame:
        if not is_plain.any():
            return self._rows([], [], columns, None)

        def place(name: str) -> str:
            return f"column_{self.file.header.index(name) + 1}"  # polars' own names

        lengths = self.ends - self.starts + 1
        text = self.text if is_plain.all() else self.bytes[np.repeat(is_plain, lengths)].tobytes()
        frame = pl.read_csv(
            text,
            has_header=False,
            separator=self.file.separator,
            quote_char=None,
            schema={f"column_{place}": pl.String for place in range(1, len(self.file.header) + 1)},
            columns=[place(name) for name in columns],
        )
        return frame.select(
            pl.Series(ROW_NUMBER, numbers[is_plain], dtype=pl.Int64),
            pl.lit(None, dtype=pl.String).alias(BROKEN),
            *(pl.col(place(name)).alias(name) for name in columns),
        )

    def _quoted(self, records: dict[int, list[str]], numbers: _Lines, columns: Sequence[str]) -> pl.DataFrame:
        return self._rows(list(records), list(records.values()), columns, numbers)

    def _rows(
        self, lines: list[int], cells: list[list[str]], columns: Sequence[str], numbers: _Lines | None
    ) -> pl.DataFrame:
        places = {name: self.file.header.index(name) for name in columns}
        rows = {name: [row[place] for row in cells] for name, place in places.items()}
        return pl.DataFrame(
            {
                ROW_NUMBER: numbers[lines] if numbers is not None and lines else [],
                BROKEN: [None] * len(lines),
                **rows,
            },
            schema={ROW_NUMBER: pl.Int64, BROKEN: pl.String, **dict.fromkeys(columns, pl.String)},
        )

    def _broken(self, is_broken: _Flags, numbers: _Lines, columns: Sequence[str]) -> pl.DataFrame:
        lines = np.flatnonzero(is_broken)
        rules = np.where(
            self.undecodable[lines], RejectRule.UNDECODABLE.value, RejectRule.RAGGED_ROW.value
        ).tolist()
        return pl.DataFrame(
            {ROW_NUMBER: numbers[lines], BROKEN: rules, **{name: [None] * len(lines) for name in columns}},
            schema={ROW_NUMBER: pl.Int64, BROKEN: pl.String, **dict.fromkeys(columns, pl.String)},
        )


def _parsed(lines: Iterable[str], separator: str, *, strict: bool = False) -> list[list[str]]:
    try:
        return list(csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=strict))
    except csv.Error:
        return []
