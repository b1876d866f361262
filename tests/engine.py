"""Settle a batch with the engine and with the reference, and compare every table as rows of exact values."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import reference
from settlement import load_policy, read_batch, settle
from settlement.errors import Refusal

REFUSED = "refused"
Rows = Counter[tuple[tuple[str, Any], ...]]


def engine_tables(batch: Path, month: str, policy_path: Path) -> dict[str, Any]:
    """Tables of the engine as lists of rows, `runs` as one dict; {"refused": text} if it refuses."""
    try:
        policy = load_policy(policy_path)
        read = read_batch(batch, month, policy)
        settlement = settle(read, policy)
    except Refusal as refusal:
        return {REFUSED: str(refusal)}
    tables: dict[str, Any] = {name: frame.to_dicts() for name, frame in settlement.frames.items()}
    tables["runs"] = {
        name: Decimal(count).scaleb(-4) if name.startswith("points") else count
        for name, count in settlement.counts.items()
    }
    return tables


def reference_tables(batch: Path, month: str, policy_path: Path) -> dict[str, Any]:
    try:
        return reference.settle(batch, month, policy_path)
    except reference.Refused as refusal:
        return {REFUSED: str(refusal)}


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What the two disagree about, one line per row; empty if they agree. Compares the columns of `expected`."""
    if REFUSED in expected or REFUSED in found:
        agree = (REFUSED in expected) == (REFUSED in found)
        return [] if agree else [f"expected {expected.get(REFUSED)!r}, found {found.get(REFUSED)!r}"]
    return [line for table in expected for line in _table_differences(table, expected[table], found[table])]


def _table_differences(table: str, expected: Any, found: Any) -> list[str]:
    if table == "runs":
        return [
            f"runs.{key}: {expected[key]} / {found[key]}" for key in expected if expected[key] != found[key]
        ]
    columns = list(expected[0]) if expected else list(found[0]) if found else []
    if table == "findings":
        columns = ["institution_id", "finding"]
    left, right = _rows(expected, columns), _rows(found, columns)
    if table == "findings":
        left, right = Counter(set(left)), Counter(set(right))
    return [f"{table} expected {dict(row)}" for row in left - right] + [
        f"{table} found {dict(row)}" for row in right - left
    ]


def _rows(rows: list[dict[str, Any]], columns: list[str]) -> Rows:
    return Counter(tuple((column, plain(row[column])) for column in columns) for row in rows)


def plain(value: Any) -> Any:
    """A value that compares by value: whole numbers and decimals alike, moments as text."""
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return Decimal(value).normalize() + 0
    return value
