"""A web server on loopback for the toolbox: real HTTP (or HTTPS), scripted per path.

    async with WebServer({"/": page("<h1>Hello</h1>")}) as server:
        await fetch(server.url("/"), ...)

A page is a `Reply`, or a function of the request. `hosts`: addresses to listen on; all of 127.0.0.0/8 is loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True)
class Request:
    """What was asked, and at which of the server's addresses."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    address: str


@dataclass(frozen=True)
class Reply:
    """A reply; `seconds` of silence before its body, `drip`: seconds between its bytes."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    drip: float = 0.0


def page(text: str, kind: str = "text/html; charset=utf-8", **headers: str) -> Reply:
    """A reply of text."""
    return Reply(text.encode(), headers={"Content-Type": kind, **headers})


def redirect(to: str) -> Reply:
    """A reply that leads elsewhere."""
    return Reply(status=302, headers={"Location": to})


class WebServer:
    """Answers by path, 404 otherwise; `requests` holds what it was asked."""

    def __init__(
        self,
        pages: Mapping[str, Reply | Callable[[Request], Reply]],
        *,
        hosts: Sequence[str] = ("127.0.0.1",),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.pages = dict(pages)
        self.requests: list[Request] = []
        self._hosts, self._tls = hosts, tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        first = await asyncio.start_server(self._accept, self._hosts[0], 0, ssl=self._tls)
        self.port: int = first.sockets[0].getsockname()[1]
        others = [await asyncio.start_server(self._accept, host, self.port, ssl=self._tls) for host in self._hosts[1:]]
        self._servers = [first, *others]
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, path: str, host: str | None = None) -> str:
        """The address of a page."""
        return f"{'https' if self._tls else 'http'}://{host or self._hosts[0]}:{self.port}{path}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        # The client may go away, or the test may be over: neither is the server's fault.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            await self._answer(reader, writer)
        self._tasks.discard(task)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        request = Request(method, path, headers, body, writer.get_extra_info("sockname")[0])
        self.requests.append(request)
        found = self.pages.get(path.partition("?")[0], Reply(b"nothing here", 404))
        reply = found(request) if callable(found) else found
        said = {"Content-Length": str(len(reply.body)), "Connection": "close", **reply.headers}
        text = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        writer.write(f"HTTP/1.1 {reply.status} Said\r\n{text}\r\n".encode("latin-1"))
        await writer.drain()
        await asyncio.sleep(reply.seconds)
        for piece in [reply.body[at : at + 1] for at in range(len(reply.body))] if reply.drip else [reply.body]:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(reply.drip)
