"""Checks of a final answer: one that says no is an observation, and the run goes on (as in smolagents)."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from .errors import one_line
from .events import AnswerGiven
from .run import Run

AnswerCheck: TypeAlias = Callable[[Any, Run], Awaitable[bool | str | None] | bool | str | None]
"""(answer, run so far) -> True or None where it holds; False, a reason, or an exception where not. Sync or async.

The answer is its JSON value where it has one, else its text."""


async def refused(checks: Sequence[AnswerCheck], given: AnswerGiven, run: Run) -> str:
    """Why the answer is not taken, as the model is told; empty when every check holds."""
    answer = given.value if given.has_value else given.data.get("text/plain")
    for check in checks:
        name = getattr(check, "__name__", type(check).__name__)
        try:
            verdict = check(answer, run)
            if inspect.isawaitable(verdict):
                verdict = await verdict
        except Exception as error:  # noqa: BLE001 - a check is the person's own function; what it raises is its verdict
            verdict = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if verdict is not None and verdict is not True:
            reason = f": {one_line(verdict).rstrip('.')}." if isinstance(verdict, str) and verdict else "."
            return f"The answer was not taken: the check {name} failed{reason} Correct it and call final_answer again."
    return ""
