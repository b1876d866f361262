"""Policy files: `thresholds/*.toml` read into one immutable `Policy`, or refused with all that is wrong.

Layer 2. The law is data: a value stands beside the clause and the few words by which a reader finds it in
the text. This module reads, refuses and answers questions of policy in the field's words; it computes
nothing on claims. Numbers that count come as strings and become `Decimal`; a binary float is never made,
not even on the way (see `_Bare`). Which keys a file may have is written once, in the shapes below.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from .errors import Refusal, Refusals
from .terms import CHARGE_CATEGORIES, THRESHOLD_CLASSES, VISIT_CATEGORIES

STATUSES = ("draft", "in_force", "lapsed")
STATISTICS = ("mean", "median", "percentile")
DEPOSIT_CEILING = Decimal("0.05")  # rules 8.2: 质量保证金
PHRASE_LENGTH = 24

READING_VALUES: Mapping[str, tuple[str, ...]] = {  # rules 10; the first of each is the default
    "coaching_scope": ("agreement_year", "coaching_period"),
    "tcm_decoction": ("separate", "drug_consumable", "service"),
    "month_basis": ("settled_at", "serviced_at"),
    "attribution": ("chronological", "pro_rata", "priority"),
    "partial_month": ("full", "by_day"),
}


# ---------------------------------------------------------------- what a policy holds


@dataclass(frozen=True, kw_only=True)
class Sourced:
    """Where the values of one table come from; what a table does not state is an empty text."""

    clause: str = ""
    phrase: str = ""
    source: str = ""
    assumed: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Dated(Sourced):
    """A row that holds from a day on, until a newer one of the same key."""

    effective_from: date


@dataclass(frozen=True)
class Assumption:
    """A table that no seed text gives: its key (`money`, `growth row 1`) and its note."""

    key: str
    note: str


@dataclass(frozen=True)
class Zone:
    """A zone and the registered division codes (6 digits) that lie in it."""

    name: str
    division_codes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Zones(Sourced):
    """[zones]; empty where nothing is keyed by zone (rules 6.3)."""

    each: tuple[Zone, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PointClasses(Sourced):
    """[point_classes]: the charge categories of each point class; every category stands in exactly one."""

    drug_consumable: tuple[str, ...]
    tcm_decoction: tuple[str, ...]
    service: tuple[str, ...]

    def by_charge(self) -> dict[str, str]:
        """Charge category -> point class as written, before the reading `tcm_decoction`."""
        classes = ("drug_consumable", "tcm_decoction", "service")
        return {charge: name for name in classes for charge in getattr(self, name)}


@dataclass(frozen=True, kw_only=True)
class PointsPerYuan(Sourced):
    """[points_per_yuan]: the factor of each point class, for claim files without points; None: not given."""

    drug_consumable: Decimal | None = None
    tcm_decoction: Decimal | None = None
    service: Decimal | None = None
    inpatient: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class VisitTypes(Sourced):
    """[visit_types]: prefixes of visit types, for each visit category and for emergencies (D 34)."""

    outpatient: tuple[str, ...]
    special_outpatient: tuple[str, ...]
    inpatient: tuple[str, ...]
    emergency: tuple[str, ...]

    def by_prefix(self) -> dict[str, str]:
        """Prefix -> visit category; of several prefixes that fit, the longest wins."""
        return {prefix: name for name in VISIT_CATEGORIES for prefix in getattr(self, name)}


@dataclass(frozen=True, kw_only=True)
class SpecialDiseasesMax(Sourced):
    """How many special-outpatient diseases a coaching agreement may list, by institution type (T 3(1))."""

    other: int
    by_institution_type: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Coaching(Sourced):
    """[coaching]: length of the coaching period and what a coaching agreement covers (T 3)."""

    base_months: int
    extension_months: int
    max_extensions: int
    insurance_types: tuple[str, ...]
    special_diseases_max: SpecialDiseasesMax


@dataclass(frozen=True, kw_only=True)
class AgreementRules(Sourced):
    """[agreements]: a suspension that lasts longer than the limit ends the agreement (D 42)."""

    suspension_limit_days: int


@dataclass(frozen=True, kw_only=True)
class ThresholdRow(Dated):
    """[[thresholds]]: monthly points of one payment class and zone (T 3(3))."""

    payment_class: str
    zone: str
    drug_consumable: Decimal
    service: Decimal

    def points(self, point_class: str) -> Decimal | None:
        """The threshold of a point class; None for the classes without one (rules 6.1)."""
        return {"drug_consumable": self.drug_consumable, "service": self.service}.get(point_class)


@dataclass(frozen=True, kw_only=True)
class GrowthRow(Sourced):
    """[[growth]]: budget growth of a calendar year, above -1 (T 3(3))."""

    year: int
    rate: Decimal


@dataclass(frozen=True, kw_only=True)
class Tier(Sourced):
    """A slice of overage, up to `up_to` x threshold, and the share of it that is paid."""

    up_to: Decimal
    paid_share: Decimal


@dataclass(frozen=True, kw_only=True)
class Overage(Sourced):
    """[overage]: what is paid above the threshold; never asked in a policy without thresholds."""

    paid_share: Decimal = Decimal(0)
    tiers: tuple[Tier, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Priority(Dated):
    """[[priority]]: charge categories in the order in which they are paid; the rest comes last (rules 7)."""

    charge_categories: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DepositBand(Sourced):
    """The share of the deposit that is released from an assessment score on (rules 8.4)."""

    score_min: Decimal
    share: Decimal


@dataclass(frozen=True, kw_only=True)
class MoneyRules(Sourced):
    """[money]: deposit, its release, days until payment is due (rules 8)."""

    deposit_rate: Decimal
    payment_working_days: int
    deposit_release: tuple[DepositBand, ...]


@dataclass(frozen=True, kw_only=True)
class Readings(Sourced):
    """[readings]: how the policy reads the text where it is silent, one attribute per key of rules 10."""

    coaching_scope: str = READING_VALUES["coaching_scope"][0]
    tcm_decoction: str = READING_VALUES["tcm_decoction"][0]
    month_basis: str = READING_VALUES["month_basis"][0]
    attribution: str = READING_VALUES["attribution"][0]
    partial_month: str = READING_VALUES["partial_month"][0]

    def as_dict(self) -> dict[str, str]:
        """Key -> value in the order of rules 10, as recorded with a run."""
        return {key: getattr(self, key) for key in READING_VALUES}


@dataclass(frozen=True, kw_only=True)
class Recalculation(Sourced):
    """[recalculation]: the statistic that makes new ordinary thresholds (T 3(7), rules 9)."""

    statistic: str
    min_months: int
    percentile: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class InstitutionThreshold(Dated):
    """[[institution_thresholds]]: the ordinary threshold of one institution and point class (rules 6.7)."""

    institution_id: str
    point_class: str
    threshold: Decimal


@dataclass(frozen=True, kw_only=True)
class Policy(Sourced):
    """One policy file. What a file may leave out is None or empty here.

    `content` are the file's bytes and `sha256` is of them: a run keeps both. Readings given on the command line
    are in `readings` only.
    """

    id: str
    title: str
    jurisdiction: str
    status: str
    effective_from: date
    effective_to: date | None = None
    checked_on: date

    point_classes: PointClasses
    visit_types: VisitTypes
    agreements: AgreementRules
    money: MoneyRules
    overage: Overage = Overage()
    readings: Readings = Readings()
    zones: Zones = Zones()
    points_per_yuan: PointsPerYuan = PointsPerYuan()
    coaching: Coaching | None = None
    recalculation: Recalculation | None = None
    thresholds: tuple[ThresholdRow, ...] = ()
    growth: tuple[GrowthRow, ...] = ()
    priority: tuple[Priority, ...] = ()
    institution_thresholds: tuple[InstitutionThreshold, ...] = ()

    assumptions: tuple[Assumption, ...]
    path: Path
    content: bytes = field(repr=False)
    sha256: str

    @property
    def is_draft(self) -> bool:
        """A draft is settled with a visible mark on every output (rules 12)."""
        return self.status == "draft"

    def covers(self, first: date, last: date) -> bool:
        """Do both days lie in the policy's legal span, its ends included (rules 12)?"""
        return self.effective_from <= first and (self.effective_to is None or last <= self.effective_to)

    def zone_of_division(self, division_code: str) -> str | None:
        """The zone of a registered division; None if the policy places it nowhere (rules 6.3)."""
        return self.zone_by_division().get(division_code)

    def zone_by_division(self) -> dict[str, str]:
        """Division code -> zone."""
        return {code: zone.name for zone in self.zones.each for code in zone.division_codes}

    def category_of(self, charge_category: str) -> str:
        """The point class as the policy's table writes it, before the reading `tcm_decoction`."""
        return self.point_classes.by_charge()[charge_category]

    def point_class_of(self, charge_category: str) -> str:
        """The point class of a line that is not inpatient (rules 5). Raises KeyError outside 01 ... 14."""
        return self.point_class_by_charge()[charge_category]

    def point_class_by_charge(self) -> dict[str, str]:
        """Charge category -> point class, with the reading `tcm_decoction` applied (T 3(3), heading)."""
        tcm = self.readings.tcm_decoction
        counted_as = "tcm_decoction" if tcm == "separate" else tcm
        table = self.point_classes.by_charge()
        return {charge: counted_as if name == "tcm_decoction" else name for charge, name in table.items()}

    def factor_of(self, point_class: str) -> Decimal | None:
        """Points per yuan of a point class, for files without points; None if not given (rules 5)."""
        factors = self.points_per_yuan
        return {
            "drug_consumable": factors.drug_consumable,
            "tcm_decoction": factors.tcm_decoction,
            "service": factors.service,
            "inpatient": factors.inpatient,
        }[point_class]

    def visit_category_of(self, visit_type: str) -> str | None:
        """The visit category by longest prefix (rules 5); None: the policy does not know the visit type."""
        table = self.visit_types.by_prefix()
        fitting = [prefix for prefix in table if visit_type.startswith(prefix)]
        return table[max(fitting, key=len)] if fitting else None

    def is_emergency(self, visit_type: str) -> bool:
        """Emergency or rescue, payable outside any agreement (D 34): any prefix fits."""
        return visit_type.startswith(self.visit_types.emergency)

    def special_diseases_max(self, institution_type: str) -> int | None:
        """How many diseases a coaching agreement may list (T 3(1)); None in a policy without coaching."""
        if self.coaching is None:
            return None
        limits = self.coaching.special_diseases_max
        return dict(limits.by_institution_type).get(institution_type, limits.other)

    def threshold_row(self, payment_class: str, zone: str, on: date) -> ThresholdRow | None:
        """The newest row of the class and zone with `effective_from` on or before the day (rules 6.2)."""
        key = (payment_class, zone)
        return _newest((row for row in self.thresholds if (row.payment_class, row.zone) == key), on)

    def growth_of(self, year: int) -> Decimal | None:
        """Budget growth of a calendar year; None: no row, counted as 0 and an assumption (rules 6.4)."""
        return next((row.rate for row in self.growth if row.year == year), None)

    def priority_on(self, on: date) -> Priority | None:
        """The newest priority list on or before the day (rules 7)."""
        return _newest(self.priority, on)

    def institution_threshold(
        self, institution_id: str, point_class: str, on: date
    ) -> InstitutionThreshold | None:
        """The newest ordinary threshold of an institution and point class by the day (rules 6.7)."""
        key = (institution_id, point_class)
        rows = (row for row in self.institution_thresholds if (row.institution_id, row.point_class) == key)
        return _newest(rows, on)

    def deposit_band(self, score: Decimal) -> DepositBand | None:
        """The band with the highest `score_min` that the score reaches (rules 8.4); None: below them all."""
        reached = (band for band in self.money.deposit_release if band.score_min <= score)
        return max(reached, key=lambda band: band.score_min, default=None)

    def with_readings(self, overrides: Mapping[str, str]) -> Policy:
        """The same policy under other readings (`--reading key=value`).

        Raises Refusal for a key or value that rules 10 does not list, naming the valid ones.
        """
        problems = [problem for key, value in overrides.items() for problem in _reading_problems(key, value)]
        if problems:
            _refuse("readings", problems)
        values: dict[str, Any] = dict(overrides)
        return replace(self, readings=replace(self.readings, **values))


