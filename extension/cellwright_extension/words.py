"""What of a run is said, in the words that are shown: the header, the steps, the calls in them.

The static twin and the live view both say it so, and a run out of the journal says it like one that is going on.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import unified_diff
from typing import Literal

from cellwright.errors import one_line
from cellwright.events import Compacted, Event, InputGiven, NoAction, RunResumed, Status, Told
from cellwright.facts import Totals
from cellwright.outputs import Json
from cellwright.run import Run, Step

from .render import clip, terminal_text, visible_code
from .tree import Call, Tree

Tone = Literal["running", "good", "warn", "bad"]

WORDS: dict[Status, tuple[str, Tone]] = {
    "running": ("running", "running"),
    "success": ("done", "good"),
    "out_of_steps": ("out of steps", "warn"),
    "out_of_time": ("out of time", "warn"),
    "out_of_tokens": ("out of tokens", "warn"),
    "out_of_money": ("out of budget", "warn"),
    "interrupted": ("stopped", "warn"),
    "failed": ("failed", "bad"),
}


# ---- the header -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mark:
    """A word beside the figures about where code runs."""

    text: str
    title: str
    tone: Literal["quiet", "warn"]


@dataclass(frozen=True, slots=True)
class Header:
    """The facts of a run, in the words that are shown."""

    task: str
    status: str
    tone: Tone
    reason: str
    model: str
    steps: str
    spent: tuple[str, ...]
    """Tokens and cost."""
    marks: tuple[Mark, ...]
    seconds: float
    """Wall time until now."""
    running: bool


def header(run: Run, totals: Totals | None = None) -> Header:
    """The facts of `run`, as far as it goes. totals: what was spent, where it is more than the run itself tells."""
    status, tone = WORDS[run.status]
    return Header(
        task=_task(run),
        status=status,
        tone=tone,
        reason=terminal_text(run.reason),
        model=terminal_text(run.started.model) if run.started else "",
        steps=_steps(run),
        spent=tuple(_spent(run, totals or run.totals)),
        marks=tuple(_marks(run)),
        seconds=_seconds(run),
        running=run.ended is None,
    )


def tree_header(tree: Tree) -> Header:
    """The facts of a run; of an inner one in few words, and only what its caller's header does not say already."""
    head = header(tree.run, tree.totals)
    if tree.caller is None:
        return head
    outer = header(tree.caller.run)
    return replace(
        head,
        model="" if head.model == outer.model else head.model,
        steps=head.steps.partition(" of ")[0],
        spent=tuple(text.partition(" of ")[0] for text in head.spent),
        marks=tuple(mark for mark in head.marks if mark not in outer.marks),
    )


def _task(run: Run) -> str:
    if run.started and run.started.author == "person":
        return "Run by hand"
    return clip(terminal_text(run.task.strip()), 2000)


def _steps(run: Run) -> str:
    most = run.started.limits.steps if run.started else None
    if run.ended is None:
        # While a reply is being written its step is known only by its pieces.
        now = max(1, len(run.steps), getattr(run.events[-1], "step", 0) if run.events else 0)
        return f"step {now} of {most}" if most else f"step {now}"
    return f"{len(run.steps)} step{'' if len(run.steps) == 1 else 's'}"


def _seconds(run: Run) -> float:
    if run.ended:
        return run.ended.totals.seconds
    return max(0.0, time.time() - run.started.time) if run.started else 0.0


def _spent(run: Run, totals: Totals) -> Iterator[str]:
    usage = totals.usage
    if not usage.total:
        return
    about = "~" if usage.estimated else ""
    yield f"{about}{_thousands(usage.prompt)} in · {about}{_thousands(usage.completion)} out"
    if not totals.cost_known:
        yield f"${totals.cost:.4f} + unknown price" if totals.cost else "price unknown"
    elif totals.cost:
        most = run.started.limits.cost if run.started else None
        yield f"${totals.cost:.4f} of ${most:.2f}" if most else f"${totals.cost:.4f}"
    else:
        yield "free"


def _marks(run: Run) -> Iterator[Mark]:
    sandbox = run.started.sandbox if run.started else None
    if sandbox is None:
        return
    if sandbox.isolation == "process":
        yield Mark("not isolated", "Code can read and change all that you can.", "warn")
    else:
        yield Mark("isolated", f"By {sandbox.isolation}. {sandbox.note}".strip(), "quiet")
    if run.started and run.started.state_lost:
        yield Mark(
            "variables lost", "The sandbox was started anew since the last task; its variables are gone.", "warn"
        )
    if sandbox.network != "none":
        yield Mark("network", "Code can reach the network.", "quiet" if sandbox.isolation == "process" else "warn")


def _thousands(number: int) -> str:
    return str(number) if number < 1000 else f"{number / 1000:.1f}k"


