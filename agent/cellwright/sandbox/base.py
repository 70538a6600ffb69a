"""What the loop asks of a sandbox: run code, show its outputs, call back for tools, stop when told.

A sandbox keeps its state between calls. Nothing that it sends is trusted: what crosses the border is text, JSON, and
mime bundles that went through `relay`. Every implementation passes `tests/sandbox_conformance.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, Union

from ..facts import SandboxFacts, ToolFacts
from ..outputs import CellOutput, Json, MimeBundle


@dataclass(frozen=True, slots=True)
class Call:
    """Code in the sandbox calls a tool of the host."""

    name: str
    args: tuple[Json, ...]
    kwargs: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Returned:
    """The tool's result, JSON."""

    value: Json


@dataclass(frozen=True, slots=True)
class Raised:
    """The tool failed; `message` is raised in the sandbox as `ToolCallError`."""

    message: str


CallResult = Union[Returned, Raised]


@dataclass(frozen=True, slots=True)
class Answer:
    """`final_answer(value)` was called: the value as the sandbox renders it."""

    data: MimeBundle
    metadata: MimeBundle
    value: Json
    has_value: bool
    """False when the value has no JSON form; it lives on in the sandbox as `_answer`."""
    type_name: str

    def as_fields(self) -> dict[str, Any]:
        """Name -> value of each field, not copied."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True, slots=True)
class Finished:
    """The code ran to its end, or to `final_answer`."""

    seconds: float
    answer: Answer | None = None
    payload: Sequence[Mapping[str, Json]] = ()
    """The kernel's payloads (pager, next input), for cells that a person runs."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The code raised; the `Failure` was among the outputs."""

    seconds: float
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The code ran longer than it may and was stopped."""

    seconds: float
    state_lost: bool
    """True when it could only be stopped by ending the sandbox."""


@dataclass(frozen=True, slots=True)
class Died:
    """The sandbox's process ended while the code ran; the next `run` starts a new one."""

    seconds: float
    cause: str
    """One line, e.g. `killed by signal 11 (SIGSEGV)`."""


Execution = Union[Finished, Failed, TimedOut, Died]


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the sandbox, described in a few words."""

    name: str
    type_name: str
    summary: str
    """Shape and columns, length, or value; at most 200 characters."""


@dataclass(frozen=True, slots=True)
class File:
    """A file in the workspace."""

    name: str
    """Relative to the workspace."""
    size: int
    """Bytes."""
    summary: str = ""
    """Columns of a table."""


@dataclass(frozen=True, slots=True)
class AtHand:
    """What the model is told about: the sandbox's variables and the workspace's files."""

    variables: Sequence[Variable] = ()
    files: Sequence[File] = ()


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What the sandbox calls while code runs. Each is awaited before the next output is taken."""

    on_output: Callable[[CellOutput], Coroutine[Any, Any, None]]
    on_call: Callable[[Call], Awaitable[CallResult]]
    on_input: Callable[[str, bool], Awaitable[str]] | None = None
    """Prompt and whether to hide what is typed -> the line. None: `input()` raises in the sandbox."""


class Sandbox(Protocol):
    """A place where code runs and state persists."""

    @property
    def is_running(self) -> bool:
        """True between `start` and `close`, while its process lives."""
        ...

    async def start(self) -> SandboxFacts:
        """Start it if it is not running. Raises `SandboxUnavailable`."""
        ...

    async def run(self, code: str, callbacks: Callbacks, seconds: float | None = None) -> Execution:
        """Run `code`; stop it after `seconds`.

        Cancelling the call interrupts the code, waits briefly until the sandbox is idle, and raises `CancelledError`.
        Starts the sandbox if need be.
        """
        ...

    async def bring(self, files: Sequence[Path], beneath: Path | None = None) -> Sequence[str]:
        """Put the person's files where code can read them; the names under which it finds them.

        beneath: the folder from which they are named, the current one by default. Raises `WorkspaceError`.
        """
        ...

    async def offer(self, tools: Sequence[ToolFacts]) -> None:
        """Make host tools callable from the sandbox's code under their names."""
        ...

    async def put(self, name: str, form: str, value: Json) -> None:
        """Set a variable. `form`: `json`, or `table` (Arrow IPC stream, base64). Raises `ValueNotTransferable`."""
        ...

    async def get(self, name: str) -> tuple[str, Json]:
        """A variable as (form, value), see `put`. Raises `ValueNotTransferable`."""
        ...

    async def render(self, names: Sequence[str]) -> Mapping[str, str]:
        """The values of variables as text for a prompt; unknown names are left out."""
        ...

    async def keep(self, number: int, text: str) -> None:
        """Store the whole text of an observation that the model saw in part, as `_out[number]`."""
        ...

    async def at_hand(self) -> AtHand:
        """Variables and files, bounded."""
        ...

    async def names(self) -> Sequence[str]:
        """The names of its variables, while code runs, too; none where it does not run."""
        ...

    async def complete(self, code: str, cursor: int) -> Mapping[str, Json]:
        """`complete_reply` content for code at a cursor position (Jupyter messaging, "Completion")."""
        ...

    async def inspect(self, code: str, cursor: int, detail: int = 0) -> Mapping[str, Json]:
        """`inspect_reply` content for code at a cursor position (Jupyter messaging, "Introspection")."""
        ...

    def another(self) -> Sandbox:
        """A sandbox like this one, with a state of its own; not started."""
        ...

    async def restart(self) -> SandboxFacts:
        """End it and start a new one; all variables are gone."""
        ...

    async def close(self) -> None:
        """End it. May be called again."""
        ...
