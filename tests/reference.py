"""The slow reference: shared/spec/rules.md 1-8 and 12, and data.md 1-2, written down line by line.

Nothing here is clever or fast. It shares no code with the engine and uses the standard library alone, so that a
difference between the two points at a mistake in one of them. Numbers are `Fraction` inside and `Decimal` at the
edge; a binary float never appears. "Rule 3.2" in a docstring means point 2 of section 3 of rules.md; "data 2" is
section 2 of data.md. Where the text leaves a choice, the docstring says "Choice:".

    settle(Path("batch"), "2026-03", Path("policy.toml")) -> {"runs": {...}, "settlements": [...], ...}
"""

import re
import tomllib
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

POINT_CLASSES = ("drug_consumable", "service", "tcm_decoction", "inpatient")
CLASSES_WITH_THRESHOLD = ("drug_consumable", "service")
VISIT_CATEGORIES = ("outpatient", "special_outpatient", "inpatient")
NATIONAL_CHARGE_CATEGORIES = tuple(f"{number:02d}" for number in range(1, 15))
LARGEST_POINTS = Fraction(10_000_000)
FIRST_AMOUNT_TOO_LARGE = Fraction(10**16)  # decimal(18,2) has 16 digits before the point
ONE_DAY = timedelta(days=1)


class Refused(Exception):
    """The batch, the month or the policy is refused: nothing is settled. The text names every cause that was found."""


# ---------------------------------------------------------------------------------------------------------------
# Exact numbers (rules, head: exact decimals, half-up keeps the sign)
# ---------------------------------------------------------------------------------------------------------------

NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?\Z")


def is_plain_number(cell: str) -> bool:
    """Data 1: `[+-]?digits[.digits]`, nothing else."""
    return NUMBER.match(cell) is not None


def number_of(cell: str) -> Fraction:
    """The exact value of a plain number."""
    return Fraction(cell)


def count_decimals(cell: str) -> int:
    """Data 1: decimals are counted by value, 1.50000 has one."""
    if "." not in cell:
        return 0
    return len(cell.split(".")[1].rstrip("0"))


def half_up(value: Fraction, places: int) -> Fraction:
    """Rules, head: rounds the absolute value and keeps the sign (四舍五入)."""
    scale = 10**places
    whole = (abs(value) * scale + Fraction(1, 2)).__floor__()
    return Fraction(whole if value >= 0 else -whole, scale)


def cut_down(value: Fraction, places: int) -> Fraction:
    """Rule 8.1: floor to so many decimals."""
    scale = 10**places
    return Fraction((value * scale).__floor__(), scale)


def to_decimal(value: Fraction | None) -> Decimal | None:
    """The same value as a Decimal, exactly, whatever the Decimal context; None stays None."""
    if value is None:
        return None
    for places in range(13):
        scaled = value * 10**places
        if scaled.denominator == 1:
            digits = tuple(int(digit) for digit in str(abs(scaled.numerator)))
            return Decimal((1 if value < 0 else 0, digits, -places))
    raise AssertionError(f"{value} is no decimal of at most 12 places")


# ---------------------------------------------------------------------------------------------------------------
# Dates and moments
# ---------------------------------------------------------------------------------------------------------------

DAY = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})\Z")
MOMENT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"  # a day
    r"(?:[ T]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?)?\Z"  # and perhaps a time
)
COMPACT_MOMENT = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})\Z")
MONTH = re.compile(r"([0-9]{4})-([0-9]{2})\Z")


def parse_day(cell: str) -> date | None:
    """Data 1: dates of the small tables are `YYYY-MM-DD`; None if the cell is no day of the calendar."""
    match = DAY.match(cell)
    if match is None:
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None


def parse_moment(cell: str) -> datetime | None:
    """Data 1: `YYYY-MM-DD[( |T)HH:MM:SS[.f]]` with one to six digits f, or `YYYYMMDDHHMMSS`."""
    match = MOMENT.match(cell)
    fraction = 0
    if match is not None:
        parts = [int(part) if part is not None else 0 for part in match.groups()[:6]]
        fraction = int((match[7] or "0").ljust(6, "0"))
    else:
        match = COMPACT_MOMENT.match(cell)
        if match is None:
            return None
        parts = [int(part) for part in match.groups()]
    try:
        return datetime(*parts, fraction)
    except ValueError:
        return None


def parse_month(text: str) -> date | None:
    """The first day of a month written `YYYY-MM`; None if it is none."""
    match = MONTH.match(text)
    if match is None or int(match[1]) < 1 or not 1 <= int(match[2]) <= 12:
        return None
    return date(int(match[1]), int(match[2]), 1)


def days_of_month(first: date) -> list[date]:
    """Every day of the month that begins on `first`."""
    days = [first]
    while (days[-1] + ONE_DAY).month == first.month:
        days.append(days[-1] + ONE_DAY)
    return days


def months_later(day: date, months: int) -> date:
    """Rule 3.4: the same day-of-month so many months later, clipped to the month's length."""
    year, month_index = divmod(day.year * 12 + day.month - 1 + months, 12)
    length = len(days_of_month(date(year, month_index + 1, 1)))
    return date(year, month_index + 1, min(day.day, length))


# ---------------------------------------------------------------------------------------------------------------
# CSV files (data 1)
# ---------------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """One data row of a file: its number (1 = first data row), its cells by contract column, and how it is broken."""

    number: int
    cells: dict[str, str | None]
    is_undecodable: bool = False
    is_ragged: bool = False

    def __getitem__(self, column: str) -> str | None:
        return self.cells.get(column)


@dataclass
class Table:
    """A file as read: its path in the batch, the contract columns it has, its rows."""

    source: str
    columns: set[str]
    rows: list[Row]


def decode(data: bytes) -> str:
    """Data 1: BOM or valid UTF-8 as a whole → UTF-8; else valid GB18030 as a whole; else UTF-8, bad bytes marked.

    Bad bytes become lone surrogates, by which their rows are known as `undecodable` later.
    """
    if data.startswith(b"\xef\xbb\xbf"):
        return data[3:].decode("utf-8", errors="surrogateescape")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("gb18030")
    except UnicodeDecodeError:
        return data.decode("utf-8", errors="surrogateescape")


def has_bad_bytes(text: str) -> bool:
    """Whether a piece of text holds bytes that could not be decoded."""
    return any("\udc80" <= character <= "\udcff" for character in text)


def split_records(text: str, separator: str) -> list[list[str]]:
    """RFC 4180: rows of cells; a quoted cell may hold separators, doubled quotes and line breaks.

    Data 1: blank lines are no rows.

    Choice: a line ends with LF or CR LF. A quote opens a quoted cell only as its very first character. A line of
    blanks without a separator is a blank line.
    """
    records: list[list[str]] = []
    record: list[str] = []
    cell = ""
    cell_is_quoted = False
    inside_quotes = False
    position = 0
    while position <= len(text):
        character = text[position] if position < len(text) else None
        following = text[position + 1] if position + 1 < len(text) else None
        if inside_quotes and character == '"' and following == '"':
            cell += '"'
            position += 1
        elif inside_quotes and character == '"':
            inside_quotes = False
        elif inside_quotes and character is not None:
            cell += character
        elif character == '"' and cell == "" and not cell_is_quoted:
            inside_quotes = True
            cell_is_quoted = True
        elif character == separator:
            record.append(cell)
            cell, cell_is_quoted = "", False
        elif character == "\r" and following == "\n":
            pass  # the line feed that follows ends the record
        elif character == "\n" or character is None:
            record.append(cell)
            is_blank_line = len(record) == 1 and not cell_is_quoted and cell.strip() == ""
            if not is_blank_line:
                records.append(record)
            record, cell, cell_is_quoted, inside_quotes = [], "", False, False
        else:
            cell += character
        position += 1
    return records


def clean(cell: str) -> str | None:
    """Data 1: cells are trimmed of blanks; `null` and empty mean missing."""
    trimmed = cell.strip()
    return None if trimmed in ("", "null") else trimmed


def find_columns(source: str, header: list[str], names: dict[str, list[str]]) -> dict[str, int]:
    """Data 1: where each contract column stands: under its own name, or the first listed national name present.

    Own and national name together: an error. Choice: one of these names twice in a header is an error too.
    """
    places: dict[str, int] = {}
    for column, nationals in names.items():
        own = [place for place, name in enumerate(header) if name == column]
        foreign = [name for name in nationals if name in header]
        if own and foreign:
            raise Refused(f"{source}: {column} and {foreign[0]} are both present")
        used = column if own else (foreign[0] if foreign else None)
        if used is None:
            continue
        if header.count(used) > 1:
            raise Refused(f"{source}: column {used} appears {header.count(used)} times")
        places[column] = header.index(used)
    return places


def read_csv(path: Path, source: str, names: dict[str, list[str]]) -> Table:
    """Data 1: one CSV file; comma, or tab if the header has more tabs than commas; the header is required."""
    text = decode(path.read_bytes())
    header_line = next((line for line in text.split("\n") if line.strip() != ""), None)
    if header_line is None:
        raise Refused(f"{source}: no header")
    if has_bad_bytes(header_line):
        raise Refused(f"{source}: the header cannot be decoded")
    separator = "\t" if header_line.count("\t") > header_line.count(",") else ","
    records = split_records(text, separator)
    header = [name.strip() for name in records[0]]
    places = find_columns(source, header, names)
    rows = []
    for number, record in enumerate(records[1:], start=1):
        row = Row(number, {})
        row.is_undecodable = any(has_bad_bytes(cell) for cell in record)
        row.is_ragged = len(record) != len(header)
        if not row.is_undecodable and not row.is_ragged:
            row.cells = {column: clean(record[place]) for column, place in places.items()}
        rows.append(row)
    return Table(source, set(places), rows)


# ---------------------------------------------------------------------------------------------------------------
# Policy (policy.md, rule 12)
# ---------------------------------------------------------------------------------------------------------------

