"""An MCP server as most are that run today: no SDK, the protocol of 2025, tools in pages, news unasked for.

With the word `silent` it leaves requests unanswered that it does not know.
"""

from __future__ import annotations

import json
import sys
from typing import Any

TOOLS = [
    {"name": "echo", "description": "Say it again.", "inputSchema": {"type": "object", "properties": {"text": {}}}},
    {"name": "more", "description": "Offer more.", "inputSchema": {"type": "object"}},
]


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    if method == "initialize":
        about = {"serverInfo": {"name": "legacy", "version": "1"}, "capabilities": {"tools": {"listChanged": True}}}
        return {"protocolVersion": "2025-06-18", **about}
    if method == "tools/list":
        at = int(params.get("cursor", 0))
        return {"tools": TOOLS[at : at + 1]} | ({"nextCursor": str(at + 1)} if at + 1 < len(TOOLS) else {})
    if method == "tools/call" and params["name"] == "more":
        TOOLS.append({**TOOLS[0], "name": "echo-too"})
        send({"method": "notifications/tools/list_changed"})
        return {"content": []}
    if method == "tools/call":
        text = str(params["arguments"].get("text"))
        resource = {
            "type": "resource",
            "resource": {"uri": "file:///a", "mimeType": "text/plain", "text": "from a file"},
        }
        return {"content": [{"type": "text", "text": text}, resource]}
    return None


def send(message: dict[str, Any]) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


if __name__ == "__main__":
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request:
            result = answer(request["method"], request.get("params") or {})
            if result is None and "silent" in sys.argv:
                continue
            unknown = {"error": {"code": -32601, "message": "Method not found"}}
            send({"id": request["id"], **({"result": result} if result is not None else unknown)})
