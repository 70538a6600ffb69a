"""A tool that is described by a JSON schema instead of a Python signature.

It has the face of every tool: facts for the model, arguments checked before the call, errors that name the argument.
The schema is somebody else's, so nothing in it is fetched (references lead only into the schema itself), and names that
are no Python names are made into one; what is sent has the names that the schema gives.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from ..errors import ToolCallError, ToolDefinitionError, one_line
from ..facts import ToolFacts
from ..outputs import Json
from ..tool_calls import PROGRESS_CHARACTERS, Caller, Progress
from ..tools import Tool
from .schema_text import hint, identifier, keys, resolved, union

Tell = Callable[[str], Awaitable[None]]
"""Tells how far a call has come."""
Send = Callable[[dict[str, Json], Tell], Awaitable[object]]
"""Arguments, named as in the schema, and whom to tell -> the result."""

_LONGEST_TEXT = 2_000
"""Characters of a description that somebody else wrote: each task pays for it again."""


class SchemaTool(Tool):
    """A tool made from a JSON schema.

    name: made a Python name where it is none. parameters: JSON schema of an object. send: does the call; what it raises
    becomes a `ToolCallError`. returns: JSON schema of the result; or a hint, as text.
    Raises `ToolDefinitionError` for a schema that is none.
    """

    def __init__(
        self, name: str, description: str, parameters: Mapping[str, Json], send: Send, *, returns: Json | str = None
    ) -> None:
        self.function = send
        self.name = identifier(name)
        self.parameters = {"type": "object", **parameters}
        self._send, self._returns = send, returns
        self._check_schema()
        self._wire = _argument_names(self.parameters)
        self._signature = self._made_signature()
        self.description = self._told(description.strip() or f"The tool {name}.")

    def _check_schema(self) -> None:
        from jsonschema import Draft202012Validator, SchemaError
        from jsonschema.validators import validator_for
        from referencing import Registry

        kind = validator_for(self.parameters, default=Draft202012Validator)
        try:
            kind.check_schema(self.parameters)
        except SchemaError as error:
            raise ToolDefinitionError(
                f"Tool {self.name}: its JSON schema is wrong: {one_line(error.message)}"
            ) from None
        # An empty registry: jsonschema would fetch references from the network otherwise.
        self._validator = kind(self.parameters, registry=Registry())

    def _made_signature(self) -> inspect.Signature:
        """Required arguments first, then those with a default; None stands for an argument that is not sent."""
        required, optional = [], []
        for name, wire in self._wire.items():
            schema = self.parameters["properties"][wire]
            text = hint(schema, self.parameters)
            kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
            if wire in self.parameters.get("required", ()):
                required.append(inspect.Parameter(name, kind, annotation=text))
            elif isinstance(schema, Mapping) and "default" in schema:
                optional.append(inspect.Parameter(name, kind, annotation=text, default=schema["default"]))
            else:
                optional.append(inspect.Parameter(name, kind, annotation=union([text, "None"]), default=None))
        if self.parameters.get("additionalProperties"):
            rest = identifier("more", self._wire)
            optional.append(inspect.Parameter(rest, inspect.Parameter.VAR_KEYWORD, annotation="Any"))
        return inspect.Signature([*required, *optional])

    def _told(self, description: str) -> str:
        lines = [_cut(description)]
        for name, wire in self._wire.items():
            schema = self.parameters["properties"][wire]
            said = one_line(str(resolved(schema, self.parameters).get("description", ""))) if schema is not True else ""
            inside = one_line(keys(schema, self.parameters), 400)
            if said or inside:
                lines.append(f"{name}: {' '.join(filter(None, (said, inside)))}")
        if isinstance(self._returns, Mapping) and (inside := keys(self._returns, self._returns)):
            lines.append(f"Returns {one_line(inside, 600)}")
        return "\n".join(lines)

    @cached_property
    def signature(self) -> str:
        """As source, e.g. `search(query: str, limit: int = 10) -> list[str]`."""
        parts = []
        for parameter in self._signature.parameters.values():
            stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
            default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
            parts.append(f"{stars}{parameter.name}: {parameter.annotation}{default}")
        returns = self._returns if isinstance(self._returns, str) else hint(self._returns, self._returns or {})
        return f"{self.name}({', '.join(parts)})" + (f" -> {returns}" if self._returns is not None else "")

    @property
    def facts(self) -> ToolFacts:
        """The tool as the model sees it, arguments under their Python names."""
        schema: dict[str, Json] = {word: said for word, said in self.parameters.items() if word != "title"}
        schema["properties"] = {name: self.parameters["properties"][wire] for name, wire in self._wire.items()}
        python = {wire: name for name, wire in self._wire.items()}
        if "required" in schema:
            schema["required"] = [python.get(wire, wire) for wire in schema["required"]]
        return ToolFacts(self.name, self.description, schema, self.signature)

    def check(self, args: Sequence[Json], kwargs: Mapping[str, Json]) -> inspect.BoundArguments:
        """The arguments by name. Raises `ToolCallError`, naming the argument, what it should be, and what it is."""
        from jsonschema.exceptions import best_match
        from referencing.exceptions import Unresolvable

        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ToolCallError(f"{self.name}: {error}. Its signature is {self.signature}.") from None
        try:
            wrong = best_match(self._validator.iter_errors(self._sent(bound)))
        except Unresolvable as error:
            raise ToolCallError(f"{self.name}: its JSON schema refers to nothing: {one_line(str(error))}") from None
        if wrong is not None:
            raise ToolCallError(f"{self.name}: {self._mistake(wrong)}")
        return bound

    def _mistake(self, wrong: Any) -> str:
        python = {wire: name for name, wire in self._wire.items()}
        where = ".".join([python.get(str(part), str(part)) for part in wrong.absolute_path])
        if wrong.validator in ("type", "enum", "const"):
            said = f"should be {hint(wrong.schema, self.parameters)}"
        else:
            said = one_line(wrong.message, 160)
        got = f"{one_line(repr(wrong.instance), 120)} ({type(wrong.instance).__name__})"
        return f"argument {where}: {said}; got {got}." if where else f"{said}; got {got}."

    def _sent(self, bound: inspect.BoundArguments) -> dict[str, Json]:
        """What goes over the wire: names as the schema has them, without optional arguments that are None."""
        sent: dict[str, Json] = {}
        for name, value in bound.arguments.items():
            parameter = self._signature.parameters[name]
            if parameter.kind is parameter.VAR_KEYWORD:
                sent.update(value)
            elif value is not None or parameter.default is not None:
                sent[self._wire[name]] = value
        return sent

    async def call(self, args: Sequence[Json], kwargs: Mapping[str, Json], on_progress: Progress | None = None) -> Json:
        """Call it with checked arguments; the result as JSON. Raises `ToolCallError`."""
        sent = self._sent(self.check(args, kwargs))

        async def tell(text: str) -> None:
            if on_progress and (heard := on_progress(one_line(text, PROGRESS_CHARACTERS))) is not None:
                await heard

        async def send() -> object:
            return await self._send(sent, tell)

        return await Caller(self.name, send, self.seconds).call(inspect.Signature().bind())


def _argument_names(parameters: Mapping[str, Json]) -> dict[str, str]:
    """Python name -> name in the schema."""
    names: dict[str, str] = {}
    for wire in parameters.get("properties", {}):
        names[identifier(wire, names)] = wire
    return names


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