READINGS = {
    "coaching_scope": ("agreement_year", "coaching_period"),
    "tcm_decoction": ("separate", "drug_consumable", "service"),
    "month_basis": ("settled_at", "serviced_at"),
    "attribution": ("chronological", "pro_rata", "priority"),
    "partial_month": ("full", "by_day"),
}
EVERYWHERE = {"clause", "phrase", "source", "assumed", "note"}
POLICY_KEYS = {
    "policy": {"id", "title", "jurisdiction", "status", "effective_from", "effective_to", "checked_on"},
    "point_classes": {"drug_consumable", "service", "tcm_decoction"},
    "points_per_yuan": set(POINT_CLASSES),
    "visit_types": {*VISIT_CATEGORIES, "emergency"},
    "coaching": {
        "base_months",
        "extension_months",
        "max_extensions",
        "insurance_types",
        "special_diseases_max",
    },
    "agreements": {"suspension_limit_days"},
    "thresholds": {"effective_from", "payment_class", "zone", "drug_consumable", "service"},
    "growth": {"year", "rate"},
    "overage": {"paid_share", "tiers"},
    "priority": {"effective_from", "charge_categories"},
    "money": {"deposit_rate", "payment_working_days", "deposit_release"},
    "readings": set(READINGS),
    "recalculation": {"statistic", "percentile", "min_months"},
    "institution_thresholds": {"institution_id", "effective_from", "point_class", "threshold"},
}


@dataclass
class Policy:
    """A policy file that broke no rule, with its numbers exact and its readings filled in."""

    effective_from: date
    effective_to: date | None
    zones: dict[str, list[str]]
    point_classes: dict[
        str, str
    ]  # charge category → point class as written, before the reading `tcm_decoction`
    points_per_yuan: dict[str, Fraction]
    visit_prefixes: dict[str, str]  # prefix → visit category
    emergency_prefixes: list[str]
    coaching: dict | None
    suspension_limit_days: int
    thresholds: list[dict]
    growth: dict[int, Fraction]
    paid_share: Fraction
    tiers: list[tuple[Fraction, Fraction]]
    priority: list[tuple[date, list[str]]]
    deposit_rate: Fraction
    institution_thresholds: list[dict]
    readings: dict[str, str]


def rows_without_common_keys(table: dict) -> dict:
    """A table of the policy without the keys that every table may carry."""
    return {key: value for key, value in table.items() if key not in EVERYWHERE}


def read_policy(path: Path, readings: dict | None) -> Policy:
    """policy.md: reads and checks a policy file; every broken rule is named."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{path.name}: {error}") from error
    problems: list[str] = []

    def problem(key: str, text: str) -> None:
        problems.append(f"{path.name}: {key}: {text}")

    def number(
        key: str, value: object, least: str | None = None, most: str | None = None, places: int = 12
    ) -> Fraction:
        """policy.md: numbers that count are strings; a plain number in quotes, within its bounds."""
        if not isinstance(value, str) or not is_plain_number(value):
            problem(key, f"{value!r} is no number in quotes")
            return Fraction(0)
        if count_decimals(value) > places:
            problem(key, f"{value} has more than {places} decimals")
        if least is not None and number_of(value) < Fraction(least):
            problem(key, f"{value} is below {least}")
        if most is not None and number_of(value) > Fraction(most):
            problem(key, f"{value} is above {most}")
        return number_of(value)

    def whole(key: str, value: object, least: int, most: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            problem(key, f"{value!r} is no whole number from {least} to {most}")
            return least
        return value

    def day(key: str, value: object) -> date:
        if not isinstance(value, date) or isinstance(value, datetime):
            problem(key, f"{value!r} is no date")
            return date.min
        return value

    def texts(key: str, value: object) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            problem(key, f"{value!r} is no list of texts")
            return []
        return value

    def table(name: str) -> dict:
        value = raw.get(name, {})
        if not isinstance(value, dict):
            problem(name, "is no table")
            return {}
        return value

    def tables(name: str) -> list[dict]:
        value = raw.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            problem(name, "is no list of tables")
            return []
        return value

    def needs(key: str, row: dict, *columns: str) -> bool:
        absent = [column for column in columns if row.get(column) in (None, "")]
        for column in absent:
            problem(f"{key}.{column}", "is missing")
        return not absent

    # Unknown keys are refused.
    for name, value in raw.items():
        if name == "zones":
            continue
        if name not in POLICY_KEYS:
            problem(name, "is an unknown key")
            continue
        for row in value if isinstance(value, list) else [value]:
            for key in row if isinstance(row, dict) else []:
                if key not in POLICY_KEYS[name] | EVERYWHERE:
                    problem(f"{name}.{key}", "is an unknown key")
    # Compulsory tables and sources.
    for name in ("policy", "point_classes", "visit_types", "agreements", "money"):
        if name not in raw:
            problem(name, "is missing")
    needs("policy", table("policy"), "id", "title", "jurisdiction", "status", "effective_from", "source")
    if table("policy").get("status") not in (None, "draft", "in_force", "lapsed"):
        problem("policy.status", "is none of draft, in_force, lapsed")
    compulsory = [("thresholds", row) for row in tables("thresholds")]
    compulsory += [(name, table(name)) for name in ("coaching", "overage") if name in raw]
    for name, row in compulsory:
        if needs(name, row, "clause", "phrase") and len(row["phrase"]) > 24:
            problem(f"{name}.phrase", "is longer than 24 characters")
    for name in ("growth", "institution_thresholds"):
        for row in tables(name):
            needs(name, row, "source")
    if tables("thresholds") and "overage" not in raw:
        problem("overage", "is missing")

    # Zones.
    zones = {
        zone: texts(f"zones.{zone}", codes)
        for zone, codes in rows_without_common_keys(table("zones")).items()
    }
    all_codes = [code for codes in zones.values() for code in codes]
    for code in sorted({code for code in all_codes if all_codes.count(code) > 1}):
        problem("zones", f"{code} is in two zones")
    # Charge categories: each of the fourteen in exactly one class.
    point_classes: dict[str, str] = {}
    for point_class, categories in rows_without_common_keys(table("point_classes")).items():
        for category in texts(f"point_classes.{point_class}", categories):
            if category in point_classes:
                problem("point_classes", f"charge category {category} is listed twice")
            point_classes[category] = point_class
    for category in NATIONAL_CHARGE_CATEGORIES:
        if category not in point_classes:
            problem("point_classes", f"charge category {category} is in no class")
    points_per_yuan = {
        point_class: number(f"points_per_yuan.{point_class}", value)
        for point_class, value in rows_without_common_keys(table("points_per_yuan")).items()
    }
    for point_class, factor in points_per_yuan.items():
        if factor <= 0:
            problem(f"points_per_yuan.{point_class}", "is not above 0")
    # Visit types.
    visit_prefixes: dict[str, str] = {}
    for category in VISIT_CATEGORIES:
        for prefix in texts(f"visit_types.{category}", table("visit_types").get(category, [])):
            if prefix in visit_prefixes:
                problem("visit_types", f"prefix {prefix} is listed twice")
            visit_prefixes[prefix] = category
    emergency_prefixes = texts("visit_types.emergency", table("visit_types").get("emergency", []))
    for prefix in emergency_prefixes:
        if not any(prefix.startswith(other) for other in visit_prefixes):
            problem("visit_types.emergency", f"{prefix} is in no category")
    # Coaching and agreements.
    coaching = None
    if "coaching" in raw:
        row = table("coaching")
        most = row.get("special_diseases_max", {})
        coaching = {
            "base_months": whole("coaching.base_months", row.get("base_months"), 1, 1200),
            "extension_months": whole("coaching.extension_months", row.get("extension_months"), 0, 1200),
            "max_extensions": whole("coaching.max_extensions", row.get("max_extensions"), 0, 1),
            "insurance_types": texts("coaching.insurance_types", row.get("insurance_types")),
            "special_diseases_max": {
                key: whole(f"special_diseases_max.{key}", most[key], 0, 10**6) for key in most
            },
        }
        if "other" not in most:
            problem("coaching.special_diseases_max.other", "is missing")
    limit = whole(
        "agreements.suspension_limit_days", table("agreements").get("suspension_limit_days"), 1, 100_000
    )
    # Thresholds.
    thresholds = []
    for row in tables("thresholds"):
        if not needs(
            "thresholds", row, "effective_from", "payment_class", "zone", "drug_consumable", "service"
        ):
            continue
        if row["zone"] not in zones:
            problem("thresholds.zone", f"{row['zone']} is not in [zones]")
        thresholds.append(
            {
                "effective_from": day("thresholds.effective_from", row["effective_from"]),
                "payment_class": row["payment_class"],
                "zone": row["zone"],
                "drug_consumable": number(
                    "thresholds.drug_consumable", row["drug_consumable"], "0", places=2
                ),
                "service": number("thresholds.service", row["service"], "0", places=2),
            }
        )
    keys = [(row["effective_from"], row["payment_class"], row["zone"]) for row in thresholds]
    for key in {key for key in keys if keys.count(key) > 1}:
        problem("thresholds", f"two rows for {key}")
    growth: dict[int, Fraction] = {}
    for row in tables("growth"):
        if not needs("growth", row, "year", "rate"):
            continue
        year = whole("growth.year", row["year"], 1, 9999)
        if year in growth:
            problem("growth", f"two rows for {year}")
        growth[year] = number("growth.rate", row["rate"])
        if growth[year] <= -1:
            problem("growth.rate", "is not above -1")
    # Overage.
    overage = table("overage")
    paid_share = Fraction(0)
    if "overage" in raw and needs("overage", overage, "paid_share"):
        paid_share = number("overage.paid_share", overage["paid_share"], "0", "1")
    tiers: list[tuple[Fraction, Fraction]] = []
    for row in overage.get("tiers", []):
        if set(row) - EVERYWHERE != {"up_to", "paid_share"}:
            problem("overage.tiers", f"{row} has not exactly up_to and paid_share")
            continue
        up_to = number("overage.tiers.up_to", row["up_to"])
        if up_to <= (tiers[-1][0] if tiers else 1):
            problem("overage.tiers.up_to", "is not above 1 and ascending")
        tiers.append((up_to, number("overage.tiers.paid_share", row["paid_share"], "0", "1")))
    # Priority.
    priority: list[tuple[date, list[str]]] = []
    for row in tables("priority"):
        if not needs("priority", row, "effective_from", "charge_categories"):
            continue
        categories = texts("priority.charge_categories", row["charge_categories"])
        for category in categories:
            if category not in point_classes or categories.count(category) > 1:
                problem("priority.charge_categories", f"{category} is unknown or listed twice")
        priority.append((day("priority.effective_from", row["effective_from"]), categories))
    if len({effective_from for effective_from, _ in priority}) < len(priority):
        problem("priority", "two lists of one date")
    # Money.
    deposit_rate = Fraction(0)
    if needs("money", table("money"), "deposit_rate"):
        deposit_rate = number("money.deposit_rate", table("money")["deposit_rate"], "0", "0.05")
    # Thresholds of single institutions.
    institution_thresholds = []
    for row in tables("institution_thresholds"):
        if not needs(
            "institution_thresholds", row, "institution_id", "effective_from", "point_class", "threshold"
        ):
            continue
        if row["point_class"] not in CLASSES_WITH_THRESHOLD:
            problem("institution_thresholds.point_class", f"{row['point_class']} has no threshold")
        institution_thresholds.append(
            {
                "institution_id": row["institution_id"],
                "effective_from": day("institution_thresholds.effective_from", row["effective_from"]),
                "point_class": row["point_class"],
                "threshold": number("institution_thresholds.threshold", row["threshold"], "0", places=2),
            }
        )
    keys = [
        (row["institution_id"], row["effective_from"], row["point_class"]) for row in institution_thresholds
    ]
    for key in {key for key in keys if keys.count(key) > 1}:
        problem("institution_thresholds", f"two rows for {key}")
    # Readings: the policy's, then those given by hand, then the defaults.
    chosen = {key: values[0] for key, values in READINGS.items()}
    chosen.update({key: value for key, value in table("readings").items() if key not in EVERYWHERE})
    chosen.update(readings or {})
    for key, value in chosen.items():
        if key not in READINGS or value not in READINGS[key]:
            problem(f"readings.{key}", f"{value!r} is unknown")

    effective_from = day("policy.effective_from", table("policy").get("effective_from"))
    effective_to = table("policy").get("effective_to")
    if effective_to is not None:
        day("policy.effective_to", effective_to)
    if problems:
        raise Refused("; ".join(problems))
    return Policy(
        effective_from=effective_from,
        effective_to=effective_to,
        zones=zones,
        point_classes=point_classes,
        points_per_yuan=points_per_yuan,
        visit_prefixes=visit_prefixes,
        emergency_prefixes=emergency_prefixes,
        coaching=coaching,
        suspension_limit_days=limit,
        thresholds=thresholds,
        growth=growth,
        paid_share=paid_share,
        tiers=tiers,
        priority=priority,
        deposit_rate=deposit_rate,
        institution_thresholds=institution_thresholds,
        readings=chosen,
    )


def check_span(policy: Policy, days: list[date]) -> None:
    """Rule 12: the first and the last day of the month lie in the policy's span, else refused."""
    for day in (days[0], days[-1]):
        if day < policy.effective_from or (policy.effective_to is not None and day > policy.effective_to):
            raise Refused(
                f"{day} lies outside the policy's span, {policy.effective_from} to {policy.effective_to}"
            )


