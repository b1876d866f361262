"""The journal: one line per act, each holding the hash of the line before it.

A line is canonical JSON (sorted keys, no blanks, UTF-8) and is written exactly as it is hashed, so that every
changed byte of it is found. Source: data 3.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from ..errors import Refusal

POSTED, CLOSED, RESTATED, CLEARED = "posted", "closed", "restated", "cleared"
GENESIS = "0" * 64  # what the first line holds as the hash of the line before it

_RUN_ID = re.compile(r"([0-9]{4}-(?:0[1-9]|1[0-2]))\.([1-9][0-9]*)")
_CLEARING = re.compile(r"clearings/([0-9]{4})/annual_statements\.parquet")
_MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True)
class Act:
    """One line of the journal.

    `month` is the first day of a month (None for a year's clearing), `at` is in UTC, `files` maps a path inside
    the ledger to the SHA-256 of the file. `run_id` is None for a clearing; `results_sha256` is None for acts that
    have no results.
    """

    seq: int
    act: str
    run_id: str | None
    month: date | None
    at: datetime
    reason: str | None
    files: Mapping[str, str]
    results_sha256: str | None
    previous_hash: str
    hash: str = ""

    @property
    def made_run(self) -> bool:
        return self.run_id is not None and self.act in (POSTED, RESTATED)

    @property
    def cleared_year(self) -> int | None:
        """The year that the act cleared."""
        found = [_CLEARING.fullmatch(file) for file in self.files] if self.act == CLEARED else []
        return int(found[0][1]) if found and found[0] else None

    @property
    def kept_inputs(self) -> bool:
        """Does it name what the run was settled from?"""
        return any("/inputs/" in file for file in self.files)

    @property
    def line(self) -> bytes:
        """The line as it stands in the journal, its hash and the newline included."""
        return _canonical(_body(self) | {"hash": self.hash}) + b"\n"


def is_run_id(text: str) -> bool:
    """Whether `text` is a run id: month, dot, version (`2026-03.1`)."""
    return _RUN_ID.fullmatch(text) is not None


def is_year(text: str) -> bool:
    """Whether `text` is a year as clearings name it."""
    return re.fullmatch(r"[0-9]{4}", text) is not None


def run_id_of(month: date, version: int) -> str:
    return f"{month:%Y-%m}.{version}"


def version_of(run_id: str) -> int:
    return int(run_id.rpartition(".")[2])


def sealed(act: Act) -> Act:
    """The act with its hash: SHA-256 over the line without it, previous hash included. Source: data 3."""
    return replace(act, hash=hashlib.sha256(_canonical(_body(act))).hexdigest())


def read_journal(content: bytes, where: str) -> tuple[list[Act], int]:
    """The acts of a journal, and how many of its bytes they fill; what follows is a torn line.

    A crash can leave only a last line without its newline, or with bytes that were never filled. It is left out.
    A last line that lacks nothing but its newline is whole: it was about to be confirmed.

    Raises: Refusal naming the line, if any other line is not what was once written.
    """
    lines = whole_lines(content)
    acts: list[Act] = []
    for number, line in enumerate(lines, start=1):
        acts.append(_act_of(line, acts[-1] if acts else None, f"{where}, line {number}"))
    return acts, sum(len(line) + 1 for line in lines)


def whole_lines(content: bytes) -> list[bytes]:
    """The lines of a journal without their newlines, a torn last one left out."""
    *lines, tail = content.split(b"\n")
    if _is_whole(tail):
        lines.append(tail)
    elif not tail and lines and b"\0" in lines[-1]:  # JSON has no NUL: the page was never filled
        lines.pop()
    return lines


def statuses_of(acts: Iterable[Act]) -> dict[str, str]:
    """Run id → status. A run supersedes the open one before it; a closed run can only be restated.

    The newest run of a month is `open` or `closed`. Source: rules 11.
    """
    statuses: dict[str, str] = {}
    newest: dict[date, str] = {}
    for act in acts:
        if act.month is None:
            continue
        if act.act == CLOSED and act.month in newest:
            statuses[newest[act.month]] = "closed"
        if act.run_id is not None and act.made_run:
            if act.month in newest:
                statuses[newest[act.month]] = "superseded" if act.act == POSTED else "restated"
            statuses[act.run_id] = "open" if act.act == POSTED else "closed"
            newest[act.month] = act.run_id
    return statuses


def standing_runs(acts: Iterable[Act]) -> dict[date, str]:
    """Month → its newest run: what the month came to, by all that is known."""
    return {act.month: act.run_id for act in acts if act.month and act.run_id and act.made_run}


def paid_runs(acts: Iterable[Act]) -> dict[date, str]:
    """Month → the run whose statements were paid: the newest one that restates nothing.

    A restating run says what the month should have come to; the difference reaches the institution as an
    adjustment, and must not reach it twice. Source: rules 8.2, 11.
    """
    return standing_runs(act for act in acts if act.act != RESTATED)


def _is_whole(tail: bytes) -> bool:
    """Whether what follows the last newline is a whole line: the beginning of an object is never valid JSON."""
    try:
        json.loads(tail)
    except ValueError:
        return False
    return True


def _canonical(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _body(act: Act) -> dict[str, Any]:
    """The line without its hash."""
    return {
        "seq": act.seq,
        "act": act.act,
        "run_id": act.run_id,
        "month": f"{act.month:%Y-%m}" if act.month else None,
        "at": act.at.strftime(_MOMENT),
        "reason": act.reason,
        "files": dict(act.files),
        "results_sha256": act.results_sha256,
        "previous_hash": act.previous_hash,
    }


def _act_of(line: bytes, previous: Act | None, where: str) -> Act:
    """The act of one line, which must be what the engine wrote there and follow the line before it."""
    act = parsed(line)
    if act is None:
        raise _broken(where, "a line that is no act of the journal")
    if not is_as_written(act, line):
        raise _broken(where, "a line the engine did not write, or whose hash does not fit it")
    if act.previous_hash != (previous.hash if previous else GENESIS):
        raise _broken(where, "the line does not follow the one before it")
    if act.seq != (previous.seq + 1 if previous else 1):
        raise _broken(where, f"seq {act.seq} is out of turn")
    if not stays_inside(act):
        raise _broken(where, "a run id or path that leaves the ledger")
    return act


def parsed(line: bytes) -> Act | None:
    """The line as an act, nothing proven yet; None if it is none."""
    try:
        body = json.loads(line)
        month = date.fromisoformat(body["month"] + "-01") if body["month"] else None
        at = datetime.strptime(body["at"], _MOMENT).replace(tzinfo=UTC)
        act = Act(**(body | {"month": month, "at": at, "files": dict(body["files"])}))
        return act if _has_types(act) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _has_types(act: Act) -> bool:
    """Whether every field holds what `Act` says."""
    texts = (act.act, act.previous_hash, act.hash, *act.files, *act.files.values())
    optional = (act.run_id, act.reason, act.results_sha256)
    return (
        type(act.seq) is int
        and all(isinstance(text, str) for text in texts)
        and all(text is None or isinstance(text, str) for text in optional)
    )


def is_as_written(act: Act, line: bytes) -> bool:
    """Whether the act is the very line, to the byte, and its hash fits it."""
    try:
        return act.line == line + b"\n" and sealed(act).hash == act.hash
    except (ValueError, TypeError):  # text or types that no line of ours can hold
        return False


def stays_inside(act: Act) -> bool:
    """Whether run id and paths are those of the act's own run folder: what is read back is never followed out."""
    if act.run_id is None:
        return all(act.act == CLEARED and _CLEARING.fullmatch(file) for file in act.files)
    kept = r"[a-z_]+\.parquet|inputs/(?:[a-z_]+\.parquet|policy\.toml|order\.json)"
    path = re.compile(rf"runs/{re.escape(str(act.run_id))}/(?:{kept})")
    return is_run_id(str(act.run_id)) and all(path.fullmatch(file) for file in act.files)


def _broken(where: str, found: str) -> Refusal:
    return Refusal(
        where,
        found,
        "the line as it was written",
        "do not post to this ledger; compare it with a backup and restore the journal",
    )
