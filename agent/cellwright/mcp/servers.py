"""Several MCP servers side by side: added and removed by name, their tools under names that do not clash."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType

from ..errors import UsageError, nearest
from ..tools import Tool
from .connection import OnProgress
from .server import McpServer, OnNote
from .settings import ServerSettings


class McpServers:
    """The MCP servers of a conversation.

    taken: names that other tools have; a tool of that name gets its server's name as a prefix, and `on_note` is told.
    on_progress: hears how far calls have come.
    """

    def __init__(
        self,
        *,
        taken: Callable[[], Iterable[str]] = tuple,
        on_note: OnNote | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        self._taken = taken
        self._on_note = on_note
        self._on_progress = on_progress
        self._servers: dict[str, McpServer] = {}

    async def add(self, settings: ServerSettings) -> list[Tool]:
        """Connect a server; its tools. Raises `McpUnavailable`, `UsageError` for a name in use."""
        if settings.name in self._servers:
            raise UsageError(
                f"There is an MCP server {settings.name} already; `%agent mcp remove {settings.name}` first."
            )
        server = McpServer(settings, on_note=self._on_note, on_progress=self._on_progress)
        await server.start()
        self._servers[settings.name] = server
        return self.by_server()[settings.name]

    async def add_all(self, several: Iterable[ServerSettings]) -> None:
        """Connect servers at the same time, all or none. Raises as `add` does, for the first that can't be had."""
        several = list(several)
        made = [McpServer(one, on_note=self._on_note, on_progress=self._on_progress) for one in several]
        for one in several:
            if one.name in self._servers:
                raise UsageError(f"There is an MCP server {one.name} already.")
        try:
            results = await asyncio.gather(*(server.start() for server in made), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        except BaseException:  # cancelled, too: all or none; it is raised again
            await asyncio.gather(*(server.aclose() for server in made))
            raise
        self._servers.update({server.name: server for server in made})

    async def remove(self, name: str) -> None:
        """Leave a server; its process has ended when this returns. Raises `UsageError` for an unknown name."""
        if name not in self._servers:
            raise UsageError(f"There is no MCP server {name!r}{nearest(name, self._servers)}")
        await self._servers.pop(name).aclose()

    def by_server(self) -> dict[str, list[Tool]]:
        """The tools of each server as they are now. Who came first keeps the name."""
        found: dict[str, list[Tool]] = {}
        taken = set(self._taken())
        for name, server in self._servers.items():
            found[name] = server.named(taken)
            taken |= {tool.name for tool in found[name]}
        return found

    @property
    def tools(self) -> dict[str, Tool]:
        """All tools by name, as they are now: servers may offer others from one task to the next."""
        return {tool.name: tool for tools in self.by_server().values() for tool in tools}

    def rows(self) -> list[tuple[str, str, str, str]]:
        """(name, command or address, `running` or `ended`, its tools) of each server."""
        return [
            (
                name,
                self._servers[name].settings.place,
                "running" if self._servers[name].is_alive else "ended",
                ", ".join(tool.name for tool in tools),
            )
            for name, tools in self.by_server().items()
        ]

    async def aclose(self) -> None:
        """Leave all servers."""
        servers, self._servers = self._servers, {}
        await asyncio.gather(*(server.aclose() for server in servers.values()))

    async def __aenter__(self) -> McpServers:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
