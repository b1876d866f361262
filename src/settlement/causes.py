"""Why two runs of a month differ: the inputs are swapped one kind after the other, and each mixture is settled.

Layer 6. What a swap changes is that cause's part, so the parts add up to the whole exactly. The order is fixed: lines,
agreements and events (registry and relief too), policy (readings too), money tables, engine. Source: rules 11.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import polars as pl

from . import __version__, exact
from .batch import Batch, Progress, file_sha256, line_files, read_lines
from .errors import Fault, Refusal
from .ledger import Inputs
from .pipeline import Tables, settle
from .policy import Policy
from .terms import DEDUCTION_KINDS, SMALL_TABLES

LINES, AGREEMENTS, POLICY, MONEY, ENGINE = (
    "lines",
    "agreements_and_events",
    "policy",
    "money_tables",
    "engine",
)
REMOVED, CHANGED, ADDED = "lines_removed", "lines_changed", "lines_added"
CAUSES = (LINES, REMOVED, CHANGED, ADDED, AGREEMENTS, POLICY, MONEY, ENGINE)
TABLES_OF = {
    AGREEMENTS: ("institutions", "agreements", "events", "relief"),
    MONEY: ("point_values", "budgets", "deductions"),
}
_MONEY_DEDUCTED = ("deposit_withheld", *DEDUCTION_KINDS)
_LINE = ("institution_id", "claim_id", "line_id")

Figures = Callable[[Tables], pl.DataFrame]
State = Callable[[], pl.DataFrame]


# ---------------------------------------------------------------- what is compared


def of_statements(tables: Tables) -> pl.DataFrame:
    """What each institution comes to before adjustments and balances (rules 8.2).

    Adds: institution_id, points (10⁻⁴, Σ payable points), amount (fen: gross less deposit and deductions; 0 without
    money tables). The deposit is in it, so that what is withheld over the year is as if the right data had come first.
    """
    less = [_fen(name) for name in _MONEY_DEDUCTED]
    stated = tables["statements"].lazy().collect()
    amounts = stated.select(
        "institution_id",
        points=pl.lit(0, dtype=pl.Int64),
        amount=_fen("payable_amount") - pl.sum_horizontal(less),
    )
    points = of_groups(tables).select("institution_id", "points", amount=pl.lit(0, dtype=pl.Int64))
    return _summed(pl.concat([points, amounts]), ["institution_id"])


def of_groups(tables: Tables) -> pl.DataFrame:
    """Adds: institution_id, point_class, points (10⁻⁴, Σ payable points), amount (fen, Σ payable amounts)."""
    groups = tables["settlements"].lazy().collect()
    figures = groups.select(
        "institution_id",
        "point_class",
        points=exact.whole_of_decimal(pl.col("payable_points"), 4, exact.POINT_DECIMALS),
        amount=_fen("payable_amount"),
    )
    return _summed(figures, ["institution_id", "point_class"])


def _fen(name: str) -> pl.Expr:
    return exact.whole_of_decimal(pl.col(name).fill_null(0), 2, exact.MONEY_DECIMALS)


def _summed(figures: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    return figures.group_by(key).agg(exact.summed(pl.col("points")), exact.summed(pl.col("amount")))


def has_money(inputs: Inputs) -> bool:
    """Point values or budgets: without them a month has points only (rules 8.1)."""
    return inputs.has_table("point_values") or inputs.has_table("budgets")


@dataclass(frozen=True)
class Side:
    """One of the two runs. `figures`: what it came to; `lines`: the folder with its lines, None if they are gone."""

    inputs: Inputs
    engine_version: str
    figures: pl.DataFrame
    lines: Path | None = None


def holds_lines_of(folder: Path, inputs: Inputs) -> bool:
    """Are the files of claim lines in the folder, byte for byte, those of the run?"""
    return not differing_lines(folder, inputs)


def differing_lines(folder: Path, inputs: Inputs) -> list[str]:
    """Names of the files of claim lines that are not those of the run: changed, missing or new."""
    try:
        found = {path.relative_to(folder).as_posix(): file_sha256(path) for path in line_files(folder)}
    except (Refusal, OSError):
        found = {}
    return differing(inputs.claims_files, found)


def differing(kept: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Names that stand for other contents, or only on one side."""
    return sorted(name for name in {*kept, *found} if kept.get(name) != found.get(name))


def changed(before: Inputs, after: Inputs) -> list[str]:
    """The kinds of input that differ, in the fixed order."""
    is_changed = {
        LINES: before.claims_files != after.claims_files or before.encoding != after.encoding,
        POLICY: (before.policy.sha256, before.policy.readings)
        != (after.policy.sha256, after.policy.readings),
        **{cause: _differ(before, after, names) for cause, names in TABLES_OF.items()},
    }
    return [cause for cause in CAUSES if is_changed.get(cause)]


