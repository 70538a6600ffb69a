"""Runs that are brought back live: the view with its buttons, until the next cell runs.

A widget must not stay in a notebook: without its kernel a saved one shows an error. So where no page shows it in a
moment, and when another cell runs or the kernel ends, the static twin takes its place.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from cellwright.errors import CellwrightError
from cellwright.run import Run

from .wishes import Wish

if TYPE_CHECKING:
    from .widget import RunView, Shown

SEEN_SECONDS = 2.0
"""So long a page may take to show the view."""

Undo = Callable[[Run, int], Awaitable[str]]
"""(run, step) -> what was done."""


class BroughtBack:
    """The views of finished runs that are live now. undo: goes back to after a step."""

    def __init__(self, undo: Undo) -> None:
        self._undo = undo
        self._live: list[tuple[Shown, RunView]] = []
        self._at_work: set[asyncio.Task[None]] = set()

    async def show(self, run: Run, can: Mapping[str, str]) -> None:
        """Show a run in the running cell, live where a page can."""
        from .widget import RunView, display_view, finish

        loop, seen = asyncio.get_running_loop(), threading.Event()

        def wished(wish: Wish) -> None:
            if wish.what == "undo":
                loop.call_soon_threadsafe(self._begin, view, wish)

        view = RunView(on_seen=seen.set, on_wish=wished, can=can, run=run)
        shown = display_view(view)
        if await asyncio.to_thread(seen.wait, SEEN_SECONDS):
            self._live.append((shown, view))
        else:
            finish(shown, run)

    def settle(self) -> None:
        """Put the static twin in the place of every view that is live."""
        while self._live:
            from .widget import finish

            shown, view = self._live.pop()
            finish(shown, view.run)

    def _begin(self, view: RunView, wish: Wish) -> None:
        task = asyncio.get_running_loop().create_task(self._go_back(view, wish))
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)

    async def _go_back(self, view: RunView, wish: Wish) -> None:
        try:
            said = await self._undo(view.run, wish.step)
        except CellwrightError as error:
            said = str(error)  # there is no cell that could show it
        view.note(wish.step, said)
