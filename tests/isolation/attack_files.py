"""Attacks on files: the person's secrets, their other work, and what would run later with their rights."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import sysconfig

from isolation.attack_tools import Bait, checked, in_child, libc, seen, syscall, text_of


def read_ssh_key(bait: Bait) -> str:
    """Log in wherever the person can."""
    return seen(bait["canary"], text_of(bait["ssh_key"]))


def read_key_file(bait: Bait) -> str:
    """Spend the person's money with their provider's key."""
    return seen(bait["canary"], text_of(bait["key_file"]))


def read_shadow(bait: Bait) -> str:
    """Guess passwords at leisure."""
    return "opened" if text_of("/etc/shadow") else ""


def list_home(bait: Bait) -> str:
    """Know what there is to take."""
    return f"saw {bait['home']}/.ssh" if ".ssh" in os.listdir(bait["home"]) else ""


def learn_of_file(bait: Bait) -> str:
    """Know that a file is there, how large it is and when it was changed."""
    return f"it has {os.stat(bait['ssh_key']).st_size} bytes"


def watch_file(bait: Bait) -> str:
    """Know when the person uses a file."""
    watch = checked(libc.inotify_init1(os.O_CLOEXEC), "inotify_init1")
    try:
        return f"watch {checked(libc.inotify_add_watch(watch, bait['ssh_key'].encode(), 0xFFF), 'inotify_add_watch')}"
    finally:
        os.close(watch)


def change_mode(bait: Bait) -> str:
    """Open a file of the person's to everybody, or close it to them."""
    os.chmod(bait["journal"], 0o600)
    return "its mode is another"


def change_owner(bait: Bait) -> str:
    """Give a file of the person's to somebody else."""
    os.chown(bait["journal"], -1, os.getgid())
    return "its group was set"


def change_times(bait: Bait) -> str:
    """Make it look as if a file had been changed long ago."""
    os.utime(bait["journal"], (1, 1))
    return "its times are others"


def change_attributes(bait: Bait) -> str:
    """Mark a file of the person's."""
    os.setxattr(bait["journal"], "user.planted", b"x")
    return "it has an attribute more"


def read_other_workspace(bait: Bait) -> str:
    """Read the data of another session."""
    return seen(bait["canary"], text_of(bait["other_workspace"] + "/data.csv"))


def write_other_workspace(bait: Bait) -> str:
    """Change the data of another session."""
    return _write(bait["other_workspace"] + "/planted.csv")


def read_journal(bait: Bait) -> str:
    """Read all runs that ever were: tasks, data, answers."""
    return seen(bait["canary"], text_of(bait["journal"]))


def write_journal(bait: Bait) -> str:
    """Rewrite the audit trail."""
    with open(bait["journal"], "ab") as file:
        file.write(b"forged\n")
    return "the journal was written to"


def read_environment(bait: Bait) -> str:
    """Take a key that came with the environment."""
    return seen(bait["canary"], " ".join(os.environ.values()) + text_of("/proc/self/environ"))


def read_through_proc_root(bait: Bait) -> str:
    """Walk to the host's files through another process's view of them."""
    return seen(bait["canary"], text_of(f"/proc/{bait['host_pid']}/root{bait['ssh_key']}"))


def read_through_proc_cwd(bait: Bait) -> str:
    """Walk to the person's notebook folder through the host process."""
    return f"saw {bait['notebook']}" if bait["notebook"] in os.listdir(f"/proc/{bait['host_pid']}/cwd") else ""


def read_open_file_of_host(bait: Bait) -> str:
    """Read a file that the host has open."""
    return seen(bait["canary"], text_of(f"/proc/{bait['host_pid']}/fd/{bait['open_fd']}"))


def inherited_descriptor(bait: Bait) -> str:
    """Use a file or folder that the host left open for its children."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            path = os.readlink(f"/proc/self/fd/{name}")
            if path in (bait["ssh_key"], bait["home"], bait["notebook_folder"]):
                return f"descriptor {name} is {path}"
    return ""


def read_by_handle(bait: Bait) -> str:
    """Open a file by its number on the disk, past all folders (open_by_handle_at, the way out of early containers)."""
    handle = bytes.fromhex(bait["handle"])
    blob = (ctypes.c_uint * 2)(len(handle), bait["handle_type"])
    buffer = ctypes.create_string_buffer(bytes(blob) + handle)
    mount = os.open(".", os.O_RDONLY)
    try:
        file = syscall("open_by_handle_at", mount, buffer, os.O_RDONLY)
    finally:
        os.close(mount)
    with os.fdopen(file, "rb") as opened:
        return seen(bait["canary"], opened.read(65536).decode(errors="replace"))


def read_by_symlink(bait: Bait) -> str:
    """Read a host file through a link in the workspace."""
    return seen(bait["canary"], text_of(_fresh_link("link.txt", bait["ssh_key"])))


def hardlink_out(bait: Bait) -> str:
    """Give a host file a name in the workspace."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink("hard.txt")
    os.link(bait["ssh_key"], "hard.txt")
    return seen(bait["canary"], text_of("hard.txt"))


def rename_out(bait: Bait) -> str:
    """Move a file of the sandbox over one of the person's."""
    with open("renamed.txt", "w") as file:
        file.write("planted")
    os.rename("renamed.txt", bait["home"] + "/.profile")
    return f"{bait['home']}/.profile is now the sandbox's"


def write_home(bait: Bait) -> str:
    """Leave something that runs at the person's next login."""
    return _write(bait["home"] + "/.planted")