def newest_in_effect(rows: list, effective_from, first_day: date):
    """The newest dated row with `effective_from` ≤ the first day of the month, or None."""
    in_effect = [row for row in rows if effective_from(row) <= first_day]
    return max(in_effect, key=effective_from) if in_effect else None


# ---------------------------------------------------------------------------------------------------------------
# Small tables (data 1, data 2: a bad row refuses the whole batch, all of them named)
# ---------------------------------------------------------------------------------------------------------------

INSTITUTION_CODE = re.compile(r"[HP][0-9]{11}\Z")
DIVISION_CODE = re.compile(r"[0-9]{6}\Z")
EVENT_KINDS = (
    "minor_violation", "unrectified", "fraud", "suspended", "resumed", "terminated", "department_suspended",
    "department_resumed", "physician_suspended", "physician_resumed", "inspected",
)  # fmt: skip
DEDUCTION_KINDS = ("disallowed", "penalty", "recovery", "prepayment")
CODE = ["fixmedins_code"]


@dataclass
class Institution:
    id: str
    institution_type: str
    payment_class: str
    division_code: str
    zone: str | None
    settles_under: str | None

    @property
    def settling_id(self) -> str:
        """Rule 1: who is paid: the institution, or the one it settles under (D 5, D 15)."""
        return self.settles_under or self.id


@dataclass
class Agreement:
    id: str
    institution_id: str
    start: date
    end: date
    designation: str
    service_categories: list[str]
    special_diseases: list[str]
    insurance_types: list[str]


@dataclass
class Event:
    id: str
    institution_id: str
    day: date
    kind: str
    target_id: str | None


@dataclass
class SmallTables:
    institutions: dict[str, Institution] = field(default_factory=dict)
    agreements: list[Agreement] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    relief: list[dict] = field(default_factory=list)
    deductions: list[dict] = field(default_factory=list)
    point_values: dict[tuple[date, str, str], Fraction] | None = None  # None: no such file
    budgets: dict[tuple[date, str, str], Fraction] | None = None


class RowCheck:
    """Collects what is wrong in the rows of one small table."""

    def __init__(self, table: Table, problems: list[str]):
        self.table = table
        self.problems = problems
        self.row = Row(0, {})

    def wrong(self, text: str) -> None:
        self.problems.append(f"{self.table.source}, row {self.row.number}: {text}")

    def rows(self):
        """The rows that can be read at all; an undecodable or ragged one is a bad row."""
        for row in self.table.rows:
            self.row = row
            if row.is_undecodable:
                self.wrong("undecodable")
            elif row.is_ragged:
                self.wrong("ragged_row")
            else:
                yield row

    def text(self, column: str) -> str:
        """A text that may not be missing."""
        value = self.row[column]
        if value is None:
            self.wrong(f"{column} is missing")
            return ""
        return value

    def code(self, column: str, allowed) -> str:
        """A code out of a closed list."""
        value = self.text(column)
        if value and value not in allowed:
            self.wrong(f"{column}: {value} is unknown")
        return value

    def day(self, column: str) -> date:
        value = self.text(column)
        parsed = parse_day(value)
        if value and parsed is None:
            self.wrong(f"{column}: {value} is no day")
        return parsed or date.min

    def month(self, column: str) -> date:
        value = self.text(column)
        parsed = parse_month(value)
        if value and parsed is None:
            self.wrong(f"{column}: {value} is no month")
        return parsed or date.min

    def number(self, column: str, places: int, digits_before: int = 16) -> Fraction:
        value = self.text(column)
        if not value:
            return Fraction(0)
        if not is_plain_number(value):
            self.wrong(f"{column}: {value} is no number")
            return Fraction(0)
        if count_decimals(value) > places:
            self.wrong(f"{column}: {value} has more than {places} decimals")
        if abs(number_of(value)) >= 10**digits_before:
            self.wrong(f"{column}: {value} is out of range")
        return number_of(value)

    def items(self, column: str) -> list[str]:
        """A list separated by `;`; empty items do not count, nor does an item twice."""
        found: list[str] = []
        for item in (self.row[column] or "").split(";"):
            if item.strip() and item.strip() not in found:
                found.append(item.strip())
        return found

    def institution(self, registry: dict[str, Institution]) -> str:
        """Data 2: a row that names an institution outside the registry is bad."""
        value = self.text("institution_id")
        if value and value not in registry:
            self.wrong(f"institution {value} is not in the registry")
        return value

    def unique(self, key, seen: set) -> None:
        if key in seen:
            self.wrong(f"{key} is a repeated key")
        seen.add(key)


def open_small_table(
    batch: Path, name: str, names: dict[str, list[str]], required: list[str]
) -> Table | None:
    """One small table of the batch, with its required columns; None if there is no such file."""
    path = batch / f"{name}.csv"
    if not path.exists():
        return None
    table = read_csv(path, path.name, names)
    absent = [column for column in required if column not in table.columns]
    if absent:
        raise Refused(f"{path.name}: columns missing: {', '.join(absent)}")
    return table


def read_institutions(table: Table, policy: Policy, problems: list[str]) -> dict[str, Institution]:
    """Data 1, institutions; data 2: `settles_under` unknown, chained or circular."""
    registry: dict[str, Institution] = {}
    row_of: dict[str, Row] = {}
    check = RowCheck(table, problems)
    for row in check.rows():
        institution_id = check.text("institution_id")
        if institution_id and INSTITUTION_CODE.match(institution_id) is None:
            check.wrong(f"institution_id: {institution_id} is not H or P and 11 digits")
        for column in ("name", "institution_type", "payment_class"):
            check.text(column)
        division_code = check.text("division_code")
        if division_code and DIVISION_CODE.match(division_code) is None:
            check.wrong(f"division_code: {division_code} is not 6 digits")
        if row["zone"] is not None and policy.zones and row["zone"] not in policy.zones:
            check.wrong(f"zone: {row['zone']} is unknown")
        for column, limit in (("longitude", 180), ("latitude", 90)):
            if row[column] is not None and not (
                is_plain_number(row[column]) and abs(number_of(row[column])) <= limit
            ):
                check.wrong(f"{column}: {row[column]} is none")
        if institution_id in registry:
            check.wrong(f"institution_id: {institution_id} is a repeated key")
            continue
        row_of[institution_id] = row
        registry[institution_id] = Institution(
            id=institution_id,
            institution_type=row["institution_type"] or "",
            payment_class=row["payment_class"] or "",
            division_code=division_code,
            zone=row["zone"],
            settles_under=row["settles_under"],
        )
    for institution in registry.values():
        check.row = row_of[institution.id]
        if institution.settles_under is None:
            continue
        if institution.settles_under not in registry:
            check.wrong(f"settles_under: {institution.settles_under} is unknown")
        elif institution.settles_under == institution.id:
            check.wrong("settles_under is circular")
        elif registry[institution.settles_under].settles_under is not None:
            check.wrong("settles_under is chained or circular")
    return registry


