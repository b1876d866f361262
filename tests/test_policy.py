"""Policy files: what they answer, and how each broken rule of the format is refused."""

from __future__ import annotations

import hashlib
import pickle
import re
import tomllib
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, is_dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from settlement import policy as policy_module
from settlement.errors import Refusal, Refusals
from settlement.policy import READING_VALUES, Policy, Readings, known_policies, load_policy

ROOT = Path(__file__).parents[1]
SHARED = Path(__file__).parents[2] / "shared"
SEEDS = {
    "tianjin": SHARED / "seeds" / "tianjin-notice.txt",
    "dongguan": SHARED / "seeds" / "dongguan-measures.txt",
}
CASES = sorted((SHARED / "cases").rglob("policy.toml"))
REFUSED_CASES = {"04-deposit-above-5-percent": "0.0501", "13-policy-without-phrase": "phrase"}

GOOD = """
[policy]
id = "good"
title = "A good policy"
jurisdiction = "120000"
status = "draft"
effective_from = 2025-01-01
effective_to = 2027-12-31
source = "a text"
checked_on = 2026-11-22

[zones]
binhai = ["120116"]
urban = ["120101", "120102"]

[point_classes]
drug_consumable = ["08", "09", "11"]
tcm_decoction = ["10"]
service = ["01", "02", "03", "04", "05", "06", "07", "12", "13", "14"]

[points_per_yuan]
drug_consumable = "2"
service = "0.33335"

[visit_types]
outpatient = ["11", "13", "5"]
special_outpatient = ["14"]
inpatient = ["21", "52"]
emergency = ["13", "2101"]

[coaching]
base_months = 6
extension_months = 6
max_extensions = 1
insurance_types = ["310"]
special_diseases_max = { outpatient_department = 1, other = 2 }
clause = "3"
phrase = "coaching years"

[agreements]
suspension_limit_days = 180
assumed = false
note = "not listed"

[[thresholds]]
effective_from = 2025-01-01
payment_class = "other_primary"
zone = "urban"
drug_consumable = "200.00"
service = "100.00"
clause = "3(3)"
phrase = "urban row"

[[thresholds]]
effective_from = 2026-03-02
payment_class = "other_primary"
zone = "urban"
drug_consumable = "250.50"
service = "0"
clause = "3(4)"
phrase = "urban row"

[[growth]]
year = 2027
rate = "-0.125"
source = "budget notice"
assumed = true
note = "expected"

[overage]
paid_share = "0"
tiers = [{ up_to = "1.10", paid_share = "0.5" }, { up_to = "1.25", paid_share = "0.25" }]
clause = "3(3)"
phrase = "nothing above it"

[[priority]]
effective_from = 2025-06-01
charge_categories = ["02", "06"]

[[priority]]
effective_from = 2026-03-02
charge_categories = ["03"]

[money]
deposit_rate = "0.05"
payment_working_days = 30
deposit_release = [
  { score_min = "0", share = "0" },
  { score_min = "90", share = "1", assumed = true, note = "a band" },
  { score_min = "80", share = "0.5" },
]

[readings]
tcm_decoction = "separate"

[recalculation]
statistic = "percentile"
percentile = "50"
min_months = 6

[[institution_thresholds]]
institution_id = "H12010300001"
effective_from = 2028-01-01
point_class = "service"
threshold = "31000.00"
source = "recalculation of 2027"
"""

