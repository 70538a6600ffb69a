"""What events carry: tokens and money spent, tools as the model saw them, the place where code runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .outputs import Json


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one reply or of many."""

    prompt: int = 0
    """Tokens sent, cached ones included."""
    completion: int = 0
    """Tokens written, reasoning included."""
    cached: int = 0
    """Of `prompt`: read from the provider's cache."""
    reasoning: int = 0
    """Of `completion`: reasoning that is not shown."""
    estimated: bool = False
    """Counted by us, because the stream was cut before the provider said."""

    @property
    def total(self) -> int:
        return self.prompt + self.completion

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt + other.prompt,
            self.completion + other.completion,
            self.cached + other.cached,
            self.reasoning + other.reasoning,
            self.estimated or other.estimated,
        )


@dataclass(frozen=True, slots=True)
class Totals:
    """What a run has spent."""

    steps: int = 0
    seconds: float = 0.0
    usage: Usage = Usage()
    cost: float = 0.0
    """US dollars, of the replies whose price is known."""
    cost_known: bool = True
    """False when at least one reply has no known price."""

    def with_reply(self, usage: Usage, cost: float | None) -> Totals:
        """These and one reply more; `cost` in US dollars, None when its price is unknown."""
        known = self.cost_known and cost is not None
        return replace(self, usage=self.usage + usage, cost=self.cost + (cost or 0.0), cost_known=known)


@dataclass(frozen=True, slots=True)
class ToolFacts:
    """A tool as the model saw it."""

    name: str
    description: str
    parameters: Json
    """JSON schema of the arguments."""
    signature: str
    """The Python signature, e.g. `search(query: str, limit: int = 10) -> list[str]`."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A function call as the model wrote it."""

    id: str
    """The provider's id of the call; empty for a call that was written as text."""
    name: str
    arguments: str
    """A JSON object, as it was written."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file as it was when it was handed over."""

    name: str
    """Relative to the workspace."""
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True, slots=True)
class SandboxFacts:
    """Where code runs."""

    kind: str
    """Class of sandbox, e.g. `child-kernel`."""
    isolation: str
    """`bwrap`, `landlock`, or `process`, which means: not isolated."""
    network: str
    """`host` or `none`."""
    kernel_name: str
    python: str
    workspace: str
    """The folder in which code starts, relative to the current one, or its last two parts."""
    note: str = ""
    """Why the isolation is not a stronger one, and what does not work under it; one line."""
    instance: int = 1
    """How many processes this sandbox has had; a new number says that all variables were lost."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Name -> version of the packages that matter for the result."""
