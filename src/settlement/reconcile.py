"""Proofs after every run: nothing lost, nothing counted twice. A run that fails one is not posted.

Layer 4. Each proof recomputes a figure another way than the step that made it and compares exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import polars as pl

from . import exact
from .batch import Batch
from .errors import Fault
from .exact import points_text
from .pipeline import Settlement
from .terms import DEDUCTION_KINDS

_NOTHING = Decimal(0)
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
        *_of_lines(settlement),
        *_of_groups(settlement),
        *_of_money(batch, settlement),
        *_of_adjustments(settlement, taken),
    )
    return held(*made)


def held(*made: Proof) -> tuple[Proof, ...]:
    """The proofs, all of which hold. Raises Fault naming every one that fails."""
    failed = [proof for proof in made if not proof.holds]
    if failed:
        found = "; ".join(f"{proof.sentence}: {proof.left} against {proof.right}" for proof in failed)
        raise Fault(
            "reconcile", found, "equal figures", "nothing was posted; report this with the batch's sizes"
        )
    return made


def year_proofs(
    annual: pl.DataFrame,
    standing: pl.DataFrame,
    paid: pl.DataFrame,
    paid_before: pl.DataFrame,
    differences: pl.DataFrame,
) -> tuple[Proof, ...]:
    """Proofs of a cleared year, per institution (rules 8.4, 11).

    `annual`: rows of `annual_statements`; `standing`, `paid`: statements of the year's newest and paid runs;
    `paid_before`: paid statements of earlier years; `differences`: adjustments of the year's restated months, with
    is_taken (by a paid statement of the year). Raises Fault naming every one that fails.
    """
    changes = pl.concat(
        side.select("institution_id", figure=sign) for side, sign in ((standing, _net()), (paid, -_net()))
    )
    recorded = differences.with_columns(figure=pl.col("amount_delta"))
    taken_elsewhere = pl.col("adjustment") - pl.col("restated") + pl.col("outstanding")
    left = pl.col("net_payable") + pl.col("carried_forward") + pl.col("outstanding")
    sums = (
        ("what the year came to = Σ its newest runs", _net(), standing.with_columns(figure=_net())),
        ("restated = newest runs - paid runs", pl.col("restated"), changes),
        ("restated = Σ recorded differences", pl.col("restated"), recorded),
        (
            "outstanding = recorded differences that no statement of the year holds",
            pl.col("outstanding"),
            recorded.filter(~pl.col("is_taken")),
        ),
        (
            "year + brought forward + adjustments of other years = transferred + carried forward + outstanding",
            _net() + pl.col("brought_forward") + taken_elsewhere,
            annual.with_columns(figure=left),
        ),
        (
            "deposit = released + forfeited",
            pl.col("deposit_released") + pl.col("deposit_forfeited"),
            annual.with_columns(figure="deposit_withheld"),
        ),
    )
    of_institutions = (
        _equal_by(sentence, annual.with_columns(figure=figure), right, "figure", ("institution_id",))
        for sentence, figure, right in sums
    )
    return held(_nets(paid), carried_proof(paid, paid_before), *of_institutions)


def carried_proof(statements: pl.DataFrame, before: pl.DataFrame) -> Proof:
    """Every statement brings forward what the institution's statement before it carried forward (rules 8.2).

    `statements`: paid ones of one or more months; `before`: paid ones of earlier months. Whoever has a balance has a
    statement in the next month that has any.
    """
    balances, differing = balances_after(before), 0
    for month in statements.sort("month").partition_by("month", maintain_order=True):
        differing += len(unlike_balances(month, balances))
        balances |= balances_after(month)
    return Proof(
        "brought forward = carried forward by the statement before", f"{differing} differ", "0 differ"
    )


def balances_after(statements: pl.DataFrame) -> dict[str, Decimal]:
    """Institution → what its newest statement carries forward."""
    return dict(statements.sort("month").select("institution_id", "carried_forward").rows())


def unlike_balances(month: pl.DataFrame, balances: Mapping[str, Decimal]) -> list[str]:
    """Institutions that a month's statements bring forward other balances for than these; sorted."""
    brought = dict(month.select("institution_id", "brought_forward").rows())
    everyone = brought.keys() | balances.keys()
    return sorted(one for one in everyone if brought.get(one, _NOTHING) != balances.get(one, _NOTHING))


def _net() -> pl.Expr:
    """What a statement comes to before adjustments and balances."""
    less = (pl.col(name) for name in ("deposit_withheld", *DEDUCTION_KINDS))
    return pl.col("payable_amount") - pl.sum_horizontal(less)


