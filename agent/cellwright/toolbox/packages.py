"""Packages of the extra `toolbox`: asked for when a tool is made, loaded when it is called."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import ToolDefinitionError


def need(package: str, tool: str) -> None:
    """Raise `ToolDefinitionError`, which says what to install, where `package` is missing."""
    if find_spec(package) is None:
        raise ToolDefinitionError(f"{tool} needs the package {package}: pip install 'cellwright[toolbox]'")
