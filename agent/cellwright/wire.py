"""Events to JSON and back, unchanged: what the journal stores and the audit notebook holds."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Annotated, Union

from . import events
from .events import Event

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def kinds() -> tuple[type[Event], ...]:
    """Every event that has a form as JSON: all with a `kind`."""
    found = (item for item in vars(events).values() if isinstance(item, type) and issubclass(item, Event))
    return tuple(event for event in found if "kind" in event.__dataclass_fields__)


@cache
def _adapter() -> TypeAdapter[Event]:
    # pydantic takes 150 ms to import; nobody should pay that for `import cellwright`.
    from pydantic import Field, TypeAdapter

    return TypeAdapter(Annotated[Union[kinds()], Field(discriminator="kind")])  # type: ignore[arg-type]


def to_json(event: Event) -> str:
    """The event as one line of JSON. Half characters (lone surrogates), which JSON can't hold, become `?`."""
    try:
        return _adapter().dump_json(event).decode()
    except ValueError:
        # Models and code do write them ("\\ud83d"), and a run must not end, or lose its record, for one.
        data = _adapter().dump_python(event)
        return json.dumps(data, ensure_ascii=False, allow_nan=False).encode(errors="replace").decode()


def from_json(text: str | bytes) -> Event:
    """The event that `to_json` wrote. Raises `ValueError` where the text is not one."""
    return _adapter().validate_json(text)
