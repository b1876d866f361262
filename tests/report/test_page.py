"""The page: every figure is the ledger's, names stay text, and the page needs nothing but itself."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from string import Formatter

import openpyxl
import pytest

from reported import HOSTILE_NAME, MARCH, Month, Page, Reporter, exact, page_at
from settlement import report as reports
from settlement.errors import Refusal
from settlement.report import Words, words_in, write_report
from settlement.report.facts import Day, band_of, course_of
from settlement.texts import TEXTS
from test_restatement import Books

KNOWN_TAGS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "link",
        "style",
        "body",
        "header",
        "nav",
        "main",
        "section",
        "footer",
        "h1",
    ),
    *(
        "h2",
        "p",
        "a",
        "strong",
        "span",
        "dl",
        "dt",
        "dd",
        "div",
        "data",
        "ul",
        "li",
        "figure",
        "figcaption",
        "table",
    ),
    *("caption", "thead", "tbody", "tr", "th", "td", "svg", "desc", "g", "path", "line", "text", "rect"),
}


@pytest.fixture
def page(demo: Month, report: Reporter) -> Page:
    return page_at(report(demo))


# ---------------------------------------------------------------- figures


def test_the_headline_is_what_the_ledger_says(demo: Month, page: Page) -> None:
    (expected,) = demo.rows(
        "select lines_in, lines_settled, lines_rejected, "
        "(select count(distinct institution_id) from current_settlements), "
        "(select sum(submitted_points) from current_settlements), "
        "(select sum(eligible_points) from current_settlements), "
        "(select sum(payable_points) from current_settlements), "
        "(select sum(unpaid_points) from current_settlements), "
        "(select count(*) from current_settlements where overage_points > 0), "
        "(select sum(payable_amount) from current_settlements) from current_runs"
    )
    names = (
        *(
            "lines_in",
            "lines_settled",
            "lines_rejected",
            "institutions",
            "submitted_points",
            "eligible_points",
        ),
        *("payable_points", "unpaid_points", "over_threshold_groups", "payable_amount"),
    )
    assert {name: exact(page.tiles[name]) for name in names} == dict(
        zip(names, map(exact, expected), strict=True)
    )


def test_threshold_use_is_summed_by_zone_and_class(demo: Month, page: Page) -> None:
    expected = demo.rows(
        "select replace(point_class, '_', ' '), zone, count(*), count(*) filter (where overage_points > 0), "
        "sum(eligible_points), sum(threshold_points), sum(overage_points) "
        "from current_settlements where threshold_points is not null group by point_class, zone"
    )
    found = [(row[0], row[1], *map(exact, row[2:6]), exact(row[7])) for row in page.rows("use")]
    assert sorted(found) == sorted((row[0], row[1], *map(exact, row[2:])) for row in expected)
    for row in page.rows("use"):
        eligible, threshold, use = exact(row[4]), exact(row[5]), exact(row[6])
        assert abs(eligible * 100 - use * threshold) * 20 <= threshold  # within half of 0.1 %


def test_the_ranking_is_every_group_over_its_threshold_largest_first(demo: Month, page: Page) -> None:
    expected = demo.rows(
        "select institution_id, eligible_points, threshold_points, overage_points, unpaid_points "
        "from current_settlements where overage_points > 0 order by overage_points desc, institution_id"
    )
    found = [(row[1].split()[-1], *map(exact, row[4:8])) for row in page.rows("over_threshold")]
    assert found == [(row[0], *map(exact, row[1:])) for row in expected]
    assert all(f"{row[3]:,}" in page.html for row in expected)


def test_unpaid_points_by_reason_are_those_of_the_unpaid_lines(demo: Month, page: Page) -> None:
    expected = demo.rows(
        "select reason, count(*), sum(unpaid_points) from current_unpaid_lines group by reason"
    )
    found = {row[0]: (int(row[2]), exact(row[3])) for row in page.rows("unpaid_by_reason")}
    assert found == {reason: (count, exact(points)) for reason, count, points in expected}
    assert sum(points for _, points in found.values()) == exact(page.tiles["unpaid_points"])


def test_rejected_lines_by_rule_are_those_of_the_ledger(demo: Month, page: Page) -> None:
    expected = demo.rows("select rule, count(*), min(row_number) from current_rejected_lines group by rule")
    found = {
        row[0]: (int(row[2]), row[3].split()[-1].replace(",", "")) for row in page.rows("rejected_by_rule")
    }
    assert found == {rule: (count, str(row)) for rule, count, row in expected}
    assert sum(count for count, _ in found.values()) == exact(page.tiles["lines_rejected"])


def test_the_sums_of_the_statements_are_those_of_the_ledger(demo: Month, page: Page) -> None:
    found = {item.replace(" ", "_"): exact(amount) for item, amount in page.rows("statements")}
    for item, amount in found.items():
        assert amount == demo.value(f"select sum({item}) from current_statements")  # noqa: S608 - a column's name
    assert found["payable_amount"] == exact(page.tiles["payable_amount"])
    assert len(found) == 10


def test_the_page_says_which_run_and_journal_it_is_of(demo: Month, page: Page) -> None:
    identity = dict(page.rows("identity"))
    (act,) = demo.ledger.acts()
    assert identity["run id"] == act.run_id
    assert identity["results sha256"] == act.results_sha256
    assert identity["Head of the journal"].startswith(act.hash)
    assert identity["policy id"] == "tianjin"


def test_assumptions_and_readings_are_those_of_the_run(demo: Month, page: Page) -> None:
    for assumption in demo.rows("select unnest(json_extract_string(assumptions, '$[*]')) from current_runs"):
        assert str(assumption[0]) in page.text
    assert ["attribution", "chronological"] in page.rows("readings")


# ---------------------------------------------------------------- the daily course


def test_the_crossing_is_the_first_day_that_ends_above_the_threshold(
    hostile: Month, report: Reporter
) -> None:
    """20000.0001 on the 4th; 5789.12 on the 9th: above 25789.12 by 0.0001, the smallest that can be."""
    (caption,) = page_at(report(hostile)).captions
    assert caption == (
        "Crossed on 2026-03-09: 20,000.0001 points the evening before, 25,789.1201 that evening; "
        "threshold 25,789.12, 33,299.6201 at the end."
    )


def test_a_course_runs_through_every_day_and_splits_at_the_threshold() -> None:
    threshold = Decimal("10.00")
    daily = [
        {"day": date(2026, 3, 2), "eligible_points": Decimal("10.0000")},
        {"day": date(2026, 3, 4), "eligible_points": Decimal("0.0001")},
        {"day": date(2026, 3, 5), "eligible_points": Decimal("-3.0000")},
    ]
    course = course_of({"threshold_points": threshold}, daily, MARCH)
    assert len(course.days) == 31
    assert course.days[2] == Day(date(2026, 3, 3), Decimal(10), Decimal(10), Decimal(0))  # equal is not above
    assert course.crossed == Day(date(2026, 3, 4), Decimal("10.0001"), Decimal(10), Decimal("0.0001"))
    assert course.running_before == Decimal(10)
    assert course.days[-1].running == Decimal("7.0001")
    assert course.days[-1].above == 0


def test_days_outside_the_month_are_drawn_too() -> None:
    """Reading month_basis = serviced_at: a line of March may be settled in April."""
    daily = [{"day": date(2026, 4, 2), "eligible_points": Decimal("1.0000")}]
    course = course_of({"threshold_points": Decimal("5.00")}, daily, MARCH)
    assert (course.days[0].day, course.days[-1].day) == (date(2026, 3, 1), date(2026, 4, 2))
    assert course.crossed is None


@pytest.mark.parametrize(
    ("eligible", "overage", "band"),
    [
        ("49.9499", "0", "under_half"),
        ("49.9500", "0", "under_four_fifths"),  # 50.0 % after rounding, as it is shown
        ("79.9500", "0", "up_to_threshold"),
        ("100.0000", "0", "up_to_threshold"),
        ("100.0001", "0.0001", "above_threshold"),
        ("-1.0000", "0", "under_half"),
    ],
)
def test_bands_of_use(eligible: str, overage: str, band: str) -> None:
    group = {"eligible_points": Decimal(eligible), "threshold_points": Decimal("100.00")}
    assert band_of({**group, "overage_points": Decimal(overage)}) == band


# ---------------------------------------------------------------- a page that needs nothing but itself


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_names_nothing_outside_itself(demo: Month, report: Reporter, language: str) -> None:
    html = report(demo, language).read_text(encoding="utf-8")
    assert "://" not in html
    assert not re.search(r"@import|url\(|\bsrc=|<script|<iframe|<object|<embed", html, re.IGNORECASE)
    links = [value for _, given in Page(html).tags for name, value in given.items() if name.endswith("href")]
    assert links
    assert all(link.startswith(("#", "data:,")) for link in links if link)
    assert "default-src 'none'" in html


def test_names_of_the_input_stay_text(hostile: Month, report: Reporter) -> None:
    page = page_at(report(hostile))
    assert {tag for tag, _ in page.tags} <= KNOWN_TAGS
    assert not [name for _, given in page.tags for name in given if name.startswith("on")]
    assert any(HOSTILE_NAME in text for text in page.text)
    assert any(HOSTILE_NAME in title for title in page.titles)
    assert page.rows("over_threshold")[0][1] == f"{HOSTILE_NAME} H12010100001"


@pytest.mark.parametrize("month", ["demo", "hostile"])
def test_every_drawing_has_a_title_and_a_description(
    month: str, report: Reporter, request: pytest.FixtureRequest
) -> None:
    page = page_at(report(request.getfixturevalue(month)))
    drawings = [given for tag, given in page.tags if tag == "svg"]
    ids = [given["id"] for _, given in page.tags if given.get("id")]
    assert len(drawings) >= 4
    assert all(given["role"] == "img" and given["aria-labelledby"] for given in drawings)
    assert {one for given in drawings for one in str(given["aria-labelledby"]).split()} <= set(ids)
    assert len(ids) == len(set(ids))
    assert len(page.descriptions) == len(drawings)
    assert all([*page.titles, *page.descriptions])


# ---------------------------------------------------------------- languages


def test_every_text_is_there_in_both_languages_with_the_same_figures() -> None:
    def figures(text: str) -> set[str]:
        return {name for _, name, _, _ in Formatter().parse(text) if name}

    for key, (english, chinese) in TEXTS.items():
        assert english.strip(), key
        assert chinese.strip(), key
        assert figures(english) == figures(chinese), key
        assert re.search(r"[一-鿿]", chinese), key


@pytest.mark.parametrize(("language", "lang"), [("en", "en"), ("zh", "zh-Hans")])
def test_terms_are_in_both_languages_running_text_in_one(
    demo: Month, report: Reporter, language: str, lang: str
) -> None:
    page = page_at(report(demo, language))
    shown = " ".join(page.text)
    assert ("html", {"lang": lang}) in page.tags
    assert "Threshold use" in shown
    assert "阈值使用率" in shown
    note = TEXTS["threshold_use_note"]
    assert (note[0] in shown) == (language == "en")
    assert (note[1] in shown) == (language == "zh")


def test_both_languages_show_the_same_figures(demo: Month, report: Reporter) -> None:
    english, chinese = (
        [given["value"] for tag, given in page_at(report(demo, language)).tags if tag == "data"]
        for language in ("en", "zh")
    )
    assert english == chinese


@pytest.mark.parametrize(
    ("asked", "environment", "language"),
    [
        ("zh", {"LANG": "en_GB.UTF-8"}, "zh"),
        (None, {"LANG": "zh_CN.UTF-8"}, "zh"),
        (None, {"LC_ALL": "en_GB.UTF-8", "LANG": "zh_CN.UTF-8"}, "en"),
        (None, {}, "en"),
    ],
)
def test_the_language_is_the_one_asked_for_else_that_of_the_locale(
    asked: str | None, environment: dict[str, str], language: str
) -> None:
    assert words_in(asked, environment).language == language


def test_another_language_is_refused() -> None:
    with pytest.raises(Refusal, match="en or zh"):
        words_in("fr", {})


# ---------------------------------------------------------------- months of other kinds


def test_a_draft_is_marked_and_a_policy_in_force_is_not(demo: Month, plain: Month, report: Reporter) -> None:
    classes = [[given.get("class") for _, given in page_at(report(month)).tags] for month in (demo, plain)]
    assert [("draft" in each, "watermark" in each) for each in classes] == [(True, True), (False, False)]
    assert "征求意见稿" in report(demo).read_text(encoding="utf-8")
    assert "征求意见稿" not in report(plain).read_text(encoding="utf-8")


def test_a_month_without_thresholds_and_money_says_so(plain: Month, report: Reporter) -> None:
    page = page_at(report(plain))
    shown = " ".join(page.text)
    for key in (
        "no_threshold",
        "no_overage",
        "nothing_unpaid",
        "nothing_rejected",
        "no_money_note",
        "no_findings",
    ):
        assert TEXTS[key][0] in shown, key
    assert "payable_amount" not in page.tiles  # a dash, no figure: the month has no money
    assert page.tiles["payable_points"] == "10.0000"


def test_a_month_without_any_settled_line_says_so(empty: Month, report: Reporter) -> None:
    page = page_at(report(empty))
    assert page.tiles["lines_settled"] == "0"
    assert page.tiles["submitted_points"] == "0.0000"
    assert TEXTS["nothing_settled"][0] in page.text


# ---------------------------------------------------------------- files


def write(settled: Month, out: Path, month: date = MARCH) -> list[Path]:
    return write_report(settled.ledger, month, out, Words("en"), lambda _: None)


def test_the_same_run_gives_the_same_files(plain: Month, tmp_path: Path) -> None:
    first, second = ([path.read_bytes() for path in write(plain, tmp_path / name)] for name in ("a", "b"))
    assert first == second


def test_files_are_named_after_the_month_and_kept_from_others(plain: Month, tmp_path: Path) -> None:
    written = write(plain, tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["settlement-2026-03.html", "settlement-2026-03.xlsx"]
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [p.name for p in written]
    assert {path.stat().st_mode & 0o777 for path in written} == {0o640}


def test_an_earlier_report_is_written_over_and_other_months_stay(plain: Month, tmp_path: Path) -> None:
    (tmp_path / "settlement-2026-02.html").write_text("February")
    (tmp_path / "settlement-2026-03.html").write_text("an earlier run")
    write(plain, tmp_path)
    assert (tmp_path / "settlement-2026-02.html").read_text() == "February"
    assert "2026-03.1" in (tmp_path / "settlement-2026-03.html").read_text(encoding="utf-8")


def test_a_folder_with_other_files_is_refused(plain: Month, tmp_path: Path) -> None:
    (tmp_path / "budget.xlsx").write_text("mine")
    with pytest.raises(Refusal, match=r"budget\.xlsx"):
        write(plain, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["budget.xlsx"]
    with pytest.raises(Refusal, match="a file"):
        write(plain, tmp_path / "budget.xlsx")


def test_a_month_without_a_run_is_refused(plain: Month, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="2026-03") as refusal:
        write(plain, tmp_path / "out", month=date(2026, 4, 1))
    assert refusal.value.found == "no run of 2026-04"
    assert not (tmp_path / "out").exists()


def test_without_the_extra_it_says_what_to_install(
    plain: Month, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "find_spec", lambda name: None if name == "altair" else object())
    with pytest.raises(Refusal, match="altair") as refusal:
        write(plain, tmp_path / "out")
    assert refusal.value.remedy == "pip install 'settlement[report]'"
    assert not (tmp_path / "out").exists()


def test_a_failure_while_writing_leaves_the_old_file(
    plain: Month, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path))

    (tmp_path / "settlement-2026-03.xlsx").write_text("an earlier run")
    monkeypatch.setattr("settlement.report.workbook.write_workbook", full)
    with pytest.raises(Refusal, match="no space left"):
        write(plain, tmp_path)
    assert (tmp_path / "settlement-2026-03.xlsx").read_text() == "an earlier run"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(("language", "words"), [("en", "Nothing is transferred"), ("zh", "不据此拨付")])
def test_a_restated_month_says_that_its_statements_transfer_nothing(
    tmp_path: Path, language: str, words: str
) -> None:
    """11: its net payable is what should have come; read as an order to pay, the month would be paid twice."""
    books = Books(tmp_path)
    for month in ("2026-03", "2026-04"):
        books.run(month, hospital="100")
        books.close(month)
    books.restate("2026-03", hospital="140")
    told = {}
    for month in (MARCH, date(2026, 4, 1)):
        page, workbook = write_report(books.ledger, month, tmp_path / "out", Words(language), lambda _: None)
        about = openpyxl.load_workbook(workbook)["about"]
        cells = " ".join(str(cell.value) for row in about.iter_rows() for cell in row)
        told[month.month] = [
            words in text and "2026-03.1" in text for text in ("".join(page_at(page).text), cells)
        ]
        sheet = openpyxl.load_workbook(workbook)["statements"]
        told[month.month].append("更正 restates 2026-03.1" in str(sheet["A1"].value))
    assert told == {3: [True, True, True], 4: [False, False, False]}