Load = Callable[[str], Policy]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Writes a text as a policy file and loads it."""

    def write_and_load(text: str) -> Policy:
        path = tmp_path / "good.toml"
        path.write_text(text, encoding="utf-8")
        return load_policy(path)

    return write_and_load


@pytest.fixture
def good(load: Load) -> Policy:
    return load(GOOD)


def changed(old: str, new: str) -> str:
    """The good text with one place changed; the place must be there, and once."""
    assert GOOD.count(old) == 1, f"{old!r} stands {GOOD.count(old)} times in the good text"
    return GOOD.replace(old, new)


def without_tables(*headers: str) -> str:
    """The good text without some tables and their keys (without all rows, for `[[...]]`)."""
    tables = re.split(r"(?m)^(?=\[)", GOOD)
    return "".join(table for table in tables if table.partition("\n")[0] not in headers)


# ---------------------------------------------------------------- refusals

# id, the place changed, what stands there instead, words that the message must hold
REFUSED = [
    # [policy]
    ("no id", 'id = "good"', "", ["[policy] id", "missing"]),
    ("id with a slash", 'id = "good"', 'id = "a/b"', ["[policy] id", '"a/b"']),
    ("empty title", 'title = "A good policy"', 'title = ""', ["[policy] title"]),
    ("jurisdiction of 5 digits", '"120000"', '"12000"', ["[policy] jurisdiction", "6 digits"]),
    ("jurisdiction as a number", '"120000"', "120000", ["[policy] jurisdiction", "in quotes"]),
    ("unknown status", '"draft"', '"valid"', ["[policy] status", '"valid"', "in_force", "lapsed"]),
    ("no first day", "effective_from = 2025-01-01\neffective_to", "effective_to",
     ["[policy] effective_from"]),
    ("day as a text", "effective_to = 2027-12-31", 'effective_to = "2027-12-31"', ["effective_to", "quotes"]),
    ("moment for a day", "2027-12-31", "2027-12-31T00:00:00", ["[policy] effective_to", "YYYY-MM-DD"]),
    ("day that does not exist", "2027-12-31", "2027-02-29", ["not TOML", "line 8"]),
    ("last day before the first", "2027-12-31", "2024-12-31", ["effective_to", "2024-12-31", "2025-01-01"]),
    ("no source", 'source = "a text"', "", ["[policy] source", "missing"]),
    ("never checked", "checked_on = 2026-11-22", "", ["[policy] checked_on", "missing"]),
    # unknown keys
    ("unknown table", "[agreements]", "[agrements]", ["[agrements]", "did you mean agreements?", "missing"]),
    ("unknown key", "base_months", "base_month", ["[coaching] base_month:", "did you mean base_months?"]),
    ("unknown key, none near", "base_months = 6", "base_months = 6\nqqq = 1",
     ['unknown key "qqq"', "remove"]),
    ("unknown key inline", 'up_to = "1.10",', 'upto = "1.10",',
     ["[overage] tiers row 1 upto", "mean up_to?"]),
    ("unknown key in a row", '"80", share =', '"80", part =', ["deposit_release row 3 part"]),
    # forms
    ("table written as rows", "[coaching]", "[[coaching]]", ["[coaching]", "a list", "one table"]),
    ("rows written as a table", "[[growth]]", "[growth]", ["[[growth]]", "two brackets"]),
    ("text for a list", 'tcm_decoction = ["10"]', 'tcm_decoction = "10"', ["tcm_decoction", "a list"]),
    ("value for inline rows", "tiers = [{ up", "tiers = 5 # [{ up", ["[overage] tiers", "5 without quotes"]),
    ("value for an inline table", "= { outpatient_department = 1, other = 2 }", "= 2",
     ["diseases_max", "table"]),
    # numbers
    ("float", 'deposit_rate = "0.05"', "deposit_rate = 0.05",
     ["deposit_rate", "0.05 without", "as a string"]),
    ("whole number", 'service = "100.00"', "service = 100",
     ["thresholds]] row 1 service", "100 without quotes"]),
    ("float where a count stands", "base_months = 6", "base_months = 6.0", ["base_months", "6.0", "whole"]),
    ("true where a count stands", "base_months = 6", "base_months = true", ["base_months", "true", "whole"]),
    ("count in quotes", "base_months = 6", 'base_months = "6"', ["base_months", "without quotes"]),
    ("exponent", '"200.00"', '"2e2"', ["row 1 drug_consumable", '"2e2"']),
    ("not a number", '"200.00"', '"NaN"', ["row 1 drug_consumable", '"NaN"']),
    ("underscore", '"200.00"', '"2_00"', ["row 1 drug_consumable", '"2_00"']),
    ("thousands", '"200.00"', '"2,000"', ["row 1 drug_consumable", '"2,000"']),
    ("full-width digits", '"200.00"', '"２００"', ["row 1 drug_consumable", '"２００"']),
    ("blank around a number", '"200.00"', '" 200"', ["row 1 drug_consumable", '" 200"']),
    ("empty number", '"200.00"', '""', ["row 1 drug_consumable"]),
    ("10 decimals", '"0.33335"', '"0.3333333333"', ["[points_per_yuan] service", "9 decimals"]),
    # [zones]
    ("division of 5 digits", '["120116"]', '["12011"]', ["[zones] binhai", '"12011"', "6 digits"]),
    ("division in two zones", '["120116"]', '["120101"]', ["[zones]", '"120101" in 2 zones']),
    ("division twice", '["120116"]', '["120116", "120116"]', ["[zones] binhai", '"120116" twice']),
    ("zone for every zone", "binhai =", '"*" =', ["[zones]", "other than *"]),
    # [point_classes]
    ("category in no class", '["10"]', "[]", ['"10" in no point classes']),
    ("category in two classes", '["10"]', '["10", "11"]', ['"11" in 2 point classes']),
    ("category twice in a class", '["10"]', '["10", "10"]', ["[point_classes] tcm_decoction", "twice"]),
    ("unknown category", '["10"]', '["10", "15"]', ["[point_classes] tcm_decoction", '"15"']),
    ("unknown class", "tcm_decoction = [", "tcm = [", ["[point_classes] tcm:", "unknown key"]),
    # [points_per_yuan]
    ("factor of nothing", '"0.33335"', '"0"', ["[points_per_yuan] service", "above 0"]),
    ("factor of no class", 'service = "0.33335"', 'other = "1"', ["[points_per_yuan] other", "unknown key"]),
    # [visit_types]
    ("no emergency list", 'emergency = ["13", "2101"]', "", ["[visit_types] emergency", "missing"]),
    ("prefix in two categories", '["14"]', '["14", "21"]', ["[visit_types]", '"21" in 2 visit categories']),
    ("emergency without category", '["13", "2101"]', '["13", "61"]', ["[visit_types] emergency", '"61"']),
    ("emergency wider than a category", '["13", "2101"]', '["1"]', ["[visit_types] emergency", '"1"']),
    ("prefix with a blank", '["14"]', '["14 "]', ["[visit_types] special_outpatient", '"14 "']),
    # [coaching]
    ("no months", "base_months = 6", "base_months = 0", ["[coaching] base_months", "from 1"]),
    ("two extensions", "max_extensions = 1", "max_extensions = 2", ["[coaching] max_extensions", "0 to 1"]),
    ("no insurance type", '["310"]', "[]", ["[coaching] insurance_types", "an empty list"]),
    ("no limit for other types", ", other = 2", "", ["special_diseases_max other", "missing"]),
    ("a negative limit", "other = 2", "other = -1", ["special_diseases_max other", "-1"]),
    ("coaching without clause", 'clause = "3"\n', "", ["[coaching] clause", "missing"]),
    ("coaching without phrase", 'phrase = "coaching years"', "", ["[coaching] phrase", "missing"]),
    ("empty phrase", '"coaching years"', '""', ["[coaching] phrase", "1 to 24"]),
    ("phrase of 25 characters", '"coaching years"', f'"{"阈" * 25}"', ["[coaching] phrase", "25 characters"]),
    ("assumed as a text", 'note = "expected"', 'note = ""', ["[[growth]] row 1 note"]),
    ("assumed, not yes or no", "source = \"budget notice\"\nassumed = true", 'source = "b"\nassumed = "yes"',
     ["[[growth]] row 1 assumed", "true or false"]),
    # [agreements]
    ("no days", "days = 180", "days = 0", ["[agreements] suspension_limit_days", "from 1"]),
    # [[thresholds]]
    ("threshold below zero", '"200.00"', '"-0.01"', ["[[thresholds]] row 1 drug_consumable", '"-0.01"']),
    ("threshold with 3 decimals", '"200.00"', '"200.001"', ["row 1 drug_consumable", "2 decimals"]),
    ("threshold of one class only", 'service = "100.00"', "", ["[[thresholds]] row 1 service", "missing"]),
    ("unknown zone", 'zone = "urban"\ndrug_consumable = "200.00"', 'zone = "urbn"\ndrug_consumable = "1"',
     ["[[thresholds]] 2025-01-01 other_primary zone", '"urbn"', "binhai, urban"]),
    ("threshold without clause", 'clause = "3(4)"', "", ["[[thresholds]] row 2 clause", "missing"]),
    ("threshold without phrase", 'clause = "3(4)"\nphrase = "urban row"', 'clause = "3(4)"',
     ["[[thresholds]] row 2 phrase", "missing"]),
    ("two rows of one day", "effective_from = 2026-03-02\npayment", "effective_from = 2025-01-01\npayment",
     ["[[thresholds]]", "two rows", "2025-01-01", "other_primary", "urban"]),
    # [[growth]]
    ("growth of -1", '"-0.125"', '"-1"', ["[[growth]] row 1 rate", "above -1"]),
    ("growth year as a text", "year = 2027", 'year = "2027"', ["[[growth]] row 1 year", "without quotes"]),
    ("growth without source", 'source = "budget notice"', "", ["[[growth]] row 1 source", "missing"]),
    ("growth year twice", "[overage]", '[[growth]]\nyear = 2027\nrate = "0"\nsource = "x"\n[overage]',
     ["[[growth]]", "two rows with year 2027"]),
    # [overage]
    ("share above 1", 'paid_share = "0"', 'paid_share = "1.01"', ["[overage] paid_share", '"1.01"']),
    ("share of a tier below 0", 'paid_share = "0.5"', 'paid_share = "-0.5"', ["tiers row 1 paid_share"]),
    ("tier at the threshold", '"1.10"', '"1"', ["[overage] tiers row 1 up_to", "above 1"]),
    ("tiers not ascending", '"1.25"', '"1.1"', ["[overage] tiers", "1.1 after 1.10", "ascending"]),
    ("overage without phrase", 'phrase = "nothing above it"', "", ["[overage] phrase", "missing"]),
    # [[priority]]
    ("priority of no category", '["03"]', "[]", ["[[priority]] row 2 charge_categories", "empty"]),
    ("priority category unknown", '["03"]', '["3"]', ["[[priority]] row 2 charge_categories", '"3"']),
    ("priority category twice", '["02", "06"]', '["02", "02"]', ["[[priority]] row 1", '"02" twice']),
    ("two lists of one day", "effective_from = 2025-06-01", "effective_from = 2026-03-02",
     ["[[priority]]", "two rows with effective_from 2026-03-02"]),
    # [money]
    ("deposit above 5 %", '"0.05"', '"0.0501"', ["[money] deposit_rate", '"0.0501"', "0.05,"]),
    ("deposit below 0", '"0.05"', '"-0.01"', ["[money] deposit_rate", '"-0.01"']),
    ("no day to pay", "working_days = 30", "working_days = 0", ["[money] payment_working_days", "from 1"]),
    ("score above 100", '"90"', '"100.1"', ["[money] deposit_release row 2 score_min", '"100.1"']),
    ("two bands of one score", '"90"', '"80.0"', ["[money] deposit_release", "score_min 80", "twice"]),
    ("released more than withheld", '"80", share = "0.5"', '"80", share = "2"',
     ["deposit_release row 3 share"]),
    # [readings]
    ("unknown reading", 'tcm_decoction = "separate"', 'tcm = "separate"',
     ["[readings] tcm\n", 'unknown key "tcm"', "tcm_decoction"]),
    ("unknown value", '"separate"', '"both"',
     ["[readings] tcm_decoction", '"both"', "drug_consumable, service"]),
    # [recalculation]
    ("unknown statistic", '"percentile"', '"mode"', ["[recalculation] statistic", '"mode"', "mean, median"]),
    ("percentile not given", 'percentile = "50"\n', "", ["[recalculation] percentile", "missing"]),
    ("percentile above 100", '"50"', '"101"', ["[recalculation] percentile", '"101"']),
    ("13 months of a year", "min_months = 6", "min_months = 13", ["[recalculation] min_months", "12"]),
    # [[institution_thresholds]]
    ("institution id", '"H12010300001"', '"H1201030001"', ["row 1 institution_id", "11 digits"]),
    ("class without threshold", 'point_class = "service"', 'point_class = "inpatient"',
     ["point_class", "service"]),
    ("threshold of an institution", '"31000.00"', '"-1"', ["[[institution_thresholds]] row 1 threshold"]),
    ("institution without source", 'source = "recalculation of 2027"', "", ["row 1 source", "missing"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_broken_rule_is_refused(load: Load, old: str, new: str, words: list[str]) -> None:
    with pytest.raises(Refusal) as refused:
        load(changed(old, new))
    message = str(refused.value)
    assert [word for word in ["good.toml", *words] if word not in message] == [], message


@pytest.mark.parametrize("table", ["policy", "point_classes", "visit_types", "agreements", "money"])
def test_table_of_every_policy_is_missing(load: Load, table: str) -> None:
    with pytest.raises(Refusal, match=rf"\[{table}\]"):
        load(without_tables(f"[{table}]"))


@pytest.mark.parametrize(
    ("absent", "named", "beside"),
    [
        (["[coaching]"], "[coaching]", "beside [[thresholds]]"),
        (["[overage]", "[[institution_thresholds]]"], "[overage]", "beside [[thresholds]]"),
        (["[overage]", "[[thresholds]]"], "[overage]", "beside [[institution_thresholds]]"),
    ],
)
def test_thresholds_need_their_rules(load: Load, absent: list[str], named: str, beside: str) -> None:
    with pytest.raises(Refusal) as refused:
        load(without_tables(*absent))
    assert (refused.value.found, refused.value.expected) == ("missing", f"this table {beside}")
    assert refused.value.where.endswith(named)


def test_two_institution_thresholds_of_one_day(load: Load) -> None:
    row = GOOD[GOOD.index("[[institution_thresholds]]") :]
    with pytest.raises(Refusal, match="two rows with institution_id H12010300001"):
        load(GOOD + row)


def test_every_problem_is_named_at_once(load: Load) -> None:
    """One message is a work list: values, missing and unknown keys, and what does not fit together."""
    text = changed('deposit_rate = "0.05"', "deposit_rate = 0.06").replace('phrase = "urban row"\n', "")
    text = text.replace('["10"]', "[]").replace("base_months", "base_month")
    with pytest.raises(Refusals) as refused:
        load(text)
    assert [problem.where for problem in refused.value.each] == [
        "[coaching] base_month",
        "[coaching] base_months",
        "[[thresholds]] row 1 phrase",
        "[[thresholds]] row 2 phrase",
        "[money] deposit_rate",
        "[point_classes]",
    ]
    assert all(problem.found and problem.expected and problem.remedy for problem in refused.value.each)
    assert "did you mean base_months?" in str(refused.value)


def test_one_problem_is_told_in_full(load: Load) -> None:
    with pytest.raises(Refusal) as refused:
        load(changed('"0.05"', '"0.0501"'))
    assert refused.value.where.endswith("good.toml: [money] deposit_rate")
    assert refused.value.found == '"0.0501"'
    assert refused.value.expected == "a number in quotes from 0 to 0.05, with at most 9 decimals"
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GOOD.replace("A good policy", "政策").encode("gb18030"), ["UTF-8", "save it as UTF-8"]),
        (b"[policy\n", ["not TOML", "line 1"]),
        (b'[policy]\nid = "a"\nid = "b"\n', ["not TOML", "line 3"]),
        (b"x = " + b"[" * 5000, ["not TOML"]),
        (b"x = " + b"1" * 5000, ["not TOML"]),
        (b"", ["[policy]", "[money]", "missing"]),
    ],
    ids=["GB18030", "no TOML", "key twice", "deep nesting", "huge number", "empty"],
)
def test_file_that_is_no_policy(tmp_path: Path, content: bytes, words: list[str]) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(Refusal) as refused:
        load_policy(path)
    assert [word for word in ["bad.toml", *words] if word not in str(refused.value)] == []


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"nowhere\.toml\n.*cannot be read"):
        load_policy(str(tmp_path / "nowhere.toml"))


def test_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="cannot be read"):
        load_policy(tmp_path)


def test_unknown_id_lists_the_known_ones() -> None:
    with pytest.raises(Refusal, match=r"beijing(.|\n)*dongguan, tianjin"):
        load_policy("beijing")


# ---------------------------------------------------------------- what is accepted


# id, the place changed, what stands there instead
ACCEPTED = [
    ("9 decimals", '"0.33335"', '"0.333333333"'),
    ("decimals count by value", '"0.33335"', '"0.33333333300"'),
    ("2 decimals by value", '"200.00"', '"200.0000"'),
    ("phrase of 24 characters", '"coaching years"', f'"{"阈" * 24}"'),
    ("phrase of 1 character", '"coaching years"', '"阈"'),
    ("no deposit", 'deposit_rate = "0.05"', 'deposit_rate = "0"'),
    ("growth just above -1", '"-0.125"', '"-0.999999999"'),
    ("tier just above 1", '"1.10"', '"1.000000001"'),
    ("span of one day", "2027-12-31", "2025-01-01"),
    ("no last day", "effective_to = 2027-12-31\n", ""),
    ("no extension", "max_extensions = 1", "max_extensions = 0"),
    ("no special outpatient", '["14"]', "[]"),
    ("not assumed", '"80", share = "0.5"', '"80", share = "0.5", assumed = false, clause = "36"'),
    ("sources in a table of names", 'binhai = ["120116"]', 'binhai = ["120116"]\nnote = "a split"'),
    ("sources in an inline table of names", "other = 2", 'other = 2, phrase = "two", assumed = true'),
    ("priority without a list", 'tcm_decoction = "separate"', 'attribution = "priority"'),
    ("statistic without percentile", 'statistic = "percentile"\npercentile = "50"', 'statistic = "mean"'),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), [row[1:] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
def test_rule_is_kept(load: Load, old: str, new: str) -> None:
    load(changed(old, new))


@pytest.mark.parametrize(
    "header",
    [
        "[zones]",
        "[[growth]]",
        "[[priority]]",
        "[points_per_yuan]",
        "[recalculation]",
        "[readings]",
        "[[thresholds]]",
    ],
)
def test_table_may_be_absent(load: Load, header: str) -> None:
    """Thresholds without [zones]: the registry may give zones. Coaching without thresholds is allowed too."""
    load(without_tables(header))


def test_absent_tables_hold_nothing(load: Load) -> None:
    optional = ("[zones]", "[points_per_yuan]", "[recalculation]", "[coaching]", "[overage]")
    rows = ("[[thresholds]]", "[[growth]]", "[[priority]]", "[[institution_thresholds]]")
    bare = load(without_tables(*optional, *rows))
    assert bare.zone_of_division("120101") is None
    assert bare.growth_of(2027) is None
    assert bare.factor_of("service") is None
    assert bare.special_diseases_max("outpatient_department") is None
    assert bare.threshold_row("other_primary", "urban", date(2026, 3, 1)) is None
    assert bare.priority_on(date(2026, 3, 1)) is None
    assert (bare.coaching, bare.recalculation, bare.overage.tiers) == (None, None, ())


def test_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "notepad.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_policy(path).id == "good"


# ---------------------------------------------------------------- what a policy answers


def test_path_and_hash_are_those_of_the_file(good: Policy) -> None:
    assert good.path.name == "good.toml"
    assert good.sha256 == hashlib.sha256(GOOD.encode()).hexdigest()


def test_assumptions_have_key_and_note(good: Policy) -> None:
    assert [(one.key, one.note) for one in good.assumptions] == [
        ("growth row 1", "expected"),
        ("money.deposit_release row 2", "a band"),
    ]


def test_policy_cannot_be_changed(good: Policy) -> None:
    with pytest.raises(FrozenInstanceError):
        good.money.deposit_rate = Decimal(0)  # type: ignore[misc]
    assert isinstance(hash(good), int)
    assert pickle.loads(pickle.dumps(good)) == good  # noqa: S301


def test_no_binary_float_anywhere(good: Policy) -> None:
    assert not [value for value in _values_of(good) if isinstance(value, float)]
    assert good.thresholds[1].drug_consumable == Decimal("250.50")


def _values_of(value: object) -> list[object]:
    if is_dataclass(value):
        return [inner for field in fields(value) for inner in _values_of(getattr(value, field.name))]
    if isinstance(value, tuple):
        return [inner for item in value for inner in _values_of(item)]
    return [value]


@pytest.mark.parametrize(
    ("first", "last", "is_covered"),
    [
        (date(2024, 12, 31), date(2025, 1, 31), False),
        (date(2025, 1, 1), date(2025, 1, 31), True),
        (date(2027, 12, 1), date(2027, 12, 31), True),
        (date(2027, 12, 31), date(2028, 1, 1), False),
    ],
)
def test_legal_span(good: Policy, first: date, last: date, is_covered: bool) -> None:
    assert good.covers(first, last) is is_covered


def test_span_without_end(load: Load) -> None:
    assert load(changed("effective_to = 2027-12-31\n", "")).covers(date(2099, 1, 1), date(2099, 1, 31))


@pytest.mark.parametrize(
    ("on", "drug_consumable", "clause"),
    [
        (date(2024, 12, 31), None, None),
        (date(2025, 1, 1), "200.00", "3(3)"),
        (date(2026, 3, 1), "200.00", "3(3)"),
        (date(2026, 3, 2), "250.50", "3(4)"),
        (date(2026, 3, 3), "250.50", "3(4)"),
    ],
)
def test_newest_threshold_row(
    good: Policy, on: date, drug_consumable: str | None, clause: str | None
) -> None:
    row = good.threshold_row("other_primary", "urban", on)
    assert (row and str(row.points("drug_consumable")), row and row.clause) == (drug_consumable, clause)


def test_threshold_row_of_another_class_or_zone(good: Policy) -> None:
    assert good.threshold_row("other_primary", "binhai", date(2026, 3, 2)) is None
    assert good.threshold_row("secondary", "urban", date(2026, 3, 2)) is None


def test_threshold_of_a_point_class(good: Policy) -> None:
    row = good.thresholds[1]
    assert row.points("service") == 0, "a threshold of zero is a threshold"
    assert row.points("tcm_decoction") is None
    assert row.points("inpatient") is None


@pytest.mark.parametrize(
    ("on", "charges"),
    [
        (date(2025, 5, 31), None),
        (date(2025, 6, 1), ("02", "06")),
        (date(2026, 3, 1), ("02", "06")),
        (date(2026, 3, 2), ("03",)),
    ],
)
def test_newest_priority_list(good: Policy, on: date, charges: tuple[str, ...] | None) -> None:
    newest = good.priority_on(on)
    assert (newest and newest.charge_categories) == charges


def test_newest_institution_threshold(good: Policy) -> None:
    def threshold(institution_id: str, point_class: str, on: date) -> Decimal | None:
        row = good.institution_threshold(institution_id, point_class, on)
        return row.threshold if row else None

    assert threshold("H12010300001", "service", date(2027, 12, 31)) is None
    assert threshold("H12010300001", "service", date(2028, 1, 1)) == Decimal("31000.00")
    assert threshold("H12010300001", "drug_consumable", date(2028, 1, 1)) is None
    assert threshold("H12010300002", "service", date(2028, 1, 1)) is None


def test_growth_of_a_year(good: Policy) -> None:
    assert good.growth_of(2027) == Decimal("-0.125")
    assert good.growth_of(2026) is None, "no row is not a growth of 0: the run lists it as an assumption"


def test_zone_of_a_division(good: Policy) -> None:
    assert good.zone_of_division("120102") == "urban"
    assert good.zone_of_division("120103") is None


@pytest.mark.parametrize(
    ("visit_type", "category", "is_emergency"),
    [
        ("11", "outpatient", False),
        ("1301", "outpatient", True),
        ("140104", "special_outpatient", False),
        ("51", "outpatient", False),
        ("52", "inpatient", False),  # 5 fits as well; the longer 52 wins
        ("5201", "inpatient", False),
        ("21", "inpatient", False),
        ("2101", "inpatient", True),
        ("1", None, False),
        ("41", None, False),
        ("", None, False),
    ],
)
def test_visit_category(good: Policy, visit_type: str, category: str | None, is_emergency: bool) -> None:
    assert good.visit_category_of(visit_type) == category
    assert good.is_emergency(visit_type) is is_emergency


@pytest.mark.parametrize("reading", ["separate", "drug_consumable", "service"])
def test_point_class_by_reading(good: Policy, reading: str) -> None:
    read = good.with_readings({"tcm_decoction": reading})
    assert read.point_class_of("10") == ("tcm_decoction" if reading == "separate" else reading)
    assert read.category_of("10") == "tcm_decoction"
    assert (read.point_class_of("08"), read.point_class_of("14")) == ("drug_consumable", "service")
    assert sorted(read.point_class_by_charge()) == [f"{number:02}" for number in range(1, 15)]


def test_charge_category_outside_the_code_list(good: Policy) -> None:
    with pytest.raises(KeyError):
        good.point_class_of("15")


def test_factor_of_a_point_class(good: Policy) -> None:
    assert good.factor_of("service") == Decimal("0.33335")
    assert good.factor_of("inpatient") is None


def test_special_diseases_by_institution_type(good: Policy) -> None:
    assert good.special_diseases_max("outpatient_department") == 1
    assert good.special_diseases_max("general_hospital") == 2


@pytest.mark.parametrize(
    ("score", "share"), [("0", "0"), ("79.99", "0"), ("80", "0.5"), ("89", "0.5"), ("90", "1")]
)
def test_deposit_band_of_a_score(good: Policy, score: str, share: str) -> None:
    band = good.deposit_band(Decimal(score))
    assert band is not None
    assert band.share == Decimal(share)


def test_score_below_every_band(load: Load) -> None:
    policy = load(changed('  { score_min = "0", share = "0" },\n', ""))
    assert policy.deposit_band(Decimal("79")) is None


# ---------------------------------------------------------------- readings


def test_absent_readings_have_the_defaults_of_rules_10(load: Load) -> None:
    expected = {
        "coaching_scope": "agreement_year",
        "tcm_decoction": "separate",
        "month_basis": "settled_at",
        "attribution": "chronological",
        "partial_month": "full",
    }
    assert load(without_tables("[readings]")).readings.as_dict() == expected


def test_readings_have_one_attribute_per_key() -> None:
    assert {field.name for field in fields(Readings)} >= set(READING_VALUES)


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in READING_VALUES.items() for value in values]
)
def test_every_reading_can_be_chosen(good: Policy, key: str, value: str) -> None:
    chosen = good.with_readings({key: value})
    assert chosen.readings.as_dict() == {**good.readings.as_dict(), key: value}
    assert chosen.sha256 == good.sha256
    assert good.readings.tcm_decoction == "separate"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            {"attributon": "pro_rata"},
            ["attributon", "attribution, partial_month", "did you mean attribution?"],
        ),
        ({"attribution": "random"}, ['"random"', "chronological, pro_rata, priority"]),
        ({"clause": "3"}, ["clause", "unknown key"]),
        ({"a": "b", "month_basis": ""}, ["2 problem(s)", 'unknown key "a"', "settled_at, serviced_at"]),
    ],
)
def test_unknown_reading_is_refused(good: Policy, overrides: dict[str, str], words: list[str]) -> None:
    with pytest.raises(Refusal) as refused:
        good.with_readings(overrides)
    assert [word for word in words if word not in str(refused.value)] == []


# ---------------------------------------------------------------- the shipped files


def test_shipped_files_are_found_by_their_id() -> None:
    assert {key: path.name for key, path in known_policies().items()} == {
        "dongguan": "dongguan.toml",
        "tianjin": "tianjin.toml",
    }


def test_file_in_the_installed_package_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "settlement" / "thresholds"
    folder.mkdir(parents=True)
    (folder / "other-name.toml").write_text(GOOD, encoding="utf-8")
    monkeypatch.setattr(policy_module, "__file__", str(folder.parent / "policy.py"))
    assert load_policy("good").path == folder / "other-name.toml"


def test_shipped_file_that_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has just broken tianjin.toml must not be told that there is no such policy."""
    monkeypatch.setattr(policy_module, "_shipped_folder", lambda: tmp_path)
    (tmp_path / "tianjin.toml").write_text("[policy", encoding="utf-8")
    with pytest.raises(Refusal, match=r"tianjin\.toml\n.*not TOML"):
        load_policy("tianjin")


