"""The live view of a run: a listener that shows events in the notebook as they happen.

`RunView.take` folds each event into a `Run` and tells the page what changed (`messages`). Changes are numbered, only
appended, and gathered to at most fifteen messages a second: a server counts them, and 6,000 single tokens once froze
the page. A page that missed a number, or joins late, gets a snapshot. While the run goes on, `display_view` shows the
widget; `finish` puts the static twin in its place, because a saved widget shows an error when its kernel is gone.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from uuid import uuid4

import anywidget
import traitlets

from cellwright.approval import Question, Said
from cellwright.events import Event, RunEnded
from cellwright.run import Run

from .executed import executed
from .message_types import LineMessage
from .messages import changes, snapshot
from .outbox import Outbox
from .questions import asked, asking
from .tree import Tree
from .view import static_html, static_text
from .wishes import Wish, wish_of

SECONDS_BETWEEN_MESSAGES = 1 / 15
WAYS = ("run", "all", "alike", "edit", "deny")


def _script() -> str:
    """The module, without what only its readers need: it travels with every view."""
    bare = re.sub(r"(?m)^\s*(//.*|/\*\*(.|\n \*)*?\*/)?\n?| // .*", "", _static("run_view.js"))
    return re.sub(r"(?<=[;{,(\[])\n|\n(?=[})\]])", "", bare)  # there a line's end ends nothing


def _style() -> str:
    bare = re.sub(r"(?s)/\*.*?\*/", "", _static("run_view.css"))
    return re.sub(r";?\s*([{}])\s*", r"\1", re.sub(r"([:;,])\s+", r"\1", bare))


def _static(name: str) -> str:
    # As text, not as a path: anywidget would start a thread that watches the file.
    return (files("cellwright_extension") / "static" / name).read_text(encoding="utf-8")


@dataclass(slots=True)
class Posed:
    """A question that the person has not answered yet."""

    number: int
    question: Question
    on_seen: Callable[[], object]
    on_said: Callable[[Said], object]
    is_told: bool = False
    """Whether the page has been sent it."""


class RunView(anywidget.AnyWidget):
    """One run, live. `on_stop` is called when the person presses Stop, `on_wish` for what else they ask for.

    Both may come in any thread: with ipykernel 7.4 it is the kernel's main thread, with 7.1 a subshell's. So they
    should do no more than `loop.call_soon_threadsafe(...)`. `take` belongs to the thread of the run's event loop.
    on_seen: called when a page shows it. can: what the page offers to ask for; see `wishes.offered`.
    run: one that has ended, to be shown as it is.
    """

    _esm = _script()
    _css = _style()
    # What a page that opens later (or is reloaded) starts from: made at the moment when it is asked for.
    start = traitlets.Any().tag(sync=True, to_json=lambda _value, view: view._snapshot())

    can = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        on_stop: Callable[[], None] | None = None,
        on_wish: Callable[[Wish], object] | None = None,
        *,
        on_seen: Callable[[], None] = lambda: None,
        can: Mapping[str, str] | None = None,
        run: Run | None = None,
    ) -> None:
        self._tree = Tree(run)
        self.run = self._tree.run
        self._on_stop, self._on_wish, self._on_seen = on_stop, on_wish, on_seen
        self._outbox = Outbox()
        self._number = 0
        self._sent_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._questions = 0
        self._posed: Posed | None = None
        # A snapshot may be asked for in another thread than the run's.
        self._lock = threading.RLock()
        super().__init__(can=dict(can or {}))
        self.on_msg(self._receive)

    def take(self, event: Event) -> None:
        """Show what `event` changed. Never waits; takes `ReplyDelta` too."""
        with self._lock:
            self._tree.add(event)
            for message in changes(self._tree, event):
                self._outbox.put(message)
            self._tell_question()
        wait = self._sent_at + SECONDS_BETWEEN_MESSAGES - time.monotonic()
        if wait <= 0 or isinstance(event, RunEnded):
            self._flush()
        elif self._outbox and self._timer is None:
            self._flush_after(wait)

    def pose(
        self, question: Question, on_seen: Callable[[], object], on_said: Callable[[Said], object]
    ) -> Callable[[], None]:
        """Show a question until what is returned is called; `on_seen`, `on_said` may be called in any thread."""
        with self._lock:
            self._questions += 1
            self._posed = posed = Posed(self._questions, question, on_seen, on_said)
            self._tell_question()
        self._flush()

        def take_away() -> None:
            with self._lock:
                self._posed = None
                for message in asked(self._tree, question) if posed.is_told else ():
                    self._outbox.put(message)
            self._flush()

        return take_away

    def note(self, step: int, text: str) -> None:
        """Say something below a step."""
        with self._lock:
            self._outbox.put(LineMessage(op="line", step=step, part="notes", text=text))
        self._flush()

    def _tell_question(self) -> None:
        posed = self._posed
        if posed and not posed.is_told:
            for message in asking(self._tree, posed.question, posed.number):
                self._outbox.put(message)
                posed.is_told = True

    def _flush_after(self, seconds: float) -> None:
        try:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._flush)
        except RuntimeError:
            return  # without a loop (a run played from the journal) the next event, or the last, flushes

    def _flush(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        with self._lock:
            self._send_queue()

    def _send_queue(self) -> None:
        if self._outbox:
            self._number += 1
            self._sent_at = time.monotonic()
            self.send({"number": self._number, "changes": self._outbox.take_all()})

    def _snapshot(self) -> dict[str, Any]:
        with self._lock:
            # What is queued is in the run already. Sent first, it has a number, and no page shows it twice.
            self._send_queue()
            told = list(snapshot(self._tree))
            if posed := self._posed:
                told += asking(self._tree, posed.question, posed.number)
            return {"number": self._number, "snapshot": told}

    def _receive(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        posed = self._posed
        match content:
            case {"op": "stop"} if self._on_stop:
                self._on_stop()
            case {"op": "seen", "id": number} if posed and posed.number == number:
                posed.on_seen()
            case {"op": "said", "id": number, "what": what} if posed and posed.number == number and what in WAYS:
                posed.on_said(Said(what, str(content.get("text", ""))))
            case {"op": "sync"}:
                self._on_seen()
                self.send(self._snapshot())
            case _ if self._on_wish and (wish := wish_of(content)):
                self._on_wish(wish)

    def _repr_mimebundle_(self, **_kwargs: object) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget, and beside it the static forms for front ends that have no widgets."""
        data, metadata = super()._repr_mimebundle_() or ({}, {})
        return data | static_bundle(self.run), metadata


