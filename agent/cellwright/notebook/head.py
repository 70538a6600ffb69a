"""What the audit notebook says about itself: the first cell, the cell that ends each run, and the preamble's code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

from ..events import RunStarted, ToolCalled
from ..facts import SandboxFacts, Totals
from ..limits import Limits
from ..run import Run
from .cells import inline

_AGAIN = """\
**Run again**: *Run All* under any Python 3 kernel{packages}, in a folder that holds the same files. It needs neither \
Cellwright, nor a key, nor a network for the model: the next cell defines `final_answer`{tools}. The code was written \
by a model, and runs with your rights: read it first."""


def head(runs: Sequence[Run], *, has_tools: bool) -> str:
    """The first cell, Markdown: what this is, when, where and by whom it was made, and how to run it again."""
    starts = [started(run) for run in runs]
    first = starts[0]
    replies = [step.reply for run in runs for step in run.steps if step.reply]
    asked = _unique(inline(start.model) for start in starts if start.model)
    answered = _unique(inline(reply.model) for reply in replies if reply.model)
    sandboxes = [start.sandbox for start in starts if start.sandbox]
    limits = next((start.limits for start in starts if start.author == "agent"), None)
    rows = {
        "Made": f"{when(first.time)}, by Cellwright {first.version or 'of unknown version'}",
        "Model": ", ".join(asked) or "none: all cells were run by hand",
        "Answered as": ", ".join(name for name in answered if name not in asked),
        "Code ran in": "; ".join(_unique(_where(facts) for facts in sandboxes)) or "unknown",
        "Limits": _limits(limits) if limits else "",
        "Spent": spent(total(runs)),
        "Conversation": inline(first.conversation),
    }
    table = "\n".join(f"| {name} | {text} |" for name, text in rows.items() if text)
    packages = sandboxes[-1].packages if sandboxes else {}
    listed = ", ".join(f"{name} {version}" for name, version in packages.items())
    again = _AGAIN.format(
        packages=f" with {listed}" if listed else "",
        tools=", and stand-ins for the tools that answer from the record" if has_tools else "",
    )
    return (
        "# Audit notebook\n\n"
        "What an agent was asked, what it thought, the code that ran, and what came of it, in order.\n\n"
        f"| | |\n| --- | --- |\n{table}\n\n{again}"
    )


def ending(run: Run) -> str:
    """The Markdown that ends a run: status, reason, what it spent."""
    status = run.status.replace("_", " ") if run.ended else "unfinished: the record ends here"
    reason = f": {run.reason}" if run.reason else ""
    return f"**{status[:1].upper()}{status[1:]}**{reason}\n\n{spent(run.totals)}"


def preamble(runs: Sequence[Run], calls: Iterable[ToolCalled], *, has_tables: bool, begins_anew: bool) -> str:
    """The code of the preamble cell; `calls` are those that the notebook's code cells will make again."""
    parts = _parts()
    calls = list(calls)
    tools = {
        facts.name: f"{facts.signature}\n\n{facts.description}"
        for run in runs
        if run.started
        for facts in run.started.tools
    }
    tools.update({call.name: "" for call in calls if call.name not in tools})
    wanted = [parts["base"]]
    if tools:
        lines = (json.dumps(_call(call), ensure_ascii=False) for call in calls)
        # JSON holds no three double quotes in a row, and no backslash at its end, so a raw literal is safe.
        # The later mark first: what is filled in may hold the text of the other.
        filled = parts["tools"].replace("CALLS", "[\n" + ",\n".join(lines) + "\n]", 1)
        wanted.append(filled.replace("TOOLS", json.dumps(tools, indent=1, ensure_ascii=False), 1))
    if has_tables:
        wanted.append(parts["tables"])
    if begins_anew:
        wanted.append(parts["anew"])
    return "\n\n\n".join(wanted)


def when(time: float) -> str:
    """Seconds since 1970 as a date and time in UTC."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


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


def _call(call: ToolCalled) -> dict[str, object]:
    return {"name": call.name, "args": call.args, "kwargs": call.kwargs, "result": call.result, "error": call.error}


def _where(facts: SandboxFacts) -> str:
    isolation = "**not isolated**" if facts.isolation == "process" else f"isolation {inline(facts.isolation)}"
    return f"{facts.kind}, Python {facts.python}, {isolation}, network {inline(facts.network)}"


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
    return list(dict.fromkeys(texts))


@cache
def _parts() -> dict[str, str]:
    text = files(__package__).joinpath("preamble.py").read_text(encoding="utf-8")
    parts = {}
    for part in text.split("\n# ==== ")[1:]:
        name, _, source = part.partition("\n")
        parts[name.strip()] = source.strip()
    return parts
