"""What isolation costs: starting until ready, a round trip, and the watchdog's own time; each next to no isolation."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from cellwright.errors import SandboxUnavailable
from cellwright.sandbox.isolation import PROVISIONER, Isolation, Level

from .table import show

if TYPE_CHECKING:
    from jupyter_client.asynchronous.client import AsyncKernelClient
    from jupyter_client.manager import AsyncKernelManager

ARGV = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
READY_SECONDS = 60.0
WATCHED_SECONDS = 5.0
LEVELS: tuple[Level, ...] = ("process", "bwrap", "landlock")


async def measure_isolation(rounds: int = 12, trips: int = 100) -> None:
    """Start to ready, interleaved; `x = 1` there and back; the watchdog beside an idle kernel and a busy one."""
    started: dict[Level, list[float]] = {}
    went: dict[Level, float] = {}
    watched: dict[Level, tuple[float, float]] = {}
    for level in LEVELS:
        try:
            async with kernel(level) as (manager, client, _):
                went[level] = await trip_seconds(client, trips)
                if level != "process":
                    watched[level] = await watching_share(manager, client)
                started[level] = []
        except SandboxUnavailable as error:
            print(f"\nisolation: level {level} is not measured. {error}")
    for _ in range(rounds):
        for level, times in started.items():
            async with kernel(level) as (_, _, seconds):
                times.append(seconds)
    rows = [row(level, times, started["process"], went[level], watched.get(level)) for level, times in started.items()]
    show(
        f"Isolation, {rounds} starts in turn (target: bwrap at most 80 ms more; watchdog under 0.5% of one core)",
        ["level", "start ms", "best ms", "more ms", "round trip ms", "watching idle %", "watching busy %"],
        rows,
    )


def row(
    level: str, times: list[float], plain: list[float], trip: float, watched: tuple[float, float] | None
) -> list[str]:
    """One level's line of the table."""
    more = (median(times) - median(plain)) * 1000
    shares = [f"{share * 100:.2f}" for share in watched] if watched else ["", ""]
    return [
        level,
        f"{median(times) * 1000:.0f}",
        f"{min(times) * 1000:.0f}",
        f"{more:.0f}",
        f"{trip * 1000:.2f}",
        *shares,
    ]


@asynccontextmanager
async def kernel(level: Level) -> AsyncIterator[tuple[AsyncKernelManager, AsyncKernelClient, float]]:
    """A kernel at a level, a client, and the seconds from the start until it answered. Raises `SandboxUnavailable`."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    workspace = Path(tempfile.mkdtemp(prefix="cw-bench-", dir="/tmp"))
    config = replace(Isolation(), level=level).as_config(workspace)
    manager = AsyncKernelManager(transport="ipc", connection_file=str(workspace / "kernel.json"))
    manager._kernel_spec = KernelSpec(
        argv=ARGV,
        display_name="measured",
        language="python",
        metadata={"kernel_provisioner": {"provisioner_name": PROVISIONER, "config": dict(config)}},
    )
    began = time.perf_counter()
    client: Any = None
    try:
        await manager.start_kernel(cwd=str(workspace))
        client = manager.client()
        client.start_channels(hb=False)
        client.kernel_info()
        await client.get_shell_msg(timeout=READY_SECONDS)
        yield manager, client, time.perf_counter() - began
    finally:
        if client is not None:
            client.stop_channels()
            await manager.shutdown_kernel(now=True)
        shutil.rmtree(workspace)


async def trip_seconds(client: AsyncKernelClient, trips: int) -> float:
    """Median seconds of `x = 1`, from the request to its reply."""
    taken = []
    for _ in range(trips):
        began = time.perf_counter()
        client.execute("x = 1", silent=True)
        await client.get_shell_msg(timeout=READY_SECONDS)
        taken.append(time.perf_counter() - began)
    return median(taken)


async def watching_share(manager: AsyncKernelManager, client: AsyncKernelClient) -> tuple[float, float]:
    """The watchdog's part of one core beside a kernel that waits, and beside one that computes with numpy."""
    watchdog = manager.provisioner.watchdog  # type: ignore[union-attr]
    shares = []
    for code in (
        "import numpy",
        "import numpy, time; e = time.time() + 5\nwhile time.time() < e: numpy.ones(10**6).sum()",
    ):
        client.execute(code)
        await asyncio.sleep(1.0)
        before = watchdog.spent
        await asyncio.sleep(WATCHED_SECONDS)
        shares.append((watchdog.spent - before) / WATCHED_SECONDS)
    return shares[0], shares[1]
