"""Who will pass a threshold by the month's end (commands; T 3(4) reminders): held against how months went on."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from settlement import cli, load_policy, read_batch, settle
from settlement.errors import Refusal
from settlement.forecast import Forecast, Pattern, forecast, kinds, prospect
from settlement.synthesis import generate
from test_batch import AGREEMENT, INSTITUTION, LINE, csv_text, write_batch

TIANJIN = load_policy("tianjin")
FIRST = date(2026, 3, 1)  # a Sunday; March 2026 has no holiday and no make-up day
MARCH = [FIRST + timedelta(days=passed) for passed in range(31)]
POINT = 10_000

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # see test_cli, temporary copies


def day(number: int) -> date:
    return FIRST.replace(day=number)


def same_each_day(points: int, until: int) -> dict[date, int]:
    return dict.fromkeys(MARCH[:until], points * POINT)


# ---------------------------------------------------------------- one group


def test_days_that_are_all_alike_go_on_alike() -> None:
    found = prospect(300 * POINT, same_each_day(10, 10), MARCH, day(10))
    assert (found.so_far, found.expected, found.low, found.high) == (
        100 * POINT, 310 * POINT, 310 * POINT, 310 * POINT,
    )  # fmt: skip
    assert (found.status, found.crossing_day, found.earliest, found.latest) == (
        "will_pass", day(31), day(31), day(31),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("beyond", "status", "crossing"),
    [(-1, "will_pass", day(31)), (0, "stays_under", None), (1, "stays_under", None)],
)
def test_who_just_reaches_the_threshold_does_not_pass_it(
    beyond: int, status: str, crossing: date | None
) -> None:
    """T 3(3): beyond the threshold begins above it."""
    found = prospect(310 * POINT + beyond, same_each_day(10, 10), MARCH, day(10))
    assert (found.status, found.crossing_day) == (status, crossing)


def test_who_is_over_is_told_since_when() -> None:
    settled = {day(2): 40 * POINT, day(5): 60 * POINT, day(9): 1}
    found = prospect(100 * POINT, settled, MARCH, day(15))
    assert (found.status, found.crossing_day) == ("over", day(9))
    assert prospect(100 * POINT + 1, settled, MARCH, day(15)).status != "over"


def test_a_weekday_is_like_the_same_weekday_so_far() -> None:
    """Closed on Sundays, busy on Mondays: the eleventh comes to what Wednesdays come to."""
    busy = {0: 90, 1: 20, 2: 30, 3: 40, 4: 50, 5: 10, 6: 0}
    settled = {each: busy[each.weekday()] * POINT for each in MARCH[:14]}
    found = prospect(10**9, settled, MARCH, day(14))
    assert found.expected == sum(busy[each.weekday()] for each in MARCH) * POINT


def test_a_mean_is_rounded_once() -> None:
    """Three Mondays with 1, 0 and 0: two more are expected to bring 2/3 of 10⁻⁴ point, half-up 1."""
    mondays = [each for each in MARCH if each.weekday() == 0]
    found = prospect(10**9, {mondays[0]: 1}, mondays, day(16))
    assert found.expected == 2


def test_a_day_without_lines_counts_as_a_day_without_points() -> None:
    found = prospect(10**9, {day(1): 70 * POINT}, MARCH, day(7))
    assert (found.days_seen, found.expected) == (7, (70 + 4 * 70) * POINT)  # four more Sundays


def test_days_on_which_nothing_can_be_earned_bring_nothing_and_show_nothing() -> None:
    """An agreement from the eleventh to the twentieth: ten days, five of them seen."""
    in_force = MARCH[10:20]
    found = prospect(10**9, dict.fromkeys(MARCH[10:15], 10 * POINT), in_force, day(15))
    assert (found.days_seen, found.expected) == (5, 100 * POINT)


def test_too_few_days_give_no_range() -> None:
    found = prospect(10**9, same_each_day(10, 4), MARCH, day(4))
    assert (found.days_seen, found.high, found.status) == (4, None, "may_pass")
    assert prospect(10**9, same_each_day(10, 6), MARCH, day(6)).high is not None


def test_the_range_grows_with_the_spread_of_the_own_days() -> None:
    """Days of 0 and 20 by turns and days of 9 and 11 by turns come to the same in all but the range."""
    wild, calm = (
        prospect(
            10**9, {each: (low if each.day % 2 else high) * POINT for each in MARCH[:14]}, MARCH, day(14)
        )
        for low, high in ((0, 20), (9, 11))
    )
    assert wild.so_far == calm.so_far
    assert wild.high is not None
    assert calm.high is not None
    assert wild.high - wild.expected > 5 * (calm.high - calm.expected) > 0
    assert wild.low < calm.low < calm.expected


def test_the_range_is_what_the_documentation_says() -> None:
    """Ten working days of 8 and 12 by turns, one like them to come: s² = 10 × 2² ÷ (10 − 1 − 2), × (1 + 1/2)."""
    working = [each for each in MARCH if each.weekday() < 5]
    settled = {each: (8 if place % 2 else 12) for place, each in enumerate(working[:10])}
    found = prospect(10**9, settled, working[:11], working[9])
    assert found.so_far == 100
    assert found.expected == 110
    assert found.low == 110 - 6  # 2 × √(40/7 × 3/2) = 5.86
    assert found.high == 110 + 9  # 3 × √(40/7 × 3/2) = 8.78


def test_nothing_is_expected_after_the_last_day() -> None:
    found = prospect(10**9, same_each_day(10, 31), MARCH, day(31))
    assert found.so_far == found.expected == found.low == found.high == 310 * POINT


def test_a_holiday_is_like_a_sunday_and_a_make_up_day_like_a_working_day() -> None:
    holiday, make_up = date(2026, 10, 1), date(2026, 10, 10)  # a Thursday, a Saturday
    assert kinds(holiday)[:2] == (6, "off")
    assert kinds(make_up) == ("working", "any day")
    before = {date(2026, 9, 1) + timedelta(days=passed): 0 for passed in range(28)}
    days = {each: 70 if each.weekday() == 3 else 10 if each.weekday() < 5 else 1 for each in before}
    pattern = Pattern(days)
    assert pattern.nearest(holiday) == 6
    assert pattern.nearest(make_up) == "working"


def test_without_an_official_calendar_weekends_are_off() -> None:
    assert kinds(date(2099, 5, 1)) == (4, "working", "any day")
    assert kinds(date(2099, 5, 2)) == (5, "off", "any day")


# ---------------------------------------------------------------- a batch


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated March, half of the new institutions over a threshold."""
    return generate(
        tmp_path_factory.mktemp("ahead") / "batch", "2026-03", 60_000, 60, 5, "parquet", "0.5"
    ).folder