@dataclass(frozen=True, slots=True)
class Shown:
    """Where a view stands in the notebook."""

    display_id: str


def static_bundle(run: Run, *, with_answer: bool = True) -> dict[str, str]:
    """The run as a mime bundle that lasts."""
    return {
        "text/html": static_html(run, with_answer=with_answer),
        "text/plain": static_text(run, with_answer=with_answer),
    }


def display_view(view: RunView) -> Shown:
    """Show `view` in the running cell."""
    from IPython.display import display

    shown = Shown(uuid4().hex)
    display(view, display_id=shown.display_id)
    return shown


def finish(shown: Shown, run: Run, *, with_answer: bool = True) -> None:
    """Put the static twin in the place of the live view; without the answer where the cell shows it anyway.

    The widget is not closed: when the page was reloaded in mid-run this update is lost, and then the open model still
    shows the finished run.
    """
    from IPython.display import publish_display_data

    data = static_bundle(run, with_answer=with_answer)
    # With the answer, which is the cell's result, goes the code that was executed; without one it goes along here.
    metadata = {} if run.status == "success" else executed(run)
    publish_display_data(data, metadata, transient={"display_id": shown.display_id}, update=True)


@dataclass(frozen=True, slots=True)
class Static:
    """A finished run, shown without a widget."""

    run: Run

    def __repr__(self) -> str:
        return static_text(self.run)

    def _repr_html_(self) -> str:
        return static_html(self.run)
