"""One session with an MCP server, from the handshake until it is left or the server dies.

The SDK's session must be entered and left in one and the same task (its cancel scopes belong to that task), while calls
come from whichever task runs the agent's code, and stop may cancel any of them. So a task of its own holds the session,
ends with it, and cleans up what it leaves behind; each call is a task too, which a stop abandons at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ToolCallError, ToolError, one_line
from ..outputs import Json
from .settings import ServerSettings
from .transport import client_of, import_sdk, is_refused, offers_of, worded

if TYPE_CHECKING:
    from mcp.client import Client
    from mcp_types import CallToolResult
    from mcp_types import Tool as Offer

_CLOSE_SECONDS = 10.0
"""The SDK closes stdin, then sends SIGTERM, then SIGKILL, waiting 2 s each time."""
_ABANDON_SECONDS = 0.2
"""How long a stopped call may take to tell the server so."""
_NEWS_PAUSE_SECONDS = 5.0
_TAIL = 4_000
"""Bytes kept of what a server writes to stderr: its last words say why it died."""


class McpUnavailable(ToolError):
    """An MCP server can't be started or reached."""


class Gone(Exception):
    """The session ended before the call was answered."""

    def __init__(self, why: str, *, was_sent: bool) -> None:
        super().__init__(why)
        self.was_sent = was_sent
        """False when the server can't have begun the call."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call has come, as the server says."""

    server: str
    tool: str
    done: float
    total: float | None = None
    message: str = ""

    @property
    def text(self) -> str:
        """As one says it: `part 3 (3 of 10)`."""
        share = f"{self.done:g}" + (f" of {self.total:g}" if self.total is not None else "")
        return f"{self.message} ({share})" if self.message else share


OnProgress = Callable[[Progress], Awaitable[None] | None]


