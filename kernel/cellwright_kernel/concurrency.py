"""Serve clicks and completions while a cell runs.

ipykernel takes one shell message after another, so a click on the view's Stop would wait for the cell that it is to
stop. Here comm messages, and small requests while a cell is under way, are dispatched beside it, each in its own task
and context. They publish busy and idle as the protocol wants: without, ipywidgets' throttle sticks (ipykernel 7.4.0
leaves it out).
"""

from __future__ import annotations

import asyncio
import inspect
from contextvars import copy_context
from typing import Any

COMM = {"comm_open", "comm_msg", "comm_close"}
SMALL = {
    "complete_request",
    "inspect_request",
    "is_complete_request",
    "history_request",
    "kernel_info_request",
    "comm_info_request",
}


class ConcurrentShell:
    """Mixin for an ipykernel kernel."""

    async def shell_channel_thread_main(self: Any, msg: Any) -> None:
        """Runs in the "shell channel" thread: JupyterLab sends comms to a subshell; they belong to the main loop."""
        if self._type_of(msg) in COMM:
            manager = self.shell_channel_thread.manager
            manager.get_shell_channel_to_subshell_socket(None).send_multipart(msg, copy=False)
            return
        await super().shell_channel_thread_main(msg)  # type: ignore[misc]

    async def shell_main(self: Any, subshell_id: str | None, msg: Any) -> None:
        """Take a message: beside the running cell where that is possible, else after it."""
        if subshell_id is None:
            kind = self._type_of(msg)
            if kind in COMM or (kind in SMALL and self._main_asyncio_lock.locked()):
                await asyncio.create_task(self._dispatch_beside(msg), context=copy_context())
                return
        await super().shell_main(subshell_id, msg)  # type: ignore[misc]

    def _type_of(self: Any, msg: Any) -> str:
        try:
            _, frames = self.session.feed_identities(msg, copy=False)
            # content=False: the signature is not stored, or the real reading would take it for a replay.
            return str(self.session.deserialize(frames, content=False, copy=False)["header"].get("msg_type"))
        except (ValueError, TypeError, KeyError, IndexError):  # malformed: the stock dispatcher says so
            return ""

    async def _dispatch_beside(self: Any, msg: Any) -> None:
        idents, frames = self.session.feed_identities(msg, copy=False)
        message = self.session.deserialize(frames, content=True, copy=False)
        saved = self._shell_context  # what foreign threads fall back on: it stays the running cell's
        self._publish_status("busy", "shell", parent=message)
        try:
            self._shell_parent.set(message)
            self._shell_parent_ident.set(idents)
            stream = self.shell_channel_thread.manager.get_subshell_to_shell_channel_socket(None)
            result = self.shell_handlers[message["header"]["msg_type"]](stream, idents, message)
            if inspect.isawaitable(result):
                await result
        except Exception:  # the kernel's boundary: a handler's fault must not end the kernel
            self.log.error("Exception in %s", message["header"].get("msg_type"), exc_info=True)
        finally:
            self._shell_context = saved
            self._publish_status("idle", "shell", parent=message)
            if self._main_asyncio_lock.locked():  # the front end would show the kernel as idle while its cell runs
                self._publish_status("busy", "shell", parent=saved.get(self._shell_parent))
