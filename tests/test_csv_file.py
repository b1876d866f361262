"""The front door: CSV as bureaus export it, read row by row; a bad row takes no other row with it (data 1, 2)."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from settlement.batch import csv_file
from settlement.errors import Refusal

UNDECODABLE, RAGGED = "undecodable", "ragged_row"
Rows = list[tuple[int, str | None, tuple[str | None, ...]]]


def read(path: Path, encoding: str | None = None) -> Rows:
    """The rows as (row number, broken or None, cells as they are trimmed later; empty = None)."""
    file = csv_file.open_csv(path, path.name, encoding)
    columns = list(dict.fromkeys(name for name in file.header if name))
    parts = list(csv_file.frames(file, columns))
    if not parts:
        return []
    frame = pl.concat(parts).sort("row_number")
    return [
        (row["row_number"], row["broken"], tuple((row[name] or "").strip() or None for name in columns))
        for row in frame.iter_rows(named=True)
    ]


def read_bytes(tmp_path: Path, data: bytes, encoding: str | None = None) -> Rows:
    path = tmp_path / "claims.csv"
    path.write_bytes(data)
    return read(path, encoding)


def read_text(tmp_path: Path, text: str) -> Rows:
    return read_bytes(tmp_path, text.encode())


def good(*rows: Sequence[str | None]) -> Rows:
    """Rows that are all whole, numbered from 1."""
    return [(number, None, tuple(row)) for number, row in enumerate(rows, start=1)]


NONE2: tuple[None, None] = (None, None)


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b\n1,2\n3,4\n", good("12", "34")),
        ("a,b\n1,2\n3,4", good("12", "34")),
        ("a,b\r\n1,2\r\n3,4\r\n", good("12", "34")),
        ("a,b\r\n1,2\n3,4\r\n", good("12", "34")),
        ("\n \n\r\na,b\n1,2\n", good("12")),
        ("a,b\n\n1,2\n  \n\t \n\r\n3,4\n\n", good("12", "34")),
        ("a,b\n,\n1,\n,2\n", good(NONE2, ("1", None), (None, "2"))),
        ("a,b\n 1 ,\t2 \n", good("12")),
        ("a\n1\n\n2\n", good("1", "2")),
        ("a,b\n", []),
        ("a,b", []),
        ("a,b\n\n \n", []),
        ("  a , b\n1,2\n", good("12")),
        ('"a","b"\n1,2\n', good("12")),
        ("a,b,\n1,2,\n", good("12")),
        ("a,b\nnull,NULL\n", good(("null", "NULL"))),
        ("a,b\n#1,2\n", good(("#1", "2"))),
        ("a,b\n1\u30002,\u3000\n", good(("1\u30002", None))),
        ("a,b\n1\v2,x\x0cy\n\x1c3,4\n", good(("1\v2", "x\x0cy"), ("3", "4"))),
        ("a,b\n1\u20282,3\x854\n", good(("1\u20282", "3\x854"))),
        ("a,b\n0001,00.10\n", good(("0001", "00.10"))),
    ],
    ids=repr,
)
def test_every_line_that_is_not_blank_is_a_row(tmp_path: Path, text: str, rows: Rows) -> None:
    assert read_text(tmp_path, text) == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('a,b\n"1","2"\n', good("12")),
        ('a,b\n"1,x",2\n', good(("1,x", "2"))),
        ('a,b\n"1\nx",2\n3,4\n', good(("1\nx", "2"), "34")),
        ('a,b\r\n"1\r\nx",2\r\n3,4\r\n', good(("1\r\nx", "2"), "34")),
        ('a,b\n"1\n\n\nx",2\n3,4\n', good(("1\n\n\nx", "2"), "34")),
        ('a,b\n"",2\n"",""\n', good((None, "2"), NONE2)),
        ('a,b\n"say ""1""",2\n', good(('say "1"', "2"))),
        ('a,b\n"""1""",2\n""""""\n', [(1, None, ('"1"', "2")), (2, RAGGED, NONE2)]),
        ('a,b\n"1\n""x"", y",2\n3,4\n', good(('1\n"x", y', "2"), "34")),
        ('a,b\n"3,4\n1,2\n",5\n6,7\n', good(("3,4\n1,2", "5"), "67")),
        ('a,b\n 1, "2,3"\n', good(("1", "2,3"))),
        ('a\tb\n"1\tx"\t2\n1,5\t2\n', good(("1\tx", "2"), ("1,5", "2"))),
        ('a\n"1"\n""\n2\n', good(("1",), (None,), ("2",))),
    ],
    ids=repr,
)
def test_a_quoted_cell_may_hold_separators_quotes_and_line_breaks(
    tmp_path: Path, text: str, rows: Rows
) -> None:
    assert read_text(tmp_path, text) == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('a,b\n"1,2\n3,4\n5,6\n', [(1, RAGGED, NONE2), (2, None, ("3", "4")), (3, None, ("5", "6"))]),
        ('a,b\n1,"2\n3,4\n', [(1, RAGGED, NONE2), (2, None, ("3", "4"))]),
        ('a,b\n3,4\n1,"2', [(1, None, ("3", "4")), (2, RAGGED, NONE2)]),
        ('a,b\n1",2\n3,4\n', [(1, None, ('1"', "2")), (2, None, ("3", "4"))]),
        ('a,b\n1",2\n3,4"\n5,6\n', [(1, None, ('1"', "2")), (2, None, ("3", '4"')), (3, None, ("5", "6"))]),
        (
            'a,b\n"1,2\n"3",4\n5,6\n"7","8"\n',
            [(1, RAGGED, NONE2), (2, None, ("3", "4")), (3, None, ("5", "6")), (4, None, ("7", "8"))],
        ),
        ('a,b\n5" pipe,6" pipe\n3,4\n', [(1, None, ('5" pipe', '6" pipe')), (2, None, ("3", "4"))]),
    ],
    ids=repr,
)
def test_an_unclosed_or_stray_quote_takes_no_other_row_with_it(tmp_path: Path, text: str, rows: Rows) -> None:
    assert read_text(tmp_path, text) == rows


