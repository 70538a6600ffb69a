"""The person's side of an attack: a program that lays out the bait, starts a sandbox and runs attacks in it.

    python host.py LEVEL UID

It becomes the user UID first. Then it reads requests (JSON, one a line) and answers each with one line. It is a process
of its own, so that the tests can be root and be an ordinary user in one go.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

TESTS = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(TESTS)]  # run as a program, it knows only its own folder

from isolation.attack_tools import checked, libc  # noqa: E402

ATTACK_SECONDS = 20.0
"""How long one attack may take."""


def become(uid: int) -> None:
    """Be an ordinary user for the rest of this process's life; root stays root when `uid` is 0."""
    if os.geteuid() != 0:
        return
    # Root's sandboxes run as another user, so root needs this, too.
    open_the_way([Path(sys.base_prefix), Path(sys.prefix), TESTS.parent])
    if not uid:
        return
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    # After such a change a process's own /proc is root's; the programs that a user starts are never in that state.
    checked(libc.prctl(4, 1, 0, 0, 0), "PR_SET_DUMPABLE")


def open_the_way(paths: list[Path]) -> None:
    """Where Python lies in a folder that only root may enter (/root), let it be seen past it, by this process only."""
    closed = {
        path: next((parent for parent in reversed(path.parents) if not parent.stat().st_mode & 0o001), None)
        for path in paths
    }
    if not any(closed.values()):
        return
    checked(libc.unshare(0x00020000), "unshare")  # CLONE_NEWNS
    checked(libc.mount(b"none", b"/", None, 0x44000, None), "mount")  # MS_REC | MS_PRIVATE: seen by nobody else
    opened = {path: os.open(path, os.O_PATH) for path, folder in closed.items() if folder}
    for folder in {folder for folder in closed.values() if folder}:
        checked(libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, b"mode=755"), f"mount over {folder}")
    for path, descriptor in opened.items():
        path.mkdir(parents=True, exist_ok=True)
        source = f"/proc/self/fd/{descriptor}".encode()
        checked(libc.mount(source, os.fsencode(path), None, 0x5000, None), f"mount {path}")  # MS_BIND | MS_REC
        os.close(descriptor)


def sent(modules: list[ModuleType]) -> str:
    """A cell that makes modules of ours importable in the sandbox, which has none of our files."""
    sources = {module.__name__: inspect.getsource(module) for module in modules}
    return f"""
import sys, types
sys.modules["isolation"] = types.ModuleType("isolation")
for _name, _source in {sources!r}.items():
    _module = types.ModuleType(_name)
    sys.modules[_name] = _module
    exec(compile(_source, _name, "exec"), _module.__dict__)
    setattr(sys.modules["isolation"], _name.rpartition(".")[2], _module)
"""


