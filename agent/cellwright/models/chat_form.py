"""Messages and streams as chat providers write them (OpenAI, "Chat completions"); litellm speaks it for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from typing import Any

from ..facts import ToolUse
from .base import Message, Reasoning, ReplyPart, Text


def as_dicts(messages: Sequence[Message], blind: str = "") -> list[dict[str, Any]]:
    """The messages as OpenAI's protocol writes them; `blind` names a model that can't see, which is told so."""
    return [_as_dict(message, blind) for message in _all_answered(messages)]


def _all_answered(messages: Sequence[Message]) -> Iterator[Message]:
    """With an answer to every function call: one that was stopped has none, nor has the final answer.

    Providers refuse a conversation in which one is missing.
    """
    for at, message in enumerate(messages, 1):
        yield message
        if message.calls:
            answers = takewhile(lambda later: later.role == "tool", islice(messages, at, None))
            known = {answer.call_id for answer in answers}
            missing = (call for call in message.calls if call.id not in known)
            yield from (Message("tool", "No result.", call_id=call.id) for call in missing)


def _as_dict(message: Message, blind: str) -> dict[str, Any]:
    """The message as OpenAI's protocol writes it ("Chat completions"); litellm turns it into other providers' forms."""
    said: dict[str, Any] = {"role": message.role, "content": message.content}
    if count := len(message.images):
        parts = [{"type": "image_url", "image_url": {"url": image.url}} for image in message.images]
        what = "1 image was" if count == 1 else f"{count} images were"
        text = {"type": "text", "text": message.content}
        said["content"] = f"{message.content}\n({what} left out: {blind} can't see)" if blind else [text, *parts]
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
        self._written: list[list[str]] = []
        self._open: dict[int, list[str]] = {}
        """The provider's index -> the call that is being written there."""

    def take(self, chunk: Any) -> None:
        """Take the pieces that a chunk holds."""
        delta = chunk.choices[0].delta if chunk.choices else None
        for position, piece in enumerate(getattr(delta, "tool_calls", None) or ()):
            index = position if getattr(piece, "index", None) is None else piece.index
            written = getattr(piece, "function", None)
            name, arguments = getattr(written, "name", None) or "", getattr(written, "arguments", None) or ""
            call = self._open.get(index)
            if call is None or _is_another(call, piece.id or "", name):
                call = self._open[index] = ["", "", ""]
                self._written.append(call)
            call[0] = call[0] or piece.id or ""
            call[1] += name
            call[2] += arguments

    def whole(self) -> list[ToolUse]:
        """The calls, in order; one without an id gets one, because its answer must name it."""
        return [ToolUse(call[0] or f"call_{n}", call[1], call[2]) for n, call in enumerate(self._written) if call[1]]


def _is_another(call: Sequence[str], call_id: str, name: str) -> bool:
    """True when a piece begins another call: some providers give each call of a reply the same index."""
    if call_id and call[0]:
        return call_id != call[0]
    return bool(name and call[2])


class Heard:
    """What a stream has said so far beside its text."""

    def __init__(self) -> None:
        self.calls = CallPieces()
        self.usage: Any = None
        """litellm's; None until the provider says."""
        self.model = ""
        """The provider's own id of the model."""
        self.is_finished = self.is_truncated = False

    def take(self, chunk: Any) -> list[ReplyPart]:
        """Take a chunk of the stream; the pieces of the reply that it holds."""
        self.calls.take(chunk)
        self.usage = getattr(chunk, "usage", None) or self.usage
        # litellm puts the name it was asked for in the place of the provider's.
        hidden = getattr(chunk, "_hidden_params", None) or {}
        self.model = str(hidden.get("provider_response_model") or "") or self.model
        if why := chunk.choices[0].finish_reason if chunk.choices else None:
            self.is_finished, self.is_truncated = True, why == "length"
        return parts_of(chunk)


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