_Row = TypeVar("_Row", bound=Dated)


def _newest(rows: Iterable[_Row], on: date) -> _Row | None:
    """The row that holds on a day: the newest that does not start after it."""
    begun = (row for row in rows if row.effective_from <= on)
    return max(begun, key=lambda row: row.effective_from, default=None)


def _reading_problems(key: str, value: str) -> Iterator[Refusal]:
    """One problem if `key=value` is no reading of rules 10."""
    if key not in READING_VALUES:
        yield _unknown_key(key, key, READING_VALUES)
    elif value not in READING_VALUES[key]:
        yield Refusal(key, f'"{value}"', _choice(READING_VALUES[key]), "choose one of these values")


# ---------------------------------------------------------------- reading one value


class _UnfitError(Exception):
    """A value, row or table that cannot be used; `each` holds one refusal per problem."""

    def __init__(self, *each: Refusal) -> None:
        super().__init__(*each)
        self.each = each


def _unfit(where: str, found: str, expected: str, remedy: str) -> _UnfitError:
    return _UnfitError(Refusal(where, found, expected, remedy))


@dataclass(frozen=True)
class _Bare:
    """An unquoted number with a point or exponent, kept as written: no binary float is made of it."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class _Kind:
    """What may stand behind a key: in words, and as a reader of (value, where) that raises `_UnfitError`."""

    expected: str
    read: Callable[[Any, str], Any]


_IN_QUOTES = "write it as a string, in quotes"
_CORRECT = "correct the value"


def _shown(value: object) -> str:
    """A value as a reader finds it in the file."""
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= PHRASE_LENGTH else f'"{value}" ({len(value)} characters)'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | _Bare):
        return f"{value} without quotes"
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list" if value else "an empty list"
    return str(value)


def _kind(
    expected: str, fits: Callable[[Any], bool], make: Callable[[Any], Any], remedy: str = _CORRECT
) -> _Kind:
    """A single value: refused unless it `fits`, else made into what the policy holds."""

    def read(value: Any, where: str) -> Any:
        if not fits(value):
            raise _unfit(where, _shown(value), expected, remedy)
        return make(value)

    return _Kind(expected, read)


def _string(expected: str, fits: Callable[[str], bool], make: Callable[[str], Any] = str) -> _Kind:
    """A value in quotes; an unquoted number in its place is told to be quoted."""
    quoted = _kind(expected, fits, make)

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, str):
            raise _unfit(where, _shown(value), expected, _IN_QUOTES)
        return quoted.read(value, where)

    return _Kind(expected, read)


def _text() -> _Kind:
    expected = "a text in quotes, not empty, without blanks at its ends"
    return _string(expected, lambda text: bool(text) and text == text.strip())


def _code(pattern: str, expected: str) -> _Kind:
    return _string(expected, lambda text: re.fullmatch(pattern, text) is not None)


def _choice(words: Iterable[str]) -> str:
    return "one of " + ", ".join(words)


def _word(words: Sequence[str]) -> _Kind:
    return _string(_choice(words), lambda text: text in words)


def _whole(low: int, high: int) -> _Kind:
    """A count; `type` is asked because TOML's true would pass as the whole number 1."""
    expected = f"a whole number from {low} to {high}, without quotes"
    return _kind(expected, lambda value: type(value) is int and low <= value <= high, int)