def test_id_comes_before_a_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("tianjin", "mine"):
        (tmp_path / name).write_text(GOOD, encoding="utf-8")
    assert load_policy("tianjin").id == "tianjin"
    assert load_policy("mine").id == "good"
    assert load_policy(Path("tianjin")).id == "good"


def test_two_shipped_files_of_one_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_module, "_shipped_folder", lambda: tmp_path)
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(GOOD, encoding="utf-8")
    with pytest.raises(Refusal, match=r'b\.toml\n.*"good", which a\.toml bears too'):
        load_policy("good")


@pytest.mark.parametrize(
    ("zone", "drug_consumable", "service", "phrase"),
    [
        ("binhai", "14141.55", "40874.33", "其他基层医疗机构-滨海"),
        ("ring", "56551.73", "34138.58", "其他基层医疗机构-环城"),
        ("urban", "101432.21", "25789.12", "其他基层医疗机构-市区"),
        ("outer", "16258.00", "11156.15", "其他基层医疗机构-远郊"),
    ],
)
def test_tianjin_thresholds(zone: str, drug_consumable: str, service: str, phrase: str) -> None:
    row = load_policy("tianjin").threshold_row("other_primary", zone, date(2025, 1, 1))
    assert row is not None
    assert (str(row.drug_consumable), str(row.service)) == (drug_consumable, service)
    assert (row.clause, row.phrase) == ("三（三）", phrase)


