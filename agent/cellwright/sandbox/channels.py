"""Messages of a kernel that may be hostile: read one by one, bounded before they are looked into, never believed.

Code in the sandbox runs in the kernel's process, so it can send whatever it likes, with a valid signature: messages of
100 MB, of a million parts, JSON a thousand levels deep, types and dates that no kernel sends. jupyter_client's own
reader raises a different exception for each, and gives other tasks no turn while messages keep coming.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import SandboxDied, ValueNotTransferable, one_line
from ..outputs import CellOutput, Json
from . import relay

if TYPE_CHECKING:
    import zmq.asyncio
    from jupyter_client.asynchronous.client import AsyncKernelClient
    from jupyter_client.session import Session

MESSAGE_BYTES = 8 << 20
"""A larger part of an output or of a call is not read: ZeroMQ closes the connection for good (`until_closed`)."""
REPLY_BYTES = 32 << 20
"""The same for replies, which bring tables."""
STREAM_BYTES = 1 << 20
"""Of printed text in one message. The bootstrap cell has it sent in pieces of a sixteenth."""
QUEUED = 2
"""Messages that wait unread in the host's memory, each of at most that size; the others wait in the sandbox."""
HEADER_BYTES = 1 << 16
QUICK_BYTES = 1 << 14
"""Content up to this size is cleaned at once."""
SMALL_BYTES = 1 << 20
"""Content up to this size is read whatever it holds."""
WIDE_BYTES = 4 << 20
"""Larger content must be ASCII, as pictures are: one other character makes Python's text four times as big."""
STRUCTURE = 300_000
"""Brackets, commas and colons in larger content: `[[],[],` takes 30 times its size in memory."""

LOOK_SECONDS = 1.0
"""How often a silent channel is looked at without being told to."""

COMMS = {"comm_open", "comm_msg", "comm_close"}

_DELIMITER = b"<IDS|MSG>"


@dataclass(frozen=True, slots=True)
class Message:
    """A message, as far as it is worth believing."""

    kind: str
    parent: str
    """The request that it says it belongs to."""
    content: Mapping[str, Json]
    size: int = 0
    """Bytes of its content."""
    is_too_large: bool = False
    """It was not read; `content` is empty."""
    metadata: Mapping[str, Json] = field(default_factory=dict)
    """Of a comm's message, and so are the buffers."""
    buffers: Sequence[bytes] = ()


def open_channels(client: AsyncKernelClient) -> None:
    """Start a client's channels; no message beyond the limits comes in, and few at once."""
    import zmq

    # A socket takes the context's options when it is made, and a client makes its sockets when they are asked for.
    client.context.setsockopt(zmq.RCVHWM, QUEUED)
    client.context.setsockopt(zmq.MAXMSGSIZE, REPLY_BYTES)
    assert client.shell_channel
    client.context.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES)
    client.start_channels(hb=False)


def send(client: AsyncKernelClient, channel: Any, kind: str, content: Json, buffers: Sequence[bytes] = ()) -> str:
    """Send a message to the kernel; its id.

    Not by `session.send` or the client's own methods: those go around the asyncio socket, and ZeroMQ then forgets to
    say that a message came in meanwhile. It lay there for ever, although the kernel had answered (seen in one of thirty
    interrupts on a busy machine).
    """
    message = client.session.msg(kind, content)
    channel.socket.send_multipart([*client.session.serialize(message), *buffers])
    return str(message["header"]["msg_id"])


async def receive(channel: Any, seconds: float | None = None) -> Message | None:
    """The next message of a jupyter_client channel; None when none came in time, or what came is none."""
    socket = channel.socket
    try:
        # Looked at now and then, too: one missed sign of ZeroMQ's must not be the end of everything.
        if not await socket.poll(int(1000 * (LOOK_SECONDS if seconds is None else seconds))):
            return None
        parts = await socket.recv_multipart()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if socket is channel.socket or (task and task.cancelling()):
            raise
        return None  # `connect_again` has closed this socket
    # While messages wait, neither call suspends: without this, a flood of them stops every other task, timeouts too.
    await asyncio.sleep(0)
    try:
        return read(channel.session, parts)
    except (ValueError, TypeError, KeyError, RecursionError):  # not a Jupyter message, whatever else it is
        return None


