"""No sandbox: for agents that run no code."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import SandboxUnavailable, ValueNotTransferable
from ..facts import SandboxFacts, ToolFacts
from ..outputs import Json
from .base import AtHand, Callbacks, Execution, Variable


class NoSandbox:
    """Takes values, so that a task's variables can be named; refuses code."""

    def __init__(self) -> None:
        self.values: dict[str, Json] = {}
        self.is_running = False

    async def start(self) -> SandboxFacts:
        """Nothing is started."""
        self.is_running = True
        return SandboxFacts("none", "none", "none", "", platform.python_version(), "")

    async def run(self, code: str, callbacks: Callbacks, seconds: float | None = None) -> Execution:
        """Raises `SandboxUnavailable`."""
        raise SandboxUnavailable("This agent runs no code.")

    async def bring(self, files: Sequence[Path], beneath: Path | None = None) -> Sequence[str]:
        """Files stay where they are."""
        return [str(path) for path in files]

    async def offer(self, tools: Sequence[ToolFacts]) -> None:
        """The model calls them by itself."""

    async def put(self, name: str, form: str, value: Json) -> None:
        """Keep a plain value. Raises `ValueNotTransferable` for a table."""
        if form != "json":
            raise ValueNotTransferable(f"{name} is a table; an agent that runs no code takes plain values only.")
        self.values[name] = value

    async def get(self, name: str) -> tuple[str, Json]:
        """A value that was put. Raises `ValueNotTransferable`."""
        if name not in self.values:
            raise ValueNotTransferable(f"There is no value {name!r}.")
        return "json", self.values[name]

    async def render(self, names: Sequence[str]) -> Mapping[str, str]:
        """Values as text."""
        return {name: str(self.values[name]) for name in names if name in self.values}

    async def keep(self, number: int, text: str) -> None:
        """The journal has it."""

    async def at_hand(self) -> AtHand:
        """The values that were put, whole: the model can't look at them by itself."""
        found = [Variable(name, type(value).__name__, repr(value)[:2000]) for name, value in self.values.items()]
        return AtHand(tuple(found))

    async def names(self) -> Sequence[str]:
        """Those of the values that were put."""
        return sorted(self.values)

    async def complete(self, code: str, cursor: int) -> Mapping[str, Json]:
        """Nothing."""
        return {}

    async def inspect(self, code: str, cursor: int, detail: int = 0) -> Mapping[str, Json]:
        """Nothing."""
        return {}

    def another(self) -> NoSandbox:
        """Another."""
        return NoSandbox()

    async def restart(self) -> SandboxFacts:
        """Forget the values."""
        self.values.clear()
        return await self.start()

    async def close(self) -> None:
        """Nothing is held."""
        self.is_running = False
