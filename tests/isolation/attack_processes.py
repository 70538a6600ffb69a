"""Attacks on the host's processes: their memory, their open files, their lives."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import signal

from isolation.attack_tools import Bait, checked, in_child, libc, seen, syscall, text_of


def read_host_environment(bait: Bait) -> str:
    """Take the keys from the environment of the process that started the sandbox."""
    return seen(bait["canary"], text_of(f"/proc/{bait['host_pid']}/environ"))


def read_parents_environment(bait: Bait) -> str:
    """The same from its parents, whatever their numbers are in here."""
    pid, texts = os.getppid(), []
    while pid > 0:
        with contextlib.suppress(OSError):
            texts.append(text_of(f"/proc/{pid}/environ"))
        pid = int(text_of(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[1])
    return seen(bait["canary"], " ".join(texts))


def list_processes(bait: Bait) -> str:
    """See what else runs, and with which arguments (passwords are often among them)."""
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and bait["victim_mark"] in text_of(f"/proc/{name}/cmdline"):
                return f"saw process {name}"
    return ""


def read_memory_by_proc(bait: Bait) -> str:
    """Read a secret from the host's memory."""
    with open(f"/proc/{bait['host_pid']}/mem", "rb", buffering=0) as memory:
        memory.seek(bait["secret_address"])
        return seen(bait["canary"], memory.read(bait["secret_length"]).decode(errors="replace"))


def read_memory_by_call(bait: Bait) -> str:
    """The same with process_vm_readv."""
    buffer = ctypes.create_string_buffer(bait["secret_length"])
    local = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), len(buffer))
    remote = (ctypes.c_ulong * 2)(bait["secret_address"], len(buffer))
    syscall("process_vm_readv", bait["host_pid"], local, 1, remote, 1, 0)
    return seen(bait["canary"], buffer.raw.decode(errors="replace"))


def write_memory_by_call(bait: Bait) -> str:
    """Change the host's memory, that is: make it do anything."""
    buffer = ctypes.create_string_buffer(b"planted")
    local = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 7)
    remote = (ctypes.c_ulong * 2)(bait["scratch_address"], 7)
    return f"wrote {syscall('process_vm_writev', bait['host_pid'], local, 1, remote, 1, 0)} bytes"


def ptrace_victim(bait: Bait) -> str:
    """Take over a process of the person."""

    def work() -> str:
        syscall("ptrace", 0x4206, bait["victim"], 0, 0)  # PTRACE_SEIZE: does not stop it
        return "attached"

    return in_child(work)


def steal_descriptor(bait: Bait) -> str:
    """Take an open file out of the host process."""
    process = syscall("pidfd_open", bait["host_pid"], 0)
    try:
        file = syscall("pidfd_getfd", process, bait["open_fd"], 0)
    finally:
        os.close(process)
    os.lseek(file, 0, os.SEEK_SET)
    with os.fdopen(file, "rb") as stolen:
        return seen(bait["canary"], stolen.read().decode(errors="replace"))


def compare_processes(bait: Bait) -> str:
    """Learn what the host and its children share (kcmp)."""
    syscall("kcmp", bait["host_pid"], bait["victim"], 0, 0, 0)
    return "answered"


def kill_victim(bait: Bait) -> str:
    """End the person's work."""
    os.kill(bait["victim"], signal.SIGKILL)
    return f"signal sent to {bait['victim']}"


def kill_group(bait: Bait) -> str:
    """The same by its group."""
    os.killpg(bait["victim"], signal.SIGKILL)
    return f"signal sent to the group {bait['victim']}"


def kill_thread(bait: Bait) -> str:
    """The same by one of its threads."""
    syscall("tgkill", bait["victim"], bait["victim"], signal.SIGKILL)
    return f"signal sent to {bait['victim']}"


def kill_by_queue(bait: Bait) -> str:
    """The same with a queued signal."""
    info = ctypes.create_string_buffer(128)
    ctypes.cast(info, ctypes.POINTER(ctypes.c_int))[2] = -1  # si_code SI_QUEUE: what a program may send
    syscall("rt_sigqueueinfo", bait["victim"], signal.SIGTERM, info)
    return f"signal sent to {bait['victim']}"


