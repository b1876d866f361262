"""A point-threshold payment settlement engine for basic medical insurance.

policy = settlement.load_policy("tianjin")
batch = settlement.read_batch("batch/", "2026-03", policy)
settlement.settle(batch, policy).settlements
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the real names are fetched on first use, so that `settlement --help` starts at once
    from .batch import read_batch as read_batch
    from .pipeline import Settlement as Settlement
    from .pipeline import settle as settle
    from .policy import Policy as Policy
    from .policy import load_policy as load_policy

__version__ = "0.1.0"
__all__ = ["Policy", "Settlement", "__version__", "load_policy", "read_batch", "settle"]

_HOMES = {
    "load_policy": "policy",
    "Policy": "policy",
    "read_batch": "batch",
    "settle": "pipeline",
    "Settlement": "pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'settlement' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
