"""The lines that are not paid in full: fetched once more, given what each is paid, and staged for the record.

A *fate* is a profile whose lines are perhaps not paid in full, with the reason. Only lines of such profiles are read
again; only those of cells in which the cut falls are walked one by one. Layer 4. Source: rules 4 and 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from . import exact
from .batch.keyed import Keyed
from .batch.lines import JUDGED
from .batch.staging import staged
from .policy import Overage, Policy
from .reasons import UnpaidReason
from .rules import overage
from .rules.overage import CELL
from .schemas import result_schema, with_ledger_types
from .terms import GROUP, UNPAID_LINES

_OVER = UnpaidReason.OVER_THRESHOLD.value
_CELL_FACTS = ("running_before", "cut", "threshold", "eligible", "payable")
_MOST_LINES = 1_000_000  # attributed together: about 300 MB


def is_suspended() -> pl.Expr:
    """The lines of the profile were serviced on suspended days (rules 4)."""
    return pl.col("reason") == UnpaidReason.SUSPENDED.value


def fates(profiles: pl.DataFrame, cells: pl.DataFrame, terms_of_overage: Overage) -> pl.DataFrame:
    """The profiles whose lines are perhaps not paid in full, and why.

    `group` counts the groups in canonical order, `part` the parts of whole institutions that are attributed together.
    """
    clauses = {reason.value: reason.clause for reason in UnpaidReason}
    clauses[_OVER] = f"{terms_of_overage.clause} {terms_of_overage.phrase}".strip()
    told = pl.coalesce("reason", pl.lit(_OVER))
    return (
        profiles.join(cells, on=CELL, how="left", validate="m:1", nulls_equal=True)
        .filter(pl.col("reason").is_not_null() | (pl.col("cut") != overage.FULL))
        .rename({"institution_id": "submitted_by"})
        .with_columns(
            told_reason=told,
            clause=told.replace_strict(clauses, return_dtype=pl.String),
            group=pl.struct(GROUP).rank("dense"),
        )
        .sort("group")
        .with_columns(part=pl.col("line_count").cum_sum() // _MOST_LINES)
        .with_columns(pl.col("part").min().over("settling_id"))
        .with_row_index("fate")
    )


@dataclass(frozen=True)
class Affected:
    """The lines of the fates, in any order, a part in a file or several: fate, serviced_at, settled_at, claim_id,
    line_id, points.
    """

    folder: Path

    @property
    def lines(self) -> pl.LazyFrame:
        return staged(sorted(self.folder.glob("*/*/*.parquet")), _AFFECTED)

    def of(self, part: int) -> pl.DataFrame:
        return staged(sorted(self.folder.glob(f"*/part={part}/*.parquet")), _AFFECTED).collect()


_AFFECTED = pl.Schema(
    {
        "fate": pl.UInt32(),
        **{name: JUDGED[name] for name in ("serviced_at", "settled_at", "claim_id", "line_id", "points")},
    }
)


def affected_lines(keyed: Keyed, fates: pl.DataFrame, folder: Path) -> Affected:
    """The lines of these fates, staged in files: in memory their texts would hold those of all lines around them."""
    affected, part_of = Affected(folder / "affected"), pl.lit(fates["part"])
    fate = (pl.col("number") - 1).alias("fate")  # its place among the fates
    for number, lines in enumerate(keyed.having(fates, [name for name in _AFFECTED if name != "fate"])):
        to_parts = pl.PartitionBy(affected.folder / f"{number:06}", key="part", include_key=False)
        found = lines.with_columns(fate).with_columns(part=part_of.gather(pl.col("fate")))
        found.select("part", *_AFFECTED).sink_parquet(to_parts, compression="lz4", mkdir=True)
    return affected


def unpaid_lines(
    affected: Affected, fates: pl.DataFrame, policy: Policy, month: date, folder: Path
) -> pl.LazyFrame:
    """The ledger's `unpaid_lines`, without run_id, in canonical order, over files in `folder`.

    A part of the institutions is attributed at a time, so that memory stays flat whatever the number of lines.
    """
    paths = []
    for part in fates["part"].unique().sort():
        of_part = fates.filter(pl.col("part") == part)
        unpaid = _unpaid(_paid_lines(affected.of(part), of_part, policy), of_part, month)
        paths.append(folder / f"unpaid-{part:06}.parquet")
        with_ledger_types(UNPAID_LINES, unpaid).write_parquet(paths[-1], compression="lz4")
    return staged(paths, result_schema(UNPAID_LINES))


def _paid_lines(lines: pl.DataFrame, fates: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """What each line is paid: line_payable (10⁻⁴). Those near a crossing are walked, the others paid nothing."""
    is_walked = pl.col("reason").is_null() & (pl.col("cut") == overage.WALK)
    facts = fates.filter(is_walked).select("fate", *CELL, *_CELL_FACTS, institution_id="submitted_by")
    near = lines.join(facts, on="fate", how="inner", validate="m:1")
    walked = overage.attributed(near.lazy(), policy.overage, policy.readings.attribution).collect()
    others = lines.join(facts, on="fate", how="anti").with_columns(line_payable=pl.lit(0, dtype=pl.Int64))
    return pl.concat([walked.select(others.columns), others])


def _unpaid(lines: pl.DataFrame, fates: pl.DataFrame, month: date) -> pl.DataFrame:
    """Lines not paid in full, in canonical order, with what their fate tells of them."""
    facts = fates.select("fate", "group", *GROUP, "submitted_by", "told_reason", "clause")
    return (
        lines.filter(pl.col("points") != pl.col("line_payable"))
        .join(facts, on="fate", how="left", validate="m:1")
        .sort("group", *UNPAID_LINES.key[len(GROUP) :])
        .select(
            month=pl.lit(month),
            institution_id="settling_id",
            submitted_by="submitted_by",
            regime="regime",
            point_class="point_class",
            claim_id="claim_id",
            line_id="line_id",
            settled_at="settled_at",
            points=exact.as_points(pl.col("points")),
            payable_points=exact.as_points(pl.col("line_payable")),
            unpaid_points=exact.as_points(pl.col("points") - pl.col("line_payable")),
            reason="told_reason",
            clause="clause",
        )
    )


def first_serviced_suspended(affected: Affected, fates: pl.DataFrame) -> pl.DataFrame:
    """The first day of service among an institution's lines on suspended days."""
    suspended = fates.filter(is_suspended()).select("fate", "settling_id").lazy()
    return (
        affected.lines.join(suspended, on="fate", how="inner")
        .group_by("settling_id")
        .agg(first_serviced=pl.col("serviced_at").min().dt.date())
        .collect()
    )
