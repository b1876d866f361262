"""What a contender is given, and what it must write. Imports nothing, so that it costs no contender anything.

Given, all Parquet: clean claim lines in the nine columns as generated, and three small tables. To write:
`groups.parquet` (settling_id, point_class, eligible, payable) and `unpaid.parquet` (institution_id, claim_id,
line_id, unpaid), with points as whole numbers of 10⁻⁴ (64 bits), rows in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NINE_COLUMNS = (
    "claim_id", "line_id", "institution_id", "serviced_at", "settled_at",
    "insurance_type", "visit_type", "charge_category", "points",
)  # fmt: skip
UNIT = 10_000  # whole numbers in a point
MONTH = "2026-03"
POLICY_FILE = "policy.toml"  # beside the batches: the shipped policy with a priority list


@dataclass(frozen=True)
class Job:
    """What to read, where to write, how to attribute. `given`: what `data.prepare` has written, or a whole batch."""

    given: Path
    out: Path
    attribution: str

    @property
    def lines(self) -> Path:
        """Eligible lines of the classes that can have a threshold, as generated."""
        return self.given / "lines"

    @property
    def institutions(self) -> Path:
        """institution_id, settling_id: who is paid for whom."""
        return self.given / "institutions.parquet"

    @property
    def categories(self) -> Path:
        """charge_category, point_class, rank: the class, and the place in the priority list (whole number)."""
        return self.given / "categories.parquet"

    @property
    def thresholds(self) -> Path:
        """settling_id, point_class, threshold (10⁻⁴) of the groups that have one."""
        return self.given / "thresholds.parquet"

    @property
    def groups(self) -> Path:
        return self.out / "groups.parquet"

    @property
    def unpaid(self) -> Path:
        return self.out / "unpaid.parquet"
