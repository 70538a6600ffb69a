"""Long conversations: old observations are shortened once they fill what the model can read.

It happens rarely and much at once, because it breaks the prefix that providers cache. It is an event, so everybody can
see what the model no longer knows; the whole text stays in the journal and in the sandbox.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .events import Compacted
from .models.base import Message

if TYPE_CHECKING:
    from .loop import Work

FULL = 0.75
"""So much of what the model reads may be filled before something is left out."""
KEPT = (3, 2, 1, 0)
"""So many of the newest observations stay whole: the most with which half of the room is free again."""
CHARACTERS_PER_TOKEN = 4
SHORT = 200
"""Characters that stay of an older one."""


def shortened(messages: Sequence[Message], kept: int) -> list[Message]:
    """The messages with all but the `kept` newest observations cut to their beginning."""
    old = [index for index, message in enumerate(messages) if message.content.startswith("Observation:")]
    old = old[: max(0, len(old) - kept)]
    return [_short(message) if index in old else message for index, message in enumerate(messages)]


def _short(message: Message) -> Message:
    missing = len(message.content) - SHORT
    if missing <= SHORT:
        return message
    short = f"{message.content[:SHORT]}\n… {missing:,} characters were left out later …"
    return replace(message, content=short, images=())


async def compact_when_full(work: Work) -> None:
    """Before a step: shorten what is old when the last request nearly filled what the model reads."""
    memory = work.agent.memory
    room = getattr(work.model, "context_tokens", None)
    last = next((step.reply for step in reversed(work.run.steps) if step.reply), None)
    if room is None or last is None or memory is None:
        return
    reserve = work.meter.limits.reply_tokens or 0
    if last.usage.total < min(FULL * room, room - min(reserve, room // 4)):
        return
    sizes = {kept: _size(shortened(memory.messages, kept)) for kept in KEPT}
    free = [kept for kept in KEPT if sizes[kept] <= room * CHARACTERS_PER_TOKEN // 2]
    kept, before = (free or KEPT[-1:])[0], _size(memory.messages)
    if before - sizes[kept] > before // 20:  # less than that is not worth the provider's cache
        await work.emit(Compacted(step=work.step, kept=kept, characters=before - sizes[kept]))


def _size(messages: Sequence[Message]) -> int:
    return sum(len(message.content) for message in messages)
