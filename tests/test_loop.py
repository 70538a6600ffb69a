"""The loop: ask, decide, act, observe; what happens is events, and everybody hears them in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cellwright import CodeAgent, Limits, ScriptedModel
from cellwright.errors import UsageError
from cellwright.events import AnswerGiven, Event, NoAction, ReplyDelta, RunStarted, ToolCalled
from cellwright.journal import Journal
from cellwright.sandbox.child import ChildKernel


def reply(code: str) -> str:
    return f"Go.\n```python\n{code}\n```"


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[ChildKernel]:
    kernel = ChildKernel(workspace=tmp_path)
    yield kernel
    await kernel.close()


async def test_a15_the_stream_is_cut_after_the_first_action(sandbox: ChildKernel) -> None:
    model = ScriptedModel(reply("final_answer(1)") + "\nObservation: 1\n" * 200)
    run = await CodeAgent(model, sandbox=sandbox, journal=None).run("Answer.")
    assert run.answer == 1
    assert model.was_cut == 1
    assert run.steps[0].reply
    assert run.steps[0].reply.cut
    assert "Observation" not in run.steps[0].reply.text


async def test_a1_an_error_is_an_observation_and_the_run_goes_on(sandbox: ChildKernel) -> None:
    model = ScriptedModel(reply("1 / 0"), reply("final_answer('well')"))
    run = await CodeAgent(model, sandbox=sandbox, journal=None).run("Try.")
    assert [step.outcome for step in run.steps] == ["error", "ok"]
    assert (run.status, run.answer) == ("success", "well")


async def test_a_sandbox_that_died_in_mid_run_is_started_anew_and_said(sandbox: ChildKernel) -> None:
    model = ScriptedModel(reply("x = 1\nimport os; os.kill(os.getpid(), 9)"), reply("final_answer('x' in globals())"))
    agent = CodeAgent(model, sandbox=sandbox, journal=None)
    run = await agent.run("Try.")
    assert (run.status, run.answer) == ("success", False)
    assert run.steps[0].outcome == "died"
    assert "SIGKILL" in run.steps[0].note
    assert "all variables are gone" in run.steps[0].note
    assert run.steps[0].note in model.asked[1][-1].content
    after = await agent.run("Again.")
    assert after.started
    assert not after.started.state_lost, "it was said when it happened"


async def test_a_sandbox_that_died_between_tasks_is_said_with_the_next(sandbox: ChildKernel) -> None:
    model = ScriptedModel(reply("import os\nfinal_answer(os.getpid())"), reply("final_answer(2)"))
    agent = CodeAgent(model, sandbox=sandbox, journal=None)
    assert (await agent.run("One.")).started.state_lost is False  # type: ignore[union-attr]
    await sandbox.restart()
    run = await agent.run("Two.")
    assert run.started
    assert run.started.state_lost
    assert "the variables of earlier tasks are gone" in model.asked[-1][-1].content


async def test_a1_prose_three_times_is_an_unconfirmed_answer(sandbox: ChildKernel) -> None:
    run = await CodeAgent(ScriptedModel("It is 42."), sandbox=sandbox, journal=None).run("What?")
    assert (run.status, run.answer, len(run.steps)) == ("failed", "It is 42.", 3)
    assert run.answered
    assert not run.answered.confirmed
    assert run.reason == "The model wrote no code 3 times in a row."
    assert all(isinstance(step.finished, NoAction) for step in run.steps)


@pytest.mark.parametrize("code", ["1 / 0", "x = (1,\ny ="])
async def test_a10_the_same_failing_code_three_times_ends_the_run(sandbox: ChildKernel, code: str) -> None:
    run = await CodeAgent(ScriptedModel(reply(code)), sandbox=sandbox, journal=None).run("Try.")
    assert (run.status, len(run.steps)) == ("failed", 3)
    assert run.reason == "The model wrote the same failing code 3 times in a row."


async def test_a3_steps_for_one_run_only(sandbox: ChildKernel) -> None:
    agent = CodeAgent(ScriptedModel(*(reply(f"print({n})") for n in range(50))), sandbox=sandbox, journal=None)
    run = await agent.run("Go.", max_steps=2)
    assert (run.status, run.totals.steps) == ("out_of_steps", 2)
    assert agent.limits.steps == 20


async def test_a10_an_action_that_takes_too_long_is_stopped_and_told(sandbox: ChildKernel) -> None:
    model = ScriptedModel(reply("kept = 1\nwhile True: pass"), reply("final_answer(kept)"))
    agent = CodeAgent(model, sandbox=sandbox, journal=None, limits=Limits(action_seconds=0.5))
    run = await agent.run("Wait.")
    assert (run.steps[0].outcome, run.answer) == ("timeout", 1)
    assert "as long as it may run" in model.asked[1][-1].content


async def test_a10_time_is_up_in_the_middle_of_a_reply(sandbox: ChildKernel) -> None:
    await sandbox.start()
    agent = CodeAgent(ScriptedModel("Hm. " * 9999, seconds=0.05), sandbox=sandbox, journal=None)
    run = await agent.run("Go.", limits=Limits(seconds=0.6))
    assert run.status == "out_of_time"


async def test_a7_listeners_hear_everything_in_order_and_are_waited_for(sandbox: ChildKernel) -> None:
    heard: list[tuple[str, int]] = []

    def sync(event: Event) -> None:
        heard.append(("sync", event.seq))

    async def slow(event: Event) -> None:
        await asyncio.sleep(0.01)
        heard.append(("slow", event.seq))

    agent = CodeAgent(ScriptedModel(reply("final_answer(1)")), sandbox=sandbox, journal=None, listeners=[sync, slow])
    run = await agent.run("Go.")
    assert heard[::2] == [("sync", seq) for _, seq in heard[::2]]
    assert [seq for _, seq in heard[::2]] == [seq for _, seq in heard[1::2]], "one event at a time"
    assert [event.seq for event in run.events] == list(range(len(run.events)))


async def test_f4_the_journal_has_all_before_the_next_step_begins(sandbox: ChildKernel, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    stored: list[int] = []

    async def look(event: Event) -> None:
        if isinstance(event, RunStarted):
            stored.append(event.seq)
        elif getattr(event, "kind", "") == "action_finished":
            async with Journal(tmp_path / "journal.sqlite") as other:
                (summary,) = await other.runs()
                assert (await other.run(summary.id)).events[-1] == event
                stored.append(event.seq)

    model = ScriptedModel(reply("print(1)"), reply("final_answer(2)"))
    agent = CodeAgent(model, sandbox=sandbox, journal=journal, listeners=[look])
    run = await agent.run("Go.")
    assert run.status == "success", run.reason
    assert len(stored) == 3
    assert (await journal.run(run.id)).events == run.events
    await agent.aclose()


async def test_b6_tool_calls_are_events_also_from_threads(sandbox: ChildKernel) -> None:
    def double(n: int) -> int:
        """Twice n."""
        if n < 0:
            raise ValueError("too small")
        return 2 * n

    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as p: r = sum(p.map(double, range(5)))\n"
        "try: double('x')\nexcept Exception as e: print(e)\n"
        "try: double(-1)\nexcept Exception as e: print(e)\nfinal_answer(r)"
    )
    agent = CodeAgent(ScriptedModel(reply(code)), sandbox=sandbox, journal=None, tools=[double])
    run = await agent.run("Double.")
    calls = [event for event in run.events if isinstance(event, ToolCalled)]
    assert run.answer == 20
    assert sorted(call.result for call in calls[:5]) == [0, 2, 4, 6, 8]
    assert "argument n" in (calls[5].error or "")
    assert calls[6].error == "double failed: ValueError: too small"
    assert "argument n" in run.steps[0].text


async def test_a_person_runs_code_by_hand(sandbox: ChildKernel) -> None:
    agent = CodeAgent(ScriptedModel(reply("final_answer(x)")), sandbox=sandbox, journal=None)
    run = await agent.run_by_hand("x = 3\nx")
    assert run.started
    assert (run.started.author, run.status, run.steps[0].text) == ("person", "success", "3")
    assert run.steps[0].decided
    assert run.steps[0].decided.by == "person"
    failed = await agent.run_by_hand("1 / 0")
    assert (failed.status, failed.reason) == ("failed", "The code raised an error.")
    assert (await agent.run("What is it?")).answer == 3


async def test_code_with_made_up_data_is_not_run(sandbox: ChildKernel) -> None:
    model = ScriptedModel(reply("n = 999\nfinal_answer(n)"), reply("final_answer(n)"))
    run = await CodeAgent(model, sandbox=sandbox, journal=None).run("Tell n", additional_args={"n": 7})
    assert (run.answer, run.steps[0].outcome) == (7, "denied")
    assert "Not run: the variable n" in model.asked[1][-1].content


async def test_two_agents_at_once_share_nothing(tmp_path: Path) -> None:
    def agent(n: int) -> CodeAgent:
        model = ScriptedModel(reply(f"x = {n}\nimport time; time.sleep(0.3)"), reply("final_answer(x)"))
        return CodeAgent(model, sandbox=ChildKernel(workspace=tmp_path), journal=None)

    agents = [agent(1), agent(2)]
    runs = await asyncio.gather(*(one.run("Go.") for one in agents))
    assert [run.answer for run in runs] == [1, 2]
    await asyncio.gather(*(one.aclose() for one in agents))


async def test_one_agent_does_one_task_at_a_time(sandbox: ChildKernel) -> None:
    agent = CodeAgent(ScriptedModel(reply("final_answer(1)")), sandbox=sandbox, journal=None)
    first = asyncio.create_task(agent.run("One."))
    while not agent.is_working:
        await asyncio.sleep(0)
    with pytest.raises(UsageError, match="at work"):
        await agent.run("Two.")
    assert (await first).answer == 1


async def test_a3_streaming_yields_pieces_and_the_answer(sandbox: ChildKernel) -> None:
    agent = CodeAgent(ScriptedModel(reply("final_answer(1)"), piece=5), sandbox=sandbox, journal=None)
    events = [event async for event in agent.stream("Go.")]
    assert "".join(event.text for event in events if isinstance(event, ReplyDelta)) == reply("final_answer(1)")
    assert any(isinstance(event, AnswerGiven) for event in events)
