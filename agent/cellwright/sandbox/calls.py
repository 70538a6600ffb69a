"""What code in the sandbox asks of the host while it runs: an answer taken, a tool called, a line typed.

The requests come as JSON through `input_request`; the host acts on them, and believes nothing else (docs/security.md).
"""

from __future__ import annotations

import json

from ..outputs import Json
from . import relay
from .base import Answer, Call, Callbacks, CallResult, Raised, Returned
from .cell import Cell


async def serve(text: str, cell: Cell | None) -> CallResult:
    """Do what code in the sandbox asks of the host: an answer, a tool, a line from the person."""
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):
        return Raised("The call could not be read.")
    if cell is None or cell.callbacks is None or not isinstance(request, dict):
        return Raised("No cell is running, so nothing can be called.")
    if "answer" in request:
        if cell.answer is None:
            cell.answer = _answer(request["answer"])
            cell.answered_or_replied.set()
        return Returned(None)
    if "input" in request:
        return await _ask_person(cell.callbacks, str(request["input"]), bool(request.get("password")))
    await cell.flush()
    args, kwargs = request.get("args"), request.get("kwargs")
    return await cell.callbacks.on_call(
        Call(
            str(request.get("call")),
            tuple(args) if isinstance(args, list) else (),
            kwargs if isinstance(kwargs, dict) else {},
        )
    )


async def _ask_person(callbacks: Callbacks, prompt: str, password: bool) -> CallResult:
    if callbacks.on_input is None:
        return Raised("input() is not available here: nobody is there to type.")
    try:
        return Returned(await callbacks.on_input(prompt, password))
    except EOFError:
        return Raised("Nothing was typed.")


def _answer(raw: Json) -> Answer:
    raw = raw if isinstance(raw, dict) else {}
    data = raw.get("data")
    clean = relay.clean_bundle(data) if isinstance(data, dict) else {}
    return Answer(
        data=clean,
        metadata=relay.clean_metadata(raw.get("metadata"), clean),
        value=raw.get("value"),
        has_value="value" in raw,
        type_name=str(raw.get("type_name", "")),
    )
