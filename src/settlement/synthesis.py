"""Synthetic batches: claim folders of any size that obey the data contract, and a small demo like a bureau's export.

The claim lines are made block by block, so memory stays flat at any number of lines. Two passes are made over
the blocks. The first draws only what decides the points of a group (institution, visit, charge item, refund,
flaw) and adds them up; the second draws the same again, prices every line with the factor that brings each new
institution exactly to its chosen multiple of the threshold, and writes it. So the share of institutions over a
threshold is not a likelihood: it holds, and is proven before the folder gets its name.

Exact numbers: points are whole numbers of 10⁻⁴ and amounts whole fen from the price list to the file. Binary
floating point only samples shapes (sizes of institutions, spread of the price list, hours of the day), and each
such number is rounded to a whole one before anything is derived from it; sums of whole numbers in float64 stay
below 2⁵³ and are therefore exact.
"""

from __future__ import annotations

import calendar
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from settlement.errors import Fault, Refusal
from settlement.terms import CLAIM_FIELDS, SMALL_TABLES, THRESHOLD_CLASSES, ZONES

FileFormat = Literal["parquet", "csv"]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Row = dict[str, str | None]
Progress = Callable[[int], None]

BLOCK_LINES = 500_000  # lines per part file: memory and write speed, nothing else, hang on it
LEAST_LINES = 8  # per institution: the largest visit, so that everyone has at least one whole visit
MOST_LINES = (
    2_000_000  # per institution: beyond it a line's share of a threshold nears the 10⁻⁴ it is written in
)
MOST_LINES_IN_ALL = 1_900_000_000  # nine digits number the visits of a month, of two lines at least
MOST_INSTITUTIONS = (
    90_000  # five digits of serial number per division, all of one zone may lie in one division
)

# ---------------------------------------------------------------- the field: zones, thresholds, prices, names

DIVISIONS = {
    "120101": ("urban", "和平", 117.195, 39.118),
    "120102": ("urban", "河东", 117.252, 39.128),
    "120103": ("urban", "河西", 117.223, 39.110),
    "120104": ("urban", "南开", 117.151, 39.138),
    "120105": ("urban", "河北", 117.197, 39.148),
    "120106": ("urban", "红桥", 117.152, 39.167),
    "120110": ("ring", "东丽", 117.314, 39.087),
    "120111": ("ring", "西青", 117.009, 39.141),
    "120112": ("ring", "津南", 117.357, 38.938),
    "120113": ("ring", "北辰", 117.135, 39.224),
    "120114": ("outer", "武清", 117.044, 39.384),
    "120115": ("outer", "宝坻", 117.310, 39.717),
    "120116": ("binhai", "滨海", 117.699, 39.017),
    "120117": ("outer", "宁河", 117.825, 39.330),
    "120118": ("outer", "静海", 116.974, 38.947),
    "120119": ("outer", "蓟州", 117.408, 40.046),
}
# T 3(3), in whole 10⁻⁴ points: drugs and consumables, medical services. Kept here and not read from the policy,
# because a batch is made for a notice, not for a file; a test holds both together.
THRESHOLDS = {
    "binhai": (141_415_500, 408_743_300),
    "ring": (565_517_300, 341_385_800),
    "urban": (1_014_322_100, 257_891_200),
    "outer": (162_580_000, 111_561_500),
}

# median yuan of an item, its spread (sigma of the logarithm); how often the category is the line that opens an
# outpatient visit, one of its further lines, a line of a stay
_CHARGES = {
    "01": (40, 0.5, 0, 0.5, 10),
    "02": (15, 0.6, 55, 0, 6),
    "03": (120, 0.8, 0, 6, 8),
    "04": (30, 0.7, 0, 9, 15),
    "05": (45, 0.8, 0, 6, 16),
    "06": (300, 0.9, 0, 0.8, 3),
    "07": (15, 0.4, 0, 1, 9),
    "08": (20, 1.0, 0, 6, 10),
    "09": (35, 0.9, 0, 46, 18),
    "10": (60, 0.6, 0, 5, 1),
    "11": (40, 0.7, 0, 17, 3),
    "12": (10, 0.2, 35, 0.7, 0),
    "13": (5, 0.4, 10, 0, 0),
    "14": (20, 0.7, 0, 2, 1),
}
CATEGORIES = tuple(_CHARGES)
_FIRST, _FURTHER, _STAY = 0, 1, 2  # price lists
_DRUG, _SERVICE, _TCM = 0, 1, 2  # point classes
_CLASS_OF_CATEGORY = np.array(
    [{"08": _DRUG, "09": _DRUG, "11": _DRUG, "10": _TCM}.get(c, _SERVICE) for c in CATEGORIES]
)
_QUANTITIES = ((1,) * 16, (1,) * 10 + (2, 2, 2, 3, 3, 4), (1,) * 8 + (2, 2, 3, 3, 4, 5, 6, 7))
_ITEMS = 4096  # items of a price list; an item and one of 16 quantities come from one 16-bit draw
_VISIT_LINES = {2: 18, 3: 24, 4: 22, 5: 16, 6: 10, 7: 6, 8: 4}
_HOURS = (1, 1, 1, 1, 1, 2, 6, 40, 140, 160, 140, 80, 30, 60, 90, 80, 60, 40, 30, 20, 12, 6, 3, 2)
_WEEKDAYS = (115, 105, 100, 98, 100, 55, 42)  # Monday to Sunday
VISIT_TYPES = ("11", "13", "14", "21")
_SPECIAL, _INPATIENT = 2, 3
INSURANCE_TYPES = ("310", "390")
# an institution under coaching serves employees only, and no special outpatients in its first year (T 3(1), T 4)
_VISIT_SHARES = ({"11": 90, "13": 3, "14": 5, "21": 2}, {"11": 97, "13": 2, "14": 0.5, "21": 0.5})
_INSURANCE_SHARES = ({"310": 72, "390": 28}, {"310": 98.5, "390": 1.5})
_DEPARTMENTS = ("A02", "A03", "A04", "A05", "A07", "A10", "A11", "A12", "A13", "A21", "A30", "A50")
_DISEASES = ("M00500", "M01600", "M01602", "M03900", "M04600", "M04803", "M06900", "M07101")

_SURNAMES = "仁康安济德和惠慈瑞益民众永福华同博佳明宁"
_GIVEN = "和康泰民安慈爱华济生德宁恩寿心春美达健源"
_KINDS = {  # institution type: the end of its name, payment class, share among ordinary institutions, size
    "community_health_centre": ("社区卫生服务中心", "primary", 30, 1.6),
    "general_hospital": ("医院", "secondary", 14, 3.0),
    "tertiary_hospital": ("总医院", "tertiary", 4, 7.0),
    "tcm_hospital": ("中医医院", "secondary", 8, 2.0),
    "specialist_hospital": ("专科医院", "secondary", 8, 1.4),
    "outpatient_department": ("门诊部", "other_primary", 24, 0.7),
    "infirmary": ("医务室", "other_primary", 8, 0.3),
    "nursing_home": ("护理院", "other_primary", 4, 0.4),
}
_NEW_KINDS = ("outpatient_department",) * 7 + ("infirmary", "nursing_home", "specialist_hospital")
_STATION = ("community_health_station", "社区卫生服务站", "primary")

# ---------------------------------------------------------------- what a caller sees


