"""What a function's hints and docstring say: the schema of its arguments, its signature as text, what it is for.

pydantic reads the hints, so whatever it understands may be written: Literal, unions, nested lists and dicts,
dataclasses, its own models, `Annotated` with a `Field`. The schema is the one that pydantic gives for the function
itself. Code in the sandbox has none of the host's classes, so each one is described as the dict that it is passed as.
"""

from __future__ import annotations

import functools
import inspect
import json
import keyword
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

from .errors import ToolCallError, ToolDefinitionError, one_line
from .facts import ToolFacts
from .hints import hint_text, kind_text, result_hint
from .outputs import Json
from .secrets import Secret, handed_out, redacted

_INPUT_TYPES: Mapping[str, Any] = {
    "string": str, "integer": int, "number": float, "boolean": bool, "array": list[Any], "object": dict[str, Any],
    "null": None, "any": Any, "image": str, "audio": str,
}  # fmt: skip
"""What smolagents calls a type in `inputs` -> a hint. Images and audio are named, by file or URL: only JSON crosses."""


RESERVED = {"final_answer"}


def check_name(name: str) -> None:
    """Raise `ToolDefinitionError` for what can't be the name of a tool."""
    if name in RESERVED:
        raise ToolDefinitionError(f"{name} is always there, and is no free Python name: leave it out of the tools.")
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ToolDefinitionError(f"A tool can't be called {name!r}: it must be a free Python name.")


