"""One request to a kernel while it is under way: who waits for its reply, and what it has shown.

Printed text is gathered for a moment before it is passed on, and bounded; everything else is passed on as it comes.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING

from ..outputs import CellOutput, Failure, Json, Stream

if TYPE_CHECKING:
    from .base import Answer, Callbacks

_CELL_LINE = re.compile(r"Cell In\[(\d+)\], line (\d+)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Cell:
    """One request under way."""

    def __init__(self, msg_id: str, code: str, callbacks: Callbacks | None, output_bytes: int) -> None:
        self.msg_id = msg_id
        self.code = code
        self.callbacks = callbacks
        self.reply: asyncio.Future[Mapping[str, Json]] = asyncio.get_running_loop().create_future()
        self.idle = asyncio.Event()
        self.answer: Answer | None = None
        self.answered_or_replied = asyncio.Event()
        self.reply.add_done_callback(lambda _: self.answered_or_replied.set())
        self.pending: Stream | None = None
        self.bytes_left = output_bytes
        self.bytes_dropped = 0
        self.started = time.monotonic()
        self.context = copy_context()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    async def take(self, output: CellOutput) -> None:
        """Pass an output on; neighbouring text is gathered first."""
        if isinstance(output, Stream):
            output = self._bounded(output)
            if self.pending and self.pending.name == output.name:
                self.pending = Stream(output.name, self.pending.text + output.text)
                return
            await self.flush()
            self.pending = output
            return
        await self.flush()
        if isinstance(output, Failure):
            output = replace(output, line=failing_line(output))
        elif (size := len(json.dumps(getattr(output, "data", None), default=str))) > 16 * self.bytes_left:
            # Images and tables count less than text: a plot is worth more than the same bytes of print.
            self.bytes_dropped += size
            return
        if self.callbacks:
            await self._pass_on(output)

    async def _pass_on(self, output: CellOutput) -> None:
        """In the context of who asked: the pump's own is the first cell's, and a front end would show it there."""
        if self.callbacks:
            await asyncio.create_task(self.callbacks.on_output(output), context=self.context)

    def _bounded(self, output: Stream) -> Stream:
        kept = output.text[: self.bytes_left]
        self.bytes_left -= len(kept)
        self.bytes_dropped += len(output.text) - len(kept)
        return Stream(output.name, kept)

    async def flush(self) -> None:
        """Pass gathered text on."""
        if (pending := self.pending) and pending.text and self.callbacks:
            self.pending = None
            await self._pass_on(pending)
        self.pending = None

    async def say_what_was_dropped(self) -> None:
        if self.bytes_dropped and self.callbacks:
            note = f"\n… {self.bytes_dropped:,} more characters of output were not kept.\n"
            await self._pass_on(Stream("stderr", note))


def failing_line(failure: Failure) -> int | None:
    """The line of the failing cell, from 1, as IPython's traceback names it; None where it does not.

    The cell that just ran is the one with the highest number in the traceback.
    """
    found = [(int(n), int(line)) for n, line in _CELL_LINE.findall(_COLOURS.sub("", "\n".join(failure.traceback)))]
    if not found:
        return None
    newest = max(n for n, _ in found)
    return next(line for n, line in reversed(found) if n == newest)
