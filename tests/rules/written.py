"""Written tables → policies, registries and small batches: what the rule tests are told in.

A table is a text: its first row names the columns, cells are separated by `|`, an empty cell is missing.
Institutions bear names (`centre`, `station`, …); they become codes on the way in and names again on the way out.
All points and money are texts or `Decimal`; no binary float occurs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from settlement import Settlement, load_policy, read_batch
from settlement import settle as settle_batch
from settlement.errors import Refusal
from settlement.policy import Policy
from settlement.rules import timeline

NAMES = ("centre", "station", "other", "third", "clinic", "hospice")
CODE = {name: f"H1201010000{number}" for number, name in enumerate(NAMES, start=1)}
NAME = {code: name for name, code in CODE.items()}
FROM, TO = "2025-10-01", "2026-09-30"  # of an agreement that does not say otherwise
CENTRE = "institution\ncentre"
CENTRE_AND_STATION = """
    institution | settles_under
    centre      |
    station     | centre
"""


def table(text: str) -> list[dict[str, str]]:
    """Rows as dicts of the first row's names; every row must have as many cells as the first."""
    lines = [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines() if line.strip()]
    header, *rows = lines or [[]]
    return [dict(zip(header, row, strict=True)) for row in rows]


def cases(text: str) -> tuple[list[str], list[tuple[str, ...]]]:
    """A table as the arguments of `pytest.mark.parametrize`: `@parametrize(*cases(...))`."""
    rows = table(text)
    return list(rows[0]), [tuple(row.values()) for row in rows]


def coded(name: str) -> str:
    return CODE.get(name, name)


def named(code: str) -> str:
    return NAME.get(code, code)


def listing(cell: str) -> str:
    """`"a", "b"` of `a;b`."""
    return ", ".join(f'"{item}"' for item in cell.split(";") if item)


# ---------------------------------------------------------------- policies

THRESHOLDS = """
    from       | class         | zone  | drug_consumable | service
    2025-01-01 | other_primary | urban | 200.00          | 100.00
"""


def policy(
    *,
    base_months: int = 6,
    extension_months: int = 6,
    max_extensions: int = 1,
    insurance_types: str = "310",
    limit_days: int = 180,
    thresholds: str = THRESHOLDS,
    growth: Mapping[int, str] | None = None,
    paid_share: str = "0",
    tiers: Iterable[tuple[str, str]] = (),
    priority: str = "",
    institution_thresholds: str = "",
    zones: bool = True,
    deposit_rate: str = "0.05",
    emergency: str = "13;24",
    **readings: str,
) -> Policy:
    """The policy of the tests, changed in what is given; loaded from a file, as a run does."""
    text = [
        '[policy]\nid = "written"\ntitle = "written"\njurisdiction = "120000"\nstatus = "draft"',
        'effective_from = 2024-01-01\nsource = "test"\nchecked_on = 2026-11-22',
        '[zones]\nbinhai = ["120116"]\nurban = ["120101", "120102"]' if zones else "",
        '[point_classes]\ndrug_consumable = ["08", "09", "11"]\ntcm_decoction = ["10"]',
        'service = ["01", "02", "03", "04", "05", "06", "07", "12", "13", "14"]',
        '[visit_types]\noutpatient = ["11", "13"]\nspecial_outpatient = ["14"]\ninpatient = ["21", "24"]',
        f"emergency = [{listing(emergency)}]",
        f"[coaching]\nbase_months = {base_months}\nextension_months = {extension_months}",
        f"max_extensions = {max_extensions}\ninsurance_types = [{listing(insurance_types)}]",
        "special_diseases_max = { outpatient_department = 1, other = 2 }",
        'clause = "三（三）"\nphrase = "政策辅导期所属协议年度"',
        f"[agreements]\nsuspension_limit_days = {limit_days}",
        *(_threshold_row(row) for row in table(thresholds)),
        *(
            f'[[growth]]\nyear = {year}\nrate = "{rate}"\nsource = "test"'
            for year, rate in (growth or {}).items()
        ),
        f'[overage]\npaid_share = "{paid_share}"\nclause = "三（三）"\nphrase = "超出阈值部分不予支付"',
        f"tiers = [{', '.join(_tier(*tier) for tier in tiers)}]",
        *(_priority_row(row) for row in table(priority)),
        *(_institution_threshold(row) for row in table(institution_thresholds)),
        f'[money]\ndeposit_rate = "{deposit_rate}"\npayment_working_days = 30\ndeposit_release = []',
        "[readings]",
        *(f'{key} = "{value}"' for key, value in readings.items()),
    ]
    return _loaded("\n".join(text))


