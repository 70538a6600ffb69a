"""What Gradio says of an endpoint, as JSON schema that stands by itself, with files as what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..outputs import Json
from .schema_text import resolved

_DEEPEST = 8
FILE: Json = {
    "anyOf": [{"type": "string"}, {"type": "object", "required": ["base64"]}],
    "description": 'A file: its web address, a data: URL, or {"name": ..., "base64": ...}.',
}
"""A file that is given."""
_FILE_BACK: Json = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("type", "name", "mime", "base64")},
    "required": ["type", "name", "mime", "base64"],
}


def is_file_data(value: object) -> bool:
    """True for Gradio's description of a file: `{"path": ..., "meta": {"_type": "gradio.FileData"}}`."""
    meta = value.get("meta") if isinstance(value, Mapping) else None
    return isinstance(meta, Mapping) and meta.get("_type") == "gradio.FileData"


def argument_schema(about: Mapping[str, Any]) -> dict[str, Json]:
    """The schema of a parameter, its description and default with it."""
    schema = _standing(about["type"], about["type"], FILE)
    if schema != FILE:
        kind = about.get("python_type") or {}
        label = str(about.get("label") or "")
        said = kind.get("description") or ("" if label.startswith("parameter_") else label)
        if said:
            schema["description"] = said
    if has_default(about) and about["parameter_default"] is not None:
        schema["default"] = about["parameter_default"]
    return schema


def has_default(about: Mapping[str, Any]) -> bool:
    """True where a parameter may be left out. A default that is a file is none.

    It would be a path that the app names, and the client would send it the file of that name from this machine.
    """
    return bool(about["parameter_has_default"]) and not _names_a_file(about["parameter_default"])


def _names_a_file(value: Json) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return is_file_data(value) or any(_names_a_file(item) for item in inner)


def result_schema(about: Mapping[str, Any]) -> dict[str, Json]:
    """The schema of something returned."""
    return _standing(about["type"], about["type"], _FILE_BACK)


def has_file(schema: Json) -> bool:
    """True where a file may stand in what `schema` describes."""
    if schema == FILE or schema == FILE["anyOf"]:
        return True
    inner = schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else ()
    return any(has_file(item) for item in inner)


def _standing(schema: Json, root: Mapping[str, Json], file: Json, depth: int = 0) -> dict[str, Json]:
    """`schema` without references, and with `file` in place of each of Gradio's files."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return {}
    schema = resolved(schema, root)
    properties = schema.get("properties") or {}
    if {"path", "meta"} <= set(properties):
        return dict(file)
    made = {word: said for word, said in schema.items() if word in ("type", "enum", "const", "required")}
    if not isinstance(made.get("type", ""), str | list):
        del made["type"]  # components that take any JSON say so with an empty object, which is no schema
    if properties:
        made["properties"] = {key: _standing(item, root, file, depth + 1) for key, item in properties.items()}
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), Mapping):
            made[word] = _standing(schema[word], root, file, depth + 1)
    for word in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if isinstance(schema.get(word), list):
            made[word] = [_standing(item, root, file, depth + 1) for item in schema[word]]
    return made
