"""What is measured on: generated batches, kept between runs, and the clean lines that contenders get.

A peer validates nothing and knows no agreements. So that its result can equal the engine's, it gets the lines that
the engine found eligible in the classes that can have a threshold, and three small tables made beforehand.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from settlement import Policy, load_policy
from settlement.batch import month_of

from . import engine
from .job import MONTH, NINE_COLUMNS, POLICY_FILE, UNIT, Job
from .measure import ROOT

SEED = 1
CAPPED_CLASSES = ("drug_consumable", "service")
PRIORITY = """
[[priority]]
effective_from = 2025-06-01
charge_categories = ["02", "06", "04", "03", "08", "09", "05", "10", "11", "14"]
"""
LINES_PER_INSTITUTION, MOST_INSTITUTIONS = 1_000, 4_000


@dataclass(frozen=True)
class Spec:
    """A generated batch: its lines, the share of institutions over a threshold, its file format."""

    lines: int
    share: str
    file_format: str

    @property
    def institutions(self) -> int:
        """As many as a city has: from 4 M lines on only the lines of each become more."""
        return min(max(self.lines // LINES_PER_INSTITUTION, 20), MOST_INSTITUTIONS)

    @property
    def name(self) -> str:
        return f"{self.lines}-{self.institutions}-{self.share}-{self.file_format}-{SEED}"


def default_folder() -> Path:
    """Where batches are kept: $SETTLEMENT_BENCH_DATA, else in the system's temporary folder."""
    return Path(os.environ.get("SETTLEMENT_BENCH_DATA", Path(tempfile.gettempdir()) / "settlement-bench"))


def batch(spec: Spec, folder: Path) -> Path:
    """The batch of this form, generated unless it is there from an earlier run of the same generator."""
    generator = find_spec("settlement.synthesis")
    assert generator is not None
    version = hashlib.sha256(Path(str(generator.origin)).read_bytes()).hexdigest()[:8]
    path = folder / f"{spec.name}-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    shipped = ROOT / "thresholds" / "tianjin.toml"
    (folder / POLICY_FILE).write_text(shipped.read_text(encoding="utf-8") + PRIORITY, encoding="utf-8")
    if not path.exists():
        order = {
            "month": MONTH, "lines": spec.lines, "institutions": spec.institutions, "out": path,
            "seed": SEED, "format": spec.file_format, "capped": spec.share,
        }  # fmt: skip
        options = [word for name, value in order.items() for word in (f"--{name}", str(value))]
        subprocess.run([*engine.PROGRAM, "generate", *options], check=True, stdout=subprocess.DEVNULL)
    return path


def claims(batch: Path) -> list[Path]:
    return sorted((batch / "claims").iterdir())


# ---------------------------------------------------------------- what contenders get


def prepare(batch: Path, ledger: Path, prepared: Path) -> None:
    """Write what a `Job` gives for a Parquet batch that `ledger` has settled: clean lines and small tables."""
    policy = load_policy(batch.parent / POLICY_FILE)
    job = Job(prepared, prepared, policy.readings.attribution)
    job.lines.mkdir(parents=True)
    rejected = engine.table(ledger, "rejected_lines").select("source", "row_number").collect()
    unpaid = engine.table(ledger, "unpaid_lines").filter(pl.col("reason") != "over_threshold")
    ineligible = unpaid.select("claim_id", "line_id", institution_id="submitted_by").collect()
    for path in claims(batch):
        rows = rejected.filter(pl.col("source") == f"claims/{path.name}")
        _clean(path, rows, ineligible, policy).write_parquet(job.lines / path.name)
    _institutions(batch).write_parquet(job.institutions)
    _categories(policy).write_parquet(job.categories)
    _thresholds(ledger).write_parquet(job.thresholds)


def expect(ledger: Path, out: Path) -> None:
    """Write the result that a contender must have, from the record of a ledger of the same attribution."""
    job = Job(out, out, "")
    out.mkdir(parents=True)
    over = engine.table(ledger, "unpaid_lines").filter(pl.col("reason") == "over_threshold")
    over.select(
        "claim_id", "line_id", institution_id="submitted_by", unpaid=_units("unpaid_points")
    ).sink_parquet(job.unpaid)
    groups = _capped_groups(ledger).select(
        "point_class",
        settling_id="institution_id",
        eligible=_units("eligible_points"),
        payable=_units("payable_points"),
    )
    groups.group_by("settling_id", "point_class").sum().sink_parquet(job.groups)


def _clean(path: Path, rejected: pl.DataFrame, ineligible: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """The eligible lines of one file, in classes that can have a threshold, as they stand."""
    classes = policy.point_class_by_charge()
    capped = [category for category, name in classes.items() if name in CAPPED_CLASSES]
    lines = pl.read_parquet(path, columns=[*NINE_COLUMNS])
    visits = lines["visit_type"].drop_nulls().unique()
    inpatient = [visit for visit in visits if policy.visit_category_of(visit) == "inpatient"]
    return (
        lines.with_row_index("row_number", offset=1)
        .join(rejected.select(pl.col("row_number").cast(pl.UInt32)), on="row_number", how="anti")
        .join(ineligible, on=ineligible.columns, how="anti")
        .filter(pl.col("charge_category").is_in(capped), ~pl.col("visit_type").is_in(inpatient))
        .select(NINE_COLUMNS)
    )


def _institutions(batch: Path) -> pl.DataFrame:
    registry = pl.read_csv(batch / "institutions.csv", infer_schema=False)
    return registry.select("institution_id", settling_id=pl.coalesce("settles_under", "institution_id"))


def _categories(policy: Policy) -> pl.DataFrame:
    listed = policy.priority_on(month_of(MONTH))
    order = list(listed.charge_categories) if listed else []
    rows = [
        (category, name, order.index(category) if category in order else len(order))
        for category, name in sorted(policy.point_class_by_charge().items())
    ]
    return pl.DataFrame(rows, schema=["charge_category", "point_class", "rank"], orient="row")


def _thresholds(ledger: Path) -> pl.DataFrame:
    capped = _capped_groups(ledger).filter(pl.col("threshold_points").is_not_null())
    return capped.select(
        "point_class", settling_id="institution_id", threshold=_units("threshold_points")
    ).collect()


def _capped_groups(ledger: Path) -> pl.LazyFrame:
    return engine.table(ledger, "settlements").filter(pl.col("point_class").is_in(CAPPED_CLASSES))


def _units(points: str) -> pl.Expr:
    return (pl.col(points) * UNIT).cast(pl.Int64)
