"""What an MCP tool returned, as plain data: structured output first, else text as text and images as base64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ToolCallError, one_line
from ..outputs import Json

if TYPE_CHECKING:
    from mcp_types import CallToolResult


def plain(result: CallToolResult, output_schema: Mapping[str, Json] | None) -> Json:
    """The result as JSON. Raises `ToolCallError` for a result that the server marks as an error.

    Structured content; else the text (several texts as lines), an image or a file as
    `{"type", "mime", "base64"}`, and several of different kinds as a list.
    """
    parts = [_part(block) for block in result.content]
    if result.is_error:
        said = " ".join(part for part in parts if isinstance(part, str))
        raise ToolCallError(one_line(said or str(result.structured_content or "it failed."), 2_000))
    if result.structured_content is not None:
        wrapped = is_wrapped(output_schema) and isinstance(result.structured_content, Mapping)
        return result.structured_content["result"] if wrapped else result.structured_content
    if all(isinstance(part, str) for part in parts):
        return "\n".join(parts)
    return parts[0] if len(parts) == 1 else parts


def is_wrapped(output_schema: Mapping[str, Json] | None) -> bool:
    """True where a server put what is no object into one, as the protocol had it until 2026: `{"result": 3}`."""
    return (
        output_schema is not None
        and list(output_schema.get("properties", {})) == ["result"]
        and output_schema.get("required") == ["result"]
    )


def returned_schema(output_schema: Mapping[str, Json] | None) -> Json:
    """The schema of what `plain` gives; `str` where the server describes none, since then it is nearly always text."""
    if output_schema is None:
        return "str"
    if not is_wrapped(output_schema):
        return output_schema
    inner = output_schema["properties"]["result"]
    return {**inner, "$defs": output_schema.get("$defs", {})} if isinstance(inner, Mapping) else {}


def _part(block: Any) -> Json:
    from mcp_types import (
        AudioContent,
        BlobResourceContents,
        EmbeddedResource,
        ImageContent,
        ResourceLink,
        TextContent,
        TextResourceContents,
    )

    match block:
        case TextContent():
            return block.text
        case ImageContent() | AudioContent():
            return {"type": block.type, "mime": block.mime_type, "base64": block.data}
        case EmbeddedResource(resource=TextResourceContents() as resource):
            return resource.text
        case EmbeddedResource(resource=BlobResourceContents() as resource):
            return {"type": "file", "uri": str(resource.uri), "mime": resource.mime_type, "base64": resource.blob}
        case ResourceLink():
            return {"type": "link", "uri": str(block.uri), "name": block.name, "mime": block.mime_type}
    return str(block)
