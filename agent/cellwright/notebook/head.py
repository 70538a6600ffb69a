"""What the audit notebook says about itself: the first cell, and the cell that ends each run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath

from ..events import RunStarted
from ..facts import SandboxFacts, Totals
from ..limits import Limits
from ..outputs import Json
from ..record import Record
from ..run import Run
from .cells import inline, table

_AGAIN = """\
**Run again**: *Run All* under any Python 3 kernel{packages}, in a folder that holds the same files. It needs neither \
Cellwright, nor a key, nor a network for the model: the next cell defines `final_answer`{stand_ins}. The code was \
written by a model, and runs with your rights: read it first.

**Check**: `cellwright verify` on this file says whether the record is whole, and whether the code still shows the \
same."""


def head(records: Sequence[Record], runs: Sequence[Run]) -> str:
    """The first cell, Markdown: what this is, when, where and by whom it was made.

    records: all; runs: those that the notebook tells of, without agents that were called as tools.
    """
    starts = [started(run) for run in runs]
    first = starts[0]
    replies = [step.reply for record in records for step in record.run.steps if step.reply]
    asked = _unique(inline(start.model) for start in starts if start.model)
    answered = _unique(inline(reply.model) for reply in replies if reply.model)
    sandboxes = [start.sandbox for start in starts if start.sandbox]
    limits = next((start.limits for start in starts if start.author == "agent"), None)
    rows = {
        "Made": f"{when(first.time)}, by Cellwright {first.version or 'of unknown version'}",
        "Model": ", ".join(asked) or "none: all cells were run by hand",
        "Answered as": ", ".join(name for name in answered if name not in asked),
        "Parameters": "; ".join(_unique(_parameters(reply.parameters) for reply in replies)),
        "Code ran in": "; ".join(_unique(_where(facts) for facts in sandboxes)) or "unknown",
        "Limits": _limits(limits) if limits else "",
        "Spent": spent(total(runs)),
        "Conversation": inline(first.conversation),
        "Record": _record(records),
    }
    return (
        "# Audit notebook\n\n"
        "What an agent was asked, what it thought, the code that ran, and what came of it, in order.\n\n"
        f"{table((name, text) for name, text in rows.items() if text)}"
    )


def again(runs: Sequence[Run], *, has_tools: bool, has_typed: bool) -> str:
    """The second cell, Markdown: how to run the notebook again, and how to check it."""
    sandboxes = [start.sandbox for run in runs if (start := started(run)).sandbox]
    packages = sandboxes[-1].packages if sandboxes else {}
    listed = ", ".join(f"{name} {version}" for name, version in packages.items())
    tools = ", and stand-ins for the tools that answer from the record" if has_tools else ""
    typed = ", and `input`, which answers what was typed" if has_typed else ""
    return _AGAIN.format(packages=f" with {listed}" if listed else "", stand_ins=tools + typed)


def ending(run: Run, *, is_undone: bool = False) -> str:
    """The Markdown that ends a run: status, reason, what it spent."""
    status = run.status.replace("_", " ") if run.ended else "unfinished: the record ends here"
    reason = f": {run.reason}" if run.reason else ""
    undone = ", and then it was taken back" if is_undone else ""
    return f"**{status[:1].upper()}{status[1:]}**{reason}{undone}\n\n{spent(run.totals)}"


def when(time: float) -> str:
    """Seconds since 1970 as a date and time in UTC."""
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):  # the number comes out of a record
        return f"{time:g} s after 1970"


def spent(totals: Totals) -> str:
    """Totals in words."""
    cost = f"${totals.cost:.4f}" if totals.cost or totals.cost_known else "cost unknown"
    if totals.cost and not totals.cost_known:
        cost += " and replies of unknown price"
    usage = totals.usage
    cached = f" ({usage.cached:,} of them cached)" if usage.cached else ""
    steps = "1 step" if totals.steps == 1 else f"{totals.steps} steps"
    return f"{steps}, {totals.seconds:.1f} s, {usage.total:,} tokens{cached}, {cost}"


def total(runs: Iterable[Run]) -> Totals:
    """The sum of what the runs have spent."""
    whole = Totals()
    for run in runs:
        part = run.totals
        whole = Totals(
            whole.steps + part.steps,
            whole.seconds + part.seconds,
            whole.usage + part.usage,
            whole.cost + part.cost,
            whole.cost_known and part.cost_known,
        )
    return whole


def started(run: Run) -> RunStarted:
    """The run's first event."""
    assert run.started is not None
    return run.started


def _where(facts: SandboxFacts) -> str:
    isolation = "**not isolated**" if facts.isolation == "process" else f"isolation {inline(facts.isolation)}"
    folder = "/".join(PurePath(facts.workspace).parts[-2:]).lstrip("/")
    where = f", folder {inline(folder)}" if folder else ""
    note = f" ({facts.note})" if facts.note else ""
    return f"{facts.kind}, Python {facts.python}, {isolation}{note}, network {inline(facts.network)}{where}"


def _parameters(parameters: Mapping[str, Json]) -> str:
    plain = {name: value for name, value in parameters.items() if isinstance(value, str | int | float | bool)}
    return ", ".join(f"{name} {inline(str(value))}" for name, value in plain.items())


def _record(records: Sequence[Record]) -> str:
    events = sum(len(record.lines) for record in records)
    notes = "".join(f"; **damaged**: {record.note}" for record in records if record.note)
    return f"{events:,} events, chained; the last link is {inline(records[-1].last)}{notes}"


def _limits(limits: Limits) -> str:
    words = (
        (limits.steps, "{} steps"),
        (limits.seconds, "{:g} s"),
        (limits.tokens, "{:,} tokens"),
        (limits.cost, "${:g}"),
        (limits.action_seconds, "{:g} s an action"),
    )
    return ", ".join(text.format(value) for value, text in words if value is not None) or "none"


def _unique(texts: Iterable[str]) -> list[str]:
    return list(filter(None, dict.fromkeys(texts)))
