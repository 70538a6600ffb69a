"""What the live view's page is told: small numbered changes, and a snapshot that is made of the same changes.

`changes(run, event)` says what `event`, which `run` has just taken in, changes on the page; `snapshot(run)` says it for
a run as it stands. Both are pure: the state of a run is its `Run`. Markup arrives at the page ready and harmless
(`render`); text arrives as text. The page (static/run_view.js) has one function for each `op` and ignores an `op`
that it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Literal, TypedDict, Union

from cellwright.events import (
    ActionDecided,
    ActionFinished,
    ActionProposed,
    AnswerGiven,
    Compacted,
    Event,
    Nested,
    NoAction,
    Output,
    Planned,
    ReplyDelta,
    ReplyReceived,
    RunEnded,
    RunStarted,
    ToolCalled,
)
from cellwright.outputs import Clear, Display, Stream
from cellwright.run import Run, Step

from .render import appended, clip, code_html, markdown_html, output_html, terminal_text
from .view import (
    StepState,
    answer_html,
    answer_label,
    call_text,
    decision_text,
    header,
    headline,
    nested_text,
    step_state,
    thought,
)

LIVE_LIMIT = 100_000
"""Characters of one text output that travel to the page as they come."""


class HeadMessage(TypedDict):
    """The header's facts (`view.Header`) changed."""

    op: Literal["head"]
    head: dict[str, Any]


class DeltaMessage(TypedDict):
    """A piece of the reply that is being written."""

    op: Literal["delta"]
    step: int
    text: str


class StepMessage(TypedDict):
    """How a step stands. Ends the display of the reply as it is written."""

    op: Literal["step"]
    step: int
    state: StepState
    word: str
    title: str


class PartMessage(TypedDict):
    """Markup for one part of a step; it replaces what the part showed."""

    op: Literal["part"]
    step: int
    part: Literal["thought", "code"]
    html: str


class LineMessage(TypedDict):
    """A line of text below the code (`calls`) or below the outputs (`notes`)."""

    op: Literal["line"]
    step: int
    part: Literal["calls", "notes"]
    text: str


class OutputMessage(TypedDict):
    """Output number `index` of a step, as markup; it replaces the one that has that number."""

    op: Literal["output"]
    step: int
    index: int
    kind: Literal["rich", "error"]
    html: str


class TextMessage(TypedDict):
    """Text for output number `index`: drop characters at its end, then add."""

    op: Literal["text"]
    step: int
    index: int
    stream: Literal["stdout", "stderr"]
    drop: int
    text: str


class ClearMessage(TypedDict):
    """The step's outputs are gone."""

    op: Literal["clear"]
    step: int


class AnswerMessage(TypedDict):
    """The answer, as markup."""

    op: Literal["answer"]
    label: str
    html: str


Message = Union[
    HeadMessage,
    DeltaMessage,
    StepMessage,
    PartMessage,
    LineMessage,
    OutputMessage,
    TextMessage,
    ClearMessage,
    AnswerMessage,
]


def changes(run: Run, event: Event) -> Iterator[Message]:  # noqa: PLR0912  (one branch for each kind of event)
    """What `event`, the last that `run` took in, changes on the page."""
    match event:
        case RunStarted():
            yield _head(run)
        case ReplyDelta():
            if len(run.events) < 2 or not isinstance(run.events[-2], ReplyDelta):
                yield _head(run)
            yield DeltaMessage(op="delta", step=event.step, text=event.text)
        case ReplyReceived():
            yield _head(run)
        case Planned():
            yield from _said(run, run.steps[-1])
        case Compacted():
            text = f"{event.characters:,} characters of older observations were shortened for the model."
            yield LineMessage(op="line", step=event.step, part="notes", text=text)
        case Nested():
            if text := nested_text(event):
                yield LineMessage(op="line", step=event.step, part="calls", text=text)
        case ActionProposed():
            yield from _said(run, run.steps[-1])
        case ActionDecided(verdict="edited"):
            yield _code(run.steps[-1])
            yield LineMessage(op="line", step=event.step, part="notes", text=decision_text(run.steps[-1]))
        case ActionDecided(verdict="denied"):
            yield LineMessage(op="line", step=event.step, part="notes", text=decision_text(run.steps[-1]))
        case ToolCalled():
            yield LineMessage(op="line", step=event.step, part="calls", text=call_text(event))
        case Output():
            yield from _shown(run.steps[-1], event)
        case ActionFinished():
            yield from _note(run.steps[-1])
            yield _step(run, run.steps[-1])
        case NoAction():
            yield from _said(run, run.steps[-1])
            yield from _note(run.steps[-1])
        case AnswerGiven():
            yield AnswerMessage(op="answer", label=answer_label(run), html=answer_html(run))
        case RunEnded():
            if run.steps:
                # A reply that was stopped in the middle has not been shown as a step yet.
                yield from _said(run, run.steps[-1])
            yield _head(run)


