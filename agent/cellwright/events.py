"""What can happen in a run: the one vocabulary of Cellwright.

The loop emits events; everything else listens. The journal stores them, the view shows them, the exporter writes
them into a notebook, `Run` is their fold. An event is frozen, knows its place in the run (`seq`) and its time, and goes
to JSON and back unchanged (`wire.py`). `ReplyDelta` alone is live only: shown, never stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from .facts import FileFacts, SandboxFacts, ToolFacts, ToolUse, Totals, Usage
from .images import Image
from .limits import Limits
from .outputs import CellOutput, Json, MimeBundle

SCHEMA_VERSION = 1
"""Version of this vocabulary; stored with every journal and audit notebook."""


# ---- the events -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events."""

    seq: int = -1
    """Place in the run, from 0; -1 until it is emitted."""
    time: float = 0.0
    """Seconds since 1970-01-01 UTC."""
    is_live: ClassVar[bool] = False
    """True for what is only shown while it happens: it has no place in the run and is never stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A task was given, or a person began to run a cell by hand."""

    run_id: str
    conversation: str
    """Id shared by the runs that one agent does one after another in one sandbox."""
    task: str
    author: Literal["agent", "person"] = "agent"
    """`person`: a cell that somebody ran by hand in the sandbox; its code is the task."""
    context: str = ""
    """What was at hand (files, variables), as the model was told."""
    images: tuple[Image, ...] = ()
    """Shown to the model with the task."""
    model: str = ""
    tools: tuple[ToolFacts, ...] = ()
    limits: Limits = field(default_factory=Limits)
    sandbox: SandboxFacts | None = None
    is_fresh: bool = False
    """True when the model is told nothing of the conversation's earlier runs."""
    state_lost: bool = False
    """True when the sandbox was started anew since the conversation's last run, so that its variables are gone."""
    files: tuple[FileFacts, ...] = ()
    """Files of the person that were copied into the sandbox for this task."""
    origin: str = ""
    """Which folder the task was given in, as a hash: `recall` searches the runs of one folder."""
    parent: str | None = None
    """Run id from which this one branched."""
    parent_step: int | None = None
    """The last step of the parent that still holds; 0 for none."""
    goes_on: bool = False
    """True when the parent's task is gone on with, so that it is not given again."""
    caller: str | None = None
    """Run id of the agent that called this one as a tool."""
    version: str = ""
    """Version of Cellwright."""
    kind: Literal["run_started"] = "run_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuePut(Event):
    """A value was copied into the sandbox before the task."""

    name: str
    form: Literal["json", "table"]
    """`table`: an Arrow IPC stream, base64 encoded."""
    value: Json
    kind: Literal["value_put"] = "value_put"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed(Event):
    """The run goes on after the process that did it was killed; the sandbox was rebuilt from the record."""

    step: int
    """The last one that was begun before."""
    note: str
    """What was rebuilt, and what could not be; the model is told."""
    sandbox: SandboxFacts | None = None
    """The new sandbox."""
    kind: Literal["run_resumed"] = "run_resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyDelta(Event):
    """A piece of the reply, as it arrives. Live only: listeners that store skip it."""

    step: int
    text: str
    kind: Literal["reply_delta"] = "reply_delta"
    is_live: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(Event):
    """The model is told something between two steps."""

    step: int
    """Of the step that follows."""
    text: str
    by: str
    """`person`, or what says so, e.g. `planning`."""
    kind: Literal["told"] = "told"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(Event):
    """The model wrote or revised its plan."""

    step: int
    """Of the step that follows."""
    text: str
    usage: Usage
    cost: float | None
    seconds: float
    kind: Literal["planned"] = "planned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted(Event):
    """Old observations were shortened, because the conversation fills what the model can read."""

    step: int
    kept: int
    """So many of the newest observations stayed whole."""
    characters: int
    """So many characters were left out."""
    kind: Literal["compacted"] = "compacted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nested(Event):
    """An agent that was called as a tool reports; its run is on record as a run of its own."""

    step: int
    agent: str
    event: Event
    run_id: str = ""
    """Of the agent's run: tells calls at the same time apart."""
    is_live: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyReceived(Event):
    """The model's reply is complete, or was cut at the end of its first action."""

    step: int
    """From 1."""
    text: str
    usage: Usage
    cost: float | None
    """US dollars; None when the price is unknown."""
    seconds: float
    first_token_seconds: float | None = None
    model: str = ""
    """The provider's own id of the model that answered."""
    cut: bool = False
    """True when the stream was closed by us, before the model had ended."""
    reasoning: str = ""
    """Reasoning that the provider sent beside the reply; never sent back."""
    parameters: Mapping[str, Json] = field(default_factory=dict)
    calls: tuple[ToolUse, ...] = ()
    """Native function calls."""
    prompt_sha256: str = ""
    """Of the messages sent, as canonical JSON."""
    kind: Literal["reply_received"] = "reply_received"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionProposed(Event):
    """The reply holds code to run."""

    step: int
    thought: str
    """Markdown."""
    code: str
    kind: Literal["action_proposed"] = "action_proposed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionDecided(Event):
    """Whether the code may run, and who said so."""

    step: int
    verdict: Literal["approved", "edited", "denied"]
    by: str
    """`person`, or the name of the policy."""
    code: str
    """What will run: the proposal, or the person's edit."""
    reason: str = ""
    kind: Literal["action_decided"] = "action_decided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output(Event):
    """The running code showed something. Text is coalesced: neighbours of one stream belong together."""

    step: int
    output: CellOutput
    kind: Literal["output"] = "output"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputGiven(Event):
    """The running code asked for a line, and a person typed it."""

    step: int
    prompt: str
    value: str | None
    """None when it was not to be shown (a password), so that it is on no record."""
    kind: Literal["input_given"] = "input_given"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolProgress(Event):
    """A tool that is at work says how far it is; with no text, that it begins."""

    step: int
    name: str
    text: str
    args: tuple[Json, ...] = ()
    kwargs: Mapping[str, Json] = field(default_factory=dict)
    is_live: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalled(Event):
    """Code in the sandbox called a tool of the host, and it answered."""

    step: int
    name: str
    args: tuple[Json, ...]
    kwargs: Mapping[str, Json]
    result: Json = None
    error: str | None = None
    """The message that was raised in the sandbox instead of a result."""
    seconds: float = 0.0
    call_id: str = ""
    """The provider's id of the call, where the model called it by itself."""
    kind: Literal["tool_called"] = "tool_called"


