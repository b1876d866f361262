"""The ledger: the record of every run, and the DuckDB file made from it."""

from .export import export
from .journal import CLEARED, CLOSED, GENESIS, POSTED, RESTATED, Act
from .publish import VIEWS, View, publish, publish_if_stale, query
from .record import Ledger, LedgerInUse, results_sha256, stage_table
from .verify import Difference, Verification, verify

__all__ = [
    "CLEARED",
    "CLOSED",
    "GENESIS",
    "POSTED",
    "RESTATED",
    "VIEWS",
    "Act",
    "Difference",
    "Ledger",
    "LedgerInUse",
    "Verification",
    "View",
    "export",
    "publish",
    "publish_if_stale",
    "query",
    "results_sha256",
    "stage_table",
    "verify",
]
