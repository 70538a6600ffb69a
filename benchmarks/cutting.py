"""What is not paid for because a reply is cut at the end of its first action.

The embedded model answers each of the ten tasks at temperature 0, and the same messages are sent twice: once the stream
is closed as soon as the action is complete, once the model writes until it ends by itself. Its grammar and its examples
are left out, because hosted models have none; with them every reply ends at that place anyway. The model's server sends
each token by itself: what was taken from the stream until it was closed is counted, and of a reply that ended by itself
what the server says. Temperature 0 is not quite reproducible, so a reply may differ by a token or two.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from cellwright.asking import StreamedReply
from cellwright.formats import Markdown
from cellwright.memory import Memory
from cellwright.models.base import Message, ReplyEnd, ReplyPart, Sampling, Text
from cellwright.models.embedded import LONGEST_REPLY, EmbeddedModel, problem
from cellwright.outputs import Json

from .solving import read
from .table import show

FREE: Mapping[str, Json] = {"extra_body": {"cache_prompt": True}}
"""In place of the model's own parameters, which hold its grammar."""


async def measure_cutting() -> None:
    """The first reply of each of the ten tasks, cut and whole."""
    title = "Tokens of a reply, cut after its first action and not (embedded model, no grammar, no examples)"
    if why := problem():
        print(f"\n{title}: {why}")
        return
    model = EmbeddedModel()
    try:
        counts = [(task.id, *await both(model, task.task)) for task in read("tasks.jsonl")]
    finally:
        await model.aclose()
    counts.append(("all", sum(cut for _, cut, _ in counts), sum(whole for _, _, whole in counts)))
    rows = [[name, cut, whole, f"{cut / whole:.2f}"] for name, cut, whole in counts]
    show(title, ["task", "cut", "to its end", "ratio"], rows)


async def both(model: EmbeddedModel, task: str) -> tuple[int, int]:
    """Tokens of the reply to a task, cut and to its end."""
    messages = [*Markdown().head(model, [], "")[:1], Message("user", f"Task: {task}")]
    sampling = Sampling(temperature=0.0, max_tokens=LONGEST_REPLY, more=FREE)
    return await until_action(model, messages, sampling), await until_end(model, messages, sampling)


async def until_action(model: EmbeddedModel, messages: Sequence[Message], sampling: Sampling) -> int:
    """Tokens taken from the stream, as the loop takes them."""
    form = Markdown()
    reply = StreamedReply(model, Memory(messages), sampling, form.scanner())
    tokens = 0

    async def counted(parts: AsyncGenerator[ReplyPart]) -> AsyncGenerator[ReplyPart]:
        nonlocal tokens
        async for part in parts:
            tokens += isinstance(part, Text)
            yield part

    async with (
        aclosing(model.stream(messages, sampling)) as parts,
        aclosing(counted(parts)) as counting,
        aclosing(reply.pieces(counting)) as pieces,
    ):
        async for _ in pieces:
            pass
    return tokens


async def until_end(model: EmbeddedModel, messages: Sequence[Message], sampling: Sampling) -> int:
    """Tokens of the reply that nobody cuts."""
    async with aclosing(model.stream(messages, sampling)) as parts:
        return sum([part.usage.completion async for part in parts if isinstance(part, ReplyEnd) and part.usage])
