"""The table of attacks: every function of the attack modules is a row. What is said here are the exceptions.

`CONTROL` says where a row succeeds without isolation. That proves that the attack works, and that its check can fail.
`REACHED` says which rows a level can't block; docs/security.md says the same in words.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from isolation import attack_files, attack_jupyter, attack_kernel, attack_network, attack_processes, attack_tools

MODULES = [attack_tools, attack_files, attack_processes, attack_network, attack_kernel, attack_jupyter]

Level = Literal["bwrap", "landlock", "landlock-alone"]
"""Level landlock takes namespaces where it can have them; `landlock-alone` is the same where it can't."""
User = Literal["root", "user"]
LEVELS: tuple[Level, ...] = ("bwrap", "landlock", "landlock-alone")


@dataclass(frozen=True, slots=True)
class Row:
    """One attack."""

    module: str
    name: str
    gain: str
    """What the attacker gains."""


ROWS = [
    Row(module.__name__.rpartition(".")[2], name, str(function.__doc__).split("\n", maxsplit=1)[0])
    for module in MODULES[1:]
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if function.__module__ == module.__name__ and not name.startswith("_")
]

BY_ROOT = "only root may do this"
BY_MACHINE = "whether this works at all is up to the machine: its kernel, its settings, its devices"
NOT_ON_HOST = "tried without isolation it would do harm, or nothing"

CONTROL: Mapping[str, str] = {
    # ---- only root may do these: the control runs as root only
    "read_shadow": BY_ROOT,
    "write_site_packages": BY_ROOT,
    "write_usr": BY_ROOT,
    "write_etc": BY_ROOT,
    "read_by_handle": BY_ROOT,
    "file_capability": BY_ROOT,
    "make_device": BY_ROOT,
    "write_proc_sys": BY_ROOT,
    "chroot": BY_ROOT,
    "join_namespaces": BY_ROOT,
    "join_namespaces_by_descriptor": BY_ROOT,
    "become_root": BY_ROOT,
    "other_namespaces": BY_ROOT,
    "copy_mounts": BY_ROOT,
    "new_file_system": BY_ROOT,
    "mount_over": BY_ROOT,
    "rare_calls": BY_ROOT,
    "raw_socket": BY_ROOT,
    "packet_socket": BY_ROOT,
    # ---- no machine is alike in these: no control
    "inherited_descriptor": "Python closes descriptors in every child, isolated or not",
    "open_devices": BY_MACHINE,
    "write_sys": BY_MACHINE,
    "write_cgroup": BY_MACHINE,
    "pin_victim": BY_MACHINE,
    "mptcp_connect": BY_MACHINE,
    "name_lookup": BY_MACHINE,
    "see_host_interfaces": BY_MACHINE,
    "hear_kernel_events": BY_MACHINE,
    "vsock": BY_MACHINE,
    "rare_families": BY_MACHINE,
    "io_uring": BY_MACHINE,
    "load_bpf": BY_MACHINE,
    "perf_events": BY_MACHINE,
    "kernel_keys": BY_MACHINE,
    "add_kernel_key": BY_MACHINE,
    "secret_memory_file": BY_MACHINE,
    "user_fault": BY_MACHINE,
    "user_namespace": BY_MACHINE,
    "user_namespace_by_clone": BY_MACHINE,
    "user_namespace_by_clone3": BY_MACHINE,
    "x32_calls": BY_MACHINE,
    "calls_of_32_bits": BY_MACHINE,
    "type_into_terminal": BY_MACHINE,
}
"""Why a row has no control, or one as root only; all others are reached by everybody where nothing isolates."""

_NAMES = "Landlock does not watch who asks for a file's facts, only who opens it"
_LISTENERS = "without a network namespace /proc/self/net is the machine's: what listens is seen, not reached"

REACHED: Mapping[tuple[Level, str], str] = {
    ("landlock", "learn_of_file"): _NAMES,
    ("landlock-alone", "learn_of_file"): _NAMES,
    ("landlock-alone", "see_host_ports"): _LISTENERS,
    ("landlock-alone", "see_host_unix_sockets"): _LISTENERS,
}
"""Rows that a level can't block, and why."""


def has_control(row: Row, user: User) -> bool:
    """True when the row must succeed without isolation."""
    reason = CONTROL.get(row.name)
    return reason is None or (reason == BY_ROOT and user == "root")
