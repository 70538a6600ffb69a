"""What code in the sandbox asks of the host while it runs: an answer taken, a tool called, a line typed.

The requests come as JSON through `input_request`; the host acts on them, and believes nothing else (docs/security.md).
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping

from ..outputs import Json
from . import relay
from .base import Answer, Call, Callbacks, CallResult, Raised, Returned
from .cell import Cell
from .comms import widget_view

BEGUN_AT_ONCE = 64
"""So many calls may threads make at the same time."""


async def serve(text: str, cell: Cell | None) -> CallResult:
    """Do what code in the sandbox asks of the host: an answer, a tool, a line from the person."""
    try:
        request = relay.clean_json(json.loads(text))
    except (ValueError, RecursionError):
        return Raised("The call could not be read.")
    if cell is None or cell.callbacks is None or not isinstance(request, dict):
        return Raised("No cell is running, so nothing can be called.")
    if "begin" in request:
        return _begin(request["begin"], cell)
    if "ended" in request:
        return _ended(request["ended"], cell)
    return await _do(request, cell, cell.callbacks)


def _begin(request: Json, cell: Cell) -> CallResult:
    """Begin a call that a thread makes beside others; the ticket with which it asks for the result."""
    if cell.callbacks is None or not isinstance(request, dict) or len(cell.begun) >= BEGUN_AT_ONCE:
        return Raised(f"Not called: no more than {BEGUN_AT_ONCE} calls may be made at the same time.")
    ticket = secrets.token_hex(8)
    cell.begun[ticket] = asyncio.create_task(_do(request, cell, cell.callbacks))
    return Returned(ticket)


def _ended(ticket: Json, cell: Cell) -> CallResult:
    """None while the call goes on, then its reply."""
    task = cell.begun.get(ticket) if isinstance(ticket, str) else None
    if task is None:
        return Raised("There is no such call.")
    if not task.done():
        return Returned(None)
    del cell.begun[str(ticket)]
    if task.cancelled():
        return Raised("The call was stopped.")
    return Returned(as_reply(task.result()))


def as_reply(result: CallResult) -> dict[str, Json]:
    """A result as the sandbox's code reads it."""
    return {"value": result.value} if isinstance(result, Returned) else {"error": result.message}


async def _do(request: dict[str, Json], cell: Cell, callbacks: Callbacks) -> CallResult:
    if "answer" in request:
        if cell.answer is None:
            cell.answer = _answer(request["answer"])
            cell.answer_view = widget_view(_bundle(request["answer"]))
            cell.answered_or_replied.set()
        return Returned(None)
    if "input" in request:
        return await _ask_person(callbacks, relay.clean_text(str(request["input"])), bool(request.get("password")))
    await cell.flush()
    args, kwargs = request.get("args"), request.get("kwargs")
    return await callbacks.on_call(
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


def _bundle(raw: Json) -> Mapping[str, Json]:
    data = raw.get("data") if isinstance(raw, dict) else None
    return data if isinstance(data, dict) else {}


def _answer(raw: Json) -> Answer:
    clean = relay.clean_bundle(_bundle(raw))
    raw = raw if isinstance(raw, dict) else {}
    return Answer(
        data=clean,
        metadata=relay.clean_metadata(raw.get("metadata"), clean),
        value=raw.get("value"),
        has_value="value" in raw,
        type_name=str(raw.get("type_name", "")),
    )
