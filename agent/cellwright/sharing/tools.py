"""One tool as a folder: its source in `tool.py`, what the model is told of it in `tool.json`.

A folder that smolagents wrote (`tool.py` with one subclass of `Tool`) is read, too: its `Tool` is ours.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import ToolDefinitionError, one_line
from ..identity import new_id
from ..tools import Tool
from ..tools import tool as tool_decorator
from .files import (
    REQUIREMENTS,
    TOOL_CARD,
    TOOL_CODE,
    Files,
    NotTrusted,
    SharingError,
    ToolCard,
    as_text,
    card_of,
    read_folder,
    write_folder,
)
from .source import requirements, source_of


def save_tool(tool: Tool, folder: str | Path) -> Path:
    """Write a tool to a folder; the folder. What it uses must be imported inside it. Raises `SharingError`."""
    return write_folder(folder, tool_files(tool))


def load_tool(folder: str | Path, trust: bool = False) -> Tool:
    """The tool that a folder holds. Raises `NotTrusted` without `trust`, which says what would run; `SharingError`."""
    return tool_from(read_folder(folder), str(folder), trust=trust)


def tool_files(tool: Tool) -> dict[str, str]:
    """The files of a tool. Raises `SharingError` where its source does not make it again."""
    subject: Any = tool.function if type(tool) is Tool else type(tool)
    if type(tool) is not Tool:
        _refuse_arguments(tool)
    text, entry = source_of(subject, tool.name)
    card = ToolCard(
        format="cellwright-tool",
        name=tool.name,
        description=tool.description,
        entry=entry,
        parameters=tool.facts.parameters,
        signature=tool.facts.signature,
        seconds=None if tool.seconds is None else float(tool.seconds),
        requirements=requirements(text, tool.name),
    )
    files = {TOOL_CODE: text, TOOL_CARD: as_text(card)}
    again = tool_from(files, tool.name, trust=True)
    if (again.facts, again.seconds) != (tool.facts, tool.seconds):
        raise SharingError(
            f"Tool {tool.name} would be another one when it is loaded: its source says less than it has."
        )
    for name, value in _plain(tool).items():
        if _plain(again).get(name) != value:
            raise SharingError(
                f"Tool {tool.name} has {name} = {one_line(repr(value), 60)}, which a new one has not: "
                "let its class say so."
            )
    return files


def tool_from(files: Files, where: str, *, trust: bool) -> Tool:
    """The tool of these files. Raises `NotTrusted`, `SharingError`."""
    if TOOL_CODE not in files:
        raise SharingError(f"{where} has no {TOOL_CODE}.")
    card = card_of(ToolCard, files, TOOL_CARD, where) if TOOL_CARD in files else None
    if not trust:
        raise NotTrusted({path: files[path] for path in (TOOL_CODE, TOOL_CARD) if path in files}, where)
    needed = list(card.requirements) if card else files.get(REQUIREMENTS, "").split()
    module = _run(files[TOOL_CODE], where, needed, ours=card is None)
    try:
        return _from_card(module, card, where) if card else _from_class(module, where)
    except ToolDefinitionError as error:
        raise SharingError(f"{where}: {error}") from None
    except SharingError:
        raise
    except Exception as error:  # noqa: BLE001 - somebody else's class is made here; what it raises is said
        raise _failed(error, where, needed) from None


def _from_card(module: ModuleType, card: ToolCard, where: str) -> Tool:
    made = vars(module).get(card.entry)
    if inspect.isclass(made) and issubclass(made, Tool):
        tool = _instance(made)
    elif inspect.isfunction(made):
        tool = Tool(made, name=card.name, description=card.description, seconds=card.seconds)
    else:
        raise SharingError(f"{where}/{TOOL_CODE} has no function or Tool {one_line(card.entry, 60)!r}.")
    if tool.name != card.name:
        raise SharingError(f"{where}: {TOOL_CARD} says {one_line(card.name, 60)!r}, {TOOL_CODE} says {tool.name!r}.")
    return tool


def _from_class(module: ModuleType, where: str) -> Tool:
    found = [item for item in vars(module).values() if _is_own(item, module)]
    if len(found) != 1:
        raise SharingError(f"{where}/{TOOL_CODE} must hold one subclass of Tool; it holds {len(found)}.")
    return _instance(found[0])


def _is_own(item: object, module: ModuleType) -> bool:
    return inspect.isclass(item) and issubclass(item, Tool) and item.__module__ == module.__name__


def _instance(made: type[Tool]) -> Tool:
    tool = made()
    if "function" not in vars(tool):
        Tool.__init__(tool)  # what smolagents writes has an __init__ that does not call that of Tool
    return tool


def _run(text: str, where: str, needed: list[str], *, ours: bool) -> ModuleType:
    """Run `tool.py` as a module of its own; its source stays known, so that it can be shown, and saved again."""
    module = ModuleType(f"cellwright_shared_{new_id()}")
    file = f"<{module.__name__}>"
    module.__file__ = file
    try:
        tree = ast.parse(text, file)
        code = compile(_Ours().visit(tree) if ours else tree, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SharingError(f"{where}/{TOOL_CODE} is no Python: {one_line(str(error), 120)}") from None
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    sys.modules[module.__name__] = module  # dataclasses and inspect look their module up there
    try:
        exec(code, vars(module))
    except Exception as error:  # noqa: BLE001 - somebody else's code; what it raises is said
        del sys.modules[module.__name__]
        raise _failed(error, where, needed) from None
    return module


def _failed(error: Exception, where: str, needed: list[str]) -> SharingError:
    said = one_line(f"{type(error).__name__}: {error}", 160)
    what = f" It needs {', '.join(needed)}." if isinstance(error, ImportError) and needed else ""
    return SharingError(f"{where}/{TOOL_CODE} failed: {said}.{what}")


class _Ours(ast.NodeTransformer):
    """Takes `Tool` and `tool` from here where a file imports them from smolagents."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        if (node.module or "").partition(".")[0] != "smolagents":
            return node
        ours = [alias for alias in node.names if alias.name in (Tool.__name__, tool_decorator.__name__)]
        others = [alias for alias in node.names if alias not in ours]
        made = [ast.ImportFrom("cellwright.tools", ours, 0)] if ours else []
        made += [ast.ImportFrom(node.module, others, node.level)] if others else []
        return [ast.fix_missing_locations(ast.copy_location(item, node)) for item in made]


def _refuse_arguments(tool: Tool) -> None:
    parameters = inspect.signature(type(tool)).parameters.values()
    open_kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in open_kinds]
    if type(tool).__init__ is not Tool.__init__ and needed:
        raise SharingError(
            f"Tool {tool.name} is made with arguments ({', '.join(needed)}), which no folder holds: give them defaults."
        )


def _plain(tool: Tool) -> dict[str, Any]:
    """The plain values that the tool holds."""
    kinds = (str, int, float, bool, type(None), list, dict, tuple)
    return {name: value for name, value in vars(tool).items() if not name.startswith("_") and isinstance(value, kinds)}
