"""The parent of a sandbox at level `landlock`: `python -I -S launch.py PLAN`, outside the locks, standard library only.

Landlock ends nothing. So this process stays beside the kernel, gathers what the kernel leaves behind (it is their
"subreaper"), dies with the host, and when it is told to end, or the kernel ends, it ends every descendant first. Where
the system allows it, the kernel also gets namespaces of its own; where not, it works without.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36
NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
ENDED_BY_SIGNAL = 128
SWEEPS = 200

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Start the kernel, wait for its end or ours, leave nothing behind."""
    plan = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until there is something to end
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    die_with(plan["host"], signal.SIGTERM)
    us = os.getpid()
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        signal.signal(signal.SIGINT, signal.default_int_handler)
        become_kernel(plan, us)
    signal.signal(signal.SIGTERM, lambda *_: end(ENDED_BY_SIGNAL + signal.SIGKILL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == child:
            end(exit_status(status))


def become_kernel(plan: dict[str, object], launcher: int) -> NoReturn:
    """In the child: give up root, take namespaces if they can be had, run the kernel."""
    command = plan["command"]
    assert isinstance(command, list)
    if isinstance(plan["uid"], int):
        become(plan["uid"])
    die_with(launcher, signal.SIGKILL)
    if plan["namespaces"] and take_namespaces():
        # Twice: the first child in the namespace is its process 1, the second is the kernel.
        for _ in ("process 1", "the kernel"):
            child = os.fork()
            if child:
                wait_for(child)
            die_with(0, signal.SIGKILL)
    os.execv(command[0], command)


def become(uid: int) -> None:
    """Give up root for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    _libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # else /proc/self/uid_map can't be written


def die_with(parent: int, with_signal: int) -> None:
    """End when the parent ends; at once if it has ended already (0: don't look)."""
    _libc.prctl(PR_SET_PDEATHSIG, with_signal, 0, 0, 0)
    if parent and os.getppid() != parent:
        os._exit(ENDED_BY_SIGNAL + signal.SIGTERM)


def take_namespaces() -> bool:
    """Processes, network, shared memory and host name of its own, as the same user. False where the system refuses."""
    uid, gid = os.getuid(), os.getgid()
    if _libc.unshare(NEWUSER | NEWPID | NEWIPC | NEWUTS | NEWNET):
        return False
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    return True


def wait_for(child: int) -> NoReturn:
    """Stand between: outside the namespace, or as its process 1, whose work it is to wait for all that end.

    The kernel must not be process 1: its interrupt of its own group would be kill(-1), and signals that it sends itself
    (`os.kill(os.getpid(), 9)`, an extension module's crash) would do nothing.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == child:
            os._exit(exit_status(status))


def exit_status(status: int) -> int:
    """As a shell says it: 128 and the signal's number for what a signal ended."""
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else ENDED_BY_SIGNAL + os.WTERMSIG(status)


def end(status: int) -> NoReturn:
    """End all descendants, then ourselves."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    # Frozen before they are ended: something that only forks can't outrun this.
    for round_ in range(SWEEPS):
        left = descendants(os.getpid())
        if not left:
            break
        for with_signal in (signal.SIGSTOP, signal.SIGKILL) if round_ == 0 else (signal.SIGKILL,):
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, with_signal)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.005)
    os._exit(status)


def descendants(pid: int) -> list[int]:
    """Children of all threads, and theirs."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


if __name__ == "__main__":
    main()