def test_tianjin() -> None:
    tianjin = load_policy("tianjin")
    assert (tianjin.jurisdiction, tianjin.status, tianjin.is_draft) == ("120000", "draft", True)
    assert (tianjin.effective_from, tianjin.effective_to) == (date(2025, 1, 1), None)
    assert tianjin.checked_on == date(2026, 11, 22)
    assert tianjin.coaching is not None
    assert (tianjin.coaching.base_months, tianjin.coaching.extension_months) == (6, 6)
    assert (tianjin.coaching.max_extensions, tianjin.coaching.insurance_types) == (1, ("310",))
    assert (tianjin.special_diseases_max("outpatient_department"), tianjin.special_diseases_max("x")) == (
        1,
        2,
    )
    assert (tianjin.overage.paid_share, len(tianjin.overage.tiers)) == (Decimal(0), 0)
    assert tianjin.growth == ()
    assert tianjin.factor_of("service") is None
    assert len(tianjin.zone_by_division()) == 16
    assert tianjin.readings == Readings()
    assert {one.key for one in tianjin.assumptions} >= {"zones", "visit_types", "money"}
    assert all(one.note for one in tianjin.assumptions)


def test_dongguan() -> None:
    dongguan = load_policy("dongguan")
    assert (dongguan.jurisdiction, dongguan.status) == ("441900", "in_force")
    assert (dongguan.effective_from, dongguan.effective_to) == (date(2024, 10, 1), date(2027, 9, 30))
    assert dongguan.agreements.suspension_limit_days == 180
    assert dongguan.money.payment_working_days == 30
    assert dongguan.is_emergency("13")
    assert dongguan.coaching is None
    assert (dongguan.zones.each, dongguan.thresholds, dongguan.institution_thresholds) == ((), (), ())
    assert all(one.note for one in dongguan.assumptions)