def write_notebook_folder(bait: Bait) -> str:
    """Plant a module beside the notebook, imported by the person's kernel."""
    return _write(bait["notebook_folder"] + "/numpy.py")


def write_site_packages(bait: Bait) -> str:
    """Run code in every Python program of this environment from now on."""
    return _write(sysconfig.get_path("purelib") + "/cellwright_planted.pth", keep=False)


def write_usr(bait: Bait) -> str:
    """Replace the programs that everybody runs."""
    return _write("/usr/local/bin/cellwright-planted", keep=False)


def write_etc(bait: Bait) -> str:
    """Change the machine's settings."""
    return _write("/etc/cellwright-planted", keep=False)


def write_readable_folder(bait: Bait) -> str:
    """Change a folder that was given for reading only (`--read`)."""
    return _write(bait["readable"] + "/planted.txt")


def truncate_readable_file(bait: Bait) -> str:
    """Empty a file that was given for reading only."""
    os.truncate(bait["readable"] + "/given.txt", 0)
    return "it is empty now"


def setuid_by_chmod(bait: Bait) -> str:
    """Leave a program that runs with this user's rights, whoever starts it."""
    with open("suid-chmod", "w"):
        pass
    os.chmod("suid-chmod", 0o4755)
    return _setuid("suid-chmod")


def setuid_by_fchmod(bait: Bait) -> str:
    """The same through an open file."""
    with open("suid-fchmod", "w") as file:
        os.fchmod(file.fileno(), 0o6755)
    return _setuid("suid-fchmod")


def setuid_by_fchmodat2(bait: Bait) -> str:
    """The same by the newest of these calls."""
    with open("suid-fchmodat2", "w"):
        pass
    syscall("fchmodat2", -100, b"suid-fchmodat2", 0o4755, 0)
    return _setuid("suid-fchmodat2")


def setuid_by_open(bait: Bait) -> str:
    """The same at creation."""
    os.close(os.open("suid-open", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o4755))
    return _setuid("suid-open")


def setuid_by_mknod(bait: Bait) -> str:
    """The same with mknod, which makes ordinary files, too."""
    os.mknod("suid-mknod", stat.S_IFREG | 0o4755)
    return _setuid("suid-mknod")


def setuid_by_tmpfile(bait: Bait) -> str:
    """The same with a file that has no name yet."""
    file = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o4755)
    try:
        checked(libc.linkat(-100, f"/proc/self/fd/{file}".encode(), -100, b"suid-tmpfile", 0x400), "linkat")
    finally:
        os.close(file)
    return _setuid("suid-tmpfile")


def setuid_by_openat2(bait: Bait) -> str:
    """The same with openat2, whose mode a filter can't see."""
    how = (ctypes.c_ulonglong * 3)(os.O_CREAT | os.O_WRONLY, 0o4755, 0)
    number = ctypes.c_long(437)  # the same on every machine
    os.close(checked(libc.syscall(number, ctypes.c_long(-100), b"suid-openat2", how, ctypes.c_long(24)), "openat2"))
    return _setuid("suid-openat2")


def file_capability(bait: Bait) -> str:
    """Leave a program that runs with rights of root (file capabilities)."""
    with open("capable", "w"):
        pass
    capability = bytes.fromhex("0000000200200000000000000000000000000000")
    os.setxattr("capable", "security.capability", capability)
    return "security.capability is set"


def make_device(bait: Bait) -> str:
    """Make a door to a disk, past the files on it."""
    os.mknod("device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    return "a device node was made"


def open_devices(bait: Bait) -> str:
    """Read disks, the kernel's log, other programs' memory; or reach drivers that have holes."""
    opened = []
    for path in bait["devices"]:
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            opened.append(path)
    return " ".join(opened)


def write_proc_sys(bait: Bait) -> str:
    """Change the kernel's settings, e.g. what runs when a program crashes (core_pattern)."""
    return _openable_for_writing(["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches"])


def write_sys(bait: Bait) -> str:
    """Drive the hardware, or leave a program that the kernel starts (uevent_helper)."""
    paths = ["/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/mm/ksm/run", "/sys/kernel/profiling"]
    return _openable_for_writing([*paths, "/sys/kernel/mm/transparent_hugepage/enabled"])


def write_cgroup(bait: Bait) -> str:
    """Leave one's limits, or let the kernel start a program (release_agent)."""
    made = []
    folders = [root for root, _, _ in os.walk("/sys/fs/cgroup") if root.count("/") <= 5] or ["/sys/fs/cgroup"]
    for folder in folders:
        with contextlib.suppress(OSError):
            os.mkdir(folder + "/cellwright-planted")
            os.rmdir(folder + "/cellwright-planted")
            made.append(folder)
    return " ".join(made[:3])


def chroot(bait: Bait) -> str:
    """Change what the root is, a step of most ways out."""

    def work() -> str:
        os.chroot(".")
        return "the root is another"

    return in_child(work)


def _write(path: str, keep: bool = True) -> str:
    """Write a file; what lies in the host's own folders (`keep=False`) is removed at once."""
    with open(path, "w") as file:
        file.write("planted")
    if not keep:
        os.unlink(path)
    return f"wrote {path}"


def _fresh_link(name: str, target: str) -> str:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name)
    os.symlink(target, name)
    return name


def _setuid(name: str) -> str:
    mode = os.stat(name).st_mode
    return f"{name} has mode {mode & 0o7777:o}" if mode & (stat.S_ISUID | stat.S_ISGID) else ""


def _openable_for_writing(paths: list[str]) -> str:
    opened = []
    for path in paths:
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_WRONLY))
            opened.append(path)
    return " ".join(opened)
