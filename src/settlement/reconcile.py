"""Proofs after every run: nothing lost, nothing counted twice. A run that fails one is not posted.

Layer 4. Each proof recomputes a figure another way than the step that made it and compares exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from .batch import Batch
from .errors import Fault
from .exact import points_text
from .pipeline import Settlement

_GROUP = ("institution_id", "regime", "point_class")


@dataclass(frozen=True)
class Proof:
    """What was compared, and both figures as text. It holds if they are equal."""

    sentence: str
    left: str
    right: str

    @property
    def holds(self) -> bool:
        return self.left == self.right


def proofs(batch: Batch, settlement: Settlement, taken: pl.DataFrame | None = None) -> tuple[Proof, ...]:
    """All proofs of a settled batch. `taken`: the recorded adjustments that its statements pay or recover.

    Raises Fault naming every one that fails.
    """
    made = (
        *_of_lines(batch, settlement),
        *_of_groups(settlement),
        *_of_money(batch, settlement),
        *_of_adjustments(settlement, taken),
    )
    failed = [proof for proof in made if not proof.holds]
    if failed:
        found = "; ".join(f"{proof.sentence}: {proof.left} against {proof.right}" for proof in failed)
        raise Fault(
            "reconcile", found, "equal figures", "nothing was posted; report this with the batch's sizes"
        )
    return made


def _of_lines(batch: Batch, settlement: Settlement) -> Iterator[Proof]:
    """Lines and points in, counted at the source, against settled + rejected (data 2)."""
    counts = settlement.counts
    yield _equal("lines in = lines read", counts["lines_in"], batch.lines.lines)
    yield _equal(
        "lines in = settled + rejected",
        counts["lines_in"],
        counts["lines_settled"] + counts["lines_rejected"],
    )
    points = counts["points_settled"] + counts["points_rejected"]
    yield Proof("points in = settled + rejected", points_text(batch.lines.points), points_text(points))


def _of_groups(settlement: Settlement) -> Iterator[Proof]:
    """Groups against themselves, their lines and their days (rules 7)."""
    groups, unpaid, daily = settlement.settlements, settlement.tables["unpaid_lines"], settlement.daily_points
    yield _equal_sums(
        "Σ submitted = Σ payable + unpaid", groups, "submitted_points", "payable_points", "unpaid_points"
    )
    yield _equal_sums(
        "Σ submitted = Σ eligible + ineligible",
        groups,
        "submitted_points",
        "eligible_points",
        "ineligible_points",
    )
    yield _equal_by("unpaid points of each group = Σ its lines", groups, unpaid, "unpaid_points", _GROUP)
    capped = groups.filter(pl.col("threshold_points").is_not_null())
    for column in ("submitted_points", "eligible_points", "line_count"):
        yield _equal_by(
            f"{column} of each group with a threshold = Σ its days", capped, daily, column, _GROUP
        )


def _of_money(batch: Batch, settlement: Settlement) -> Iterator[Proof]:
    """Statements against groups; each budget against the amounts of its pool (rules 8)."""
    statements, groups = settlement.statements, settlement.settlements
    if not statements.is_empty():
        yield _equal_by(
            "gross of each statement = Σ its groups",
            statements,
            groups,
            "payable_amount",
            ("institution_id",),
        )
    paid = _paid_from_budgets(batch, settlement)
    for zone, point_class, budget, remainder in settlement.budgets.select(
        "zone", "point_class", "budget", "remainder"
    ).rows():
        amounts = paid.get((zone, point_class), Decimal(0))
        yield Proof(
            f"budget of {point_class} in {zone} = amounts + remainder", str(budget), str(amounts + remainder)
        )


def _of_adjustments(settlement: Settlement, taken: pl.DataFrame | None) -> Iterator[Proof]:
    """The adjustments of the statements against the recorded rows they take (rules 11)."""
    statements = settlement.statements.with_columns(amount_delta="adjustment")
    if taken is not None and not taken.is_empty() and not statements.is_empty():
        yield _equal_by(
            "adjustment of each statement = Σ recorded differences",
            statements,
            taken,
            "amount_delta",
            ("institution_id",),
        )


def _paid_from_budgets(batch: Batch, settlement: Settlement) -> dict[tuple[str, str], Decimal]:
    """Amounts by the budget row their group draws on: its zone's row in either table, then that of all zones."""
    values = batch.tables["point_values"].filter(pl.col("month") == batch.first_day)
    given = set(values.select("zone", "point_class").rows())
    budgets = set(settlement.budgets.select("zone", "point_class").rows())
    paid: dict[tuple[str, str], Decimal] = {}
    for zone, point_class, amount in settlement.settlements.select(
        "zone", "point_class", "payable_amount"
    ).rows():
        key = next((key for key in ((zone, point_class), ("*", point_class)) if key in given | budgets), None)
        if key in budgets and amount is not None:
            paid[key] = paid.get(key, Decimal(0)) + amount
    return paid


def _equal(sentence: str, left: int, right: int) -> Proof:
    return Proof(sentence, str(left), str(right))


def _equal_sums(sentence: str, frame: pl.DataFrame, whole: str, *parts: str) -> Proof:
    return Proof(
        sentence, str(frame[whole].sum()), str(sum((frame[part].sum() for part in parts), Decimal(0)))
    )


def _equal_by(
    sentence: str, left: pl.DataFrame, right: pl.DataFrame | pl.LazyFrame, column: str, key: Sequence[str]
) -> Proof:
    """The sums of `column` by key agree; a key that one side lacks counts as 0 there. States how many differ."""
    sums = [
        frame.lazy()
        .group_by(key)
        .agg(pl.col(column).fill_null(0).sum().alias(side))
        .collect(engine="streaming")
        for frame, side in ((left, "left"), (right, "right"))
    ]
    both = sums[0].join(sums[1], on=key, how="full", coalesce=True, validate="1:1")
    differing = both.filter(pl.col("left").fill_null(0) != pl.col("right").fill_null(0))
    return Proof(sentence, f"{differing.height} differ", "0 differ")