def duration(seconds: float) -> str:
    """`0.8 s`, `2 min 5 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


# ---- one step -------------------------------------------------------------------------------------------------------

StepState = Literal["running", "ok", "warn", "error"]

_OUTCOMES: dict[str, tuple[StepState, str]] = {
    "ok": ("ok", ""),
    "error": ("error", "error"),
    "denied": ("warn", "not run"),
    "timeout": ("warn", "timed out"),
    "interrupted": ("warn", "stopped"),
    "died": ("error", "sandbox died"),
}


def step_state(run: Run, step: Step) -> tuple[StepState, str]:
    """How a step stands, and the word for it: `1.3 s`, `NameError · 0.8 s`, `not run`."""
    if step.outcome is None:
        if isinstance(step.finished, NoAction):
            return "warn", "no code"
        if run.ended or run.steps[-1] is not step:
            return ("ok", "") if run.status == "success" else ("warn", "not finished")
        return "running", "running" if step.proposed else "thinking"
    state, word = _OUTCOMES[step.outcome]
    if step.error and step.outcome == "error":
        word = step.error.ename
    seconds = "" if step.outcome == "denied" else duration(step.seconds)
    return state, " · ".join(filter(None, (clip(terminal_text(word), 80), seconds)))


def headline(step: Step) -> str:
    """The step in a few words: the first sentence of its thought, else its first line of code."""
    first = next(
        (line.strip() for line in (plain(thought(step)) or visible_code(step.code)).splitlines() if line.strip()), ""
    )
    sentence = re.split(r"(?<=[.!?:])\s", first, maxsplit=1)[0].rstrip(":")
    return sentence if len(sentence) <= 90 else sentence[:89].rstrip() + "…"


def plain(markdown: str) -> str:
    marks = r"[*`]+|\b_|_\b|^[#>\s]+|\[([^\]]*)\]\([^)]*\)"
    return re.sub(marks, r"\1", terminal_text(markdown), flags=re.M).strip()


def thought(step: Step) -> str:
    """The plan, if one was made before the step, and what the model said beside its code, or all. Markdown."""
    plan = f"**Plan**\n\n{step.plan.text.strip()}\n\n" if step.plan else ""
    if step.proposed:
        return plan + step.proposed.thought
    return plan + (step.reply.text if step.reply else "")


def decision_text(step: Step) -> str:
    """Who allowed, changed or refused the code, and why; empty where nobody was asked."""
    decided = step.decided
    if decided is None or (decided.verdict == "approved" and (decided.by != "person" or step.reply is None)):
        return ""
    reason = decided.reason.removeprefix("Not run: ")
    verb = {"approved": "Approved", "edited": "Edited", "denied": "Not run. Denied"}[decided.verdict]
    return terminal_text(f"{verb} by {decided.by}{f': {reason}' if reason else ''}")


CHANGED_LINES = 200
"""So many lines of a change are shown; the record has them all."""


def changed(step: Step) -> list[str]:
    """What a person changed in the code, as lines that begin with `-`, `+` or a blank; empty when nothing."""
    if not step.proposed or not step.decided or step.proposed.code == step.decided.code:
        return []
    before, after = (visible_code(code).splitlines() for code in (step.proposed.code, step.decided.code))
    lines = list(unified_diff(before, after, lineterm=""))[2:]
    return [line for line in lines if not line.startswith("@@")][:CHANGED_LINES]


def note_text(step: Step) -> str:
    """What is said of how the action ended, beyond the decision."""
    return "" if step.decided and step.note == step.decided.reason else terminal_text(step.note)


def notes(step: Step) -> Iterator[str]:
    """Lines that stand below a step's outputs."""
    yield from filter(None, (decision_text(step), note_text(step)))


Place = Literal["told", "notes"]


def aside(event: Event) -> tuple[int, Place, str] | None:
    """What is said beside a step: its number, before or after its outputs, and the words; None for most events."""
    match event:
        case Told(by="person"):
            return event.step, "told", f"You: {terminal_text(event.text)}"
        case RunResumed() if event.note:
            return event.step + 1, "told", terminal_text(event.note)
        case Compacted():
            said = f"{event.characters:,} characters of older observations were shortened for the model."
            return event.step, "told", said
        case InputGiven():
            line = "a line that is not shown" if event.value is None else event.value
            return event.step, "notes", terminal_text(f"You typed: {event.prompt} {line}")
    return None


def asides(run: Run, place: Place) -> dict[int, list[str]]:
    """What is said beside the steps of a run: number -> lines."""
    found: dict[int, list[str]] = {}
    for event in run.events:
        if (said := aside(event)) and said[1] == place:
            found.setdefault(said[0], []).append(said[2])
    return found


def answer_label(run: Run) -> str:
    """What stands above the answer."""
    is_sure = run.answered is None or run.answered.confirmed
    return "Answer" if is_sure else "Answer, in words only: no code gave it"


# ---- calls ----------------------------------------------------------------------------------------------------------

CallState = Literal["running", "ok", "warn", "error", "agent"]


def call_words(tree: Tree, step: Step, call: Call) -> tuple[CallState, str, str]:
    """How a call stands, what was called, and what came of it: `ok`, `search('x', limit=3)`, `→ ['a', 'b']`.

    `agent`: it is shown as a run, so that it need not be shown again.
    """
    said = call.progress
    state: CallState = "running"
    if called := call.called:
        state = "ok" if called.error is None else "error"
        said = f"→ {_short(called.result, 200)}" if called.error is None else called.error
    elif step.finished or tree.run.ended:
        state, said = "warn", "not finished"
    if tree.is_agent(step.number, call):
        state = "agent"
    return state, terminal_text(_signature(call)), one_line(terminal_text(said), 1000)


def call_seconds(call: Call) -> float:
    """How long it took, or has taken until now."""
    return call.called.seconds if call.called else max(0.0, time.time() - call.since)


def _signature(call: Call) -> str:
    if told := call.called or call.begun:
        args, kwargs = told.args, told.kwargs
    elif call.use:
        args, kwargs = _written(call.use.arguments)
    else:
        return call.name
    shown = [_short(arg) for arg in args] + [f"{name}={_short(value)}" for name, value in kwargs.items()]
    return f"{call.name}({', '.join(shown)})"


def _written(arguments: str) -> tuple[tuple[Json, ...], dict[str, Json]]:
    try:
        read = json.loads(arguments or "{}")
    except ValueError:
        read = arguments
    return ((), read) if isinstance(read, dict) else ((read,), {})


def _short(value: Json, limit: int = 60) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def short_answer(run: Run) -> str:
    """The answer in one line; empty when there is none."""
    if run.answered is None:
        return ""
    return one_line(terminal_text(str(run.answered.data.get("text/plain", run.answer))), 160)
