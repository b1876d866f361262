"""What a run was settled from, kept beside its tables: policy, small tables, and the order that was given.

Claim lines are not kept: they are large, and they name persons. The SHA-256 of every file says whether those at
hand are still the same. Source: data 3, rules 11.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from ..errors import Fault
from ..policy import Policy, policy_of
from ..terms import SMALL_TABLES

FOLDER = "inputs"
_POLICY, _ORDER = "policy.toml", "order.json"
FILES = tuple(sorted([_POLICY, _ORDER, *(f"{name}.parquet" for name in SMALL_TABLES)]))


@dataclass(frozen=True)
class Inputs:
    """Everything a run was settled from but the claim lines.

    `policy`: with the readings that were in force; `tables`: every small table as `Batch.tables` holds it, those
    without a file empty; `files`: name in the batch → SHA-256 of every file that was read, claims included;
    `sizes`: likewise in bytes; `batch_folder`: where they lay. `submitted_on`, `has_due_date` and `encoding` as
    ordered, None where nothing was said.
    """

    policy: Policy
    tables: dict[str, pl.DataFrame]
    files: dict[str, str]
    sizes: dict[str, int]
    batch_folder: Path
    submitted_on: date | None = None
    has_due_date: bool = True
    encoding: str | None = None

    def has_table(self, name: str) -> bool:
        """Was there a file for this small table, even without rows?"""
        return name in self.small_files

    @property
    def small_files(self) -> dict[str, str]:
        """Small table → the file it came from."""
        return {
            Path(name).stem: name
            for name in self.files
            if "/" not in name and Path(name).stem in SMALL_TABLES
        }

    @property
    def claims_files(self) -> dict[str, str]:
        """Name → SHA-256 of the files that the lines come from: claims, and `settlements` where there is one."""
        small = set(self.small_files.values())
        return {name: content for name, content in self.files.items() if name not in small}

    def write(self, folder: Path) -> None:
        """Writes `FILES` into a new folder. Raises OSError."""
        folder.mkdir()
        (folder / _POLICY).write_bytes(self.policy.content)
        (folder / _ORDER).write_text(json.dumps(self._order(), ensure_ascii=False, indent=1) + "\n", "utf-8")
        for name in SMALL_TABLES:
            self.tables[name].write_parquet(folder / f"{name}.parquet")

    def _order(self) -> dict[str, Any]:
        return {
            "batch_folder": str(self.batch_folder),
            "encoding": self.encoding,
            "submitted_on": str(self.submitted_on) if self.submitted_on else None,
            "has_due_date": self.has_due_date,
            "policy_path": str(self.policy.path),
            "readings": self.policy.readings.as_dict(),
            "files": {name: {"sha256": self.files[name], "bytes": self.sizes[name]} for name in self.files},
        }


def read_inputs(folder: Path) -> Inputs:
    """What `Inputs.write` wrote. Raises: Fault, if this engine cannot read it."""
    try:
        order = json.loads((folder / _ORDER).read_text("utf-8"))
        policy = policy_of((folder / _POLICY).read_bytes(), Path(order["policy_path"]))
        tables = {name: pl.read_parquet(folder / f"{name}.parquet", glob=False) for name in SMALL_TABLES}
        return _inputs(order, policy, tables)
    except (KeyError, ValueError, pl.exceptions.PolarsError) as error:
        raise Fault(
            str(folder), f"{type(error).__name__} while reading it", "inputs as they were kept"
        ) from error


def _inputs(order: Mapping[str, Any], policy: Policy, tables: dict[str, pl.DataFrame]) -> Inputs:
    day = order["submitted_on"]
    return Inputs(
        policy=policy.with_readings(order["readings"]),
        tables=tables,
        files={name: file["sha256"] for name, file in order["files"].items()},
        sizes={name: file["bytes"] for name, file in order["files"].items()},
        batch_folder=Path(order["batch_folder"]),
        submitted_on=date.fromisoformat(day) if day else None,
        has_due_date=order["has_due_date"],
        encoding=order["encoding"],
    )
