"""What agents can do besides the loop: rows A2 to A14 of the feature table, each driven for real."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cellwright import CodeAgent, Limits, ScriptedModel, ToolCallingAgent, tool
from cellwright.checks import AnswerCheck
from cellwright.errors import UsageError
from cellwright.events import Compacted, NoAction, Planned, Told, ToolCalled
from cellwright.facts import ToolUse, Usage
from cellwright.formats import JsonReply, PythonCall
from cellwright.journal import Journal
from cellwright.models.base import Message
from cellwright.run import Run
from cellwright.sandbox.child import ChildKernel


def reply(code: str) -> str:
    return f"Go.\n```python\n{code}\n```"


def call(name: str, arguments: str, call_id: str = "c1") -> ToolUse:
    return ToolUse(call_id, name, arguments)


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    await asyncio.sleep(0.3)
    return a + b


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[ChildKernel]:
    kernel = ChildKernel(workspace=tmp_path)
    yield kernel
    await kernel.close()


# ---- A4: checks of the answer ---------------------------------------------------------------------------------------


async def test_a4_a_failed_check_is_an_observation_and_the_run_goes_on(sandbox: ChildKernel) -> None:
    def is_positive(answer: Any, run: Run) -> bool:
        return bool(answer > 0)

    async def is_even(answer: Any, run: Run) -> str | None:
        return f"{answer} is odd" if answer % 2 else None

    def is_small(answer: Any, run: Run) -> bool:
        assert answer < 100, "too large"
        return True

    model = ScriptedModel(*(reply(f"final_answer({n})") for n in (-2, 3, 200, 4)))
    checks: list[AnswerCheck] = [is_positive, is_even, is_small]
    run = await CodeAgent(model, sandbox=sandbox, journal=None, final_answer_checks=checks).run("Answer.")
    assert (run.status, run.answer, len(run.steps)) == ("success", 4, 4)
    assert "the check is_positive failed." in run.steps[0].note
    assert "the check is_even failed: 3 is odd" in run.steps[1].note
    assert "the check is_small failed: AssertionError: too large" in run.steps[2].note
    assert run.steps[1].note in model.asked[2][-1].content


async def test_a4_an_answer_that_is_never_good_enough_does_not_become_the_answer(sandbox: ChildKernel) -> None:
    model = ScriptedModel(reply("final_answer(1)"))
    run = await CodeAgent(model, sandbox=sandbox, journal=None, final_answer_checks=[lambda a, r: False]).run("Answer.")
    assert (run.status, run.answered) == ("failed", None)
    assert "3 times in a row" in run.reason


# ---- A5: planning ---------------------------------------------------------------------------------------------------


async def test_a5_a_plan_first_and_again_after_so_many_steps(sandbox: ChildKernel, tmp_path: Path) -> None:
    model = ScriptedModel("1. look", reply("print(1)"), reply("print(2)"), "2. answer", reply("final_answer(3)"))
    journal = Journal(tmp_path / "journal.sqlite")
    run = await CodeAgent(model, sandbox=sandbox, journal=journal, planning_interval=2).run("Plan.")
    plans = [event for event in run.events if isinstance(event, Planned)]
    assert [(plan.step, plan.text) for plan in plans] == [(1, "1. look"), (3, "2. answer")]
    assert run.totals.steps == 3
    paid = [step.reply.usage.total for step in run.steps if step.reply] + [plan.usage.total for plan in plans]
    assert run.totals.usage.total == sum(paid), "plans are paid for"
    assert "1. look" in [message.content for message in model.asked[1]]
    assert (await journal.run(run.id)).events == run.events
    await journal.aclose()


@pytest.mark.parametrize("interval", [0, -1])
def test_a5_an_interval_that_is_none_is_refused(interval: int) -> None:
    if interval == 0:
        assert len(CodeAgent(ScriptedModel("x"), journal=None, planning_interval=0).before_step) == 1
        return
    with pytest.raises(UsageError, match="planning_interval must be 1 or more, not -1"):
        CodeAgent(ScriptedModel("x"), journal=None, planning_interval=interval)


# ---- A2: the tool-calling agent -------------------------------------------------------------------------------------


async def test_a2_functions_are_called_several_at_once() -> None:
    script: Sequence[ToolUse] = [call("add", '{"a": 1, "b": 2}'), call("add", '{"a": 3, "b": 4}', "c2")]
    model = ScriptedModel(script, [call("final_answer", '{"answer": "result_2"}')])
    begun = time.monotonic()
    run = await ToolCallingAgent(model, tools=[add], journal=None).run("Add.")
    assert (run.status, run.answer) == ("success", 7), "a result is used by its name"
    assert time.monotonic() - begun < 0.55, "both at the same time"
    assert run.steps[0].code == "result_1 = add(a=1, b=2)\nresult_2 = add(a=3, b=4)"
    assert model.asked[1][-3:] == (
        Message("assistant", "", tuple(script)),
        Message("tool", "3", call_id="c1"),
        Message("tool", "7", call_id="c2"),
    )


async def test_a2_wrong_arguments_and_unknown_functions_are_observations() -> None:
    script = [call("add", '{"a": "x", "b": 2}'), call("ad", "{}", "c2"), call("add", "[1, 2]", "c3")]
    model = ScriptedModel(script, [call("final_answer", '{"answer": 1}')])
    run = await ToolCallingAgent(model, tools=[add], journal=None).run("Add.")
    wrong, unknown, malformed = (event.error for event in run.events if isinstance(event, ToolCalled))
    assert wrong is not None
    assert "argument a" in wrong
    assert unknown == "No tool 'ad'; did you mean 'add'?"
    assert malformed == "The arguments of add are no JSON object: [1, 2]"
    assert model.asked[1][-1] == Message("tool", f"Error: {malformed}", call_id="c3")


async def test_a2_the_same_failing_call_three_times_ends_the_run() -> None:
    run = await ToolCallingAgent(ScriptedModel([call("add", "{}")]), tools=[add], journal=None).run("Add.")
    assert (run.status, len(run.steps)) == ("failed", 3)
    assert [step.outcome for step in run.steps] == ["error"] * 3
    assert "3 times in a row" in run.reason


async def test_a2_an_answer_is_not_mixed_with_other_calls() -> None:
    mixed = [call("add", '{"a": 1, "b": 2}'), call("final_answer", '{"answer": 1}', "c2")]
    run = await ToolCallingAgent(
        ScriptedModel(mixed, [call("final_answer", '{"answer": 3}')]), tools=[add], journal=None
    ).run("Add.")
    assert (run.answer, run.steps[0].outcome) == (3, "denied")
    assert "must be called alone" in run.steps[0].note
    assert not any(isinstance(event, ToolCalled) for event in run.events)


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "add", "arguments": {"a": 1, "b": 2}}',
        'I will add.\n```json\n{"name": "add", "parameters": {"a": 1, "b": 2}}\n```',
        'Action:\n{"action": "add", "action_input": {"a": 1, "b": 2}}',
        '<tool_call>{"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}</tool_call>',
    ],
)
async def test_a2_calls_written_as_text_are_calls(text: str) -> None:
    model = ScriptedModel(text, '{"name": "final_answer", "arguments": {"answer": "result_1"}}')
    run = await ToolCallingAgent(model, tools=[add], journal=None).run("Add.")
    assert (run.status, run.answer) == ("success", 3)


async def test_a2_prose_is_told_three_times_and_then_taken_as_a_guess() -> None:
    run = await ToolCallingAgent(ScriptedModel("It is 3."), tools=[add], journal=None).run("Add.")
    assert (run.status, run.answer) == ("failed", "It is 3.")
    assert all(isinstance(step.finished, NoAction) and "no function" in step.note for step in run.steps)


async def test_a2_checks_hold_for_its_answers_too() -> None:
    model = ScriptedModel([call("final_answer", '{"answer": 1}')], [call("final_answer", '{"answer": 2}')])
    agent = ToolCallingAgent(model, journal=None, final_answer_checks=[lambda answer, run: answer == 2])
    assert (await agent.run("Two.")).answer == 2


# ---- A8, A10, A12 to A14 --------------------------------------------------------------------------------------------


async def test_a10_a_run_out_of_steps_says_its_best_answer(sandbox: ChildKernel) -> None:
    model = ScriptedModel(reply("print(6)"), "It seems to be 6.")
    run = await CodeAgent(model, sandbox=sandbox, journal=None, limits=Limits(steps=1)).run("Look.")
    assert (run.status, run.answer) == ("out_of_steps", "It seems to be 6.")
    assert run.answered
    assert not run.answered.confirmed
    assert any(isinstance(event, Told) and event.by == "limits" for event in run.events)


@pytest.mark.parametrize("limits", [Limits(tokens=1), Limits(cost=1e-9)])
async def test_a10_a_run_out_of_tokens_asks_nothing_more(sandbox: ChildKernel, limits: Limits) -> None:
    class Costly(ScriptedModel):
        def count(self, messages: Sequence[Message], reply: str) -> tuple[Usage, float | None]:
            return super().count(messages, reply)[0], 0.5

    model = Costly(reply("print(6)"))
    run = await CodeAgent(model, sandbox=sandbox, journal=None, limits=limits).run("Look.")
    assert run.status in ("out_of_tokens", "out_of_money")
    assert len(model.asked) == 1


async def test_a12_what_was_sent_stays_a_prefix_over_twenty_steps(sandbox: ChildKernel) -> None:
    model = ScriptedModel(*(reply(f"print({n})") for n in range(19)), reply("final_answer(1)"))
    run = await CodeAgent(model, sandbox=sandbox, journal=None).run("Go.")
    assert len(run.steps) == 20
    for before, after in zip(model.asked, model.asked[1:], strict=False):
        assert after[: len(before)] == before


async def test_a12_a_full_context_is_compacted_once_and_said(sandbox: ChildKernel) -> None:
    class Small(ScriptedModel):
        context_tokens = 3000

    model = Small(*(reply(f"print('{n} ' * 1500)") for n in range(5)), reply("final_answer(1)"))
    run = await CodeAgent(model, sandbox=sandbox, journal=None).run("Go.")
    assert run.status == "success"
    said = [event for event in run.events if isinstance(event, Compacted)]
    assert said
    assert said[0].characters > 1000
    assert "characters were left out later" in str(model.asked[-1])
    sizes = [sum(len(message.content) for message in asked) for asked in model.asked]
    assert sizes[said[0].step - 1] < sizes[said[0].step - 2], "and what was observed since is in it"
    assert len(said) <= 2, "rarely, and much at once"


@pytest.mark.parametrize(
    ("form", "script"),
    [
        (JsonReply(), '{"thought": "Add.", "code": "final_answer(1 + 1)"} and more'),
        (PythonCall(), [call("python", '{"code": "final_answer(1 + 1)"}')]),
        (PythonCall(), reply("final_answer(1 + 1)")),
    ],
)
async def test_a13_code_comes_in_other_forms(sandbox: ChildKernel, form: object, script: str | list[ToolUse]) -> None:
    agent = CodeAgent(ScriptedModel(script), sandbox=sandbox, journal=None, reply_format=form)  # type: ignore[arg-type]
    run = await agent.run("Add.")
    assert (run.status, run.answer, run.steps[0].code) == ("success", 2, "final_answer(1 + 1)")


async def test_a13_an_observation_answers_the_python_call(sandbox: ChildKernel) -> None:
    model = ScriptedModel([call("python", '{"code": "print(5)"}')], [call("python", '{"code": "final_answer(5)"}')])
    run = await CodeAgent(model, sandbox=sandbox, journal=None, reply_format=PythonCall()).run("Look.")
    assert run.answer == 5
    answered = model.asked[1][-1]
    assert (answered.role, answered.call_id) == ("tool", "c1")
    assert "5" in answered.content


@pytest.mark.parametrize("code", ["import os", "from os import path", "import numpy.linalg, os.path"])
async def test_a14_only_authorized_imports_run(sandbox: ChildKernel, code: str) -> None:
    model = ScriptedModel(reply(code), reply("from math import pi\nimport numpy.random\nfinal_answer(round(pi))"))
    agent = CodeAgent(model, sandbox=sandbox, journal=None, authorized_imports=["math", "numpy"])
    run = await agent.run("Go.")
    assert run.answer == 3
    assert run.steps[0].outcome == "denied"
    assert "importing os" in run.steps[0].note
    assert "Allowed: math, numpy." in run.steps[0].note