def snapshot(run: Run) -> Iterator[Message]:
    """What an empty page must be told to show `run` as it stands."""
    yield _head(run)
    for step in run.steps:
        yield from _said(run, step)
        if text := decision_text(step):
            yield LineMessage(op="line", step=step.number, part="notes", text=text)
        for call in step.calls:
            yield LineMessage(op="line", step=step.number, part="calls", text=call_text(call))
        for index, output in enumerate(step.outputs):
            if isinstance(output, Stream):
                yield _text(step.number, index, output, 0, clip(terminal_text(output.text), LIVE_LIMIT))
            else:
                yield _output(step, index)
        yield from _note(step)
    if run.answered:
        yield AnswerMessage(op="answer", label=answer_label(run), html=answer_html(run))
    if delta := _being_written(run):
        yield delta


def _head(run: Run) -> HeadMessage:
    return HeadMessage(op="head", head=asdict(header(run)))


def _step(run: Run, step: Step) -> StepMessage:
    state, word = step_state(run, step)
    return StepMessage(op="step", step=step.number, state=state, word=word, title=headline(step))


def _said(run: Run, step: Step) -> Iterator[Message]:
    yield _step(run, step)
    if text := thought(step).strip():
        yield PartMessage(op="part", step=step.number, part="thought", html=markdown_html(text))
    if step.code:
        yield _code(step)


def _code(step: Step) -> PartMessage:
    return PartMessage(op="part", step=step.number, part="code", html=code_html(step.code))


def _note(step: Step) -> Iterator[Message]:
    if step.note:
        yield LineMessage(op="line", step=step.number, part="notes", text=terminal_text(step.note))


def _shown(step: Step, event: Output) -> Iterator[Message]:
    output, last = event.output, len(step.outputs) - 1
    if isinstance(output, Clear):
        yield ClearMessage(op="clear", step=step.number)
    elif isinstance(output, Stream):
        yield from _more_text(step, last, len(output.text))
    elif isinstance(output, Display) and output.is_update:
        for index, shown in enumerate(step.outputs):
            if isinstance(shown, Display) and shown.display_id == output.display_id:
                yield _output(step, index)
    else:
        yield _output(step, last)


def _more_text(step: Step, index: int, piece: int) -> Iterator[Message]:
    whole = step.outputs[index]
    assert isinstance(whole, Stream)
    before = len(whole.text) - piece
    if before >= LIVE_LIMIT:
        return
    drop, text = appended(whole.text, piece)
    if before + piece >= LIVE_LIMIT:
        text += "\n… more is not shown here; the journal has it …"
    yield _text(step.number, index, whole, drop, text)


def _text(number: int, index: int, stream: Stream, drop: int, text: str) -> TextMessage:
    return TextMessage(op="text", step=number, index=index, stream=stream.name, drop=drop, text=text)


def _output(step: Step, index: int) -> OutputMessage:
    output = step.outputs[index]
    kind: Literal["rich", "error"] = "rich" if isinstance(output, Display) else "error"
    return OutputMessage(op="output", step=step.number, index=index, kind=kind, html=output_html(output, step.code))


def _being_written(run: Run) -> DeltaMessage | None:
    """The reply so far, when one is being written."""
    pieces: list[str] = []
    number = 0
    for event in reversed(run.events):
        if not isinstance(event, ReplyDelta):
            break
        number = event.step
        pieces.append(event.text)
    return DeltaMessage(op="delta", step=number, text="".join(reversed(pieces))) if pieces else None


def joined(first: Message, second: Message) -> Message | None:
    """Two neighbouring messages as one, where that is possible."""
    if first["op"] == "head" and second["op"] == "head":
        return second
    if first["op"] == "delta" and second["op"] == "delta" and first["step"] == second["step"]:
        return DeltaMessage(op="delta", step=first["step"], text=first["text"] + second["text"])
    if first["op"] == "text" and second["op"] == "text" and _same_place(first, second):
        kept = len(first["text"]) - second["drop"]
        text = first["text"][: max(0, kept)] + second["text"]
        return TextMessage(**{**first, "drop": first["drop"] + max(0, -kept), "text": text})
    return None


def _same_place(first: TextMessage, second: TextMessage) -> bool:
    return (first["step"], first["index"]) == (second["step"], second["index"])
