"""The engine, as the benchmarks know it: whatever touches more than its public calls stands here.

`run` is the whole of `settlement run`, in a process of its own. `alike` does what the peers do and no more (threshold
and line attribution of clean lines), by the engine's own rules.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from settlement import exact, load_policy
from settlement.ledger import Ledger
from settlement.rules import overage
from settlement.rules.overage import CELL, FULL, LINE_ORDER, WALK
from settlement.runs import Order
from settlement.runs import run as post

from .job import MONTH, POLICY_FILE, Job

PROGRAM = (sys.executable, "-m", "benchmarks.as_installed")


def run(batch: Path, attribution: str, ledger: Path) -> Sequence[str]:
    """The command that settles a batch into a new ledger: read, validate, find duplicates, judge, attribute, record,
    publish the DuckDB file."""
    options = ["--month", MONTH, "--policy", str(batch.parent / POLICY_FILE), "--ledger", str(ledger)]
    return [*PROGRAM, "run", str(batch), *options, "--reading", f"attribution={attribution}", "--json"]


def steps(job: Job) -> dict[str, float]:
    """Seconds of each step of the same run, in its order, by the sentences with which it tells its progress."""
    told: list[tuple[str, float]] = []

    def tell(sentence: str) -> None:
        step = sentence.partition(":")[0]  # "reading claims.csv: 50,000 lines" goes on with the same step
        step = "reading" if step.startswith("reading ") else step
        if not told or told[-1][0] != step:
            told.append((step, time.perf_counter()))

    policy = load_policy(job.given.parent / POLICY_FILE).with_readings({"attribution": job.attribution})
    post(Order(job.given, MONTH, policy), job.out / "ledger", tell)
    ends = [*(start for _, start in told[1:]), time.perf_counter()]
    return {step: end - start for (step, start), end in zip(told, ends, strict=True)}


def table(ledger: Path, name: str) -> pl.LazyFrame:
    """A table of the newest run, from the record."""
    kept = Ledger(ledger)
    return kept.scan([act.run_id for act in kept.acts() if act.run_id][-1], name)


# ---------------------------------------------------------------- like for like


def alike(job: Job) -> None:
    """Group totals, cap, and the cut attributed to lines: the plan of `pipeline.STEPS` without the other steps."""
    terms, places = load_policy("tianjin").overage, _Places(job)
    lines = pl.scan_parquet(job.lines)
    profiles = _profiles(lines, places)
    groups = overage.totals(profiles).join(places.thresholds, on=_KEYS, how="left", validate="1:1")
    groups = overage.capped(groups, terms)
    groups.select(*_KEYS, "eligible", "payable").write_parquet(job.groups)
    cells = overage.located(profiles, groups, terms, job.attribution).filter(pl.col("cut") != FULL)
    affected = places.institutions.join(cells, on="settling_id", how="semi")["institution_id"].cast(pl.String)
    some_lines = places.coded(lines.filter(pl.col("institution_id").is_in(affected.implode())))
    cut = places.placed(some_lines).join(cells.lazy(), on=CELL, how="inner", nulls_equal=True)
    walked = overage.attributed(cut.filter(pl.col("cut") == WALK), terms, job.attribution)
    beyond = cut.filter(pl.col("cut") != WALK).with_columns(line_payable=pl.lit(0, dtype=pl.Int64))
    unpaid = pl.col("points") - pl.col("line_payable")
    told = [each.select("institution_id", "claim_id", "line_id", unpaid=unpaid) for each in (walked, beyond)]
    pl.concat(told).filter(pl.col("unpaid") != 0).sink_parquet(job.unpaid)


_KEYS = ["settling_id", "point_class"]


class _Places:
    """The small tables with codes as small numbers, and what they say of a line."""

    def __init__(self, job: Job) -> None:
        institutions, categories = pl.read_parquet(job.institutions), pl.read_parquet(job.categories)
        thresholds = pl.read_parquet(job.thresholds)
        self.codes = pl.Enum(institutions["institution_id"].sort())
        self.charges = pl.Enum(categories["charge_category"])
        classes = pl.Enum(categories["point_class"].unique().sort())
        self.institutions = institutions.cast(self.codes)
        rank = pl.col("rank") if job.attribution == "priority" else pl.lit(0)
        self.categories = categories.with_columns(
            pl.col("charge_category").cast(self.charges),
            pl.col("point_class").cast(classes),
            rank=rank.cast(pl.UInt8),
        )
        self.thresholds = thresholds.cast({"settling_id": self.codes, "point_class": classes})
        self.capped = self.institutions.join(self.thresholds, on="settling_id", how="semi")["institution_id"]

    def coded(self, lines: pl.LazyFrame) -> pl.LazyFrame:
        """Rows: one per line. Adds: settled_on, null where no threshold can be passed; points (Int64, 10⁻⁴)."""
        institution = pl.col("institution_id").cast(self.codes)
        return lines.with_columns(
            institution_id=institution,
            charge_category=pl.col("charge_category").cast(self.charges),
            settled_on=pl.when(institution.is_in(self.capped.implode())).then(pl.col("settled_at").dt.date()),
            points=exact.whole_of_decimal(pl.col("points"), exact.POINT_DECIMALS, exact.POINT_DECIMALS),
        ).select(*LINE_ORDER, "charge_category", "settled_on", "points")

    def placed(self, coded: pl.LazyFrame) -> pl.LazyFrame:
        """Rows: as given. Needs: institution_id, charge_category, settled_on. Adds: the rest of CELL."""
        return (
            coded.join(self.institutions.lazy(), on="institution_id", how="inner")
            .join(self.categories.lazy(), on="charge_category", how="inner")
            .with_columns(regime=pl.lit("coaching"))
        )


def _profiles(lines: pl.LazyFrame, places: _Places) -> pl.DataFrame:
    """Totals of each cell, as `overage` wants them; what only other steps need is null."""
    points, negative = pl.col("points"), pl.col("negative_points")
    absent = {"reason": pl.String, "payment_class": pl.String, "zone": pl.String, "coaching_year": pl.Int32}
    by_category = (
        places.coded(lines)
        .group_by("institution_id", "charge_category", "settled_on")
        .agg(points.sum(), line_count=pl.len(), negative_points=points.clip(upper_bound=0).sum())
        .with_columns(positive_points=points - negative)
        .collect()
    )
    return (
        places.placed(by_category.lazy())
        .group_by(CELL)
        .agg(pl.col("line_count", "positive_points", "negative_points").sum())
        .with_columns(pl.lit(None, dtype=dtype).alias(name) for name, dtype in absent.items())
        .collect()
    )