def test_an_unclosed_quote_loses_only_its_own_row_of_a_large_file(tmp_path: Path) -> None:
    lines = [f"{number},x" for number in range(1, 5001)]
    lines[1999] = '"2000,x'
    rows = read_text(tmp_path, "\n".join(["a,b", *lines]) + "\n")
    assert [row for row in rows if row[1]] == [(2000, RAGGED, NONE2)]
    assert [row[0] for row in rows] == list(range(1, 5001))


def test_two_unclosed_quotes_far_apart_do_not_swallow_what_lies_between(tmp_path: Path) -> None:
    lines = [f"{number},x" for number in range(1, 301)]
    lines[9], lines[289] = '"10,x', '290,"x'
    rows = read_text(tmp_path, "\n".join(["a,b", *lines]) + "\n")
    assert [row[0] for row in rows if row[1]] == [10, 290]
    assert len(rows) == 300


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("a,b\n1\n1,2\n", [1]),
        ("a,b\n1,2,3\n1,2\n", [1]),
        ("a,b\n1,2\n1,2,\n", [2]),
        ('a,b\n"1"\n1,2\n"1",2,"3"\n', [1, 3]),
        ("a,b\n1;2\n1\t2\n", [1, 2]),
    ],
    ids=repr,
)
def test_a_row_with_more_or_fewer_cells_than_the_header_is_ragged(
    tmp_path: Path, text: str, broken: list[int]
) -> None:
    rows = read_text(tmp_path, text)
    assert [row[0] for row in rows if row[1] == RAGGED] == broken
    assert all(row[2] == NONE2 for row in rows if row[1])


def test_a_row_that_is_not_text_in_the_files_encoding_is_undecodable_alone(tmp_path: Path) -> None:
    data = "a,b\n一,1\n".encode() + b"x\xff,2\n" + '二,"3"\n'.encode() + b"\xff\n" + b"4,5"
    assert read_bytes(tmp_path, data) == [
        (1, None, ("一", "1")),
        (2, UNDECODABLE, NONE2),
        (3, None, ("二", "3")),
        (4, UNDECODABLE, NONE2),
        (5, None, ("4", "5")),
    ]


def test_undecodable_goes_before_ragged(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, b"a,b\n\xff,1,2\n5,6\n") == [(1, UNDECODABLE, NONE2), (2, None, ("5", "6"))]


def test_a_row_over_two_lines_with_an_undecodable_byte_is_one_row(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, b'a,b\n"3\n\xff",4\n5,6\n') == [
        (1, UNDECODABLE, NONE2),
        (2, None, ("5", "6")),
    ]


