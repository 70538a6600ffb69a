"""Tools that come along: search the web, read a page, look something up, ask the person, run Python, hear a recording.

    from cellwright.toolbox import toolbox_by_name
    agent = CodeAgent(tools=toolbox_by_name(["web_search", "visit_webpage"]))

The classes have the names that smolagents gives them. `final_answer` needs no tool: it is always there. Some need the
extra `toolbox`; all are loaded when they are first asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, nearest

if TYPE_CHECKING:
    from ..sandbox.base import Sandbox
    from ..tools import Tool
    from .fetch import Web as Web
    from .person import Ask
    from .person import UserInputTool as UserInputTool
    from .python import PythonInterpreterTool as PythonInterpreterTool
    from .search import WebSearchTool as WebSearchTool
    from .search import WikipediaSearchTool as WikipediaSearchTool
    from .speech import SpeechToTextTool as SpeechToTextTool
    from .webpage import VisitWebpageTool as VisitWebpageTool

_HOME = {
    "DuckDuckGoSearchTool": "search.WebSearchTool",
    "PythonInterpreterTool": "python.PythonInterpreterTool",
    "SpeechToTextTool": "speech.SpeechToTextTool",
    "UserInputTool": "person.UserInputTool",
    "VisitWebpageTool": "webpage.VisitWebpageTool",
    "Web": "fetch.Web",
    "WebSearchTool": "search.WebSearchTool",
    "WikipediaSearchTool": "search.WikipediaSearchTool",
}
__all__ = ["BASE_TOOLS", "TOOLBOX", "Lent", "toolbox_by_name", *_HOME]  # noqa: PLE0604 - names of strings

TOOLBOX: Mapping[str, str] = {
    "web_search": "WebSearchTool",
    "visit_webpage": "VisitWebpageTool",
    "wikipedia_search": "WikipediaSearchTool",
    "ask_user": "UserInputTool",
    "python": "PythonInterpreterTool",
    "speech_to_text": "SpeechToTextTool",
}
"""Name of a tool -> name of its class in this module."""
BASE_TOOLS = ("web_search", "visit_webpage")
"""What `add_base_tools=True` adds; an agent that calls tools gets `python`, too."""
_SMOLAGENTS = {"user_input": "ask_user", "python_interpreter": "python", "transcriber": "speech_to_text"}


@dataclass(frozen=True, slots=True)
class Lent:
    """What tools borrow from whoever makes them; each takes what it needs."""

    ask: Ask | None = None
    """For `ask_user`, as an agent's `on_input`."""
    sandbox: Sandbox | None = None
    """For `python`."""
    folder: Path | None = None
    """For `speech_to_text`: the workspace."""
    web: Web | None = None
    """What of the web may be reached; public addresses when None."""


def toolbox_by_name(names: Iterable[str], lent: Lent | None = None) -> list[Tool]:
    """The tools of these names. Raises `UsageError` for an unknown name, `ToolDefinitionError` without a package."""
    return [_made(_SMOLAGENTS.get(name, name), lent or Lent()) for name in names]


def _made(name: str, lent: Lent) -> Tool:
    if name not in TOOLBOX:
        raise UsageError(f"No tool {name!r} in the toolbox{nearest(name, TOOLBOX)} There are {', '.join(TOOLBOX)}.")
    kind: Any = __getattr__(TOOLBOX[name])
    match name:
        case "ask_user":
            made: Tool = kind(lent.ask)
        case "python":
            if lent.sandbox is None:
                raise UsageError("python runs code in a sandbox, and there is none to lend it.")
            made = kind(lent.sandbox)
        case "speech_to_text":
            made = kind(folder=lent.folder, web=lent.web)
        case "web_search":
            made = kind()
        case _:
            made = kind(web=lent.web)
    return made


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, home = _HOME[name].partition(".")
    return getattr(import_module(f"{__name__}.{module}"), home)


def __dir__() -> list[str]:
    return sorted(__all__)