class Host:
    """One sandbox at one level, and what is laid out for it."""

    def __init__(self, level: str) -> None:
        from isolation.targets import Targets

        self.level = level
        self.targets = Targets()
        self.printed: list[str] = []
        self.sandbox = self.new_sandbox()
        self.is_prepared = False

    def new_sandbox(self, **limits: Any) -> Any:
        """A sandbox at the level; `landlock-alone` is level landlock where the system grants no namespaces."""
        from cellwright.outputs import Json
        from cellwright.sandbox.child import ChildKernel
        from cellwright.sandbox.isolation import Isolation

        class Alone(Isolation):
            def as_config(self, workspace: Path) -> Mapping[str, Json]:
                return {**super().as_config(workspace), "namespaces": False}

        made = Alone if self.level == "landlock-alone" else Isolation
        level: Any = self.level.removesuffix("-alone")
        isolation = made(level=level, read=(Path(self.targets.bait["readable"]),), **limits)
        return ChildKernel(workspace=self.targets.workspace, isolation=isolation)

    async def attack(self, module: str, name: str) -> dict[str, Any]:
        """Run one attack in the sandbox; what it says, and what was noticed here."""
        if not self.is_prepared:
            from isolation.table import MODULES

            await self.run(sent(MODULES), 60.0)
            self.is_prepared = True
        self.targets.set_out()
        said = await self.run(
            f"import json, isolation\nBAIT = json.loads({json.dumps(self.targets.bait)!r})\n"
            f"print('VERDICT', json.dumps(isolation.attack_tools.outcome(isolation.{module}.{name}, BAIT)))",
            ATTACK_SECONDS,
        )
        if said["kind"] != "Finished":
            self.is_prepared = False
        verdict = next((line for line in said["text"].splitlines() if line.startswith("VERDICT ")), None)
        found = json.loads(verdict[8:]) if verdict else {"reached": False, "evidence": "it said nothing"}
        return {**found, "noticed": self.targets.noticed(), "execution": said}

    async def run(self, code: str, seconds: float) -> dict[str, Any]:
        """Run code; how it ended and what it printed (the last 4,000 characters)."""
        from cellwright.outputs import CellOutput, Failure, Stream
        from cellwright.sandbox.base import Call, Callbacks, CallResult, Raised

        printed: list[str] = []

        async def on_output(output: CellOutput) -> None:
            if isinstance(output, Stream):
                printed.append(output.text)
            elif isinstance(output, Failure):
                printed.append("\n".join(output.traceback))

        async def on_call(call: Call) -> CallResult:
            return Raised("there are no tools here")

        execution = await self.sandbox.run(code, Callbacks(on_output, on_call), seconds)
        return {
            "kind": type(execution).__name__,
            "seconds": round(execution.seconds, 2),
            "text": "".join(printed)[-4000:],
            "cause": getattr(execution, "cause", ""),
        }

    async def bomb(self, code: str, seconds: float, limits: dict[str, Any]) -> dict[str, Any]:
        """Run a bomb in a sandbox with small limits; how it ended, what it cost here, and whether life goes on."""
        await self.sandbox.close()
        self.targets.empty_workspace()
        self.sandbox = self.new_sandbox(**limits)
        await self.run("1", 60.0)
        count_peak_from_now()
        before, loop = memory("VmRSS"), Responsive()
        watching = asyncio.create_task(loop.watch())
        said = await self.run(code, seconds)
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        grown = memory("VmHWM") - before
        after = await self.go_on()
        if after["kind"] != "Finished":  # what a person would do: make room, start it anew
            self.targets.empty_workspace()
            await self.sandbox.restart()
        return {**said, "grown": grown, "slowest": round(loop.slowest, 2), "after": after, "then": await self.go_on()}

    async def go_on(self) -> dict[str, Any]:
        """The next cell; `Refused` when no sandbox starts for it."""
        from cellwright.errors import SandboxUnavailable

        try:
            return await self.run("print(40 + 2)", 30.0)
        except SandboxUnavailable as error:
            return {"kind": "Refused", "text": str(error)}

    async def close(self) -> None:
        await self.sandbox.close()
        self.targets.close()


class Responsive:
    """How long this process's loop was ever kept waiting, in seconds: the person's kernel lives in such a loop."""

    slowest = 0.0

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(0.01)
            self.slowest = max(self.slowest, loop.time() - began - 0.01)


def count_peak_from_now() -> None:
    """VmHWM in /proc/self/status begins anew."""
    Path("/proc/self/clear_refs").write_text("5")


def memory(field: str) -> int:
    """Bytes, from /proc/self/status."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) << 10


async def serve(level: str) -> None:
    """Answer requests until there are no more."""
    host = Host(level)
    loop = asyncio.get_running_loop()
    try:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            request = json.loads(line)
            try:
                answer = await getattr(host, request.pop("do"))(**request)
            except Exception:  # noqa: BLE001 - the test that asked is told, and the next one may ask
                answer = {"error": traceback.format_exc()}
            print(json.dumps(answer), flush=True)
    finally:
        await host.close()


if __name__ == "__main__":
    become(int(sys.argv[2]))
    asyncio.run(serve(sys.argv[1]))
