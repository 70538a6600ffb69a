"""A model with a script that goes on from what it sees was done: for runs that are killed, and resumed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from cellwright import ScriptedModel
from cellwright.models.base import Message, ReplyPart, Sampling


class Sensible(ScriptedModel):
    """Goes on with its script from what it sees was done; what was cut off it writes again."""

    requests = 0
    """How often it was asked."""

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[ReplyPart]:
        """The next reply of the script."""
        self.requests += 1
        written = sum(message.role == "assistant" for message in messages)
        lost = sum("not repeated by itself" in message.content for message in messages)
        self.asked = [()] * (written - lost)
        async with aclosing(super().stream(messages, sampling)) as parts:
            async for part in parts:
                yield part