def read_agreements(table: Table, registry: dict, policy: Policy, problems: list[str]) -> list[Agreement]:
    """Data 1, agreements; data 2; rule 3.1: two of one institution that overlap as written are an input error."""
    agreements: list[Agreement] = []
    row_of: dict[int, Row] = {}
    seen: set = set()
    check = RowCheck(table, problems)
    for row in check.rows():
        agreement_id = check.text("agreement_id")
        check.unique(agreement_id, seen)
        institution_id = check.institution(registry)
        start, end = check.day("start_date"), check.day("end_date")
        designation = check.code("designation", ("coaching", "ordinary"))
        has_days = start != date.min and end != date.min
        if has_days and end < start:
            check.wrong("end_date is before start_date")
        if designation == "coaching" and policy.coaching is None:
            check.wrong("a coaching agreement under a policy without [coaching]")
        if designation == "coaching" and has_days and end > months_later(start, 12) - ONE_DAY:
            last_allowed = months_later(start, 12) - ONE_DAY
            check.wrong(f"a coaching agreement over 12 months, its last day may be {last_allowed}")
        categories = check.items("service_categories")
        if not categories:
            check.wrong("service_categories is missing")
        for category in categories:
            if category not in VISIT_CATEGORIES:
                check.wrong(f"service_categories: {category} is unknown")
        row_of[len(agreements)] = row
        agreements.append(
            Agreement(
                id=agreement_id,
                institution_id=institution_id,
                start=start,
                end=end,
                designation=designation,
                service_categories=categories,
                special_diseases=check.items("special_diseases"),
                insurance_types=check.items("insurance_types"),
            )
        )
    for later_place, later in enumerate(agreements):
        for earlier in agreements[:later_place]:
            check.row = row_of[later_place]
            same = earlier.institution_id == later.institution_id
            if same and earlier.start <= later.end and later.start <= earlier.end:
                check.wrong(f"agreements {earlier.id} and {later.id} of {later.institution_id} overlap")
    return agreements


def read_events(table: Table, registry: dict, problems: list[str]) -> list[Event]:
    """Data 1, events; an event of a department or physician names it in `target_id`."""
    events: list[Event] = []
    seen: set = set()
    check = RowCheck(table, problems)
    for row in check.rows():
        event_id = check.text("event_id")
        check.unique(event_id, seen)
        institution_id = check.institution(registry)
        day = check.day("occurred_on")
        kind = check.code("kind", EVENT_KINDS)
        if kind.startswith(("department_", "physician_")):
            check.text("target_id")
        events.append(Event(event_id, institution_id, day, kind, row["target_id"]))
    return events


def read_keyed_money(table: Table, column: str, places: int, policy: Policy, problems: list[str]) -> dict:
    """Data 1: point_values (above 0, six decimals) or budgets (not below 0, two decimals), by month, zone and class."""
    found: dict[tuple[date, str, str], Fraction] = {}
    seen: set = set()
    check = RowCheck(table, problems)
    for _ in check.rows():
        zone = check.code("zone", ("*", *policy.zones)) if policy.zones else check.text("zone")
        key = (check.month("month"), zone, check.code("point_class", POINT_CLASSES))
        check.unique(key, seen)
        value = check.number(column, places, 18 - places)
        if column == "point_value" and value <= 0:
            check.wrong("point_value is not above 0")
        if column == "budget" and value < 0:
            check.wrong("budget is below 0")
        found[key] = value
    return found


def read_small_tables(batch: Path, policy: Policy) -> SmallTables:
    """Data 2: all small tables, checked together; every bad row is named in one refusal."""
    problems: list[str] = []
    small = SmallTables()

    table = open_small_table(
        batch,
        "institutions",
        {"institution_id": CODE, "name": ["fixmedins_name"], "institution_type": [], "payment_class": [],
         "division_code": [], "zone": [], "settles_under": [], "longitude": [], "latitude": []},
        ["institution_id", "name", "institution_type", "payment_class", "division_code"],
    )  # fmt: skip
    if table is None:
        raise Refused("institutions.csv is missing")
    small.institutions = registry = read_institutions(table, policy, problems)

    table = open_small_table(
        batch,
        "agreements",
        {"agreement_id": [], "institution_id": CODE, "start_date": [], "end_date": [], "designation": [],
         "service_categories": [], "special_diseases": [], "insurance_types": []},
        ["agreement_id", "institution_id", "start_date", "end_date", "designation", "service_categories"],
    )  # fmt: skip
    if table is None:
        raise Refused("agreements.csv is missing")
    small.agreements = read_agreements(table, registry, policy, problems)

    table = open_small_table(
        batch,
        "events",
        {"event_id": [], "institution_id": CODE, "occurred_on": [], "kind": [], "target_id": [], "note": []},
        ["event_id", "institution_id", "occurred_on", "kind"],
    )
    if table is not None:
        small.events = read_events(table, registry, problems)

    table = open_small_table(
        batch,
        "relief",
        {"institution_id": CODE, "month": [], "point_class": [], "approved_points": [], "reference": []},
        ["institution_id", "month", "point_class", "approved_points"],
    )
    if table is not None:
        check = RowCheck(table, problems)
        for _ in check.rows():
            institution_id = check.institution(registry)
            if institution_id in registry and registry[institution_id].settles_under is not None:
                check.wrong(f"{institution_id} is no settling institution")
            points = check.number("approved_points", 2)
            if points <= 0:
                check.wrong("approved_points is not above 0")
            small.relief.append(
                {
                    "institution_id": institution_id,
                    "month": check.month("month"),
                    "point_class": check.code("point_class", POINT_CLASSES),
                    "approved_points": points,
                }
            )

    table = open_small_table(
        batch,
        "deductions",
        {"institution_id": CODE, "month": [], "kind": [], "amount": [], "reference": []},
        ["institution_id", "month", "kind", "amount"],
    )
    if table is not None:
        check = RowCheck(table, problems)
        for _ in check.rows():
            amount = check.number("amount", 2)
            if amount <= 0:
                check.wrong("amount is not above 0")
            small.deductions.append(
                {
                    "institution_id": check.institution(registry),
                    "month": check.month("month"),
                    "kind": check.code("kind", DEDUCTION_KINDS),
                    "amount": amount,
                }
            )

    money_columns = {"month": [], "zone": [], "point_class": []}
    table = open_small_table(
        batch, "point_values", {**money_columns, "point_value": []}, [*money_columns, "point_value"]
    )
    if table is not None:
        small.point_values = read_keyed_money(table, "point_value", 6, policy, problems)
    table = open_small_table(batch, "budgets", {**money_columns, "budget": []}, [*money_columns, "budget"])
    if table is not None:
        small.budgets = read_keyed_money(table, "budget", 2, policy, problems)
    for month, zone, point_class in sorted(set(small.point_values or {}) & set(small.budgets or {})):
        problems.append(f"point_values and budgets both have {month:%Y-%m} {zone} {point_class}")  # rule 8.1

    table = open_small_table(
        batch,
        "assessments",
        {"institution_id": CODE, "year": [], "score": []},
        ["institution_id", "year", "score"],
    )
    if table is not None:
        check = RowCheck(table, problems)
        seen: set = set()
        for _ in check.rows():
            year = check.text("year")
            if year and re.match(r"[0-9]{4}\Z", year) is None:
                check.wrong(f"year: {year} is none")
            check.unique((check.institution(registry), year), seen)
            if not 0 <= check.number("score", 12) <= 100:
                check.wrong("score is not from 0 to 100")

    if problems:
        raise Refused("; ".join(problems))
    return small


# ---------------------------------------------------------------------------------------------------------------
# Claim lines (data 1) and their rejection (data 2)
# ---------------------------------------------------------------------------------------------------------------

CLAIM_COLUMNS: dict[str, list[str]] = {  # in the order of the contract's table
    "claim_id": ["setl_id"],
    "line_id": ["feedetl_sn", "bkkp_sn"],
    "institution_id": ["fixmedins_code"],
    "department_id": ["bilg_dept_codg"],
    "physician_id": ["bilg_dr_codg", "bilg_dr_code"],
    "serviced_at": ["fee_ocur_time"],
    "settled_at": ["setl_time"],
    "insurance_type": ["insutype"],
    "visit_type": ["med_type"],
    "disease_code": ["dise_codg"],
    "charge_category": ["med_chrgitm_type"],
    "points": [],
    "amount": ["inscp_scp_amt", "inscp_amt", "det_item_fee_sumamt"],
    "reverses_line_id": ["init_feedetl_sn"],
    "is_valid": ["vali_flag"],
    "person_id": ["psn_no"],
}
FROM_SETTLEMENTS = ("settled_at", "insurance_type", "visit_type")
ALWAYS_REQUIRED = (
    "claim_id", "line_id", "institution_id", "serviced_at", "settled_at", "insurance_type", "visit_type",
    "charge_category",
)  # fmt: skip


@dataclass
class Line:
    """One row of a claims file, and everything that is found out about it on the way."""

    source: str
    row_number: int
    file_order: int  # place in the batch: files in byte order of their names, then rows
    row: Row
    has_points_column: bool
    rule: str | None = None  # the rejection rule it broke
    column: str | None = None
    serviced_at: datetime | None = None
    settled_at: datetime | None = None
    points: Fraction | None = None
    # judged:
    settling_id: str = ""
    agreement: Agreement | None = None
    reason: str | None = None
    regime: str = ""
    point_class: str = ""
    paid: Fraction = Fraction(0)

    def __getitem__(self, column: str) -> str | None:
        return self.row[column]

    @property
    def claims_cell(self) -> str:
        """The column that says how much: points, or in a file without points the amount."""
        return "points" if self.has_points_column else "amount"


def canonical_key(line: Line):
    """Rule 7: `settled_at`, `claim_id`, `line_id`, submitting `institution_id`; texts by their UTF-8 bytes."""
    texts = (line["claim_id"], line["line_id"], line["institution_id"])
    return (line.settled_at, *(text.encode("utf-8") for text in texts))


