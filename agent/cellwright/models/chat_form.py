"""Messages and streams as chat providers write them (OpenAI, "Chat completions"); litellm speaks it for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..facts import ToolUse
from .base import Message, Reasoning, ReplyPart, Text


def as_dicts(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages as OpenAI's protocol writes them."""
    return [_as_dict(message) for message in messages]


def _as_dict(message: Message) -> dict[str, Any]:
    """The message as OpenAI's protocol writes it ("Chat completions"); litellm turns it into other providers' forms."""
    said: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        said["content"] = message.content or None
        said["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
            for call in message.calls
        ]
    if message.role == "tool":
        said["tool_call_id"] = message.call_id
    return said


class CallPieces:
    """Function calls, put together from the pieces in which providers stream them."""

    def __init__(self) -> None:
        self._written: dict[int, list[str]] = {}

    def take(self, chunk: Any) -> None:
        """Take the pieces that a chunk holds."""
        delta = chunk.choices[0].delta if chunk.choices else None
        for position, piece in enumerate(getattr(delta, "tool_calls", None) or ()):
            index = position if getattr(piece, "index", None) is None else piece.index
            call = self._written.setdefault(index, ["", "", ""])
            call[0] = call[0] or piece.id or ""
            call[1] += piece.function.name or ""
            call[2] += piece.function.arguments or ""

    def whole(self) -> list[ToolUse]:
        """The calls, in order; one without an id gets one, because its answer must name it."""
        found = (self._written[index] for index in sorted(self._written))
        return [ToolUse(call[0] or f"call_{n}", call[1], call[2]) for n, call in enumerate(found) if call[1]]


def parts_of(chunk: Any) -> list[ReplyPart]:
    """The pieces that one chunk of a stream holds."""
    if not chunk.choices:
        return []
    delta = chunk.choices[0].delta
    parts: list[ReplyPart] = []
    if reasoning := getattr(delta, "reasoning_content", None):
        parts.append(Reasoning(reasoning))
    if text := getattr(delta, "content", None):
        parts.append(Text(text))
    return parts
