"""The sentences of the audit notebook: what a run was asked, what a step cost, who decided, what a person typed."""

from __future__ import annotations

from collections.abc import Sequence

from ..events import Compacted, Event, InputGiven, Planned, ReplyReceived, RunResumed, RunStarted, Told
from ..run import Step
from . import cells
from .head import when

_BY = {"approved": "approved by", "edited": "edited by", "denied": "denied by"}


def begun(start: RunStarted, *, is_first: bool) -> str:
    """What a run was begun for. is_first: nothing came before it."""
    if start.author == "person" and start.parent:
        return f"## Taken back\n\n{_from(start, 'A person went back')}, {when(start.time)}."
    if start.author == "person":
        return f"## By hand\n\nA person ran this cell in the sandbox, {when(start.time)}."
    if start.parent:
        return f"## Branch\n\n{_from(start, 'The same task, taken up again')}, {when(start.time)}."
    said = ". The model was told nothing of what came before." if start.is_fresh and not is_first else ""
    parts = [f"## Task\n\n{cells.quoted(start.task)}\n\n{when(start.time)}{said}"]
    if start.files:
        rows = [(cells.inline(file.name), f"{file.size:,}", f"`{file.sha256}`") for file in start.files]
        parts.append(cells.table(rows, ("File handed over", "Bytes", "SHA-256")))
    return "\n\n".join(parts)


def _from(start: RunStarted, what: str) -> str:
    place = f"after step {start.parent_step}" if start.parent_step else "from its beginning"
    return f"{what} {place} of run {cells.inline(start.parent or '')}"


def aside(event: Event) -> tuple[str, str]:
    """The role and the text of the cell for what happened between two steps."""
    match event:
        case RunResumed(sandbox=None):
            return "rebuilt", f"**Rebuilt**: {event.note}"
        case RunResumed():
            return "resumed", f"**Resumed**, {when(event.time)}: {event.note}"
        case Told():
            return "told", f"**The model was told** by {cells.inline(event.by)}:\n\n{cells.quoted(event.text)}"
        case Compacted():
            return "compacted", (
                f"**Shortened**: {event.characters:,} characters of old observations are no longer shown to the model; "
                f"the newest {event.kept} stay whole."
            )
    raise AssertionError(event)


def edited(step: Step) -> str:
    """Who changed the code before it ran, and what; empty where nobody did."""
    decided, proposed = step.decided, step.proposed
    if decided is None or decided.verdict != "edited":
        return ""
    if proposed is None or proposed.code == decided.code:
        return f"**Written** by {cells.inline(decided.by)}. {decided.reason}".rstrip()
    said = f"**Edited** by {cells.inline(decided.by)} before it ran. {decided.reason}".rstrip()
    return f"{said}\n\n{cells.diff(proposed.code, decided.code)}"


def typed(lines: Sequence[InputGiven]) -> str:
    """What a person typed where the code asked."""
    said = [f"- {cells.inline(line.prompt)} {_line(line.value)}" for line in lines]
    return "\n".join(["**Typed** by a person:", "", *said]) if said else ""


def _line(value: str | None) -> str:
    return "*hidden, so on no record*" if value is None else cells.inline(value)


def provenance(step: Step) -> str:
    """One line: which model, tokens, cost, time, who decided, how long it ran."""
    parts = [_paid(step.reply)] if step.reply else []
    if step.decided:
        parts.append(f"{_BY[step.decided.verdict]} {cells.inline(step.decided.by)}")
    if step.outcome and step.outcome != "denied":
        parts.append(f"ran {step.seconds:.1f} s")
    return f"<sub>{' · '.join(parts)}</sub>" if parts else ""


def paid(plan: Planned) -> str:
    """One line: tokens, cost, time of a plan."""
    return f"<sub>{_paid(plan)}</sub>"


def _paid(reply: ReplyReceived | Planned) -> str:
    usage = reply.usage
    of_them = [(usage.cached, "cached"), (usage.reasoning, "reasoning")]
    listed = ", ".join(f"{count:,} {name}" for count, name in of_them if count)
    tokens = f"{usage.prompt:,} + {usage.completion:,} tokens{f' ({listed})' if listed else ''}"
    cost = "cost unknown" if reply.cost is None else f"${reply.cost:.4f}"
    first = getattr(reply, "first_token_seconds", None)
    time = f"{reply.seconds:.1f} s" + ("" if first is None else f", first token after {first:.1f} s")
    model = getattr(reply, "model", "")
    return " · ".join(filter(None, (cells.inline(model) if model else "", tokens, cost, time)))
