"""Level `landlock`: no bubblewrap and, if need be, no namespaces; Landlock and seccomp alone (see `inside`).

For containers and systems that forbid namespaces. The sandbox sees the host's file names and process list, but opens
and signals nothing outside; some things that Python programs like to do are lost (`LOSSES`).
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from .inside import landlock
from .plan import Plan
from .policy import DEVICES, Policy, kernel_part, limits, write_connection_file

LEAST_ABI = 6
"""Landlock without signals and abstract sockets (Linux before 6.12) is no fence on its own."""
LOSSES = (
    "at level landlock these don't work: `!cmd` (`%%bash` and subprocess do), multiprocessing, connections to one's "
    "own ports, changing a file's mode, owner or times by name, psutil"
)
SYSTEM = (
    "/usr /bin /sbin /lib /lib64 /lib32 /etc/ld.so.cache /etc/localtime /etc/ssl /etc/pki /etc/ca-certificates "
    "/etc/alternatives /etc/fonts /etc/mime.types /etc/nsswitch.conf /dev/urandom /dev/random "
    "/proc/cpuinfo /proc/meminfo /proc/stat /proc/filesystems /proc/self /sys/devices/system/cpu"
).split()
LAUNCHER = Path(__file__).with_name("launch.py")


def obstacle(plan: Plan) -> str:
    """Why this level can't do what is asked here; empty when it can."""
    abi = landlock.abi()
    if abi < LEAST_ABI:
        return f"this Linux has Landlock version {abi}, {LEAST_ABI} is needed (Linux 6.12)"
    if plan.settings.network != "none":
        return "it can't give the network without the person's own sockets (Docker, SSH agent, desktop)"
    if not plan.kernel.module:
        return "the kernelspec's command is not `python -m module`"
    if plan.uid is not None:
        needed = (*plan.python.prefixes, plan.boot, plan.workspace, *plan.settings.read)
        for path in needed:
            if closed := closed_to_others(path):
                return (
                    f"root's sandbox runs as another user, who can't reach {path} because {closed} is closed to others"
                )
    return ""


def closed_to_others(path: Path) -> Path | None:
    """The first folder on the way to a path that other users may not pass through."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def temporary(plan: Plan) -> Path:
    """The sandbox's temporary folder; on disk, so its size is watched instead of fixed."""
    return plan.run / "tmp"


def prepare(plan: Plan) -> None:
    """The connection file and the temporary folder; let another user pass to what is its own."""
    write_connection_file(plan, plan.run / "s")
    temporary(plan).mkdir(mode=0o700, exist_ok=True)
    if plan.uid is not None:
        plan.run.chmod(0o711)
        os.chown(temporary(plan), plan.uid, plan.uid)


def command(plan: Plan, namespaces: bool) -> list[str]:
    """The launcher's command line."""
    kernel = plan.kernel
    inner = [kernel.python, *kernel.options, str(plan.boot), json.dumps(policy(plan))]
    launched = {
        "uid": plan.uid,
        "host": os.getpid(),
        "namespaces": namespaces,
        "command": inner,
    }
    return [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(launched)]


def policy(plan: Plan) -> Policy:
    """What the kernel's process locks itself into; here it is all there is."""
    return {
        "landlock": {
            "read": [*SYSTEM, *readable(plan)],
            "write": [str(plan.workspace), str(temporary(plan)), *DEVICES],
            "sockets": [str(plan.run / "s")],
            "terminals": [],  # they are the person's
            "deny_tcp": True,
        },
        "seccomp": {"families": [1], "alone": True},
        "uid": None,  # the launcher has changed it already
        "limits": limits(plan, others=plan.uid is None),
        **kernel_part(plan, plan.run / "inside.json"),
    }


def readable(plan: Plan) -> Iterable[str]:
    """The person's part of what may be read."""
    yield from map(str, (*plan.python.prefixes, *plan.settings.read, *map(Path.resolve, plan.python.links)))
    yield from (str(plan.run / "inside.json"), str(plan.boot))
