"""Who the sandbox is. An ordinary person's sandbox runs as that person; root's runs as a user that nobody else is.

Root must give up its number: limits on processes don't count for root, files that it owns are the system's, and what
it leaves in the workspace could lend its rights to others. One number for each sandbox, so that limits, signals and
files of one never meet another's.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

UNUSED = range(1_879_048_192, 2_147_483_647)
"""Numbers that systemd's table (`UIDS-GIDS`) leaves unused: no users, no services, no containers."""
SHARE = 4096
"""How many numbers to choose among at the upper end where a container maps fewer."""


def candidates() -> range:
    """Numbers that a sandbox's user may have here; empty where no other user can be had."""
    outside = 0
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = map(int, line.split())
        if first + count >= UNUSED.stop:
            return UNUSED
        outside = max(outside, first + count)
    return range(max(32_768, outside - SHARE), outside - 2)  # the last two are "nobody"


def choose(workspace: Path) -> int | None:
    """The user for a sandbox in `workspace`; None for an ordinary person.

    A workspace that an earlier sandbox wrote keeps its number, so its files stay writable. Two sandboxes at once in one
    workspace are the same user, then, and share the limit on processes.
    """
    numbers = candidates()
    if os.getuid() != 0 or not numbers:
        return None
    before = workspace.lstat().st_uid
    if before in numbers:
        return before
    taken = running_users()
    while (uid := random.SystemRandom().choice(numbers)) in taken:
        pass
    return uid


def running_users() -> set[int]:
    """The users of all processes."""
    users: set[int] = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                users.add(process.stat().st_uid)
            except OSError:
                continue  # ended meanwhile
    return users
