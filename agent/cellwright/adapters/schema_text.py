"""A JSON schema in the words of Python: hints for a signature, the keys of a nested object, names that code can write.

`{"type": "array", "items": {"type": "string"}}` is `list[str]`, an enum is a `Literal`. The model writes Python, so it
is told in Python what a tool of another language takes.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Container, Iterable, Mapping
from typing import Any

from ..outputs import Json
from ..tool_schema import RESERVED

_SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None", "object": "dict"}
_DEEPEST = 6
"""Schemas may refer to themselves; so deep they are followed."""
_DEEPEST_KEYS = 2
"""So deep the keys of nested objects are told."""
_LONGEST_ENUM = 30
_NOT_IN_A_NAME = re.compile(r"\W+", re.ASCII)


def identifier(name: str, taken: Container[str] = ()) -> str:
    """`name` as a Python name that is not in `taken`: `list-files` -> `list_files`, `from` -> `from_`."""
    text = _NOT_IN_A_NAME.sub("_", name).strip("_") or "unnamed"
    if text[0].isdigit():
        text = f"_{text}"
    if keyword.iskeyword(text):
        text += "_"
    found, number = text, 2
    while found in taken:
        found, number = f"{text}_{number}", number + 1
    return found


def hides_python(name: str) -> bool:
    """True for a tool's name that would hide something that code needs: `print`, `open`, `final_answer`."""
    return name in RESERVED or hasattr(builtins, name)


def hint(schema: Json, root: Mapping[str, Json], depth: int = 0) -> str:
    """The Python hint of what `schema` allows; `root` is the document that its references point into."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return "Any"
    schema = resolved(schema, root)
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(allowed, list) and 0 < len(allowed) <= _LONGEST_ENUM:
        return f"Literal[{', '.join(map(repr, allowed))}]"
    if alternatives := _alternative_schemas(schema):
        return union(hint(one, root, depth + 1) for one in alternatives)
    return _plain_hint(schema, root, depth)


def _alternative_schemas(schema: Mapping[str, Any]) -> list[Json]:
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list):
            return list(schema[word])
    if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
        return list(schema["allOf"])
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": kind} for kind in schema["type"]]
    return []


def _plain_hint(schema: Mapping[str, Any], root: Mapping[str, Json], depth: int) -> str:
    kind = schema.get("type", "object" if "properties" in schema else None)
    inner = schema.get("items") if kind == "array" else schema.get("additionalProperties")
    if kind == "array":
        return f"list[{hint(inner, root, depth + 1)}]" if inner else "list"
    if kind == "object" and isinstance(inner, Mapping) and inner:
        return f"dict[str, {hint(inner, root, depth + 1)}]"
    return _SCALARS.get(str(kind), "Any")


def union(hints: Iterable[str]) -> str:
    """`int | None`: each alternative once, `None` last."""
    found = dict.fromkeys(part for one in hints for part in _alternatives(one))
    if "Any" in found or not found:
        return "Any"
    return " | ".join(sorted(found, key=lambda part: part == "None"))


def _alternatives(one: str) -> list[str]:
    return one.split(" | ") if "[" not in one else [one]


def keys(schema: Json, root: Mapping[str, Json], depth: int = 0) -> str:
    """The keys of an object, or of a list's objects: `{"city": str, "country": str (optional)}`; empty for others."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST_KEYS:
        return ""
    schema = resolved(schema, root)
    if schema.get("type") == "array":
        inner = keys(schema.get("items"), root, depth + 1)
        return f"[{inner}, ...]" if inner else ""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or not properties:
        return ""
    needed = schema.get("required") or ()
    parts = [
        f'"{name}": {keys(one, root, depth + 1) or hint(one, root)}{"" if name in needed else " (optional)"}'
        for name, one in properties.items()
    ]
    return "{" + ", ".join(parts) + "}"


def resolved(schema: Mapping[str, Any], root: Mapping[str, Json]) -> Mapping[str, Any]:
    """`schema` with a reference into its own document followed; one that leads elsewhere allows anything."""
    for _ in range(_DEEPEST):
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        target: Json = root
        for part in reference.removeprefix("#").strip("/").split("/"):
            target = target.get(part) if isinstance(target, Mapping) else None
        if not reference.startswith("#/") or not isinstance(target, Mapping):
            return {}
        schema = {**target, **{word: said for word, said in schema.items() if word != "$ref"}}
    return {}
