"""Which column of a file serves which column of the contract: own names, national names, what is ignored.

Source: data 1, "Each column may bear its own name or the national field name".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from ..errors import Refusal
from ..terms import Field


@dataclass(frozen=True)
class Columns:
    """`header_of`: contract name → name in the file. `passed_over`: national names that a better one displaced.
    `misspelt`: unknown names, each with a name of the contract that is nearly the same and that the file lacks.
    """

    header_of: dict[str, str]
    passed_over: tuple[str, ...]
    unknown: tuple[str, ...]
    misspelt: tuple[tuple[str, str], ...] = ()

    @property
    def told(self) -> str:
        """The columns that are known or nearly known. Of others nothing is told: without a header they are cells."""
        return ", ".join([*self.header_of.values(), *(name for name, _ in self.misspelt)]) or "none"

    def __contains__(self, name: str) -> bool:
        return name in self.header_of

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
    unknown = [name for name in header if name not in known]
    absent = [field for field in fields if field.name not in header_of]
    names = [name for field in absent for name in (field.name, *field.national)]
    near = (
        (name, next((each for each in names if _is_nearly(name.lower(), each)), None)) for name in unknown
    )
    misspelt = tuple((name, meant) for name, meant in near if meant)
    return Columns(header_of, tuple(passed_over), tuple(unknown), misspelt)


_LONG = 8  # letters of a name in which two may differ; in shorter ones one may
_SURE = 5  # letters that begin the same name


def _is_nearly(one: str, other: str) -> bool:
    """They agree from both ends, but for a letter or two in between, or one begins the other."""
    shorter, longer = sorted((len(one), len(other)))
    first, last = _alike(one, other), _alike(one[::-1], other[::-1])
    return first + last >= longer - (2 if longer >= _LONG else 1) or first == shorter >= _SURE


def _alike(one: str, other: str) -> int:
    """First letters in which they agree."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
