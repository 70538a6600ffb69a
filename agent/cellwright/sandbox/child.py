"""A child IPython kernel as sandbox: real Python with its state, driven through jupyter_client.

Any IPython kernelspec will do; what it needs of us is sent as its first cell (`bootstrap.py`). Three pumps read what
the kernel sends, each from its own channel, for as long as it lives; `run` sends a request and waits for the reply.
Completion is taken from the shell reply, because iopub may lose messages under load (20,000 flushed prints did).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import SandboxDied
from ..facts import SandboxFacts
from ..outputs import Json
from . import channels, relay
from .base import Callbacks, Died, Execution, Failed, Finished, TimedOut
from .calls import as_reply, serve
from .cell import Cell
from .comms import Widgets, widget_view
from .isolation import Isolation
from .process import KernelProcess
from .services import KernelServices, bootstrap_cell
from .workspace import copy_in, drop_if_empty, new_workspace, told

REQUEST_SECONDS = 15.0
"""How long a request of our own may take (variables, values, tools) until the kernel is given up."""
JEDI_SECONDS = 1.0
"""How long completion may take; then it is asked for without jedi, whose first answer takes seconds."""
CALLS_AT_ONCE = 16
"""Requests of the kernel that are being answered; it sends one after another, unless it means harm."""
FLUSH_SECONDS = 0.1
"""How long printed text is gathered before it is passed on."""
IDLE_GRACE_SECONDS = 1.0
"""How long outputs are awaited after the reply that says that the code is done."""
ANSWER_GRACE_SECONDS = 10.0
"""How long code may go on after `final_answer` (closing files, drawing a figure) before it is interrupted."""
CANCEL_SECONDS = 0.35
"""How long a cancelled `run` waits for the kernel to be idle; what takes longer goes on in the background."""
INTERRUPT_AGAIN_SECONDS = 1.0
"""After how long interrupted code is interrupted again; the bootstrap cell lets a signal meet nothing but the cell."""
INTERRUPT_GRACE_SECONDS = 5.0
"""How long interrupted code may take to end before the kernel is killed."""


class ChildKernel(KernelServices):
    """The sandbox protocol over a child kernel of a kernelspec.

    kernel_name: a Jupyter kernelspec with an IPython kernel. isolation: how it is fenced in.
    workspace: folder in which the code starts; without one, an isolated sandbox gets a new folder of its own, and one
    that is not isolated starts in the current folder.
    output_bytes: text of one action that is passed on; the rest is counted and said.
    """

    def __init__(
        self,
        kernel_name: str = "python3",
        workspace: Path | None = None,
        output_bytes: int = 1 << 20,
        isolation: Isolation | None = None,
    ) -> None:
        super().__init__()
        self.kernel_name, self.output_bytes = kernel_name, output_bytes
        self.isolation = isolation or Isolation()
        self._given_workspace = self._workspace = workspace
        self._process: KernelProcess | None = None
        self._pumps: list[asyncio.Task[None]] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._cells: dict[str, Cell] = {}
        self.widgets = Widgets(self._cells, output_bytes)
        self._current: Cell | None = None
        self._stopping: asyncio.Task[bool] | None = None
        self._starting = asyncio.Lock()
        self._mark = ""
        self._facts: SandboxFacts | None = None
        self._instance = 0

    # ---- life ---------------------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        return self._process is not None

    async def start(self) -> SandboxFacts:
        """Start the kernel if it is not running. Raises `SandboxUnavailable`."""
        async with self._starting:
            if self._stopping:  # what was cancelled before may still be ending, or being killed
                await asyncio.wait({self._stopping})
                self._stopping = None
            if self._facts is None or self._process is None or not await self._process.is_alive():
                await self._discard()
                try:
                    self._facts = await self._boot()
                except BaseException:  # cancelled, too: a half-started kernel must not stay behind; it is raised again
                    await self._discard()
                    raise
            return self._facts

    def fence(self, isolation: Isolation) -> None:
        """Have the next kernel that starts isolated in this way."""
        if (isolation.level == "process") != (self.isolation.level == "process"):
            self._workspace = self._given_workspace
        self.isolation = isolation

    @property
    def workspace(self) -> Path:
        """The folder in which code starts; made when it is first asked for."""
        if self._workspace is None:
            self._workspace = Path.cwd() if self.isolation.level == "process" else new_workspace()
        return self._workspace

    async def bring(self, files: Sequence[Path], beneath: Path | None = None) -> Sequence[str]:
        """Copy files into the workspace, unless they are there; the names under which code finds them.

        Without isolation code reads them where they are. Raises `WorkspaceError`.
        """
        if files:
            _ = self.workspace  # made here: a start that is under way would make another beside the thread's
        return await asyncio.to_thread(lambda: [self._bring(path.resolve(), beneath) for path in files])

    def _bring(self, path: Path, beneath: Path | None) -> str:
        workspace, here = self.workspace.resolve(), (beneath or Path.cwd()).resolve()
        if path.is_relative_to(workspace):
            return str(path.relative_to(workspace))
        if self.isolation.level == "process" or any(
            path.is_relative_to(item.resolve()) for item in self.isolation.read
        ):
            return str(path)
        name = str(path.relative_to(here)) if path.is_relative_to(here) else path.name
        copy_in(path, workspace, name, self.isolation.workspace_size)
        return name

    async def _boot(self) -> SandboxFacts:
        self._process = process = await KernelProcess.start(self.kernel_name, self.workspace, self.isolation)
        self.widgets.begin(process if self.isolation.level == "process" else None)
        self._instance += 1
        self._mark = secrets.token_hex(16)
        pumps = (self._pump_iopub, self._pump_shell, self._pump_stdin, self._watch, self._keep_hearing, self._guard)
        self._pumps = [asyncio.create_task(pump(process)) for pump in pumps]
        await self._request(bootstrap_cell(self._mark, self.output_bytes))
        with channels.believed():
            facts = dict(await self._ask("facts()"))
            packages = {relay.word(k): relay.word(v) for k, v in facts["packages"].items()}
        await self.offer(self._tools)
        level, note = await process.isolated_by()
        return SandboxFacts(
            kind="child-kernel",
            isolation=level,
            network=self.isolation.network if level != "process" else "host",
            kernel_name=self.kernel_name,
            python=relay.word(facts.get("python")),
            workspace=told(Path(relay.word(facts.get("workspace"), 4096))),
            note=note,
            instance=self._instance,
            packages=packages,
        )

    def another(self) -> ChildKernel:
        """A child kernel of the same kind; its workspace is its own, unless this one's was given."""
        return ChildKernel(self.kernel_name, self._given_workspace, self.output_bytes, self.isolation)

    async def restart(self) -> SandboxFacts:
        """End the kernel and start a new one; all variables are gone."""
        await self._discard()
        return await self.start()

    async def close(self) -> None:
        """End the kernel."""
        if self._stopping:
            self._stopping.cancel()
        await self._discard()
        if self._workspace and self._given_workspace is None and self.isolation.level != "process":
            drop_if_empty(self._workspace)
            if not self._workspace.exists():
                self._workspace = None  # a sandbox that is started again gets a new one

    async def _discard(self) -> None:
        self._facts = None
        for cell in self._cells.values():
            if not cell.reply.done():  # nobody will read its reply any more, and whoever awaits it would wait for ever
                cell.reply.set_exception(SandboxDied("it was ended"))
                cell.reply.exception()
        self._cells.clear()
        tasks = [task for task in [*self._pumps, *self._calls] if task is not asyncio.current_task()]
        self._pumps, self._calls = [], set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        process, self._process = self._process, None
        if process:
            self.widgets.end()
            await process.end()

    # ---- running code -------------------------------------------------------------------------------------------

    async def run(self, code: str, callbacks: Callbacks, seconds: float | None = None) -> Execution:
        """Run `code`, at most `seconds`. See `Sandbox.run`."""
        await self.start()
        await self.widgets.at_rest()
        cell = self._send(code, callbacks)
        self._current = cell
        try:
            async with asyncio.timeout(seconds):
                reply = await self._until_done(cell)
        except TimeoutError:
            return TimedOut(cell.seconds, state_lost=await self._stop(cell))
        except SandboxDied as death:
            return Died(cell.seconds, str(death))
        except asyncio.CancelledError:
            # Shielded: the interrupt must reach the kernel although nobody may be left to wait for it.
            calls = {*self._calls, *cell.begun.values()}
            self._stopping = asyncio.create_task(self._stop(cell))
            await asyncio.wait({self._stopping, *calls}, timeout=CANCEL_SECONDS)
            raise
        finally:
            await cell.flush()
            await cell.say_what_was_dropped()
            # Code that is still being stopped stays known, so that `_stop` hears its reply, but shows nothing more.
            cell.callbacks = None
            for task in cell.begun.values():
                task.cancel()  # a thread that outlives its cell gets no answer
            if cell.reply.done():
                self._cells.pop(cell.msg_id, None)
            self._current = None
        if reply.get("status") == "ok" or cell.answer:
            return Finished(cell.seconds, cell.answer, relay.clean_payload(reply.get("payload")))
        return Failed(cell.seconds, cell.answer)

    async def _until_done(self, cell: Cell) -> Mapping[str, Json]:
        await cell.answered_or_replied.wait()
        if not cell.reply.done():
            # Answered: the code may close its files, but it can't go on as if nothing had happened.
            await asyncio.wait({cell.reply}, timeout=ANSWER_GRACE_SECONDS)
            if not cell.reply.done():
                await self._stop(cell)
                return {"status": "ok"}
        reply = await asyncio.shield(cell.reply)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_GRACE_SECONDS):
                await cell.idle.wait()
        self.widgets.show_answer(cell)
        return reply

    def _send(
        self,
        code: str,
        callbacks: Callbacks | None,
        *,
        expression: str | None = None,
        buffers: Sequence[bytes] = (),
    ) -> Cell:
        if self._process is None:
            raise SandboxDied("it is not running")
        client = self._process.client
        content = {
            "code": code,
            "silent": callbacks is None,
            "store_history": callbacks is not None,
            "user_expressions": {"value": expression} if expression else {},
            "allow_stdin": True,
            # stop_on_error must stay False: with True, the request after an error is silently aborted now and then.
            "stop_on_error": False,
        }
        request = channels.send(client, client.shell_channel, "execute_request", content, buffers)
        self._cells[request] = cell = Cell(request, code, callbacks, self.output_bytes, self.widgets)
        return cell

    async def _request(self, code: str = "", expression: str | None = None, buffers: Sequence[bytes] = ()) -> Json:
        """A silent request of our own; the value of `expression`, which must be a Packet. Raises `SandboxError`."""
        await self.widgets.at_rest()
        cell = self._send(code, None, expression=expression, buffers=buffers)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                reply = await cell.reply
        except TimeoutError:
            await self._discard()
            raise SandboxDied("it did not answer any more") from None
        finally:
            self._cells.pop(cell.msg_id, None)
        return channels.expression(reply, "value")

    async def _ask(self, call: str, *arguments: Json, buffers: Sequence[bytes] = ()) -> Any:
        """Call the service that the bootstrap cell left in the kernel."""
        if arguments:
            call = f"{call}({', '.join(repr(a) for a in arguments)})"
        return await self._request(expression=f"get_ipython()._cellwright.{call}", buffers=buffers)

    # ---- stopping -----------------------------------------------------------------------------------------------

    async def _stop(self, cell: Cell) -> bool:
        """Interrupt, wait, else kill. True when the kernel had to be killed."""
        calls = {*self._calls, *cell.begun.values()}
        for task in calls:
            task.cancel()
        deadline = time.monotonic() + INTERRUPT_GRACE_SECONDS
        with contextlib.suppress(SandboxDied):
            while not cell.reply.done() and time.monotonic() < deadline:
                if self._process:
                    await self._process.interrupt()
                await asyncio.wait({cell.reply}, timeout=INTERRUPT_AGAIN_SECONDS)
        self._cells.pop(cell.msg_id, None)
        if calls:  # an agent that was called says how it ended before its caller goes on
            await asyncio.wait(calls, timeout=CANCEL_SECONDS)
        if cell.reply.done():
            return cell.reply.exception() is not None
        await self._discard()
        return True

    # ---- what the kernel sends ----------------------------------------------------------------------------------

    async def _pump_iopub(self, process: KernelProcess) -> None:
        while True:
            waiting = [cell for cell in self._cells.values() if cell.pending]
            message = await channels.receive(process.client.iopub_channel, FLUSH_SECONDS if waiting else None)
            if message is None:
                for cell in waiting:
                    await cell.flush_when_due()
                continue
            if message.kind in channels.COMMS:
                await self.widgets.say(message)
            if of := self._cells.get(message.parent):
                await self._hear(of, message)

    async def _hear(self, cell: Cell, message: channels.Message) -> None:
        if message.is_too_large:
            cell.drop()
        elif message.kind == "status":
            if message.content.get("execution_state") == "idle":
                cell.idle.set()
        elif output := await channels.output(message):
            await cell.take(output, widget_view(message.content.get("data")))

    async def _pump_shell(self, process: KernelProcess) -> None:
        while True:
            message = await channels.receive(process.client.shell_channel)
            cell = self._cells.get(message.parent) if message else None
            if message and cell and not cell.reply.done():
                cell.reply.set_result(message.content)

    async def _pump_stdin(self, process: KernelProcess) -> None:
        while True:
            message = await channels.receive(process.client.stdin_channel)
            if message and message.kind == "input_request" and len(self._calls) < CALLS_AT_ONCE:
                context = self._current.context if self._current else None
                task = asyncio.create_task(self._reply_to(message.content), context=context)
                self._calls.add(task)
                task.add_done_callback(self._calls.discard)

    async def _keep_hearing(self, process: KernelProcess) -> None:
        await channels.keep_hearing(process.client, lambda: self._current.drop() if self._current else None)

    async def _guard(self, process: KernelProcess) -> None:
        await channels.until_replies_are_lost(process.client)
        await asyncio.sleep(0.3)  # where the process has died, `_watch` knows why
        self._lost("it sent a message that is larger than it may be")

    def _lost(self, cause: str) -> None:
        for cell in list(self._cells.values()):
            if not cell.reply.done():
                cell.reply.set_exception(SandboxDied(cause))
                cell.reply.exception()  # mark as seen: a request that nobody awaits any more must not warn
        self.widgets.end()
        self._facts = None

    async def _reply_to(self, content: Mapping[str, Json]) -> None:
        prompt = relay.as_text(content.get("prompt"))
        if prompt.startswith(self._mark):
            reply = as_reply(await serve(prompt[len(self._mark) :], self._current))
        else:  # a kernel whose input() the bootstrap could not route: nothing to answer with
            reply = {"error": "input is not available"}
        if self._process:
            client = self._process.client
            channels.send(client, client.stdin_channel, "input_reply", {"value": json.dumps(reply)})

    async def _watch(self, process: KernelProcess) -> None:
        """Notice that the kernel's process has ended, and tell every request that waits for it."""
        self._lost(await process.ended())

    async def _introspect(self, kind: str, content: Mapping[str, Json]) -> Mapping[str, Json]:
        process = self._process
        if process and self._current is None:  # while code runs, it would wait behind that
            request = channels.send(process.client, process.client.shell_channel, kind, dict(content))
            self._cells[request] = cell = Cell(request, "", None, 0)
            try:
                async with asyncio.timeout(JEDI_SECONDS):
                    return await cell.reply
            except (TimeoutError, SandboxDied):
                pass  # asked beside it, below
            finally:
                self._cells.pop(request, None)
        return await process.beside.ask(kind, content) if process else {}
