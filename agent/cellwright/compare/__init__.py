"""Agents compared on a file of tasks: what they solve, and in how many steps, tokens, seconds and dollars.

    from cellwright.compare import Comparison, read_cases, totals
    comparison = Comparison(read_cases(path), agents=("code", "tools"), models={"embedded": model}, out=Path("out"))
    async for result in comparison.run():
        print(result)

Every run is in the journal; every result is on the disk before the next run begins, so that a second start goes on
where the first one ended. `cases` is what a task file says, `worlds` the functions that tasks may name, `results` the
file that grows, `figures` the statistics, `report` what a person sees of them.
"""

from __future__ import annotations

from .cases import Case, Cases, is_right, read_cases
from .figures import Paired, Total, paired, totals
from .harness import AGENTS, Comparison
from .results import Result

__all__ = [
    "AGENTS", "Case", "Cases", "Comparison", "Paired", "Result", "Total", "is_right", "paired", "read_cases", "totals",
]  # fmt: skip
