"""Attacks on Jupyter: the person's own kernels, and what connects this sandbox with its host."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys

from isolation.attack_tools import Bait, seen, text_of


def read_runtime_folder(bait: Bait) -> str:
    """Find the keys of the person's own kernels: whoever has one runs code with the person's rights."""
    for name in os.listdir(bait["runtime"]):
        if evidence := seen(bait["canary"], text_of(f"{bait['runtime']}/{name}")):
            return evidence
    return ""


def reach_persons_kernel(bait: Bait) -> str:
    """Talk to the person's own kernel, whose port and key it knows."""
    with socket.create_connection(("127.0.0.1", bait["kernel_port"]), 1.0) as client:
        client.sendall(bait["canary"].encode())
    return f"connected to port {bait['kernel_port']}"


def reach_persons_kernel_by_ipc(bait: Bait) -> str:
    """The same for a kernel that listens on files."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        client.connect(bait["kernel_socket"])
        client.sendall(bait["canary"].encode())
    return f"connected to {bait['kernel_socket']}"


def reach_jupyter_server(bait: Bait) -> str:
    """Find the address and token of the person's Jupyter Server."""
    return seen(bait["canary"], text_of(bait["runtime"] + "/jpserver-1.json"))


def write_connection_file(bait: Bait) -> str:
    """Change where the host thinks that this kernel is."""
    with open(_connection_file(), "r+") as file:
        facts = json.load(file)
        file.seek(0)
        json.dump(facts, file)  # the same again: the kernel must live for the next attack
    return "written"


def replace_connection_file(bait: Bait) -> str:
    """The same by putting another file in its place."""
    path = _connection_file()
    with open(path) as file:
        text = file.read()
    with open(path + ".new", "w") as file:
        file.write(text)
    os.replace(path + ".new", path)
    return "replaced"


def link_beside_own_sockets(bait: Bait) -> str:
    """Lead the host's next connection to a service of the machine (a link where a socket of the kernel is expected)."""
    path = _socket_folder() + "/planted-link"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    os.symlink(bait["socket_path"], path)
    os.unlink(path)
    return "a link can lie there"


def file_beside_own_sockets(bait: Bait) -> str:
    """Keep files where no limit counts them."""
    path = _socket_folder() + "/planted-file"
    with open(path, "w") as file:
        file.write("x" * 100)
    os.unlink(path)
    return "a file can lie there"


def reach_other_sandbox(bait: Bait) -> str:
    """Read the key of another sandbox's kernel."""
    return seen(bait["canary"], text_of(bait["other_connection"]))


def _connection_file() -> str:
    if "-f" in sys.argv:
        return sys.argv[sys.argv.index("-f") + 1]
    from ipykernel.connect import get_connection_file

    return str(get_connection_file())


def _socket_folder() -> str:
    with open(_connection_file()) as file:
        return os.path.dirname(str(json.load(file)["ip"]))