class Described:
    """A function as a tool: its arguments, checked by pydantic, and what the model is told of it.

    inputs, output_type: as a smolagents tool has them; they say what hints and docstring leave open.
    Raises `ToolDefinitionError` where they do not make a tool.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        description: str = "",
        inputs: Mapping[str, Mapping[str, Any]] | None = None,
        output_type: str = "",
    ) -> None:
        self.name = name
        self._signature = inspect.signature(function)
        # Function calls of providers give every argument by name, so no argument is positional only to who calls.
        parameters = self._signature.parameters.values()
        self._callable = inspect.Signature(
            [p.replace(kind=p.POSITIONAL_OR_KEYWORD) if p.kind is p.POSITIONAL_ONLY else p for p in parameters]
        )
        self._hints = _hints(name, function, inputs or {}, output_type)
        self._adapter = self._made_adapter()
        said, documented, self._returns = _documentation(function)
        documented |= {key: one_line(str(value["description"])) for key, value in (inputs or {}).items()
                       if "description" in value}  # fmt: skip
        self.description = description or said
        if not self.description:
            raise ToolDefinitionError(f"Tool {name} needs a docstring: it tells the model what the tool is for.")
        if unknown := set(documented) - set(self._signature.parameters):
            raise ToolDefinitionError(
                f"Tool {name}: the docstring describes {', '.join(sorted(unknown))}, which is no argument."
            )
        self.schema = self._made_schema(documented)
        self._takes_secrets = '"format": "password"' in json.dumps(self.schema)

    def facts(self, description: str) -> ToolFacts:
        """The tool as the model sees it."""
        text = "\n".join([description, *self._lines]).strip()
        return ToolFacts(name=self.name, description=text, parameters=self.schema, signature=self.signature)

    @functools.cached_property
    def _lines(self) -> Sequence[str]:
        """What is said of arguments, classes and the result; it takes pydantic a while, and stays the same."""
        said = {key: value.get("description") for key, value in self.schema["properties"].items()}
        lines = [f"{argument}: {one_line(text, 1000)}" for argument, text in said.items() if text]
        returned = _schema_of(result_hint(self._hints.get("return")))
        # A class may be both argument and result; it is described once.
        classes = {**returned.get("$defs", {}), **self.schema.get("$defs", {})}
        if returned.get("properties"):
            classes.setdefault(str(returned.get("title")), returned)
        lines += [kind_text(title, schema) for title, schema in classes.items()]
        lines += [f"Returns: {self._returns}"] if self._returns else []
        if "Secret" in self.signature:
            lines.append("Secret is a str that stands for a secret value; only tools can read it.")
        return lines

    def check(self, args: Sequence[Json], kwargs: Mapping[str, Json]) -> inspect.BoundArguments:
        """The arguments, converted to the hinted types, with defaults. Raises `ToolCallError`, naming the argument."""
        from pydantic import ValidationError
        from pydantic_core import ArgsKwargs

        try:
            bound = self._callable.bind(*args, **kwargs)
        except TypeError as error:
            raise ToolCallError(f"{self.name}: {error}. Its signature is {self.signature}.") from None
        try:
            checked = self._adapter.validate_python(ArgsKwargs((), dict(bound.arguments)))
        except ValidationError as error:
            raise ToolCallError(f"{self.name}: {self._worded(error.errors(), bound.arguments)}") from None
        return inspect.BoundArguments(
            self._signature, OrderedDict((name, checked[name]) for name in self._signature.parameters)
        )

    def _worded(self, errors: Sequence[Any], given: Mapping[str, Any]) -> str:
        """What is wrong with the first argument that is: where, what was expected, what was got."""
        # A union fails once for each of its members; the one that came farthest is the one that was meant.
        places = [_place(error["loc"], given) for error in errors if error["loc"][0] == errors[0]["loc"][0]]
        place = max(places, key=lambda found: found.count("."))
        same = [error for error in errors if _place(error["loc"], given) == place]
        expected = list(dict.fromkeys(_expected(error) for error in same))
        got = same[0]["input"]
        shown = type(got).__name__ if self._takes_secrets else f"{one_line(repr(got), 120)} ({type(got).__name__})"
        if same[0]["type"] in ("missing", "missing_argument"):
            return f"argument {place} is missing."
        return f"argument {place}: expected {' or '.join(expected)}, got {shown}."

    def _made_adapter(self) -> Any:
        """pydantic's view of the signature: a function of the same arguments, all by name, that returns them."""
        from pydantic import TypeAdapter
        from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

        def given(**values: Any) -> Any:
            return values

        arguments: Any = given  # a function that is given a signature: no type says that

        parameters = self._signature.parameters.values()
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise ToolDefinitionError(
                    f"Tool {self.name}: write the arguments out; *{parameter.name} can't be described."
                )
            if parameter.name not in self._hints:
                raise ToolDefinitionError(f"Tool {self.name}: argument {parameter.name} needs a type hint.")
        by_name = [p.replace(kind=p.KEYWORD_ONLY, annotation=self._hints[p.name]) for p in parameters]
        arguments.__signature__ = inspect.Signature(by_name)
        arguments.__annotations__ = {parameter.name: self._hints[parameter.name] for parameter in parameters}
        try:
            return TypeAdapter(arguments)
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            raise ToolDefinitionError(f"Tool {self.name}: {one_line(str(error))}") from None

    def _made_schema(self, documented: Mapping[str, str]) -> dict[str, Json]:
        from pydantic.errors import PydanticUserError

        try:
            schema: dict[str, Json] = self._adapter.json_schema()
        except PydanticUserError as error:  # a type that pydantic can check, but JSON can't hold
            raise ToolDefinitionError(f"Tool {self.name}: {one_line(str(error))}") from None
        for argument, said in documented.items():
            if said:
                schema["properties"][argument]["description"] = said
        return schema

    @functools.cached_property
    def signature(self) -> str:
        """As source, e.g. `search(query: str, limit: int = 10) -> list[str]`."""
        required = self.schema.get("required", ())
        # A default that only the function knows, from a factory, is shown as `...`: it may be left out.
        defaults = {
            name: repr(field["default"]) if "default" in field else "..."
            for name, field in self.schema["properties"].items()
            if name not in required
        }
        parts = [
            f"{name}: {hint_text(self._hints[name])}" + (f" = {defaults[name]}" if name in defaults else "")
            for name in self._signature.parameters
        ]
        named = [name for name, p in self._signature.parameters.items() if p.kind is p.KEYWORD_ONLY]
        if named:
            parts.insert(len(parts) - len(named), "*")
        returned = f" -> {hint_text(result_hint(self._hints['return']))}" if "return" in self._hints else ""
        return f"{self.name}({', '.join(parts)}){returned}"


