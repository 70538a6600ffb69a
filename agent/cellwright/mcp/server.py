"""An MCP server as tools: connected, called, started anew when it died, told of what it offers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from ..adapters.schema_text import hides_python, identifier
from ..adapters.schema_tool import SchemaTool, Tell
from ..errors import ToolCallError, ToolDefinitionError
from ..outputs import Json
from ..tools import Tool
from .connection import Connection, Gone, McpUnavailable, OnProgress, Progress
from .results import plain, returned_schema
from .settings import ServerSettings

if TYPE_CHECKING:
    from mcp_types import Tool as Offer

OnNote = Callable[[str], None]
"""Gets what a person should know, in one line."""


class McpServer:
    """One MCP server and its tools; `async with`, or `start` and `aclose`.

    A server that died is started anew at the next call, and `on_note` is told; one that dies again before it has
    answered a call stays dead. on_progress: hears how far calls have come. on_change: called when the tools changed.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        on_note: OnNote | None = None,
        on_progress: OnProgress | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self.settings = settings
        self.notes: list[str] = []
        """What a person should know: restarts, tools under other names, tools left out."""
        self.on_progress = on_progress
        self._on_note = on_note
        self._on_change = on_change
        self._connection: Connection | None = None
        self._made: list[Connection] = []
        """Connections that may still hold a process: the one at hand, and any whose start was stopped."""
        self._offers: tuple[Offer, ...] = ()
        self._starting = asyncio.Lock()
        self._deaths = 0
        self._is_closed = True

    async def start(self) -> McpServer:
        """Start or reach it and learn its tools. Raises `McpUnavailable`."""
        self._is_closed, self._deaths = False, 0
        await self._connect()
        return self

    async def aclose(self) -> None:
        """Leave it; a process that was started has ended when this returns. Its tools can't be called any more."""
        self._is_closed = True
        made, self._made, self._connection = self._made, [], None
        await asyncio.gather(*(connection.close() for connection in made))

    async def __aenter__(self) -> McpServer:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def is_alive(self) -> bool:
        """True while it can be called without being started anew."""
        return self._connection is not None and self._connection.is_alive

    @property
    def tools(self) -> list[Tool]:
        """Its tools as they are now."""
        return self.named(())

    def named(self, taken: Iterable[str]) -> list[Tool]:
        """Its tools, under names that are not in `taken` and hide nothing of Python: a prefix is put before others."""
        made: dict[str, Tool] = {}
        for offer in self._offers:
            name = self._free_name(offer.name, {*taken, *made})
            try:
                made[name] = self._tool(offer, name)
            except ToolDefinitionError as error:
                self._say_once(f"MCP server {self.name}: a tool is left out. {error}")
        return list(made.values())

    def _free_name(self, offered: str, taken: Container[str]) -> str:
        name = identifier(offered)
        if name in taken or hides_python(name):
            clashing, name = name, identifier(f"{self.name}_{offered}", taken)
            self._say_once(f"The tool {offered} of the MCP server {self.name} is called {name}: {clashing} is taken.")
        return name

    def _tool(self, offer: Offer, name: str) -> Tool:
        async def send(arguments: dict[str, Json], tell: Tell) -> Json:
            return await self._call(offer, arguments, tell)

        returns = returned_schema(offer.output_schema)
        tool = SchemaTool(name, offer.description or "", offer.input_schema, send, returns=returns)
        tool.risky = _may_destroy(offer)
        return tool

    def _say_once(self, note: str) -> None:
        if note not in self.notes:
            self._say(note)

    def _say(self, note: str) -> None:
        self.notes.append(note)
        if self._on_note:
            self._on_note(note)

    # ---- calls -------------------------------------------------------------------------------------------------------

    async def _call(self, offer: Offer, arguments: dict[str, Json], tell: Tell) -> Json:
        """Call a tool of the server. Raises `ToolCallError`."""

        async def hear(progress: Progress) -> None:
            await tell(progress.text)
            if self.on_progress and (heard := self.on_progress(progress)) is not None:
                await heard

        for _ in range(2):
            connection = await self._living()
            try:
                result = await connection.call(offer.name, arguments, hear)
            except Gone as gone:
                if gone.was_sent:
                    raise ToolCallError(
                        f"the MCP server {self.name} ended during the call: {gone}. The next call starts it anew."
                    ) from None
                continue
            self._deaths = 0
            return plain(result, offer.output_schema)
        raise ToolCallError(f"the MCP server {self.name} ends whenever it is called.")

    async def _living(self) -> Connection:
        """The connection, made anew once if the server died. Raises `ToolCallError`."""
        async with self._starting:
            connection = self._connection
            if connection is None or self._is_closed:
                raise ToolCallError(f"the MCP server {self.name} is not connected any more.")
            if connection.is_alive:
                return connection
            await connection.close()
            why = connection.why
            if self._deaths:
                raise ToolCallError(
                    f"the MCP server {self.name} died again ({why}) and is not started a third time; "
                    f"`%agent mcp add` connects it anew."
                )
            if self.settings.command:
                self._deaths += 1
            try:
                connection = await self._connect()
            except McpUnavailable as error:
                raise ToolCallError(str(error)) from None
            if self.settings.url:
                self._say(f"The connection to the MCP server {self.name} was lost ({why}) and has been made anew.")
            else:
                lost = "what it had in memory is lost"
                self._say(f"The MCP server {self.name} had died ({why}) and was started anew; {lost}.")
            return connection

    async def _connect(self) -> Connection:
        connection = Connection(self.settings, self._changed)
        self._made = [*(made for made in self._made if not made.is_over), connection]
        await connection.open()
        self._connection, self._offers = connection, connection.offers
        return connection

    def _changed(self) -> None:
        if self._connection:
            self._offers = self._connection.offers
        if self._on_change:
            self._on_change()


def _may_destroy(offer: Offer) -> bool:
    """Whether a tool may change what can't be had back: unless its server says that it does not.

    So the protocol has it: `destructiveHint` is true by default, and means nothing for a tool that only reads.
    """
    hints = offer.annotations
    return hints is None or not (hints.read_only_hint or hints.destructive_hint is False)
