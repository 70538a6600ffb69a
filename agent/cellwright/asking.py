"""One reply of the model: heard as it streams in, cut where its first action is complete, counted.

Code after the first action is never paid for, because the stream is closed there; a provider that ends by itself within
a moment is let, since then it says what the reply cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace

from .events import ReplyReceived
from .facts import ToolUse
from .memory import CHARACTERS_PER_TOKEN, Memory
from .models.base import Model, Reasoning, ReplyEnd, ReplyPart, Sampling, Text
from .outputs import Json
from .replies import FenceScanner

CUT_GRACE_SECONDS = 0.25
"""How long the stream may take to end by itself once the action is complete: then the provider says what it cost."""


class StreamedReply:
    """A reply to what `memory` holds, while it streams in and after."""

    def __init__(self, model: Model, memory: Memory, sampling: Sampling, scanner: FenceScanner) -> None:
        self.scanner = scanner
        self.calls: list[ToolUse] = []
        """Native function calls."""
        self.is_over = False
        """True once nothing more is to come."""
        self._model, self._memory, self._sampling = model, memory, sampling
        self._reasoning = ""
        self._end: ReplyEnd | None = None
        self._begun = time.monotonic()
        self._first: float | None = None

    @property
    def is_cut_off(self) -> bool:
        """True when the reply was longer than it may be, and its action was not complete by then."""
        return self._end is not None and self._end.is_truncated and not self.scanner.is_complete

    async def pieces(self, parts: AsyncGenerator[ReplyPart]) -> AsyncGenerator[str]:
        """Its text, until it ends, its first action is complete, or it is twice as long as it may be."""
        longest = (self._sampling.max_tokens or 1 << 20) * 2 * CHARACTERS_PER_TOKEN
        async for part in parts:
            if isinstance(part, ReplyEnd):
                self._end = part
            elif isinstance(part, Reasoning):
                self._reasoning += part.text
            elif isinstance(part, ToolUse):
                self.calls.append(part)
            else:
                self._first = self._first or time.monotonic() - self._begun
                is_complete = self.scanner.feed(part.text)
                yield part.text
                if is_complete:
                    self._end = await _natural_end(parts)
                    break
                if len(self.scanner.text) > longest:
                    self._end = ReplyEnd(is_truncated=True)
                    break
        self.is_over = True

    def received(self, step: int) -> ReplyReceived:
        """What goes on record; tokens that the provider did not tell are counted here."""
        end, text = self._end or ReplyEnd(), self.scanner.text
        usage, cost = end.usage, end.cost
        if usage is None:
            counted, cost = self._model.count(self._memory.messages, text)
            usage = replace(counted, estimated=True)
        return ReplyReceived(
            step=step,
            text=text[: self.scanner.read().end],
            usage=usage,
            cost=cost,
            seconds=time.monotonic() - self._begun,
            first_token_seconds=self._first,
            model=end.model,
            cut=self._end is None or end.usage is None,
            reasoning=self._reasoning,
            parameters=_parameters(self._sampling),
            calls=tuple(self.calls),
            prompt_sha256=self._memory.sha256,
        )


async def _natural_end(parts: AsyncGenerator[ReplyPart]) -> ReplyEnd | None:
    """The reply's own end, when the model had nothing more to say: it tells tokens and price exactly."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CUT_GRACE_SECONDS):
            async for part in parts:
                if isinstance(part, ReplyEnd):
                    return part
                if isinstance(part, Text) and part.text.strip():
                    return None
    return None


def _parameters(sampling: Sampling) -> Mapping[str, Json]:
    known = {"temperature": sampling.temperature, "max_tokens": sampling.max_tokens, **sampling.more}
    return {name: value for name, value in known.items() if value is not None}
