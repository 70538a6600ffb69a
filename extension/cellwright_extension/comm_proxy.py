"""Widgets of a sandbox that is not isolated, shown by the notebook's own kernel.

The page talks to one kernel only, the notebook's. So that kernel says what the sandbox's widgets say, as if they were
its own, under the same ids; and what the page tells one of these ids goes on to the sandbox. What a widget shows while
it is used belongs to the page's message that used it, as everywhere in Jupyter.

The kernel also keeps the state of each widget as the page knows it, because a page that is loaded anew asks for all
states at once and does not wait until a busy sandbox answers. An id that the kernel uses itself is never the sandbox's.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cellwright.outputs import CellOutput, Display, Json
from cellwright.sandbox.comms import WIDGET_VIEW, CommMessage, Widgets
from cellwright.secrets import redacted

from .publishing import as_message

CONTROL = "jupyter.widget.control"
"""Where a page that is loaded anew asks for the states of all widgets (ipywidgets, "Messaging protocol")."""


@dataclass(slots=True)
class Half:
    """What the notebook's kernel knows of a widget in the sandbox; stands among its comms, for the page to find."""

    comm_id: str
    target_name: str
    state: dict[str, Json] = field(default_factory=dict)
    buffers: list[tuple[list[Json], bytes]] = field(default_factory=list)
    """Binary parts of the state, and where in it they belong."""
    captures: str = ""
    """Of an `Output` widget: the message of the page whose outputs it takes to itself."""
    _closed: bool = False  # the comm manager's, and what stands below

    @property
    def is_output(self) -> bool:
        """True for an `Output` widget."""
        return self.state.get("_model_name") == "OutputModel"

    def take(self, message: CommMessage) -> None:
        """Learn what the widget says of its state."""
        state = message.data.get("state")
        if not isinstance(state, dict):
            return
        paths = [path for path in message.data.get("buffer_paths") or () if isinstance(path, list) and path]
        new = list(zip(paths, message.buffers, strict=False))
        changed = {*state, *(path[0] for path in paths)}
        self.buffers = [item for item in self.buffers if item[0][0] not in changed] + new
        self.state.update(state)
        for path in paths:
            if len(path) == 1:  # it is bytes from now on, whatever it was before
                self.state.pop(path[0], None)

    def handle_msg(self, msg: Json) -> None:
        """Nothing: `CommProxy` has taken it on its way here."""

    handle_close = handle_msg

    def close(self, **_: Json) -> None:
        """Nothing: the sandbox closes it."""

    def _reply_subshell_for(self, _data: Json, _default: Json) -> None:
        """To the main shell (ipykernel 7): the session's loop runs there."""


