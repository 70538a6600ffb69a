"""Locks the door from the inside, then becomes the kernel: `python inside POLICY`.

Order matters: what needs rights comes first (out-of-memory score, user), then limits, then the three locks, each of
which holds for this process and all that it starts: no new privileges, Landlock, seccomp. Only then `fenced` is said on
standard error, which goes to the host, and the kernel's own code is run; nothing that a model wrote has run before.
Standard library and old syntax only: this runs in the person's environment, not in ours. Not `python -I`: IPython would
take that as a wish to have no imports from the workspace; the variables that Python reads are the host's to set.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import landlock, seccomp
else:  # Python puts the folder that it was told to run first on sys.path
    import landlock
    import seccomp

SAID_WHEN_FENCED = "fenced"
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    """Lock, say so, run the kernel."""
    policy = json.loads(sys.argv[1])
    try:
        lock(policy)
    except (OSError, ValueError, KeyError) as error:
        sys.exit("fence: " + str(error))
    be_silent()
    forget_ourselves()
    run(policy["command"], policy["module"], policy["seccomp"]["alone"])


def lock(policy: dict[str, Any]) -> None:
    """Everything that can't be undone. Raises `OSError` where the system refuses a lock."""
    volunteer_to_be_killed()
    os.closerange(3, 4096)
    if policy["uid"] is not None:
        become(policy["uid"])
    if os.getsid(0) != os.getpid():
        os.setsid()  # a group of its own, so that an interrupt meets the kernel and its foreground, nothing else
    os.umask(0o077)
    os.chdir(policy["folder"])  # not before: it is closed to who we were
    os.environ["PWD"] = policy["folder"]
    limit(policy["limits"])
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs was refused")
    if policy["landlock"] is not None:
        landlock.restrict(**policy["landlock"])
    seccomp.restrict(**policy["seccomp"])


def volunteer_to_be_killed() -> None:
    """When the machine runs out of memory, the sandbox goes first."""
    with contextlib.suppress(OSError):  # a convenience for the machine, not a lock
        Path("/proc/self/oom_score_adj").write_text("1000")


def become(uid: int) -> None:
    """Give up root for good. Limits on processes don't count for root, and its files are the system's."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    # A process that changed its user can't look at itself in /proc (subprocess, psutil) until this is said.
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def limit(limits: dict[str, int]) -> None:
    """Set soft and hard limits by their names in `resource`, never above what already holds."""
    for name, value in limits.items():
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (most, most))


def be_silent() -> None:
    """Tell the host that the locks hold; from here on nothing is written outside the notebook's channels."""
    os.write(2, (SAID_WHEN_FENCED + "\n").encode())
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)


def forget_ourselves() -> None:
    """Leave no module and no path behind that could shadow a package of the person's."""
    del sys.path[0]
    for name in ("landlock", "seccomp", "syscalls"):
        sys.modules.pop(name, None)


def run(command: list[str], module: str, alone: bool) -> None:
    """Become the kernel: its module in this process, or, when it is not a Python module, another program."""
    if not module:
        os.execv(command[0], command)
    if alone:
        do_without_loopback()
        change_open_files_only()
    sys.argv = [module, *command]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def do_without_loopback() -> None:
    """ipykernel binds 127.0.0.1 for what forked children print, and libzmq aborts the process when it may not."""
    try:
        from ipykernel.iostream import IOPubThread
    except ImportError:
        return

    def no_pipe(self: Any) -> None:
        self._pipe_flag = False

    IOPubThread._setup_pipe_in = no_pipe


def change_open_files_only() -> None:
    """Let Python change modes and times (`shutil.copy` does) where that is allowed for open files only."""

    def chmod(path: Any, mode: int, *, dir_fd: Any = None, follow_symlinks: bool = True) -> None:
        with opened(path, dir_fd, follow_symlinks) as file:
            os.fchmod(file, mode)

    def utime(path: Any, *times: Any, dir_fd: Any = None, follow_symlinks: bool = True, **more: Any) -> None:
        with opened(path, dir_fd, follow_symlinks) as file:
            by_path(file, *times, **more)

    by_path = os.utime
    os.chmod, os.utime = chmod, utime


@contextlib.contextmanager
def opened(path: Any, dir_fd: Any, follow_symlinks: bool) -> Any:
    """A descriptor of a file; a descriptor is left as it is."""
    if isinstance(path, int):
        yield path
        return
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_symlinks else os.O_NOFOLLOW)
    file = os.open(path, flags, dir_fd=dir_fd)
    try:
        yield file
    finally:
        os.close(file)


if __name__ == "__main__":
    main()
