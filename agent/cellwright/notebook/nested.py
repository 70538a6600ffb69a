"""The run of an agent that another one called as a tool: told in one folded cell, beneath the step that called it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..errors import one_line
from ..outputs import plain_text
from ..run import Run
from . import cells
from .head import spent, started


def nested(run: Run, called: Sequence[Run], depth: int = 0) -> str:
    """The run as Markdown that unfolds. called: runs of which some may be by agents that this one called."""
    start = started(run)
    title = f"Agent called: {one_line(start.task, 80)} · {run.status.replace('_', ' ')} · {spent(run.totals)}"
    parts = [f"<details><summary>{escape(title)}</summary>", f"Run {cells.inline(run.id)}", cells.quoted(start.task)]
    for step in run.steps:
        parts.append(f"**Step {step.number}** {step.thought}".rstrip())
        if step.code:
            parts.append(cells.fenced(step.code, "python"))
        elif step.reply:
            parts.append(cells.quoted(step.reply.text))
        if printed := "\n".join(filter(None, map(plain_text, step.outputs))):
            parts.append(cells.fenced(printed))
    if depth < _DEEPEST:
        parts += [nested(inner, called, depth + 1) for inner in called if started(inner).caller == run.id != inner.id]
    if run.answered:
        parts.append(f"**Answer**\n\n{cells.quoted(str(run.answered.data.get('text/plain', '')))}")
    return "\n\n".join([*parts, "</details>"])


_DEEPEST = 5
"""A record that says that runs called each other in a circle must not be told for ever."""
