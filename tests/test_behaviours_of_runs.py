"""The forty behaviours of a smolagents user, 34 to 63: tools, runs, agents that call functions.

Each is driven for real: a scripted model, a child kernel, tools of the host. 1 to 33 are in `test_behaviours.py`.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Optional, Union

import pandas
import pytest
import pytest_asyncio

from cellwright import CodeAgent, Limits, ScriptedModel, Tool, ToolCallingAgent, tool
from cellwright.errors import UsageError
from cellwright.events import Event, Output, Planned, ToolCalled
from cellwright.facts import ToolUse
from cellwright.run import Run
from cellwright.sandbox.child import ChildKernel

pytestmark = pytest.mark.asyncio(loop_scope="module")


def reply(code: str) -> str:
    return f"Go.\n```python\n{code}\n```"


def call(name: str, arguments: str, call_id: str = "c1") -> ToolUse:
    return ToolUse(call_id, name, arguments)


class Season(Enum):
    LOW = "low"
    HIGH = "high"


@tool
def book(
    city: str,
    nights: int = 1,
    *,
    room: Literal["single", "double"] = "single",
    note: str | None = None,
    price: Union[int, float] = 10,
    season: Optional[Season] = None,  # noqa: UP045 - as older code has it
    guests: list[dict[str, list[int]]] | None = None,
) -> dict[str, Any]:
    """Book a room.

    Args:
        city: Where.
        nights: How many.
        room: Which kind.
        note: What to tell them.
        price: At most.
        season: When.
        guests: Ages by name.
    """
    given = [city, nights, room, note, price, season.name if season else None, guests]
    return {"given": given, "total": nights * price}


@tool
def fail(reason: str) -> str:
    """Fail."""
    raise LookupError(reason)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChildKernel]:
    kernel = ChildKernel(workspace=tmp_path_factory.mktemp("workspace"))
    yield kernel
    await kernel.close()


def agent_of(sandbox: ChildKernel, *replies: str, **options: Any) -> tuple[CodeAgent, ScriptedModel]:
    model = ScriptedModel(*replies)
    return CodeAgent(model, sandbox=sandbox, journal=None, tools=[book, fail], **options), model


async def done(sandbox: ChildKernel, *codes: str, **options: Any) -> Run:
    """The run in which the model writes these codes, one a step."""
    return await agent_of(sandbox, *map(reply, codes), **options)[0].run("Go.")


async def told(sandbox: ChildKernel, code: str) -> str:
    """What the model is told of this code."""
    agent, model = agent_of(sandbox, reply(code), reply("final_answer(0)"))
    assert (await agent.run("Go.")).status == "success", "and the run goes on"
    return model.asked[-1][-1].content


# ---- tools ----------------------------------------------------------------------------------------------------------


async def test_34_nullable_arguments_have_their_types_and_may_be_left_out(sandbox: ChildKernel) -> None:
    schema = book.facts.parameters["properties"]["note"]
    assert (schema["anyOf"], schema["default"]) == ([{"type": "string"}, {"type": "null"}], None)
    assert "note: str | None = None" in book.facts.signature
    run = await done(sandbox, "final_answer([book('Oslo')['given'][3], book('Oslo', note='late')['given'][3]])")
    assert run.answer == [None, "late"]
    assert "argument note: expected a valid string, got [1] (list)" in await told(sandbox, "book('Oslo', note=[1])")


async def test_35_literal_is_an_enum_of_the_schema(sandbox: ChildKernel) -> None:
    schema = book.facts.parameters["properties"]["room"]
    assert (schema["enum"], schema["type"], schema["default"]) == (["single", "double"], "string", "single")
    said = await told(sandbox, "book('Oslo', room='suite')")
    assert "argument room: expected 'single' or 'double', got 'suite' (str)" in said


async def test_36_unions_take_each_of_their_types_and_nothing_else(sandbox: ChildKernel) -> None:
    run = await done(sandbox, "final_answer([book('Oslo', 2, price=p)['total'] for p in (3, 2.5)])")
    assert run.answer == [6, 5.0]
    assert "argument price" in await told(sandbox, "book('Oslo', price='cheap')")


async def test_37_optional_and_enum_arrive_as_such(sandbox: ChildKernel) -> None:
    run = await done(sandbox, "final_answer([book('Oslo', season=s)['given'][5] for s in ('low', None)])")
    assert run.answer == ["LOW", None]


async def test_38_lists_and_dicts_in_each_other_are_checked_to_the_bottom(sandbox: ChildKernel) -> None:
    run = await done(sandbox, "final_answer(book('Oslo', guests=[{'a': [3, 4]}, {}])['given'][6])")
    assert run.answer == [{"a": [3, 4]}, {}]
    assert "argument guests.0.a.1: expected a valid integer, got 'x' (str)" in await told(
        sandbox, "book('Oslo', guests=[{'a': [3, 'x']}])"
    )


async def test_39_a_wrong_type_names_the_argument_what_was_expected_and_what_was_got(sandbox: ChildKernel) -> None:
    said = await told(sandbox, "x = 1\nbook('Oslo', nights='three')")
    assert "book: argument nights: expected a valid integer, got 'three' (str)" in said
    assert "Error in line 2" in said


async def test_40_missing_and_unknown_arguments_are_named(sandbox: ChildKernel) -> None:
    assert "city" in await told(sandbox, "book(nights=2)")
    assert "hotel" in await told(sandbox, "book('Oslo', hotel='Grand')")
    assert "argument" in await told(sandbox, "book(*range(9))")


async def test_41_arguments_by_place_and_by_name_are_the_same(sandbox: ChildKernel) -> None:
    run = await done(
        sandbox, "final_answer(book('Oslo', 2, room='double') == book(room='double', nights=2, city='Oslo'))"
    )
    assert run.answer is True


async def test_42_a_result_is_a_value_like_any_other(sandbox: ChildKernel) -> None:
    code = "total = sum(book(c, n)['total'] for c, n in [('Oslo', 1), ('Rome', 2)])\nfinal_answer(f'{total:.1f} NOK')"
    run = await done(sandbox, code)
    assert run.answer == "30.0 NOK"
    assert [event.args for event in run.events if isinstance(event, ToolCalled)] == [("Oslo", 1), ("Rome", 2)]


async def test_43_a_tool_that_fails_is_an_observation_and_code_may_catch_it(sandbox: ChildKernel) -> None:
    assert "fail failed: LookupError: no such thing" in await told(sandbox, "fail('no such thing')")
    run = await done(sandbox, "try:\n    fail('gone')\nexcept Exception as error:\n    final_answer(str(error))")
    assert run.answer == "fail failed: LookupError: gone"


async def test_44_a_class_as_smolagents_has_it_is_a_tool(sandbox: ChildKernel) -> None:
    class Greet(Tool):
        name = "greet"
        description = "Greets."
        inputs = {  # noqa: RUF012 - as smolagents has it
            "who": {"type": "string", "description": "Whom."},
            "often": {"type": "integer", "description": "How often.", "nullable": True},
        }
        output_type = "string"

        def forward(self, who, often=None):  # type: ignore[no-untyped-def]
            return f"Hello {who}" * (often or 1)

    agent = CodeAgent(
        ScriptedModel(reply("final_answer(greet('you'))")), sandbox=sandbox, journal=None, tools=[Greet()]
    )
    assert (await agent.run("Go.")).answer == "Hello you"


# ---- runs -----------------------------------------------------------------------------------------------------------


async def test_45_a_conversation_goes_on_unless_it_is_reset(tmp_path: Path) -> None:
    """smolagents forgets unless `reset=False`; its variables then stay all the same."""
    model = ScriptedModel(reply("kept = 5\nfinal_answer(1)"), reply("final_answer('kept' in globals())"))
    async with CodeAgent(model, sandbox=ChildKernel(workspace=tmp_path), journal=None) as agent:
        await agent.run("The first.")
        assert (await agent.run("The second.")).answer is True
        assert "The first." in str(model.asked[1])
        await agent.run("The third.")
        assert (await agent.run("The fourth.", reset=True)).answer is False
        assert "The first." not in str(model.asked[3])


async def test_46_out_of_steps_the_best_answer_is_given_and_said_to_be_no_more(sandbox: ChildKernel) -> None:
    agent, model = agent_of(sandbox, reply("print(6)"), reply("print(7)"), "Probably 42.", limits=Limits(steps=2))
    run = await agent.run("Go.")
    assert (run.status, run.answer, run.totals.steps) == ("out_of_steps", "Probably 42.", 2)
    assert run.reason == "No answer after 2 steps; `--max-steps` raises the limit."
    assert run.answered
    assert not run.answered.confirmed
    assert "No steps are left" in model.asked[2][-1].content
    assert run.totals.usage.total > sum(step.reply.usage.total for step in run.steps[:2] if step.reply), (
        "it is paid for"
    )


async def test_47_one_step_is_enough_for_an_answer_and_no_more_than_one_is_taken(sandbox: ChildKernel) -> None:
    agent, _ = agent_of(sandbox, reply("final_answer(1)"), reply("print(1)"), "I do not know.")
    run = await agent.run("Go.", max_steps=1)
    assert (run.status, run.answer) == ("success", 1)
    run = await agent.run("Go.", max_steps=1)
    assert (run.status, run.answer, run.totals.steps) == ("out_of_steps", "I do not know.", 1)
    with pytest.raises(UsageError, match="steps must be more than 0"):
        await agent.run("Go.", max_steps=0)


async def test_48_additional_args_are_variables(sandbox: ChildKernel) -> None:
    agent, model = agent_of(sandbox, reply("final_answer([df['a'].sum().item(), names[1], n + 1])"))
    values = {"df": pandas.DataFrame({"a": [1, 2]}), "names": ["x", "y"], "n": 41}
    assert (await agent.run("Go.", additional_args=values)).answer == [3, "y", 42]
    assert "variable df: DataFrame, 2 rows x 1 columns: a" in model.asked[0][-1].content


def png() -> bytes:
    """One red pixel."""
    parts = {b"IHDR": struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0), b"IDAT": zlib.compress(b"\0\xff\0\0"), b"IEND": b""}
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts.items())
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


async def test_49_images_are_sent_once_with_the_task(sandbox: ChildKernel) -> None:
    """smolagents sends them again at every step."""
    agent, model = agent_of(sandbox, reply("print(1)"), reply("final_answer('red')"))
    run = await agent.run("Which colour?", images=[png()])
    assert run.answer == "red"
    assert [len(message.images) for message in model.asked[1]].count(1) == 1
    assert model.asked[1][: len(model.asked[0])] == model.asked[0]


async def test_50_a_stop_keeps_what_was_done_and_the_agent_goes_on(sandbox: ChildKernel) -> None:
    agent, _ = agent_of(
        sandbox, reply("done = [1]"), reply("print('now', flush=True)\nwhile True: pass"), reply("final_answer(done)")
    )
    agent.listeners.append(lambda event: agent.stop() if isinstance(event, Output) else None)
    run = await agent.run("Go.")
    assert (run.status, [step.outcome for step in run.steps]) == ("interrupted", ["ok", "interrupted"])
    agent.listeners.clear()
    assert (await agent.run("Go on.")).answer == [1]


async def test_51_callbacks_come_before_and_after_an_action(sandbox: ChildKernel) -> None:
    """`step_callbacks` of smolagents come after a step only."""
    heard: list[str] = []

    async def hear(event: Event) -> None:
        kind = getattr(event, "kind", "")
        if kind == "action_decided":
            await asyncio.sleep(0.05)  # the action waits for it
            heard.append("before")
        elif isinstance(event, ToolCalled):
            heard.append("called")
        elif kind == "action_finished":
            heard.append("after")

    await done(sandbox, "book('Oslo')", "final_answer(1)", listeners=[hear])
    assert heard == ["before", "called", "after", "before", "after"]


async def test_52_a_plan_comes_first_and_every_n_steps(sandbox: ChildKernel) -> None:
    codes = [reply(f"print({n})") for n in range(4)]
    model = ScriptedModel("Plan A", *codes[:2], "Plan B", *codes[2:], "Plan C", reply("final_answer(1)"))
    agent = CodeAgent(model, sandbox=sandbox, journal=None, planning_interval=2)
    run = await agent.run("Go.")
    assert [(e.step, e.text) for e in run.events if isinstance(e, Planned)] == [
        (1, "Plan A"),
        (3, "Plan B"),
        (5, "Plan C"),
    ]
    assert run.totals.steps == 5, "plans are no steps"


async def test_53_a_run_returns_all_that_there_is_to_know(sandbox: ChildKernel) -> None:
    run = await done(sandbox, "x = 1 / 0", "final_answer(7)")
    assert (run.answer, run.status, run.task) == (7, "success", "Go.")
    assert [(step.thought, step.code, step.outcome) for step in run.steps] == [
        ("Go.", "x = 1 / 0", "error"), ("Go.", "final_answer(7)", "ok"),
    ]  # fmt: skip
    assert run.steps[0].error
    assert run.steps[0].error.ename == "ZeroDivisionError"
    assert run.totals.usage.prompt > 0
    assert run.totals.usage.completion > 0
    assert run.totals.seconds >= sum(step.seconds for step in run.steps) > 0
    assert run.totals.cost == 0.0


async def test_54_a_stream_yields_what_happens_in_its_order(sandbox: ChildKernel) -> None:
    agent, _ = agent_of(sandbox, reply("print(book('Oslo')['total'])\nfinal_answer(1)"))
    kinds = [getattr(event, "kind", "") async for event in agent.stream("Go.") if not event.is_live]
    assert kinds == [
        "run_started", "reply_received", "action_proposed", "action_decided", "tool_called", "output", "answer_given",
        "action_finished", "run_ended",
    ]  # fmt: skip


async def test_55_much_output_is_bounded_and_the_model_is_told_where_the_rest_is(sandbox: ChildKernel) -> None:
    agent, model = agent_of(
        sandbox, reply("print('a' * 50_000 + 'b' * 50_000)"), reply("final_answer([len(_out[1]), _out[1].count('b')])")
    )
    run = await agent.run("Go.", limits=Limits(observation_tokens=500))
    said = model.asked[1][-1].content
    assert len(said) < 2500
    assert "characters are left out here; the whole text is in _out[1]" in said
    assert "aaa" in said
    assert "bbb" in said
    assert run.answer[0] >= 100_000
    assert run.answer[1] == 50_000


async def test_56_output_without_end_is_cut_and_counted(sandbox: ChildKernel) -> None:
    run = await done(sandbox, "for _ in range(40): print('x' * 100_000)", "final_answer(1)")
    assert len(run.steps[0].text) < 1_200_000
    assert "more characters of output were not kept" in run.steps[0].text


async def test_57_everything_may_be_imported_unless_a_list_is_given(sandbox: ChildKernel) -> None:
    assert (await done(sandbox, "import os, subprocess\nfinal_answer(os.sep)")).answer == "/"
    run = await done(sandbox, "import os", "final_answer(1)", authorized_imports=["math"])
    assert run.steps[0].note == "Not run: importing os is not allowed. Allowed: math."


async def test_58_a_check_that_says_no_is_an_observation(sandbox: ChildKernel) -> None:
    def is_even(answer: Any, run: Run) -> str | None:
        return None if answer % 2 == 0 else f"{answer} is odd"

    run = await done(sandbox, "final_answer(3)", "final_answer(4)", final_answer_checks=[is_even])
    assert run.answer == 4
    assert run.steps[0].note.startswith("The answer was not taken: the check is_even failed: 3 is odd")


async def test_59_an_agent_is_called_like_a_function(sandbox: ChildKernel, tmp_path: Path) -> None:
    inner = CodeAgent(
        ScriptedModel(reply("final_answer(half * 2)")), sandbox=ChildKernel(workspace=tmp_path), journal=None,
        name="doubler", description="Doubles half.",
    )  # fmt: skip
    run = await done(
        sandbox, "final_answer([doubler(task='Double it.', additional_args={'half': 4}), 'half' in globals()])",
        managed_agents=[inner],
    )  # fmt: skip
    assert run.answer == [8, False]
    await inner.aclose()


# ---- agents that call functions -------------------------------------------------------------------------------------


async def test_60_an_answer_among_other_calls_is_refused_and_nothing_is_called() -> None:
    mixed = [call("book", '{"city": "Oslo"}'), call("final_answer", '{"answer": 1}', "c2")]
    model = ScriptedModel(mixed, [call("final_answer", '{"answer": 2}')])
    run = await ToolCallingAgent(model, tools=[book], journal=None).run("Go.")
    assert (run.answer, run.steps[0].outcome) == (2, "denied")
    assert not any(isinstance(event, ToolCalled) for event in run.events)


async def test_61_results_are_used_by_their_names_and_nested_arguments_are_checked() -> None:
    first = [call("book", '{"city": "Oslo", "guests": [{"a": [1]}]}'), call("book", '{"nights": "x"}', "c2")]
    model = ScriptedModel(first, [call("final_answer", '{"answer": "result_1"}')])
    run = await ToolCallingAgent(model, tools=[book], journal=None).run("Go.")
    assert run.answer["given"][6] == [{"a": [1]}]
    assert "argument" in model.asked[1][-1].content
    assert model.asked[1][-1].content.startswith("Error: book:")


async def test_62_a_tool_that_fails_does_not_end_the_others_of_its_reply() -> None:
    both = [call("fail", '{"reason": "gone"}'), call("book", '{"city": "Rome"}', "c2")]
    model = ScriptedModel(both, [call("final_answer", '{"answer": "well"}')])
    run = await ToolCallingAgent(model, tools=[book, fail], journal=None).run("Go.")
    assert (run.status, run.answer) == ("success", "well")
    assert [event.error is None for event in run.events if isinstance(event, ToolCalled)].count(True) == 1
    assert "LookupError: gone" in model.asked[1][-2].content


async def test_63_values_of_a_task_are_told_to_an_agent_that_calls_functions() -> None:
    model = ScriptedModel(
        [call("book", '{"city": "Oslo", "nights": 3}')], [call("final_answer", '{"answer": "result_1"}')]
    )
    run = await ToolCallingAgent(model, tools=[book], journal=None).run("Book it.", additional_args={"nights": 3})
    assert "variable nights: int, 3" in model.asked[0][-1].content
    assert run.answer["total"] == 30


@pytest.mark.parametrize("arguments", ["", "no json", "{}", '{"mean": 1, "max": 2}', '{"answer": '])
async def test_64_an_answer_that_can_not_be_read_is_refused(arguments: str) -> None:
    model = ScriptedModel([call("final_answer", arguments)], [call("final_answer", '{"answer": 2}')])
    run = await ToolCallingAgent(model, journal=None).run("Go.")
    assert (run.status, run.answer, run.steps[0].outcome) == ("success", 2, "denied")


async def test_65_values_of_a_task_are_used_by_their_names() -> None:
    model = ScriptedModel([call("final_answer", '{"answer": "x"}')])
    assert (await ToolCallingAgent(model, journal=None).run("Go.", additional_args={"x": [41]})).answer == [41]
