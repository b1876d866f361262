"""A year in one script: twelve generated months are settled, closed and cleared; then thresholds are recalculated.

    python docs/twelve_months.py FOLDER [LINES] [INSTITUTIONS]

FOLDER must be new. Each month is a batch of about LINES lines (3000) of the same INSTITUTIONS (20), with budgets for
two classes, point values for the others and a penalty now and then; December brings the assessments. The commands are
those of the shell: `settlement run`, `close`, `clear`, `thresholds recalculate`; the amounts are made up.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from contextlib import redirect_stdout
from datetime import date, timedelta
from pathlib import Path

from settlement.cli import app

YEAR = 2026
MONTHS = [f"{YEAR}-{number:02}" for number in range(1, 13)]
BUDGETS = {"drug_consumable": "400000.00", "service": "300000.00"}
POINT_VALUES = {"tcm_decoction": "1.05", "inpatient": "0.98"}
REGISTRY = ("institutions.csv", "agreements.csv", "events.csv")


def settlement(*words: str | Path) -> str:
    """One command; gives what it prints. A refusal stops the script."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        app([str(word) for word in words], standalone_mode=False)
    return printed.getvalue()


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def followed_by_ordinary(agreements: list[dict[str, str]]) -> list[dict[str, str]]:
    """Whose last agreement ends before the next year is out signs an ordinary one on the day after (T 3(7))."""
    last: dict[str, dict[str, str]] = {}
    for row in agreements:
        last[row["institution_id"]] = max(
            last.get(row["institution_id"], row), row, key=lambda one: one["end_date"]
        )
    end = date(YEAR + 1, 12, 31)
    following = [
        {
            **row,
            "agreement_id": f"{row['agreement_id']}-next",
            "start_date": f"{date.fromisoformat(row['end_date']) + timedelta(1)}",
            "end_date": f"{end}",
            "designation": "ordinary",
            "insurance_types": "",
        }
        for row in last.values()
        if date.fromisoformat(row["end_date"]) < end
    ]
    return [*agreements, *following]


def add_money(batch: Path, month: str, institutions: list[str]) -> None:
    """Budgets, point values, a penalty in every third month, and in December the assessments."""
    key = {"month": month, "zone": "*"}
    write(batch / "budgets.csv", [{**key, "point_class": of, "budget": sum_} for of, sum_ in BUDGETS.items()])
    values = [{**key, "point_class": of, "point_value": value} for of, value in POINT_VALUES.items()]
    write(batch / "point_values.csv", values)
    number = int(month[-2:])
    if number % 3 == 0:
        fined = institutions[number % len(institutions)]
        penalty = {"institution_id": fined, "month": month, "kind": "penalty", "amount": "60000.00"}
        write(batch / "deductions.csv", [penalty])
    if number == 12:
        scores = [
            {"institution_id": one, "year": f"{YEAR}", "score": f"{70 + place * 7 % 30}"}
            for place, one in enumerate(institutions)
        ]
        write(batch / "assessments.csv", scores)


def generated(folder: Path, month: str, lines: str, institutions: str) -> Path:
    """A batch of the month; the registry of the first one holds for all."""
    batch, first, number = folder / month, folder / MONTHS[0], int(month[-2:])
    settlement(
        *("generate", "--month", month, "--lines", f"{int(lines) + 10 * number}"),
        *("--institutions", institutions, "--seed", "1", "--capped", f"0.{1 + number % 3}", "--out", batch),
    )
    if batch == first:
        agreements = followed_by_ordinary(read(batch / "agreements.csv"))
        write(batch / "agreements.csv", agreements)
    else:
        for name in REGISTRY:
            shutil.copyfile(first / name, batch / name)
    rows = read(batch / "institutions.csv")
    add_money(batch, month, [row["institution_id"] for row in rows if not row["settles_under"]])
    return batch


def settled(folder: Path, month: str, policy: str | Path, *size: str) -> dict[str, object]:
    """Generates and settles a month; gives the object of `run --json`."""
    batch, ledger = generated(folder, month, *size), folder / "ledger"
    run = settlement("run", batch, "--month", month, "--policy", policy, "--ledger", ledger, "--json")
    report: dict[str, object] = json.loads(run)
    return report


def main(folder: Path, lines: str = "3000", institutions: str = "20") -> None:
    folder.mkdir(parents=True)
    ledger, joined = ("--ledger", folder / "ledger"), folder / "tianjin-recalculated.toml"
    for month in MONTHS:
        report = settled(folder, month, "tianjin", lines, institutions)
        settlement("close", month, *ledger)
        print(
            f"{month}: {report['lines_settled']} lines settled, {report['lines_rejected']} rejected; "
            f"{report['payable_points']} of {report['submitted_points']} points, {report['payable_amount']} yuan"
        )
    print(settlement("clear", "--year", f"{YEAR}", *ledger))
    print(settlement("thresholds", "recalculate", "--year", f"{YEAR}", *ledger, "--policy-out", joined))
    report = settled(folder, f"{YEAR + 1}-01", joined, lines, institutions)
    print(f"{YEAR + 1}-01 under the recalculated thresholds: {report['payable_amount']} yuan")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), *sys.argv[2:])
