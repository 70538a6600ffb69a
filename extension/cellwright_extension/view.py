"""What of a run is shown, and the form that lasts: HTML without scripts or style sheets, and plain text.

Both come from the `Run` alone, so a run out of the journal looks like one that has just ended. The header's facts are
said here once (`Header`), for the static twin and for the live view. The static twin must read well where nothing of
ours is installed and nothing is trusted: so it uses `<details>`, inline styles, no colours that a dark page would
swallow, and pygments' classes, for which JupyterLab and nbconvert bring their own theme.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cellwright.errors import one_line
from cellwright.events import ActionProposed, Nested, NoAction, RunEnded, Status, ToolCalled
from cellwright.outputs import Display, Failure, Json, plain_text
from cellwright.run import Run, Step

from .render import (
    MONO,
    bundle_html,
    clip,
    code_html,
    escaped,
    failing_line,
    markdown_html,
    output_html,
    terminal_text,
    text_html,
    visible_code,
)

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


def header(run: Run) -> Header:
    """The facts of `run`, as far as it goes."""
    status, tone = WORDS[run.status]
    return Header(
        task=_task(run),
        status=status,
        tone=tone,
        reason=terminal_text(run.reason),
        model=terminal_text(run.started.model) if run.started else "",
        steps=_steps(run),
        spent=tuple(_spent(run)),
        marks=tuple(_marks(run)),
        seconds=_seconds(run),
        running=run.ended is None,
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


def _spent(run: Run) -> Iterator[str]:
    totals = run.totals
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
        (line.strip() for line in (_plain(thought(step)) or visible_code(step.code)).splitlines() if line.strip()), ""
    )
    sentence = re.split(r"(?<=[.!?:])\s", first, maxsplit=1)[0].rstrip(":")
    return sentence if len(sentence) <= 90 else sentence[:89].rstrip() + "…"


def _plain(markdown: str) -> str:
    marks = r"[*`]+|\b_|_\b|^[#>\s]+|\[([^\]]*)\]\([^)]*\)"
    return re.sub(marks, r"\1", terminal_text(markdown), flags=re.M).strip()


def thought(step: Step) -> str:
    """The plan, if one was made before the step, and what the model said beside its code, or all. Markdown."""
    plan = f"**Plan**\n\n{step.plan.text.strip()}\n\n" if step.plan else ""
    if step.proposed:
        return plan + step.proposed.thought
    return plan + (step.reply.text if step.reply else "")


def nested_text(event: Nested) -> str:
    """What an agent that was called as a tool is doing, in one line; empty for what is not worth one."""
    match event.event:
        case ActionProposed() as action:
            return one_line(f"{event.agent} · step {action.step}: {terminal_text(action.thought) or action.code}", 160)
        case RunEnded() as ended:
            steps = f"{ended.totals.steps} step{'' if ended.totals.steps == 1 else 's'}"
            return f"{event.agent} · {WORDS[ended.status][0]} after {steps}"
    return ""


def call_text(call: ToolCalled) -> str:
    """`search('x', limit=3) → ['a', 'b'] · 0.3 s`."""
    args = [_short(arg) for arg in call.args] + [f"{name}={_short(value)}" for name, value in call.kwargs.items()]
    result = f"raised {call.error}" if call.error is not None else _short(call.result, 200)
    return terminal_text(f"{call.name}({', '.join(args)}) → {' '.join(result.split())} · {duration(call.seconds)}")


def _short(value: Json, limit: int = 60) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def decision_text(step: Step) -> str:
    """Who changed or refused the code, and why; empty when it ran as proposed."""
    decided = step.decided
    if decided is None or decided.verdict == "approved":
        return ""
    why = f": {decided.reason}" if decided.reason else ""
    verb = "Edited" if decided.verdict == "edited" else "Not run. Denied"
    return terminal_text(f"{verb} by {decided.by}{why}")


def notes(step: Step) -> Iterator[str]:
    """Lines that stand below a step's outputs."""
    if text := decision_text(step):
        yield text
    if step.note:
        yield terminal_text(step.note)


# ---- the static twin: HTML ------------------------------------------------------------------------------------------

_QUIET = "opacity:0.75;font-size:90%"
_BOX = "border:1px solid #8888;border-radius:8px;padding:10px 14px;margin:4px 0"
_CODE = "border:1px solid #8886;border-radius:6px;padding:2px 10px;margin:6px 0;overflow:auto"
_BODY = "border-left:2px solid #8888;padding:2px 0 2px 12px;margin:2px 0 8px 4px"


def static_html(run: Run, *, with_answer: bool = True) -> str:
    """The run as HTML that needs nothing and may be shown anywhere."""
    answer = _answer_block(run) if with_answer else ""
    steps = "".join(_step_html(run, step) for step in run.steps)
    return f'<div style="{_BOX}">{_header_html(header(run))}{steps}{answer}</div>'