def _day() -> _Kind:
    """A day; `type` is asked because a moment (2025-01-01T00:00:00) would pass as a day."""
    remedy = "write a day such as 2027-01-01, without quotes"
    return _kind("a date YYYY-MM-DD", lambda value: type(value) is date, lambda day: day, remedy)


def _flag() -> _Kind:
    return _kind("true or false", lambda value: isinstance(value, bool), bool)


def _decimals(text: str) -> int:
    """Decimals by value: 1.50000 has one."""
    return len(text.partition(".")[2].rstrip("0"))


def _number(low: str, high: str, *, decimals: int = 9, is_above_low: bool = False) -> _Kind:
    """A number in quotes from low (or above it) to high; `[+-]digits[.digits]` and nothing else."""
    least, most = Decimal(low), Decimal(high)
    start = "above" if is_above_low else "from"
    expected = f"a number in quotes {start} {low} to {high}, with at most {decimals} decimals"

    def fits(text: str) -> bool:
        if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text) or _decimals(text) > decimals:
            return False
        return least <= Decimal(text) <= most and not (is_above_low and Decimal(text) == least)

    return _string(expected, fits, Decimal)


def _list_of(one: _Kind, *, may_be_empty: bool = True) -> _Kind:
    """A list without repetitions; every bad item is named."""
    expected = f"a list{'' if may_be_empty else ', not empty,'} of {one.expected}, none of them twice"

    def read(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or not (value or may_be_empty):
            raise _unfit(where, _shown(value), expected, _CORRECT)
        items = _read_each(value, lambda item, _: one.read(item, where))
        twice = [_shown(item) for item, count in Counter(items).items() if count > 1]
        if twice:
            raise _unfit(where, f"{', '.join(twice)} twice", expected, "keep it once")
        return items

    return _Kind(expected, read)


def _read_each(values: Sequence[Any], read: Callable[[Any, int], Any]) -> tuple[Any, ...]:
    """All items read with their number, from 1; raises all their problems together."""
    good, problems = [], list[Refusal]()
    for number, value in enumerate(values, start=1):
        try:
            good.append(read(value, number))
        except _UnfitError as unfit:
            problems.extend(unfit.each)
    if problems:
        raise _UnfitError(*problems)
    return tuple(good)


# ---------------------------------------------------------------- reading a table

_SOURCING: Mapping[str, _Kind] = {  # allowed in every table
    "clause": _text(),
    "phrase": _string(
        f"a phrase of 1 to {PHRASE_LENGTH} characters, as it stands in the text",
        lambda text: text == text.strip() and 1 <= len(text) <= PHRASE_LENGTH,
    ),
    "source": _text(),
    "assumed": _flag(),
    "note": _text(),
}
_CLAUSE_AND_PHRASE = ("clause", "phrase")


@dataclass(frozen=True)
class _Shape:
    """The keys of one table: the compulsory ones, the optional ones, and which sourcing keys it must have."""

    model: Callable[..., Any]
    keys: Mapping[str, _Kind]
    optional: Mapping[str, _Kind] = field(default_factory=dict)
    sourced_by: tuple[str, ...] = ()

    def kinds(self) -> dict[str, _Kind]:
        return {**self.keys, **self.optional, **_SOURCING}

    def compulsory(self) -> tuple[str, ...]:
        return (*self.keys, *self.sourced_by)


def _table(shape: _Shape) -> _Kind:
    """One table, `[name]` or inline."""
    return _Kind("a table", lambda raw, where: _read_table(shape, raw, where))


def _rows(shape: _Shape) -> _Kind:
    """A list of tables, `[[name]]` or inline; a row is named by its number, from 1."""

    def read(raw: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(raw, list):
            raise _unfit(where, _shown(raw), "rows", "write [[...]] with two brackets, or [{ ... }]")
        return _read_each(raw, lambda row, number: _read_table(shape, row, f"{where} row {number}"))

    return _Kind("rows", read)


def _read_table(shape: _Shape, raw: Any, where: str) -> Any:
    """The shape's model made of a sound table; raises `_UnfitError` with every problem in it."""
    if not isinstance(raw, dict):
        raise _unfit(where, _shown(raw), "one table", "write it once, with one pair of brackets")
    values, problems = _read_keys(raw, shape.kinds(), lambda key: f"{where} {key}")
    problems += _missing_keys(raw, shape, where)
    if problems:
        raise _UnfitError(*problems)
    return shape.model(**values)


def _read_keys(
    raw: Mapping[str, Any], kinds: Mapping[str, _Kind], name: Callable[[str], str]
) -> tuple[dict[str, Any], list[Refusal]]:
    """The sound values, and the problems of the others and of the unknown keys."""
    values, problems = dict[str, Any](), list[Refusal]()
    for key, value in raw.items():
        try:
            values[key] = _known(key, kinds, name).read(value, name(key))
        except _UnfitError as unfit:
            problems.extend(unfit.each)
    return values, problems


def _known(key: str, kinds: Mapping[str, _Kind], name: Callable[[str], str]) -> _Kind:
    if key not in kinds:
        raise _UnfitError(_unknown_key(name(key), key, kinds))
    return kinds[key]


def _unknown_key(where: str, key: str, known: Iterable[str]) -> Refusal:
    nearest = difflib.get_close_matches(key, known, n=1)
    remedy = f"did you mean {nearest[0]}?" if nearest else "remove it"
    return Refusal(where, f'unknown key "{key}"', _choice(known), remedy)


def _missing_keys(raw: Mapping[str, Any], shape: _Shape, where: str) -> list[Refusal]:
    kinds = shape.kinds()
    absent = [key for key in shape.compulsory() if key not in raw]
    return [Refusal(f"{where} {key}", "missing", kinds[key].expected, f"add {key} = ...") for key in absent]


def _own_keys(raw: Any, kind: _Kind) -> dict[str, _Kind]:
    """Every key of a table whose keys are names, not words of the contract."""
    return {key: kind for key in raw if key not in _SOURCING} if isinstance(raw, dict) else {}


def _sourcing(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key in _SOURCING}


def _read_zones(raw: Any, where: str) -> Any:
    """[zones]: the keys are the zones' names."""
    names = _own_keys(raw, _list_of(_code("[0-9]{6}", "division codes of 6 digits")))

    def make(**values: Any) -> Zones:
        return Zones(each=tuple(Zone(name, values[name]) for name in names), **_sourcing(values))

    return _read_table(_Shape(make, names), raw, where)


def _read_special_diseases_max(raw: Any, where: str) -> Any:
    """The keys are institution types; `other` holds for every type that is not named."""
    types = {"other": _COUNT, **_own_keys(raw, _COUNT)}

    def make(**values: Any) -> SpecialDiseasesMax:
        named = tuple((name, values[name]) for name in types if name != "other")
        return SpecialDiseasesMax(other=values["other"], by_institution_type=named, **_sourcing(values))

    return _read_table(_Shape(make, types), raw, where)


# ---------------------------------------------------------------- the shapes: every key of a policy file

_COUNT = _whole(0, 999)
_MONTHS = _whole(1, 120)
_SHARE = _number("0", "1")
_THRESHOLD = _number("0", "9999999999999999.99", decimals=2)
_FACTOR = _number("0", "999999999", is_above_low=True)
_CHARGES = _list_of(_word(tuple(CHARGE_CATEGORIES)))
_PREFIXES = _list_of(_code("[0-9A-Za-z]{1,30}", "visit type prefixes of letters and digits"))

_HEAD = _Shape(
    dict,
    {
        "id": _code(r"[^\s/\\]+", "an id in quotes, without blanks and slashes"),
        "title": _text(),
        "jurisdiction": _code("[0-9]{6}", "a division code of 6 digits, in quotes"),
        "status": _word(STATUSES),
        "effective_from": _day(),
        "checked_on": _day(),
    },
    optional={"effective_to": _day()},
    sourced_by=("source",),
)
_POINT_CLASSES = _Shape(
    PointClasses, {"drug_consumable": _CHARGES, "tcm_decoction": _CHARGES, "service": _CHARGES}
)
_POINTS_PER_YUAN = _Shape(
    PointsPerYuan,
    {},
    optional={"drug_consumable": _FACTOR, "tcm_decoction": _FACTOR, "service": _FACTOR, "inpatient": _FACTOR},
)
_VISIT_TYPES = _Shape(
    VisitTypes,
    {
        "outpatient": _PREFIXES,
        "special_outpatient": _PREFIXES,
        "inpatient": _PREFIXES,
        "emergency": _PREFIXES,
    },
)
_COACHING = _Shape(
    Coaching,
    {
        "base_months": _MONTHS,
        "extension_months": _MONTHS,
        "max_extensions": _whole(0, 1),
        "insurance_types": _list_of(_code("[0-9A-Za-z]+", "insurance type codes"), may_be_empty=False),
        "special_diseases_max": _Kind("a table with the key other", _read_special_diseases_max),
    },
    sourced_by=_CLAUSE_AND_PHRASE,
)
_AGREEMENTS = _Shape(AgreementRules, {"suspension_limit_days": _whole(1, 3650)})
_THRESHOLD_ROW = _Shape(
    ThresholdRow,
    {
        "effective_from": _day(),
        "payment_class": _text(),
        "zone": _text(),
        "drug_consumable": _THRESHOLD,
        "service": _THRESHOLD,
    },
    sourced_by=_CLAUSE_AND_PHRASE,
)
_GROWTH_ROW = _Shape(
    GrowthRow,
    {"year": _whole(1900, 2999), "rate": _number("-1", "999999999", is_above_low=True)},
    sourced_by=("source",),
)
_TIER = _Shape(Tier, {"up_to": _number("1", "999999999", is_above_low=True), "paid_share": _SHARE})
_OVERAGE = _Shape(Overage, {"paid_share": _SHARE, "tiers": _rows(_TIER)}, sourced_by=_CLAUSE_AND_PHRASE)
_PRIORITY = _Shape(
    Priority,
    {
        "effective_from": _day(),
        "charge_categories": _list_of(_word(tuple(CHARGE_CATEGORIES)), may_be_empty=False),
    },
)
_DEPOSIT_BAND = _Shape(DepositBand, {"score_min": _number("0", "100"), "share": _SHARE})
_MONEY = _Shape(
    MoneyRules,
    {
        "deposit_rate": _number("0", str(DEPOSIT_CEILING)),
        "payment_working_days": _whole(1, 365),
        "deposit_release": _rows(_DEPOSIT_BAND),
    },
)
_READINGS = _Shape(Readings, {}, optional={key: _word(values) for key, values in READING_VALUES.items()})
_RECALCULATION = _Shape(
    Recalculation,
    {"statistic": _word(STATISTICS), "min_months": _whole(1, 12)},
    optional={"percentile": _number("0", "100")},
)
_INSTITUTION_THRESHOLD = _Shape(
    InstitutionThreshold,
    {
        "institution_id": _code("[HP][0-9]{11}", "an institution id: letter H or P and 11 digits"),
        "effective_from": _day(),
        "point_class": _word(THRESHOLD_CLASSES),
        "threshold": _THRESHOLD,
    },
    sourced_by=("source",),
)

_TABLES: Mapping[str, _Kind] = {
    "policy": _table(_HEAD),
    "zones": _Kind("a table", _read_zones),
    "point_classes": _table(_POINT_CLASSES),
    "points_per_yuan": _table(_POINTS_PER_YUAN),
    "visit_types": _table(_VISIT_TYPES),
    "coaching": _table(_COACHING),
    "agreements": _table(_AGREEMENTS),
    "thresholds": _rows(_THRESHOLD_ROW),
    "growth": _rows(_GROWTH_ROW),
    "overage": _table(_OVERAGE),
    "priority": _rows(_PRIORITY),
    "money": _table(_MONEY),
    "readings": _table(_READINGS),
    "recalculation": _table(_RECALCULATION),
    "institution_thresholds": _rows(_INSTITUTION_THRESHOLD),
}
_TABLES_OF_EVERY_POLICY = ("policy", "point_classes", "visit_types", "agreements", "money")
_ROW_KEYS: Mapping[str, tuple[str, ...]] = {  # two rows with the same key would leave the value to chance
    "thresholds": ("effective_from", "payment_class", "zone"),
    "growth": ("year",),
    "priority": ("effective_from",),
    "institution_thresholds": ("institution_id", "effective_from", "point_class"),
}


# ---------------------------------------------------------------- what must hold between values


def _absent_tables(raw: Mapping[str, Any]) -> Iterator[Refusal]:
    """Tables the file needs but lacks: a threshold is nothing without its coaching and overage rules."""
    needed = dict.fromkeys(_TABLES_OF_EVERY_POLICY, "in every policy")
    if raw.get("thresholds"):
        needed |= {"coaching": "beside [[thresholds]]", "overage": "beside [[thresholds]]"}
    if raw.get("institution_thresholds"):
        needed |= {"overage": "beside [[institution_thresholds]]"}
    for table, reason in needed.items():
        if table not in raw:
            yield Refusal(f"[{table}]", "missing", f"this table {reason}", f"add [{table}]")


def _span_runs_forward(head: Mapping[str, Any]) -> Iterator[Refusal]:
    start, end = head["effective_from"], head.get("effective_to")
    if end is not None and end < start:
        expected = f"a day on or after effective_from {start}"
        yield Refusal("[policy] effective_to", str(end), expected, _CORRECT)


def _every_category_in_one_class(classes: PointClasses) -> Iterator[Refusal]:
    """A charge category in none or two point classes would be paid by chance (rules 5)."""
    count = Counter([*classes.drug_consumable, *classes.tcm_decoction, *classes.service])
    for charge in CHARGE_CATEGORIES:
        if count[charge] != 1:
            found = f'charge category "{charge}" in {count[charge] or "no"} point classes'
            yield Refusal("[point_classes]", found, "each of 01 ... 14 in one", f'list "{charge}" once')


def _no_prefix_in_two_categories(visits: VisitTypes) -> Iterator[Refusal]:
    count = Counter(prefix for name in VISIT_CATEGORIES for prefix in getattr(visits, name))
    for prefix in _repeated(count):
        found = f'prefix "{prefix}" in {count[prefix]} visit categories'
        yield Refusal("[visit_types]", found, "each prefix in one", f'list "{prefix}" once')


def _emergencies_have_a_category(visits: VisitTypes) -> Iterator[Refusal]:
    """An emergency is still an outpatient or inpatient visit: its prefix must lead to a category."""
    categories = tuple(visits.by_prefix())
    expected = f"a prefix that is, or begins with, {_choice(categories)}"
    for prefix in visits.emergency:
        if not prefix.startswith(categories):
            found = f'"{prefix}"'
            yield Refusal("[visit_types] emergency", found, expected, f"list {found} in a category too")


def _no_division_in_two_zones(zones: Zones) -> Iterator[Refusal]:
    count = Counter(code for zone in zones.each for code in zone.division_codes)
    for code in _repeated(count):
        found = f'division "{code}" in {count[code]} zones'
        yield Refusal("[zones]", found, "each division in one", f'list "{code}" once')


def _zone_names_are_names(zones: Zones) -> Iterator[Refusal]:
    """`*` means every zone in the money tables, so no zone may bear it."""
    for zone in zones.each:
        if zone.name in ("", "*") or zone.name != zone.name.strip():
            expected = "a name other than *, without blanks at its ends"
            yield Refusal("[zones]", f'zone "{zone.name}"', expected, "rename it")


def _threshold_zones_are_declared(zones: Zones, rows: Sequence[ThresholdRow]) -> Iterator[Refusal]:
    """A misspelt zone would leave its institutions without a threshold."""
    names = [zone.name for zone in zones.each]
    for row in rows:
        if row.zone not in names:
            where = f"[[thresholds]] {row.effective_from} {row.payment_class} zone"
            yield Refusal(where, f'"{row.zone}"', _choice(names), "use a zone of [zones] or add it there")


def _tiers_ascend(overage: Overage) -> Iterator[Refusal]:
    for lower, upper in zip(overage.tiers, overage.tiers[1:], strict=False):
        if upper.up_to <= lower.up_to:
            found = f"up_to {upper.up_to} after {lower.up_to}"
            yield Refusal("[overage] tiers", found, "up_to ascending", "put the tiers in ascending order")


def _deposit_bands_differ(money: MoneyRules) -> Iterator[Refusal]:
    for score in _repeated(Counter(band.score_min for band in money.deposit_release)):
        found = f"score_min {score} twice"
        yield Refusal("[money] deposit_release", found, "a score_min per band", "keep one of the bands")


def _percentile_is_given(recalculation: Recalculation) -> Iterator[Refusal]:
    if recalculation.statistic == "percentile" and recalculation.percentile is None:
        expected = 'a percentile beside statistic = "percentile"'
        yield Refusal("[recalculation] percentile", "missing", expected, 'add percentile = "50" or another')


def _repeated_rows(table: str, rows: Iterable[object]) -> Iterator[Refusal]:
    names = _ROW_KEYS[table]
    for key in _repeated(Counter(tuple(getattr(row, name) for name in names) for row in rows)):
        found = f"two rows with {', '.join(f'{name} {part}' for name, part in zip(names, key, strict=True))}"
        yield Refusal(f"[[{table}]]", found, "one row per " + " and ".join(names), "keep one of them")


_Key = TypeVar("_Key", bound=Hashable)


def _repeated(count: Counter[_Key]) -> list[_Key]:
    return [key for key, times in count.items() if times > 1]


_CHECKS: Sequence[tuple[Callable[..., Iterator[Refusal]], tuple[str, ...]]] = (
    (_span_runs_forward, ("policy",)),
    (_every_category_in_one_class, ("point_classes",)),
    (_no_prefix_in_two_categories, ("visit_types",)),
    (_emergencies_have_a_category, ("visit_types",)),
    (_no_division_in_two_zones, ("zones",)),
    (_zone_names_are_names, ("zones",)),
    (_threshold_zones_are_declared, ("zones", "thresholds")),
    (_tiers_ascend, ("overage",)),
    (_deposit_bands_differ, ("money",)),
    (_percentile_is_given, ("recalculation",)),
)


def _between_values(tables: Mapping[str, Any]) -> Iterator[Refusal]:
    """Problems between values that are sound by themselves; a table already refused is not asked again."""
    for check, names in _CHECKS:
        if all(name in tables for name in names):
            yield from check(*(tables[name] for name in names))
    for name in _ROW_KEYS:
        yield from _repeated_rows(name, tables.get(name, ()))


# ---------------------------------------------------------------- finding and loading a file


def load_policy(id_or_path: str | Path) -> Policy:
    """The policy of a shipped id (`tianjin`) or of a file.

    Raises Refusal: unknown id (the known ones are listed), unreadable file, or every rule of the format
    that the file breaks, all at once.
    """
    path = _find(id_or_path)
    return policy_of(_bytes_of(path), path)


def policy_of(content: bytes, path: Path) -> Policy:
    """The policy in the bytes of a file that lies, or lay, at `path`.

    Raises Refusal for every rule of the format that they break, all at once.
    """
    raw = _parse(path, content)
    tables = _sound_tables(path, raw)
    return Policy(
        **tables.pop("policy"),
        **tables,
        assumptions=tuple(_assumptions(raw, "")),
        path=path,
        content=content,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def known_policies() -> dict[str, Path]:
    """Shipped policies: the `id` inside each file -> the file.

    Raises Refusal where two files bear one id: which of them held would be left to chance.
    """
    known = dict[str, Path]()
    for path in sorted(_shipped_folder().glob("*.toml")):
        identity = _id_inside(path)
        if identity in known:
            found = f'the id "{identity}", which {known[identity].name} bears too'
            raise Refusal(str(path), found, "an id of its own in each file", "change the id of one of them")
        known[identity] = path
    return known


def _shipped_folder() -> Path:
    """Inside the installed package, else at the top of the source checkout."""
    installed = Path(__file__).parent / "thresholds"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "thresholds"


def _id_inside(path: Path) -> str:
    """The file's id; its name where it cannot be read, so that asking for it shows what is wrong."""
    try:
        return str(_parse(path, _bytes_of(path))["policy"]["id"])
    except (Refusal, KeyError, TypeError):
        return path.stem


def _find(id_or_path: str | Path) -> Path:
    """A text with a slash or the ending .toml is a path; any other is an id first, then a file's name."""
    path = Path(id_or_path)
    if isinstance(id_or_path, Path) or re.search(r"[/\\]|\.toml$", id_or_path):
        return path
    known = known_policies()
    if id_or_path not in known and not path.is_file():
        _unknown_policy(id_or_path, known)
    return known.get(id_or_path, path)


def _unknown_policy(identity: str, known: Iterable[str]) -> NoReturn:
    expected = f"a known id ({', '.join(known) or 'none is shipped'}) or the path of a policy file"
    raise Refusal("policy", f'"{identity}"', expected, "choose one of them; a path ends in .toml")


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        found = f"it cannot be read: {error.strerror}"
        raise Refusal(str(path), found, "a policy file (.toml)", "check path and permissions") from error


def _parse(path: Path, content: bytes) -> dict[str, Any]:
    """The file as TOML. A byte-order mark, as some editors write it, is passed over."""
    try:
        return tomllib.loads(content.decode("utf-8-sig"), parse_float=_Bare)
    except UnicodeDecodeError as error:
        found = f"byte {error.start} is not valid UTF-8"
        raise Refusal(str(path), found, "a text file in UTF-8", "save it as UTF-8 in your editor") from error
    except (ValueError, RecursionError) as error:  # of TOML, dates, huge numbers, deep nesting
        found = f"it is not TOML: {error}"
        raise Refusal(str(path), found, "a TOML 1.0 file", "correct it at that place") from error


def _sound_tables(path: Path, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Every table read and held against the others; raises Refusal with all problems of the file."""
    tables, problems = _read_keys(raw, _TABLES, _table_name)
    problems += [*_absent_tables(raw), *_between_values(tables)]
    if problems:
        _refuse(str(path), problems)
    return tables


def _table_name(key: str) -> str:
    return f"[[{key}]]" if key in _ROW_KEYS else f"[{key}]"


def _refuse(title: str, problems: Sequence[Refusal]) -> NoReturn:
    """One problem is told in full; several in a list, each with its remedy."""
    if len(problems) == 1:
        one = problems[0]
        raise Refusal(f"{title}: {one.where}", one.found, one.expected, one.remedy)
    each = [Refusal(one.where, one.found, f"{one.expected}; {one.remedy}", one.remedy) for one in problems]
    raise Refusals(title, each, "correct each of them and try again")


def _assumptions(value: object, key: str) -> Iterator[Assumption]:
    """Every table of the file, inline ones too, that is marked `assumed = true`, with its note."""
    if isinstance(value, dict):
        if value.get("assumed") is True:
            yield Assumption(key, str(value.get("note", "")))
        for name, inner in value.items():
            yield from _assumptions(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for number, inner in enumerate(value, start=1):
            yield from _assumptions(inner, f"{key} row {number}")
