"""What the attack programs have in common. Sent into the sandbox with them, so it needs the standard library only.

An attack is a function of the bait (`targets.py`) that returns evidence of what it reached, or "" when that is nothing;
a refusal by the system is an OSError. An attacker who knows every path, port, process and address is the worst case.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable
from typing import Any

Bait = dict[str, Any]

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

_X86 = {
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "prlimit64": 302, "tgkill": 234,
    "rt_sigqueueinfo": 129, "pidfd_open": 434, "pidfd_send_signal": 424, "pidfd_getfd": 438, "io_uring_setup": 425,
    "unshare": 272, "clone": 56, "clone3": 435, "setns": 308, "open_tree": 428, "fsopen": 430, "mount": 165,
    "mount_setattr": 442, "pivot_root": 155, "bpf": 321, "perf_event_open": 298, "keyctl": 250, "add_key": 248,
    "request_key": 249, "memfd_create": 319, "memfd_secret": 447, "userfaultfd": 323, "personality": 135,
    "name_to_handle_at": 303, "open_by_handle_at": 304, "fchmodat2": 452, "kcmp": 312, "init_module": 175,
    "finit_module": 313, "delete_module": 176, "kexec_load": 246, "swapon": 167, "swapoff": 168, "reboot": 169,
    "settimeofday": 164, "clock_settime": 227, "acct": 163, "syslog": 103, "quotactl": 179, "fanotify_init": 300,
    "sethostname": 170, "iopl": 172, "modify_ldt": 154, "migrate_pages": 256,
    "move_pages": 279, "shmget": 29, "semget": 64, "msgget": 68, "mq_open": 240, "ioprio_set": 251, "ioprio_get": 252,
}  # fmt: skip
_ARM = {
    "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "prlimit64": 261, "tgkill": 131,
    "rt_sigqueueinfo": 138, "pidfd_open": 434, "pidfd_send_signal": 424, "pidfd_getfd": 438, "io_uring_setup": 425,
    "unshare": 97, "clone": 220, "clone3": 435, "setns": 268, "open_tree": 428, "fsopen": 430, "mount": 40,
    "mount_setattr": 442, "pivot_root": 41, "bpf": 280, "perf_event_open": 241, "keyctl": 219, "add_key": 217,
    "request_key": 218, "memfd_create": 279, "memfd_secret": 447, "userfaultfd": 282, "personality": 92,
    "name_to_handle_at": 264, "open_by_handle_at": 265, "fchmodat2": 452, "kcmp": 272, "init_module": 105,
    "finit_module": 273, "delete_module": 106, "kexec_load": 104, "swapon": 224, "swapoff": 225, "reboot": 142,
    "settimeofday": 170, "clock_settime": 112, "acct": 89, "syslog": 116, "quotactl": 60, "fanotify_init": 262,
    "sethostname": 161, "migrate_pages": 238, "move_pages": 239, "shmget": 194, "semget": 190,
    "msgget": 186, "mq_open": 180, "ioprio_set": 30, "ioprio_get": 31,
}  # fmt: skip
NUMBERS = {"x86_64": _X86, "aarch64": _ARM}[platform.machine()]


class Refused(OSError):
    """The system said no in another way than by an error number."""


def checked(result: int, what: str) -> int:
    """`result` of a C call; raises OSError for a negative one."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(name: str, *arguments: Any) -> int:
    """A system call by name, past whatever the C library would do. Raises OSError."""
    plain = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return checked(libc.syscall(ctypes.c_long(NUMBERS[name]), *plain), name)


def text_of(path: str) -> str:
    """The start of a file. Raises OSError."""
    with open(path, "rb") as file:
        return file.read(65536).decode(errors="replace")


def seen(canary: str, text: str) -> str:
    """Evidence when `canary` is in `text`."""
    return f"read {canary}" if canary in text else ""


def in_child(work: Callable[[], str]) -> str:
    """Evidence of `work`, done in a forked child: what it does to itself does not stay with the kernel."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = work() or "-"
        except OSError as error:
            said = f"!{error}"
        except BaseException as error:  # noqa: BLE001 - whatever it is, the child must not return into the kernel
            said = f"?{error!r}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise Refused(f"the child was killed by signal {os.WTERMSIG(status)}")
    if said.startswith("!"):
        raise Refused(said[1:])
    if said.startswith("?"):
        raise RuntimeError(said[1:])
    return "" if said == "-" else said


def outcome(attack: Callable[[Bait], str], bait: Bait) -> dict[str, Any]:
    """What became of an attack, as data."""
    try:
        evidence = attack(bait)
    except OSError as error:
        return {"reached": False, "evidence": f"{type(error).__name__}: {error}"}
    return {"reached": bool(evidence), "evidence": evidence or "it found nothing"}