def read(session: Session, parts: list[bytes]) -> Message:
    """A message from its parts (Jupyter messaging, "The Wire Protocol").

    Raises `ValueError`, `TypeError`, `KeyError` or `RecursionError` for what is none.
    """
    start = parts.index(_DELIMITER) + 1
    signature, header, parent, metadata, content = parts[start : start + 5]
    if max(len(header), len(parent), len(signature)) > HEADER_BYTES:
        raise ValueError("a header is too long")
    if not hmac.compare_digest(signature, session.sign([header, parent, metadata, content])):
        raise ValueError("the signature is wrong")
    kind, belongs_to = _object(header)["msg_type"], _object(parent).get("msg_id", "")
    if not isinstance(kind, str) or not isinstance(belongs_to, str):
        raise TypeError("an id is no text")
    if (len(content) > STREAM_BYTES and kind == "stream") or not _is_affordable(content):
        return Message(kind, belongs_to, {}, len(content), is_too_large=True)
    if kind in COMMS and len(metadata) <= HEADER_BYTES:
        more = _object(metadata), parts[start + 5 :]
        return Message(kind, belongs_to, _object(content), len(content), False, *more)
    return Message(kind, belongs_to, _object(content), len(content))


async def output(message: Message) -> CellOutput | None:
    """What may be shown of an iopub message. Other tasks go on meanwhile: HTML can keep a parser busy for a second."""
    if message.size < QUICK_BYTES:
        return relay.output(message.kind, message.content)
    return await asyncio.to_thread(relay.output, message.kind, message.content)


async def until_closed(channel: Any) -> None:
    """Wait until ZeroMQ gives a channel's connection up: something too large came, or no ZeroMQ at all.

    It does not connect again by itself, and the channel stays silent.
    """
    import zmq

    socket = channel.socket
    events = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    try:
        await events.recv_multipart()
    finally:
        socket.disable_monitor()


def connect_again(channel: Any, context: zmq.Context[Any]) -> None:
    """Hear a kernel's outputs again, on a new socket. (For replies there is no such way: they are lost.)

    Not by `disconnect` and `connect`: where the first part of a message has been fetched, libzmq then ends the process
    ("Assertion failed: !_more").
    """
    import zmq

    old = channel.socket
    channel.socket = context.socket(zmq.SUB)
    channel.socket.linger = 0
    channel.socket.subscribe(b"")
    channel.socket.connect(old.last_endpoint.decode())
    old.close(linger=0)


async def keep_hearing(client: AsyncKernelClient, on_loss: Callable[[], None]) -> None:
    """Hear outputs again whenever one was too large to be read; `on_loss` is called each time."""
    while True:
        await until_closed(client.iopub_channel)
        connect_again(client.iopub_channel, client.context)
        on_loss()


async def until_replies_are_lost(client: AsyncKernelClient) -> None:
    """Wait until nothing more can be heard of what the kernel replies or asks."""
    channels = (client.shell_channel, client.stdin_channel)
    waiting = [asyncio.create_task(until_closed(channel)) for channel in channels]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def expression(reply: Mapping[str, Json], name: str) -> Json:
    """The value of a user expression in an `execute_reply`; None when there was none.

    Raises `ValueNotTransferable` when it failed, `SandboxDied` when the reply is none.
    """
    if reply.get("status") != "ok":
        raise SandboxDied(f"it refused a request: {one_line(relay.word(reply.get('evalue')))}")
    with believed():
        result = reply["user_expressions"].get(name)
        if result is None:
            return None
        if result.get("status") == "error":
            raise ValueNotTransferable(one_line(relay.word(result.get("evalue"))))
        return result["data"]["application/json"]


@contextmanager
def believed() -> Iterator[None]:
    """Read something that the kernel says, as if it were what it should be. Raises `SandboxDied` when it is not."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise SandboxDied("it answered a request with something else") from error


def _object(data: bytes) -> dict[str, Json]:
    # `NaN` is no JSON, and whoever reads what we pass on would choke on it.
    found = json.loads(data.decode("utf-8", "replace"), parse_constant=_refuse)
    if not isinstance(found, dict):
        raise TypeError("not an object")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _is_affordable(content: bytes) -> bool:
    if len(content) <= SMALL_BYTES:
        return True
    return (len(content) <= WIDE_BYTES or content.isascii()) and sum(map(content.count, b"[{,:")) <= STRUCTURE