@dataclass(frozen=True)
class GeneratedBatch:
    """A batch folder that was written.

    lines: rows of all claims files. bad_lines: those that a run rejects (of a conflicting pair both).
    institutions: rows of the registry. over_threshold: ids, ascending, of the institutions whose eligible points
    of the month pass at least one of their two thresholds.
    """

    folder: Path
    lines: int
    bad_lines: int
    institutions: int
    over_threshold: tuple[str, ...]


def generate(
    out: Path,
    month: str,
    lines: int,
    institutions: int,
    seed: int,
    file_format: FileFormat = "parquet",
    capped: Decimal | str = "0.03",
    bad_share: str = "0.002",
    progress: Progress | None = None,
) -> GeneratedBatch:
    """Write a batch folder of synthetic claims: the same arguments give the same bytes.

    out: a folder that does not exist or is empty; it appears only when the batch is complete. month: YYYY-MM.
    lines: exactly so many claim lines, bad ones included. capped: share of ALL institutions, rounded half-up to
    whole ones, over at least one threshold of the Tianjin notice. bad_share: share of lines that a run rejects.
    progress: called after each block with the lines written so far.

    Raises: Refusal for an argument out of its range; nothing is written then.
    """
    order = _checked_order(month, lines, institutions, seed, capped, bad_share)
    if file_format not in ("parquet", "csv"):
        raise Refusal("file_format", repr(file_format), "parquet or csv", "Choose one of the two")
    with _complete_folder(out) as folder:
        return replace(_write_batch(folder, order, file_format, progress), folder=out)


def write_demo(out: Path, month: str = "2026-03", seed: int = 1) -> GeneratedBatch:
    """Write a small batch as a bureau would export it, to learn with.

    National column names, tab-separated, GB18030, `null` for an empty cell; the settlements stand in a file of
    their own (settlement moment, insurance and visit type); 4 000 lines of 24 institutions, some bad lines, and
    in every zone an institution over a threshold. Points have their own column, for the Tianjin policy has no
    factor from yuan to points; point_values.csv has an invented value of each class, so that money shows.

    Raises: Refusal if month, seed or the folder do not serve; nothing is written then.
    """
    order = _checked_order(month, 4_000, 24, seed, "0.25", "0.008")
    with _complete_folder(out) as folder:
        return replace(_write_demo(folder, order), folder=out)


# ---------------------------------------------------------------- arguments


@dataclass(frozen=True)
class _Order:
    """The arguments, checked and in whole numbers."""

    first_day: date
    lines: int
    institutions: int
    seed: int
    over: int
    bad_lines: int

    @property
    def days(self) -> int:
        return calendar.monthrange(self.first_day.year, self.first_day.month)[1]

    @property
    def last_day(self) -> date:
        return self.first_day + timedelta(days=self.days - 1)

    @property
    def month(self) -> str:
        return f"{self.first_day:%Y-%m}"

    @property
    def blocks(self) -> int:
        return -(-self.lines // BLOCK_LINES)

    def block_lines(self, block: int) -> int:
        return _portion(self.lines, block, self.blocks)

    def block_bad_lines(self, block: int) -> int:
        return _portion(self.bad_lines, block, self.blocks)


def _portion(total: int, block: int, blocks: int) -> int:
    """Whole part of `total` that falls to one of `blocks` equal blocks; the parts add up."""
    return total * (block + 1) // blocks - total * block // blocks


def _checked_order(
    month: str, lines: int, institutions: int, seed: int, capped: Decimal | str, bad_share: Decimal | str
) -> _Order:
    first_day = _checked_month(month)
    _check_range("institutions", institutions, 1, MOST_INSTITUTIONS)
    _check_range(
        "lines", lines, LEAST_LINES * institutions, min(MOST_LINES * institutions, MOST_LINES_IN_ALL)
    )
    _check_range("seed", seed, 0, 2**63 - 1)
    over = _share_of(_checked_share("capped", capped, "1"), institutions)
    bad_lines = _share_of(_checked_share("bad_share", bad_share, "0.1"), lines)
    return _Order(first_day, lines, institutions, seed, over, bad_lines)


def _checked_month(month: str) -> date:
    if not re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", month):
        raise Refusal("month", repr(month), "YYYY-MM from 2000-01 to 2099-12", "Write the month like 2026-03")
    return date.fromisoformat(f"{month}-01")


def _check_range(where: str, found: int, least: int, most: int) -> None:
    if not least <= found <= most:
        raise Refusal(where, str(found), f"a whole number from {least} to {most}", f"Choose other {where}")


def _checked_share(where: str, found: Decimal | str, most: str) -> Decimal:
    expected = f"a decimal share from 0 to {most}"
    try:
        share = Decimal(found)
    except (InvalidOperation, TypeError, ValueError):
        raise Refusal(where, repr(found), expected, "Write it like 0.03") from None
    if not (share.is_finite() and 0 <= share <= Decimal(most)):
        raise Refusal(where, str(found), expected, "Write it like 0.03")
    return share


def _share_of(share: Decimal, total: int) -> int:
    return int((share * total).quantize(Decimal(1), ROUND_HALF_UP))


@contextmanager
def _complete_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its name at the end, so that half a batch is never mistaken for one."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refusal(
            str(out), "it exists and is not an empty folder", "a new folder", "Choose another or remove it"
        )
    out = out.absolute()  # "." has no name of its own
    unfinished = out.with_name(f".{out.name}.unfinished")
    if unfinished.exists():
        raise Refusal(
            str(unfinished), "left by a generation that was cut off or still runs", "nothing", "Remove it"
        )
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


# ---------------------------------------------------------------- draws

_REGISTRY_DRAWS, _SHAPE_DRAWS, _DRESS_DRAWS = 1, 2, 3