class CommProxy:
    """The page of one sandbox (`cellwright.sandbox.comms.Page`), through an ipykernel kernel."""

    def __init__(self, kernel: Any, widgets: Widgets) -> None:
        self._kernel = kernel
        self._widgets = widgets
        self._halves: dict[str, Half] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    # ---- from the sandbox to the page -----------------------------------------------------------------------------

    def heard(self, message: CommMessage) -> None:
        """Tell the page what a widget says."""
        comms = self._kernel.comm_manager.comms
        if message.kind == "comm_open":
            if message.comm_id in comms:  # the kernel's own
                return
            self._begin()
            self._halves[message.comm_id] = comms[message.comm_id] = Half(message.comm_id, message.target_name)
        half = self._halves.get(message.comm_id)
        if half is None:
            return
        half.take(message)
        self._publish(half, self._as_seen_here(half, message))
        if message.kind == "comm_close":
            self._forget(half)

    def _as_seen_here(self, half: Half, message: CommMessage) -> CommMessage:
        """An `Output` widget names the message whose outputs it takes: for the page, it is the one of this cell."""
        state = message.data.get("state")
        if not half.is_output or not isinstance(state, dict) or "msg_id" not in state:
            return message
        half.captures = self._parent_id if state["msg_id"] else ""
        half.state["msg_id"] = half.captures
        return replace(message, data={**message.data, "state": {**state, "msg_id": half.captures}})

    @property
    def _parent_id(self) -> str:
        return str(self._kernel.get_parent("shell").get("header", {}).get("msg_id", ""))

    def takes(self, output: CellOutput, view: Json) -> bool:
        """Show an output, if it is a widget, or goes into an `Output` widget; whether it was shown."""
        parent = self._parent_id
        goes_into_one = any(half.captures == parent for half in self._halves.values() if half.captures)
        if isinstance(output, Display) and view and view["model_id"] in self._halves:
            output = replace(output, data={**output.data, WIDGET_VIEW: view})
        elif not goes_into_one:
            return False
        self._show(output)
        return True

    def show(self, output: CellOutput) -> None:
        """Show what a widget shows when it is used."""
        self._show(output)

    def _show(self, output: CellOutput) -> None:
        sys.stdout.flush()  # what was printed waits up to 0.2 s in ipykernel's stream; the order would be lost
        sys.stderr.flush()
        self._kernel.send_response(self._kernel.iopub_socket, *as_message(redacted(output)))

    def _publish(self, half: Half, message: CommMessage) -> None:
        content: dict[str, Json] = {"comm_id": half.comm_id, "data": redacted(dict(message.data))}
        if message.kind == "comm_open":
            content |= {"target_name": half.target_name, "target_module": None}
        self._kernel.session.send(
            self._kernel.iopub_socket,
            message.kind,
            content,
            metadata=dict(message.metadata),
            parent=self._kernel.get_parent("shell"),
            ident=f"comm-{half.comm_id}".encode(),
            buffers=list(message.buffers),
        )

    def ended(self) -> None:
        """Close all widgets in the page."""
        for half in list(self._halves.values()):
            if half.captures:  # else the page would go on giving it what the cell shows
                half.captures = ""
                data: dict[str, Json] = {"method": "update", "state": {"msg_id": ""}, "buffer_paths": []}
                self._publish(half, CommMessage("comm_msg", half.comm_id, data, {}))
            self._publish(half, CommMessage("comm_close", half.comm_id, {}, {}))
            self._forget(half)

    def _forget(self, half: Half) -> None:
        del self._halves[half.comm_id]
        self._kernel.comm_manager.comms.pop(half.comm_id, None)

    # ---- from the page to the sandbox -----------------------------------------------------------------------------

    def _begin(self) -> None:
        """Stand between the page and the kernel, from the first widget on."""
        if self._loop is not None:
            return
        self._loop = asyncio.get_running_loop()
        handlers = self._kernel.shell_handlers
        for kind in ("comm_msg", "comm_close"):
            handlers[kind] = self._before(handlers[kind])
        import ipywidgets  # noqa: F401 - has the kernel answer for the states of its own widgets

        targets = self._kernel.comm_manager.targets
        answer = targets.get(CONTROL)
        if answer is not None:
            targets[CONTROL] = lambda comm, message: answer(_WithOurs(comm, self._states), message)

    def _before(self, stock: Callable[..., Json]) -> Callable[..., Json]:
        async def handle(stream: Json, ident: Json, message: Json) -> None:
            half = self._halves.get(message["content"].get("comm_id"))
            if half is None:
                done = stock(stream, ident, message)
                if inspect.isawaitable(done):
                    await done
                return
            await self._tell(half, message)
            # ipykernel 7.4 does not say so beside a cell that awaits something; the page would never send again.
            self._kernel._publish_status("idle", "shell", parent=message)

        return handle

    async def _tell(self, half: Half, message: Json) -> None:
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "comm_close":
            self._forget(half)
        buffers = [bytes(part) for part in message.get("buffers") or ()]
        telling = self._widgets.hear(CommMessage(kind, half.comm_id, content.get("data") or {}, {}, buffers))
        if self._loop is None or self._loop is asyncio.get_running_loop():
            await telling
        else:  # ipykernel 7.1: a subshell's thread
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(telling, self._loop))

    # ---- a page that is loaded anew -------------------------------------------------------------------------------

    def _states(self) -> tuple[dict[str, Json], list[list[Json]], list[bytes]]:
        """As ipywidgets answers `request_states`: states by id, paths of binary parts, binary parts."""
        states: dict[str, Json] = {}
        paths: list[list[Json]] = []
        buffers: list[bytes] = []
        for half in list(self._halves.values()):
            if half.target_name != "jupyter.widget":
                continue
            names = ("model_name", "model_module", "model_module_version")
            states[half.comm_id] = {name: half.state.get(f"_{name}") for name in names} | {"state": dict(half.state)}
            paths += [[half.comm_id, "state", *path] for path, _ in half.buffers]
            buffers += [buffer for _, buffer in half.buffers]
        return states, paths, buffers


class _WithOurs:
    """A comm on which the kernel answers with its widgets' states: the sandbox's are added."""

    def __init__(
        self, comm: Any, ours: Callable[[], tuple[Mapping[str, Json], Sequence[list[Json]], Sequence[bytes]]]
    ) -> None:
        self._comm = comm
        self._ours = ours

    def send(self, data: Json = None, metadata: Json = None, buffers: Sequence[bytes] | None = None) -> None:
        """As `comm.base_comm.BaseComm.send`."""
        if isinstance(data, dict) and data.get("method") == "update_states":
            states, paths, more = self._ours()
            data = {
                **data,
                "states": {**redacted(states), **data["states"]},
                "buffer_paths": [*data["buffer_paths"], *paths],
            }
            buffers = [*(buffers or ()), *more]
        self._comm.send(data, metadata, buffers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comm, name)


def page_for(widgets: Widgets) -> CommProxy | None:
    """What shows the widgets of a sandbox; None where no Jupyter kernel runs."""
    from IPython.core.getipython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    return CommProxy(kernel, widgets) if hasattr(kernel, "comm_manager") else None
