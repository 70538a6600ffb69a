"""A plan before the first step, revised every so many steps (smolagents' `planning_interval`).

The plan is the model's own reply, on record with its tokens and its price, and counted against the run's limits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from .compaction import compact_when_full
from .errors import UsageError
from .events import Planned, Told
from .models.base import ReplyEnd, Sampling, Text
from .prompt_templates import filled

if TYPE_CHECKING:
    from .loop import Work

PLAN_TOKENS = 600
"""So long may a plan be."""


def before_each_step(interval: int | None) -> list[Callable[[Work], Awaitable[None]]]:
    """What an agent does before a step: make room in a long conversation, and plan where that is wanted."""
    return [compact_when_full, *([plan_every(interval)] if interval else [])]


def plan_every(interval: int) -> Callable[[Work], Awaitable[None]]:
    """What to do before each step: plan before the first and after every `interval` steps. Raises `UsageError`."""
    if interval < 1:
        raise UsageError(f"planning_interval must be 1 or more, not {interval}.")

    async def plan(work: Work) -> None:
        known = work.run.steps[-1] if work.run.steps else None
        has_plan = known is not None and known.number == work.step and known.plan is not None  # resumed: it is paid for
        if (work.step - 1) % interval == 0 and not has_plan:
            templates = work.agent.prompt_templates
            await _plan(work, templates.plan if work.step == 1 else templates.revise)

    return plan


async def _plan(work: Work, template: str) -> None:
    memory, model = work.agent.memory, work.model
    assert memory is not None
    assert model is not None
    most = work.meter.limits.steps
    left = "unlimited" if most is None else str(most - work.meter.steps + 1)  # this step is counted already
    text = filled(template, {"task": work.run.task, "remaining_steps": left})
    await work.emit(Told(step=work.step, text=text, by="planning"))
    begun, text, end = time.monotonic(), "", ReplyEnd()
    try:
        async with (
            asyncio.timeout(work.meter.seconds_left()),
            aclosing(model.stream(memory.messages, Sampling(max_tokens=PLAN_TOKENS))) as parts,
        ):
            async for part in parts:
                if isinstance(part, Text):
                    text += part.text
                elif isinstance(part, ReplyEnd):
                    end = part
    except TimeoutError:
        raise work.meter.out_of_time() from None
    finally:
        if text:  # what was written before a stop was paid for, too
            usage, cost = end.usage, end.cost
            if usage is None:
                counted, cost = model.count(memory.messages, text)
                usage = replace(counted, estimated=True)
            work.meter.add_reply(usage, cost)
            seconds = time.monotonic() - begun
            await work.emit(Planned(step=work.step, text=text, usage=usage, cost=cost, seconds=seconds))
    # The step that the plan is for is counted already, but still to be taken: the last one, too.
    work.meter.steps -= 1
    try:
        work.meter.before_reply()
    finally:
        work.meter.steps += 1
