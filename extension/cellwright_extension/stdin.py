"""Ask the person at the notebook for a line, without blocking the loop.

ipykernel's own `raw_input` blocks the loop and does not hear Interrupt. So the request is sent here (Jupyter messaging,
"Messages on the stdin channel") and the socket is looked at from asyncio; an interrupt then takes 0.3 s.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import zmq

POLL_SECONDS = 0.03


def can_ask(kernel: Any) -> bool:
    """True when the front end said that it answers for the cell under way."""
    return bool(getattr(kernel, "_allow_stdin", False))


async def ask(kernel: Any, prompt: str, password: bool = False) -> str:
    """The line that the person types. Raises `EOFError` where they close the box."""
    # What was printed waits up to 0.2 s in ipykernel's stream: a console would ask before it shows what about.
    sys.stdout.flush()
    sys.stderr.flush()
    _purge(kernel.stdin_socket)
    ident = kernel._get_shell_context_var(kernel._shell_parent_ident)
    content = {"prompt": prompt, "password": password}
    kernel.session.send(kernel.stdin_socket, "input_request", content, kernel.get_parent("shell"), ident=ident)
    while True:
        _, reply = kernel.session.recv(kernel.stdin_socket, mode=zmq.NOBLOCK)
        if reply is None:
            await asyncio.sleep(POLL_SECONDS)
            continue
        value = str(reply["content"].get("value", ""))
        if value == "\x04":
            raise EOFError
        return value


def _purge(socket: Any) -> None:
    """Throw away replies that came too late for the request before."""
    while True:
        try:
            socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
