"""Resume, undo and branch where it gets difficult: twice, without files or tools, with other agents, on a full disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cellwright import CodeAgent, Limits, ScriptedModel, ToolCallingAgent, tool
from cellwright.errors import UsageError
from cellwright.events import Event, Planned, RunResumed, RunStarted, Told, ToolCalled
from cellwright.facts import ToolUse
from cellwright.journal import Journal
from cellwright.rewind import branch, last_task, resume, undo
from cellwright.run import Run
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation
from sensible import Sensible


def reply(code: str) -> str:
    return f"Go.\n```python\n{code}\n```"


rolled: list[int] = []


@tool
def roll(sides: int) -> int:
    """Roll a die."""
    rolled.append(sides)
    return sides - len(rolled)


ADD = (reply("x = roll(6)"), reply("x += 100"), reply("x += 1000"), reply("final_answer(x)"))


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    rolled.clear()
    async with Journal(tmp_path / "journal.sqlite") as opened:
        yield opened


def agent_of(model: ScriptedModel, journal: Journal | None, **more: Any) -> CodeAgent:
    more = {"tools": [roll], **more}
    return CodeAgent(model, sandbox=ChildKernel(isolation=Isolation(level="process")), journal=journal, **more)


async def happened(events: Any) -> list[Event]:
    async with aclosing(events):
        return [event async for event in events if not event.is_live]


async def cut(run: Run, path: Path, last: Callable[[Event], bool]) -> Journal:
    """A journal that ends, for this run, with the first event for which `last` is true."""
    journal = Journal(path)
    for event in run.events:
        await journal.append(run.id, event)
        if last(event):
            break
    await journal.aclose()  # what held the run lets go of it, as when a process ends
    return Journal(path)


async def resumed(agent: CodeAgent) -> Run:
    """The whole run, once the last task was gone on with."""
    journal = agent.open_journal()
    assert journal
    run = await last_task(journal)
    await happened(resume(agent))
    assert await journal.check(run.id) is None
    return await journal.run(run.id)


def step_ended(number: int) -> Callable[[Event], bool]:
    return lambda event: getattr(event, "kind", "") == "action_finished" and getattr(event, "step", 0) == number


async def whole(*replies: Any, values: Any = None, **more: Any) -> Run:
    """A run that nobody kills."""
    rolled.clear()
    async with agent_of(ScriptedModel(*replies), Journal(None), **more) as agent:
        run = await agent.run("Roll.", additional_args=values)
    assert run.status == "success", run.reason
    return run


# ---- resume ---------------------------------------------------------------------------------------------------------


async def test_f4_a_resume_that_was_killed_is_resumed_and_the_days_between_do_not_count(tmp_path: Path) -> None:
    run = await whole(*ADD)
    async with agent_of(Sensible(*ADD), await cut(run, tmp_path / "1", step_ended(1))) as agent:
        again = await resumed(agent)
    seam = next(event.seq for event in again.events if isinstance(event, RunResumed))
    days = [replace(event, time=event.time - 300_000) if event.seq < seam else event for event in again.events]
    async with agent_of(Sensible(*ADD), await cut(Run(days), tmp_path / "2", step_ended(2))) as agent:
        last = await resumed(agent)
        with pytest.raises(UsageError, match="has its answer"):
            await happened(resume(agent))
    assert (last.status, last.answer) == ("success", 1105), last.reason
    assert last.started and last.started.limits.seconds == 600 and last.totals.seconds < 600
    assert sum(isinstance(event, RunResumed) for event in last.events) == 2 and rolled == [6]


async def test_f4_files_that_are_gone_or_changed_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("gone.csv", "changed.csv", "same.csv"):
        (tmp_path / name).write_text("x\n1\n")
    replies = reply("a = 1"), reply("final_answer(a)")
    async with CodeAgent(ScriptedModel(*replies), journal=Journal(None)) as agent:
        run = await agent.run("Use gone.csv, changed.csv and same.csv.")
    (tmp_path / "gone.csv").unlink()
    (tmp_path / "changed.csv").write_text("x\n2\n")
    async with CodeAgent(Sensible(*replies), journal=await cut(run, tmp_path / "1", step_ended(1))) as agent:
        last = await resumed(agent)
    assert last.answer == 1
    note = next(event.note for event in last.events if isinstance(event, RunResumed))
    assert "The file gone.csv is not there." in note and "The file changed.csv is not what it was." in note
    assert "same.csv" not in note and any(isinstance(event, Told) and event.text == note for event in last.events)


async def test_f4_a_run_whose_tools_are_missing_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    run = await whole(*ADD)
    journal = await cut(run, tmp_path / "1", step_ended(1))
    async with agent_of(Sensible(*ADD), journal, tools=[]) as agent:
        before = agent.sandbox, agent.conversation
        with pytest.raises(UsageError, match=r"had tools that are not there now: roll\.") as error:
            await happened(resume(agent))
        assert "\n" not in str(error.value) and not agent.sandbox.is_running
        assert before == (agent.sandbox, agent.conversation)
        assert (await journal.run(run.id)).events[-1].seq < len(run.events) - 1, "nothing was added"


async def test_f4_another_model_goes_on(tmp_path: Path) -> None:
    run = await whole(*ADD)
    other = Sensible(*ADD)
    other.name = "another"
    async with agent_of(other, await cut(run, tmp_path / "1", step_ended(2))) as agent:
        last = await resumed(agent)
    assert last.answer == 1105 and rolled == [6] and other.requests == 2
    assert last.started and last.started.model == "scripted"
    assert [step.reply.model for step in last.steps if step.reply] == ["scripted"] * 2 + ["another"] * 2


async def test_f4_values_that_were_put_in_are_put_in_again(tmp_path: Path) -> None:
    replies = reply("x = a * 2"), reply("final_answer(x + a)")
    run = await whole(*replies, values={"a": 7})
    async with agent_of(Sensible(*replies), await cut(run, tmp_path / "1", step_ended(1))) as agent:
        assert (await resumed(agent)).answer == 21
    # Before the value was on record nothing had been done: the task must be given again, and that is said.
    begun = await cut(run, tmp_path / "2", lambda event: isinstance(event, RunStarted))
    async with agent_of(Sensible(*replies), begun) as agent:
        last = await resumed(agent)
    assert last.status == "failed" and "before a was on record" in last.reason and not last.steps


async def test_f4_a_run_with_a_plan_keeps_it(tmp_path: Path) -> None:
    script = ("1. Add. 2. Answer.", ADD[0], reply("final_answer(x)"))
    run = await whole(*script, planning_interval=5)
    async with agent_of(Sensible(*script), await cut(run, tmp_path / "1", step_ended(1)), planning_interval=5) as agent:
        last = await resumed(agent)
    assert (last.status, last.answer) == ("success", 5), last.reason
    assert sum(isinstance(event, Planned) for event in last.events) == 1 and rolled == [6]


async def test_a6_a_run_with_a_called_agent_under_way_is_resumed_and_what_was_spent_counts(tmp_path: Path) -> None:
    child_says = ScriptedModel(reply("final_answer(41)"))
    replies = reply("y = helper('Give me 41.')"), reply("final_answer(y + 1)")

    def agents(model: ScriptedModel, journal: Journal) -> CodeAgent:
        child = agent_of(child_says, None, tools=[], name="helper", description="Helps.")
        return agent_of(model, journal, tools=[], managed_agents=[child])

    async with agents(ScriptedModel(*replies), first := Journal(None)) as agent:
        run = await agent.run("Ask the helper.")
        (called,) = await first.called_by(run.id)
    assert run.answer == 42
    told = [(one.id, event) for one in (run, called) for event in one.events]
    told.sort(key=lambda pair: pair[1].time)
    killed = next(at for at, (owner, event) in enumerate(told) if owner == called.id and event.seq == 1)
    async with Journal(tmp_path / "1") as journal:
        for owner, event in told[: killed + 1]:
            await journal.append(owner, event)
    async with agents(Sensible(*replies), journal := Journal(tmp_path / "1")) as agent:
        assert (await journal.latest()).id == run.id == (await last_task(journal)).id != called.id
        last = await resumed(agent)
        runs = await journal.called_by(run.id)
    assert (last.status, last.answer) == ("success", 42), last.reason
    assert len(runs) == 2, "the call that was under way is on record, and so is the one that was made instead"
    paid = [step.reply.usage.total for one in (last, *runs) for step in one.steps if step.reply]
    assert last.totals.usage.total == sum(paid)


async def test_a2_a_run_of_function_calls_is_resumed_with_its_results(tmp_path: Path) -> None:
    @tool
    async def slow(value: int) -> int:
        """Answer late."""
        await asyncio.sleep(0.2 if value == 1 else 0)
        return value

    script = (
        (ToolUse("a", "slow", '{"value": 1}'), ToolUse("b", "slow", '{"value": 2}')),
        (ToolUse("c", "final_answer", '{"answer": "result_1"}'),),
    )
    async with ToolCallingAgent(ScriptedModel(*script), tools=[slow], journal=Journal(None)) as agent:
        run = await agent.run("Call.")
    assert run.answer == 1
    lasts: list[Callable[[Event], bool]] = [step_ended(1), lambda event: isinstance(event, ToolCalled)]
    for number, last in enumerate(lasts, 1):
        journal = await cut(run, tmp_path / str(number), last)
        async with ToolCallingAgent(Sensible(*script), tools=[slow], journal=journal) as agent:
            again = await resumed(agent)
        assert (again.status, again.answer) == ("success", 1), (again.reason, again.answer)


async def test_f4_the_last_task_is_no_cell_that_a_person_ran(journal: Journal) -> None:
    async with agent_of(ScriptedModel(reply("x = 1"), "x.", *ADD), journal, limits=Limits(steps=1)) as agent:
        run = await agent.run("Set x.")
        assert run.status == "out_of_steps"
        await agent.run_by_hand("x = 5")
        assert (await journal.latest()).id != run.id == (await last_task(journal)).id


# ---- undo and branch ------------------------------------------------------------------------------------------------


async def test_e8_undo_after_a_resume_and_a_branch_of_a_branch(tmp_path: Path) -> None:
    run = await whole(*ADD)
    async with agent_of(Sensible(*ADD), await cut(run, tmp_path / "1", step_ended(2))) as agent:
        await resumed(agent)
        await undo(agent, 2)
        assert (await agent.sandbox.get("x"))[1] == 105
        agent.model = ScriptedModel(reply("x *= 2"), reply("final_answer(x)"), reply("final_answer(-x)"))
        (begun, *_) = first = await happened(branch(agent, 3, run_id=run.id))
        assert Run(first).answer == 210 and isinstance(begun, RunStarted)
        second = Run(await happened(branch(agent, 4, "Negative, please.", run_id=begun.run_id)))
        assert second.answer == -210 and second.started and second.started.parent == begun.run_id
        assert rolled == [6]


async def test_e8_undo_takes_back_cells_that_a_person_ran(journal: Journal) -> None:
    async with agent_of(ScriptedModel(reply("a = 1\nfinal_answer(a)")), journal) as agent:
        await agent.run("One.")
        await agent.run_by_hand("a = 2")
        await agent.run_by_hand("a = 3")
        await undo(agent)
        assert (await agent.sandbox.get("a"))[1] == 2
        await undo(agent)
        assert (await agent.sandbox.get("a"))[1] == 1


async def test_e8_undo_after_the_sandbox_died(journal: Journal) -> None:
    die = reply("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    model = ScriptedModel(reply("a = 1"), die, reply("b = 2\nfinal_answer(b)"))
    async with agent_of(model, journal) as agent:
        run = await agent.run("Go.")
        assert [step.outcome for step in run.steps] == ["ok", "died", "ok"]
        await undo(agent)
        assert not {"a", "b"} & {found.name for found in (await agent.sandbox.at_hand()).variables}
        await undo(agent)
        assert (await agent.sandbox.get("a"))[1] == 1, "what the death had taken is back"
