"""The steps of a run as lines of text, for a person whose front end neither shows the view nor takes updates.

`jupyter console` is one: it prints once what is displayed, and ignores updates (jupyter_console/ptshell.py,
`handle_iopub`). A run would seem to hang there, and its steps would never be seen. It does not say what it is; but a
page says so when it has the view. Where a person can type and no page says anything, there is a terminal. Headless
runs (nbclient, papermill) can't be typed to: they get the static twin.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from cellwright.events import ActionFinished, Event, NoAction
from cellwright.run import Run

from .tree import Tree
from .view import step_text
from .words import header

PAGE_SECONDS = 3.0
"""So long a page may take to say that it has a session's first view. It takes one, on a busy machine two."""


class Lines:
    """Tells the runs of a session in lines, where there is a terminal.

    can_type: whether a person can type now. show: shows a text.
    """

    def __init__(self, can_type: Callable[[], bool], show: Callable[[str], object] = print) -> None:
        self._can_type = can_type
        self._show = show
        self._has_page = False
        self._is_terminal = False
        self._since = 0.0
        self._run = Run()
        self._told = 0

    def begin(self, run: Run) -> None:
        """Tell of `run`, which is displayed now."""
        self._run, self._told, self._since = run, 0, time.monotonic()

    def seen(self) -> None:
        """A page has the view. May be called in any thread."""
        self._has_page = True

    def take(self, event: Event) -> None:
        """Tell of a step that has ended."""
        if isinstance(event, ActionFinished | NoAction) and self._is_sure():
            self._tell_steps()

    async def end(self) -> None:
        """Tell the rest. Waits, once in a session, until it is known whether there is a page."""
        while self._may_be_terminal() and not self._is_sure():
            await asyncio.sleep(0.05)
        if self._is_sure():
            self._tell_steps()
            head = header(self._run)
            self._show(" · ".join(filter(None, (head.status, head.reason, head.steps, *head.spent))))

    def _may_be_terminal(self) -> bool:
        return self._can_type() and not self._has_page

    def _is_sure(self) -> bool:
        waited = time.monotonic() - self._since >= PAGE_SECONDS
        self._is_terminal = not self._has_page and (self._is_terminal or waited)
        return self._is_terminal and self._may_be_terminal()

    def _tell_steps(self) -> None:
        tree = Tree(self._run)
        for step in tree.run.steps[self._told :]:
            self._show(step_text(tree, step))
        self._told = len(tree.run.steps)