def _draws(order: _Order, stream: int, block: int = 0) -> np.random.Generator:
    """One stream of draws per purpose and block: a pass may skip what it does not need and still agree."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((order.seed, stream, block))))


def _words(rng: np.random.Generator, count: int) -> Ints:
    return rng.integers(0, 1 << 16, count, dtype=np.uint16).astype(np.int64)


def _share_table(shares: Iterable[float], size: int) -> Ints:
    """Choice numbers 0, 1, … so often as their share of `size` says: a draw below `size` looks its choice up."""
    weights = np.cumsum(np.array(list(shares), dtype=np.float64))
    edges = np.rint(weights / weights[-1] * size).astype(np.int64)
    return np.repeat(np.arange(len(edges)), np.diff(edges, prepend=0))


def _choice_tables(shares: Sequence[Mapping[str, float]], choices: Sequence[str]) -> Ints:
    return np.stack([_share_table([share.get(choice, 0) for choice in choices], 1024) for share in shares])


# ---------------------------------------------------------------- price lists


@dataclass(frozen=True)
class _PriceLists:
    """Three lists of 4096 items: category (0 … 13) and price in whole 10⁻⁴ yuan, flat; quantities per list."""

    category: Ints
    price: Ints
    quantity: Ints
    one_drug: int  # draw of a western drug in the list of further lines


@cache
def _price_lists() -> _PriceLists:
    """The same prices for every seed: they are of the field, not of the batch."""
    rng = np.random.Generator(np.random.PCG64(20250814))
    columns = np.array(list(_CHARGES.values()), dtype=np.float64).T
    category = np.concatenate([_share_table(shares, _ITEMS) for shares in columns[2:]])
    spread = np.exp(np.clip(rng.standard_normal(len(category)), -2.5, 2.5) * columns[1][category])
    fen = np.maximum(np.rint(columns[0][category] * spread * 100), 1).astype(np.int64)
    # a unit price of a drug has four decimals in the national interface, a fee of a service two
    below_fen = np.where(_CLASS_OF_CATEGORY[category] == _DRUG, rng.integers(0, 100, len(category)), 0)
    one_drug = int(np.flatnonzero(category[_ITEMS : 2 * _ITEMS] == CATEGORIES.index("09"))[0])
    return _PriceLists(category, fen * 100 + below_fen, np.array(_QUANTITIES).ravel(), one_drug)


# ---------------------------------------------------------------- registry


@dataclass(frozen=True)
class _Registry:
    """The institutions, one element each in every field."""

    institution_id: list[str]
    division: list[str]
    zone: list[str]
    institution_type: list[str]
    payment_class: list[str]
    name: list[str]
    settles_under: list[str | None]
    is_coaching: Flags
    is_over: Flags
    targets: Ints  # institutions × 2 classes: points of the month, in 10⁻⁴
    heaviness: Ints  # running sum of whole-number sizes
    first_physician: Ints
    physicians: Ints

    @property
    def over_threshold(self) -> tuple[str, ...]:
        return tuple(sorted(self.institution_id[index] for index in np.flatnonzero(self.is_over)))


def _registry(order: _Order, new_size: float = 0.4) -> _Registry:
    """Draw the institutions. new_size: visits of a new institution against those of an ordinary one of its kind."""
    rng = _draws(order, _REGISTRY_DRAWS)
    zone_number, is_coaching, is_over = _roles(order, rng)
    division = _divisions(rng, zone_number)
    zone = [DIVISIONS[code][0] for code in division]
    kinds = _kinds(rng, is_coaching)
    institution_id = _serial_ids(division)
    size = rng.lognormal(0.0, 0.9, order.institutions) * [_KINDS[kind][3] for kind in kinds]
    size = np.maximum(np.rint(np.where(is_coaching, size * new_size, size) * 1000), 20).astype(np.int64)
    settles_under = _centres(institution_id, division, kinds)
    physicians = np.clip(size // 250, 2, 60)
    return _Registry(
        institution_id,
        division,
        zone,
        [_STATION[0] if centre else kind for kind, centre in zip(kinds, settles_under, strict=True)],
        ["other_primary" if new else _KINDS[kind][1] for kind, new in zip(kinds, is_coaching, strict=True)],
        _names(
            rng,
            division,
            [_STATION[1] if c else _KINDS[k][0] for k, c in zip(kinds, settles_under, strict=True)],
        ),
        settles_under,
        is_coaching,
        is_over,
        _targets(rng, zone, is_over),
        np.cumsum(size),
        np.cumsum(physicians) - physicians,
        physicians,
    )


def _roles(order: _Order, rng: np.random.Generator) -> tuple[Ints, Flags, Flags]:
    """Zone, coaching or not, over a threshold or not. New institutions take the zones in turn, so each has some."""
    count = order.institutions
    coaching = min(count, order.over + max(4, -(-3 * count // 100)))
    rank = rng.permutation(count)
    city = np.array([ZONES.index(DIVISIONS[code][0]) for code in DIVISIONS])
    zone_number = np.where(rank < coaching, rank % len(ZONES), city[rng.integers(0, len(city), count)])
    # at a share of 1 all are over, hence all are under coaching: min() above leaves no room for others
    return zone_number, rank < coaching, rank < order.over


def _divisions(rng: np.random.Generator, zone_number: Ints) -> list[str]:
    by_zone = [[code for code in DIVISIONS if DIVISIONS[code][0] == zone] for zone in ZONES]
    picks = rng.integers(0, 1 << 16, len(zone_number))
    return [
        by_zone[z][p % len(by_zone[z])] for z, p in zip(zone_number.tolist(), picks.tolist(), strict=True)
    ]


def _kinds(rng: np.random.Generator, is_coaching: Flags) -> list[str]:
    ordinary = _share_table([kind[2] for kind in _KINDS.values()], 1024)
    names, picks = list(_KINDS), rng.integers(0, 1024, len(is_coaching)).tolist()
    return [
        _NEW_KINDS[pick % len(_NEW_KINDS)] if new else names[int(ordinary[pick])]
        for new, pick in zip(is_coaching, picks, strict=True)
    ]


def _serial_ids(division: Sequence[str]) -> list[str]:
    """H, six digits of division, five of serial number within it."""
    serial = dict.fromkeys(DIVISIONS, 0)
    ids = []
    for code in division:
        serial[code] += 1
        ids.append(f"H{code}{serial[code]:05}")
    return ids


def _centres(
    institution_id: Sequence[str], division: Sequence[str], kinds: Sequence[str]
) -> list[str | None]:
    """The second, fifth, eighth … community health centre of a division is a station instead, and settles under
    the division's first (D 5, D 15). A first centre is never a station, so there are no chains."""
    found: dict[str, list[str]] = {code: [] for code in DIVISIONS}
    centres: list[str | None] = []
    for one, code, kind in zip(institution_id, division, kinds, strict=True):
        is_centre = kind == "community_health_centre"
        centres.append(found[code][0] if is_centre and len(found[code]) % 3 == 1 else None)
        if is_centre:
            found[code].append(one)
    return centres