def read_claims(batch: Path) -> list[Line]:
    """Data 1: the claim files in byte order of their names, joined with `settlements` for the columns they lack."""
    folder, single = batch / "claims", batch / "claims.csv"
    if folder.is_dir() and single.exists():
        raise Refused("claims/ and claims.csv are both present")
    if folder.is_dir():
        paths = sorted(folder.glob("*.csv"), key=lambda path: path.name.encode("utf-8"))
    else:
        paths = [single] if single.exists() else []
    if not paths:
        raise Refused("no claims file")
    settlements = read_settlements(batch)
    lines: list[Line] = []
    for path in paths:
        source = path.relative_to(batch).as_posix()
        table = read_csv(path, source, CLAIM_COLUMNS)
        lacking = [column for column in FROM_SETTLEMENTS if column not in table.columns]
        absent = [
            column for column in ALWAYS_REQUIRED if column not in table.columns and column not in lacking
        ]
        if lacking and settlements is None:
            absent += lacking
        if lacking and settlements is not None:
            absent += [column for column in lacking if column not in settlements.columns]
        if "points" not in table.columns and "amount" not in table.columns:
            absent.append("points")
        if absent:
            raise Refused(f"{source}: columns missing: {', '.join(absent)}")
        by_claim = {row["claim_id"]: row for row in settlements.rows} if settlements is not None else {}
        for row in table.rows:
            if row.cells:
                settlement = by_claim.get(row["claim_id"]) if row["claim_id"] is not None else None
                for column in lacking:
                    row.cells[column] = settlement[column] if settlement is not None else None
            lines.append(Line(source, row.number, len(lines), row, "points" in table.columns))
    return lines


def read_settlements(batch: Path) -> Table | None:
    """Data 1 and 2: one row per claim; a claim twice refuses the batch, a bad cell rejects that claim's lines only."""
    names = {column: CLAIM_COLUMNS[column] for column in ("claim_id", *FROM_SETTLEMENTS)}
    table = open_small_table(batch, "settlements", names, ["claim_id"])
    if table is None:
        return None
    problems: list[str] = []
    check = RowCheck(table, problems)
    seen: set = set()
    for _ in check.rows():
        check.unique(check.text("claim_id"), seen)
    if problems:
        raise Refused("; ".join(problems))
    return table


def visit_category_of(visit_type: str | None, policy: Policy) -> str | None:
    """Rule 5: by the longest prefix in the policy; None if no prefix fits."""
    fitting = [prefix for prefix in policy.visit_prefixes if (visit_type or "").startswith(prefix)]
    return policy.visit_prefixes[max(fitting, key=len)] if fitting else None


def is_emergency(visit_type: str | None, policy: Policy) -> bool:
    """policy.md: any emergency prefix fits."""
    return any((visit_type or "").startswith(prefix) for prefix in policy.emergency_prefixes)


def point_class_of(visit_type: str | None, charge_category: str | None, policy: Policy) -> str | None:
    """Rule 5: `inpatient` by visit, else by charge category and the reading `tcm_decoction`; None if unknown.

    Choice: an inpatient visit has its class whatever its charge category, even an unknown one.
    """
    category = visit_category_of(visit_type, policy)
    if category is None:
        return None
    if category == "inpatient":
        return "inpatient"
    point_class = policy.point_classes.get(charge_category or "")
    if point_class == "tcm_decoction" and policy.readings["tcm_decoction"] != "separate":
        return policy.readings["tcm_decoction"]
    return point_class


def converted_points(line: Line, policy: Policy) -> Fraction | None:
    """Rule 5: `amount × points_per_yuan[point class]`, half-up to 4 decimals; None if class or factor is unknown."""
    factor = policy.points_per_yuan.get(
        point_class_of(line["visit_type"], line["charge_category"], policy) or ""
    )
    if factor is None:
        return None
    return half_up(number_of(line["amount"]) * factor, 4)


def present(line: Line, column: str) -> bool:
    return line[column] is not None


def find_missing_value(line: Line, policy: Policy, month: date, registry: dict) -> str | None:
    """Data 2 `missing_value`: a required cell is missing; rule 5: a blank cell in a points column too."""
    required = (*ALWAYS_REQUIRED, line.claims_cell)
    return next(
        (column for column in CLAIM_COLUMNS if column in required and not present(line, column)), None
    )


def find_bad_number(line: Line, policy: Policy, month: date, registry: dict) -> str | None:
    """Data 2 `bad_number`: points or amount is no plain number; an optional column that is present must be good."""
    return next((c for c in ("points", "amount") if present(line, c) and not is_plain_number(line[c])), None)


def find_bad_datetime(line: Line, policy: Policy, month: date, registry: dict) -> str | None:
    """Data 2 `bad_datetime`."""
    line.serviced_at, line.settled_at = parse_moment(line["serviced_at"]), parse_moment(line["settled_at"])
    return "serviced_at" if line.serviced_at is None else "settled_at" if line.settled_at is None else None


def find_bad_code(line: Line, policy: Policy, month: date, registry: dict) -> str | None:
    """Data 2 `bad_code`: ids over 30 characters, and the institution's pattern."""
    if len(line["claim_id"]) > 30:
        return "claim_id"
    if len(line["line_id"]) > 30:
        return "line_id"
    return "institution_id" if INSTITUTION_CODE.match(line["institution_id"]) is None else None


def find_too_many_decimals(line: Line, policy: Policy, month: date, registry: dict) -> str | None:
    """Data 2 `too_many_decimals`: more than 4 in points, more than 2 in amount, counted by value."""
    if present(line, "points") and count_decimals(line["points"]) > 4:
        return "points"
    return "amount" if present(line, "amount") and count_decimals(line["amount"]) > 2 else None


def find_out_of_range(line: Line, policy: Policy, month: date, registry: dict) -> str | None:
    """Data 2 `out_of_range`: points above 10 000 000, an amount beyond decimal(18,2); and here the points are set.

    Choice: converted points above 10 000 000 are out of range too, in column `amount`.
    """
    if line.has_points_column and abs(number_of(line["points"])) > LARGEST_POINTS:
        return "points"
    if present(line, "amount") and abs(number_of(line["amount"])) >= FIRST_AMOUNT_TOO_LARGE:
        return "amount"
    line.points = number_of(line["points"]) if line.has_points_column else converted_points(line, policy)
    return "amount" if line.points is not None and abs(line.points) > LARGEST_POINTS else None


def find_serviced_after_settled(line: Line, policy: Policy, month: date, registry: dict) -> str | None:
    """Data 2 `serviced_after_settled`."""
    return "serviced_at" if line.serviced_at > line.settled_at else None


def find_outside_month(line: Line, policy: Policy, month: date, registry: dict) -> str | None:
    """Rule 2: month = calendar month of `settled_at`, or of `serviced_at` by the reading `month_basis`."""
    basis = policy.readings["month_basis"]
    moment = line.settled_at if basis == "settled_at" else line.serviced_at
    return basis if (moment.year, moment.month) != (month.year, month.month) else None


def find_unknown_institution(line: Line, policy: Policy, month: date, registry: dict) -> str | None:
    """Rule 4: an institution that the registry does not list cannot be placed."""
    return "institution_id" if line["institution_id"] not in registry else None


def find_unknown_charge_category(line: Line, policy: Policy, month: date, registry: dict) -> str | None:
    """Data 2 `unknown_charge_category`."""
    return "charge_category" if line["charge_category"] not in policy.point_classes else None


def find_unknown_visit_type(line: Line, policy: Policy, month: date, registry: dict) -> str | None:
    """Data 2 `unknown_visit_type`."""
    return "visit_type" if visit_category_of(line["visit_type"], policy) is None else None


def find_void_line(line: Line, policy: Policy, month: date, registry: dict) -> str | None:
    """Data 1: `0` = void line, anything else valid."""
    return "is_valid" if line["is_valid"] == "0" else None


def find_reversal_without_reference(line: Line, policy: Policy, month: date, registry: dict) -> str | None:
    """Data 1: `reverses_line_id` is set when points are negative."""
    points = line.points if line.points is not None else number_of(line["amount"])
    return "reverses_line_id" if points < 0 and not present(line, "reverses_line_id") else None


LINE_RULES = {  # data 2: the first that fits wins
    "missing_value": find_missing_value,
    "bad_number": find_bad_number,
    "bad_datetime": find_bad_datetime,
    "bad_code": find_bad_code,
    "too_many_decimals": find_too_many_decimals,
    "out_of_range": find_out_of_range,
    "serviced_after_settled": find_serviced_after_settled,
    "outside_month": find_outside_month,
    "unknown_institution": find_unknown_institution,
    "unknown_charge_category": find_unknown_charge_category,
    "unknown_visit_type": find_unknown_visit_type,
    "void_line": find_void_line,
    "reversal_without_reference": find_reversal_without_reference,
}


def reject_lines(lines: list[Line], policy: Policy, month: date, registry: dict) -> None:
    """Data 2: sets `rule` and `column` of every bad line: the first rule that fits, duplicates last."""
    for line in lines:
        if line.row.is_undecodable:
            line.rule = "undecodable"
            continue
        if line.row.is_ragged:
            line.rule = "ragged_row"
            continue
        for rule, find in LINE_RULES.items():
            column = find(line, policy, month, registry)
            if column is not None:
                line.rule, line.column = rule, column
                break
    reject_duplicates(lines)


def reject_duplicates(lines: list[Line]) -> None:
    """Data 2: among lines that broke no earlier rule; points and amounts compare by value, missing ≠ 0.

    Choice: the cells are compared, not converted points. `column_name` is the first of points, amount that differs,
    or `claim_id` for a `duplicate_line`.
    """
    copies: dict[tuple, list[Line]] = {}
    for line in lines:
        if line.rule is None:
            key = (line["institution_id"], line["claim_id"], line["line_id"])
            copies.setdefault(key, []).append(line)
    for group in copies.values():
        if len(group) == 1:
            continue
        differing = None
        for column in ("amount", "points"):
            values = {number_of(line[column]) if present(line, column) else None for line in group}
            if len(values) > 1:
                differing = column
        if differing is not None:
            for line in group:
                line.rule, line.column = "conflicting_duplicate", differing
            continue
        group.sort(key=lambda line: (canonical_key(line), line.file_order))
        for line in group[1:]:
            line.rule, line.column = "duplicate_line", "claim_id"


