"""What is shown of runs, as rows of text: lists, what was found, what was spent, what verify found.

Terminal and notebook show the same rows, each in its own way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from .errors import one_line

if TYPE_CHECKING:
    from .difference import Difference
    from .journal import Found, RunSummary, Spent
    from .notebook.verify import Verification

TASK_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Rows:
    """A table of text."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def when(seconds: float) -> str:
    """Local date and time of seconds since 1970-01-01 UTC."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def counted(number: int, word: str) -> str:
    """`1 run`, `2,000 runs`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def runs_table(found: Sequence[RunSummary]) -> Rows:
    """A list of runs."""
    headings = ("run", "started", "status", "steps", "seconds", "cost", "model", "task")
    return Rows(headings, [_run(run) for run in found])


def _run(run: RunSummary) -> tuple[str, ...]:
    cost = "" if run.author == "person" else _price(run.cost, run.cost_known)
    task = one_line(run.task, TASK_CHARACTERS)
    model = run.model or "by hand"
    return run.id, when(run.started), run.status, str(run.steps), f"{run.seconds:.1f}", cost, model, task


def found_table(found: Sequence[Found]) -> Rows:
    """Runs that were found, and the words around the best place in each."""
    rows = [
        (hit.run.id, when(hit.run.started), one_line(hit.run.task, TASK_CHARACTERS), _place(hit), hit.snippet)
        for hit in found
    ]
    return Rows(("run", "started", "task", "where", "found"), rows)


def _place(hit: Found) -> str:
    return f"step {hit.step}, {hit.place}" if hit.step else hit.place


def spent_table(spent: Sequence[Spent]) -> Rows:
    """What each model cost on each day, and all together."""
    rows = [
        (one.day, one.model, str(one.runs), str(one.replies), f"{one.tokens:,}", _price(one.cost, one.cost_known))
        for one in spent
    ]
    if len(spent) > 1:
        runs, replies = sum(one.runs for one in spent), sum(one.replies for one in spent)
        cost = _price(sum(one.cost for one in spent), all(one.cost_known for one in spent))
        rows.append(("all", "", str(runs), str(replies), f"{sum(one.tokens for one in spent):,}", cost))
    return Rows(("day", "model", "runs", "replies", "tokens", "cost"), rows)


def facts_table(difference: Difference) -> Rows:
    """Two runs as a whole, side by side."""
    return Rows(("", *difference.names), difference.facts)


def steps_table(found: Verification) -> Rows:
    """What became of each step that ran again."""
    from .notebook.verify import WORDS

    rows = [
        (step.where, WORDS[step.likeness.degree], "; ".join(filter(None, [*step.likeness.reasons, step.note])))
        for step in found.steps
    ]
    return Rows(("where", "output", "why"), rows)


def _price(cost: float, is_known: bool) -> str:
    from .console import price  # it imports rich

    return price(cost, is_known)