def _header_html(head: Header) -> str:
    facts = [head.model, head.steps, duration(head.seconds), *head.spent, *(mark.text for mark in head.marks)]
    sign = {"good": "✓ ", "bad": "✗ ", "warn": "■ ", "running": ""}[head.tone]
    reason = f'<div style="padding:2px 0">{escaped(head.reason)}</div>' if head.reason else ""
    return (
        f'<div style="white-space:pre-wrap;font-weight:bold">{escaped(head.task)}</div>'
        f'<div style="padding:2px 0 6px"><b>{sign}{head.status}</b> '
        f'<span style="{_QUIET}">· {escaped(" · ".join(filter(None, facts)))}</span></div>{reason}'
    )


def _step_html(run: Run, step: Step) -> str:
    state, word = step_state(run, step)
    sign = {"ok": "", "error": "✗ ", "warn": "■ ", "running": ""}[state]
    title = " ".join(filter(None, (f"<b>Step {step.number}</b>", escaped(headline(step)))))
    tail = f' <span style="{_QUIET}">{sign}{escaped(word)}</span>' if word else ""
    is_open = " open" if _wants_to_be_seen(run, step) else ""
    return f'<details{is_open}><summary>{title}{tail}</summary><div style="{_BODY}">{_body_html(step)}</div></details>'


def _wants_to_be_seen(run: Run, step: Step) -> bool:
    """Pictures are what people look for; and where a run went wrong, its last step."""
    has_picture = any(
        isinstance(output, Display) and any(mime.startswith("image/") for mime in output.data)
        for output in step.outputs
    )
    return has_picture or (run.status != "success" and step is run.steps[-1])


def _body_html(step: Step) -> str:
    # A thought of one sentence stands in the summary already.
    parts = [markdown_html(thought(step))] if _plain(thought(step)) != headline(step) else []
    if step.code:
        parts.append(f'<div style="{_CODE}">{code_html(step.code)}</div>')
    parts += [f'<div style="{MONO};{_QUIET}">{escaped(call_text(call))}</div>' for call in step.calls]
    parts += [output_block(output_html(output, step.code)) for output in step.outputs]
    parts += [f"<div><i>{escaped(note)}</i></div>" for note in notes(step)]
    return "".join(parts)


def output_block(html: str) -> str:
    """An output that scrolls by itself when it is wide."""
    return f'<div style="overflow:auto;max-height:400px">{html}</div>' if "<img" not in html else f"<div>{html}</div>"


def _answer_block(run: Run) -> str:
    if run.answered is None:
        return ""
    return (
        f'<div style="border-top:1px solid #8888;padding:8px 0 0;margin:8px 0 0"><b>{escaped(answer_label(run))}</b>'
        f'<div style="overflow:auto;padding:2px 0">{answer_html(run)}</div></div>'
    )


def answer_label(run: Run) -> str:
    """What stands above the answer."""
    is_sure = run.answered is None or run.answered.confirmed
    return "Answer" if is_sure else "Answer, in words only: no code gave it"


def answer_html(run: Run) -> str:
    """The answer in its richest form; empty when there is none."""
    if run.answered is None:
        return ""
    return bundle_html(run.answered.data, run.answered.metadata) or text_html(str(run.answer))


# ---- the static twin: text ------------------------------------------------------------------------------------------


def static_text(run: Run, *, with_answer: bool = True) -> str:
    """The run as plain text, for a terminal; without escapes."""
    head = header(run)
    facts = [head.status, head.model, head.steps, duration(head.seconds), *head.spent, *(m.text for m in head.marks)]
    lines = [head.task, " · ".join(filter(None, facts))]
    if head.reason:
        lines.append(head.reason)
    for step in run.steps:
        lines += ["", *_step_lines(run, step)]
    if run.answered and with_answer:
        answer = str(run.answered.data.get("text/plain", run.answer))
        lines += ["", f"{answer_label(run)}: {clip(terminal_text(answer))}"]
    return "\n".join(lines)


def _step_lines(run: Run, step: Step) -> Iterator[str]:
    _, word = step_state(run, step)
    yield f"Step {step.number}" + (f" ({terminal_text(word)})" if word else "")
    if text := thought(step).strip():
        yield from _indented(text, "  ")
    if step.code:
        yield from _indented(visible_code(step.code), "  | ")
    for call in step.calls:
        yield f"  {call_text(call)}"
    for output in step.outputs:
        yield from _indented(plain_text(output), "  ")
        if isinstance(output, Failure) and (line := failing_line(output, step.code)):
            yield from _indented(line, "  ")
    for note in notes(step):
        yield from _indented(note, "  ")


def _indented(text: str, margin: str) -> Iterator[str]:
    return (margin + line for line in clip(terminal_text(text)).rstrip().splitlines())
