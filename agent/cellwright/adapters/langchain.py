"""LangChain tools as ours: `from_langchain(tool)`.

Name, description and argument schema are the tool's own; it is called by its async method, so that a stop reaches it
where it is async itself. Of what it returns the model gets the content, not the artifact.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ToolDefinitionError
from ..outputs import Json
from ..tools import Tool
from .schema_tool import SchemaTool, Tell

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool


def from_langchain(tool: BaseTool, *, name: str | None = None, description: str | None = None) -> Tool:
    """The LangChain tool as a tool of ours. Raises `ToolDefinitionError` for what is no LangChain tool."""
    try:
        from langchain_core.tools import BaseTool
    except ImportError:
        raise ToolDefinitionError('LangChain tools need: pip install "cellwright[langchain]"') from None
    if not isinstance(tool, BaseTool):
        raise ToolDefinitionError(f"{type(tool).__name__} is no LangChain tool: give an instance of BaseTool.")

    async def send(arguments: dict[str, Json], tell: Tell) -> object:
        return await tool.ainvoke(arguments)

    return SchemaTool(
        name or tool.name, description or tool.description, _parameters(tool), send, returns=_returned(tool)
    )


def _parameters(tool: BaseTool) -> Mapping[str, Json]:
    """The schema of what a model gives; arguments that LangChain fills in itself are not in it."""
    schema: Any = tool.tool_call_schema
    if isinstance(schema, Mapping):
        return schema
    found: Mapping[str, Json] = schema.model_json_schema()
    # It has the tool's docstring as its description, which the model is told once already.
    return {word: said for word, said in found.items() if word != "description"}


def _returned(tool: BaseTool) -> str | None:
    """The hint of the function behind the tool, where there is one; an artifact is not returned."""
    function = getattr(tool, "coroutine", None) or getattr(tool, "func", None)
    if function is None or tool.response_format != "content":
        return None
    hint = inspect.signature(function).return_annotation
    if hint is inspect.Signature.empty:
        return None
    return hint if isinstance(hint, str) else inspect.formatannotation(hint).replace("typing.", "")
