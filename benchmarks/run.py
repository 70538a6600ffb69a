"""Measures what Cellwright costs and what it solves, and prints tables; nothing is asserted.

    python -m benchmarks                # everything, about five minutes
    python benchmarks/run.py import stop   # only these parts

Parts: tasks (ten small tasks with the embedded model), notebook (tasks on a file and a variable), import, kernel (start
until ready), stop (how long a stop takes), steps (our own cost for each step, early and late in a run of 1,000), agents
(ten managed agents at once), isolation (what the sandbox's fence costs), journal (a step on disk, lists and searches of
10,000 runs), audit (export, verify), view (clicks and long runs in JupyterLab; needs Chromium). What is compared is
measured in turn: a busy machine slows both sides. Times depend on the machine: read the ratios.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from importlib import import_module
from pathlib import Path

PARTS = {
    "tasks": "solving",
    "notebook": "solving",
    "import": "starting",
    "kernel": "starting",
    "stop": "stopping",
    "steps": "stepping",
    "agents": "parallel",
    "prompt": "prompting",
    "cutting": "cutting",
    "isolation": "isolation",
    "journal": "journaling",
    "audit": "auditing",
    "view": "viewing",
}
"""Name of a part -> the module that holds it as `measure_<name>`."""


async def measure(parts: list[str]) -> None:
    """Run the parts one after another."""
    processor = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    print(f"Python {platform.python_version()}, {processor}, load {os.getloadavg()[0]:.1f}")
    for part in parts:
        module = import_module(f"benchmarks.{PARTS[part]}")
        await getattr(module, f"measure_{part}")()


def main() -> None:
    """Run the parts named on the command line, or all."""
    parts = sys.argv[1:] or list(PARTS)
    if unknown := [part for part in parts if part not in PARTS]:
        sys.exit(f"There is no part {unknown[0]!r}; there are: {', '.join(PARTS)}.")
    asyncio.run(measure(parts))


if __name__ == "__main__":
    # Started as a file, Python looks beside it for modules, not in the folder that holds this package.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
