"""The reference itself: it agrees with every worked case, and it settles random batches without losing a line."""

import json
from collections import Counter
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from random_batches import write_random_batch
from reference import Refused, settle

CASES = Path(__file__).parents[2] / "shared" / "cases"
CASE_FOLDERS = sorted(path.parent for path in CASES.rglob("case.json")) if CASES.is_dir() else []
RANDOM_BATCHES = 200

# Columns that hold no number, though they may look like one.
TEXTS = {
    "institution_id", "regime", "point_class", "zone", "payment_class", "submitted_by", "claim_id", "line_id",
    "reason", "source", "rule", "finding",
}  # fmt: skip

# Every reason, rejection rule, regime and finding.
WORDS = [
    "over_threshold",
    "no_agreement",
    "terminated",
    "suspended",
    "department_suspended",
    "physician_suspended",
    "insurance_type_not_covered",
    "service_category_not_covered",
    "disease_not_covered",
    "undecodable",
    "ragged_row",
    "missing_value",
    "bad_number",
    "bad_datetime",
    "bad_code",
    "too_many_decimals",
    "out_of_range",
    "serviced_after_settled",
    "outside_month",
    "unknown_institution",
    "unknown_charge_category",
    "unknown_visit_type",
    "void_line",
    "reversal_without_reference",
    "conflicting_duplicate",
    "duplicate_line",
    "coaching",
    "ordinary",
    "emergency",
    "none",
    "two_suspensions",
    "inspection_due",
    "too_many_diseases",
    "special_in_first_year",
    "billed_while_suspended",
    "renewal_barred",
]


def comparable(column: str, value: object) -> object:
    """A cell as cases/README.md compares it: numbers by value, `settled_at` as a moment, texts as they are."""
    if value is None or column in TEXTS:
        return value
    if column == "settled_at":
        return value if isinstance(value, datetime) else datetime.fromisoformat(value)
    assert not isinstance(value, float), f"{column} is a binary float"
    return Decimal(value)


def as_multiset(rows: list[dict], columns: list[str]) -> Counter:
    """Rows in no order, with the compared columns only."""
    return Counter(tuple((column, comparable(column, row[column])) for column in columns) for row in rows)


def case_name(folder: Path) -> str:
    return folder.relative_to(CASES).as_posix()


@pytest.mark.skipif(not CASE_FOLDERS, reason=f"no worked cases in {CASES}")
@pytest.mark.parametrize("folder", CASE_FOLDERS, ids=case_name)
def test_agrees_with_the_worked_case(folder: Path) -> None:
    case = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"), parse_float=Decimal)
    if case["expect"] == "refuse":
        with pytest.raises(Refused):
            settle(folder / "batch", case["month"], folder / "policy.toml")
        return
    result = settle(folder / "batch", case["month"], folder / "policy.toml")
    for table, rows in expected.items():
        if table == "runs":
            for column, value in rows.items():
                assert result["runs"][column] == comparable(column, value), column
        elif table == "findings":
            found = {(row["institution_id"], row["finding"]) for row in result[table]}
            assert found == {(row["institution_id"], row["finding"]) for row in rows}
        else:
            columns = list(rows[0]) if rows else []
            assert len(result[table]) == len(rows), table
            assert as_multiset(result[table], columns) == as_multiset(rows, columns), table


@pytest.mark.skipif(not CASE_FOLDERS, reason=f"no worked cases in {CASES}")
@pytest.mark.parametrize(
    ("folder", "named"),
    [
        ("01-agreements-overlap", ["A01", "A03", "overlap"]),
        ("02-no-threshold-row", ["H12010100002", "other_secondary", "urban"]),
        ("03-no-zone", ["H12010100002", "310101"]),
        ("04-deposit-above-5-percent", ["0.0501", "0.05"]),
        ("05-value-and-budget", ["point_values", "budgets", "service"]),
        ("06-no-point-value", ["drug_consumable", "urban"]),
        ("07-deductions-without-money", ["deductions"]),
        ("08-settles-under-chain", ["settles_under", "chained"]),
        ("09-relief-for-a-station", ["H12010100002", "settling"]),
        ("10-coaching-over-12-months", ["2027-01-04"]),
        ("11-three-bad-rows", ["row 1", "H99999999999", "row 2", "2026-02-29", "row 3", "target_id"]),
        ("12-month-outside-policy", ["2026-03-02"]),
        ("13-policy-without-phrase", ["thresholds.phrase"]),
        ("14-priority-not-in-effect", ["priority", "2026-03-01"]),
        ("15-column-under-two-names", ["claim_id", "setl_id"]),
        ("16-no-points-no-factor", ["points_per_yuan", "drug_consumable"]),
    ],
)
def test_refusal_names_what_is_wrong(folder: str, named: list[str]) -> None:
    path = CASES / "16-refusals" / folder
    month = json.loads((path / "case.json").read_text(encoding="utf-8"))["month"]
    with pytest.raises(Refused) as refusal:
        settle(path / "batch", month, path / "policy.toml")
    for word in named:
        assert word in str(refusal.value)


