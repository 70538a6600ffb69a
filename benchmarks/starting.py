"""How long things take to begin: `import cellwright`, and a kernel until it answers; each in fresh processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from importlib.util import find_spec
from statistics import median

from .table import show

CELLWRIGHT = [sys.executable, "-m", "cellwright_kernel", "-f", "{connection_file}"]
IPYKERNEL = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
READY_SECONDS = 60.0


async def measure_import(rounds: int = 5) -> None:
    """`import cellwright` next to what an agent of it, and smolagents, import."""
    statements = ["import cellwright", "from cellwright import CodeAgent, tool"]
    if find_spec("smolagents"):
        statements += ["import smolagents", "from smolagents import CodeAgent, tool"]
    taken: dict[str, list[float]] = {statement: [] for statement in statements}
    for _ in range(rounds):
        for statement in statements:
            taken[statement].append(import_seconds(statement))
    rows = [[f"`{s}`", f"{median(times) * 1000:.0f}", f"{min(times) * 1000:.0f}"] for s, times in taken.items()]
    show(
        f"Import, {rounds} fresh processes each (target: `import cellwright` <= 100 ms)",
        ["", "median ms", "best ms"],
        rows,
    )


def import_seconds(statement: str) -> float:
    """Seconds that a statement takes in a fresh Python, its own start left out."""
    program = f"import time; began = time.perf_counter(); {statement}; print(time.perf_counter() - began)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


async def measure_kernel(rounds: int = 7) -> None:
    """A Cellwright kernel from start until it answers, next to a plain IPython kernel, in turn."""
    if find_spec("cellwright_kernel.__main__") is None:
        print("\nkernel: there is no `python -m cellwright_kernel` yet; nothing measured.")
        return
    plain, ours = [], []
    for _ in range(rounds):
        plain.append(await ready_seconds(IPYKERNEL))
        ours.append(await ready_seconds(CELLWRIGHT))
    rows = [
        ["python3", f"{median(plain) * 1000:.0f}", f"{min(plain) * 1000:.0f}", "1.00"],
        ["cellwright", f"{median(ours) * 1000:.0f}", f"{min(ours) * 1000:.0f}", f"{median(ours) / median(plain):.2f}"],
    ]
    show(
        f"Kernel, start until it answers, {rounds} in turn (target <= 1.3)", ["", "median ms", "best ms", "ratio"], rows
    )


async def ready_seconds(command: list[str]) -> float:
    """Seconds from starting the process until it answers `kernel_info_request`."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    manager = AsyncKernelManager(transport="ipc")
    # A spec that is installed nowhere: what is measured is this environment's code.
    manager._kernel_spec = KernelSpec(argv=command, display_name="measured", language="python")
    began = time.perf_counter()
    await manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = manager.client()
    try:
        client.start_channels(hb=False)
        client.kernel_info()
        async with asyncio.timeout(READY_SECONDS):
            await client.get_shell_msg(timeout=READY_SECONDS)
        return time.perf_counter() - began
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
