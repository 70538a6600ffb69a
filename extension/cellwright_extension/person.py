"""Asks the person at the notebook whether an action may run: in the view, or by a line where no click can arrive.

The page says that it shows the question; only then can a click arrive. Where it does not say so in a short time
(a console, nbclient, a front end that delivers clicks after the cell), the question is also asked by a line, as
`input()` would be, and whichever is answered first holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from cellwright.approval import Question, Said
from cellwright.approval_prompt import ask_by_line

if TYPE_CHECKING:
    from .widget import RunView

SEEN_SECONDS = 2.0
"""So long the page may take to say that it shows the question; a view that did not is not waited for again."""


class Person:
    """The person at the notebook.

    ask: asks for a line, given a prompt and whether to hide what is typed; None where nobody types.
    """

    def __init__(self, ask: Callable[[str, bool], Awaitable[str]] | None = None) -> None:
        self.view: RunView | None = None
        """Of the run that is going on."""
        self._ask = ask
        self._without_page: RunView | None = None

    async def __call__(self, question: Question) -> Said:
        """What they say. Raises `EOFError` where nobody answers."""
        view, loop = self.view, asyncio.get_running_loop()
        if view is None:
            return await self._by_line(question)
        clicked: asyncio.Future[Said] = loop.create_future()
        seen = asyncio.Event()

        def said(answer: Said) -> None:
            if not clicked.done():
                clicked.set_result(answer)

        # The page's word may come in another thread (ipykernel 7.1: a subshell's).
        taken = view.pose(
            question, lambda: loop.call_soon_threadsafe(seen.set), lambda word: loop.call_soon_threadsafe(said, word)
        )
        try:
            if await self._is_seen(view, seen):
                return await clicked
            return await self._either(question, clicked, seen)
        finally:
            taken()

    async def _is_seen(self, view: RunView, seen: asyncio.Event) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(seen.wait(), 0.05 if self._without_page is view else SEEN_SECONDS)
        self._without_page = None if seen.is_set() else view
        return seen.is_set()

    async def _either(self, question: Question, clicked: asyncio.Future[Said], seen: asyncio.Event) -> Said:
        typed = asyncio.create_task(self._by_line(question))
        try:
            await asyncio.wait({clicked, typed}, return_when=asyncio.FIRST_COMPLETED)
            if clicked.done() or (seen.is_set() and typed.exception()):
                return await clicked
            return typed.result()
        finally:
            typed.cancel()
            await asyncio.wait({typed})

    async def _by_line(self, question: Question) -> Said:
        if self._ask is None:
            raise EOFError
        ask = self._ask
        return await ask_by_line(question, lambda prompt: ask(prompt, False), print)
