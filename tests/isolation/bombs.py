"""Bombs: programs that use all of something. Sent into the sandbox, so they need nothing of ours."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import tempfile
import threading
import time

MIB = 1 << 20


def memory_in_one_piece() -> None:
    """Memory, asked for at once."""
    print(len(bytearray(4096 * MIB)))


def memory_by_bytes() -> None:
    """Memory, in pieces."""
    held = []
    while True:
        held.append(os.urandom(1 << 10) * 4096)


def memory_by_numpy() -> None:
    """Memory, as arrays."""
    import numpy as np

    held = []
    while True:
        held.append(np.ones(MIB))


def memory_by_mapping() -> None:
    """Memory that no allocator knows of."""
    import mmap

    held = []
    while True:
        held.append(mmap.mmap(-1, 8 * MIB))
        held[-1].write(b"x" * 8 * MIB)


def memory_by_processes() -> None:
    """Memory, a little in each of many processes."""
    for _ in range(30):
        if os.fork() == 0:
            held = bytearray(os.urandom(1 << 10) * (40 << 10))
            time.sleep(60)
            os._exit(len(held) % 2)
    time.sleep(60)


def memory_by_tmp() -> None:
    """Memory, as files in /tmp."""
    _fill(tempfile.gettempdir())


def memory_by_shm() -> None:
    """Memory, as files in shared memory."""
    _fill("/dev/shm")


def forks() -> None:
    """Processes that start processes."""
    while True:
        with contextlib.suppress(OSError):
            os.fork()


def threads() -> None:
    """Threads without end."""
    while True:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def many_files() -> None:
    """Small files without end."""
    for number in itertools.count():
        folder = f"many-{number // 1000}"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/{number}", "w") as file:
            file.write("x")


def one_big_file() -> None:
    """One file without end."""
    with open("big", "wb") as file:
        while True:
            file.write(b"x" * MIB)


def disk() -> None:
    """The workspace's disk, file by file."""
    _fill(".")


def hole() -> None:
    """A file that says it is larger than any disk."""
    with open("hole", "wb") as file:
        file.truncate(1 << 50)


def endless_print() -> None:
    """Text without end."""
    while True:
        print("x" * 1000)


def endless_flushed_print() -> None:
    """Messages without end."""
    while True:
        print("x", flush=True)


def endless_display() -> None:
    """Rich outputs without end."""
    from IPython.display import HTML, display

    while True:
        display(HTML("<b>" + "x" * 10_000 + "</b>"))


def one_huge_print() -> None:
    """A hundred megabytes of text in one go."""
    print("x" * 100 * MIB)


def one_huge_display() -> None:
    """A hundred megabytes of picture in one go."""
    from IPython.display import display

    display({"image/png": "x" * 100 * MIB}, raw=True)


def printing_thread() -> None:
    """Text without end, from a thread that goes on after its cell."""

    def go_on() -> None:
        while True:
            print("x" * 1000)

    threading.Thread(target=go_on, daemon=True).start()


def printing_past_python() -> None:
    """Text without end, by a program that the cell starts."""
    os.system("yes")


def infinite_loop() -> None:
    """Time without end."""
    while True:
        pass


def ignored_interrupt() -> None:
    """Code that catches every interrupt."""
    while True:
        with contextlib.suppress(BaseException):
            while True:
                time.sleep(0.1)


def interrupt_switched_off() -> None:
    """Code that has told the system not to interrupt it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        time.sleep(0.1)


def interrupt_blocked() -> None:
    """Code that lets interrupts wait for ever."""
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.valid_signals()))
    while True:
        time.sleep(0.1)


def stack() -> None:
    """A stack without end."""
    sys.setrecursionlimit(1 << 30)

    def deeper(value: object) -> object:
        return [deeper(item) for item in map(deeper, [value])]

    deeper(0)


def suicide() -> None:
    """A process that kills itself."""
    os.kill(os.getpid(), signal.SIGKILL)


def crash() -> None:
    """A process that crashes, as extension modules do."""
    os.kill(os.getpid(), signal.SIGSEGV)


def hard_exit() -> None:
    """A process that leaves without a word."""
    os._exit(3)


def stopped() -> None:
    """A process that has stopped itself, and neither ends nor answers."""
    os.kill(os.getpid(), signal.SIGSTOP)


def _fill(folder: str) -> None:
    for number in itertools.count():
        with open(f"{folder}/fill-{number}", "wb") as file:
            for _ in range(4):
                file.write(os.urandom(1 << 10) * 1024)
