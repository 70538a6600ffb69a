"""Which level: the first that really starts. That a program is installed says nothing (containers, AppArmor, sysctls).

So nothing is tried out beforehand: the kernel itself is started at one level, and says `fenced` when all locks hold and
before anything else runs in it; when it doesn't, the next level is tried, or the start is refused.
"""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cellwright.errors import SandboxUnavailable, one_line

from . import bubblewrap, landlocked, processes
from .inside import landlock
from .plan import Plan
from .policy import environment

FENCE_SECONDS = 30.0
"""How long a sandbox may take until its locks hold: 0.1 s on an idle machine."""
WANTED = {"auto": ("bwrap", "landlock"), "bwrap": ("bwrap",), "landlock": ("landlock",)}
MACHINES = ("x86_64", "aarch64")
WAYS_ON = (
    "Install bubblewrap (`apt install bubblewrap`, `dnf install bubblewrap`) or let it make namespaces (in a "
    "container: `--security-opt seccomp=unconfined`; on Ubuntu: "
    "`sysctl kernel.apparmor_restrict_unprivileged_userns=0`); level "
    '"process" runs code without isolation.'
)

# PR_SET_PDEATHSIG (bubblewrap's --die-with-parent) fires when the *thread* that started it ends, not the process: so
# from a thread that only ends with the process.
_starter = ThreadPoolExecutor(1, thread_name_prefix="cellwright-sandbox")


class NotFencedError(Exception):
    """A level did not start; the text says why."""


@dataclass(frozen=True, slots=True)
class Started:
    """A kernel whose locks hold."""

    level: str
    why: str
    """Why not a stronger level; empty when there is none."""
    losses: str
    """What does not work at this level; empty when all does."""
    process: subprocess.Popen[bytes]
    """bubblewrap or the launcher: ends when the kernel ends."""
    kernel: int
    """The kernel's own process, the host's number."""


async def start(plan: Plan, host: Mapping[str, str], kernelspec: Mapping[str, str], namespaces: bool) -> Started:
    """Start the kernel at the first level that can be had. Raises `SandboxUnavailable`."""
    tried: dict[str, str] = {}
    for level in WANTED[plan.settings.level]:
        for name, command in ways(plan, level, namespaces, tried):
            tmp = "/tmp" if level == "bwrap" else str(landlocked.temporary(plan))
            variables = environment(plan, tmp, host, kernelspec)
            try:
                process, kernel = await begin(command(), variables)
            except NotFencedError as error:
                tried[name] = str(error)
                continue
            why = "; ".join(f"{name}: {reason}" for name, reason in tried.items())
            return Started(level, why if level == "landlock" else "", losses(level), process, kernel)
    raise unavailable(tried)


def ways(
    plan: Plan, level: str, namespaces: bool, tried: dict[str, str]
) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """Ways to start a level, as (name, its command line); what can't be tried is noted in `tried`."""
    if level == "landlock":
        if why := landlocked.obstacle(plan):
            tried[level] = why
            return
        landlocked.prepare(plan)
        yield level, lambda: landlocked.command(plan, namespaces)
        return
    if not plan.programs:
        tried[level] = "bubblewrap (the program bwrap) is not installed"
    bubblewrap.prepare(plan)
    for program in plan.programs:
        yield f"bwrap ({program})", lambda program=program: bubblewrap.command(program, plan)  # type: ignore[misc]


def losses(level: str) -> str:
    """What a person should know about a level, in one line."""
    if level == "landlock":
        return landlocked.LOSSES
    if landlock.abi() == 0:
        return "this Linux has no Landlock: bubblewrap and seccomp hold without it"
    return ""


def check_machine() -> None:
    """Raises `SandboxUnavailable` where there is no level at all."""
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        raise SandboxUnavailable(
            f"No sandbox can be started on {platform.system()} {platform.machine()}, so no code was run: isolation "
            f'needs Linux on {" or ".join(MACHINES)}. Level "process" runs code without isolation.'
        )


def unavailable(tried: Mapping[str, str]) -> SandboxUnavailable:
    """What was tried, why it failed, what to do."""
    reasons = "; ".join(f"{name}: {why.rstrip('.')}" for name, why in tried.items())
    return SandboxUnavailable(f"No sandbox could be started, so no code was run. {reasons}. {WAYS_ON}")


async def begin(command: list[str], variables: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start a process and wait until the kernel in it says that its locks hold. Raises `NotFencedError`.

    Returns the process and the number of the kernel's own.
    """
    loop = asyncio.get_running_loop()
    heard, said = os.pipe()
    try:
        process = await loop.run_in_executor(_starter, _spawn, command, variables, said)
    except OSError as error:
        os.close(heard)
        raise NotFencedError(f"it can't be run ({error.strerror})") from error
    finally:
        os.close(said)
    try:
        async with asyncio.timeout(FENCE_SECONDS):
            words = await _listen(heard)
    except TimeoutError:
        process.kill()
        words = f"nothing was heard of it for {FENCE_SECONDS:g} s"
    except BaseException:  # cancelled: a half-started sandbox must not stay; it is raised again
        process.kill()
        raise
    finally:
        os.close(heard)
    if words.splitlines()[-1:] == ["fenced"]:
        # At this moment it is the last of a chain of only children, and nothing foreign has run in it.
        return process, processes.last_descendant(process.pid)
    process.kill()
    status = await asyncio.to_thread(process.wait)
    raise NotFencedError(reason(words) or f"it ended with exit status {status}")


def _spawn(command: list[str], variables: Mapping[str, str], said: int) -> subprocess.Popen[bytes]:
    # Not through jupyter_client's launch_kernel: it sets JPY_PARENT_PID, with which the kernel in its own namespace
    # takes its parent for dead and ends.
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
        env=dict(variables), cwd="/", start_new_session=True,
    )  # fmt: skip


async def _listen(heard: int) -> str:
    """What is said on a pipe until `fenced`, or its end."""
    loop = asyncio.get_running_loop()
    os.set_blocking(heard, False)
    words = b""
    while not words.endswith(b"fenced\n"):
        readable = asyncio.Event()
        loop.add_reader(heard, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(heard)
        piece = os.read(heard, 4096)
        if not piece:
            break
        words += piece
    return words.decode(errors="replace")


def reason(words: str) -> str:
    """The line that says why: the last, without the name of the program."""
    lines = [line for line in words.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    return one_line(last.removeprefix("bwrap: ").removeprefix("fence: "))
