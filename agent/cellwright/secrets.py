"""Values that a tool may use and nobody else may see: keys, passwords, tokens.

A `Secret` never shows what it holds: not printed, not formatted, not as JSON, not pickled. It does not cross into the
sandbox either: what crosses is a handle, `<secret 3f9a81c2d4e0>`, text that means something in this process alone. Code
hands it on like any string, and where a tool's hint says `Secret`, the tool gets the Secret back; everywhere else it
stays the text of the handle, so that no tool can be talked into sending it away. What tools say is searched for the
values, too (`redacted`): libraries like to put a key into their error messages.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast
from urllib.parse import quote
from weakref import WeakValueDictionary

from .outputs import Json

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

T = TypeVar("T")
SHOWN = "<secret>"
"""What is shown instead."""
SEARCHED_CHARACTERS = 6
"""Shorter values are not searched for in text: they would be found in many a word."""

_HANDLE = re.compile(r"<secret [0-9a-f]{12}>")


class Secret:
    """Text that is never shown. `Secret("...").reveal()` is the text, for use inside a tool."""

    __slots__ = ("__weakref__", "_handle", "_value")

    def __init__(self, value: str) -> None:
        from secrets import token_hex  # nobody can guess a handle

        if not isinstance(value, str) or not value:
            raise ValueError("A Secret holds text, and not none.")
        self._value = value
        self._handle = f"<secret {token_hex(6)}>"
        _alive[self._handle] = self

    def reveal(self) -> str:
        """The text."""
        return self._value

    def __repr__(self) -> str:
        return SHOWN

    def __format__(self, spec: str) -> str:
        return SHOWN

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("A Secret can't be pickled.")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            _taken_back, serialization=core_schema.plain_serializer_function_ser_schema(handed_out)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: object, handler: object) -> dict[str, Json]:
        return {"type": "string", "format": "password"}


_alive: WeakValueDictionary[str, Secret] = WeakValueDictionary()
_handed_out: dict[str, Secret] = {}
"""Handle -> Secret, for as long as the process lives: somebody may hold the handle."""


def handed_out(secret: Secret) -> str:
    """The handle with which a tool call gets `secret` back: what crosses into the sandbox in its stead."""
    _handed_out[secret._handle] = secret
    return secret._handle


def redacted(value: T) -> T:
    """JSON, or an event, without the values of secrets: where one stands in a text, there is `<secret>` instead.

    The very same object where there is nothing to hide. Texts that were cut in two are not joined to be searched.
    """
    found = {secret.reveal() for ref in _alive.valuerefs() if (secret := ref())}
    forms = {form for text in found if len(text) >= SEARCHED_CHARACTERS for form in _written(text)}
    if not forms:
        return value
    # The longest first: one value may be the beginning of another.
    pattern = re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)))
    return cast(T, _without(pattern, value))


def _without(values: re.Pattern[str], value: Any) -> Any:
    if isinstance(value, str):
        return values.sub(SHOWN, value)
    if isinstance(value, Mapping):
        made: Any = {_without(values, key): _without(values, item) for key, item in value.items()}
        return value if made == value else made
    if isinstance(value, list | tuple):
        made = type(value)(_without(values, item) for item in value)
        return value if made == value else made
    if is_dataclass(value) and not isinstance(value, type):
        changed = {
            item.name: after
            for item in fields(value)
            if (after := _without(values, before := getattr(value, item.name))) is not before and after != before
        }
        return replace(value, **changed) if changed else value
    return value


def _written(text: str) -> set[str]:
    """The ways in which a value comes to stand in a message: as it is, in a URL, in the repr of something."""
    return {text, quote(text), quote(text, safe=""), repr(text)[1:-1]}


def _taken_back(value: Any) -> Secret:
    """The Secret that a tool's argument means."""
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("expected a Secret, or the handle of one")
    if known := _handed_out.get(value):
        return known
    if _HANDLE.fullmatch(value):
        raise ValueError("expected the handle of a secret of this session; get the secret anew")
    secret = Secret(value)
    handed_out(secret)  # it is kept, so that the record of the call is searched for it
    return secret
