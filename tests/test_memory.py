"""What the model is told: only ever appended to, bounded, and enough to go on from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from cellwright import CodeAgent, Limits, ScriptedModel
from cellwright.models.base import Message
from cellwright.observations import bounded
from cellwright.sandbox.child import ChildKernel


def reply(code: str, thought: str = "Go on.") -> str:
    return f"{thought}\n```python\n{code}\n```"


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[ChildKernel]:
    kernel = ChildKernel(workspace=tmp_path)
    yield kernel
    await kernel.close()


def agent_of(sandbox: ChildKernel, *replies: str, limits: Limits | None = None) -> tuple[CodeAgent, ScriptedModel]:
    model = ScriptedModel(*replies)
    return CodeAgent(model, sandbox=sandbox, journal=None, limits=limits), model


def last(messages: Sequence[Message]) -> str:
    return messages[-1].content


async def test_a12_over_twenty_steps_every_request_begins_with_the_one_before(sandbox: ChildKernel) -> None:
    replies = [reply(f"print({n})") for n in range(19)] + [reply("final_answer('done')")]
    agent, model = agent_of(sandbox, *replies)
    run = await agent.run("Count.")
    assert (run.status, run.answer, len(model.asked)) == ("success", "done", 20)
    for earlier, later in zip(model.asked, model.asked[1:], strict=False):
        assert later[: len(earlier)] == earlier
        assert [m.role for m in later[len(earlier) :]] == ["assistant", "user"]
    assert len({step.reply.prompt_sha256 for step in run.steps if step.reply}) == 20
    await agent.run("Again.")
    assert model.asked[20][: len(model.asked[19])] == model.asked[19], "the next task goes on from there"


async def test_an_observation_is_bounded_and_whole_in_the_sandbox(sandbox: ChildKernel) -> None:
    agent, model = agent_of(
        sandbox,
        reply("print('a' * 5000 + 'MIDDLE' + 'b' * 5000)"),
        reply("final_answer([len(_out[1]), 'MIDDLE' in _out[1]])"),
        limits=Limits(observation_tokens=100),
    )
    run = await agent.run("Print much.")
    told = last(model.asked[1])
    assert len(told) < 600
    assert "MIDDLE" not in told
    assert "the whole text is in _out[1]" in told
    assert "aaa" in told
    assert run.answer[1] is True
    assert run.answer[0] > 10_000
    assert "MIDDLE" in run.steps[0].text, "the journal has all of it"


async def test_a1_an_error_is_told_in_one_line_with_the_failing_line(sandbox: ChildKernel) -> None:
    agent, model = agent_of(sandbox, reply("print('before')\nx = 1\ny = x / 0"), reply("final_answer(1)"))
    await agent.run("Divide.")
    told = last(model.asked[1])
    assert "before" in told
    assert "Error in line 3: `y = x / 0`: ZeroDivisionError: division by zero" in told
    assert "Traceback" not in told
    assert "\x1b" not in told


async def test_a_result_is_told_without_colours(sandbox: ChildKernel) -> None:
    agent, model = agent_of(sandbox, reply("print('\\x1b[31mred')\n1 + 1"), reply("final_answer(1)"))
    await agent.run("Add.")
    assert "red\n2" in last(model.asked[1])


async def test_what_the_person_ran_is_told_with_the_next_task(sandbox: ChildKernel) -> None:
    agent, model = agent_of(sandbox, reply("final_answer(1)"))
    await agent.run("First.")
    await agent.run_by_hand("z = 9\nprint('by hand', z)")
    await agent.run("Second.")
    said = "\n".join(m.content for m in model.asked[1])
    assert "The user ran this:\n```python\nz = 9" in said
    assert "by hand 9" in said
    assert "- variable z: int, 9" in last(model.asked[1])


async def test_a11_the_next_task_knows_the_answer_before(sandbox: ChildKernel) -> None:
    agent, model = agent_of(sandbox, reply("final_answer(41)"))
    await agent.run("First.")
    await agent.run("Add one.")
    assert "The user was shown your answer: 41" in last(model.asked[1])
    assert "Task: Add one." in last(model.asked[1])


async def test_after_forget_the_model_knows_nothing_and_the_variables_stay(sandbox: ChildKernel) -> None:
    agent, model = agent_of(sandbox, reply("kept = 5\nfinal_answer(1)"), reply("final_answer(kept)"))
    await agent.run("The first task.")
    agent.forget()
    run = await agent.run("The second task.")
    assert run.answer == 5
    assert "The first task." not in str(model.asked[1])
    assert len(model.asked[1]) == len(model.asked[0])


async def test_a3_after_reset_the_variables_are_gone_too(sandbox: ChildKernel) -> None:
    agent, model = agent_of(sandbox, reply("kept = 5\nfinal_answer(1)"), reply("final_answer('kept' in globals())"))
    first = await agent.run("The first task.")
    run = await agent.run("The second task.", reset=True)
    assert run.answer is False
    assert "The first task." not in str(model.asked[1])
    assert first.started
    assert run.started
    assert first.started.conversation != run.started.conversation


async def test_a3_files_and_variables_are_told(sandbox: ChildKernel, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text("month,total\nmay,3\n")
    agent, model = agent_of(sandbox, reply("final_answer(n)"))
    run = await agent.run("Look.", additional_args={"n": 7})
    assert run.answer == 7
    assert "- file sales.csv" in last(model.asked[0])
    assert "month" in last(model.asked[0])
    assert "- variable n: int, 7" in last(model.asked[0])


async def test_a8_the_model_of_a_person_named_instructions_and_tools_is_told_in_the_system_prompt(
    sandbox: ChildKernel,
) -> None:
    def weather(city: str) -> str:
        """The weather in a city."""
        return "rain"

    model = ScriptedModel(reply("final_answer(weather('Oslo'))"))
    agent = CodeAgent(model, sandbox=sandbox, journal=None, tools=[weather], instructions="Answer in Norwegian.")
    assert (await agent.run("Weather?")).answer == "rain"
    system = model.asked[0][0]
    assert system.role == "system"
    assert "def weather(city: str) -> str:" in system.content
    assert system.content.endswith("Answer in Norwegian.")


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 1000, 10**6])
def test_bounded_text_is_bounded(size: int) -> None:
    text = "x" * size
    shown = bounded(text, 100, "_out[1]")
    assert (shown == text) == (size <= 100)
    assert len(shown) < 250
