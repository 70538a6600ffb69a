"""What the attacks are after, on the host's side: files, listeners, processes and memory, with a canary in each.

Everything is as easy to get as a careless person could make it (readable by all, services without a password), so that
it is the sandbox that says no, and not a file's mode. What arrives at a listener, or happens to a file or a process,
is seen here, whatever the attack itself says.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from isolation.attack_tools import NUMBERS, libc, syscall

DEVICES = ("mem", "kmsg", "port", "kvm", "fuse", "vsock", "loop-control", "btrfs-control", "userfaultfd", "rtc0")


class Targets:
    """Everything that is laid out; `bait` tells the attacks where it is."""

    def __init__(self) -> None:
        # Not under /tmp, where a sandbox has a folder of its own: hidden there, the bait would prove nothing.
        self.folder = Path(tempfile.mkdtemp(prefix="cw-bait-", dir="/var/tmp"))
        self.folder.chmod(0o755)
        self.canary = os.environ["BAIT"]  # since the start: a process shows the environment that it was started with
        self.hits: list[str] = []
        self.bait: dict[str, Any] = {"canary": self.canary, "uid": os.getuid(), "host_pid": os.getpid()}
        self._sockets: list[socket.socket] = []
        self._closed = threading.Event()
        self._fresh = ""
        self._victim: subprocess.Popen[bytes] | None = None
        self._files()
        self._memory()
        self._shared()
        self._listeners()
        self._terminal()
        threading.Thread(target=self._knock, daemon=True).start()

    # ---- laying out ---------------------------------------------------------------------------------------------

    def _files(self) -> None:
        home = self._dir("home")
        self._put("ssh_key", home / ".ssh" / "id_ed25519")
        self._put("key_file", home / ".env", f"ANTHROPIC_API_KEY={self.canary}")
        self._put("journal", home / "journal.sqlite")
        self._put("notebook_file", home / "work" / "notebook.ipynb")
        self._put("runtime_file", home / "runtime" / "kernel-1.json", json.dumps({"key": self.canary}))
        self._put("server_file", home / "runtime" / "jpserver-1.json", json.dumps({"token": self.canary}))
        self._put("other_data", self._dir("other") / "data.csv")
        self._put("other_connection", self._dir("cw-other") / "k.json")
        self._put("given", self._dir("readable") / "given.txt", "given")
        for folder in (home, home / ".ssh", home / "work", home / "runtime"):
            folder.chmod(0o777)
        self.bait |= {
            "home": str(home),
            "notebook": "notebook.ipynb",
            "notebook_folder": str(home / "work"),
            "runtime": str(home / "runtime"),
            "other_workspace": str(self.folder / "other"),
            "readable": str(self.folder / "readable"),
            "devices": self._devices(),
            "mount_namespace": os.readlink("/proc/self/ns/mnt"),
        }
        self.workspace = self._dir("workspace")
        self._open = open(self.bait["ssh_key"], "rb")  # noqa: SIM115 - it stays open, for an attack to steal
        self.bait["open_fd"] = self._open.fileno()
        os.set_inheritable(self._open.fileno(), True)
        os.environ["HOME"] = str(home)
        os.environ["JUPYTER_RUNTIME_DIR"] = str(home / "runtime")
        os.environ["CELLWRIGHT_JOURNAL"] = self.bait["journal"]
        os.chdir(home / "work")
        self._handle()

    def _dir(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        folder.chmod(0o777)
        return folder

    def _put(self, name: str, path: Path, text: str = "") -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text or self.canary)
        path.chmod(0o666)
        self.bait[name] = str(path)

    def _devices(self) -> list[str]:
        """Disks and doors into the kernel that this user can open: only these are there to be reached."""
        disks = [f"/dev/{path.name}" for path in Path("/sys/class/block").glob("*")]
        usable = []
        for path in sorted([*disks, *(f"/dev/{name}" for name in DEVICES)]):
            with contextlib.suppress(OSError):
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
                usable.append(path)
        return usable

    def _handle(self) -> None:
        """The number of the key file on its disk, for open_by_handle_at."""
        buffer = ctypes.create_string_buffer(136)
        ctypes.cast(buffer, ctypes.POINTER(ctypes.c_uint))[0] = 128
        mount = ctypes.c_int()
        call = ctypes.c_long(NUMBERS["name_to_handle_at"])
        path = self.bait["ssh_key"].encode()
        libc.syscall(call, ctypes.c_long(-100), path, buffer, ctypes.byref(mount), ctypes.c_long(0))
        size, kind = (ctypes.cast(buffer, ctypes.POINTER(ctypes.c_uint))[i] for i in (0, 1))
        self.bait |= {"handle": buffer.raw[8 : 8 + size].hex(), "handle_type": kind}

    def _memory(self) -> None:
        self._secret = ctypes.create_string_buffer(self.canary.encode())
        self._scratch = ctypes.create_string_buffer(64)
        self.bait["secret_address"] = ctypes.addressof(self._secret)
        self.bait["secret_length"] = len(self._secret)
        self.bait["scratch_address"] = ctypes.addressof(self._scratch)

    def _shared(self) -> None:
        """Shared memory, queues and a key in the kernel, open to everybody."""
        key = 0x63770000 + (os.getpid() & 0xFFFF)
        self._shm = libc.shmget(key, 4096, 0o1666)
        libc.shmat.restype = ctypes.c_void_p
        address = libc.shmat(self._shm, None, 0)
        ctypes.memmove(address, self.canary.encode() + b"\0", len(self.canary) + 1)
        libc.shmdt(ctypes.c_void_p(address))
        self._messages, self._semaphore = libc.msgget(key, 0o1666), libc.semget(key, 1, 0o1666)
        self.bait |= {"shm_id": self._shm, "shm_key": key}
        self._shm_file = Path(f"/dev/shm/{self.canary}")
        self._put("shm_path", self._shm_file)
        self.bait["queue_name"] = f"/{self.canary}"
        old = os.umask(0)
        libc.mq_open(self.bait["queue_name"].encode(), os.O_CREAT | os.O_RDWR, 0o666, None)
        os.umask(old)
        self.bait["kernel_key"] = f"cellwright-{self.canary}"
        text = self.canary.encode()
        call = ctypes.c_long(NUMBERS["add_key"])
        self._kernel_key = libc.syscall(
            call, b"user", self.bait["kernel_key"].encode(), text, ctypes.c_long(len(text)), ctypes.c_long(-4)
        )
        # Whoever is in possession of it may search the user's keyring: link it to the session, as a login does.
        libc.syscall(ctypes.c_long(NUMBERS["keyctl"]), *(ctypes.c_long(n) for n in (8, -4, -3)))

    def _listeners(self) -> None:
        inet, inet6, unix = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX
        stream, packets, ordered = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET
        sockets = self._dir("s")
        self.bait["abstract_name"] = self.canary
        self.bait["tcp_port"] = self._listen(inet, stream, ("0.0.0.0", 0))[1]
        self.bait["kernel_port"] = self._listen(inet, stream, ("127.0.0.1", 0))[1]
        self.bait["tcp6_port"] = self._listen(inet6, stream, ("::1", 0))[1]
        self.bait["udp_port"] = self._listen(inet, packets, ("127.0.0.1", 0))[1]
        self._listen(unix, stream, "\0" + self.canary)
        self._listen(unix, packets, "\0" + self.canary + "-packets")
        self.bait["socket_path"] = self._listen(unix, stream, str(sockets / "docker.sock"))
        self.bait["packet_path"] = self._listen(unix, packets, str(sockets / "log"))
        self.bait["ordered_path"] = self._listen(unix, ordered, str(sockets / "ordered"))
        self.bait["kernel_socket"] = self._listen(unix, stream, str(sockets / "kernel-ipc-1"))
        self.bait["address"] = self._address()
        with socket.socket(inet, stream) as free:
            free.bind(("127.0.0.1", 0))
            self.bait["free_port"] = free.getsockname()[1]

    def _address(self) -> str:
        """This machine's address in the network; nothing is sent to find it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        return "127.0.0.2"  # a machine without a network: another of its own addresses

    def _listen(self, family: int, kind: int, address: Any) -> Any:
        listener = socket.socket(family, kind)
        listener.bind(address)
        if isinstance(address, str) and address.startswith("/"):
            Path(address).chmod(0o777)
        if kind != socket.SOCK_DGRAM:
            listener.listen(16)
        self._sockets.append(listener)
        threading.Thread(target=self._hear, args=(listener, kind), daemon=True).start()
        return listener.getsockname()

    def _terminal(self) -> None:
        """A terminal as the person has it; what is written to it is a hit."""
        self._screen, self._keyboard = pty.openpty()
        self.bait["terminal"] = os.ttyname(self._keyboard)
        with contextlib.suppress(OSError):
            os.fchmod(self._keyboard, 0o666)
        threading.Thread(target=self._see, daemon=True).start()

    # ---- noticing -----------------------------------------------------------------------------------------------

    def _hear(self, listener: socket.socket, kind: int) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(OSError):
                if kind == socket.SOCK_DGRAM:
                    said, sender = listener.recvfrom(65536)
                    self.hits.append(f"{listener.getsockname()!r} got {said[:40]!r}")
                    if sender:
                        listener.sendto(b"answer", sender)
                else:
                    connection, _ = listener.accept()
                    self.hits.append(f"{listener.getsockname()!r} was connected to")
                    connection.close()

    def _see(self) -> None:
        with contextlib.suppress(OSError):
            while said := os.read(self._screen, 4096):
                self.hits.append(f"the terminal shows {said[:40]!r}")

    def _knock(self) -> None:
        """Try the port at which the sandbox might offer a service."""
        while not self._closed.wait(0.05):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.bait["free_port"]), 0.2):
                self.hits.append("the host came to the sandbox's port")

    def set_out(self) -> None:
        """Before an attack: a victim that lives, files as they should be, no hits."""
        if self._victim is None or self._victim.poll() is not None or self._state() != self._fresh:
            if self._victim is not None:
                self._victim.kill()
                self._victim.wait()
            mark = f"victim-{self.canary}"
            self._victim = subprocess.Popen(
                [sys.executable, "-S", "-c", "import time\nprint(1, flush=True)\ntime.sleep(600)", mark],
                start_new_session=True,
                stdout=subprocess.PIPE,
            )
            assert self._victim.stdout is not None
            self._victim.stdout.readline()
            self._victim.stdout.close()
            self._fresh = self._state()
            self.bait |= {"victim": self._victim.pid, "victim_mark": mark}
        self._scratch.raw = bytes(64)
        for name in ("ssh_key", "journal"):
            path = Path(self.bait[name])
            path.write_text(self.canary)
            path.chmod(0o666)
            with contextlib.suppress(OSError):
                os.removexattr(path, "user.planted")
        Path(self.bait["given"]).write_text("given")
        self.hits.clear()

    def empty_workspace(self) -> None:
        """Remove what an attack has left there."""
        for path in self.workspace.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def noticed(self) -> list[str]:
        """After an attack: what happened here, whatever the attack says."""
        assert self._victim is not None
        time.sleep(0.02)  # a packet on its way, a signal being delivered
        found = list(self.hits)
        if (code := self._victim.poll()) is not None:
            found.append(f"the victim ended with {code} ({signal.Signals(-code).name if code < 0 else 'exit'})")
        elif (state := self._state()) != self._fresh:
            found.append(f"the victim changed: {self._fresh} -> {state}")
        if self._scratch.raw != bytes(64):
            found.append("the host's memory was written")
        for path in [*self.folder.rglob("*planted*"), *self.folder.glob("home/work/numpy.py")]:
            if not path.is_relative_to(self.workspace):
                found.append(f"{path} was made")
                path.unlink()
        profile = self.folder / "home" / ".profile"
        if profile.exists():
            found.append(f"{profile} was replaced")
            profile.unlink()
        if (
            self.canary not in Path(self.bait["journal"]).read_text()
            or "forged" in Path(self.bait["journal"]).read_text()
        ):
            found.append("the journal was changed")
        if Path(self.bait["given"]).read_text() != "given":
            found.append("a file given for reading was changed")
        return found + self._left_in_workspace()

    def _left_in_workspace(self) -> list[str]:
        """Programs with special rights, devices, and second names of host files: harmful wherever they lie."""
        found = []
        for path in self.workspace.iterdir():
            facts = path.lstat()
            if path.is_symlink() or path.is_dir():
                continue
            if facts.st_mode & 0o6000 or path.is_char_device() or path.is_block_device() or facts.st_nlink > 1:
                found.append(f"{path.name} has mode {facts.st_mode:o}, {facts.st_nlink} names")
            elif "security.capability" in os.listxattr(path):
                found.append(f"{path.name} has file capabilities")
            else:
                continue
            path.unlink()
        return found

    def _state(self) -> str:
        """What another process can change about the victim without ending it."""
        assert self._victim is not None
        pid = self._victim.pid
        try:
            limit = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "open files" in line)
            oom = Path(f"/proc/{pid}/oom_score_adj").read_text().strip()
            return (
                f"limit {limit.split()[3]}, nice {os.getpriority(os.PRIO_PROCESS, pid)}, oom {oom}, "
                f"{len(os.sched_getaffinity(pid))} processors, scheduler {os.sched_getscheduler(pid)}, "
                f"disk {syscall('ioprio_get', 1, pid)}"
            )
        except OSError:
            return "gone"

    def close(self) -> None:
        """Take everything away."""
        self._closed.set()
        for listener in self._sockets:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        if self._victim is not None:
            self._victim.kill()
            self._victim.wait()
        libc.shmctl(self._shm, 0, None)
        libc.msgctl(self._messages, 0, None)
        libc.semctl(self._semaphore, 0, 0)
        libc.mq_unlink(self.bait["queue_name"].encode())
        if self._kernel_key > 0:
            libc.syscall(ctypes.c_long(NUMBERS["keyctl"]), ctypes.c_long(9), self._kernel_key, ctypes.c_long(-4))
        self._shm_file.unlink(missing_ok=True)
        self._open.close()
        os.chdir("/")
        shutil.rmtree(self.folder, ignore_errors=True)
