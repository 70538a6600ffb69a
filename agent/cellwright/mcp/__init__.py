"""MCP: tools of servers that speak the Model Context Protocol, over stdio or streamable HTTP.

    async with McpServer(ServerSettings("time", command="uvx", args=("mcp-server-time",))) as server:
        agent = CodeAgent(tools=server.tools)

`settings.py` reads what is to be connected, `connection.py` holds one session open, `server.py` makes tools of what it
offers and starts it anew when it died, `servers.py` keeps several side by side. The official `mcp` SDK does the
talking; it is an extra (`pip install "cellwright[mcp]"`), imported when the first server starts.
"""

from __future__ import annotations

from .connection import McpUnavailable, Progress
from .server import McpServer
from .servers import McpServers
from .settings import ServerSettings, read_file, settings_from_words

__all__ = [
    "McpServer",
    "McpServers",
    "McpUnavailable",
    "Progress",
    "ServerSettings",
    "read_file",
    "settings_from_words",
]
