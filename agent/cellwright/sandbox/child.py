"""A child IPython kernel as sandbox: real Python with its state, driven through jupyter_client.

Any IPython kernelspec will do; what it needs of us is sent as its first cell (`bootstrap.py`). Three pumps read what
the kernel sends, each from its own channel, for as long as it lives; `run` sends a request and waits for the reply.
Completion is taken from the shell reply, because iopub may lose messages under load (20,000 flushed prints did).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

from ..errors import SandboxDied, SandboxUnavailable, ValueNotTransferable, one_line
from ..facts import SandboxFacts, ToolFacts
from ..outputs import Json
from . import relay
from .base import (
    Answer,
    AtHand,
    Call,
    Callbacks,
    CallResult,
    Died,
    Execution,
    Failed,
    File,
    Finished,
    Raised,
    Returned,
    TimedOut,
    Variable,
)
from .cell import Cell

if TYPE_CHECKING:
    from jupyter_client.asynchronous.client import AsyncKernelClient
    from jupyter_client.manager import AsyncKernelManager

START_SECONDS = 60.0
"""How long a kernel may take until it answers."""
REQUEST_SECONDS = 15.0
"""How long a request of our own may take (variables, values, tools) until the kernel is given up."""
INTROSPECT_SECONDS = 10.0
"""How long completion and inspection may take: jedi's first answer takes seconds on a busy machine."""
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

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)


@cache
def _bootstrap() -> str:
    return files(__package__).joinpath("bootstrap.py").read_text(encoding="utf-8")