def points_of_rejected(line: Line, policy: Policy) -> Fraction:
    """Data 2: its points if the cell is a plain number of at most 4 decimals within range, else 0.

    Converted where its class is known. Choice: an amount cell of 3 or 4 decimals, though `too_many_decimals`, counts.
    """
    if line.rule in ("undecodable", "ragged_row"):
        return Fraction(0)
    cell = line[line.claims_cell]
    if cell is None or not is_plain_number(cell) or count_decimals(cell) > 4:
        return Fraction(0)
    if line.has_points_column:
        points = number_of(cell)
    elif abs(number_of(cell)) >= FIRST_AMOUNT_TOO_LARGE:
        return Fraction(0)
    else:
        points = converted_points(line, policy)
    return points if points is not None and abs(points) <= LARGEST_POINTS else Fraction(0)


def check_factors(lines: list[Line], policy: Policy) -> None:
    """Rule 5: a file without points under a policy without the factor of a class that occurs is refused.

    Choice: a class occurs if a line that is not rejected has it.
    """
    lacking = {
        point_class_of(line["visit_type"], line["charge_category"], policy)
        for line in lines
        if line.rule is None and line.points is None
    }
    if lacking:
        raise Refused(f"no points column, and no points_per_yuan for {', '.join(sorted(lacking))}")


# ---------------------------------------------------------------------------------------------------------------
# Agreement timeline (rule 3)
# ---------------------------------------------------------------------------------------------------------------


@dataclass
class History:
    """What the own events of one institution did to it."""

    terminations: set[date]
    suspended_days: set[date]
    suspensions_begun: list[date]


@dataclass
class Period:
    """A coaching period; `base_last` is its last day without, `last` with its extension."""

    first: date
    base_last: date
    last: date


def replay_events(events: list[Event], limit_days: int) -> History:
    """Rules 3.2 and 3.3, day by day, for the own events of one institution.

    Events of one day act in the order resumed, terminated, suspended. `fraud` terminates like `terminated`; a
    suspension not resumed on or before day d + limit acts as `terminated` on that day. A termination closes an open
    suspension. Whether the day is suspended is known when all its events have acted.
    """
    history = History(set(), set(), [])
    kinds = ("suspended", "resumed", "terminated", "fraud")
    relevant = [event for event in events if event.kind in kinds]
    if not relevant:
        return history
    day = min(event.day for event in relevant)
    last_event = max(event.day for event in relevant)
    open_since: date | None = None
    while day <= last_event or open_since is not None:
        kinds_of_day = {event.kind for event in relevant if event.day == day}
        if "resumed" in kinds_of_day:
            open_since = None
        lapses = open_since is not None and day == open_since + timedelta(days=limit_days)
        if lapses or "terminated" in kinds_of_day or "fraud" in kinds_of_day:
            history.terminations.add(day)
            open_since = None
        if "suspended" in kinds_of_day and open_since is None:
            open_since = day
            history.suspensions_begun.append(day)
        if open_since is not None:
            history.suspended_days.add(day)
        day += ONE_DAY
    return history


def last_day_in_force(agreement: Agreement, terminations: set[date]) -> date:
    """Rules 3.1 and 3.2: to `end_date`, or to the day before the first termination on or after `start_date`.

    A day before `start_date` says that the agreement was never in force.
    """
    cuts = [day for day in terminations if agreement.start <= day]
    return min([agreement.end] + [day - ONE_DAY for day in cuts])


def is_in_force(agreement: Agreement, terminations: set[date], day: date) -> bool:
    return agreement.start <= day <= last_day_in_force(agreement, terminations)


class Timeline:
    """Rule 3 for one settling institution: its own agreements and its own events."""

    def __init__(self, agreements: list[Agreement], events: list[Event], policy: Policy):
        self.agreements = sorted(agreements, key=lambda agreement: agreement.start)
        self.events = events
        self.policy = policy
        self.history = replay_events(events, policy.suspension_limit_days)

    def stretch_of(self, agreement: Agreement) -> int:
        """Rule 3.4: stretches between terminations, counted; a start on the day of a termination is before it."""
        return len([day for day in self.history.terminations if day < agreement.start])

    def first_coaching_agreement(self, stretch: int) -> Agreement | None:
        """Rule 3.4: the institution's first `coaching` agreement of the stretch."""
        coaching = [
            a for a in self.agreements if a.designation == "coaching" and self.stretch_of(a) == stretch
        ]
        return coaching[0] if coaching else None

    def period_of_stretch(self, stretch: int) -> Period | None:
        """Rules 3.4 and 3.5: `base_months` from its start, or with one extension if a minor violation falls in them.

        Choice: a termination does not shorten a period, and an event belongs to a period by its date alone.
        """
        first_agreement = self.first_coaching_agreement(stretch)
        if first_agreement is None:
            return None
        coaching = self.policy.coaching
        first = first_agreement.start
        base_last = months_later(first, coaching["base_months"]) - ONE_DAY
        last = base_last
        violations = [e for e in self.events if e.kind == "minor_violation" and first <= e.day <= base_last]
        if violations and coaching["max_extensions"] == 1:
            last = months_later(first, coaching["base_months"] + coaching["extension_months"]) - ONE_DAY
        return Period(first, base_last, last)

    def period_of(self, agreement: Agreement) -> Period | None:
        """Rule 3.4: an agreement belongs to the period of its own stretch between terminations."""
        return self.period_of_stretch(self.stretch_of(agreement))

    def is_coaching_year(self, agreement: Agreement) -> bool:
        """Rule 3.6: a `coaching` agreement whose days in force meet the coaching period on at least one day."""
        if agreement.designation != "coaching":
            return False
        period = self.period_of(agreement)
        last = last_day_in_force(agreement, self.history.terminations)
        return max(agreement.start, period.first) <= min(last, period.last)

    def periods(self) -> list[tuple[Period, Agreement]]:
        """Every coaching period, with its first coaching agreement."""
        stretches = sorted({self.stretch_of(agreement) for agreement in self.agreements})
        return [
            (self.period_of_stretch(stretch), self.first_coaching_agreement(stretch))
            for stretch in stretches
            if self.first_coaching_agreement(stretch) is not None
        ]

    def rows(self, institution_id: str) -> list[dict]:
        """The table agreement_years.

        Choice: all agreements and events of the batch; the period of its stretch for ordinary agreements too; an
        agreement never in force has no days.
        """
        rows = []
        for agreement in self.agreements:
            last = last_day_in_force(agreement, self.history.terminations)
            period = self.period_of(agreement)
            rows.append(
                {
                    "institution_id": institution_id,
                    "agreement_id": agreement.id,
                    "in_force_from": agreement.start if last >= agreement.start else None,
                    "in_force_to": last if last >= agreement.start else None,
                    "coaching_from": period.first if period else None,
                    "coaching_to": period.last if period else None,
                    "is_coaching_year": self.is_coaching_year(agreement),
                }
            )
        return rows


def findings_of(institution: Institution, small: SmallTables, policy: Policy, last_day: date) -> set[str]:
    """Rule 3.7 but for `billed_while_suspended`: as known on the last day of the month, former periods included."""
    agreements = [a for a in small.agreements if a.institution_id == institution.id and a.start <= last_day]
    events = [
        event for event in small.events if event.institution_id == institution.id and event.day <= last_day
    ]
    known = Timeline(agreements, events, policy)
    found: set[str] = set()
    for agreement in agreements:
        begun = [
            day
            for day in known.history.suspensions_begun
            if is_in_force(agreement, known.history.terminations, day)
        ]
        if len(begun) >= 2:
            found.add("two_suspensions")
        if agreement.designation == "coaching":
            allowed = policy.coaching["special_diseases_max"]
            if len(agreement.special_diseases) > allowed.get(institution.institution_type, allowed["other"]):
                found.add("too_many_diseases")
    for period, first_agreement in known.periods():
        inspection_last = months_later(period.first, 6) - ONE_DAY
        inspected = [e for e in events if e.kind == "inspected" and period.first <= e.day <= inspection_last]
        if inspection_last <= last_day and not inspected:
            found.add("inspection_due")
        if "special_outpatient" in first_agreement.service_categories:
            found.add("special_in_first_year")
        for event in events:
            is_in_extension = period.base_last < event.day <= period.last
            is_breach = event.kind in ("minor_violation", "unrectified")
            if is_breach and is_in_extension and any(agreement.start > event.day for agreement in agreements):
                found.add("renewal_barred")
    return found


# ---------------------------------------------------------------------------------------------------------------
# Judging a line (rules 4 and 5)
# ---------------------------------------------------------------------------------------------------------------


def is_target_suspended(
    events: list[Event], institution_id: str, what: str, target_id: str | None, day: date
) -> bool:
    """Rule 4: whether a department or physician is suspended that day by the events of one institution.

    Of one day, resumed acts before suspended (rule 3.3). Choice: nothing but its `resumed` ends it.
    """
    if target_id is None:
        return False
    is_suspended = False
    order = {f"{what}_resumed": 0, f"{what}_suspended": 1}
    mine = [
        e
        for e in events
        if e.institution_id == institution_id and e.kind in order and e.target_id == target_id
    ]
    for event in sorted(mine, key=lambda event: (event.day, order[event.kind])):
        if event.day <= day:
            is_suspended = event.kind == f"{what}_suspended"
    return is_suspended


def judge_line(
    line: Line, small: SmallTables, timelines: dict[str, Timeline], histories: dict, policy: Policy
) -> None:
    """Rules 4 and 5: sets settling institution, agreement in force, reason, regime and point class of a line."""
    submitting_id = line["institution_id"]
    line.settling_id = small.institutions[submitting_id].settling_id
    line.point_class = point_class_of(line["visit_type"], line["charge_category"], policy)
    timeline = timelines[line.settling_id]
    day = line.serviced_at.date()
    # Rule 3.3: for a line, terminations and suspended days of its submitting and its settling institution both count.
    terminations = histories[submitting_id].terminations | histories[line.settling_id].terminations
    suspended_days = histories[submitting_id].suspended_days | histories[line.settling_id].suspended_days
    in_force = [a for a in timeline.agreements if is_in_force(a, terminations, day)]
    line.agreement = in_force[0] if in_force else None
    line.reason = first_reason(line, small, timeline.agreements, terminations, suspended_days, policy)
    line.regime = regime_of(line, timeline, policy)