def _of_lines(settlement: Settlement) -> Iterator[Proof]:
    """Lines and points in, counted at the source, against settled + rejected (data 2)."""
    counts = settlement.counts
    yield _equal("lines in = lines read", counts["lines_in"], counts["lines_read"])
    yield _equal(
        "lines in = settled + rejected",
        counts["lines_in"],
        counts["lines_settled"] + counts["lines_rejected"],
    )
    points = counts["points_settled"] + counts["points_rejected"]
    yield Proof("points in = settled + rejected", points_text(counts["points_read"]), points_text(points))


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
    """Statements against groups and themselves, amounts against points, budgets against their pools (rules 8)."""
    statements, groups = settlement.statements, settlement.settlements
    if not statements.is_empty():
        yield _equal_by(
            "gross of each statement = Σ its groups",
            statements,
            groups,
            "payable_amount",
            ("institution_id",),
        )
        yield _nets(statements)
    if groups["payable_amount"].drop_nulls().len():
        yield _amounts(groups)
    for pool in _pools(batch, settlement):
        yield from pool.proofs()


def _nets(statements: pl.DataFrame) -> Proof:
    """What a statement holds is transferred or carried forward, never both (rules 8.2)."""
    held = ("payable_amount", "adjustment", "brought_forward")
    less = ("deposit_withheld", *DEDUCTION_KINDS)
    differing = 0
    for row in statements.iter_rows(named=True):
        net = sum((row[name] for name in held), Decimal(0)) - sum((row[name] for name in less), Decimal(0))
        differing += (row["net_payable"], row["carried_forward"]) != (max(net, _NOTHING), min(net, _NOTHING))
    return Proof("each statement = what is transferred or carried forward", f"{differing} differ", "0 differ")


def _amounts(groups: pl.DataFrame) -> Proof:
    """Each amount anew, in fractions."""
    rows = groups.select("payable_points", "point_value", "payable_amount").rows()
    differing = sum(
        amount != exact.half_up_fen(exact.product(points, _NOTHING if value is None else value))
        for points, value, amount in rows
    )
    return Proof(
        "each amount = payable points × point value, half-up once", f"{differing} differ", "0 differ"
    )


@dataclass(frozen=True)
class _Pool:
    """A budget row and the (payable points, amount) of the groups that draw on it."""

    name: str
    budget: Decimal
    point_value: Decimal
    remainder: Decimal
    groups: Sequence[tuple[Decimal, Decimal]]

    def proofs(self) -> Iterator[Proof]:
        """Budget = amounts + remainder; the remainder is what two roundings leave, and nothing else (rules 8.1)."""
        points = sum((points for points, _ in self.groups), _NOTHING)
        amounts = sum((amount for _, amount in self.groups), _NOTHING)
        value = exact.cut_value(self.budget, points) if points > 0 else Fraction(0)
        cut = Fraction(self.budget) - exact.product(points, self.point_value)
        rounded = sum(
            (Fraction(amount) - exact.product(points, self.point_value) for points, amount in self.groups),
            Fraction(0),
        )
        yield Proof(
            f"budget of {self.name} = amounts + remainder", str(self.budget), str(amounts + self.remainder)
        )
        yield Proof(
            f"point value of {self.name} = budget ÷ points of the pool, cut down",
            str(Fraction(self.point_value)),
            str(value),
        )
        yield Proof(
            f"remainder of {self.name} = {exact.yuan_text(cut)} left by the cut point value "
            f"- {exact.yuan_text(rounded)} added by rounding {len(self.groups)} amount(s)",
            str(Fraction(self.remainder)),
            str(cut - rounded),
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


def _pools(batch: Batch, settlement: Settlement) -> Iterator[_Pool]:
    """Every budget of the month with its groups: each draws on its zone's row in either table, then on that of `*`."""
    values = batch.tables["point_values"].filter(pl.col("month") == batch.first_day)
    given = set(values.select("zone", "point_class").rows())
    budgets = settlement.budgets.select("zone", "point_class", "budget", "point_value", "remainder").rows()
    drawn: dict[tuple[str, str], list[tuple[Decimal, Decimal]]] = {(row[0], row[1]): [] for row in budgets}
    for zone, point_class, points, amount in settlement.settlements.select(
        "zone", "point_class", "payable_points", "payable_amount"
    ).rows():
        keys = ((zone, point_class), ("*", point_class))
        key = next((key for key in keys if key in given or key in drawn), None)
        if key in drawn:
            drawn[key].append((points, amount))
    for zone, point_class, budget, value, remainder in budgets:
        groups = drawn[zone, point_class]
        yield _Pool(f"{point_class} in {zone}", budget, value, remainder, groups)


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