class ChildKernel:
    """The sandbox protocol over a child kernel of a kernelspec.

    kernel_name: a Jupyter kernelspec with an IPython kernel.
    workspace: folder in which the code starts; the current one by default.
    output_bytes: text of one action that is passed on; the rest is counted and said.
    """

    def __init__(
        self, kernel_name: str = "python3", workspace: Path | None = None, output_bytes: int = 1 << 20
    ) -> None:
        self.kernel_name = kernel_name
        self.workspace = workspace or Path.cwd()
        self.output_bytes = output_bytes
        self._manager: AsyncKernelManager | None = None
        self._client: AsyncKernelClient | None = None
        self._folder: Path | None = None
        self._pumps: list[asyncio.Task[None]] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._cells: dict[str, Cell] = {}
        self._current: Cell | None = None
        self._stopping: asyncio.Task[bool] | None = None
        self._starting = asyncio.Lock()
        self._mark = ""
        self._facts: SandboxFacts | None = None
        self._tools: Sequence[ToolFacts] = ()
        self._instance = 0

    # ---- life ---------------------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        return self._client is not None

    async def start(self) -> SandboxFacts:
        """Start the kernel if it is not running. Raises `SandboxUnavailable`."""
        async with self._starting:
            if self._facts is None or not await self._is_alive():
                await self._discard()
                self._facts = await self._start()
            return self._facts

    async def _start(self) -> SandboxFacts:
        from jupyter_client.kernelspec import NoSuchKernel
        from jupyter_client.manager import AsyncKernelManager

        # ipc: ipykernel warns of every tcp start ("TCP without encryption"), into the person's cell. The folder is
        # short because a unix socket's path may have 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="cw-"))
        manager = AsyncKernelManager(
            kernel_name=self.kernel_name, transport="ipc", connection_file=str(self._folder / "k.json")
        )
        try:
            await manager.start_kernel(
                cwd=str(self.workspace), env=_child_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except (NoSuchKernel, OSError, RuntimeError, ValueError) as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise SandboxUnavailable(
                f"The sandbox's kernel {self.kernel_name!r} did not start, so no code was run: {one_line(str(error))} "
                "`jupyter kernelspec list` shows the kernels there are."
            ) from error
        self._manager = manager
        self._instance += 1
        self._client = client = manager.client()
        client.start_channels(hb=False)
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._until_ready(client, manager)
                return await self._boot()
        except (TimeoutError, SandboxDied) as error:
            await self._discard()
            raise SandboxUnavailable(
                f"The sandbox's kernel {self.kernel_name!r} did not answer, so no code was run: "
                f"{one_line(str(error)) or f'{START_SECONDS:g} s are over'}. "
                "Is ipykernel installed in its environment?"
            ) from error
        except BaseException:  # cancelled, too: a half-started process must not stay behind; it is raised again
            await self._discard()
            raise

    async def _until_ready(self, client: AsyncKernelClient, manager: AsyncKernelManager) -> None:
        """Until the kernel answers on shell and is heard on iopub: jupyter_client's own test always adds 0.2 s."""
        request = client.kernel_info()
        while True:
            with contextlib.suppress(Empty):
                reply = await client.shell_channel.get_msg(timeout=0.1)
                if reply["parent_header"].get("msg_id") == request:
                    break
            if not await manager.is_alive():
                raise SandboxDied("its process ended at once")
        while True:
            message = await client.iopub_channel.get_msg(timeout=START_SECONDS)
            if message["msg_type"] in ("iopub_welcome", "status"):
                return

    async def _boot(self) -> SandboxFacts:
        self._mark = secrets.token_hex(16)
        self._pumps = [
            asyncio.create_task(pump()) for pump in (self._pump_iopub, self._pump_shell, self._pump_stdin, self._watch)
        ]
        await self._request(f"{_bootstrap()}\n_cellwright_boot({self._mark!r})\ndel _cellwright_boot")
        facts = await self._ask("facts()")
        await self.offer(self._tools)
        return SandboxFacts(
            kind="child-kernel",
            isolation="process",
            network="host",
            kernel_name=self.kernel_name,
            python=str(facts.get("python")),
            workspace=str(facts.get("workspace")),
            instance=self._instance,
            packages={str(k): str(v) for k, v in facts.get("packages", {}).items()},
        )

    async def _is_alive(self) -> bool:
        return self._manager is not None and self._client is not None and bool(await self._manager.is_alive())

    async def restart(self) -> SandboxFacts:
        """End the kernel and start a new one; all variables are gone."""
        await self._discard()
        return await self.start()

    async def close(self) -> None:
        """End the kernel."""
        if self._stopping:
            self._stopping.cancel()
        await self._discard()

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
        client, self._client = self._client, None
        manager, self._manager = self._manager, None
        if client:
            client.stop_channels()
        if manager:
            with contextlib.suppress(RuntimeError, OSError):
                await manager.shutdown_kernel(now=True)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    # ---- running code -------------------------------------------------------------------------------------------

    async def run(self, code: str, callbacks: Callbacks, seconds: float | None = None) -> Execution:
        """Run `code`, at most `seconds`. See `Sandbox.run`."""
        if self._stopping:
            await asyncio.wait({self._stopping})
            self._stopping = None
        await self.start()
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
            self._stopping = asyncio.create_task(self._stop(cell))
            await asyncio.wait({self._stopping}, timeout=CANCEL_SECONDS)
            raise
        finally:
            await cell.flush()
            await cell.say_what_was_dropped()
            # Code that is still being stopped stays known, so that `_stop` hears its reply, but shows nothing more.
            cell.callbacks = None
            if cell.reply.done():
                self._cells.pop(cell.msg_id, None)
            self._current = None
        if reply.get("status") == "ok" or cell.answer:
            payload = reply.get("payload")
            return Finished(cell.seconds, cell.answer, payload if isinstance(payload, list) else ())
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
        return reply

    def _send(
        self,
        code: str,
        callbacks: Callbacks | None,
        *,
        expression: str | None = None,
        buffers: Sequence[bytes] = (),
    ) -> Cell:
        client = self._client
        if client is None:
            raise SandboxDied("it is not running")
        content = {
            "code": code,
            "silent": callbacks is None,
            "store_history": callbacks is not None,
            "user_expressions": {"value": expression} if expression else {},
            "allow_stdin": True,
            # stop_on_error must stay False: with True, the request after an error is silently aborted now and then.
            "stop_on_error": False,
        }
        message = client.session.msg("execute_request", content)
        cell = Cell(message["header"]["msg_id"], code, callbacks, self.output_bytes)
        self._cells[cell.msg_id] = cell
        client.session.send(client.shell_channel.socket, message, buffers=list(buffers))
        return cell

    async def _request(self, code: str = "", expression: str | None = None, buffers: Sequence[bytes] = ()) -> Json:
        """A silent request of our own; the value of `expression`, which must be a Packet. Raises `SandboxError`."""
        cell = self._send(code, None, expression=expression, buffers=buffers)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                reply = await cell.reply
        except TimeoutError:
            await self._discard()
            raise SandboxDied("it did not answer any more") from None
        finally:
            self._cells.pop(cell.msg_id, None)
        if reply.get("status") != "ok":
            raise SandboxDied(f"it refused a request: {one_line(str(reply.get('evalue')))}")
        result = reply.get("user_expressions", {}).get("value", {})
        if result.get("status") == "error":
            raise ValueNotTransferable(one_line(str(result.get("evalue"))))
        return result.get("data", {}).get("application/json")

    async def _ask(self, call: str, *arguments: Json, buffers: Sequence[bytes] = ()) -> Any:
        """Call the service that the bootstrap cell left in the kernel."""
        if arguments:
            call = f"{call}({', '.join(repr(a) for a in arguments)})"
        return await self._request(expression=f"get_ipython()._cellwright.{call}", buffers=buffers)

    # ---- stopping -----------------------------------------------------------------------------------------------

    async def _stop(self, cell: Cell) -> bool:
        """Interrupt, wait, else kill. True when the kernel had to be killed."""
        for task in self._calls:
            task.cancel()
        deadline = time.monotonic() + INTERRUPT_GRACE_SECONDS
        with contextlib.suppress(SandboxDied):
            while not cell.reply.done() and time.monotonic() < deadline:
                if self._manager and self._client:
                    await self._manager.interrupt_kernel()
                    # Wakes the kernel's loop: a signal alone does not (ipykernel issue 881).
                    self._client.kernel_info()
                await asyncio.wait({cell.reply}, timeout=INTERRUPT_AGAIN_SECONDS)
        self._cells.pop(cell.msg_id, None)
        if cell.reply.done():
            return cell.reply.exception() is not None
        await self._discard()
        return True

    # ---- what the kernel sends ----------------------------------------------------------------------------------

    async def _receive(self, channel: Any, timeout: float | None = None) -> Any:
        """The next message; None when none came in time or what came is malformed."""
        try:
            return await channel.get_msg(timeout=timeout)
        except Empty:
            return None
        except (ValueError, TypeError, KeyError, RecursionError):  # bad signature, bad JSON, bad date: not ours
            return None

    async def _pump_iopub(self) -> None:
        channel = self._client.iopub_channel  # type: ignore[union-attr]
        while True:
            cell = self._current
            waiting = cell is not None and cell.pending is not None
            message = await self._receive(channel, FLUSH_SECONDS if waiting else None)
            if message is None:
                if cell:
                    await cell.flush()
                continue
            cell = self._cells.get(message["parent_header"].get("msg_id"))
            if cell is None:
                continue
            if message["msg_type"] == "status":
                if message["content"].get("execution_state") == "idle":
                    cell.idle.set()
            elif output := relay.output(message["msg_type"], message["content"]):
                await cell.take(output)

    async def _pump_shell(self) -> None:
        while True:
            message = await self._receive(self._client.shell_channel)  # type: ignore[union-attr]
            if message is None:
                continue
            cell = self._cells.get(message["parent_header"].get("msg_id"))
            if cell and not cell.reply.done():
                cell.reply.set_result(message["content"])

    async def _pump_stdin(self) -> None:
        while True:
            message = await self._receive(self._client.stdin_channel)  # type: ignore[union-attr]
            if message and message["msg_type"] == "input_request":
                context = self._current.context if self._current else None
                task = asyncio.create_task(self._reply_to(message["content"]), context=context)
                self._calls.add(task)
                task.add_done_callback(self._calls.discard)

    async def _reply_to(self, content: Mapping[str, Json]) -> None:
        prompt = str(content.get("prompt", ""))
        if prompt.startswith(self._mark):
            result = await self._serve(prompt[len(self._mark) :])
            reply = {"value": result.value} if isinstance(result, Returned) else {"error": result.message}
        else:  # a kernel whose input() the bootstrap could not route: nothing to answer with
            reply = {"error": "input is not available"}
        if self._client:
            self._client.input(json.dumps(reply))

    async def _serve(self, text: str) -> CallResult:
        """Do what code in the sandbox asks of the host: an answer, a tool, a line from the person."""
        cell = self._current
        try:
            request = json.loads(text)
        except (ValueError, RecursionError):
            return Raised("The call could not be read.")
        if cell is None or cell.callbacks is None or not isinstance(request, dict):
            return Raised("No cell is running, so nothing can be called.")
        if "answer" in request:
            if cell.answer is None:
                cell.answer = _answer(request["answer"])
                cell.answered_or_replied.set()
            return Returned(None)
        if "input" in request:
            return await self._ask_person(cell.callbacks, str(request["input"]), bool(request.get("password")))
        await cell.flush()
        args, kwargs = request.get("args"), request.get("kwargs")
        return await cell.callbacks.on_call(
            Call(
                str(request.get("call")),
                tuple(args) if isinstance(args, list) else (),
                kwargs if isinstance(kwargs, dict) else {},
            )
        )

    async def _ask_person(self, callbacks: Callbacks, prompt: str, password: bool) -> CallResult:
        if callbacks.on_input is None:
            return Raised("input() is not available here: nobody is there to type.")
        try:
            return Returned(await callbacks.on_input(prompt, password))
        except EOFError:
            return Raised("Nothing was typed.")

    async def _watch(self) -> None:
        """Notice that the kernel's process has ended, and tell every request that waits for it."""
        manager = self._manager
        assert manager is not None and manager.provisioner is not None
        while (code := await manager.provisioner.poll()) is None:
            await asyncio.sleep(0.05)  # a provisioner can only be polled
        # What it said last may still be on its way, e.g. the output before os._exit.
        await asyncio.sleep(0.05)
        for cell in list(self._cells.values()):
            if not cell.reply.done():
                cell.reply.set_exception(SandboxDied(cause_of_death(code)))
                cell.reply.exception()  # mark as seen: a request that nobody awaits any more must not warn
        self._facts = None

    # ---- values, tools, completion --------------------------------------------------------------------------------

    async def offer(self, tools: Sequence[ToolFacts]) -> None:
        """Make host tools callable under their names, now and after every restart."""
        self._tools = tools
        if self._client is not None:
            described = [
                {"name": tool.name, "signature": tool.signature, "description": tool.description} for tool in tools
            ]
            await self._ask("offer", described)

    async def keep(self, number: int, text: str) -> None:
        """Store a whole observation as `_out[number]`."""
        await self._ask("keep", number, text)

    async def put(self, name: str, form: str, value: Json) -> None:
        """Set a variable. Raises `ValueNotTransferable`."""
        import base64

        await self.start()
        data = base64.b64decode(value) if form == "table" else json.dumps(value).encode()
        await self._ask("put", name, form, buffers=[data])

    async def get(self, name: str) -> tuple[str, Json]:
        """A variable as (form, value). Raises `ValueNotTransferable`."""
        await self.start()
        form, value = await self._ask("get", name)
        return str(form), value

    async def render(self, names: Sequence[str]) -> Mapping[str, str]:
        """The values of variables as text; unknown names are left out."""
        await self.start()
        texts = await self._ask("render", list(names))
        return {str(name): relay.clean_text(str(text)) for name, text in texts.items()}

    async def at_hand(self) -> AtHand:
        """Variables and files."""
        await self.start()
        found = await self._ask("at_hand()")
        return AtHand(
            tuple(Variable(str(v["name"]), str(v["type_name"]), str(v["summary"])) for v in found["variables"]),
            tuple(File(str(f["name"]), int(f["size"]), str(f["summary"])) for f in found["files"]),
        )

    async def complete(self, code: str, cursor: int) -> Mapping[str, Json]:
        """`complete_reply` content; empty while the kernel is busy."""
        return await self._introspect("complete_request", {"code": code, "cursor_pos": cursor})

    async def inspect(self, code: str, cursor: int, detail: int = 0) -> Mapping[str, Json]:
        """`inspect_reply` content; empty while the kernel is busy."""
        return await self._introspect("inspect_request", {"code": code, "cursor_pos": cursor, "detail_level": detail})

    async def _introspect(self, kind: str, content: Mapping[str, Json]) -> Mapping[str, Json]:
        if self._client is None or self._current is not None:  # it would queue behind the running code
            return {}
        message = self._client.session.msg(kind, dict(content))
        cell = Cell(message["header"]["msg_id"], "", None, 0)
        self._cells[cell.msg_id] = cell
        self._client.session.send(self._client.shell_channel.socket, message)
        try:
            async with asyncio.timeout(INTROSPECT_SECONDS):
                return await cell.reply
        except (TimeoutError, SandboxDied):
            return {}
        finally:
            self._cells.pop(cell.msg_id, None)


def cause_of_death(code: int | None) -> str:
    """One line for an exit status as `subprocess` gives it."""
    if code is None or code == 0:
        return "its process ended"
    if code > 0:
        return f"its process ended with exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    hint = "; out of memory?" if -code == signal.SIGKILL else ""
    return f"its process was killed by signal {-code} ({name}{hint})"


def _answer(raw: Json) -> Answer:
    raw = raw if isinstance(raw, dict) else {}
    data = raw.get("data")
    clean = relay.clean_bundle(data) if isinstance(data, dict) else {}
    return Answer(
        data=clean,
        metadata=relay.clean_metadata(raw.get("metadata"), clean),
        value=raw.get("value"),
        has_value="value" in raw,
        type_name=str(raw.get("type_name", "")),
    )


def _child_environment() -> dict[str, str]:
    """The host's environment without its keys: tools that need them run in the host."""
    return {name: value for name, value in os.environ.items() if not _SECRET.search(name)}
