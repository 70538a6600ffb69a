"""Every bomb, at every level: it ends soon, its cause is said in one line, the host does not feel it, work goes on.

Where level landlock has namespaces it has what it has without them and more, so the bombs are tried without; those that
end a process, which namespaces change, are tried with them, too.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from isolation import bombs
from isolation.conftest import USERS, Ask
from isolation.table import LEVELS, Level, User

MIB = 1 << 20
GRACE_SECONDS = 5.0
"""How long interrupted code may take to end before it is killed, see `child.INTERRUPT_GRACE_SECONDS`."""
SECONDS = 5.0
"""Until a bomb has ended, when it is not its own time that ends it."""
GROWN_BYTES = 50 * MIB
SLOWEST_SECONDS = 0.5
"""How long the host's loop may ever be kept from other work; the machine that tests this may be busy."""

LIMITS = {"memory": 400 * MIB, "processes": 40, "file_size": 20 * MIB, "workspace_size": 40 * MIB}
LIMITS |= {"tmp_size": 32 * MIB, "shm_size": 16 * MIB}


@dataclass(frozen=True, slots=True)
class Bomb:
    """How a bomb ends."""

    ends: str
    """What the sandbox says of it: a regular expression on the kind and what is said beside it."""
    seconds: float = 30.0
    """Time that the action is given; those that run into it end then."""
    users: list[User] = field(default_factory=lambda: USERS[:1])
    """As whom it is tried. Counting processes differs between root and others."""
    levels: tuple[Level, ...] = ("bwrap", "landlock-alone")
    after: str = "Finished"
    """How the next cell may end; what is not `Finished` must be once the person has made room and restarted."""


OUT_OF_MEMORY = r"Failed.*MemoryError|Died.*(memory|SIGKILL)"
FULL = r"Failed.*(No space left|File too large)|Died.*(memory|workspace|temporary|files)"
OUT_OF_TIME = "TimedOut"

NO_ROOM = "Finished"
"""A full workspace does not keep the sandbox from starting: code is needed to make room in it."""
NO_PROCESSES = "Finished|Failed.*can't start new thread"
"""An interrupt reaches the kernel. What it has forked may hold all the processes allowed, until a restart."""

BOMBS = {
    "memory_in_one_piece": Bomb(OUT_OF_MEMORY),
    "memory_by_bytes": Bomb(OUT_OF_MEMORY),
    "memory_by_numpy": Bomb(OUT_OF_MEMORY),
    "memory_by_mapping": Bomb(OUT_OF_MEMORY),
    "memory_by_processes": Bomb(OUT_OF_MEMORY, users=USERS),
    "memory_by_tmp": Bomb(FULL),
    "memory_by_shm": Bomb(FULL + "|Failed.*(Permission|No such file)"),
    "forks": Bomb(OUT_OF_TIME + "|Died.*processes", 1.0, USERS, after=NO_PROCESSES),
    "threads": Bomb("Failed.*can't start new thread|Died.*processes", users=USERS),
    "many_files": Bomb(OUT_OF_TIME + "|Died.*workspace", 2.0, after=NO_ROOM),
    "one_big_file": Bomb("Failed.*File too large"),
    "disk": Bomb("Died.*workspace", after=NO_ROOM),
    "hole": Bomb("Failed.*File too large"),
    "endless_print": Bomb(OUT_OF_TIME, 1.0),
    "endless_flushed_print": Bomb(OUT_OF_TIME, 1.0),
    "endless_display": Bomb(OUT_OF_TIME, 1.0),
    "one_huge_print": Bomb("Finished|Died"),
    "one_huge_display": Bomb("Finished|Died"),
    "printing_thread": Bomb("Finished"),
    "printing_past_python": Bomb(OUT_OF_TIME + "|Finished|Failed", 1.0),
    "infinite_loop": Bomb(OUT_OF_TIME, 0.5),
    "ignored_interrupt": Bomb(OUT_OF_TIME, 0.5),
    "interrupt_switched_off": Bomb(OUT_OF_TIME, 0.5, levels=("bwrap",)),
    "interrupt_blocked": Bomb(OUT_OF_TIME, 0.5),
    "suicide": Bomb("Died.*SIGKILL", levels=LEVELS),
    "crash": Bomb("Died.*SIGSEGV", levels=LEVELS),
    "hard_exit": Bomb("Died.*exit status 3", levels=LEVELS),
    "stack": Bomb("Died.*SIGSEGV|Failed.*(MemoryError|RecursionError)|Died.*memory"),
    "stopped": Bomb(OUT_OF_TIME, 0.5, levels=("bwrap", "landlock")),
}


def test_every_bomb_is_tried() -> None:
    names = {name for name, _ in inspect.getmembers(bombs, inspect.isfunction) if not name.startswith("_")}
    assert names == set(BOMBS)


DROWNING = {"printing_thread", "endless_display", "endless_flushed_print"}
"""After these, messages of the next cell may be lost among theirs; its end is not."""

CASES = [
    (level, user, name)
    for level in LEVELS
    for user in USERS
    for name, bomb in BOMBS.items()
    if level in bomb.levels and user in bomb.users
]


@pytest.mark.parametrize(("level", "user", "name"), CASES)
def test_d3_bomb(hosts: Callable[[str, str], Ask], level: Level, user: User, name: str) -> None:
    bomb = BOMBS[name]
    code = f"{inspect.getsource(bombs)}\n{name}()"
    found: dict[str, Any] = hosts(level, user)("bomb", code=code, seconds=bomb.seconds, limits=LIMITS)

    said = f"{found['kind']}: {found['cause']} {last_line(found['text'])}"
    assert re.match(bomb.ends, said, re.DOTALL), said
    assert "\n" not in found["cause"]
    allowed = bomb.seconds + GRACE_SECONDS + 1.5 if found["kind"] == "TimedOut" else SECONDS
    assert found["seconds"] < allowed, said
    assert found["grown"] < GROWN_BYTES, f"{found['grown'] / MIB:.0f} MiB"
    assert found["slowest"] < SLOWEST_SECONDS
    after = f"{found['after']['kind']}: {last_line(found['after']['text'])}"
    assert re.match(bomb.after, after), after
    assert found["then"]["kind"] == "Finished", found["then"]
    assert "42" in found["then"]["text"] or name in DROWNING, found["then"]


def last_line(text: str) -> str:
    """Of an error: the line that says it."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).strip()
    return plain.rsplit("\n", 1)[-1][:200]