def as_json(name: str, result: object) -> Json:
    """A tool's result as plain data; secrets become handles. Raises `ToolCallError`."""
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    def other(value: object) -> str:
        if isinstance(value, Secret):
            return handed_out(value)
        raise PydanticSerializationError(f"a {type(value).__name__}, which has no JSON form")

    try:
        return to_jsonable_python(result, fallback=other)
    except (PydanticSerializationError, ValueError) as error:
        what = one_line(str(error)).removeprefix("Error calling `fallback`: ")
        raise ToolCallError(redacted(f"{name} returned {what}; let it return plain data.")) from None


def _hints(
    name: str, function: Callable[..., Any], inputs: Mapping[str, Mapping[str, Any]], output_type: str
) -> dict[str, Any]:
    target = inspect.unwrap(function)
    while isinstance(target, functools.partial):
        target = target.func
    if not inspect.isroutine(target):
        target = type(target).__call__
    try:
        found = get_type_hints(target, include_extras=True)
        said = {key: _input_hint(value) for key, value in inputs.items()}
        if output_type:
            said["return"] = _INPUT_TYPES[output_type]
    except (NameError, KeyError) as error:
        raise ToolDefinitionError(f"Tool {name}: a type hint can't be resolved: {error}.") from None
    return {**said, **found}


def _input_hint(said: Mapping[str, Any]) -> Any:
    """The hint for one of `inputs`, e.g. {"type": "string", "description": "...", "nullable": True}."""
    types = [said["type"]] if isinstance(said["type"], str) else list(said["type"])
    hint = functools.reduce(lambda one, other: one | other, (_INPUT_TYPES[kind] for kind in types))
    if said.get("enum"):
        from typing import Literal

        hint = Literal[tuple(said["enum"])]
    return hint | None if said.get("nullable") else hint


def _documentation(function: Callable[..., Any]) -> tuple[str, dict[str, str], str]:
    """What the docstring says: what the function is for, each argument, the result."""
    from docstring_parser import parse

    target = function.func if isinstance(function, functools.partial) else function
    parsed = parse(inspect.getdoc(target) or "")
    said = "\n".join(filter(None, (parsed.short_description, parsed.long_description)))
    owner = getattr(target, "__self__", None)
    if not said and owner is not None:  # a method without words: what the first line says of its class
        said = (type(owner).__doc__ or "").strip().partition("\n")[0]
    returns = one_line(parsed.returns.description or "") if parsed.returns else ""
    return said, {item.arg_name: one_line(item.description or "", 1000) for item in parsed.params}, returns


def _schema_of(hint: Any) -> dict[str, Any]:
    """The JSON schema of a result; empty where pydantic knows none."""
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

    try:
        return TypeAdapter(hint).json_schema(mode="serialization")
    except (PydanticSchemaGenerationError, PydanticUserError):
        return {}


def _place(loc: Sequence[str | int], given: Any) -> str:
    """Where in the arguments an error is: pydantic's path without the names of union members."""
    parts: list[str] = []
    for part in loc:
        try:
            given = given[part]
        except (KeyError, IndexError, TypeError):
            if part is not loc[-1] or not isinstance(given, Mapping) or isinstance(part, int):
                continue
        parts.append(str(part))
    return ".".join(parts)


def _expected(error: Mapping[str, Any]) -> str:
    """pydantic's message, as what was expected: `a valid integer`."""
    said = re.split(", (?:unable to|got) ", str(error["msg"]))[0]
    return said.removeprefix("Input should be ").removeprefix("Value error, ").removeprefix("expected ")
