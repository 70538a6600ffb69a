"""Undo, branch, edit, resume: the sandbox is rebuilt from the record, and the conversation is where it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from cellwright import CodeAgent, Limits, ScriptedModel, tool
from cellwright.errors import SandboxUnavailable, UsageError, ValueNotTransferable
from cellwright.events import ActionDecided, ActionFinished, Event, InputGiven, RunResumed, RunStarted
from cellwright.facts import FileFacts
from cellwright.journal import Journal
from cellwright.lineage import Part, holding
from cellwright.outputs import plain_text
from cellwright.rebuild import Recorded, Redone, rebuild
from cellwright.rewind import branch, resume, undo, undo_to
from cellwright.run import Run, Step
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation
from sensible import Sensible


def reply(code: str, thought: str = "Go.") -> str:
    return f"{thought}\n```python\n{code}\n```"


calls: list[int] = []


@tool
def roll(sides: int) -> int:
    """Roll a die."""
    calls.append(sides)
    return sides - len(calls)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with Journal(tmp_path / "journal.sqlite") as opened:
        yield opened


def agent_with(journal: Journal, *replies: str, **more: Any) -> CodeAgent:
    calls.clear()
    sandbox = ChildKernel(isolation=Isolation(level="process"))
    return CodeAgent(ScriptedModel(*replies), sandbox=sandbox, journal=journal, tools=[roll], **more)


async def happened(events: Any) -> Run:
    async with aclosing(events):
        return Run([event async for event in events if not event.is_live])


async def value(agent: CodeAgent, name: str) -> Any:
    return (await agent.sandbox.get(name))[1]


THREE = (reply("x = roll(6)\nprint(x)"), reply("x += 100"), reply("final_answer(x)"))


async def test_e8_undo_brings_variables_and_memory_back(journal: Journal) -> None:
    async with agent_with(journal, *THREE) as agent:
        run = await agent.run("Roll.")
        assert run.answer == 105 and calls == [6]
        taken = await undo(agent, 2)
        assert await value(agent, "x") == 5 and calls == [6], "the call was answered from the record"
        assert taken.status == "success" and taken.started and taken.started.parent == run.id
        assert agent.memory and "x += 100" not in str(agent.memory.messages)
        await agent.run("Again.")
        assert any("Again." in message.content for message in agent.memory.messages)
        parts = holding(await journal.conversation(agent.conversation))
        assert [len(part.steps) for part in parts][:2] == [1, 0]


async def test_e8_undo_over_several_tasks_and_too_far(journal: Journal) -> None:
    async with agent_with(journal, reply("a = 1\nfinal_answer(a)"), reply("a = 2\nfinal_answer(a)")) as agent:
        await agent.run("One.")
        await agent.run("Two.")
        await undo(agent)
        assert await value(agent, "a") == 1
        with pytest.raises(UsageError, match="only 1 step"):
            await undo(agent, 2)
        await undo(agent)
        with pytest.raises(UsageError, match="only 0 steps"):
            await undo(agent)


async def test_e8_a_branch_goes_on_with_the_same_task_and_another_word(journal: Journal) -> None:
    async with agent_with(journal, *THREE, reply("final_answer(x * 2)"), reply("final_answer(x)")) as agent:
        run = await agent.run("Roll.")
        other = await happened(branch(agent, 2, "Double it instead."))
        assert other.answer == 10 and other.task == "Roll." and other.started
        assert (other.started.parent, other.started.parent_step) == (run.id, 1)
        assert [step.number for step in other.steps] == [2] and calls == [6]
        asked: Sequence[Any] = agent.model.asked[-1]  # type: ignore[union-attr]
        texts = [message.content for message in asked]
        assert "Double it instead." in texts[-1] and sum("Task: Roll." in text for text in texts) == 1
        assert not any("x += 100" in text for text in texts)
        # The first run lives on, and can be branched from again.
        third = await happened(branch(agent, 3, run_id=run.id))
        assert third.started and third.started.parent == run.id and await value(agent, "x") == 105


async def test_e8_a_step_can_be_written_by_the_person(journal: Journal) -> None:
    async with agent_with(journal, *THREE, reply("final_answer(x)")) as agent:
        await agent.run("Roll.")
        edited = await happened(branch(agent, 2, code="x = x * 1000"))
        first = edited.steps[0]
        assert first.number == 2 and first.decided and (first.decided.verdict, first.decided.by) == ("edited", "person")
        assert edited.status == "success" and edited.answer == 5000
        assert agent.memory and "x = x * 1000" in str(agent.memory.messages)


async def test_d7_what_tools_did_outside_is_named(journal: Journal) -> None:
    async with agent_with(journal, *THREE) as agent:
        await agent.run("Roll.")
        taken = await undo(agent, 3)
        note = next(event.note for event in taken.events if isinstance(event, RunResumed))
        assert "Not taken back: what tools did outside of the sandbox: roll (1)" in note


async def test_d7_files_of_undone_steps_are_gone(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("x\n1\n")
    write = reply("open('a.txt', 'w').write('1')"), reply("open('b.txt', 'w').write('2')\nfinal_answer(2)")
    async with CodeAgent(ScriptedModel(*write), journal=journal) as agent:
        run = await agent.run("Use a.csv.")
        assert run.started and [file.name for file in run.started.files] == ["a.csv"]
        await undo(agent)
        names = {file.name for file in (await agent.sandbox.at_hand()).files}
        assert names == {"a.csv", "a.txt"}


async def test_f4_a_run_that_was_cut_off_goes_on_after_every_event(tmp_path: Path) -> None:
    async with Journal(tmp_path / "whole.sqlite") as journal, agent_with(journal, *THREE) as agent:
        whole = await agent.run("Roll.")
    for cut in range(1, len(whole.events)):
        await _goes_on(tmp_path / f"{cut}.sqlite", whole.events[:cut], whole)


async def _goes_on(path: Path, kept: Sequence[Event], whole: Run) -> None:
    """Resume from the record of `kept`; the model answers as it would have."""
    async with Journal(path) as before:
        for event in kept:
            await before.append(whole.id, event)
    async with Journal(path) as journal, agent_with(journal) as agent:
        agent.model = Sensible(*THREE)
        await happened(resume(agent, whole.id))
        run = await journal.run(whole.id)
    assert (run.status, run.answer) == ("success", 105), (kept[-1], run.reason)
    assert run.events[: len(kept)] == list(kept)
    assert any(isinstance(event, RunResumed) for event in run.events)


async def test_f4_a_run_with_its_answer_is_not_resumed(journal: Journal) -> None:
    async with agent_with(journal, *THREE) as agent:
        run = await agent.run("Roll.")
        with pytest.raises(UsageError, match="has its answer"):
            await happened(resume(agent, run.id))


async def test_f4_a_run_out_of_steps_goes_on_as_a_branch(journal: Journal) -> None:
    async with agent_with(journal, *THREE[:2], "x is 105.", THREE[2], limits=Limits(steps=2)) as agent:
        run = await agent.run("Roll.")
        assert run.status == "out_of_steps"
        on = await happened(resume(agent, run.id, limits=Limits(steps=5)))
        assert on.status == "success" and on.answer == 105 and on.started and on.started.parent == run.id


async def test_e8_an_undo_that_can_not_be_done_leaves_all_as_it_was(journal: Journal) -> None:
    async with agent_with(journal, *THREE) as agent:
        run = await agent.run("Roll.")
        told = list(agent.memory.messages) if agent.memory else []
        assert isinstance(agent.sandbox, ChildKernel)
        agent.sandbox.kernel_name = "no-such-kernel"  # that of the next sandbox
        with pytest.raises(SandboxUnavailable):
            await undo(agent, 2)
        agent.sandbox.kernel_name = "python3"
        assert agent.memory and agent.memory.messages == told
        assert await value(agent, "x") == 105
        assert [known.id for known in await journal.conversation(agent.conversation)] == [run.id]
        assert (await undo(agent, 2)).status == "success"


async def test_e8_going_back_to_an_earlier_run_names_what_is_taken_back_with_it(journal: Journal) -> None:
    async with agent_with(journal, reply("a = 1"), reply("final_answer(a)"), reply("final_answer(roll(6))")) as agent:
        first = await agent.run("Count.")
        await agent.run("Roll.")
        other = await happened(branch(agent, 2, "Again.", run_id=first.id))
        note = next(event.note for event in other.events if isinstance(event, RunResumed))
        assert "roll (1)" in note and "Taken back, too: Roll." in note


async def test_d7_a_hidden_line_is_named() -> None:
    answers = Recorded(
        [InputGiven(step=1, prompt="Key: ", value=None), InputGiven(step=1, prompt="Name: ", value="Ada")]
    )
    assert [await answers.line("Key: ", True), await answers.line("Name: ", False)] == ["", "Ada"]
    assert answers.hidden == ["Key: "] and answers.differs == []


async def test_f3_whoever_does_not_know_a_file_gets_no_byte_of_it(tmp_path: Path) -> None:
    """The record that is verified was written by somebody else, who may name any file beside the notebook."""
    (tmp_path / ".netrc").write_text("a secret")
    code = "import os\nprint(sorted(os.listdir()))"
    started = RunStarted(seq=0, run_id="r", conversation="c", task="t", files=(FileFacts(".netrc", 8, "0" * 64),))
    decided = ActionDecided(seq=1, step=1, verdict="approved", by="auto", code=code)
    run = Run([started, decided, ActionFinished(seq=2, step=1, outcome="ok", seconds=0.1)])
    shown: list[str] = []

    async def see(_run: Run, _step: Step, again: Redone, _differs: Sequence[str]) -> None:
        shown.extend(plain_text(output) for output in again.outputs)

    kernel = ChildKernel()
    try:
        done = await rebuild(kernel, [Part(run)], tmp_path, see)
    finally:
        await kernel.close()
    assert shown == ["[]"] and "was not handed over" in done.notes[0]


async def test_e8_undo_to_a_step_of_any_run_that_holds(journal: Journal) -> None:
    async with agent_with(journal, reply("x = 1"), reply("x = 2"), reply("final_answer(x)")) as agent:
        first = await agent.run("First.")
        second = await agent.run("Second.")
        await undo_to(agent, second.id, 1)
        assert await value(agent, "x") == 1
        with pytest.raises(UsageError, match="does not hold step 2 of run"):
            await undo_to(agent, second.id, 2)
        await undo_to(agent, first.id, 2)
        assert await value(agent, "x") == 2
        with pytest.raises(UsageError, match="does not hold step 1 of run"):
            await undo_to(agent, second.id, 1)
        await undo_to(agent, first.id, 0)
        with pytest.raises(ValueNotTransferable, match="no variable 'x'"):
            await agent.sandbox.get("x")


async def test_e8_what_the_model_saw_only_in_part_is_back_whole(journal: Journal) -> None:
    long = (reply("print('a' * 50_000)"), reply("n = len(_out[1])\nprint(n)"), reply("final_answer(n)"))
    async with agent_with(journal, *long) as agent:
        whole = (await agent.run("Print.")).answer
        assert isinstance(whole, int) and whole >= 50_000
        taken = await undo(agent, 1)
        assert not [event for event in taken.events if isinstance(event, RunResumed) and "otherwise" in event.note]
        assert await value(agent, "n") == whole
        assert (await agent.run_by_hand("m = len(_out[1])")).status == "success"
        assert await value(agent, "m") == whole
