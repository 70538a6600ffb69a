"""What the loop asks of a model: stream a reply to a list of messages.

A model is anything with a `name` and a `stream`. It yields text as it is written, and ends with one `ReplyEnd`. The
loop may close the stream early (`aclose`); a model must then stop the provider: nobody pays for what is thrown away.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, Protocol, Union

from ..facts import ToolUse, Usage
from ..images import Image
from ..outputs import Json


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the conversation, as chat models take it."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    calls: tuple[ToolUse, ...] = ()
    """Function calls of an assistant's message."""
    call_id: str = ""
    """Of a `tool` message: the call that it answers."""
    images: tuple[Image, ...] = ()
    """Of a user's message: sent with it, once, because it stays where it is."""


def as_hashed(message: Message) -> bytes:
    """The message as it goes into the hash of a request: one line of canonical JSON."""
    said = asdict(message)
    if not message.images:
        del said["images"]  # records that were made before there were images stay valid
    return json.dumps(said, sort_keys=True).encode() + b"\n"


def sha256(messages: Sequence[Message]) -> str:
    """Hash of a request's messages."""
    return hashlib.sha256(b"".join(map(as_hashed, messages))).hexdigest()


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the reply."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of reasoning that the provider sends beside the reply."""

    text: str


@dataclass(frozen=True, slots=True)
class ReplyEnd:
    """The reply is complete."""

    usage: Usage | None = None
    """None when the provider did not say."""
    cost: float | None = None
    """US dollars; None when the price is unknown."""
    model: str = ""
    """The provider's own id of the model that answered."""
    is_truncated: bool = False
    """True when the reply reached its token limit (`finish_reason` is `length`)."""


ReplyPart = Union[Text, Reasoning, ToolUse, ReplyEnd]
"""A `ToolUse` is a native function call, whole; it comes when all of it was written."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a reply is drawn."""

    temperature: float | None = None
    """None leaves the provider's default."""
    max_tokens: int | None = None
    """Tokens of the reply at most."""
    more: Mapping[str, Json] = field(default_factory=dict)
    """Further parameters, passed to the provider as they are."""


class Model(Protocol):
    """A model that streams replies."""

    @property
    def name(self) -> str:
        """The name under which a person chose it, e.g. `anthropic/claude-sonnet-4-5` or `embedded`."""
        ...

    @property
    def examples(self) -> Sequence[Message]:
        """Messages shown between system prompt and first task: for small models, which need to see the form."""
        ...

    def warm_up(self) -> None:
        """Begin what takes seconds (imports, loading weights) in the background. Returns at once; may do nothing."""
        ...

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[ReplyPart]:
        """The reply to `messages`, piece by piece, then one `ReplyEnd`. Raises `ModelError`."""
        ...

    def count(self, messages: Sequence[Message], reply: str) -> tuple[Usage, float | None]:
        """An estimate of tokens and price (US dollars), for a reply whose stream was cut."""
        ...

    async def aclose(self) -> None:
        """Release what the model holds (processes, connections)."""
        ...
