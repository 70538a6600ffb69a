"""Events to JSON and back, unchanged: what the journal stores and the audit notebook holds."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Annotated

from .events import AnyEvent, Event

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@cache
def _adapter() -> TypeAdapter[AnyEvent]:
    # pydantic takes 150 ms to import; nobody should pay that for `import cellwright`.
    from pydantic import Field, TypeAdapter

    return TypeAdapter(Annotated[AnyEvent, Field(discriminator="kind")])


def to_json(event: Event) -> str:
    """The event as one line of JSON. Half characters (lone surrogates), which JSON can't hold, become `?`."""
    try:
        return _adapter().dump_json(event).decode()  # type: ignore[arg-type]
    except ValueError:
        # Models and code do write them ("\\ud83d"), and a run must not end, or lose its record, for one.
        data = _adapter().dump_python(event)  # type: ignore[arg-type]
        return json.dumps(data, ensure_ascii=False, allow_nan=False).encode(errors="replace").decode()


def from_json(text: str | bytes) -> AnyEvent:
    """The event that `to_json` wrote. Raises `ValueError` where the text is not one."""
    return _adapter().validate_json(text)
