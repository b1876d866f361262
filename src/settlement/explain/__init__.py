"""The derivation of what an institution is paid for a month, or of one line: every figure, its arithmetic, its clause.

Everything is recomputed from the record and compared before it is said. Layer 6. Source: commands, rules 3–8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl
from rich.cells import cell_len

from ..ledger import Ledger
from ..policy import READING_VALUES
from ..texts import ENGLISH, Words
from .case import Case, case_of
from .derivation import check
from .steps import (
    Step,
    of_absent_line,
    of_agreements,
    of_group,
    of_line,
    of_place,
    of_plain_groups,
    of_statement,
    shown,
)

__all__ = ["Explanation", "Step", "explain"]

WIDTH = 100
_INDENT, _LABEL, _VALUE = 2, 25, 14  # columns on the screen


@dataclass(frozen=True)
class Explanation:
    """The derivation as data: who and which run, then its steps, top to bottom."""

    institution_id: str
    name: str
    month: date
    run_id: str
    status: str
    policy_id: str
    policy_title: str
    policy_status: str
    readings: dict[str, str]
    steps: tuple[Step, ...]

    def as_json(self) -> dict[str, Any]:
        """The same steps as the text; figures are text, as everywhere."""
        head = {name: value for name, value in vars(self).items() if name != "steps"}
        return head | {"month": f"{self.month:%Y-%m}", "steps": [step.as_json() for step in self.steps]}

    def text(self, words: Words = ENGLISH) -> str:
        return "\n".join((*self._head(words), *(line for step in self.steps for line in _lines(step, words))))

    def _head(self, words: Words) -> Iterator[str]:
        run = words.told(f"run {self.run_id} ({self.status})")
        yield f"{self.institution_id} {self.name} · {self.month:%Y-%m} · {run}"
        yield f"{self.policy_title} ({self.policy_id})"
        if self.policy_status == "draft":
            yield words.told(
                "DRAFT 征求意见稿: the policy is not in force; these figures are a trial settlement"
            )
        others = [
            f"{key} = {value}" for key, value in self.readings.items() if value != READING_VALUES[key][0]
        ]
        if others:
            yield words.told(f"readings 口径: {', '.join(others)}")


def explain(
    ledger: Ledger,
    month: date,
    institution: str,
    line: tuple[str, str] | None = None,
    run_id: str | None = None,
) -> Explanation:
    """Explain an institution's month, or one line (claim and line id) of it, as the newest run settled it.

    `institution`: id or exact name; of one that settles under another, the other's figures. `run_id`: another run of
    the month.

    Raises: Refusal, for an institution, month or run that is not there; Fault, if a recorded figure is not what
    comes out when it is made again.
    """
    case = case_of(ledger, month, institution, run_id)
    derivations = check(case)
    if line is not None:
        return _explanation(case, tuple(_of_line(case, *line)))
    with_threshold = [group for group in case.groups if group["threshold_points"] is not None]
    steps = [
        *_of_station(case),
        *of_agreements(case),
        of_place(case),
        *(
            step
            for group in with_threshold
            for step in of_group(case, group, derivations[group["regime"], group["point_class"]])
        ),
        *of_plain_groups(case, [group for group in case.groups if group not in with_threshold]),
        *([] if case.groups else [Step(0, "lines 明细", "0", "no line of the month")]),
        *of_statement(case),
    ]
    return _explanation(case, tuple(steps))


def _explanation(case: Case, steps: tuple[Step, ...]) -> Explanation:
    policy = case.inputs.policy
    return Explanation(
        institution_id=case.id,
        name=case.institution["name"],
        month=case.month.first,
        run_id=case.run_id,
        status=case.run["status"],
        policy_id=policy.id,
        policy_title=policy.title,
        policy_status=policy.status,
        readings=policy.readings.as_dict(),
        steps=steps,
    )


def _of_station(case: Case) -> Iterator[Step]:
    if case.asked["institution_id"] != case.id:
        asked = f"{case.asked['institution_id']} {case.asked['name']}"
        yield Step(0, "settles under 归口结算", "", f"{asked} is settled with {case.id}", "D 5, D 15")


def _of_line(case: Case, claim_id: str, line_id: str) -> Iterator[Step]:
    yield from _of_station(case)
    found = [line for line in case.lines if (line["claim_id"], line["line_id"]) == (claim_id, line_id)]
    groups = {(group["regime"], group["point_class"]): group for group in case.groups}
    for line in found:
        yield from of_line(case, line, groups[line["regime"], line["point_class"]])
    if not found:
        is_it = (pl.col("claim_id") == claim_id) & (pl.col("line_id") == line_id)
        rejected, elsewhere = (
            case.ledger.scan(case.run_id, table).filter(is_it).collect().to_dicts()
            for table in ("rejected_lines", "unpaid_lines")
        )
        others = sorted({row["institution_id"] for row in elsewhere})
        yield from of_absent_line(claim_id, line_id, rejected, others, case.inputs.claims_files)


def _lines(step: Step, words: Words) -> Iterator[str]:
    """Label, value and working in columns; the clause at the end, on a line of its own if there is no room."""
    indent = " " * (_INDENT * step.indent)
    label = _padded(indent + words.told(step.label), _LABEL)
    value = step.value if isinstance(step.value, str) else shown(step.value)
    working, clause = words.told(step.working), words.told(step.clause)
    if not value:
        left = f"{label} {working}".rstrip()
    else:
        left = f"{label} {_right(words.told(value), _VALUE)}  {working}".rstrip()
    if not clause:
        yield left
    elif cell_len(left) + 2 + cell_len(clause) <= WIDTH:
        yield left + _right(clause, WIDTH - cell_len(left))
    else:
        yield left
        yield _right(clause, WIDTH)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def _right(text: str, width: int) -> str:
    return " " * (width - cell_len(text)) + text