def total(rows: list[dict], column: str) -> Decimal:
    return sum((row[column] for row in rows), Decimal(0))


def assert_nothing_is_lost(result: dict) -> None:
    """Lines and points in = settled + rejected; submitted = payable + unpaid; group sums = line sums."""
    runs, groups, unpaid = result["runs"], result["settlements"], result["unpaid_lines"]
    assert runs["lines_in"] == runs["lines_settled"] + runs["lines_rejected"]
    assert runs["lines_rejected"] == len(result["rejected_lines"])
    assert runs["lines_settled"] == total(groups, "line_count")
    assert runs["points_in"] == runs["points_settled"] + runs["points_rejected"]
    assert runs["points_settled"] == total(groups, "submitted_points")
    for line in unpaid:
        assert line["points"] == line["payable_points"] + line["unpaid_points"]
        assert line["unpaid_points"] != 0
        assert line["reason"] == "over_threshold" or line["payable_points"] == 0
    for group in groups:
        assert group["submitted_points"] == group["ineligible_points"] + group["eligible_points"]
        assert group["submitted_points"] == group["payable_points"] + group["unpaid_points"]
        key = ("institution_id", "regime", "point_class")
        mine = [line for line in unpaid if all(line[column] == group[column] for column in key)]
        refused = [line for line in mine if line["reason"] != "over_threshold"]
        assert group["unpaid_points"] == total(mine, "unpaid_points")
        assert group["ineligible_points"] == total(refused, "points")
        days = [day for day in result["daily_points"] if all(day[column] == group[column] for column in key)]
        assert bool(days) == (group["threshold_points"] is not None)
        if days:
            for column in ("line_count", "submitted_points", "eligible_points"):
                assert group[column] == total(days, column)
    for row in result["statements"]:
        mine = [group for group in groups if group["institution_id"] == row["institution_id"]]
        deducted = sum(
            row[kind] for kind in ("deposit_withheld", "disallowed", "penalty", "recovery", "prepayment")
        )
        assert row["payable_amount"] == total(mine, "payable_amount")
        assert row["payable_amount"] - deducted == row["net_payable"] + row["carried_forward"]
    for row in result["budgets"]:
        assert row["pool_points"] * row["point_value"] <= row["budget"]


def test_random_batches_settle_and_lose_nothing(tmp_path: Path) -> None:
    refusals: dict[int, str] = {}
    seen: Counter = Counter()
    for seed in range(RANDOM_BATCHES):
        written = write_random_batch(tmp_path / str(seed), seed)
        try:
            result = settle(written["batch"], written["month"], written["policy"])
        except Refused as refusal:
            refusals[seed] = str(refusal)
            continue
        assert_nothing_is_lost(result)
        seen.update(line["reason"] for line in result["unpaid_lines"])
        seen.update(line["rule"] for line in result["rejected_lines"])
        seen.update(group["regime"] for group in result["settlements"])
        seen.update(row["finding"] for row in result["findings"])
    assert len(refusals) <= RANDOM_BATCHES // 10, refusals
    # The batches are worth their time: every reason, rule, regime and finding comes up.
    assert [word for word in WORDS if not seen[word]] == []


def test_random_batch_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for seed in range(20):
        first = write_random_batch(tmp_path / "first" / str(seed), seed)
        second = write_random_batch(tmp_path / "second" / str(seed), seed)
        for one in sorted(path for path in (tmp_path / "first" / str(seed)).rglob("*") if path.is_file()):
            other = tmp_path / "second" / str(seed) / one.relative_to(tmp_path / "first" / str(seed))
            assert one.read_bytes() == other.read_bytes()
        assert settle(**arguments(first)) == settle(**arguments(second))


def arguments(written: dict) -> dict:
    return {
        "batch_dir": written["batch"],
        "month": written["month"],
        "policy_path": written["policy"],
        "readings": {"attribution": "chronological"},
    }


def test_row_order_changes_nothing(tmp_path: Path) -> None:
    """Rule 7: row order of the input changes nothing; here the data rows of claims.csv are turned round."""
    tried = 0
    for seed in range(60):
        written = write_random_batch(tmp_path / str(seed), seed, bad_lines=0.0)
        path = written["batch"] / "claims.csv"
        if not path.exists() or b'"' in path.read_bytes():
            continue
        try:
            before = settle(written["batch"], written["month"], written["policy"])
        except Refused:
            continue
        header, *rows = path.read_bytes().rstrip(b"\r\n").split(b"\n")
        path.write_bytes(b"\n".join([header, *reversed(rows)]) + b"\n")
        after = settle(written["batch"], written["month"], written["policy"])
        for table in (
            "runs",
            "settlements",
            "unpaid_lines",
            "daily_points",
            "budgets",
            "statements",
            "findings",
        ):
            assert before[table] == after[table]
        tried += 1
    assert tried >= 5
