"""Tools: functions of the host that the agent's code may call.

A tool runs in the host, where the keys are; the sandbox gets a stand-in of the same name. What the model is told comes
from the function itself: type hints give the JSON schema and the Python signature, the docstring says what each
argument means (`tool_schema.py`). Every call is checked against the hints, and bounded in time (`tool_calls.py`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, overload

from .errors import ToolDefinitionError
from .facts import ToolFacts
from .outputs import Json
from .tool_calls import Caller, Progress
from .tool_schema import RESERVED as RESERVED  # noqa: PLC0414 - taken from here by others
from .tool_schema import Described, check_name


class Tool:
    """A function that the agent's code may call: `Tool(function)`, or a subclass with a method `forward`.

    function: sync or async, and it may yield; sync ones run in a thread, so that the host's loop is never blocked.
    seconds: how long a call may take. Raises `ToolDefinitionError` where name, hints or docstring do not make a tool.

    A subclass sets `name` and `description` (or leaves them to the name of the class and to docstrings) and calls
    `super().__init__()` if it has an `__init__`. `inputs` and `output_type`, as smolagents has them, are read where
    `forward` has no hints. `setup`, sync or async, is called once, before the first call.
    """

    name: str = ""
    description: str = ""
    inputs: Mapping[str, Mapping[str, Any]] = {}
    output_type: str = ""
    seconds: float | None = None
    risky: bool = False
    """Whether a person is asked before code calls it, where the mode is `ask-risky`."""
    forward: Callable[..., Any]
    setup: Callable[[], Any] | None = None

    def __init__(
        self,
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        seconds: float | None = None,
    ) -> None:
        made = function or getattr(self, "forward", None)
        if made is None or inspect.isclass(made):
            what = getattr(made, "__name__", type(self).__name__)
            raise ToolDefinitionError(f"{what} is no tool: give a function, or an instance of a class with `forward`.")
        self.function: Callable[..., Any] = made
        self.seconds = seconds or self.seconds
        self.name = str(name or self.name or getattr(function or type(self), "__name__", ""))
        check_name(self.name)
        said = description or self.description
        self._described = Described(self.name, made, said, self.inputs, self.output_type)
        self.description = self._described.description
        self._caller = Caller(self.name, made, self.seconds, self.setup)

    @property
    def facts(self) -> ToolFacts:
        """The tool as the model sees it."""
        return self._described.facts(self.description)

    def check(self, args: Sequence[Json], kwargs: Mapping[str, Json]) -> inspect.BoundArguments:
        """The arguments, converted to the hinted types. Raises `ToolCallError`, naming the argument."""
        return self._described.check(args, kwargs)

    async def call(self, args: Sequence[Json], kwargs: Mapping[str, Json], on_progress: Progress | None = None) -> Json:
        """Call it with checked arguments; the result as JSON. Raises `ToolCallError`.

        on_progress: called with each text that the tool yields, cut to one line; sync or async.
        """
        return await self._caller.call(self.check(args, kwargs), on_progress)

    async def __call__(self, /, *args: Json, **kwargs: Json) -> Json:
        """As `call`, with the arguments written out."""
        return await self.call(args, kwargs)


@overload
def tool(function: Callable[..., Any]) -> Tool: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None, seconds: float | None = None
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    description: str | None = None,
    seconds: float | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a function a tool: `@tool`, or `@tool(name=..., seconds=10)`.

    Google, NumPy and reST docstrings are read. Raises `ToolDefinitionError`.
    """
    if function is not None:
        return Tool(function)
    return lambda f: Tool(f, name=name, description=description, seconds=seconds)


def collect(tools: Iterable[Tool | Callable[..., Any]]) -> dict[str, Tool]:
    """Tools by name; plain functions are made tools. Raises `ToolDefinitionError` for a name used twice."""
    found: dict[str, Tool] = {}
    for item in tools:
        made = item if isinstance(item, Tool) else Tool(item)
        if made.name in found:
            raise ToolDefinitionError(f"Two tools are called {made.name!r}; give one another name.")
        found[made.name] = made
    return found