def _threshold_row(row: Mapping[str, str]) -> str:
    return (
        f'[[thresholds]]\neffective_from = {row["from"]}\npayment_class = "{row["class"]}"\nzone = "{row["zone"]}"\n'
        f'drug_consumable = "{row["drug_consumable"]}"\nservice = "{row["service"]}"\n'
        f'clause = "三（三）"\nphrase = "{row["class"]}-{row["zone"]}"'
    )


def _tier(up_to: str, share: str) -> str:
    return f'{{ up_to = "{up_to}", paid_share = "{share}" }}'


def _priority_row(row: Mapping[str, str]) -> str:
    return (
        f"[[priority]]\neffective_from = {row['from']}\n"
        f"charge_categories = [{listing(row['charge_categories'])}]"
    )


def _institution_threshold(row: Mapping[str, str]) -> str:
    return (
        f'[[institution_thresholds]]\ninstitution_id = "{coded(row["institution"])}"\n'
        f'effective_from = {row["from"]}\npoint_class = "{row["point_class"]}"\n'
        f'threshold = "{row["threshold"]}"\nsource = "test"'
    )


@cache
def _loaded(text: str) -> Policy:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.toml"
        path.write_text(text, encoding="utf-8")
        return load_policy(path)


# ---------------------------------------------------------------- registries: agreements and events


def institutions_frame(text: str) -> pl.DataFrame:
    rows = [(row["institution"], row.get("settles_under") or None) for row in table(text)]
    return pl.DataFrame(rows, schema={"institution_id": pl.String, "settles_under": pl.String}, orient="row")


_AGREEMENTS = {
    "agreement_id": pl.String,
    "institution_id": pl.String,
    "start_date": pl.Date,
    "end_date": pl.Date,
    "designation": pl.String,
    "service_categories": pl.List(pl.String),
    "special_diseases": pl.List(pl.String),
    "insurance_types": pl.List(pl.String),
}
_EVENTS = {
    "institution_id": pl.String,
    "occurred_on": pl.Date,
    "kind": pl.String,
    "target_id": pl.String,
}


def agreements_frame(text: str) -> pl.DataFrame:
    """agreement, designation; from, to (a year from October 2025), institution (centre), categories (outpatient),
    diseases, insurance.
    """
    rows = [
        (
            row["agreement"],
            row.get("institution") or "centre",
            date.fromisoformat(row.get("from") or FROM),
            date.fromisoformat(row.get("to") or TO),
            row["designation"],
            (row.get("categories") or "outpatient").split(";"),
            _texts(row.get("diseases")),
            _texts(row.get("insurance")),
        )
        for row in table(text)
    ]
    return pl.DataFrame(rows, schema=_AGREEMENTS, orient="row")


def events_frame(text: str) -> pl.DataFrame:
    """day, event; institution (centre), target."""
    rows = [
        (
            row.get("institution") or "centre",
            date.fromisoformat(row["day"]),
            row["event"],
            row.get("target") or None,
        )
        for row in table(text)
    ]
    return pl.DataFrame(rows, schema=_EVENTS, orient="row")


def _texts(cell: str | None) -> list[str] | None:
    return cell.split(";") if cell else None


def registry(
    agreements: str, events: str = "", institutions: str = CENTRE, under: Policy | None = None
) -> timeline.Registry:
    return timeline.registry(
        institutions_frame(institutions),
        agreements_frame(agreements),
        events_frame(events),
        under or policy(),
    )


# ---------------------------------------------------------------- batches: a month of few lines

COACHING = """
    agreement | from       | to         | designation
    A1        | 2025-10-01 | 2026-09-30 | coaching
"""


@dataclass(frozen=True)
class Month:
    """A settled month, read in the words it was written in."""

    settlement: Settlement

    def rows(self, name: str, *columns: str) -> list[tuple[Any, ...]]:
        """The columns of a ledger table, sorted; codes as names, numbers and days as texts."""
        frame: pl.DataFrame = self.settlement.frames[name]
        return sorted(tuple(_word(value) for value in row) for row in frame.select(columns).iter_rows())

    def group(self, column: str, regime: str = "coaching", point_class: str = "service") -> Any:
        """One column of the only group of a regime and point class."""
        keys = ("regime", "point_class", column)
        (value,) = [row[2] for row in self.rows("settlements", *keys) if row[:2] == (regime, point_class)]
        return value

    def fates(self) -> dict[str, str]:
        """claim → reason of every line that is not paid in full."""
        return dict(self.rows("unpaid_lines", "claim_id", "reason"))

    def paid(self) -> dict[str, str]:
        """claim → payable points of every line that is not paid in full."""
        return dict(self.rows("unpaid_lines", "claim_id", "payable_points"))