def _differ(before: Inputs, after: Inputs, names: Sequence[str]) -> bool:
    return any(
        before.has_table(name) != after.has_table(name) or not before.tables[name].equals(after.tables[name])
        for name in names
    )


# ---------------------------------------------------------------- parts that add up


@dataclass(frozen=True)
class Parts:
    """`rows`: the key of the figures, cause, points (10⁻⁴), amount (fen); only rows that are not zero.

    `notes`: what could not be told apart, as sentences.
    """

    rows: pl.DataFrame
    notes: tuple[str, ...]


def parted(
    before: Side,
    after: Side,
    month: date,
    figures: Figures,
    *,
    parts_lines: bool = False,
    progress: Progress = lambda _: None,
) -> Parts:
    """The difference of two runs of one month, by cause.

    Where only one kind of input differs, the whole difference is that cause, and nothing is settled again.
    `parts_lines`: lines removed, changed and added apart, where both runs' lines are at hand.

    Raises: Refusal, if lines are needed that are gone; Fault, if the parts do not add up.
    """
    plan = _Plan(before, after, month, figures, parts_lines, progress)
    rows = _walked(before.figures, after.figures, plan.steps(), plan)
    return Parts(rows, tuple(plan.notes))


def _walked(
    before: pl.DataFrame, after: pl.DataFrame, steps: Sequence[tuple[str, State | None]], plan: _Plan
) -> pl.DataFrame:
    """From state to state; one that the rules refuse is passed over, and told with the next cause."""
    key = [name for name in before.columns if name not in ("points", "amount")]
    parts, previous = [], before
    for place, (cause, state) in enumerate(steps):
        is_last = place == len(steps) - 1
        found = after if is_last else plan.measured(cause, state)
        if found is not None:
            parts.append(_difference(previous, found, key).with_columns(cause=pl.lit(cause)))
            previous = found
    rows = _nonzero(_summed(pl.concat(parts), [*key, "cause"]))
    _prove(rows, _difference(before, after, key), key)
    order = pl.col("cause").replace_strict({cause: place for place, cause in enumerate(CAUSES)})
    return rows.sort(*key, order)


