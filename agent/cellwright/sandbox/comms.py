"""Widgets made in a sandbox that is not isolated: what they and their halves in the page tell each other.

A widget is a pair of objects, one in the kernel and one in the page, joined by a comm (Jupyter messaging, "Custom
Messages"). Its half in the page is JavaScript of the kernel's choosing, so an isolated sandbox has no such page: what
it says is dropped, and where the widget would be stands its text. Without isolation, which only the person can choose,
the code could do anything in any case, and a `Page` takes the messages to the front end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..outputs import CellOutput, Display, Json
from . import channels, relay
from .base import Call, Callbacks, CallResult, Raised
from .cell import Cell

if TYPE_CHECKING:
    from .channels import Message
    from .process import KernelProcess

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
HEARD_SECONDS = 10.0
"""How long the page is kept waiting until the sandbox has heard what it said; what is shown later is shown all the
same."""

ON_PAGE: ContextVar[bool] = ContextVar("on_page", default=False)
"""Whether the page shows the output already that is being passed on."""


@dataclass(frozen=True, slots=True)
class CommMessage:
    """What one half of a widget tells the other."""

    kind: str
    """`comm_open`, `comm_msg` or `comm_close`."""
    comm_id: str
    data: Mapping[str, Json]
    metadata: Mapping[str, Json]
    buffers: Sequence[bytes] = ()
    target_name: str = ""
    """Who is to take it in the page; of a `comm_open` only."""


class Page(Protocol):
    """Shows widgets. What the sandbox does for a cell is told in the context in which the cell was run."""

    def heard(self, message: CommMessage) -> None:
        """A widget in the sandbox says something to its half in the page."""
        ...

    def takes(self, output: CellOutput, view: Json) -> bool:
        """Show an output, if it is a widget's (`view` names it), or goes into one; whether it was shown."""
        ...

    def show(self, output: CellOutput) -> None:
        """Show an output of code that no cell runs: what a widget calls when it is used."""
        ...

    def ended(self) -> None:
        """The sandbox's process has ended, and its widgets with it."""
        ...


class Widgets:
    """The widgets of one child kernel.

    cells: the kernel's requests under way. output_bytes: characters of text that a widget may show when it is used.
    """

    def __init__(self, cells: dict[str, Cell], output_bytes: int) -> None:
        self.page: Page | None = None
        self._process: KernelProcess | None = None
        self._cells = cells
        self._output_bytes = output_bytes
        self._context = copy_context()
        self._hearing: set[asyncio.Task[None]] = set()
        self._interrupting: asyncio.Task[None] | None = None

    def begin(self, process: KernelProcess | None) -> None:
        """A kernel has been started. process: one that is not isolated; None: nothing of its widgets passes."""
        self._process = process

    @property
    def allowed(self) -> Page | None:
        """Where widgets are shown; None where they are not."""
        return self.page if self._process else None

    def take(self, output: CellOutput, view: Json) -> bool:
        """Show an output, if it is a widget, or goes into one; `ON_PAGE` then says so to whoever is told of it."""
        page = self.allowed
        is_shown = page is not None and page.takes(output, view)
        ON_PAGE.set(is_shown)
        return is_shown

    async def say(self, message: Message) -> None:
        """Pass on what a widget in the sandbox says."""
        page = self.allowed
        said = comm_message(message) if page else None
        if page is None or said is None:
            return
        if cell := self._cells.get(message.parent):
            await cell.leave_stream()  # what was printed before it is shown before it
            self._context = cell.context
        # A thread may go on after its cell: what it says belongs to the cell that was heard last.
        self._context.copy().run(page.heard, said)

    async def hear(self, message: CommMessage) -> None:
        """Tell the sandbox what a widget's half in the page says; waits until it has heard, but not for ever.

        The page does not send the next change before, so that a slow sandbox is not flooded by a slider.
        """
        page, process = self.allowed, self._process
        if page is None or process is None:
            return
        client = process.client
        content = {"comm_id": message.comm_id, "data": message.data}
        request = channels.send(client, client.shell_channel, message.kind, content, message.buffers)

        async def on_output(output: CellOutput) -> None:
            if not ON_PAGE.get():
                page.show(output)

        cell = Cell(request, "", Callbacks(on_output, _refuse), self._output_bytes, self)
        self._cells[request] = cell
        hearing = asyncio.create_task(self._until_heard(cell))
        self._hearing.add(hearing)  # asyncio itself holds tasks weakly
        hearing.add_done_callback(self._hearing.discard)
        await asyncio.wait({hearing}, timeout=HEARD_SECONDS)

    async def _until_heard(self, cell: Cell) -> None:
        cell.reply.add_done_callback(lambda _: cell.idle.set())  # there is no reply, unless the sandbox has ended
        try:
            await cell.idle.wait()
            await cell.say_what_was_dropped()
        finally:
            self._cells.pop(cell.msg_id, None)

    async def at_rest(self) -> None:
        """Wait until what widgets call has ended, however long that takes. Cancelling it interrupts that, too.

        What is sent now would wait behind it, and the sandbox would be given up for not answering.
        """
        try:
            while self._hearing:
                await asyncio.wait(self._hearing)
        except asyncio.CancelledError:
            self.stop()
            raise

    @property
    def are_at_work(self) -> bool:
        """True while something runs that a widget calls."""
        return bool(self._hearing)

    def stop(self) -> None:
        """Interrupt what a widget calls."""
        if self._process and self._hearing:
            self._interrupting = asyncio.create_task(self._process.interrupt())
        for hearing in self._hearing:  # a sandbox that does not listen is not waited for
            hearing.cancel()

    def end(self) -> None:
        """The sandbox's process has ended."""
        self._process = None
        if self.page:
            self._context.copy().run(self.page.ended)

    def show_answer(self, cell: Cell) -> None:
        """Show the widget that was given as the answer."""
        page = self.allowed
        if page and cell.answer and cell.answer_view:
            cell.context.copy().run(page.takes, Display(cell.answer.data), cell.answer_view)


async def _refuse(call: Call) -> CallResult:
    return Raised("No cell is running, so nothing can be called.")


def comm_message(message: Message) -> CommMessage | None:
    """An iopub message as a widget's; None when it is none that can be passed on."""
    content = message.content
    comm_id, data = relay.word(content.get("comm_id")), content.get("data", {})
    if not comm_id or comm_id != content.get("comm_id") or not isinstance(data, dict):
        return None
    try:
        return CommMessage(
            message.kind,
            comm_id,
            relay.clean_json(data),
            relay.clean_json(dict(message.metadata)),
            message.buffers,
            relay.word(content.get("target_name")),
        )
    except ValueError:  # too deep
        return None


def widget_view(data: Json) -> Json:
    """What names the widget in a mime bundle; None where there is none."""
    view = data.get(WIDGET_VIEW) if isinstance(data, dict) else None
    model_id = relay.word(view.get("model_id")) if isinstance(view, dict) else ""
    return {"version_major": 2, "version_minor": 0, "model_id": model_id} if model_id else None