def as_of(folder: Path, number: int) -> Forecast:
    return forecast(folder, FIRST, day(number), TIANJIN)


def test_on_the_last_day_the_forecast_is_what_the_run_finds(month: Path) -> None:
    found = as_of(month, 31).groups
    settled = settle(read_batch(month, FIRST, TIANJIN), TIANJIN).settlements
    capped = settled.filter(pl.col("threshold_points").is_not_null())
    key = ["institution_id", "regime", "point_class"]
    names = {"points_so_far": "eligible_points", "threshold_points": "threshold_points"}
    mine = found.select(
        *key, is_over=pl.col("status") == "over", **{new: pl.col(old) for old, new in names.items()}
    )
    theirs = capped.select(
        *key, is_over=pl.col("overage_points") > 0, **{each: pl.col(each) for each in names.values()}
    )
    assert mine.sort(key).cast(theirs.schema).equals(theirs.sort(key))
    assert set(found["status"]) == {"over", "stays_under"}


def test_lines_settled_later_are_not_looked_at(month: Path, tmp_path: Path) -> None:
    """The same forecast from a batch that holds the lines up to the day and no more."""
    shutil.copytree(month, tmp_path / "cut")
    for path in (tmp_path / "cut" / "claims").iterdir():
        lines = pl.read_parquet(path)
        settled_at = "settled_at" if "settled_at" in lines.columns else "setl_time"
        lines.filter(pl.col(settled_at).dt.date() <= day(12)).write_parquet(path)
    whole, cut = as_of(month, 12), as_of(tmp_path / "cut", 12)
    assert whole.groups.equals(cut.groups)
    assert whole.lines_used == cut.lines_used
    assert whole.lines_in > cut.lines_in


