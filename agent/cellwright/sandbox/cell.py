"""One request to a kernel while it is under way: who waits for its reply, and what it has shown.

Printed text is gathered for a moment before it is passed on; everything else is passed on as it comes. All of it is
bounded here, whatever the kernel has done about it: what goes beyond is counted, and said when the code has ended.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from ..outputs import CellOutput, Clear, Display, Failure, Json, Stream
from ..terminal import Printed, moves

if TYPE_CHECKING:
    from .base import Answer, Callbacks, CallResult
    from .comms import Widgets

MESSAGES = 5_000
"""Outputs of one action that are passed on."""
RICH_FACTOR = 16
"""Images and tables may have so many times the bytes of text: a plot is worth more than the same bytes of print."""
SLACK = 1_000
"""Characters beyond the limit, for the kernel's own line on what it left out."""
GATHER_SECONDS = 0.2
"""How long text is gathered while more and more of it comes."""
GATHER_CHARACTERS = 1 << 16
"""How much text is gathered at most."""
REDRAW_SECONDS = 0.5
"""How often a progress bar is drawn anew: each time is an event in the journal."""

_CELL_LINE = re.compile(r"Cell In\[(\d+)\], line (\d+)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Cell:
    """One request under way. `output_bytes`: characters of text that it may show."""

    def __init__(
        self, msg_id: str, code: str, callbacks: Callbacks | None, output_bytes: int, widgets: Widgets | None = None
    ) -> None:
        self.msg_id = msg_id
        self.code = code
        self.callbacks = callbacks
        self.widgets = widgets
        self.reply: asyncio.Future[Mapping[str, Json]] = asyncio.get_running_loop().create_future()
        self.idle = asyncio.Event()
        self.answer: Answer | None = None
        self.answer_view: Json = None
        """Names the widget that the answer is."""
        self.answered_or_replied = asyncio.Event()
        self.reply.add_done_callback(lambda _: self.answered_or_replied.set())
        self.pending: Stream | None = None
        self.begun: dict[str, asyncio.Task[CallResult]] = {}
        """Calls that threads have begun and not yet asked for, by ticket."""
        self.started = time.monotonic()
        self.context = copy_context()
        self._clear: Clear | None = None
        """Waits for the next output; when none comes, nothing is cleared."""
        self._stream: Literal["stdout", "stderr"] = "stdout"
        """The stream that `pending` belongs to, and what `_printed` keeps back."""
        self._printed = Printed()
        self._gathering_since = self._told_at = 0.0
        self._text_left = output_bytes + SLACK
        self._read_left = self._rich_left = RICH_FACTOR * output_bytes
        self._messages_left = MESSAGES
        self._text_dropped = 0
        self._outputs_dropped = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    async def take(self, output: CellOutput, view: Json = None) -> None:
        """Pass an output on; neighbouring text is gathered first. `view`: names the widget that it is."""
        if isinstance(output, Stream):
            await self._gather(output)
            return
        await self.leave_stream()
        if isinstance(output, Failure):
            output = replace(output, line=failing_line(output))
        size = _size(output)
        if size > self._rich_left or not self._messages_left:
            self.drop()
            return
        self._rich_left -= size
        self._messages_left -= 1
        await self._pass_on(output, view)

    def drop(self) -> None:
        """Count an output that is not passed on."""
        self._outputs_dropped += 1

    async def _gather(self, output: Stream) -> None:
        if self._text_left <= 0 or not self._messages_left or len(output.text) > self._read_left:
            self._text_dropped += len(output.text)
            return
        self._read_left -= len(output.text)
        if output.name != self._stream:
            await self.leave_stream()
            self._stream = output.name
        if self.pending:
            self.pending = Stream(output.name, self.pending.text + output.text)
        else:
            self.pending = output
            self._gathering_since = time.monotonic()
        is_over = time.monotonic() - self._gathering_since > GATHER_SECONDS
        if is_over or len(self.pending.text) > GATHER_CHARACTERS:
            await self.flush_when_due()

    async def _pass_on(self, output: CellOutput, view: Json = None) -> None:
        """In the context of who asked: the pump's own is the first cell's, and a front end would show it there."""
        if self.callbacks:
            await asyncio.create_task(self._show(output, view, self.callbacks), context=self.context)

    async def _show(self, output: CellOutput, view: Json, callbacks: Callbacks) -> None:
        is_shown = self.widgets is not None and self.widgets.take(output, view)
        if isinstance(output, Clear) and (is_shown or output.wait):
            if not is_shown:  # else an Output widget is emptied, not the cell
                self._clear = output
            return
        if self._clear:
            clear, self._clear = self._clear, None
            await callbacks.on_output(clear)
        await callbacks.on_output(output)

    async def flush_when_due(self) -> None:
        """Pass gathered text on, unless it only draws a line anew that was drawn a moment ago."""
        text = self.pending.text if self.pending else ""
        is_fresh = time.monotonic() - self._told_at < REDRAW_SECONDS
        if not (is_fresh and moves(text) and len(text) < GATHER_CHARACTERS):
            await self.flush()

    async def flush(self) -> None:
        """Pass gathered text on."""
        pending, self.pending = self.pending, None
        if pending:
            self._told_at = time.monotonic()
            await self._tell(self._printed.news(pending.text))

    async def leave_stream(self) -> None:
        """Pass on what is gathered and what was kept back below the cursor: something else comes now."""
        await self.flush()
        await self._tell(self._printed.rest())

    async def _tell(self, text: str) -> None:
        kept = text[: self._text_left] if self._messages_left else ""
        self._text_left -= len(kept)
        self._text_dropped += len(text) - len(kept)
        if kept:
            self._messages_left -= 1
            await self._pass_on(Stream(self._stream, kept))

    async def say_what_was_dropped(self) -> None:
        """Pass on what was kept back, then one line on what was not kept."""
        await self.leave_stream()
        dropped = []
        if self._text_dropped:
            dropped.append(f"{self._text_dropped:,} more characters of output")
        if self._outputs_dropped:
            dropped.append(f"{self._outputs_dropped:,} more outputs")
        if dropped and self.callbacks:
            await self._pass_on(Stream("stderr", f"\n… {' and '.join(dropped)} were not kept.\n"))


def _size(output: CellOutput) -> int:
    """Characters, roughly."""
    if isinstance(output, Display):
        return sum(len(item) if isinstance(item, str) else len(json.dumps(item)) for item in output.data.values())
    if isinstance(output, Failure):
        return len(output.evalue) + sum(map(len, output.traceback))
    return 0


def failing_line(failure: Failure) -> int | None:
    """The line of the failing cell, from 1, as IPython's traceback names it; None where it does not.

    The cell that just ran is the one with the highest number in the traceback.
    """
    found = [(int(n), int(line)) for n, line in _CELL_LINE.findall(_COLOURS.sub("", "\n".join(failure.traceback)))]
    if not found:
        return None
    newest = max(n for n, _ in found)
    return next(line for n, line in reversed(found) if n == newest)
