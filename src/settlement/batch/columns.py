"""Which column of a file serves which column of the contract: own names, national names, what is ignored.

Source: data 1, "Each column may bear its own name or the national field name".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import Refusal
from ..terms import Field


@dataclass(frozen=True)
class Columns:
    """`header_of`: contract name → name in the file. `passed_over`: national names that a better one displaced."""

    header_of: dict[str, str]
    passed_over: tuple[str, ...]
    unknown: tuple[str, ...]

    def __contains__(self, name: str) -> bool:
        return name in self.header_of

    @property
    def told(self) -> str:
        """All columns of the file, known ones first."""
        return ", ".join([*self.header_of.values(), *self.passed_over, *self.unknown]) or "none"

    def require(self, where: str, names: Sequence[str], remedy: str) -> None:
        missing = [name for name in names if name not in self.header_of]
        if missing:
            raise Refusal(
                f"{where}, header",
                f"no column {', '.join(missing)}; columns found: {self.told}",
                f"the column{'s' if len(missing) > 1 else ''} under the own or the national field name",
                remedy,
            )


def matched(header: Sequence[str], fields: Sequence[Field], where: str) -> Columns:
    """Match a file's header with the contract. Raises Refusal for a column under two names."""
    header_of: dict[str, str] = {}
    passed_over: list[str] = []
    for field in fields:
        national = [name for name in field.national if name in header]
        if field.name in header and national:
            raise Refusal(
                f"{where}, header",
                f"{field.name} and {national[0]} are both present",
                "one of the two: they are the same column",
                "remove or rename one of them",
            )
        twice = [name for name in (field.name, *field.national) if list(header).count(name) > 1]
        if twice:
            raise Refusal(
                f"{where}, header", f"the column {twice[0]} twice", "every column once", "remove one of them"
            )
        present = [field.name] if field.name in header else national
        if present:
            header_of[field.name] = present[0]
            passed_over += present[1:]
    known = {*header_of.values(), *passed_over}
    return Columns(header_of, tuple(passed_over), tuple(name for name in header if name not in known))
