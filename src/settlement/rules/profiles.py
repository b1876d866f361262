"""What lines of one fate have in common: their *profile*, written as whole numbers.

A reason turns on few things: whose line, what was in force on the day of service, which visit, insurance, department,
physician, disease and class. Lines that agree in all of them, and in the day and rank that place them in the order
of their group, share a profile: they are judged once and counted together. Each of these things is a digit of a
whole number, so that lines are grouped and joined by one or two numbers instead of eleven columns.
Source: rules 4, 5, 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from ..terms import POINT_CLASSES, VISIT_CATEGORIES

# `serviced_on` is the newest day up to the day of service on which something changed; `settled_on` is null where no
# threshold can apply; codes that no rule names are null; `rank` is the place in the priority list, else 0.
PROFILE = (
    "institution_id",
    "serviced_on",
    "settled_on",
    "visit_category",
    "is_emergency",
    "insurance_type",
    "department_id",
    "physician_id",
    "disease_code",
    "point_class",
    "rank",
)
_MOST = 2**63 - 1  # of a key


@dataclass(frozen=True)
class Relevant:
    """The codes and days that a rule can turn on; lines that differ in anything else share a fate.

    `institutions`: institution_id (sorted), last_change (Date: after it every day of service stands alike), has_days
    (may a threshold apply, so that days of settlement count?). `change_days`: days on which the status of some
    institution, department or physician changes, every last_change among them. `settled_days`: the days on which
    lines of the month can be settled. `priority`: charge categories by rank. The other lists hold the codes
    that some agreement, policy or event names.
    """

    institutions: pl.DataFrame
    change_days: Sequence[date]
    settled_days: tuple[date, date]
    departments: Sequence[str]
    physicians: Sequence[str]
    diseases: Sequence[str]
    insurance_types: Sequence[str]
    priority: Sequence[str] = ()


@dataclass(frozen=True)
class Digit:
    """One column of a profile: the place of a line's value among the `size` values it can have, never null.

    `value`: from the place back to the value.
    """

    name: str
    place: pl.Expr
    size: int
    value: Callable[[pl.Expr], pl.Expr]


def _listed(name: str, place: pl.Expr, values: pl.Series) -> Digit:
    """A column whose values are few enough to be listed."""
    return Digit(name, place, len(values), lambda number: pl.lit(values).gather(number))


class Profiles:
    """Writes the profiles of lines as numbers, and reads them back."""

    def __init__(self, relevant: Relevant) -> None:
        self._relevant = relevant
        changes = sorted({day for day in relevant.change_days if day > date.min})
        self._changes = pl.Series([date.min, *changes], dtype=pl.Date)
        self._first_day = changes[0] - timedelta(days=1) if changes else date.min
        days = pl.date_range(self._first_day, changes[-1] if changes else date.min, eager=True)
        self._newest_on = self._changes.search_sorted(days, side="right") - 1  # one place per day
        self._sizes = [digit.size for digit in self._digits({})]

    @property
    def keys(self) -> list[str]:
        """The key columns: as many as are needed to hold every digit."""
        return list(dict.fromkeys(key for key, _, _ in self._places()))

    def keyed(self, lines: pl.LazyFrame) -> pl.LazyFrame:
        """Give each line the key of its profile.

        Rows:  one per line. Needs: the columns of JUDGED; codes as text or Enum.
        Adds:  the columns `keys` (Int64, never null).
        Source: rules 4, 5.
        """
        numbers = {key: pl.lit(0, dtype=pl.Int64) for key in self.keys}
        for digit, (key, weight, size) in zip(
            self._digits(lines.collect_schema()), self._places(), strict=True
        ):
            if size > 1:
                numbers[key] = numbers[key] + digit.place.cast(pl.Int64) * weight
        return lines.with_columns(**numbers)

    def spelled(self, profiles: pl.DataFrame) -> pl.DataFrame:
        """Read the keys back.

        Rows:  one per profile. Needs: `keys`. Adds: the columns of PROFILE; codes as text, null where none counts.
        """
        return profiles.with_columns(
            digit.value(pl.col(key) // weight % size).alias(digit.name)
            for digit, (key, weight, size) in zip(self._digits({}), self._places(), strict=True)
        )

    def _places(self) -> Iterator[tuple[str, int, int]]:
        """Key, weight and size of each digit; a digit that does not fit any more begins the next key."""
        number, weight = 0, 1
        for size in self._sizes:
            if weight * size > _MOST:
                number, weight = number + 1, 1
            yield f"profile_{number}", weight, size
            weight *= size

    def _digits(self, dtypes: Mapping[str, pl.DataType]) -> list[Digit]:
        relevant = self._relevant
        institutions = relevant.institutions["institution_id"]
        institution = pl.col("institution_id").cast(pl.Enum(institutions)).to_physical()
        category = pl.col("visit_category")
        return [
            _listed("institution_id", institution, institutions),
            _listed("serviced_on", self._change_of(institution), self._changes),
            self._settled(institution),
            _listed("visit_category", category.to_physical(), pl.Series(VISIT_CATEGORIES)),
            _listed("is_emergency", pl.col("is_emergency"), pl.Series([False, True])),
            _code("insurance_type", relevant.insurance_types, dtypes),
            _code("department_id", relevant.departments, dtypes),
            _code("physician_id", relevant.physicians, dtypes),
            _code("disease_code", relevant.diseases, dtypes, category == "special_outpatient"),
            _listed("point_class", pl.col("point_class").to_physical(), pl.Series(POINT_CLASSES)),
            _rank(relevant.priority),
        ]

    def _change_of(self, institution: pl.Expr) -> pl.Expr:
        """Place of the newest change up to the day of service, at most the institution's last one."""
        last_change = self._relevant.institutions["last_change"]
        last = pl.lit(self._changes.search_sorted(last_change)).gather(institution)
        day = pl.col("serviced_at").dt.date().to_physical() - _number_of(self._first_day)
        newest = pl.lit(self._newest_on).gather(day.clip(0, len(self._newest_on) - 1))
        return pl.min_horizontal(newest, last)

    def _settled(self, institution: pl.Expr) -> Digit:
        """0 where days do not count, else 1 + days since the first day; not listed, for they may be all to come."""
        first, last = map(_number_of, self._relevant.settled_days)
        has_days = pl.lit(self._relevant.institutions["has_days"]).gather(institution)
        day = pl.col("settled_at").dt.date().to_physical() - (first - 1)
        place = pl.when(has_days).then(day).otherwise(0)

        def value(number: pl.Expr) -> pl.Expr:
            return pl.when(number > 0).then((number + (first - 1)).cast(pl.Int32)).cast(pl.Date)

        return Digit("settled_on", place, 2 + last - first, value)


