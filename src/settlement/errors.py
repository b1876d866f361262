"""Refusals and faults: where it happened, what was found, what was expected, what to do.

Layer 0. Every message a user sees on stderr is one of these; the exit codes are those of the command contract.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

DONE = 0
DONE_WITH_REJECTED_LINES = DONE_WITH_DIFFERENCES = 1
REFUSED = 2
OUR_FAULT = 3


class SettlementError(Exception):
    """A message in four parts.

    where: file, table, row or key. found: what stands there. expected: what the contract asks for.
    remedy: what the user can do next. Every part is one sentence without a full stop, or empty.
    """

    exit_code = OUR_FAULT

    def __init__(self, where: str, found: str, expected: str = "", remedy: str = "") -> None:
        self.where, self.found, self.expected, self.remedy = where, found, expected, remedy
        super().__init__(self.where, self.found, self.expected, self.remedy)

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Label and text of the parts that are not empty."""
        named = (
            ("where", self.where),
            ("found", self.found),
            ("expected", self.expected),
            ("to do", self.remedy),
        )
        return [(label, text) for label, text in named if text]

    def __str__(self) -> str:
        return "\n".join(f"{label + ':':<10}{text}" for label, text in self.parts)


class Refusal(SettlementError):
    """The input, the policy, the command or the ledger does not allow the act. Nothing was written."""

    exit_code = REFUSED


class Fault(SettlementError):
    """Our own fault: a proof failed or something impossible happened. The trace names the place."""

    exit_code = OUR_FAULT


class Refusals(Refusal):
    """Several refusals of one kind, all of them named (a bad registry names every bad row).

    `each` is never empty. One line stands for one refusal, so that a clerk can work through the list.
    """

    def __init__(self, title: str, each: Sequence[Refusal], remedy: str) -> None:
        self.each = tuple(each)
        lines = [f"{one.where}: {one.found}; expected {one.expected}" for one in self.each]
        super().__init__(title, f"{len(lines)} problem(s)\n  " + "\n  ".join(lines), "", remedy)


def told_by_the_system(error: Exception) -> str | None:
    """What the operating system refused (`no space left on device`), also if a library wraps it; else None."""
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    wrapped = re.search(r"\(os error ([0-9]+)\)", str(error))
    return os.strerror(int(wrapped[1])).lower() if wrapped else None
