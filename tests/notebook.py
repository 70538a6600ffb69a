"""A notebook without a page: a real kernel, and what its channels say, cell by cell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any, Literal

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

MODEL = {"OPENAI_API_KEY": "k", "CELLWRIGHT_MODEL": "openai/x"}
WIDGET = "application/vnd.jupyter.widget-view+json"
SECONDS = 30.0


@dataclass
class Cell:
    """What came of a cell."""

    reply: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    """What it published, status messages included."""

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Contents of the messages of one type."""
        return [message["content"] for message in self.messages if message["msg_type"] == kind]

    @property
    def text(self) -> str:
        """What it printed."""
        return "".join(content["text"] for content in self.of("stream"))

    @property
    def result(self) -> str:
        """Its result, as text."""
        return "".join(content["data"].get("text/plain", "") for content in self.of("execute_result"))

    @property
    def is_ok(self) -> bool:
        """True unless it failed."""
        return bool(self.reply["status"] == "ok")


class Notebook:
    """A kernel and its client; every message is filed under the request that caused it."""

    def __init__(self, manager: AsyncKernelManager, client: AsyncKernelClient, folder: Path) -> None:
        self.manager, self.client, self.folder = manager, client, folder
        self.cells: dict[str, Cell] = {}
        self._replies: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._idle: dict[str, asyncio.Event] = {}
        self._pumps: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Read shell and iopub from now on."""
        self._pumps = [asyncio.create_task(self._read_shell()), asyncio.create_task(self._read_iopub())]

    async def end(self) -> None:
        """Stop reading."""
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def send(self, code: str, **options: Any) -> str:
        """Send a cell off; its id."""
        options = {"allow_stdin": False, "stop_on_error": False, **options}
        return self.expect(self.client.execute(code, **options))

    def expect(self, request: str) -> str:
        """Await what belongs to a request that was sent."""
        self.cells[request] = Cell()
        self._idle[request] = asyncio.Event()
        self._replies[request] = asyncio.get_running_loop().create_future()
        return request

    async def done(self, request: str, seconds: float = SECONDS) -> Cell:
        """The cell once its reply and its idle are there."""
        async with asyncio.timeout(seconds):
            self.cells[request].reply = await self._replies[request]
            await self._idle[request].wait()
        return self.cells[request]

    async def run(self, code: str, **options: Any) -> Cell:
        """Run a cell."""
        return await self.done(self.send(code, **options))

    async def ask(self, request: str, seconds: float = 5.0) -> dict[str, Any]:
        """The reply to a small request that was sent, e.g. `notebook.client.complete("zi")`."""
        return (await self.done(self.expect(request), seconds)).reply

    async def heard(self, request: str, kind: str, count: int = 1, seconds: float = SECONDS) -> dict[str, Any]:
        """The content of the `count`-th message of type `kind` that a cell under way published."""
        async with asyncio.timeout(seconds):
            while len(found := self.cells[request].of(kind)) < count:
                await asyncio.sleep(0.01)
        return found[count - 1]

    async def _read_shell(self) -> None:
        while True:
            with contextlib.suppress(Empty):
                message = await self.client.get_shell_msg(timeout=1)
                waiting = self._replies.get(message["parent_header"].get("msg_id", ""))
                if waiting and not waiting.done():
                    waiting.set_result(message["content"])

    async def _read_iopub(self) -> None:
        while True:
            with contextlib.suppress(Empty):
                message = await self.client.get_iopub_msg(timeout=1)
                request = message["parent_header"].get("msg_id", "")
                self.cells.setdefault(request, Cell()).messages.append(message)
                if message["content"].get("execution_state") == "idle" and request in self._idle:
                    self._idle[request].set()


@contextlib.asynccontextmanager
async def opened(
    module: str, folder: Path, *, interrupt: Literal["signal", "message"], **environment: str
) -> AsyncIterator[Notebook]:
    """A notebook on the kernel that `python -m module` starts, in `folder`."""
    manager = AsyncKernelManager()
    argv = [sys.executable, "-m", module, "-f", "{connection_file}"]
    spec = KernelSpec(argv=argv, interrupt_mode=interrupt, display_name="x", language="python")
    manager._kernel_spec = spec
    with (folder / "stderr.txt").open("w") as stderr:
        await manager.start_kernel(cwd=str(folder), env={**os.environ, **MODEL, **environment}, stderr=stderr)
    client: Any = manager.client()
    client.start_channels()
    notebook = Notebook(manager, client, folder)
    try:
        await client.wait_for_ready(timeout=SECONDS)
        notebook.begin()
        yield notebook
    finally:
        await notebook.end()
        client.stop_channels()
        if manager.has_kernel:
            await manager.shutdown_kernel()
