"""A model that says what it is told to say: for tests of the loop, without a model.

    ScriptedModel("I add.\n```python\nfinal_answer(1 + 1)\n```")

Each reply is streamed in pieces, as a real one would be; after the last one the script begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from ..facts import ToolUse, Usage
from .base import Message, ReplyEnd, ReplyPart, Sampling, Text


class ScriptedModel:
    """A model with its replies written down.

    replies: texts, or function calls, in order; then from the beginning again.
    seconds: pause before each piece. piece: characters of a piece.
    """

    name = "scripted"
    examples: Sequence[Message] = ()

    def __init__(self, *replies: str | Sequence[ToolUse], seconds: float = 0.0, piece: int = 40) -> None:
        self.replies = replies
        self.seconds = seconds
        self.piece = piece
        self.asked: list[Sequence[Message]] = []
        """The messages of every request."""
        self.was_cut = 0
        """How many streams were closed before their end."""

    def warm_up(self) -> None:
        """Nothing to do."""

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[ReplyPart]:
        """The next reply of the script."""
        reply = self.replies[len(self.asked) % len(self.replies)]
        self.asked.append(tuple(messages))
        ended = False
        try:
            text = reply if isinstance(reply, str) else ""
            for start in range(0, len(text), self.piece):
                await asyncio.sleep(self.seconds)
                yield Text(text[start : start + self.piece])
            for call in () if isinstance(reply, str) else reply:
                await asyncio.sleep(self.seconds)
                yield call
            ended = True
            usage, cost = self.count(messages, text)
            yield ReplyEnd(usage, cost, self.name)
        finally:
            self.was_cut += not ended

    def count(self, messages: Sequence[Message], reply: str) -> tuple[Usage, float | None]:
        """A token for every four characters, free of charge."""
        return Usage(sum(len(m.content) for m in messages) // 4, len(reply) // 4), 0.0

    async def aclose(self) -> None:
        """Nothing to release."""