class Connection:
    """A session with a server. on_change: called when the server says that it offers other tools now."""

    def __init__(self, settings: ServerSettings, on_change: Callable[[], None]) -> None:
        self.settings = settings
        self.offers: tuple[Offer, ...] = ()
        """The tools, as the server describes them."""
        self.why = ""
        """Why the session ended, in one line; empty while it lasts."""
        self._on_change = on_change
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()
        self._calls: set[asyncio.Task[Any]] = set()
        self._refused = False
        self._tail = b""

    @property
    def is_alive(self) -> bool:
        """True from the handshake until the session ends."""
        return self._client is not None

    @property
    def is_over(self) -> bool:
        """True when nothing of it is left: no task, no process."""
        return self._task is not None and self._task.done()

    async def open(self) -> None:
        """Start or reach the server and learn its tools. Raises `McpUnavailable`."""
        try:
            await asyncio.to_thread(import_sdk)
        except ImportError:
            raise McpUnavailable('MCP servers need the package mcp: pip install "cellwright[mcp]"') from None
        ready = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(ready), name=f"mcp {self.settings.name}")
        try:
            async with asyncio.timeout(self.settings.start_seconds):
                await ready
        except TimeoutError:
            await self._end()
            seconds = f"{self.settings.start_seconds:g} s"
            raise McpUnavailable(self._unavailable(f"it did not answer within {seconds}{self._last_words()}")) from None
        except BaseException:  # cancelled, too; it is raised again
            # A stop must not wait for a server that is just being started; the task ends it.
            self._task.cancel()
            raise

    async def close(self) -> None:
        """Leave the session; a server that we started has ended when this returns."""
        self._leave.set()
        if self._task:
            await asyncio.wait({self._task}, timeout=_CLOSE_SECONDS)
            await self._end()

    async def _end(self) -> None:
        assert self._task
        self._task.cancel()
        await asyncio.wait({self._task, *self._calls}, timeout=_CLOSE_SECONDS)

    # ---- the task that holds the session ---------------------------------------------------------------------------

    async def _hold(self, ready: asyncio.Future[None]) -> None:
        """Enter the session, wait until it is to be left or ends by itself, leave it."""
        try:
            ended = asyncio.Event()
            async with client_of(self.settings, ended, self._heard, self._keep_tail) as client:
                self.offers = await offers_of(client)
                self._client = client
                ready.set_result(None)
                watching = self._spawn(self._watch(client))
                try:
                    await _first({self._leave, ended})
                finally:
                    self._client = None
                    watching.cancel()
                    await asyncio.wait({watching})
            self.why = f"it ended{self._last_words()}"
        except Exception as error:  # noqa: BLE001 - SDK, transport and server may raise anything, in groups
            self._refused = is_refused(error)
            self.why = f"{worded(error, self.settings)}{self._last_words()}"
            if not ready.done():
                ready.set_exception(McpUnavailable(self._unavailable(self.why)))
        finally:
            self._client = None
            ready.cancel()

    def _unavailable(self, why: str) -> str:
        return f"MCP server {self.settings.name} ({one_line(self.settings.place, 120)}): {why}."

    async def _heard(self, message: object) -> None:
        from mcp_types import ToolListChangedNotification

        if isinstance(message, ToolListChangedNotification) and self._client:
            self._spawn(self._refresh(self._client))

    async def _watch(self, client: Client) -> None:
        """Since 2026 a client has to ask for news; before that, they come unasked to `_heard`."""
        from mcp.client.subscriptions import SubscriptionLost
        from mcp.shared.exceptions import MCPError
        from mcp_types.version import MODERN_PROTOCOL_VERSIONS

        tools = client.server_capabilities.tools
        if client.protocol_version not in MODERN_PROTOCOL_VERSIONS or not (tools and tools.list_changed):
            return
        with contextlib.suppress(MCPError):
            while True:
                with contextlib.suppress(SubscriptionLost, TimeoutError):
                    async with client.listen(tools_list_changed=True) as news:
                        async for _ in news:
                            await self._refresh(client)
                # Proxies cut streams that last; what happened meanwhile is not told again.
                await asyncio.sleep(_NEWS_PAUSE_SECONDS)
                await self._refresh(client)

    async def _refresh(self, client: Client) -> None:
        from mcp.shared.exceptions import MCPError

        with contextlib.suppress(MCPError):
            before, self.offers = self.offers, await offers_of(client)
            if self.offers != before:
                self._on_change()

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._calls.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._calls.discard(task)
        # Looked at, so that asyncio does not report an error that nobody waits for any more.
        if not task.cancelled():
            task.exception()

    # ---- what a server we started writes to stderr -----------------------------------------------------------------

    def _keep_tail(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-_TAIL:]

    def _last_words(self) -> str:
        lines = [line for line in self._tail.decode("utf-8", "replace").splitlines() if line.strip()]
        return f", saying: {one_line(lines[-1], 200)}" if lines else ""

    # ---- calls -------------------------------------------------------------------------------------------------------

    async def call(self, tool: str, arguments: Mapping[str, Json], on_progress: OnProgress) -> CallToolResult:
        """Call a tool. Raises `Gone` when the session ends meanwhile, `ToolCallError` for a refusal or no answer."""
        from mcp.shared.exceptions import MCPError
        from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT

        client, seconds = self._client, self.settings.call_seconds
        if client is None:
            raise Gone(self.why, was_sent=False)
        work = self._spawn(
            client.call_tool(tool, dict(arguments), seconds, _teller(self.settings.name, tool, on_progress))
        )
        try:
            await asyncio.wait({work})
            if work.cancelled():
                # Not by us: the session took its calls along.
                raise Gone(self.why or "it ended", was_sent=True)
            result: CallToolResult = work.result()
            return result
        except asyncio.CancelledError:
            # Cancelling tells the server to stop; one that does not read any more must not hold the stop up.
            work.cancel()
            await asyncio.wait({work}, timeout=_ABANDON_SECONDS)
            raise
        except MCPError as error:
            if error.code == CONNECTION_CLOSED or error.message == "Session terminated":
                await self._gone()
                raise Gone(
                    self.why or "it ended", was_sent=error.code == CONNECTION_CLOSED and not self._refused
                ) from None
            if error.code == REQUEST_TIMEOUT:
                raise ToolCallError(
                    f"the MCP server {self.settings.name} did not answer within {seconds:g} s."
                ) from None
            raise ToolCallError(one_line(error.message)) from None

    async def _gone(self) -> None:
        """Wait until the session has been left, so that it is known why."""
        assert self._task
        self._leave.set()
        await asyncio.wait({self._task}, timeout=_CLOSE_SECONDS)


async def _first(events: set[asyncio.Event]) -> None:
    waiting = {asyncio.create_task(event.wait()) for event in events}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def _teller(server: str, tool: str, on_progress: OnProgress) -> Any:
    async def tell(done: float, total: float | None, message: str | None) -> None:
        told = on_progress(Progress(server, tool, done, total, message or ""))
        if told is not None:
            await told

    return tell
