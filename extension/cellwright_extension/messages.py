"""What the live view's page is told: small numbered changes, and a snapshot that is made of the same changes.

`changes(tree, event)` says what `event`, which `tree` has just taken in, changes on the page; `snapshot(tree)` says it
for a run as it stands. Both are pure: the state of a run is its `Tree`. Runs of agents that were called are told in the
same words; `run` says which one is meant. Markup arrives at the page ready and harmless (`render`); text arrives as
text. The page (static/run_view.js) has one function for each `op` and ignores an `op` that it does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Literal

from cellwright.events import (
    ActionDecided,
    ActionFinished,
    ActionProposed,
    AnswerGiven,
    Compacted,
    Event,
    InputGiven,
    Nested,
    NoAction,
    Output,
    Planned,
    ReplyDelta,
    ReplyReceived,
    RunEnded,
    RunResumed,
    RunStarted,
    Told,
    ToolCalled,
    ToolProgress,
)
from cellwright.outputs import Clear, Display, Stream
from cellwright.run import Run, Step

from .message_types import (
    AgentMessage,
    AnswerMessage,
    CallMessage,
    ClearMessage,
    DeltaMessage,
    HeadMessage,
    LineMessage,
    Message,
    OutputMessage,
    PartMessage,
    StepMessage,
    TextMessage,
)
from .render import appended, clip, code_html, markdown_html, output_html, terminal_text
from .tree import Call, Tree
from .view import answer_html, changed_html
from .words import (
    Place,
    answer_label,
    aside,
    asides,
    call_seconds,
    call_words,
    decision_text,
    headline,
    note_text,
    short_answer,
    step_state,
    thought,
    tree_header,
)

LIVE_LIMIT = 100_000
"""Characters of one text output that travel to the page as they come."""


def changes(tree: Tree, event: Event) -> Iterator[Message]:  # noqa: PLR0912  (one branch for each kind of event)
    """What `event`, the last that `tree` took in, changes on the page."""
    run = tree.run
    match event:
        case RunStarted():
            yield head_of(tree)
        case ReplyDelta():
            if len(run.events) < 2 or not isinstance(run.events[-2], ReplyDelta):
                yield head_of(tree)
            yield DeltaMessage(op="delta", step=event.step, text=event.text)
        case ReplyReceived():
            yield head_of(tree)
        case Planned():
            yield from _said(run, run.steps[-1])
        case Told() | RunResumed() | Compacted() | InputGiven():
            yield head_of(tree)
            yield from _aside(event)
        case Nested():
            yield from _nested(tree, event)
        case ActionProposed():
            yield from _said(run, run.steps[-1])
        case ActionDecided():
            if event.verdict == "edited":
                yield _code(run.steps[-1])
            if text := decision_text(run.steps[-1]):
                yield LineMessage(op="line", step=event.step, part="notes", text=text)
            yield from _calls(tree, run.steps[-1])
        case ToolProgress() | ToolCalled():
            yield from _calls(tree, run.steps[-1], event.name)
        case Output():
            yield from _shown(run, event)
        case ActionFinished():
            yield from _calls(tree, run.steps[-1], is_open=True)
            yield from _note(run.steps[-1])
            yield step_of(run, run.steps[-1])
        case NoAction():
            yield from _said(run, run.steps[-1])
            yield from _note(run.steps[-1])
        case AnswerGiven():
            yield AnswerMessage(op="answer", label=answer_label(run), html=answer_html(run))
        case RunEnded():
            if run.steps:
                # A reply that was stopped in the middle has not been shown as a step yet.
                yield from _said(run, run.steps[-1])
            yield head_of(tree)


def snapshot(tree: Tree) -> Iterator[Message]:
    """What an empty page must be told to show a run as it stands."""
    run = tree.run
    yield head_of(tree)
    before, after = asides(run, "told"), asides(run, "notes")
    for step in run.steps:
        yield from _lines(step.number, "told", before.pop(step.number, ()))
        yield from _said(run, step)
        if text := decision_text(step):
            yield LineMessage(op="line", step=step.number, part="notes", text=text)
        yield from _calls(tree, step)
        for inner in tree.inner(step.number):
            yield _agent(inner, step.number)
            yield from placed(inner, snapshot(inner))
        for index, output in enumerate(step.outputs):
            if isinstance(output, Stream):
                yield _text(step.number, index, output, 0, clip(terminal_text(output.text), LIVE_LIMIT))
            else:
                yield _output(step, index)
        yield from _lines(step.number, "notes", after.get(step.number, ()))
        yield from _note(step)
    for number, lines in before.items():
        yield from _lines(number, "told", lines)
    if run.answered:
        yield AnswerMessage(op="answer", label=answer_label(run), html=answer_html(run))
    if delta := _being_written(run):
        yield delta


# ---- calls, and runs of agents --------------------------------------------------------------------------------------


def _nested(tree: Tree, event: Nested) -> Iterator[Message]:
    inner = tree.inner_of(event)
    if len(inner.run.events) == 1:
        yield _agent(inner, event.step)
        yield from _calls(tree, tree.run.steps[-1], inner.name)  # this run stands for its call from now on
    yield from placed(inner, changes(inner, event.event))
    match _innermost(event):
        case AnswerGiven():
            yield _agent(inner, event.step)
        case ReplyReceived() | RunEnded():
            yield head_of(tree)  # what was spent counts here, too


def _innermost(event: Event) -> Event:
    return _innermost(event.event) if isinstance(event, Nested) else event


def placed(inner: Tree, messages: Iterator[Message]) -> Iterator[Message]:
    """The messages, said of an inner run."""
    for message in messages:
        message.setdefault("run", inner.key)
        yield message


def _agent(inner: Tree, step: int) -> AgentMessage:
    name, said = terminal_text(inner.name), short_answer(inner.run)
    return AgentMessage(op="agent", step=step, key=inner.key, name=name, said=said)


def _calls(tree: Tree, step: Step, name: str = "", *, is_open: bool = False) -> Iterator[CallMessage]:
    """The calls of a step: all, those of one name, or those that have not ended."""
    for index, call in enumerate(tree.calls(step.number)):
        if call.name == (name or call.name) and not (is_open and call.called):
            yield _call(tree, step, index, call)


def _call(tree: Tree, step: Step, index: int, call: Call) -> CallMessage:
    state, called, said = call_words(tree, step, call)
    seconds = round(call_seconds(call), 2)
    return CallMessage(op="call", step=step.number, index=index, state=state, call=called, said=said, seconds=seconds)


# ---- steps ----------------------------------------------------------------------------------------------------------


def head_of(tree: Tree) -> HeadMessage:
    """The header as it stands."""
    return HeadMessage(op="head", head=asdict(tree_header(tree)))


def step_of(run: Run, step: Step) -> StepMessage:
    """How a step stands."""
    state, word = step_state(run, step)
    return StepMessage(op="step", step=step.number, state=state, word=word, title=headline(step))


def _said(run: Run, step: Step) -> Iterator[Message]:
    yield step_of(run, step)
    if text := thought(step).strip():
        yield PartMessage(op="part", step=step.number, part="thought", html=markdown_html(text))
    if step.code:
        yield _code(step)


def _code(step: Step) -> PartMessage:
    return PartMessage(op="part", step=step.number, part="code", html=code_html(step.code) + changed_html(step))


def _note(step: Step) -> Iterator[Message]:
    if text := note_text(step):
        yield LineMessage(op="line", step=step.number, part="notes", text=text)


def _aside(event: Event) -> Iterator[Message]:
    if said := aside(event):
        number, place, text = said
        yield from _lines(number, place, [text])


def _lines(step: int, place: Place, lines: Iterable[str]) -> Iterator[Message]:
    for text in lines:
        yield LineMessage(op="line", step=step, part=place, text=text)


def _shown(run: Run, event: Output) -> Iterator[Message]:
    step, output = run.steps[-1], event.output
    last = len(step.outputs) - 1
    if isinstance(output, Clear):
        yield ClearMessage(op="clear", step=step.number)
    elif isinstance(output, Stream):
        yield from _more_text(step, last, len(output.text))
    elif isinstance(output, Display) and output.is_update:
        for step in run.steps:  # it may be meant for what an earlier step has shown
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
