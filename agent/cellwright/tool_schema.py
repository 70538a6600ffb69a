"""What a function's hints and docstring say: the schema of its arguments, its signature as text, its result as JSON."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from .errors import ToolCallError, ToolDefinitionError, one_line
from .facts import ToolFacts
from .outputs import Json


def arguments_model(name: str, function: Callable[..., Any], signature: inspect.Signature) -> Any:
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


def tool_facts(
    name: str, description: str, documented: Mapping[str, str], model: Any, signature: inspect.Signature
) -> ToolFacts:
    """A tool as the model sees it; `documented` holds what the docstring says of each argument."""
    schema: dict[str, Json] = model.model_json_schema()
    for argument, said in documented.items():
        schema["properties"][argument]["description"] = said
    schema.pop("title", None)
    arguments = "\n".join(f"{argument}: {said}" for argument, said in documented.items())
    return ToolFacts(
        name=name,
        description=f"{description}\n{arguments}".strip(),
        parameters=schema,
        signature=name + _signature_text(signature),
    )


def documentation(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
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


def as_json(name: str, result: object) -> Json:
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        return to_jsonable_python(result)
    except PydanticSerializationError:
        raise ToolCallError(
            f"{name} returned a {type(result).__name__}, which has no JSON form; let it return plain data."
        ) from None