# ---------------------------------------------------------------- legal texts and worked cases


def _squeezed(text: str) -> str:
    """Without blanks, and with one form of brackets: the text is set in both."""
    return re.sub(r"\s+", "", text).translate(str.maketrans("（）", "()"))


def _phrases(identity: str) -> list[str]:
    """Every `phrase` of a shipped file, inline ones too, and every “quotation” in its comments."""
    content = (ROOT / "thresholds" / f"{identity}.toml").read_text(encoding="utf-8")
    comments = " ".join(re.findall(r"(?m)#(.*)$", content)).replace("“…”", "")
    return [*_phrases_in(tomllib.loads(content)), *re.findall("“(.+?)”", comments)]


def _phrases_in(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["phrase"]] if "phrase" in value else []
        return own + [phrase for inner in value.values() for phrase in _phrases_in(inner)]
    return [phrase for item in value for phrase in _phrases_in(item)] if isinstance(value, list) else []


def _seed(identity: str) -> str:
    if not SEEDS[identity].is_file():
        pytest.skip(f"the legal text {SEEDS[identity]} is not here")
    return SEEDS[identity].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("identity", "phrase"), [(identity, phrase) for identity in SEEDS for phrase in _phrases(identity)]
)
def test_phrase_stands_in_the_legal_text(identity: str, phrase: str) -> None:
    assert _squeezed(phrase) in _squeezed(_seed(identity))


