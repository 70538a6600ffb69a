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
from typing import Any, get_type_hints, overload

from .errors import ToolCallError, ToolDefinitionError, one_line
from .events import Json, ToolFacts

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
        self._model = _arguments_model(self.name, function, self._signature)
        self.description, documented = _documentation(function)
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
        schema: dict[str, Json] = self._model.model_json_schema()
        for name, said in self._documented.items():
            schema["properties"][name]["description"] = said
        schema.pop("title", None)
        arguments = "\n".join(f"{name}: {said}" for name, said in self._documented.items())
        return ToolFacts(
            name=self.name,
            description=f"{self.description}\n{arguments}".strip(),
            parameters=schema,
            signature=self.name + _signature_text(self._signature),
        )

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
        return _json(self.name, result)


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


def _arguments_model(name: str, function: Callable[..., Any], signature: inspect.Signature) -> Any:
    from pydantic import ConfigDict, create_model
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ToolDefinitionError(f"Tool {name}: a type hint can't be resolved: {error}.") from None
    fields: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ToolDefinitionError(f"Tool {name}: write the arguments out; *{parameter.name} can't be described.")
        if parameter.name not in hints:
            raise ToolDefinitionError(f"Tool {name}: argument {parameter.name} needs a type hint.")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    try:
        return create_model(name, __config__=ConfigDict(extra="forbid", strict=False), **fields)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise ToolDefinitionError(f"Tool {name}: {one_line(str(error))}") from None


def _documentation(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    from docstring_parser import parse

    parsed = parse(inspect.getdoc(function) or "")
    said = "\n".join(filter(None, (parsed.short_description, parsed.long_description)))
    return said, {item.arg_name: one_line(item.description or "") for item in parsed.params}


class _Written(str):
    """A hint that is shown as it was written, without quotes around it."""

    __slots__ = ()
    __repr__ = str.__str__


def _signature_text(signature: inspect.Signature) -> str:
    """The signature as source, with the hints as they were written."""

    def written(hint: object) -> object:
        return _Written(hint) if isinstance(hint, str) else hint

    parameters = [p.replace(annotation=written(p.annotation)) for p in signature.parameters.values()]
    text = str(signature.replace(parameters=parameters, return_annotation=written(signature.return_annotation)))
    return text.replace("typing.", "")


def _json(name: str, result: object) -> Json:
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        return to_jsonable_python(result)
    except PydanticSerializationError:
        raise ToolCallError(
            f"{name} returned a {type(result).__name__}, which has no JSON form; let it return plain data."
        ) from None