def _difference(before: pl.DataFrame, after: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    less = before.with_columns(-pl.col("points"), -pl.col("amount"))
    return _nonzero(_summed(pl.concat([after, less.select(after.columns)]), key))


def _nonzero(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter((pl.col("points") != 0) | (pl.col("amount") != 0))


def _prove(rows: pl.DataFrame, whole: pl.DataFrame, key: Sequence[str]) -> None:
    """Raises: Fault, unless the parts of every key add up to the whole."""
    left = _difference(_summed(rows, key), whole, key)
    if not left.is_empty():
        raise Fault("causes", f"{left.height} difference(s) that no cause has", "parts that add up")


# ---------------------------------------------------------------- the mixtures


@dataclass(frozen=True)
class _Mixture:
    """Small tables and policy that no month was settled with: some of the one run, some of the other."""

    policy: Policy
    tables: dict[str, pl.DataFrame]
    present: frozenset[str]

    @staticmethod
    def of(inputs: Inputs) -> _Mixture:
        return _Mixture(inputs.policy, inputs.tables, frozenset(filter(inputs.has_table, SMALL_TABLES)))

    def swapped(self, cause: str, after: Inputs) -> _Mixture:
        """With one kind of input of the later run."""
        if cause == POLICY:
            return replace(self, policy=after.policy)
        names = TABLES_OF[cause]
        present = (self.present - {*names}) | {name for name in names if after.has_table(name)}
        return replace(self, tables=self.tables | {n: after.tables[n] for n in names}, present=present)


@dataclass
class _Plan:
    """The states between two runs, in the fixed order. `notes` gathers what cannot be told apart."""

    before: Side
    after: Side
    month: date
    figures: Figures
    parts_lines: bool
    progress: Progress
    notes: list[str] = field(default_factory=list)

    def steps(self) -> list[tuple[str, State | None]]:
        """(cause, what the figures come to once it is swapped); the last one is never asked: it is the later run."""
        differing_causes = changed(self.before.inputs, self.after.inputs)
        if self._is_one_cause(differing_causes):
            return [(cause, None) for cause in differing_causes or [ENGINE]]
        mixture = _Mixture.of(self.before.inputs)
        steps: list[tuple[str, State | None]] = [*self._engine_before(mixture, LINES in differing_causes)]
        if LINES in differing_causes:
            steps += self._lines(mixture)
        for cause in differing_causes:
            if cause != LINES:
                mixture = mixture.swapped(cause, self.after.inputs)
                steps.append((cause, self._later_lines(mixture)))
        if self.after.engine_version != __version__:
            steps.append((ENGINE, None))
        return steps

    def _is_one_cause(self, differing_causes: Sequence[str]) -> bool:
        """One kind of input by the same engine, or the same inputs by another one: nothing need be settled again."""
        if not differing_causes:
            return True
        is_same_engine = self.before.engine_version == self.after.engine_version
        is_parted = LINES in differing_causes and self._parted_lines() is not None
        return is_same_engine and len(differing_causes) == 1 and not is_parted

    def _parted_lines(self) -> tuple[Path, Path] | None:
        """The folders of both runs' lines, where lines are to be told apart and both are at hand."""
        if not self.parts_lines or self.before.lines is None or self.after.lines is None:
            return None
        return self.before.lines, self.after.lines

    def _engine_before(self, mixture: _Mixture, has_other_lines: bool) -> Iterator[tuple[str, State]]:
        """The earlier run's own inputs, settled by today's engine, where that was not its engine."""
        if self.before.engine_version == __version__:
            return
        folder = self.before.lines if has_other_lines else self.before.lines or self.after.lines
        if folder is not None:
            yield ENGINE, self._settled(folder, self.before.inputs.encoding, mixture)
        else:
            self.notes.append(
                f"the first cause holds what engine {__version__} changes against {self.before.engine_version}, "
                f"too: the earlier lines are not at {self.before.inputs.batch_folder}, so it cannot be told apart"
            )

    def _lines(self, mixture: _Mixture) -> list[tuple[str, State | None]]:
        later, both = self._later_lines(mixture), self._parted_lines()
        if both is None:
            return [(LINES, later)]
        return [
            (REMOVED, lambda: self._with_kept_lines(*both, mixture, of_later=False)),
            (CHANGED, lambda: self._with_kept_lines(*both, mixture, of_later=True)),
            (ADDED, later),
        ]

    def _later_lines(self, mixture: _Mixture) -> State:
        is_same = self.before.inputs.claims_files == self.after.inputs.claims_files
        folder = self.after.lines or (self.before.lines if is_same else None)
        if folder is None:
            return lambda: self._refuse_gone()
        return self._settled(folder, self.after.inputs.encoding, mixture)

    def _settled(self, folder: Path, encoding: str | None, mixture: _Mixture) -> State:
        def state() -> pl.DataFrame:
            with self._read(folder, encoding, mixture) as batch:
                return self._figures(batch, mixture)

        return state

    def _with_kept_lines(
        self, before: Path, after: Path, mixture: _Mixture, *, of_later: bool
    ) -> pl.DataFrame:
        """Only lines that both runs settle: as the earlier run has them, or as the later one."""
        with (
            self._read(before, self.before.inputs.encoding, mixture) as earlier,
            self._read(after, self.after.inputs.encoding, mixture) as later,
        ):
            one, other = (later, earlier) if of_later else (earlier, later)
            both = one.good_lines.join(other.good_lines.select(_LINE), on=_LINE, how="semi")
            return self._figures(one.with_lines(both), mixture)

    @contextmanager
    def _read(self, folder: Path, encoding: str | None, mixture: _Mixture) -> Iterator[Batch]:
        batch = read_lines(
            folder, self.month, mixture.policy, mixture.tables, mixture.present, encoding=encoding
        )
        try:
            yield batch
        finally:
            batch.close()

    def _figures(self, batch: Batch, mixture: _Mixture) -> pl.DataFrame:
        return self.figures(settle(batch, mixture.policy).tables)

    def measured(self, cause: str, state: State | None) -> pl.DataFrame | None:
        """The figures once the cause is swapped; None where the rules refuse that mixture."""
        if state is None:
            raise Fault("causes", f"{cause} in between", "the later run's engine last")
        self.progress(f"settling again: {cause}")
        try:
            return state()
        except _GoneError as gone:
            raise gone.refusal from None
        except Refusal as refused:
            found = " ".join(refused.found.split())
            self.notes.append(f"{cause} is told with the next cause, for the rules refuse it alone: {found}")
            return None

    def _refuse_gone(self) -> pl.DataFrame:
        inputs = self.after.inputs
        raise _GoneError(
            Refusal(
                str(inputs.batch_folder),
                f"not the lines that were settled: {', '.join(differing_lines(inputs.batch_folder, inputs))}",
                "the later run's files of claim lines, byte for byte: several kinds of input differ",
                "say where they lie: --batch RUN=PATH",
            )
        )


class _GoneError(Exception):
    """Lines that are needed are gone: no refusal of a mixture by the rules."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal)
