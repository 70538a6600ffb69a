"""The journal: every event of every run, in one file that only ever grows."""

from __future__ import annotations

from .failures import BUSY_SECONDS, explain
from .listing import Filter, RunSummary, Spent
from .repair import Repaired, repair
from .schema import MIGRATIONS, default_path
from .search import Found, Place
from .store import Journal
from .upkeep import Pruned

__all__ = [
    "BUSY_SECONDS",
    "MIGRATIONS",
    "Filter",
    "Found",
    "Journal",
    "Place",
    "Pruned",
    "Repaired",
    "RunSummary",
    "Spent",
    "default_path",
    "explain",
    "repair",
]