def test_a_suspension_after_the_day_is_not_known_yet(tmp_path: Path) -> None:
    line = {**LINE, "serviced_at": "2026-03-02 09:00:00", "settled_at": "2026-03-02 10:00:00"}
    event = {"event_id": "E1", "institution_id": INSTITUTION["institution_id"], "kind": "suspended"}
    found = []
    for name, occurred_on in (("later", "2026-03-20"), ("before", "2026-03-05"), ("none", "2026-04-20")):
        events = csv_text([{**event, "occurred_on": occurred_on, "target_id": "", "note": ""}])
        batch = write_batch(
            tmp_path / name,
            claims=csv_text([line]),
            agreements=csv_text(
                [
                    {
                        **AGREEMENT,
                        "designation": "coaching",
                        "start_date": "2026-01-01",
                        "end_date": "2026-12-31",
                    }
                ]
            ),
            events=events,
        )
        found.append(as_of(batch, 10).groups)
    later, before, none = found
    assert later.equals(none)
    assert before["days_seen"].to_list() == [4]
    assert none["days_seen"].to_list() == [10]


@pytest.mark.parametrize("number", [10, 15, 20])
def test_a_generated_month_went_on_as_forecast(month: Path, number: int) -> None:
    """Back-casting: eight of ten month ends lie in the range, and so do those said to be sure."""
    key = ["institution_id", "regime", "point_class"]
    truth = as_of(month, 31).groups.select(*key, truth="points_so_far", end="status")
    ahead = as_of(month, number).groups.filter(pl.col("status") != "over")
    both = ahead.join(truth, on=key, how="left", validate="1:1")
    inside = both.filter(pl.col("truth").is_between("low_points", "high_points"))
    assert both.height > 30
    assert inside.height * 10 >= both.height * 8
    sure = both.filter(pl.col("status").is_in(["will_pass", "stays_under"]))
    as_told = sure.filter((pl.col("status") == "will_pass") == (pl.col("end") == "over"))
    assert sure.height > 0
    assert as_told.height * 10 >= sure.height * 8


def test_a_day_outside_the_month_is_refused(month: Path) -> None:
    with pytest.raises(Refusal, match="2026-04-01"):
        forecast(month, FIRST, date(2026, 4, 1), TIANJIN)


def test_the_object_is_made_of_texts_and_whole_numbers(month: Path) -> None:
    found = as_of(month, 15).as_json()
    assert sum(found["counts"].values()) == len(found["groups"])
    first = found["groups"][0]
    assert {type(first[name]) for name in ("threshold_points", "points_so_far", "expected_points")} == {str}
    assert list(found["counts"]) == ["over", "will_pass", "may_pass", "stays_under"]


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--json",), 0), (("--reading", "x"), 2)])
def test_the_command(
    month: Path,
    options: tuple[str, ...],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["forecast", str(month), "--month", "2026-03", "--as-of", "2026-03-15", *options]
    monkeypatch.setattr(sys, "argv", ["settlement", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    out = capsys.readouterr().out
    assert int(left.value.code or 0) == code
    if options == ("--json",):
        assert (json.loads(out)["as_of"], json.loads(out)["policy_status"]) == ("2026-03-15", "draft")
    elif not options:
        assert "DRAFT 征求意见稿" in out
        assert "may_pass" in out
