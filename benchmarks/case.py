"""One case: a batch, an attribution, and everything that is measured on it, in turn and on the same files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import agree, data, engine, work
from .measure import Command, Measurement, in_turn, once, warm

FLOOR, RUN = "floor", "run"


@dataclass(frozen=True)
class Case:
    """`contenders`: names of `work.CONTENDERS`; only a Parquet batch has clean lines for them."""

    spec: data.Spec
    attribution: str = "chronological"
    contenders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """`rows`: of the floor, the full run and each contender. `steps`: seconds of each step of one more run."""

    case: Case
    rows: Mapping[str, Measurement]
    steps: Mapping[str, float]


def measured(case: Case, repeats: int, folder: Path, *, with_steps: bool = False) -> Found:
    """Measure a case; its batch stays in `folder`, all else goes.

    Raises: agree.Differs if a contender's result is not the engine's; measure.Failed if a command fails.
    """
    batch = data.batch(case.spec, folder)
    warm(data.claims(batch))
    with tempfile.TemporaryDirectory(dir=folder, prefix="scratch-") as made:
        scratch = Path(made)
        commands = _commands(case, batch, scratch)
        once(commands[RUN], scratch / "first")
        if case.contenders:
            ledger = scratch / "first" / "ledger"
            data.prepare(batch, ledger, scratch / "prepared")
            data.expect(ledger, scratch / "expected")
        rows = in_turn(commands, repeats, scratch)
        for name in case.contenders:
            agree.refuse_difference(name, scratch / name, scratch / "expected")
        return Found(case, rows, _steps(batch, case, scratch) if with_steps else {})


def _commands(case: Case, batch: Path, scratch: Path) -> dict[str, Command]:
    def contender(name: str) -> Command:
        return lambda out: work.command(name, scratch / "prepared", case.attribution, out)

    def floor(out: Path) -> Sequence[str]:
        return work.command(FLOOR, batch, case.attribution, out)

    def run(out: Path) -> Sequence[str]:
        return engine.run(batch, case.attribution, out / "ledger")

    return {FLOOR: floor, RUN: run, **{name: contender(name) for name in case.contenders}}


def _steps(batch: Path, case: Case, scratch: Path) -> Mapping[str, float]:
    answer = once(lambda out: work.command("steps", batch, case.attribution, out), scratch / "steps").answer
    steps = answer["steps"]
    assert isinstance(steps, dict)
    return steps
