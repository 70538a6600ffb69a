"""Hosts for the attacks: one process for each level and user, with one sandbox, for all rows."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from isolation.table import User

HOST = Path(__file__).with_name("host.py")
ORDINARY_UID = 48_611
"""A user that nobody is."""
USERS: list[User] = ["root", "user"] if os.geteuid() == 0 else ["user"]

Ask = Callable[..., dict[str, Any]]
"""A request to a host, see `host.Host`: what to do, and with what."""


class RemoteHost:
    """`host.py` in a process of its own, as root or as an ordinary user."""

    def __init__(self, level: str, user: str) -> None:
        uid = ORDINARY_UID if user == "user" and os.geteuid() == 0 else 0
        canary = "canary" + secrets.token_hex(8)
        environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        environment |= {"LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        # Two variables: one that is a key by its name, one that is not.
        environment |= {"BAIT": canary, "ANTHROPIC_API_KEY": canary}
        self.process = subprocess.Popen(
            [sys.executable, str(HOST), level, str(uid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Do it and wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the host ended with {self.process.wait(10)}; what it said is above"
        answer: dict[str, Any] = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer

    def close(self) -> None:
        """End it; it takes its bait away."""
        with self.process, contextlib.suppress(BrokenPipeError):  # it may have ended by itself
            self.process.communicate(timeout=30)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Callable[[str, str], Ask]]:
    """`hosts(level, user)` asks the host for these; it is started when it is first asked for."""
    running: dict[tuple[str, str], RemoteHost] = {}

    def host(level: str, user: str) -> Ask:
        if (level, user) not in running:
            running[level, user] = RemoteHost(level, user)
        return running[level, user].ask

    yield host
    for remote in running.values():
        remote.close()