def kill_by_descriptor(bait: Bait) -> str:
    """The same through a descriptor of the process."""
    process = syscall("pidfd_open", bait["victim"], 0)
    try:
        syscall("pidfd_send_signal", process, signal.SIGKILL, 0, 0)
    finally:
        os.close(process)
    return f"signal sent to {bait['victim']}"


def kill_by_io_owner(bait: Bait) -> str:
    """The same by a detour: a pipe whose "owner" is signalled when it becomes readable."""
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(reading, 10, signal.SIGKILL)  # F_SETSIG
        fcntl.fcntl(reading, fcntl.F_SETOWN, bait["victim"])
        fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        os.write(writing, b"x")
    finally:
        os.close(reading)
        os.close(writing)
    return ""  # whether it worked, the host sees


def limit_victim(bait: Bait) -> str:
    """Change the limits of the person's processes, so that they fail (prlimit)."""
    wanted = (ctypes.c_ulong * 2)(12345, 12345)
    syscall("prlimit64", bait["victim"], resource.RLIMIT_NOFILE, wanted, 0)
    return "its limit of open files is another"


def slow_victim(bait: Bait) -> str:
    """Make the person's processes wait (nice)."""
    os.setpriority(os.PRIO_PROCESS, bait["victim"], 19)
    return ""  # success may be pretended; the host looks at what became of its process


def slow_all_of_user(bait: Bait) -> str:
    """The same for everything of this user at once."""
    os.setpriority(os.PRIO_PGRP, bait["victim"], 18)
    return ""  # success may be pretended; the host looks at what became of its process


def pin_victim(bait: Bait) -> str:
    """Put the person's processes on one processor."""
    os.sched_setaffinity(bait["victim"], {0})
    return ""  # success may be pretended; the host looks at what became of its process


def schedule_victim(bait: Bait) -> str:
    """Let the person's processes run only when nothing else does."""
    os.sched_setscheduler(bait["victim"], os.SCHED_IDLE, os.sched_param(0))
    return ""  # success may be pretended; the host looks at what became of its process


def starve_victims_disk(bait: Bait) -> str:
    """Make the person's processes wait for the disk."""
    syscall("ioprio_set", 1, bait["victim"], 3 << 13)
    return ""  # success may be pretended; the host looks at what became of its process


def offer_victim_to_oom(bait: Bait) -> str:
    """Let the person's processes be the first to die when memory ends."""
    with open(f"/proc/{bait['victim']}/oom_score_adj", "w") as file:
        file.write("1000")
    return "its oom_score_adj is 1000"


def join_namespaces(bait: Bait) -> str:
    """Go back into the host's namespaces."""

    def work() -> str:
        with open(f"/proc/{bait['host_pid']}/ns/net", "rb") as namespace:
            checked(libc.setns(namespace.fileno(), 0), "setns")
        return "joined the host's network"

    return in_child(work)


def join_namespaces_by_descriptor(bait: Bait) -> str:
    """The same through a descriptor of the process."""

    def work() -> str:
        process = syscall("pidfd_open", bait["host_pid"], 0)
        syscall("setns", process, 0x40000000)  # CLONE_NEWNET
        return "joined the host's network"

    return in_child(work)


def become_root(bait: Bait) -> str:
    """Have root's rights again."""
    if os.geteuid() != 0:
        os.setresuid(0, 0, 0)
    return "it is root on the host" if bait["uid"] == 0 and _is_first_namespace() else ""


def gain_by_setuid_program(bait: Bait) -> str:
    """Have root's rights through a program such as su: no_new_privs must be set."""
    no_new_privs = libc.prctl(39, 0, 0, 0, 0)  # PR_GET_NO_NEW_PRIVS
    return "no_new_privs is not set" if no_new_privs == 0 else ""


def _is_first_namespace() -> bool:
    return text_of("/proc/self/uid_map").split() == ["0", "0", "4294967295"]
