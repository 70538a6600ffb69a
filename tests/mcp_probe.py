"""An MCP server for the tests, made with the official SDK: over stdio, or with a port over streamable HTTP.

Its tools cover what servers do: structured and plain results, images, errors, progress, long calls, death, new tools.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Literal

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import BaseModel

server = MCPServer("probe", log_level="ERROR")


class Place(BaseModel):
    city: str
    country: str = "Norway"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


@server.tool(annotations=ToolAnnotations(destructive_hint=False))
def visit(place: Place, how: Literal["train", "boat"] = "train", note: str | None = None) -> Place:
    """Visit a place."""
    return Place(city=f"{place.city} by {how}", country=note or place.country)


@server.tool(name="list-env")
def environment() -> dict[str, str]:
    """All environment variables."""
    return dict(os.environ)


@server.tool(name="print")
def say(text: str) -> str:
    """Has the name of a Python function."""
    return text.upper()


@server.tool()
async def slow(seconds: float, ctx: Context) -> str:
    """Take long, and say how far it is. What is cancelled leaves a file `cancelled` in PROBE_FOLDER."""
    try:
        for part in range(10):
            await ctx.report_progress(part, 10, f"part {part}")
            await asyncio.sleep(seconds / 10)
    except asyncio.CancelledError:
        if folder := os.environ.get("PROBE_FOLDER"):
            (Path(folder) / "cancelled").touch()
        raise
    return "done"


@server.tool()
def fail() -> str:
    """Always fails."""
    raise ToolError("no such\nthing")


@server.tool(structured_output=False)
def picture() -> list[object]:
    """Text and an image."""
    return ["a dot", Image(data=b"dot", format="png")]


@server.tool()
def pid() -> int:
    """The server's process."""
    return os.getpid()


@server.tool()
def die() -> int:
    """Never answers."""
    print("I can't go on.", file=sys.stderr, flush=True)
    os._exit(3)


def learnt(word: str) -> str:
    """A tool that came later."""
    return word[::-1]


@server.tool()
async def learn(ctx: Context) -> str:
    """Offer one tool more."""
    server.add_tool(learnt)
    await ctx.notify_tools_changed()
    return "ok"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run()
