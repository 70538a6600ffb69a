"""What both levels have in common of what the kernel's process does to itself before it runs anything (`inside`)."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellwright.errors import SandboxUnavailable

from .plan import Plan

Policy = dict[str, Any]
"""The JSON that `inside/__main__.py` is told."""

DEVICES = ["/dev/null", "/dev/zero", "/dev/full"]
SOCKETS = (1, 2, 10, 16)
"""Families of sockets: unix, IPv4, IPv6, and netlink for the list of interfaces. No vsock, packets, Bluetooth, ..."""
OPEN_FILES = 1024
LOCKED_BYTES = 64 * 1024
FROM_KERNELSPEC = frozenset(
    "CONDA_PREFIX GDAL_DATA JULIA_PROJECT LANG LC_ALL LD_LIBRARY_PATH MPLBACKEND PROJ_DATA PROJ_LIB SSL_CERT_FILE TZ "
    "VIRTUAL_ENV".split()
)
"""Variables that a kernelspec may set for its kernel: where libraries find their files; never keys."""
FROM_HOST = ("LANG", "LC_ALL", "TZ")
THREADS = (
    "OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS NUMEXPR_MAX_THREADS POLARS_MAX_THREADS RAYON_NUM_THREADS"
)


def limits(plan: Plan, others: bool) -> dict[str, int]:
    """Names in `resource` -> values. others: the system counts processes of the person's outside the sandbox, too."""
    settings = plan.settings
    wanted: dict[str, int | None] = {
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": OPEN_FILES,
        "RLIMIT_MEMLOCK": LOCKED_BYTES,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_DATA": settings.memory,
        "RLIMIT_FSIZE": settings.file_size,
        "RLIMIT_NPROC": settings.processes,
    }
    if others and settings.processes is not None:
        wanted["RLIMIT_NPROC"] = settings.processes + running_threads(os.getuid())
    return {name: value for name, value in wanted.items() if value is not None}


def counts_apart() -> bool:
    """Linux counts processes of each user namespace apart since 5.14; before, a person's others count, too."""
    major, minor = platform.release().split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)))) >= (5, 14)


def running_threads(uid: int) -> int:
    """How many processes and threads a user has now."""
    count = 0
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and process.stat().st_uid == uid:
                count += (process / "task").stat().st_nlink - 2
        except OSError:
            continue  # ended meanwhile
    return count


def write_connection_file(plan: Plan, sockets: Path) -> None:
    """The kernel's own, with its sockets where it sees them; it can read it, not change it."""
    content = json.loads((plan.run / "kernel.json").read_text()) | {"ip": str(sockets / "k")}
    file = plan.run / "inside.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(content))
    if plan.uid is not None:
        os.chown(file, -1, plan.uid)
        file.chmod(0o640)


def kernel_part(plan: Plan, connection_file: Path) -> Policy:
    """What to run at last; the kernelspec's command with the sandbox's connection file in it."""
    outside = str(plan.run / "kernel.json")
    rest = [str(connection_file) if word == outside else word for word in plan.kernel.rest]
    if rest == list(plan.kernel.rest):
        raise SandboxUnavailable("The kernelspec's command has no {connection_file}, so no code was run.")
    return {
        "module": plan.kernel.module,
        "command": rest,
        "folder": str(plan.workspace),
    }


def environment(plan: Plan, tmp: str, host: Mapping[str, str], kernelspec: Mapping[str, str]) -> dict[str, str]:
    """All variables that the kernel gets: none of the host's but its language and time zone."""
    found = {name: host[name] for name in FROM_HOST if name in host}
    found |= {name: value for name, value in kernelspec.items() if name in FROM_KERNELSPEC}
    # One library starting a thread for each of 64 cores would use up the processes allowed.
    most = plan.settings.processes
    threads = str(max(1, min(os.cpu_count() or 1, (most or 512) // 8)))
    found |= dict.fromkeys(THREADS.split(), threads)
    found |= {
        "PATH": f"{Path(plan.kernel.python).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": tmp,
        "TMPDIR": tmp,
        "IPYTHONDIR": f"{tmp}/.ipython",
        "MPLCONFIGDIR": f"{tmp}/.matplotlib",
        "USER": "sandbox",
        "LOGNAME": "sandbox",
        "PYTHONUNBUFFERED": "1",
    }
    if plan.python.user_base:
        found["PYTHONUSERBASE"] = plan.python.user_base
    found.setdefault("LANG", "C.UTF-8")
    found.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    return found
