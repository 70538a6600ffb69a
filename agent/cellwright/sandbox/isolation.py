"""How the sandbox is fenced in: what a person may choose, and what holds when nobody chooses.

The fence itself is the kernel provisioner `cellwright-isolated`, which jupyter_client finds by its entry point; it is
told all this by the kernelspec's metadata (jupyter_client, "Kernel provisioning").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from ..errors import UsageError, nearest
from ..outputs import Json

PROVISIONER = "cellwright-isolated"
MIB = 1 << 20
GIB = 1 << 30

Level = Literal["auto", "bwrap", "landlock", "process"]
"""`auto`: the first of bwrap and landlock that works here, else refuse. `process`: not isolated."""
Network = Literal["none", "host"]


@dataclass(frozen=True, slots=True)
class Isolation:
    """What the sandbox may touch and how much of it. `None` lifts a limit."""

    level: Level = "auto"
    network: Network = "none"
    read: tuple[Path, ...] = ()
    """Folders and files that code may read besides the workspace."""
    memory: int | None = 2 * GIB
    """Bytes, all processes together."""
    processes: int | None = 64
    """Processes and threads at once."""
    file_size: int | None = 256 * MIB
    """Bytes of one file that code writes."""
    workspace_size: int | None = 1 * GIB
    """Bytes of all files in the workspace."""
    tmp_size: int = 256 * MIB
    """Bytes of `/tmp`, which is the sandbox's own."""
    shm_size: int = 64 * MIB
    """Bytes of shared memory (`/dev/shm`)."""

    def __post_init__(self) -> None:
        for name, allowed in (("level", get_args(Level)), ("network", get_args(Network))):
            value = getattr(self, name)
            if value not in allowed:
                raise UsageError(f"Isolation {name} must be one of {', '.join(allowed)}{nearest(str(value), allowed)}")
        for name in ("tmp_size", "shm_size"):
            if getattr(self, name) is None:
                raise UsageError(f"Limit {name} can't be lifted: it is memory of this machine.")
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name not in ("level", "network", "read") and value is not None and not value > 0:
                raise UsageError(f"Limit {item.name} must be more than 0, not {value!r}; None lifts it.")

    def as_config(self, workspace: Path) -> Mapping[str, Json]:
        """The provisioner's configuration; paths are absolute."""
        config: dict[str, Json] = {item.name: getattr(self, item.name) for item in fields(self)}
        config["read"] = [str(path.expanduser().resolve()) for path in self.read]
        config["workspace"] = str(workspace.resolve())
        return config
