"""How wrong is a forecast? Generated months, cut at a day, against what the month came to.

    python -m benchmarks.forecast_error [--lines 200000] [--institutions 200] [--seeds 3] [--days 10 15 20]

Prints a table for docs/forecast.md. Every figure is counted in whole numbers.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from settlement import load_policy
from settlement.forecast import forecast
from settlement.synthesis import generate

MONTH = date(2026, 3, 1)
KEY = ("institution_id", "regime", "point_class")
Row = dict[str, Any]


def groups(folder: Path, day: int) -> dict[tuple[str, ...], Row]:
    """Every group with a threshold, as forecast on the day."""
    found = forecast(folder, MONTH, MONTH.replace(day=day), load_policy("tianjin")).groups
    return {tuple(row[name] for name in KEY): row for row in found.to_dicts()}


def compared(folder: Path, days: Sequence[int]) -> dict[int, list[tuple[Row, Row]]]:
    """Forecast and truth of each group that was not over on the day."""
    truth = groups(folder, 31)
    return {
        day: [(row, truth[key]) for key, row in groups(folder, day).items() if row["status"] != "over"]
        for day in days
    }


def error(pair: tuple[Row, Row]) -> int:
    """Of the points at the month's end, in thousandths of the truth, without sign."""
    ahead, truth = (
        int(row[name] * 10_000) for row, name in zip(pair, ("expected_points", "points_so_far"), strict=True)
    )
    return abs(ahead - truth) * 1000 // max(truth, 1)


def line(day: int, pairs: Sequence[tuple[Row, Row]]) -> str:
    errors = sorted(map(error, pairs))
    ranged = [pair for pair in pairs if pair[0]["high_points"] is not None]
    inside = [
        ahead["low_points"] <= truth["points_so_far"] <= ahead["high_points"] for ahead, truth in ranged
    ]
    crossings = sorted(
        abs((ahead["crossing_day"] - truth["crossing_day"]).days)
        for ahead, truth in pairs
        if ahead["crossing_day"] and truth["crossing_day"]
    )
    cells = [
        str(day),
        str(len(pairs)),
        thousandths(errors[len(errors) // 2]),
        thousandths(errors[len(errors) * 9 // 10]),
        share(inside),
        *(
            share([truth["status"] == "over" for truth in having(pairs, status)])
            for status in ("will_pass", "may_pass", "stays_under")
        ),
        f"{crossings[len(crossings) // 2]} / {crossings[len(crossings) * 9 // 10]}" if crossings else "–",
    ]
    return "| " + " | ".join(cells) + " |"


def having(pairs: Sequence[tuple[Row, Row]], status: str) -> list[Row]:
    return [truth for ahead, truth in pairs if ahead["status"] == status]


def thousandths(number: int) -> str:
    return f"{number // 10}.{number % 10} %"


def share(answers: Sequence[bool]) -> str:
    return f"{sum(answers)} of {len(answers)}"


HEAD = (
    "day",
    "groups not yet over",
    "error, median",
    "error, 9 of 10 below",
    "truth within the range",
    "passed of *will pass*",
    "passed of *may pass*",
    "passed of *stays under*",
    "days off, of the crossing: median / 9 of 10",
)


def main(print_line: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--institutions", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--days", type=int, nargs="+", default=[10, 15, 20])
    asked = parser.parse_args()
    pairs: dict[int, list[tuple[Row, Row]]] = {day: [] for day in asked.days}
    for seed in range(1, asked.seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            batch = Path(folder) / "batch"
            generate(batch, "2026-03", asked.lines, asked.institutions, seed, "parquet", "0.5")
            for day, more in compared(batch, asked.days).items():
                pairs[day] += more
    print_line("| " + " | ".join(HEAD) + " |")
    print_line("|" + "---:|" * len(HEAD))
    for day in asked.days:
        print_line(line(day, pairs[day]))


if __name__ == "__main__":
    main()