def _names(rng: np.random.Generator, division: Sequence[str], endings: Sequence[str]) -> list[str]:
    """津南仁和门诊部: district, two words, kind. A name that is taken gets a number, 第二, by digits."""
    taken: dict[str, int] = {}
    names = []
    for code, ending, pick in zip(
        division, endings, rng.integers(0, 400, len(division)).tolist(), strict=True
    ):
        stem = DIVISIONS[code][1] + _SURNAMES[pick // 20] + _GIVEN[pick % 20]
        taken[stem + ending] = number = taken.get(stem + ending, 0) + 1
        names.append(f"{stem}{ending}" if number == 1 else f"{stem}第{number}{ending}")
    return names


def _targets(rng: np.random.Generator, zone: Sequence[str], is_over: Flags) -> Ints:
    """Points of the month per institution and class. Over: 1.10 to 1.60 of the threshold in one class or in both;
    else 0.50 to 0.92. The gap around 1 leaves room for a growth rate and for approved relief."""
    count = len(zone)
    over_in = rng.integers(1, 4, count)[:, None] & np.array([1, 2]) > 0  # drugs, services, both
    thousandths = np.where(
        over_in & is_over[:, None], rng.integers(1_100, 1_601, (count, 2)), rng.integers(500, 921, (count, 2))
    )
    return np.array([THRESHOLDS[name] for name in zone], dtype=np.int64) * thousandths // 1000


# ---------------------------------------------------------------- flaws


@dataclass(frozen=True)
class _Flaw:
    """One way to spoil a line: the rule of data.md it breaks and, where one cell decides it, that cell.

    Flaws without a column are made among whole numbers, by `_spoil`. Those of text exist in CSV only.
    """

    rule: str
    column: str = ""
    cell: str | None = None
    needs_text: bool = False


_CONFLICTING = _Flaw("conflicting_duplicate")  # rejects two lines, so it is counted apart and stands first
FLAWS = (
    _CONFLICTING,
    _Flaw("duplicate_line"),
    _Flaw("outside_month"),
    _Flaw("serviced_after_settled"),
    _Flaw("out_of_range"),
    _Flaw("reversal_without_reference"),
    _Flaw("missing_value", "claim_id"),
    _Flaw("missing_value", "settled_at"),
    _Flaw("missing_value", "charge_category"),
    _Flaw("missing_value", "points"),
    _Flaw("bad_code", "institution_id", "H1201"),
    _Flaw("unknown_institution", "institution_id", "H12019999999"),
    _Flaw("unknown_charge_category", "charge_category", "99"),
    _Flaw("unknown_visit_type", "visit_type", "98"),
    _Flaw("void_line", "is_valid", "0"),
    _Flaw("void_line", "is_valid", "0"),
    _Flaw("bad_number", "points", "12.3.4", needs_text=True),
    _Flaw("bad_number", "amount", "35元", needs_text=True),
    _Flaw("bad_datetime", "serviced_at", "2026-02-30 09:00:00", needs_text=True),
    _Flaw("too_many_decimals", "points", "18.12345", needs_text=True),
    _Flaw("ragged_row", "person_id", "12000000000000{separator}12", needs_text=True),
)
# what a bureau's export cannot show: its settlement columns stand in another file, once per claim
_DEMO_FLAWS = tuple(
    flaw for flaw in FLAWS if flaw.rule != "outside_month" and flaw.column not in ("settled_at", "visit_type")
)
_BATCH_FLAWS = {"parquet": tuple(flaw for flaw in FLAWS if not flaw.needs_text), "csv": FLAWS}


# ---------------------------------------------------------------- shape of a block


@dataclass(frozen=True)
class _Shape:
    """What decides the points of a block. Claims: one element per visit; lines: one per line; rows: line numbers.

    raw: price × quantity in 10⁻⁴, negative in a refund. spoilt_rows have the flaw of the same place in flaws;
    the row before a spoilt one is whole, and belongs to the same visit.
    """

    first_claim: int
    visit_lines: Ints
    institution: Ints
    insurance: Ints
    visit: Ints
    refunds: Ints
    claim_of_line: Ints
    line_number: Ints
    category: Ints
    raw: Ints
    spoilt_rows: Ints
    flaws: Ints
    conflicting: int

    @property
    def claims(self) -> int:
        return len(self.visit_lines)

    @property
    def lines(self) -> int:
        return len(self.raw)

    @property
    def bad_lines(self) -> int:
        return len(self.spoilt_rows) + self.conflicting


def _shape(
    order: _Order, registry: _Registry, flaws: Sequence[_Flaw], block: int, first_claim: int
) -> _Shape:
    rng = _draws(order, _SHAPE_DRAWS, block)
    visit_lines, refunds = _visits(rng, order.block_lines(block), order.institutions - first_claim)
    claims = len(visit_lines)
    is_safe = first_claim + np.arange(claims) < order.institutions
    institution = _institutions(rng, order, registry, first_claim, claims)
    new = registry.is_coaching[institution].astype(np.int64)
    insurance = np.where(is_safe, 0, _INSURANCE_TABLES[new, _words(rng, claims) & 1023])
    visit = np.where(is_safe, 0, _VISIT_TABLES[new, _words(rng, claims) & 1023])
    for told in (institution, insurance, visit):
        told[refunds] = told[refunds - 1]

    claim_of_line = np.repeat(np.arange(claims), visit_lines)
    first_line = np.cumsum(visit_lines) - visit_lines
    line_number = np.arange(len(claim_of_line)) - first_line[claim_of_line]
    category, raw = _items(rng, visit, visit_lines, refunds, is_safe, claim_of_line, line_number, first_line)

    is_whole = np.zeros(claims, dtype=np.bool_)
    is_whole[refunds] = is_whole[refunds - 1] = True
    may_spoil = (line_number > 0) & ~is_whole[claim_of_line] & ~(is_safe[claim_of_line] & (line_number < 3))
    spoilt_rows, kinds, conflicting = _spoilt(rng, may_spoil, order.block_bad_lines(block), len(flaws))
    return _Shape(
        first_claim, visit_lines, institution, insurance, visit, refunds, claim_of_line, line_number, category, raw,
        spoilt_rows, kinds, conflicting,
    )  # fmt: skip


_INSURANCE_TABLES = _choice_tables(_INSURANCE_SHARES, INSURANCE_TYPES)
_VISIT_TABLES = _choice_tables(_VISIT_SHARES, VISIT_TYPES)
_VISIT_LINE_TABLE = _share_table(_VISIT_LINES.values(), 1024) + min(_VISIT_LINES)


def _visits(rng: np.random.Generator, lines: int, safe_claims: int) -> tuple[Ints, Ints]:
    """Lines of each visit, 2 to 8 that add up to `lines`, and the visits that refund the whole visit before them.

    One pair of visits in a hundred is a visit and its refund: 0.5 % of the lines. The first visit of an
    institution is safe: never refunded nor spoilt, so that every institution has points of both classes.
    """
    draws = lines // 2 + 1
    visit_lines = _VISIT_LINE_TABLE[_words(rng, draws) & 1023]
    refunds = 2 * np.flatnonzero(_words(rng, draws // 2) < 655) + 1
    refunds = refunds[refunds > max(safe_claims, 0)]
    visit_lines[refunds] = visit_lines[refunds - 1]
    visit_lines = _cut(visit_lines, lines)
    return visit_lines, refunds[refunds < len(visit_lines) - 2]


def _cut(visit_lines: Ints, lines: int) -> Ints:
    """The visits up to exactly `lines`; the last ones give or take a line so that none has fewer than two."""
    ends = np.cumsum(visit_lines)
    kept = int(np.searchsorted(ends, lines, side="right"))
    visit_lines, rest = visit_lines[:kept], lines - (int(ends[kept - 1]) if kept else 0)
    if rest == 1 and visit_lines[-1] < max(_VISIT_LINES):
        visit_lines[-1] += 1
        return visit_lines
    if rest == 1:
        visit_lines[-1] -= 1
        rest = 2
    return np.append(visit_lines, rest) if rest else visit_lines


def _institutions(
    rng: np.random.Generator, order: _Order, registry: _Registry, first_claim: int, claims: int
) -> Ints:
    """Everyone's first visit in turn, then by size."""
    heaviness = registry.heaviness
    institution = np.searchsorted(heaviness, rng.integers(0, heaviness[-1], claims), side="right").astype(
        np.int64
    )
    safe = max(0, min(claims, order.institutions - first_claim))
    institution[:safe] = np.arange(first_claim, first_claim + safe)
    return institution


def _items(
    rng: np.random.Generator,
    visit: Ints,
    visit_lines: Ints,
    refunds: Ints,
    is_safe: Flags,
    claim_of_line: Ints,
    line_number: Ints,
    first_line: Ints,
) -> tuple[Ints, Ints]:
    """Category and price of each line; a refund repeats the items of the visit before it, with the sign turned."""
    lists = _price_lists()
    draw = _words(rng, len(claim_of_line))
    draw[(line_number == 1) & is_safe[claim_of_line]] = lists.one_drug
    back = _rows_of(refunds, first_line, visit_lines)
    draw[back] = draw[back - np.repeat(visit_lines[refunds], visit_lines[refunds])]
    price_list = np.where(
        (visit == _INPATIENT)[claim_of_line], _STAY, np.where(line_number == 0, _FIRST, _FURTHER)
    )
    item = price_list * _ITEMS + (draw & (_ITEMS - 1))
    raw = lists.price[item] * lists.quantity[price_list * 16 + draw // _ITEMS]
    raw[back] *= -1
    return lists.category[item], raw


def _rows_of(claims: Ints, first_line: Ints, visit_lines: Ints) -> Ints:
    """Rows of the lines of some claims."""
    sizes = visit_lines[claims]
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(first_line[claims], sizes) + within


def _spoilt(rng: np.random.Generator, may_spoil: Flags, bad_lines: int, flaws: int) -> tuple[Ints, Ints, int]:
    """Rows to spoil, their flaws, and how many of them reject a second line, so that `bad_lines` are rejected.

    Only odd rows are spoilt: the row before each is whole and its own, and can be the one that is doubled.
    """
    odd = 2 * np.flatnonzero(may_spoil[1::2]) + 1
    conflicting = bad_lines // (flaws + 1)
    count = min(bad_lines - conflicting, len(odd))
    kinds = np.concatenate(
        [np.zeros(conflicting, dtype=np.int64), rng.integers(1, flaws, max(count - conflicting, 0))]
    )
    rows = rng.choice(odd, count, replace=False, shuffle=True)
    return rows, kinds[:count], min(conflicting, count)


# ---------------------------------------------------------------- factors: from drawn prices to points


@dataclass(frozen=True)
class _Factors:
    """Per institution and class: points of a line = its raw price, at most `limit`, × parts ÷ 10⁹, half-up."""

    limit: Ints
    parts: Ints


_ONE = 1_000_000_000
_CLASSES = 2  # those with a threshold


def _shapes(order: _Order, registry: _Registry, flaws: Sequence[_Flaw]) -> Iterator[_Shape]:
    first_claim = 0
    for block in range(order.blocks):
        shape = _shape(order, registry, flaws, block, first_claim)
        yield shape
        first_claim += shape.claims


def _group(shape: _Shape) -> Ints:
    """Number of the line's (institution, class) group. Decoctions and stays are priced like drugs and services."""
    point_class = _CLASS_OF_CATEGORY[shape.category] % _CLASSES
    group: Ints = (shape.institution * _CLASSES)[shape.claim_of_line] + point_class
    return group


def _meets_threshold(shape: _Shape, registry: _Registry) -> Flags:
    """The line counts against a threshold: whole, of an institution under coaching, outpatient, covered (rules 4, 6).

    The dates need no test: agreements of new institutions are in force long before and after the month.
    """
    claim = registry.is_coaching[shape.institution] & (shape.insurance == 0) & (shape.visit < _SPECIAL)
    counts: Flags = claim[shape.claim_of_line] & (_CLASS_OF_CATEGORY[shape.category] != _TCM)
    counts[shape.spoilt_rows] = False
    counts[shape.spoilt_rows[: shape.conflicting] - 1] = False
    return counts


def _group_sums(shape: _Shape, registry: _Registry, values: Ints) -> Ints:
    counts = _meets_threshold(shape, registry)
    groups = _CLASSES * len(registry.zone)
    return np.bincount(_group(shape)[counts], weights=values[counts], minlength=groups).astype(np.int64)


def _factors(order: _Order, registry: _Registry, flaws: Sequence[_Flaw]) -> _Factors:
    """First pass: what new institutions would submit at list prices, and the factor to what they are to submit.

    `limit` is that sum: no line that counts is above it, save a refunded one and its refund, which are cut alike.
    So no product leaves 64 bits and no line passes the month's target.
    """
    raw = np.zeros(_CLASSES * order.institutions, dtype=np.int64)
    for shape in _shapes(order, registry, flaws):
        raw += _group_sums(shape, registry, shape.raw)
    scaled = np.repeat(registry.is_coaching, _CLASSES)
    if (raw[scaled] <= 0).any():
        raise Fault("synthesis", "a new institution without points", "a safe visit of each institution")
    targets = registry.targets.ravel()
    limit = np.where(scaled, raw, np.iinfo(np.int64).max // _ONE)
    parts = np.full(len(raw), _ONE)
    parts[scaled] = [int(t) * _ONE // int(r) for t, r in zip(targets[scaled], raw[scaled], strict=True)]
    return _Factors(limit, parts)


def _points(shape: _Shape, factors: _Factors) -> Ints:
    group = _group(shape)
    size = np.minimum(np.abs(shape.raw), factors.limit[group])
    return np.sign(shape.raw) * ((size * factors.parts[group] + _ONE // 2) // _ONE)


def _prove(order: _Order, registry: _Registry, submitted: Ints) -> None:
    """The property that was asked for, summed over what was written."""
    thresholds = np.array([THRESHOLDS[zone] for zone in registry.zone])
    is_over = (submitted.reshape(-1, _CLASSES) > thresholds).any(axis=1)
    if int(is_over.sum()) != order.over or (is_over != registry.is_over).any():
        raise Fault("synthesis", f"{int(is_over.sum())} institutions over a threshold", str(order.over))


# ---------------------------------------------------------------- the lines of a block


@dataclass(frozen=True)
class _Tables:
    """Texts that lines point at by number. The last entry is null where a cell may be empty."""

    institution: pl.Series
    physician: pl.Series
    department: pl.Series
    disease: pl.Series
    insurance: pl.Series
    visit: pl.Series
    settled_day: Ints
    second_of_day: Ints


def _tables(order: _Order, registry: _Registry) -> _Tables:
    return _Tables(
        pl.Series(registry.institution_id),
        pl.Series(_physician_ids(registry)),
        pl.Series(_DEPARTMENTS),
        pl.Series([*_DISEASES, None]),
        pl.Series(INSURANCE_TYPES),
        pl.Series(VISIT_TYPES),
        _share_table(
            [_WEEKDAYS[(order.first_day.weekday() + day) % 7] for day in range(order.days)], 1 << 16
        ),
        _second_table(),
    )


def _physician_ids(registry: _Registry) -> list[str]:
    return [
        f"D{code}{first + number:07}"
        for code, first, count in zip(
            registry.division, registry.first_physician.tolist(), registry.physicians.tolist(), strict=True
        )
        for number in range(count)
    ]


def _second_table() -> Ints:
    """65 536 seconds of the day, dense in the morning, sparse at night."""
    edges = np.cumsum((0, *_HOURS)) / sum(_HOURS)
    middle = (np.arange(1 << 16) + 0.5) / (1 << 16)
    return np.interp(middle, edges, np.arange(25) * 3600).astype(np.int64)


def _department_of(physician: Ints, institution: Ints) -> Ints:
    """Physicians of an institution share up to four departments of the twelve, which four hangs on the institution."""
    return (institution * 5 + physician % 4) % len(_DEPARTMENTS)


@dataclass(frozen=True)
class _Visits:
    """The texts of a block that all lines of a visit share: one element per visit."""

    texts: dict[str, pl.Series]
    number: Ints
    serviced_at: Ints  # seconds since 1970
    settled_at: Ints


@dataclass
class _Cells:
    """The lines of a block as whole numbers, one per line; `_spoil` changes them in place."""

    claim: Ints
    line_number: Ints
    serviced_at: Ints  # seconds since 1970
    settled_at: Ints
    category: Ints
    points: Ints  # 10⁻⁴
    reverses: Ints  # line number, 0 = none


def _dressed_visits(
    order: _Order, registry: _Registry, tables: _Tables, shape: _Shape, block: int
) -> _Visits:
    """Everything that does not decide points, drawn per visit: who, when, and the numbers."""
    rng = _draws(order, _DRESS_DRAWS, block)
    physician = _words(rng, shape.claims) % registry.physicians[shape.institution]
    person = 12_0000_0000_0000 + rng.integers(0, 12_000_000, shape.claims)
    disease = np.where(shape.visit == _SPECIAL, _words(rng, shape.claims) % len(_DISEASES), len(_DISEASES))
    for told in (physician, person, disease):
        told[shape.refunds] = told[shape.refunds - 1]
    serviced_at, settled_at = _moments(rng, order, tables, shape)
    # 12, month, nine digits: 17 digits; a line adds two. Both fit in 64 bits
    number = int(f"12{order.first_day:%Y%m}") * 10**9 + shape.first_claim + np.arange(1, shape.claims + 1)
    texts = {
        "claim_id": _digits(number),
        "institution_id": _looked_up(tables.institution, shape.institution),
        "department_id": _looked_up(tables.department, _department_of(physician, shape.institution)),
        "physician_id": _looked_up(tables.physician, registry.first_physician[shape.institution] + physician),
        "insurance_type": _looked_up(tables.insurance, shape.insurance),
        "visit_type": _looked_up(tables.visit, shape.visit),
        "disease_code": _looked_up(tables.disease, disease),
        "person_id": _digits(person),
    }
    return _Visits(texts, number, serviced_at, settled_at)


def _cells(shape: _Shape, visits: _Visits, points: Ints) -> _Cells:
    claim = shape.claim_of_line
    line_number = (visits.number * 100 + 1)[claim] + shape.line_number
    reverses = _reversed_lines(shape, line_number)
    moments = visits.serviced_at[claim], visits.settled_at[claim]
    return _Cells(claim.copy(), line_number, *moments, shape.category.copy(), points, reverses)


def _reversed_lines(shape: _Shape, line_number: Ints) -> Ints:
    """A refund names, line by line, the visit before it. Negative points decide, so a zero line names one too."""
    refunds, visit_lines = shape.refunds, shape.visit_lines
    rows = _rows_of(refunds, np.cumsum(visit_lines) - visit_lines, visit_lines)
    reverses = np.zeros(shape.lines, dtype=np.int64)
    reverses[rows] = line_number[rows - np.repeat(visit_lines[refunds], visit_lines[refunds])]
    return reverses


def _moments(rng: np.random.Generator, order: _Order, tables: _Tables, shape: _Shape) -> tuple[Ints, Ints]:
    """Seconds of service and of settlement, per visit.

    Most visits settle within two hours, a stay after one to fourteen days, one visit in a hundred days or weeks
    late (up to 45 days, so before the month too). A refund is settled between its visit and the month's end.
    """
    start = _seconds(order.first_day)
    end = start + order.days * 86_400 - 1
    settled = start + tables.settled_day[_words(rng, shape.claims)] * 86_400
    settled += tables.second_of_day[_words(rng, shape.claims)]
    chance, wait, refund_wait = (_words(rng, shape.claims) for _ in range(3))
    days = np.where(chance < 655, 2 + wait % 44, np.where(shape.visit == _INPATIENT, 1 + wait % 14, 0))
    serviced = settled - days * 86_400 - (60 + wait % 7_140)
    refunds = shape.refunds
    serviced[refunds] = serviced[refunds - 1]
    settled[refunds] = settled[refunds - 1] + (end - settled[refunds - 1]) * refund_wait[refunds] // (1 << 16)
    return serviced, settled


def _seconds(day: date) -> int:
    """Seconds since 1970 of a day's midnight, as written: there is no time zone."""
    return (day - date(1970, 1, 1)).days * 86_400


def _spoil(order: _Order, shape: _Shape, cells: _Cells, flaws: Sequence[_Flaw]) -> None:
    """The flaws that are made among whole numbers."""
    for number, flaw in enumerate(flaws):
        rows = shape.spoilt_rows[shape.flaws == number]
        if flaw.rule in ("duplicate_line", "conflicting_duplicate"):
            for cell in vars(cells).values():
                cell[rows] = cell[rows - 1]
        if flaw.rule == "conflicting_duplicate":
            cells.points[rows] += 1
        if flaw.rule == "outside_month":
            cells.settled_at[rows] += order.days * 86_400
        if flaw.rule == "serviced_after_settled":
            cells.serviced_at[rows] = cells.settled_at[rows] + 86_400
        if flaw.rule == "out_of_range":
            cells.points[rows] = 100_000_000_001
        if flaw.rule == "reversal_without_reference":
            cells.points[rows] = -1 - cells.points[rows]  # below zero also where the points are zero


def _frame(visits: _Visits, cells: _Cells) -> pl.DataFrame:
    """The lines under the contract's own names and types; flaws of single cells are not yet in."""
    claim = pl.Series(cells.claim.astype(np.uint32))
    columns = {name: text.gather(claim) for name, text in visits.texts.items()}
    columns |= {
        "line_id": _digits(cells.line_number),
        "serviced_at": _moment(cells.serviced_at),
        "settled_at": _moment(cells.settled_at),
        "charge_category": _looked_up(_CATEGORY_TEXTS, cells.category),
        "points": _exact(cells.points, 4),
        "amount": _exact(_fen(cells.points), 2),
        "reverses_line_id": _reversed_ids(cells.reverses),
        "is_valid": pl.Series(["1"]).new_from_index(0, len(claim)),
    }
    return pl.DataFrame({field.name: columns[field.name] for field in CLAIM_FIELDS})


_CATEGORY_TEXTS = pl.Series(CATEGORIES)


def _looked_up(texts: pl.Series, numbers: Ints) -> pl.Series:
    return texts.gather(pl.Series(numbers.astype(np.uint32)))


def _digits(numbers: Ints) -> pl.Series:
    return pl.Series(numbers).cast(pl.String)


def _moment(seconds: Ints) -> pl.Series:
    return pl.Series(seconds * 1_000_000).cast(pl.Datetime("us"))


def _reversed_ids(reverses: Ints) -> pl.Series:
    rows = np.flatnonzero(reverses)
    ids = pl.Series([None], dtype=pl.String).new_from_index(0, len(reverses))
    return ids.scatter(pl.Series(rows), pl.Series(reverses[rows]).cast(pl.String)) if len(rows) else ids


def _exact(units: Ints, scale: int) -> pl.Series:
    """Whole units of 10⁻ˢᶜᵃˡᵉ as a decimal. The product is exact: one factor is whole."""
    unit = pl.lit(Decimal(1).scaleb(-scale))
    whole = pl.Series("units", units).to_frame().lazy().select(pl.col("units").cast(pl.Decimal(22, 0)))
    return whole.select((pl.col("units") * unit).cast(pl.Decimal(18, scale))).collect().to_series()


def _fen(points: Ints) -> Ints:
    """Points of 10⁻⁴ as fen, half-up: a point is a yuan in these batches."""
    fen: Ints = np.sign(points) * ((np.abs(points) + 50) // 100)
    return fen


def _with_flaws(
    frame: pl.DataFrame, shape: _Shape, flaws: Sequence[_Flaw], separator: str = ","
) -> pl.DataFrame:
    """Put the flaws of single cells in. A flaw of text needs a frame of text."""
    spoilt: dict[str, pl.Series] = {}
    for number, flaw in enumerate(flaws):
        rows = shape.spoilt_rows[shape.flaws == number]
        if flaw.column and len(rows):
            column = spoilt.get(flaw.column, frame[flaw.column])
            cell = flaw.cell and flaw.cell.replace("{separator}", separator)
            spoilt[flaw.column] = column.scatter(
                pl.Series(rows), pl.Series([cell] * len(rows), dtype=column.dtype)
            )
    return frame.with_columns(**spoilt)


def _as_text(frame: pl.DataFrame) -> pl.DataFrame:
    """Every cell as it stands in a CSV file: plain digits and moments to the second."""
    moments = pl.selectors.datetime().dt.to_string("%Y-%m-%d %H:%M:%S")
    return frame.with_columns(moments, pl.selectors.decimal().cast(pl.String))


# ---------------------------------------------------------------- writing a batch


def _write_batch(
    folder: Path, order: _Order, file_format: FileFormat, progress: Progress | None
) -> GeneratedBatch:
    registry, flaws = _registry(order), _BATCH_FLAWS[file_format]
    write = _write_csv if file_format == "csv" else _write_parquet
    (folder / "claims").mkdir()
    written = bad_lines = 0
    with ThreadPoolExecutor(
        1
    ) as writer:  # a block is written while the next one is made; never more than these two
        pending: Future[None] | None = None
        for block, (shape, frame) in enumerate(_blocks(order, registry, flaws)):
            if pending is not None:
                pending.result()
                _tell(progress, written)
            path = folder / "claims" / f"part-{block:05}.{file_format}"
            pending = writer.submit(write, path, frame, shape, flaws)
            written += shape.lines
            bad_lines += shape.bad_lines
    if pending is not None:
        pending.result()
    _tell(progress, written)
    for name, rows in _small_tables(order, registry).items():
        _table(name, rows).write_csv(folder / f"{name}.csv")
    return GeneratedBatch(folder, written, bad_lines, order.institutions, registry.over_threshold)


def _tell(progress: Progress | None, written: int) -> None:
    if progress is not None:
        progress(written)


def _write_parquet(path: Path, frame: pl.DataFrame, shape: _Shape, flaws: Sequence[_Flaw]) -> None:
    _with_flaws(frame, shape, flaws).write_parquet(path, compression="zstd", compression_level=1)


def _write_csv(path: Path, frame: pl.DataFrame, shape: _Shape, flaws: Sequence[_Flaw]) -> None:
    # never quoted: no cell holds a comma, save the ragged ones, whose comma must count
    _with_flaws(_as_text(frame), shape, flaws).write_csv(path, quote_style="never")


def _blocks(
    order: _Order, registry: _Registry, flaws: Sequence[_Flaw]
) -> Iterator[tuple[_Shape, pl.DataFrame]]:
    """Second pass: shape and lines of each block; the capped share is proven after the last one."""
    factors, tables = _factors(order, registry, flaws), _tables(order, registry)
    submitted = np.zeros(_CLASSES * order.institutions, dtype=np.int64)
    for block, shape in enumerate(_shapes(order, registry, flaws)):
        points = _points(shape, factors)
        submitted += _group_sums(shape, registry, points)
        visits = _dressed_visits(order, registry, tables, shape, block)
        cells = _cells(shape, visits, points)
        _spoil(order, shape, cells, flaws)
        yield shape, _frame(visits, cells)
    _prove(order, registry, submitted)


# ---------------------------------------------------------------- small tables


def _small_tables(order: _Order, registry: _Registry) -> dict[str, list[Row]]:
    agreements = _agreements(order, registry)
    return {
        "institutions": _institution_rows(order, registry),
        "agreements": agreements,
        "events": _events(order, registry, agreements),
        "relief": _relief(order, registry),
    }


def _table(name: str, rows: Sequence[Row]) -> pl.DataFrame:
    """Columns in the contract's order, all text, also of a table without rows."""
    return pl.DataFrame(rows, schema={field.name: pl.String for field in SMALL_TABLES[name]})


def _chance(order: _Order, purpose: int, count: int) -> list[int]:
    """Draws 0 … 65 535, one per institution, of one purpose in the small tables."""
    return [int(draw) for draw in _words(_draws(order, _REGISTRY_DRAWS, purpose), count)]


def _institution_rows(order: _Order, registry: _Registry) -> list[Row]:
    east, north, zone = (_chance(order, purpose, order.institutions) for purpose in (1, 2, 3))
    return [
        {
            "institution_id": registry.institution_id[index],
            "name": registry.name[index],
            "institution_type": registry.institution_type[index],
            "payment_class": registry.payment_class[index],
            "division_code": code,
            # left to the division code mostly, as in the registry; where it stands, it says the same
            "zone": registry.zone[index] if zone[index] < 3_000 else None,
            "settles_under": registry.settles_under[index],
            "longitude": f"{DIVISIONS[code][2] + (east[index] - 32_768) / 1_000_000:.6f}",
            "latitude": f"{DIVISIONS[code][3] + (north[index] - 32_768) / 1_000_000:.6f}",
        }
        for index, code in enumerate(registry.division)
    ]


def _agreements(order: _Order, registry: _Registry) -> list[Row]:
    rows: list[Row] = []
    draws = _chance(order, 4, order.institutions)
    for index, draw in enumerate(draws):
        if registry.settles_under[index] is None:  # a station has none: those of its centre hold
            spans = _coaching_spans(order, draw) if registry.is_coaching[index] else _ordinary_spans(order)
            rows += [_agreement(registry, index, draw, start, end) for start, end in spans]
    return rows


def _agreement(registry: _Registry, index: int, draw: int, start: date, end: date) -> Row:
    new, one = bool(registry.is_coaching[index]), registry.institution_id[index]
    only_visits = registry.institution_type[index] in ("outpatient_department", "infirmary")
    new_services = "outpatient" if only_visits else "outpatient;inpatient"
    return {
        "agreement_id": f"{'XZ' if new else 'PT'}{one[1:]}-{start:%Y%m%d}",
        "institution_id": one,
        "start_date": start.isoformat(),
        "end_date": end.isoformat(),
        "designation": "coaching" if new else "ordinary",
        "service_categories": new_services if new else "outpatient;special_outpatient;inpatient",
        "special_diseases": ";".join(_DISEASES[:6]) if not new and draw % 10 == 0 else None,
        "insurance_types": ("310" if new else "310;390") if draw % 5 == 0 else None,
    }


def _ordinary_spans(order: _Order) -> list[tuple[date, date]]:
    """This calendar year and the one before: a line settled in January may be serviced in November."""
    year = order.first_day.year
    return [(date(y, 1, 1), date(y, 12, 31)) for y in (year - 1, year)]


def _coaching_spans(order: _Order, draw: int) -> list[tuple[date, date]]:
    """Signed two to nine months before the month, for twelve months or to the year's end and renewed.

    Two whole months lie before the month, so that no late line (45 days) falls before the agreement; the month
    lies in an agreement year that meets the coaching period of six months.
    """
    ago = 2 + draw % 8
    start = _months_later(order.first_day, -ago)
    if ago > 2:
        start = start.replace(day=1 + draw // 8 % 28)
    year_end = date(start.year, 12, 31)
    renewed = date(start.year + 1, 1, 1), date(start.year + 1, 12, 31)
    needs_renewal = start.year < order.first_day.year
    renewal_meets_coaching = _months_later(start, 6) > renewed[0]
    if draw // 256 % 2 and (renewal_meets_coaching or not needs_renewal):
        return [(start, year_end), renewed] if needs_renewal else [(start, year_end)]
    return [(start, _months_later(start, 12) - timedelta(days=1))]


def _months_later(day: date, months: int) -> date:
    """Same day of another month; only days 1 to 28 are asked for, so none needs clipping."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return day.replace(year=year, month=month + 1)


def _events(order: _Order, registry: _Registry, agreements: Sequence[Row]) -> list[Row]:
    """Known by the last day of the month, by day. The new are inspected and some warned; of the ordinary a few
    are suspended, or one of their physicians or departments is."""
    signed: dict[str, date] = {}
    for row in agreements:
        signed.setdefault(str(row["institution_id"]), date.fromisoformat(str(row["start_date"])))
    draws = _chance(order, 5, order.institutions)
    events: list[Row] = []
    for index in np.flatnonzero(registry.is_coaching).tolist():
        one = registry.institution_id[index]
        events += _new_institution_events(one, signed[one], draws[index])
    for place, index in enumerate(_settling_ordinary(registry)):
        events += _ordinary_events(order, registry, index, draws[index], place)
    known = [event for event in events if str(event["occurred_on"]) <= order.last_day.isoformat()]
    known.sort(
        key=lambda event: (str(event["occurred_on"]), str(event["institution_id"]), str(event["kind"]))
    )
    return [{"event_id": f"E{number:06}", **event} for number, event in enumerate(known, 1)]


def _settling_ordinary(registry: _Registry) -> list[int]:
    return [
        index
        for index in np.flatnonzero(~registry.is_coaching).tolist()
        if registry.settles_under[index] is None
    ]


def _event(one: str, day: date, kind: str, note: str, target: str | None = None) -> Row:
    return {
        "institution_id": one,
        "occurred_on": day.isoformat(),
        "kind": kind,
        "target_id": target,
        "note": note,
    }


def _new_institution_events(one: str, signed: date, draw: int) -> list[Row]:
    events = []
    if draw % 16:  # T 4(1): an inspection within six months; who has none becomes a finding
        events.append(_event(one, signed + timedelta(days=25 + draw % 130), "inspected", "现场检查"))
    if draw // 16 % 12 == 0:
        events.append(
            _event(one, signed + timedelta(days=20 + draw % 150), "minor_violation", "超限定范围用药")
        )
    return events


def _ordinary_events(order: _Order, registry: _Registry, index: int, draw: int, place: int) -> list[Row]:
    """The first three of the city, so that every batch has each kind, and about one in a hundred after them."""
    one, day = registry.institution_id[index], order.first_day + timedelta(days=4 + draw % 12)
    case = place if place < 3 else draw % 300
    physician = int(registry.first_physician[index])
    department = _DEPARTMENTS[int(_department_of(np.array([0]), np.array([index]))[0])]
    if case == 0:
        back = day + timedelta(days=5 + draw // 12 % 15)
        return [_event(one, day, "suspended", "中止协议"), _event(one, back, "resumed", "恢复协议")]
    if case == 1:
        target = f"D{registry.division[index]}{physician:07}"
        return [_event(one, day, "physician_suspended", "暂停医师医保支付资格", target)]
    if case == 2:
        return [_event(one, day, "department_suspended", "暂停科室医保结算", department)]
    return []


def _relief(order: _Order, registry: _Registry) -> list[Row]:
    """Two per cent of a threshold for one or two new institutions: too little to bring anyone back below."""
    chosen = np.flatnonzero(registry.is_over)[:2]
    if not len(chosen):
        chosen = np.flatnonzero(registry.is_coaching)[:1]
    rows: list[Row] = []
    for number, index in enumerate(chosen.tolist(), 1):
        point_class = int(np.argmax(registry.targets[index] - THRESHOLDS[registry.zone[index]]))
        hundredths = THRESHOLDS[registry.zone[index]][point_class] * 2 // 10_000
        rows.append(
            {
                "institution_id": registry.institution_id[index],
                "month": order.month,
                "point_class": THRESHOLD_CLASSES[point_class],
                "approved_points": str(Decimal(hundredths).scaleb(-2)),
                "reference": f"合理超支审批〔{order.first_day.year}〕{number}号",
            }
        )
    return rows


# ---------------------------------------------------------------- demo

_NATIONAL_CLAIMS = {
    "claim_id": "setl_id",
    "line_id": "bkkp_sn",
    "institution_id": "fixmedins_code",
    "institution_name": "fixmedins_name",  # no column of the contract: an export has more than is asked for
    "department_id": "bilg_dept_codg",
    "physician_id": "bilg_dr_code",
    "serviced_at": "fee_ocur_time",
    "disease_code": "dise_codg",
    "charge_category": "med_chrgitm_type",
    "points": "points",
    "fee": "det_item_fee_sumamt",
    "amount": "inscp_scp_amt",
    "reverses_line_id": "init_feedetl_sn",
    "is_valid": "vali_flag",
    "person_id": "psn_no",
}
_NATIONAL_SETTLEMENTS = {
    "claim_id": "setl_id",
    "person_id": "psn_no",
    "settled_at": "setl_time",
    "insurance_type": "insutype",
    "visit_type": "med_type",
}
_NATIONAL_NAMES = {"institution_id": "fixmedins_code", "name": "fixmedins_name"}
_DEMO_POINT_VALUES = {
    "drug_consumable": "0.912300",
    "service": "1.045000",
    "tcm_decoction": "1.000000",
    "inpatient": "0.978600",
}
_DEMO_NEW_SIZE = 3.0  # few lines must carry a month's threshold; more of them keep the prices near life


def _write_demo(folder: Path, order: _Order) -> GeneratedBatch:
    registry = _registry(order, _DEMO_NEW_SIZE)
    ((shape, frame),) = _blocks(order, registry, _DEMO_FLAWS)
    settlements = frame.unique("claim_id", keep="first", maintain_order=True).sort("settled_at", "claim_id")
    names = dict(zip(registry.institution_id, registry.name, strict=True))
    institution_name = pl.col("institution_id").replace_strict(names)
    exported = _as_text(frame.with_columns(institution_name=institution_name, fee=_fees(order, frame)))
    lines = _with_flaws(exported, shape, _DEMO_FLAWS, separator="\t")
    (folder / "claims").mkdir()
    _write_export(folder / "claims" / f"fee_list_{order.first_day:%Y%m}.csv", lines, _NATIONAL_CLAIMS)
    _write_export(folder / "settlements.csv", _as_text(settlements), _NATIONAL_SETTLEMENTS)
    for name, rows in {**_small_tables(order, registry), "point_values": _point_values(order)}.items():
        table = _table(name, rows)
        own_names = {column: column for column in table.columns}
        _write_export(
            folder / f"{name}.csv",
            table,
            own_names | {c: n for c, n in _NATIONAL_NAMES.items() if c in own_names},
        )
    return GeneratedBatch(folder, shape.lines, shape.bad_lines, order.institutions, registry.over_threshold)


def _write_export(path: Path, table: pl.DataFrame, names: Mapping[str, str]) -> None:
    """The named columns under their national names: tabs, the word null, GB18030."""
    renamed = table.select(pl.col(own).alias(national) for own, national in names.items())
    text: Any = renamed.write_csv(separator="\t", null_value="null", quote_style="never")
    path.write_bytes(text.encode("gb18030"))


def _fees(order: _Order, frame: pl.DataFrame) -> pl.Series:
    """The whole fee of a line: for one line in five the patient also pays a part outside the policy's scope."""
    draw = _words(_draws(order, _REGISTRY_DRAWS, 6), frame.height)
    own_part = np.where(draw % 5 == 0, 100 + draw % 30, 100)
    fen = (frame["amount"] * 100).cast(pl.Int64).to_numpy()
    return _exact(np.sign(fen) * (np.abs(fen) * own_part // 100), 2)


def _point_values(order: _Order) -> list[Row]:
    return [
        {"month": order.month, "zone": "*", "point_class": name, "point_value": value}
        for name, value in _DEMO_POINT_VALUES.items()
    ]


__all__ = ["BLOCK_LINES", "FLAWS", "THRESHOLDS", "GeneratedBatch", "generate", "write_demo"]