Outcome = Literal["ok", "error", "denied", "timeout", "interrupted", "died"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionFinished(Event):
    """The action is over; what it showed and `note` are the model's next observation."""

    step: int
    outcome: Outcome
    seconds: float
    note: str = ""
    """One line that the model is told beside the output, e.g. why variables are gone."""
    state_lost: bool = False
    """True when the sandbox had to start anew, so that all variables are gone."""
    checkpoint: str | None = None
    kind: Literal["action_finished"] = "action_finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAction(Event):
    """The reply held no code; the model is told so."""

    step: int
    note: str
    kind: Literal["no_action"] = "no_action"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerGiven(Event):
    """`final_answer(...)` was called, or, unconfirmed, the model only said what it thinks."""

    step: int
    data: MimeBundle
    metadata: MimeBundle = field(default_factory=dict)
    value: Json = None
    """The answer as JSON, where it has that form."""
    has_value: bool = False
    """False when the answer lives only in the sandbox and in `data`."""
    type_name: str = ""
    """Type of the value in the sandbox, e.g. `DataFrame`."""
    confirmed: bool = True
    kind: Literal["answer_given"] = "answer_given"


Status = Literal[
    "running", "success", "out_of_steps", "out_of_time", "out_of_tokens", "out_of_money", "interrupted", "failed"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Event):
    """The run is over."""

    status: Status
    reason: str = ""
    """One line, empty on success."""
    totals: Totals = field(default_factory=Totals)
    kind: Literal["run_ended"] = "run_ended"
