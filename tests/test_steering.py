"""A word of a person to an agent that is at work."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cellwright import CodeAgent, ScriptedModel, Steering
from cellwright.errors import UsageError
from cellwright.events import ActionFinished, Event, Told
from cellwright.journal import Journal
from cellwright.notebook.export import notebook
from cellwright.steering import MOST_CHARACTERS


def reply(code: str) -> str:
    return f"Go.\n```python\n{code}\n```"


async def test_e5_the_agent_reads_it_before_its_next_step_and_it_is_on_record(tmp_path: Path) -> None:
    steering = Steering()

    def listen(event: Event) -> None:
        if isinstance(event, ActionFinished) and event.step == 1:
            steering.say(" Use the median. ")
            steering.say("And plot it.")

    model = ScriptedModel(reply("x = 1"), reply("y = 2"), reply("final_answer(x + y)"))
    async with (
        Journal(tmp_path / "j.sqlite") as journal,
        CodeAgent(model, journal=journal, listeners=[listen]) as agent,
    ):
        agent.before_step.append(steering)
        run = await agent.run("Add.")
        kept = await journal.run(run.id)
    assert run.answer == 3
    assert [(event.step, event.text, event.by) for event in kept.events if isinstance(event, Told)] == [
        (2, "Use the median.", "person"),
        (2, "And plot it.", "person"),
    ]
    first, second, third = ([message.content for message in asked] for asked in model.asked)
    assert "Use the median." not in "".join(first)
    assert second[-2:] == ["Use the median.", "And plot it."]
    assert third[: len(second)] == second
    assert "Use the median." in str(notebook([kept]))


async def test_e5_what_came_too_late_is_not_read_by_the_next_task() -> None:
    steering = Steering()
    async with CodeAgent(ScriptedModel(reply("final_answer(1)")), journal=None) as agent:
        agent.before_step.append(steering)
        run = asyncio.create_task(agent.run("One."))
        assert (await run).answer == 1
        steering.say("Late.")
        assert steering.take_back() == ["Late."]
        assert not [event for event in (await agent.run("Two.")).events if isinstance(event, Told)]


@pytest.mark.parametrize(
    ("text", "said"), [(" \n", "nothing to tell"), ("x" * (MOST_CHARACTERS + 1), "at most 10,000")]
)
def test_e5_nothing_and_too_much_are_refused(text: str, said: str) -> None:
    steering = Steering()
    with pytest.raises(UsageError, match=said):
        steering.say(text)
    assert steering.take_back() == []
