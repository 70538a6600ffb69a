"""Tools: functions of the host that the agent's code may call.

A tool runs in the host, where the keys are; the sandbox gets a stand-in of the same name. What the model is told comes
from the function itself: type hints give the JSON schema and the Python signature, the docstring says what each
argument means. pydantic checks the arguments of every call against the hints.
"""

from __future__ import annotations

import asyncio
import inspect
import keyword
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, overload

from .errors import ToolCallError, ToolDefinitionError, one_line
from .facts import ToolFacts
from .outputs import Json
from .tool_schema import arguments_model, as_json, documentation, tool_facts

RESERVED = {"final_answer"}


class Tool:
    """A function that the agent's code may call.

    function: sync or async; sync ones run in a thread, so that the host's loop is never blocked.
    Raises `ToolDefinitionError` where name, hints or docstring do not make a tool.
    """

    def __init__(
        self, function: Callable[..., Any], *, name: str | None = None, description: str | None = None
    ) -> None:
        self.function = function
        self.name = name or function.__name__
        if not self.name.isidentifier() or keyword.iskeyword(self.name) or self.name in RESERVED:
            raise ToolDefinitionError(f"A tool can't be called {self.name!r}: it must be a free Python name.")
        self._signature = inspect.signature(function)
        self._model = arguments_model(self.name, function, self._signature)
        self.description, documented = documentation(function)
        self.description = description or self.description
        if not self.description:
            raise ToolDefinitionError(f"Tool {self.name} needs a docstring: it tells the model what the tool is for.")
        if unknown := set(documented) - set(self._signature.parameters):
            raise ToolDefinitionError(
                f"Tool {self.name}: the docstring describes {', '.join(sorted(unknown))}, which is no argument."
            )
        self._documented = documented

    @property
    def facts(self) -> ToolFacts:
        """The tool as the model sees it."""
        return tool_facts(self.name, self.description, self._documented, self._model, self._signature)

    def check(self, args: Sequence[Json], kwargs: Mapping[str, Json]) -> inspect.BoundArguments:
        """The arguments, converted to the hinted types. Raises `ToolCallError`, naming the argument."""
        from pydantic import ValidationError

        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ToolCallError(f"{self.name}: {error}. Its signature is {self.facts.signature}.") from None
        try:
            checked = self._model.model_validate(dict(bound.arguments))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            got = f"{first['input']!r} ({type(first['input']).__name__})"
            raise ToolCallError(f"{self.name}: argument {where}: {first['msg']}; got {one_line(got, 120)}.") from None
        bound.arguments = {name: getattr(checked, name) for name in bound.arguments}
        return bound

    async def __call__(self, *args: Json, **kwargs: Json) -> Json:
        """Call it with checked arguments; the result as JSON. Raises `ToolCallError`."""
        bound = self.check(args, kwargs)
        try:
            if inspect.iscoroutinefunction(self.function):
                result = await self.function(*bound.args, **bound.kwargs)
            else:
                result = await asyncio.to_thread(self.function, *bound.args, **bound.kwargs)
        except Exception as error:  # a tool is somebody else's code and may raise anything
            raise ToolCallError(f"{self.name} failed: {type(error).__name__}: {one_line(str(error))}") from error
        return as_json(self.name, result)


@overload
def tool(function: Callable[..., Any]) -> Tool: ...
@overload
def tool(*, name: str | None = None, description: str | None = None) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None, *, name: str | None = None, description: str | None = None
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a function a tool: `@tool`, or `@tool(name=...)`.

    Google, NumPy and reST docstrings are read. Raises `ToolDefinitionError`.
    """
    if function is not None:
        return Tool(function)
    return lambda f: Tool(f, name=name, description=description)


def collect(tools: Iterable[Tool | Callable[..., Any]]) -> dict[str, Tool]:
    """Tools by name; plain functions are made tools. Raises `ToolDefinitionError` for a name used twice."""
    found: dict[str, Tool] = {}
    for item in tools:
        made = item if isinstance(item, Tool) else Tool(item)
        if made.name in found:
            raise ToolDefinitionError(f"Two tools are called {made.name!r}; give one another name.")
        found[made.name] = made
    return found