# ---------------------------------------------------------------- encodings


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"a,b\n1,2\n", "utf-8"),
        ("a,b\n天津,2\n".encode(), "utf-8"),
        (codecs.BOM_UTF8 + "a,b\n天津,2\n".encode(), "utf-8"),
        ("a,b\n天津,2\n".encode("gb18030"), "gb18030"),
        ("编号,b\n天津,2\n".encode("gb18030"), "gb18030"),
        ("a,b\n㐀𠀀,2\n".encode("gb18030"), "gb18030"),
        ("a,b\n天津,2\n".encode() + b"\xff,1\n", "utf-8"),
        (codecs.BOM_UTF8 + b"a,b\n" + "天津,2\n".encode("gb18030"), "utf-8"),
        ("a,b\n天津,2\n".encode("gb18030") + b"\xff,1\n", "utf-8"),
        (b"a,b\n\x80,2\n", "utf-8"),
    ],
    ids=repr,
)
def test_the_encoding_is_utf8_else_gb18030_each_as_a_whole_else_utf8(
    tmp_path: Path, data: bytes, encoding: str
) -> None:
    path = tmp_path / "claims.csv"
    path.write_bytes(data)
    assert csv_file.open_csv(path, path.name).encoding == encoding


def test_a_file_is_gb18030_though_its_only_chinese_stands_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"a,b\n" + b"1,2\n" * 50 + "津,3\n".encode("gb18030")
    for size in (1, 2, 3, 7, 64):
        monkeypatch.setattr(csv_file, "CHUNK", size)
        rows = read_bytes(tmp_path, data)
        assert rows[-1] == (51, None, ("津", "3"))


@pytest.mark.parametrize("name", ["gb18030", "GB18030", "gbk", "gb2312"])
def test_a_given_encoding_overrides_detection(tmp_path: Path, name: str) -> None:
    data = "a,b\n天津,2\n".encode("gb18030") + b"\xff,1\n"
    assert read_bytes(tmp_path, data, name) == [(1, None, ("天津", "2")), (2, UNDECODABLE, NONE2)]
    assert read_bytes(tmp_path, data, "UTF-8") == [(1, UNDECODABLE, NONE2), (2, UNDECODABLE, NONE2)]


def test_an_unknown_encoding_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"latin-1(?s:.*)utf-8(?s:.*)gb18030"):
        read_bytes(tmp_path, b"a,b\n1,2\n", "latin-1")


def test_the_byte_order_mark_is_no_part_of_the_first_column_also_after_blank_lines(tmp_path: Path) -> None:
    for start in (b"", b"\n", b"\r\n \n"):
        path = tmp_path / "claims.csv"
        path.write_bytes(codecs.BOM_UTF8 + start + b'"a",b\n1,2\n')
        assert csv_file.open_csv(path, path.name).header == ("a", "b")
        assert read(path) == good("12")


# ---------------------------------------------------------------- header


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "empty"),
        (b"\n \n\r\n", "empty"),
        (codecs.BOM_UTF8, "empty"),
        (b"PAR1\x15\x04\n", "binary"),
        (b"PK\x03\x04xlsx\n", "binary"),
        (b"a,b\0\n1,2\n", "binary"),
        ("a,b\n1,2\n".encode("utf-16"), "binary"),
        ("a,b\n1,2\n".encode("utf-16-le"), "binary"),
        (b"a,\xff\n1,2\n", "another encoding"),
    ],
    ids=repr,
)
def test_a_file_without_a_header_is_refused_with_what_was_found(
    tmp_path: Path, data: bytes, found: str
) -> None:
    with pytest.raises(Refusal) as refusal:
        read_bytes(tmp_path, data)
    assert refusal.value.where.startswith("claims.csv")
    assert found in refusal.value.found
    assert refusal.value.expected
    assert refusal.value.remedy


@pytest.mark.parametrize(
    "data",
    [b"a,b\r1,2\r", b"x" * 200_000, b"a," + b"b" * 200_000 + b"\n1,2\n"],
    ids=["line ends of old Macs", "one long line", "a column name of 200 000 letters"],
)
def test_a_header_that_no_csv_has_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Refusal):
        read_bytes(tmp_path, data)


def test_a_very_long_cell_costs_at_most_its_own_row(tmp_path: Path) -> None:
    long = "x" * 200_000
    assert read_text(tmp_path, f"a,b\n{long},2\n3,4\n") == good((long, "2"), "34")
    rows = read_text(tmp_path, f'a,b\n"{long}",2\n"3",4\n')
    assert rows[1] == (2, None, ("3", "4"))


@pytest.mark.parametrize(
    ("header", "separator"),
    [("a,b", ","), ("a\tb", "\t"), ("a\tb,c\td", "\t"), ("a,b\tc", ","), ("a", ","), ("a,b,c\td", ",")],
)
def test_the_separator_is_a_tab_if_the_header_has_more_tabs_than_commas(
    tmp_path: Path, header: str, separator: str
) -> None:
    path = tmp_path / "claims.csv"
    path.write_text(header + "\n", "utf-8")
    assert csv_file.open_csv(path, path.name).separator == separator


