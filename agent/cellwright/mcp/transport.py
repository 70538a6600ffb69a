"""The SDK's part: a client for a server that we start or reach, and its errors in plain words.

A server that we start writes its last words to stderr, which nobody else reads; and it may close its end at any time,
which the SDK tells only to those whose call is under way. Both are listened to here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import one_line
from .settings import ServerSettings

if TYPE_CHECKING:
    from mcp.client import Client
    from mcp_types import Tool as Offer

_PAGES = 100


@asynccontextmanager
async def client_of(
    settings: ServerSettings, ended: asyncio.Event, heard: Any, keep: Callable[[bytes], None]
) -> AsyncGenerator[Client]:
    """A client that has shaken hands. ended: set when the server closes its end."""
    from mcp.client import Client
    from mcp_types import Implementation

    from .. import __version__

    about = Implementation(name="cellwright", version=__version__)
    transport = _watched(_streams(settings, keep), ended)
    async with Client(transport, message_handler=heard, client_info=about, cache=None) as client:
        yield client


def import_sdk() -> None:
    """Import what takes seconds, in a thread. Raises `ImportError`."""
    import jsonschema  # noqa: F401 - the SDK imports it in the middle of the first call
    import mcp.client  # noqa: F401

    # The SDK logs what goes wrong; without a handler Python would print that into the notebook.
    logger = logging.getLogger("mcp")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


@asynccontextmanager
async def _streams(settings: ServerSettings, keep: Callable[[bytes], None]) -> AsyncGenerator[Any]:
    if settings.url:
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        async def answered(response: httpx2.Response) -> None:
            # The SDK does not tell a refusal from a page that is no MCP server.
            if response.status_code in (401, 403) or response.status_code >= 500:
                keep(f"{response.status_code} {response.reason_phrase}\n".encode())

        # A stream may be silent for long; each call has a limit of its own.
        patience, hooks = httpx2.Timeout(30.0, read=None), {"response": [answered]}
        async with (
            httpx2.AsyncClient(headers=dict(settings.headers), timeout=patience, event_hooks=hooks) as http,
            streamable_http_client(settings.url, http_client=http) as streams,
        ):
            yield streams
        return
    from mcp.client.stdio import StdioServerParameters, stdio_client

    # The SDK adds HOME, PATH and the like to `env`, and nothing else of ours.
    server = StdioServerParameters(
        command=_program(settings.command), args=list(settings.args), env=dict(settings.env), cwd=settings.cwd
    )
    with await _pipe(keep) as stderr:
        async with stdio_client(server, stderr) as streams:
            yield streams


def _program(command: str) -> str:
    """`command`, or the program of that name beside this Python: pip puts it there, PATH may not lead there."""
    if shutil.which(command):
        return command
    return shutil.which(command, path=str(Path(sys.executable).parent)) or command


async def _pipe(keep: Callable[[bytes], None]) -> Any:
    """A file to write to; `keep` gets what is written."""

    class Reading(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            keep(data)

    reading, writing = os.pipe()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(Reading, os.fdopen(reading, "rb", 0))

    @contextlib.contextmanager
    def opened() -> Iterator[Any]:
        try:
            with os.fdopen(writing, "w", encoding="utf-8") as file:
                yield file
        finally:
            transport.close()

    return opened()


@asynccontextmanager
async def _watched(streams: Any, ended: asyncio.Event) -> AsyncGenerator[Any]:
    """The streams of a transport; `ended` is set when nothing more can come."""
    async with streams as (reading, writing):
        yield _Watched(reading, ended), writing


class _Watched:
    """A stream to read from that says when it is over: the SDK tells only those whose call is under way."""

    def __init__(self, stream: Any, ended: asyncio.Event) -> None:
        self._stream, self._ended = stream, ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> _Watched:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream.__anext__()
        except StopAsyncIteration:
            self._ended.set()
            raise

    async def __aenter__(self) -> _Watched:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> Any:
        return await self._stream.__aexit__(*exc)


async def offers_of(client: Client) -> tuple[Offer, ...]:
    """All tools of the server, page by page."""
    found: list[Offer] = []
    cursor: str | None = None
    if client.server_capabilities.tools is None:
        return ()
    for _ in range(_PAGES):
        page = await client.list_tools(cursor=cursor, cache_mode="refresh")
        found += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return tuple(found)


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def is_refused(error: BaseException) -> bool:
    """True when nothing was sent, because nobody listens there."""
    import httpx2

    return isinstance(_leaf(error), httpx2.ConnectError | httpx2.ConnectTimeout)


def worded(error: BaseException, settings: ServerSettings) -> str:
    """Why the session ended or could not begin, in one line."""
    error = _leaf(error)
    from mcp.shared.exceptions import MCPError

    if isinstance(error, FileNotFoundError) and not settings.url:
        missing = settings.cwd if settings.cwd and not settings.cwd.is_dir() else settings.command
        return f"there is no {'folder' if missing is settings.cwd else 'command'} {str(missing)!r}"
    if isinstance(error, MCPError) and error.message == "Connection closed":
        return "it ended before it had answered"
    if isinstance(error, MCPError) and settings.url:
        return f"it is no MCP server, or it refuses us ({one_line(error.message)})"
    if is_refused(error):
        return f"nothing answers there ({one_line(str(error))})"
    return one_line(f"{type(error).__name__}: {error}".removesuffix(": "))