def _number_of(day: date) -> int:
    """polars' number of a day: days since 1970-01-01."""
    return (day - date(1970, 1, 1)).days


def _code(
    name: str, known: Sequence[str], dtypes: Mapping[str, pl.DataType], also: pl.Expr | None = None
) -> Digit:
    """0 for a code that no rule names, else 1 + its place in `known`. Without any such code the column is not read."""
    values = pl.Series([None, *known], dtype=pl.String)
    if not known:
        return _listed(name, pl.lit(0), values)
    dtype = dtypes.get(name)
    if isinstance(dtype, pl.Enum):  # each category is looked up once, not each line
        places = dtype.categories.to_frame(name).select(_known_place(name, known)).to_series()
        place = pl.lit(places).gather(pl.col(name).to_physical()).fill_null(0)
    else:
        place = _known_place(name, known)
    return _listed(name, place if also is None else pl.when(also).then(place).otherwise(0), values)


def _known_place(name: str, known: Sequence[str]) -> pl.Expr:
    code = pl.col(name).cast(pl.Enum(known), strict=False).to_physical().cast(pl.UInt32)
    return (code + 1).fill_null(0)


def _rank(priority: Sequence[str]) -> Digit:
    """Place of the charge category in the list; categories not listed share the last rank (rules 7)."""
    ranks = pl.Series(range(len(priority) + 1), dtype=pl.UInt8)
    if not priority:
        return _listed("rank", pl.lit(0), ranks)
    listed = pl.col("charge_category").cast(pl.Enum(priority), strict=False).to_physical()
    return _listed("rank", listed.cast(pl.UInt32).fill_null(len(priority)), ranks)
