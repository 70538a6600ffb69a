"""The hash chain over a run's events: who changes, removes or moves one breaks every link after it.

The form that is hashed is the one that is stored: the event as `to_json` writes it, a long text in it replaced by its
SHA-256 and kept beside it (a blob), so that a picture is stored once, and may stand in the notebook's output alone. A
link is the SHA-256 of the link before, a blank, and that form. The first link of a run takes up the last one of the
conversation's run before, so that a whole run can't be taken out unseen either.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from .events import Event
from .wire import from_json, to_json

GENESIS = "0" * 64
"""What the first link of a conversation takes up."""
LONG = 4096
"""Characters of the longest text that stays in the event; a longer one becomes a blob."""
_BLOB, _PLAIN = "$sha256", "$plain"


@dataclass(frozen=True, slots=True)
class Stored:
    """An event in the form in which it is stored and hashed."""

    body: str
    """One line of JSON."""
    blobs: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 -> text, of the long texts that `body` only names."""


def stored(event: Event) -> Stored:
    """The event as it is stored."""
    body = to_json(event)
    if len(body) <= LONG and _BLOB not in body and _PLAIN not in body:
        return Stored(body)
    blobs: dict[str, str] = {}
    short = _shortened(json.loads(body), blobs)
    return Stored(json.dumps(short, ensure_ascii=False, separators=(",", ":"), allow_nan=False), blobs)


def restored(body: str, blob: Callable[[str], str]) -> Event:
    """The event that was stored; `blob` gives the text of a hash. Raises `ValueError` where it is none."""
    if _BLOB not in body and _PLAIN not in body:
        return from_json(body)
    return from_json(json.dumps(_whole(json.loads(body), blob), ensure_ascii=False))


def blob_names(body: str) -> list[str]:
    """The hashes of the long texts that `body` names."""
    names: list[str] = []

    def note(name: str) -> str:
        names.append(name)
        return ""

    if _BLOB in body:
        _whole(json.loads(body), note)
    return names


def digest(text: str) -> str:
    """SHA-256 of a text in UTF-8, as hexadecimal digits."""
    return sha256(text.encode()).hexdigest()


def link(before: str, body: str) -> str:
    """The link of an event: the SHA-256 of the link before it and of the event as it is stored."""
    return digest(f"{before} {body}")


def links(bodies: Iterable[str], before: str = GENESIS) -> Iterator[str]:
    """The link of each event of a run. before: the last link of the run before it."""
    for body in bodies:
        before = link(before, body)
        yield before


def _shortened(value: Any, blobs: dict[str, str]) -> Any:
    if isinstance(value, str) and len(value) > LONG:
        name = digest(value)
        blobs[name] = value
        return {_BLOB: name}
    if isinstance(value, dict):
        short = {key: _shortened(item, blobs) for key, item in value.items()}
        # Data of a person may look like a blob's name; it is wrapped, so that it comes back as it was.
        return {_PLAIN: short} if {_BLOB, _PLAIN} & set(short) else short
    if isinstance(value, list):
        return [_shortened(item, blobs) for item in value]
    return value


def _whole(value: Any, blob: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        if set(value) == {_BLOB}:
            return blob(str(value[_BLOB]))
        inner = value[_PLAIN] if set(value) == {_PLAIN} else value
        if not isinstance(inner, dict):
            raise ValueError(f"{_PLAIN} stands for an object")
        return {key: _whole(item, blob) for key, item in inner.items()}
    if isinstance(value, list):
        return [_whole(item, blob) for item in value]
    return value
