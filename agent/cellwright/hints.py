"""Type hints and JSON schemas as short text for a model: `list[str] | None`, `Place is a dict with city: str`."""

from __future__ import annotations

import types
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from .outputs import Json

_JSON_TYPES = {
    "string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None", "array": "list",
    "object": "dict",
}  # fmt: skip


def hint_text(hint: Any) -> str:
    """A hint as source, without modules and without what only pydantic reads."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is None or hint is type(None):
        return "None"
    if hint is ...:
        return "..."
    if origin is Annotated:
        return hint_text(args[0])
    if origin is Literal:
        return f"Literal[{', '.join(repr(arg.value if isinstance(arg, Enum) else arg) for arg in args)}]"
    if origin is Union or origin is types.UnionType:
        return " | ".join(dict.fromkeys(hint_text(arg) for arg in args))
    name = str(getattr(origin or hint, "__name__", hint))
    return f"{name}[{', '.join(hint_text(arg) for arg in args)}]" if args else name


def result_hint(hint: Any) -> Any:
    """What a call results in: of a function that yields, what it returns or yields last."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Generator and len(args) == 3 and args[2] not in (None, type(None)):
        return args[2]
    if origin in (Generator, AsyncGenerator, Iterator, AsyncIterator, Iterable, AsyncIterable) and args:
        return args[0]
    return hint


def kind_text(name: str, schema: Mapping[str, Json]) -> str:
    """A class of the host in one line, as code in the sandbox passes it or gets it."""
    if "enum" in schema or "const" in schema:
        return f"{name} is one of {_kind(schema)}."
    required = schema.get("required", ())
    fields = [_field(key, field, key in required) for key, field in schema.get("properties", {}).items()]
    return f"{name} is a dict with {', '.join(fields)}." if fields else f"{name} is a {_kind(schema)}."


def _field(name: str, schema: Mapping[str, Json], is_required: bool) -> str:
    said = f" ({schema['description']})" if schema.get("description") else ""
    default = f" = {schema['default']!r}" if "default" in schema else ("" if is_required else " (may be left out)")
    return f"{name}: {_kind(schema)}{default}{said}"


def _kind(schema: Mapping[str, Json]) -> str:
    """A JSON schema as a hint."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema or "enum" in schema:
        return " | ".join(repr(value) for value in schema.get("enum", [schema.get("const")]))
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return " | ".join(_kind(member) for member in schema[union])
    inside = schema.get({"array": "items", "object": "additionalProperties"}.get(str(schema.get("type")), ""))
    name = _JSON_TYPES.get(str(schema.get("type")), "Any")
    if not isinstance(inside, dict) or not inside:
        return name
    return f"list[{_kind(inside)}]" if name == "list" else f"dict[str, {_kind(inside)}]"
