"""What the host asks of a kernel between two cells: values in and out, tools offered, what is at hand, completion.

The bootstrap cell left a service object in the kernel; it is reached by silent requests, and answers with JSON.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from ..facts import SandboxFacts, ToolFacts
from ..outputs import Json
from . import channels, relay
from .base import AtHand, File, Variable

RENDERED = 20_000
"""Characters of a variable that is put into a prompt."""
SAID = 1_000
"""Characters that are said about a variable or a file."""


def bootstrap_cell(mark: str, output_bytes: int) -> str:
    """The first cell of a kernel: what it needs of us, and the mark that its calls to the host begin with."""
    code = files(__package__).joinpath("bootstrap.py").read_text(encoding="utf-8")
    code += f"\n_cellwright_boot({mark!r}, {output_bytes})"
    # With names of its own: among the person's, a variable called `len` or `map` would take the place of the builtin.
    return f"exec({code!r}, {{'get_ipython': get_ipython, '__name__': '__main__'}})"


class KernelServices(ABC):
    """The part of the sandbox protocol that runs no cell."""

    def __init__(self) -> None:
        self._tools: Sequence[ToolFacts] = ()

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """True while a kernel lives."""

    @abstractmethod
    async def start(self) -> SandboxFacts:
        """Start the kernel if need be."""

    @abstractmethod
    async def _ask(self, call: str, *arguments: Json, buffers: Sequence[bytes] = ()) -> Any:
        """Call the service in the kernel. Raises `SandboxError`."""

    @abstractmethod
    async def _introspect(self, kind: str, content: Mapping[str, Json]) -> Mapping[str, Json]:
        """The reply to a small request; empty when none came in time."""

    async def offer(self, tools: Sequence[ToolFacts]) -> None:
        """Make host tools callable under their names, now and after every restart."""
        self._tools = tools
        if self.is_running:
            described = [
                {"name": tool.name, "signature": tool.signature, "description": tool.description} for tool in tools
            ]
            await self._ask("offer", described)

    async def keep(self, number: int, text: str) -> None:
        """Store a whole observation as `_out[number]`."""
        await self._ask("keep", number, text)

    async def put(self, name: str, form: str, value: Json) -> None:
        """Set a variable. Raises `ValueNotTransferable`."""
        import base64

        await self.start()
        data = base64.b64decode(value) if form == "table" else json.dumps(value).encode()
        await self._ask("put", name, form, buffers=[data])

    async def get(self, name: str) -> tuple[str, Json]:
        """A variable as (form, value). Raises `ValueNotTransferable`."""
        await self.start()
        found = await self._ask("get", name)
        with channels.believed():
            form, value = found
            return relay.word(form), relay.clean_json(value)

    async def render(self, names: Sequence[str]) -> Mapping[str, str]:
        """The values of variables as text; unknown names are left out."""
        await self.start()
        texts = await self._ask("render", list(names))
        with channels.believed():
            return {name: relay.word(texts[name], RENDERED) for name in names if name in texts}

    async def at_hand(self) -> AtHand:
        """Variables and files."""
        await self.start()
        found = await self._ask("at_hand()")
        word = relay.word
        with channels.believed():
            return AtHand(
                tuple(
                    Variable(word(v["name"]), word(v["type_name"]), word(v["summary"], SAID))
                    for v in found["variables"]
                ),
                tuple(
                    File(word(f["name"]), min(int(f["size"]), 1 << 62), word(f["summary"], SAID))
                    for f in found["files"]
                ),
            )

    async def names(self) -> Sequence[str]:
        """The names of its variables, in alphabetical order, while code runs, too; none where it does not run."""
        found = (await self._introspect("names_request", {})).get("names")
        return sorted(filter(str.isidentifier, map(relay.word, found))) if isinstance(found, list) else []

    async def complete(self, code: str, cursor: int) -> Mapping[str, Json]:
        """`complete_reply` content, while code runs, too; empty when none came."""
        return relay.clean_completion(await self._introspect("complete_request", {"code": code, "cursor_pos": cursor}))

    async def inspect(self, code: str, cursor: int, detail: int = 0) -> Mapping[str, Json]:
        """`inspect_reply` content, while code runs, too; empty when none came."""
        content = {"code": code, "cursor_pos": cursor, "detail_level": detail}
        return relay.clean_inspection(await self._introspect("inspect_request", content))