def first_reason(
    line: Line,
    small: SmallTables,
    agreements: list[Agreement],
    terminations: set,
    suspended_days: set,
    policy: Policy,
) -> str | None:
    """Rule 4: the first reason that fits, in this order; None if the line is payable."""
    day = line.serviced_at.date()
    agreement = line.agreement
    if agreement is None and not is_emergency(line["visit_type"], policy):
        started = [a for a in agreements if a.start <= day]
        newest = max(started, key=lambda a: a.start) if started else None
        if newest is not None and any(newest.start <= cut <= newest.end for cut in terminations):
            return "terminated"
        return "no_agreement"
    if day in suspended_days:
        return "suspended"
    if is_target_suspended(small.events, line["institution_id"], "department", line["department_id"], day):
        return "department_suspended"
    for institution_id in (line["institution_id"], line.settling_id):
        if is_target_suspended(small.events, institution_id, "physician", line["physician_id"], day):
            return "physician_suspended"
    if agreement is None:
        return None  # an emergency outside any agreement (D 34)
    insurance_types = agreement.insurance_types
    if not insurance_types and agreement.designation == "coaching":
        insurance_types = policy.coaching["insurance_types"]
    covers_all_types = not agreement.insurance_types and agreement.designation == "ordinary"
    if not covers_all_types and line["insurance_type"] not in insurance_types:
        return "insurance_type_not_covered"
    category = visit_category_of(line["visit_type"], policy)
    if category not in agreement.service_categories:
        return "service_category_not_covered"
    covers_all_diseases = not agreement.special_diseases and agreement.designation == "ordinary"
    is_listed = line["disease_code"] in agreement.special_diseases
    if category == "special_outpatient" and not covers_all_diseases and not is_listed:
        return "disease_not_covered"
    return None


def regime_of(line: Line, timeline: Timeline, policy: Policy) -> str:
    """Rule 5 and reading `coaching_scope`: of the agreement in force on `serviced_at`."""
    if line.agreement is None:
        return "emergency" if line.reason is None else "none"
    if not timeline.is_coaching_year(line.agreement):
        return "ordinary"
    if policy.readings["coaching_scope"] == "coaching_period":
        period = timeline.period_of(line.agreement)
        return "coaching" if period.first <= line.serviced_at.date() <= period.last else "ordinary"
    return "coaching"


# ---------------------------------------------------------------------------------------------------------------
# Threshold in force (rule 6)
# ---------------------------------------------------------------------------------------------------------------


def zone_of(institution: Institution, policy: Policy) -> str | None:
    """Rule 6.3: the registry's zone if given, else from the division code by the policy's table."""
    if institution.zone is not None:
        return institution.zone
    zones = [zone for zone, codes in policy.zones.items() if institution.division_code in codes]
    return zones[0] if zones else None


def is_zone_needed(policy: Policy, small: SmallTables, month: date) -> bool:
    """Rule 6.3: if the policy has zones or thresholds, or a money table is keyed by zone.

    Choice: a money table of this month.
    """
    keys = [*(small.point_values or {}), *(small.budgets or {})]
    return bool(policy.zones or policy.thresholds) or any(key[0] == month and key[1] != "*" for key in keys)


def place_institutions(
    settling_ids: list[str], small: SmallTables, policy: Policy, month: date
) -> dict[str, str | None]:
    """Rule 6.3: the zone of every settling institution with lines in the month; none where one is needed: refused."""
    zones = {settling_id: zone_of(small.institutions[settling_id], policy) for settling_id in settling_ids}
    without = [settling_id for settling_id, zone in zones.items() if zone is None]
    if without and is_zone_needed(policy, small, month):
        raise Refused(
            f"no zone: {', '.join(f'{i} in {small.institutions[i].division_code}' for i in without)}"
        )
    return zones


def base_row_of(institution: Institution, zone: str | None, policy: Policy, month: date) -> dict | None:
    """Rule 6.2: the newest threshold row in effect for payment class and zone."""
    fitting = [
        r for r in policy.thresholds if (r["payment_class"], r["zone"]) == (institution.payment_class, zone)
    ]
    return newest_in_effect(fitting, lambda row: row["effective_from"], month)


def grow(base: Fraction, row: dict, period_start: date, policy: Policy, month: date) -> Fraction:
    """Rule 6.4: base × Π (1 + growth[k]) for k = s+1 … y, half-up to 0.01 once; a year without a row counts as 0."""
    value = base
    for year in range(max(period_start.year, row["effective_from"].year) + 1, month.year + 1):
        value *= 1 + policy.growth.get(year, Fraction(0))
    return half_up(value, 2)


def cut_by_day(
    threshold: Fraction, timeline: Timeline, regime: str, days: list[date], policy: Policy
) -> Fraction:
    """Rule 6.5: × days in force ÷ days of the month, half-up to 0.01; a month with none counts as full."""
    if policy.readings["partial_month"] == "full":
        return threshold
    counted = 0
    for day in days:
        for agreement in timeline.agreements:
            is_of_regime = timeline.is_coaching_year(agreement) == (regime == "coaching")
            if is_of_regime and is_in_force(agreement, timeline.history.terminations, day):
                counted += 1
    if counted == 0:
        return threshold
    return half_up(threshold * counted / len(days), 2)


def relief_of(settling_id: str, point_class: str, small: SmallTables, month: date) -> Fraction:
    """Rule 6.6: approved extra points are added in full (D 37); rows add up."""
    total = Fraction(0)
    for row in small.relief:
        if (row["institution_id"], row["month"], row["point_class"]) == (settling_id, month, point_class):
            total += row["approved_points"]
    return total


def threshold_of(
    key: tuple[str, str, str],
    lines: list[Line],
    zone: str | None,
    small: SmallTables,
    timeline: Timeline,
    policy: Policy,
    days: list[date],
) -> Fraction | None:
    """Rule 6: the threshold of one group, None if it has none."""
    settling_id, regime, point_class = key
    if point_class not in CLASSES_WITH_THRESHOLD:
        return None  # rule 6.1
    if regime == "coaching":
        row = base_row_of(small.institutions[settling_id], zone, policy, days[0])
        period_start = max(
            timeline.period_of(line.agreement).first for line in lines
        )  # rule 6.4, last sentence
        threshold = grow(row[point_class], row, period_start, policy, days[0])
    elif regime == "ordinary":
        rows = [
            row
            for row in policy.institution_thresholds
            if (row["institution_id"], row["point_class"]) == (settling_id, point_class)
        ]
        row = newest_in_effect(rows, lambda row: row["effective_from"], days[0])
        if row is None:
            return None  # rule 6.7
        threshold = row["threshold"]
    else:
        return None
    return cut_by_day(threshold, timeline, regime, days, policy) + relief_of(
        settling_id, point_class, small, days[0]
    )


def check_threshold_rows(groups: dict, zones: dict, small: SmallTables, policy: Policy, month: date) -> None:
    """Rule 6.2: no row for a coaching group of class drug_consumable or service: refused with the list."""
    without = []
    for settling_id, regime, point_class in groups:
        institution = small.institutions[settling_id]
        is_capped = regime == "coaching" and point_class in CLASSES_WITH_THRESHOLD
        if is_capped and base_row_of(institution, zones[settling_id], policy, month) is None:
            without.append(f"{settling_id} ({institution.payment_class}, {zones[settling_id]})")
    if without:
        raise Refused(f"no threshold row for {', '.join(sorted(set(without)))}")


# ---------------------------------------------------------------------------------------------------------------
# What is paid (rule 7)
# ---------------------------------------------------------------------------------------------------------------


def payable(eligible: Fraction, threshold: Fraction | None, policy: Policy) -> Fraction:
    """Rule 7, f(x): x up to the threshold, each slice of overage with its own share, half-up to 4 decimals."""
    if threshold is None or eligible <= 0 or eligible <= threshold:
        return eligible
    paid = threshold
    lower = threshold
    for up_to, share in policy.tiers:
        upper = threshold * up_to
        if eligible > lower:
            paid += (min(eligible, upper) - lower) * share
        lower = upper
    if eligible > lower:
        paid += (eligible - lower) * policy.paid_share
    return half_up(paid, 4)


def priority_rank(line: Line, policy: Policy, month: date) -> int:
    """Rule 7: place in the dated list of charge categories; those not listed share the last rank."""
    _, categories = newest_in_effect(policy.priority, lambda row: row[0], month)
    category = line["charge_category"]
    return categories.index(category) if category in categories else len(categories)


def attribute(lines: list[Line], threshold: Fraction | None, policy: Policy, month: date) -> None:
    """Rule 7, attribution: sets what each eligible line of a group is paid; ineligible lines are paid nothing."""
    reading = policy.readings["attribution"]
    eligible = sorted((line for line in lines if line.reason is None), key=canonical_key)
    if reading == "priority":
        eligible.sort(key=lambda line: (priority_rank(line, policy, month), canonical_key(line)))
    total = sum((line.points for line in eligible), Fraction(0))
    paid_total = payable(total, threshold, policy)
    running = Fraction(0)
    for line in eligible:
        before, running = running, running + line.points
        if reading != "pro_rata":
            line.paid = payable(running, threshold, policy) - payable(before, threshold, policy)
        elif paid_total == total or total == 0:
            line.paid = line.points
        else:
            line.paid = half_up(running * paid_total / total, 4) - half_up(before * paid_total / total, 4)


