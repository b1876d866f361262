"""The ledger: the record of every run, and the DuckDB file made from it."""

from .adjustments import pending_for, taken_by
from .export import export
from .inputs import Inputs
from .journal import CLEARED, CLOSED, GENESIS, POSTED, RESTATED, Act, paid_runs, standing_runs
from .publish import explained_lines, publish, publish_if_stale, query
from .record import Ledger, LedgerInUse, results_sha256, stage_inputs, stage_table, table_sha256
from .verify import Difference, Verification, verify
from .views import VIEWS, View

__all__ = [
    "CLEARED",
    "CLOSED",
    "GENESIS",
    "POSTED",
    "RESTATED",
    "VIEWS",
    "Act",
    "Difference",
    "Inputs",
    "Ledger",
    "LedgerInUse",
    "Verification",
    "View",
    "explained_lines",
    "export",
    "paid_runs",
    "pending_for",
    "publish",
    "publish_if_stale",
    "query",
    "results_sha256",
    "stage_inputs",
    "stage_table",
    "standing_runs",
    "table_sha256",
    "taken_by",
    "verify",
]
