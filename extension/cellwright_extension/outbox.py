"""Messages that wait to be sent to the page: as few as can be, and in an order that shows the same."""

from __future__ import annotations

from .message_types import DeltaMessage, Message, TextMessage

_LASTING = {"head", "agent", "call"}
"""What is said of these replaces what was said of them before."""


class Outbox:
    """What waits. Text is gathered, and what stands no longer is left out."""

    def __init__(self) -> None:
        self._waiting: list[Message] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, message: Message) -> None:
        """Add a message."""
        # Agents that work at the same time interleave: each one's words are joined past those of the others.
        for index in range(len(self._waiting) - 1, -1, -1):
            if both := joined(self._waiting[index], message):
                self._waiting[index] = both
                return
            if not can_pass(message, self._waiting[index]):
                break
        self._waiting.append(message)

    def take_all(self) -> list[Message]:
        """What waited; nothing does any more."""
        taken, self._waiting = self._waiting, []
        return taken


def joined(first: Message, second: Message) -> Message | None:
    """Two messages that follow each other as one, where that is possible."""
    if first.get("run") != second.get("run"):
        return None
    if first["op"] == second["op"] and first["op"] in _LASTING and _place(first) == _place(second):
        return second
    if first["op"] == "delta" and second["op"] == "delta" and first["step"] == second["step"]:
        return DeltaMessage(**{**first, "text": first["text"] + second["text"]})
    if first["op"] == "text" and second["op"] == "text" and _place(first) == _place(second):
        kept = len(first["text"]) - second["drop"]
        text = first["text"][: max(0, kept)] + second["text"]
        return TextMessage(**{**first, "drop": first["drop"] + max(0, -kept), "text": text})
    return None


def can_pass(message: Message, earlier: Message) -> bool:
    """Whether `message` may be told before `earlier`, without any difference on the page."""
    if earlier["op"] == "agent" and earlier["key"] == message.get("run"):
        return False
    return earlier.get("run") != message.get("run") or earlier["op"] == "call" == message["op"]


def _place(message: Message) -> tuple[object, ...]:
    return tuple(message.get(name) for name in ("step", "index", "key"))