def _word(value: object) -> Any:
    if isinstance(value, str):
        return named(value)
    return "" if value is None else str(value)


def settle(
    lines: str,
    *,
    agreements: str = COACHING,
    events: str = "",
    institutions: str = CENTRE,
    under: Policy | None = None,
    month: str = "2026-03",
    **money: str,
) -> Month:
    """Settle lines of few words. Money tables and relief are tables with the contract's own columns.

    lines: claim, points; line (1), institution (centre), settled (the 28th), serviced (as settled), visit (11
    outpatient), insurance (310), charge (05 treatment), disease, department, physician.
    """
    chosen = under or policy()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, "claims", [_line(row, month) for row in table(lines)])
        _write(folder, "institutions", [_institution(row) for row in table(institutions)])
        _write(folder, "agreements", [_agreement(row) for row in table(agreements)])
        if table(events):
            _write(folder, "events", [_event(row, number) for number, row in enumerate(table(events))])
        for small, text in money.items():
            _write(folder, small, [{key: coded(cell) for key, cell in row.items()} for row in table(text)])
        batch = read_batch(folder, month, chosen)
        try:
            return Month(settle_batch(batch, chosen))
        finally:
            batch.close()


def _write(folder: Path, name: str, rows: list[dict[str, str]]) -> None:
    text = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (folder / f"{name}.csv").write_text("\n".join(text) + "\n", encoding="utf-8")


def _line(row: Mapping[str, str], month: str) -> dict[str, str]:
    settled = row.get("settled") or f"{month}-28"
    return {
        "claim_id": row["claim"],
        "line_id": row.get("line") or "1",
        "institution_id": coded(row.get("institution") or "centre"),
        "department_id": row.get("department") or "",
        "physician_id": row.get("physician") or "",
        "serviced_at": row.get("serviced") or settled,
        "settled_at": settled,
        "insurance_type": row.get("insurance") or "310",
        "visit_type": row.get("visit") or "11",
        "disease_code": row.get("disease") or "",
        "charge_category": row.get("charge") or "05",
        "points": row["points"],
        "reverses_line_id": "1" if row["points"].startswith("-") else "",
    }


def _institution(row: Mapping[str, str]) -> dict[str, str]:
    return {
        "institution_id": coded(row["institution"]),
        "name": row["institution"],
        "institution_type": row.get("type") or "general_hospital",
        "payment_class": row.get("class") or "other_primary",
        "division_code": row.get("division") or "120101",
        "zone": row.get("zone") or "",
        "settles_under": coded(row.get("settles_under") or ""),
    }


def _agreement(row: Mapping[str, str]) -> dict[str, str]:
    return {
        "agreement_id": row["agreement"],
        "institution_id": coded(row.get("institution") or "centre"),
        "start_date": row.get("from") or FROM,
        "end_date": row.get("to") or TO,
        "designation": row["designation"],
        "service_categories": row.get("categories") or "outpatient",
        "special_diseases": row.get("diseases") or "",
        "insurance_types": row.get("insurance") or "",
    }


def _event(row: Mapping[str, str], number: int) -> dict[str, str]:
    return {
        "event_id": f"E{number}",
        "institution_id": coded(row.get("institution") or "centre"),
        "occurred_on": row["day"],
        "kind": row["event"],
        "target_id": row.get("target") or "",
    }


def refusal(lines: str, **given: Any) -> str:
    """Why the month is refused, with names for codes; "" if it is settled."""
    try:
        settle(lines, **given)
    except Refusal as refused:
        text = str(refused)
        for code, name in NAME.items():
            text = text.replace(code, name)
        return text
    return ""


# ---------------------------------------------------------------- numbers


def units(text: str) -> int:
    """Points as texts → whole units of 10⁻⁴: "0.0001" → 1."""
    return int(Decimal(text).scaleb(4))


def points(whole: int) -> str:
    """Whole units of 10⁻⁴ → points as text with four decimals."""
    return f"{Decimal(whole).scaleb(-4):f}"
