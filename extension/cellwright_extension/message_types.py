"""The messages that the live view's page is sent, one for each `op`; static/run_view.js has a function for each."""

from __future__ import annotations

from typing import Any, Literal, TypedDict, Union

from .words import CallState, Place, StepState


class _Placed(TypedDict, total=False):
    run: str
    """Key of the inner run that is meant; absent for the outermost."""


class HeadMessage(_Placed):
    """The header's facts (`words.Header`) changed."""

    op: Literal["head"]
    head: dict[str, Any]


class DeltaMessage(_Placed):
    """A piece of the reply that is being written."""

    op: Literal["delta"]
    step: int
    text: str


class StepMessage(_Placed):
    """How a step stands. Ends the display of the reply as it is written."""

    op: Literal["step"]
    step: int
    state: StepState
    word: str
    title: str


class PartMessage(_Placed):
    """Markup for one part of a step; it replaces what the part showed."""

    op: Literal["part"]
    step: int
    part: Literal["thought", "code"]
    html: str


class LineMessage(_Placed):
    """A line of text beside a step: before it, or below its outputs."""

    op: Literal["line"]
    step: int
    part: Place
    text: str


class CallMessage(_Placed):
    """How call number `index` of a step stands; it replaces what was said of it."""

    op: Literal["call"]
    step: int
    index: int
    state: CallState
    call: str
    said: str
    """Its progress, result, or error."""
    seconds: float


class AgentMessage(_Placed):
    """A step called an agent: its run has messages of its own, with `key` as their `run`."""

    op: Literal["agent"]
    step: int
    key: str
    name: str
    said: str
    """Its answer, in short; empty until it is given."""


class OutputMessage(_Placed):
    """Output number `index` of a step, as markup; it replaces the one that has that number."""

    op: Literal["output"]
    step: int
    index: int
    kind: Literal["rich", "error"]
    html: str


class TextMessage(_Placed):
    """Text for output number `index`: drop characters at its end, then add."""

    op: Literal["text"]
    step: int
    index: int
    stream: Literal["stdout", "stderr"]
    drop: int
    text: str


class ClearMessage(_Placed):
    """The step's outputs are gone."""

    op: Literal["clear"]
    step: int


class AnswerMessage(_Placed):
    """The answer, as markup."""

    op: Literal["answer"]
    label: str
    html: str


class AskMessage(_Placed):
    """A person is asked whether the code of a step may run; the page says `seen`, and what is `said`."""

    op: Literal["ask"]
    step: int
    id: int
    why: str
    code: str
    edit: bool
    all: bool
    alike: bool


class AskedMessage(_Placed):
    """It is decided."""

    op: Literal["asked"]
    step: int


Message = Union[
    AskMessage,
    AskedMessage,
    HeadMessage,
    DeltaMessage,
    StepMessage,
    PartMessage,
    LineMessage,
    CallMessage,
    AgentMessage,
    OutputMessage,
    TextMessage,
    ClearMessage,
    AnswerMessage,
]