def test_tianjin_numbers_follow_their_phrase_in_the_text() -> None:
    text = _squeezed(_seed("tianjin"))
    for row in load_policy("tianjin").thresholds:
        assert f"{row.phrase}{row.drug_consumable}{row.service}" in text


@pytest.mark.skipif(not CASES, reason=f"the worked cases {SHARED / 'cases'} are not here")
@pytest.mark.parametrize(
    "path", CASES, ids=[str(path.parent.relative_to(SHARED / "cases")) for path in CASES]
)
def test_policy_of_a_worked_case(path: Path) -> None:
    if path.parent.name not in REFUSED_CASES:
        assert load_policy(path).id.startswith("case-")
        return
    with pytest.raises(Refusal, match=re.escape(REFUSED_CASES[path.parent.name])):
        load_policy(path)


# ---------------------------------------------------------------- the guide beside the files


def test_example_of_the_guide(tmp_path: Path) -> None:
    """The row that thresholds/README.md shows is accepted, and holds from its day on."""
    path = tmp_path / "tianjin.toml"
    path.write_text(_tianjin_with(_guide_block("toml")), encoding="utf-8")
    policy = load_policy(path)
    rows = [
        policy.threshold_row("other_primary", "binhai", day) for day in (date(2026, 12, 1), date(2027, 1, 1))
    ]
    assert [row and row.service for row in rows] == [Decimal("40874.33"), Decimal("42900.00")]


def test_refusal_of_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal that thresholds/README.md shows is the one a reader gets."""
    row = _guide_block("toml").replace('"42900.00"', "42900.00")
    (tmp_path / "thresholds").mkdir()
    (tmp_path / "thresholds" / "tianjin.toml").write_text(
        _tianjin_with(re.sub(r"(?m)^phrase.*\n", "", row)), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refusals) as refused:
        load_policy("thresholds/tianjin.toml")
    assert str(refused.value) == _guide_block("text").strip()


def _tianjin_with(rows: str) -> str:
    return (ROOT / "thresholds" / "tianjin.toml").read_text(encoding="utf-8") + rows


def _guide_block(language: str) -> str:
    guide = (ROOT / "thresholds" / "README.md").read_text(encoding="utf-8")
    block = re.search(rf"(?ms)^ *```{language}\n(.*?)^ *```", guide)
    assert block is not None
    return re.sub("(?m)^   ", "", block[1]) if language == "toml" else block[1]