def test_only_the_asked_columns_are_read(tmp_path: Path) -> None:
    path = tmp_path / "claims.csv"
    path.write_text('a,b,c\n1,2,3\n"4",5,6\n7\n', "utf-8")
    (frame,) = csv_file.frames(csv_file.open_csv(path, path.name), ["c", "a"])
    assert frame.sort("row_number").rows() == [
        (1, None, "3", "1"),
        (2, None, "6", "4"),
        (3, RAGGED, None, None),
    ]


# ---------------------------------------------------------------- chunks

EVERYTHING = (
    "a,b,c\r\n"
    "1,2,3\n"
    "\n"
    '"x\ny",5,6\r\n'
    "short,row\n"
    '"he said ""no""",",",\n'
    '"never closed,2,3\n'
    "一,二,三\n"
    "  \n"
    '"over\n\n"",lines""\n",2,"\n3"\n'
    'stray " quote,2,3\n'
    "too,many,cells,here\n"
    ",,\n"
    '7,"8\n'
    "last,2,3"
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_the_size_of_the_chunks_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    path = tmp_path / "claims.csv"
    path.write_bytes(EVERYTHING.encode(encoding))
    whole = read(path)
    assert [row[0] for row in whole] == list(range(1, 13))
    assert [row[0] for row in whole if row[1]] == [3, 5, 9, 11]
    for size in range(1, len(EVERYTHING.encode(encoding)) + 2):
        monkeypatch.setattr(csv_file, "CHUNK", size)
        assert read(path) == whole, size


def test_the_size_of_the_chunks_changes_nothing_where_bytes_are_undecodable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"a,b\n1,2\n\xff,2\n\xe4\xb8\n" + '中,"中\n中"\n'.encode() + b'"3\n\xfe",4\n"5\n\xff'
    whole = read_bytes(tmp_path, data)
    assert whole[:4] == [
        (1, None, ("1", "2")),
        (2, UNDECODABLE, NONE2),
        (3, UNDECODABLE, NONE2),
        (4, None, ("中", "中\n中")),
    ]
    for size in range(1, len(data) + 2):
        monkeypatch.setattr(csv_file, "CHUNK", size)
        assert read_bytes(tmp_path, data) == whole, size


# ---------------------------------------------------------------- drawn

fuzz = settings(
    derandomize=True, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck), database=None
)
LETTERS = st.one_of(
    st.sampled_from(
        ["a", "1", " ", ",", "\t", '"', '""', "\n", "\r", "\r\n", "中", "～", "😀", "\u3000", "'", ";"]
    ),
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
)
CELLS = st.lists(LETTERS, max_size=6).map("".join)


def trimmed(cell: str) -> str | None:
    return cell.strip() or None


@fuzz
@given(
    rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=12),
    separator=st.sampled_from([",", "\t"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "gb18030"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    size=st.integers(min_value=1, max_value=80),
)
def test_what_pythons_csv_module_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[str]],
    separator: str,
    encoding: str,
    quoting: int,
    size: int,
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, quoting=quoting)
    writer.writerow(["a", "b", "c"])
    writer.writerows(rows)
    data = text.getvalue().encode(encoding)
    path = tmp_path_factory.mktemp("csv") / "claims.csv"
    path.write_bytes(data)
    before, csv_file.CHUNK = csv_file.CHUNK, size
    try:
        found = read(path, "gb18030" if encoding == "gb18030" else None)
    finally:
        csv_file.CHUNK = before
    assert found == good(*([trimmed(cell) for cell in row] for row in rows))


@fuzz
@given(
    lines=st.lists(
        st.one_of(
            st.sampled_from(
                ["1,2", '"1",2', '"1', '1"', '"', "x", ",", "", " ", '"a\nb",3', '"",""', "1,2,3", "\r"]
            ),
            st.text(alphabet=st.sampled_from(["a", ",", '"', " ", "\n", "\r"]), max_size=8),
        ),
        max_size=12,
    ),
    size=st.integers(min_value=1, max_value=40),
)
def test_whatever_stands_in_a_file_no_line_is_lost_and_chunks_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], size: int
) -> None:
    data = "\n".join(["a,b", *lines]).encode()
    path = tmp_path_factory.mktemp("csv") / "claims.csv"
    path.write_bytes(data)
    whole = read(path)
    before, csv_file.CHUNK = csv_file.CHUNK, size
    try:
        assert read(path) == whole
    finally:
        csv_file.CHUNK = before
    assert [number for number, _, _ in whole] == list(range(1, len(whole) + 1))
    plain = [
        line
        for line in data.decode().split("\n")[1:]
        if line.strip() and '"' not in line and line.count(",") == 1
    ]
    if b'"' not in data:
        assert sum(broken is None for _, broken, _ in whole) == len(plain)
