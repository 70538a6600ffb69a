"""A child kernel's process: started behind its fence, found ready, watched, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SandboxDied, SandboxUnavailable, one_line
from ..outputs import Json
from . import channels
from .beside import Beside
from .isolation import PROVISIONER, Isolation

if TYPE_CHECKING:
    from jupyter_client.asynchronous.client import AsyncKernelClient
    from jupyter_client.manager import AsyncKernelManager

ENDED_AT_ONCE = "its process ended at once. Is ipykernel installed in its environment?"
START_SECONDS = 60.0
"""How long a kernel may take until it answers."""

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)


class KernelProcess:
    """A kernel that runs; made by `start`."""

    def __init__(self, kernel_name: str, workspace: Path, isolation: Isolation) -> None:
        self.kernel_name, self.workspace, self.isolation = kernel_name, workspace, isolation
        # The folder is short because a unix socket's path may have 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="cw-"))
        self.manager: AsyncKernelManager
        self.client: AsyncKernelClient
        self.beside: Beside

    @classmethod
    async def start(cls, kernel_name: str, workspace: Path, isolation: Isolation) -> KernelProcess:
        """Start a kernel and wait until it answers. Raises `SandboxUnavailable`."""
        process = cls(kernel_name, workspace, isolation)
        try:
            await process._launch()
            async with asyncio.timeout(START_SECONDS):
                await process._until_ready()
        except (TimeoutError, SandboxDied) as error:
            await process.end()
            why = one_line(str(error)) or f"{START_SECONDS:g} s are over. Is ipykernel installed in its environment?"
            raise SandboxUnavailable(
                f"The sandbox's kernel {kernel_name!r} did not answer, so no code was run: {why}"
            ) from error
        except BaseException:  # cancelled, too: a half-started process must not stay behind; it is raised again
            await process.end()
            raise
        return process

    async def _launch(self) -> None:
        import zmq.asyncio
        from jupyter_client.kernelspec import NoSuchKernel
        from jupyter_client.manager import AsyncKernelManager

        context = zmq.asyncio.Context()
        # ipc: ipykernel warns of every tcp start ("TCP without encryption"), into the person's cell.
        self.manager = manager = AsyncKernelManager(
            kernel_name=self.kernel_name,
            transport="ipc",
            connection_file=str(self._folder / "k.json"),
            context=context,
        )
        try:
            self._fence(manager)
            await manager.start_kernel(
                cwd=str(self.workspace), env=_child_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except SandboxUnavailable:
            raise
        except (NoSuchKernel, OSError, RuntimeError, ValueError) as error:
            raise SandboxUnavailable(
                f"The sandbox's kernel {self.kernel_name!r} did not start, so no code was run: {one_line(str(error))} "
                "`jupyter kernelspec list` shows the kernels there are."
            ) from error
        self.client = manager.client(context=context)  # else it makes one of its own, without limits
        channels.open_channels(self.client)
        self.beside = Beside(self.client)

    def _fence(self, manager: AsyncKernelManager) -> None:
        """Have the kernel started by the provisioner that isolates it."""
        if self.isolation.level == "process":
            return
        spec = manager.kernel_spec
        if spec is None or "kernel_provisioner" in spec.metadata:
            raise SandboxUnavailable(
                f"The kernel {self.kernel_name!r} brings its own way of being started, which can't be isolated from "
                "here. Choose another kernel, or `--isolation process` to run it without isolation."
            )
        config = dict(self.isolation.as_config(self.workspace))
        spec.metadata = {**spec.metadata, "kernel_provisioner": {"provisioner_name": PROVISIONER, "config": config}}

    async def _until_ready(self) -> None:
        """Until the kernel answers on shell and is heard on iopub: jupyter_client's own test always adds 0.2 s."""
        client = self.client
        request = channels.send(client, client.shell_channel, "kernel_info_request", {})
        while True:
            reply = await channels.receive(client.shell_channel, 0.1)
            if reply and reply.parent == request:
                break
            if not await self.is_alive():
                raise SandboxDied((await self._facts()).get("ended_by") or ENDED_AT_ONCE)
        while True:
            message = await channels.receive(client.iopub_channel)
            if message and message.kind in ("iopub_welcome", "status"):
                return

    async def is_alive(self) -> bool:
        """True while the process runs."""
        return bool(await self.manager.is_alive())

    async def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in the code that runs."""
        await self.manager.interrupt_kernel()
        # Wakes the kernel's loop: a signal alone does not (ipykernel issue 881).
        channels.send(self.client, self.client.shell_channel, "kernel_info_request", {})

    async def ended(self) -> str:
        """Wait until the process has ended; why, in one line."""
        provisioner = self.manager.provisioner
        assert provisioner is not None
        while (code := await provisioner.poll()) is None:
            await asyncio.sleep(0.05)  # a provisioner can only be polled
        facts = await self._facts()
        # What it said last may still be on its way, e.g. the output before os._exit.
        await asyncio.sleep(0.05)
        return facts.get("ended_by") or cause_of_death(code)

    async def isolated_by(self) -> tuple[str, str]:
        """The level that holds, and a line on why it is not a stronger one and what does not work under it."""
        facts = await self._facts()
        notes = (facts.get("why"), facts.get("losses"))
        return str(facts.get("level") or "process"), " ".join(str(note) for note in notes if note)

    async def _facts(self) -> Mapping[str, Json]:
        provisioner = self.manager.provisioner
        return await provisioner.get_provisioner_info() if provisioner is not None else {}

    async def end(self) -> None:
        """Kill the process and remove what it needed. May be called half-started, and again."""
        if client := getattr(self, "client", None):
            client.stop_channels()
        if manager := getattr(self, "manager", None):
            with contextlib.suppress(RuntimeError, OSError):
                await manager.shutdown_kernel(now=True)
            manager.context.destroy(linger=0)
        shutil.rmtree(self._folder, ignore_errors=True)


def cause_of_death(code: int | None) -> str:
    """One line for an exit status as `subprocess` gives it."""
    if code is not None and code > 128:  # a launcher between us and the kernel says it as a shell would
        code = 128 - code
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


def _child_environment() -> dict[str, str]:
    """The host's environment without its keys: tools that need them run in the host."""
    return {name: value for name, value in os.environ.items() if not _SECRET.search(name)}