def settle_group(
    key: tuple[str, str, str],
    lines: list[Line],
    zone: str | None,
    payment_class: str,
    threshold: Fraction | None,
    policy: Policy,
) -> dict:
    """Rule 7: the totals of one group; money comes later."""
    submitted = sum((line.points for line in lines), Fraction(0))
    ineligible = sum((line.points for line in lines if line.reason is not None), Fraction(0))
    eligible = submitted - ineligible
    paid = payable(eligible, threshold, policy)
    settling_id, regime, point_class = key
    return {
        "institution_id": settling_id,
        "zone": zone,
        "payment_class": payment_class,
        "regime": regime,
        "point_class": point_class,
        "line_count": len(lines),
        "submitted_points": submitted,
        "ineligible_points": ineligible,
        "eligible_points": eligible,
        "threshold_points": threshold,
        "overage_points": max(eligible - threshold, Fraction(0)) if threshold is not None else Fraction(0),
        "payable_points": paid,
        "unpaid_points": submitted - paid,
        "point_value": None,
        "payable_amount": None,
    }


# ---------------------------------------------------------------------------------------------------------------
# Money (rule 8)
# ---------------------------------------------------------------------------------------------------------------


def money_key(group: dict, small: SmallTables, month: date) -> tuple[str, tuple] | None:
    """Rule 8.1: which row prices a group: the zone's row in either table first, then the row for `*`."""
    for zone in (group["zone"], "*"):
        key = (month, zone, group["point_class"])
        if key in (small.point_values or {}):
            return "point_values", key
        if key in (small.budgets or {}):
            return "budgets", key
    return None


def price_groups(groups: list[dict], small: SmallTables, month: date) -> list[dict]:
    """Rule 8.1: sets point value and amount of every group; returns the month's budget rows.

    Choice: a group paid nothing that has a key shows that key's point value.
    """
    if small.point_values is None and small.budgets is None:
        return []
    keys = [money_key(group, small, month) for group in groups]
    without = [
        f"{group['point_class']} in {group['zone']}"
        for group, key in zip(groups, keys, strict=True)
        if key is None and group["payable_points"] != 0
    ]
    if without:
        raise Refused(f"no point value and no budget for {', '.join(sorted(set(without)))}")
    budget_rows = []
    value_of_budget = {}
    for budget_key, budget in (small.budgets or {}).items():
        if budget_key[0] != month:
            continue
        pool = sum(
            (
                g["payable_points"]
                for g, key in zip(groups, keys, strict=True)
                if key == ("budgets", budget_key)
            ),
            Fraction(0),
        )
        value_of_budget[budget_key] = cut_down(budget / pool, 6) if pool > 0 else Fraction(0)
        budget_rows.append(
            {
                "key": budget_key,
                "zone": budget_key[1],
                "point_class": budget_key[2],
                "budget": budget,
                "pool_points": pool,
                "point_value": value_of_budget[budget_key],
            }
        )
    for group, key in zip(groups, keys, strict=True):
        if key is None:
            group["payable_amount"] = Fraction(0)
        else:
            table, row_key = key
            group["point_value"] = (
                small.point_values[row_key] if table == "point_values" else value_of_budget[row_key]
            )
            group["payable_amount"] = half_up(group["payable_points"] * group["point_value"], 2)
    for row in budget_rows:
        drawn = [
            g["payable_amount"] for g, key in zip(groups, keys, strict=True) if key == ("budgets", row["key"])
        ]
        row["remainder"] = row["budget"] - sum(drawn, Fraction(0))
        del row["key"]
    return budget_rows


def state(groups: list[dict], small: SmallTables, policy: Policy, month: date) -> list[dict]:
    """Rule 8.2: the statement of every settling institution with lines or a deduction, without what came before."""
    deductions = [row for row in small.deductions if row["month"] == month]
    if small.point_values is None and small.budgets is None:
        if deductions:
            raise Refused("deductions of the month, but neither point_values nor budgets")
        return []
    for row in deductions:
        row["settling_id"] = small.institutions[row["institution_id"]].settling_id
    ids = {group["institution_id"] for group in groups} | {row["settling_id"] for row in deductions}
    statements = []
    for settling_id in sorted(ids):
        gross = sum((g["payable_amount"] for g in groups if g["institution_id"] == settling_id), Fraction(0))
        deposit = half_up(gross * policy.deposit_rate, 2) if gross > 0 else Fraction(0)
        by_kind = {kind: Fraction(0) for kind in DEDUCTION_KINDS}
        for row in deductions:
            if row["settling_id"] == settling_id:
                by_kind[row["kind"]] += row["amount"]
        net = gross - deposit - sum(by_kind.values(), Fraction(0))
        statements.append(
            {
                "institution_id": settling_id,
                "payable_amount": gross,
                "deposit_withheld": deposit,
                **by_kind,
                "net_payable": max(net, Fraction(0)),
                "carried_forward": min(net, Fraction(0)),
            }
        )
    return statements


# ---------------------------------------------------------------------------------------------------------------
# The whole month
# ---------------------------------------------------------------------------------------------------------------


def unpaid_rows(lines: list[Line]) -> list[dict]:
    """Data 3, unpaid_lines: every line with unpaid points ≠ 0, with its reason."""
    return [
        {
            "institution_id": line.settling_id,
            "submitted_by": line["institution_id"],
            "regime": line.regime,
            "point_class": line.point_class,
            "claim_id": line["claim_id"],
            "line_id": line["line_id"],
            "settled_at": line.settled_at,
            "points": line.points,
            "payable_points": line.paid,
            "unpaid_points": line.points - line.paid,
            "reason": line.reason or "over_threshold",
        }
        for line in lines
        if line.points - line.paid != 0
    ]


def daily_rows(key: tuple[str, str, str], lines: list[Line]) -> list[dict]:
    """Data 3, daily_points: a group with a threshold, by day of `settled_at`."""
    rows: dict[date, dict] = {}
    for line in lines:
        day = line.settled_at.date()
        empty = {
            "institution_id": key[0], "regime": key[1], "point_class": key[2], "day": day,
            "line_count": 0, "submitted_points": Fraction(0), "eligible_points": Fraction(0),
        }  # fmt: skip
        row = rows.setdefault(day, empty)
        row["line_count"] += 1
        row["submitted_points"] += line.points
        row["eligible_points"] += line.points if line.reason is None else 0
    return [rows[day] for day in sorted(rows)]


def with_decimals(row: dict) -> dict:
    """A result row with its fractions written as Decimal."""
    return {
        column: to_decimal(value) if isinstance(value, Fraction) else value for column, value in row.items()
    }


def settle(batch_dir: Path, month: str, policy_path: Path, readings: dict | None = None) -> dict:
    """Settles one month of one batch; raises `Refused` where the spec refuses."""
    first_day = parse_month(month)
    if first_day is None:
        raise Refused(f"{month!r} is no month")
    days = days_of_month(first_day)
    policy = read_policy(Path(policy_path), readings)
    check_span(policy, days)
    priority = newest_in_effect(policy.priority, lambda row: row[0], first_day)
    if policy.readings["attribution"] == "priority" and priority is None:
        raise Refused(f"attribution = priority, but no list is in effect on {first_day}")
    small = read_small_tables(Path(batch_dir), policy)
    lines = read_claims(Path(batch_dir))
    reject_lines(lines, policy, first_day, small.institutions)
    check_factors(lines, policy)
    settled = [line for line in lines if line.rule is None]
    rejected = [line for line in lines if line.rule is not None]

    # Rule 3: the own history of every institution, the timeline of every settling one.
    events_of = {
        i: [event for event in small.events if event.institution_id == i] for i in small.institutions
    }
    histories = {i: replay_events(events_of[i], policy.suspension_limit_days) for i in small.institutions}
    settling = [
        institution for institution in small.institutions.values() if institution.settles_under is None
    ]
    timelines = {
        institution.id: Timeline(
            [agreement for agreement in small.agreements if agreement.institution_id == institution.id],
            events_of[institution.id],
            policy,
        )
        for institution in settling
    }

    # Rules 4 and 5: every line.
    for line in settled:
        judge_line(line, small, timelines, histories, policy)

    # Rules 6 and 7: every group.
    grouped: dict[tuple[str, str, str], list[Line]] = {}
    for line in settled:
        grouped.setdefault((line.settling_id, line.regime, line.point_class), []).append(line)
    zones = place_institutions(sorted({line.settling_id for line in settled}), small, policy, first_day)
    check_threshold_rows(grouped, zones, small, policy, first_day)
    groups, daily = [], []
    for key in sorted(grouped):
        members, zone = grouped[key], zones[key[0]]
        threshold = threshold_of(key, members, zone, small, timelines[key[0]], policy, days)
        attribute(members, threshold, policy, first_day)
        groups.append(
            settle_group(key, members, zone, small.institutions[key[0]].payment_class, threshold, policy)
        )
        if threshold is not None:
            daily += daily_rows(key, members)

    # Rule 8: money.
    budgets = price_groups(groups, small, first_day)
    statements = state(groups, small, policy, first_day)

    # Rule 3.7: findings.
    findings = []
    for institution in settling:
        found = findings_of(institution, small, policy, days[-1])
        if any(line.settling_id == institution.id and line.reason == "suspended" for line in settled):
            found.add("billed_while_suspended")
        findings += [{"institution_id": institution.id, "finding": finding} for finding in sorted(found)]

    points_settled = sum((line.points for line in settled), Fraction(0))
    points_rejected = sum((points_of_rejected(line, policy) for line in rejected), Fraction(0))
    result = {
        "settlements": groups,
        "unpaid_lines": unpaid_rows(
            sorted(settled, key=lambda line: (line.settling_id, canonical_key(line)))
        ),
        "daily_points": daily,
        "budgets": budgets,
        "rejected_lines": [
            {
                "source": line.source,
                "row_number": line.row_number,
                "claim_id": line["claim_id"],
                "line_id": line["line_id"],
                "rule": line.rule,
                "column_name": line.column,
            }
            for line in rejected
        ],
        "statements": statements,
        "findings": findings,
        "agreement_years": [
            row for institution in settling for row in timelines[institution.id].rows(institution.id)
        ],
    }
    runs = {
        "lines_in": len(lines),
        "lines_settled": len(settled),
        "lines_rejected": len(rejected),
        "points_in": points_settled + points_rejected,
        "points_settled": points_settled,
        "points_rejected": points_rejected,
    }
    return {
        "runs": with_decimals(runs),
        **{name: [with_decimals(row) for row in rows] for name, rows in result.items()},
    }
