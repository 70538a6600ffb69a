"""Row A11: a conversation is saved, loaded into another agent, and edited; the model is told what is left of it."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwright import CodeAgent, ScriptedModel, Secret, ToolCallingAgent, tool
from cellwright.conversation import (
    conversation,
    edit_conversation,
    forget_steps,
    load_conversation,
    save_conversation,
)
from cellwright.errors import UsageError
from cellwright.events import ReplyReceived
from cellwright.facts import ToolUse
from cellwright.journal import Journal
from cellwright.models.base import Message
from cellwright.run import Run
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.none import NoSandbox


def reply(code: str) -> str:
    return f"Go.\n```python\n{code}\n```"


ONE = [reply("x = 41\nprint('working')"), reply("final_answer(x)")]


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with Journal(tmp_path / "journal.sqlite") as opened:
        yield opened


def told(messages: Any) -> str:
    return "\n".join(message.content for message in messages)


async def test_a11_a_saved_conversation_goes_on_in_another_agent(journal: Journal, tmp_path: Path) -> None:
    model = ScriptedModel(*ONE)
    async with CodeAgent(model, sandbox=ChildKernel(), journal=journal) as agent:
        await agent.run("Compute x.")
        await agent.run_by_hand("y = 5\nprint('by hand')")
        path = await save_conversation(agent, tmp_path / "chat.json")
        assert agent.memory
        before = agent.memory.messages
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    other = ScriptedModel(reply("final_answer(['x' in globals(), 'y' in globals()])"), reply("final_answer(1)"))
    async with CodeAgent(other, sandbox=ChildKernel(), journal=None) as second:
        runs = await load_conversation(second, path)
        assert [run.task for run in runs] == ["Compute x.", "y = 5\nprint('by hand')"]
        run = await second.run("Is x there?")
        assert run.answer == [False, False], "variables are no part of a conversation"
        assert list(other.asked[0][: len(before)]) == before, "the same messages, rebuilt from the events"
        said = other.asked[0][-1].content
        assert "The sandbox was started anew: the variables of earlier tasks are gone." in said
        assert run.started
        assert run.started.state_lost
        await second.run("And now?")
        assert "started anew" not in other.asked[1][-1].content, "it is said once"


async def test_a11_a_loaded_conversation_can_be_saved_again(journal: Journal, tmp_path: Path) -> None:
    async with CodeAgent(ScriptedModel(*ONE), sandbox=ChildKernel(), journal=journal) as agent:
        await agent.run("First.")
        await save_conversation(agent, tmp_path / "a.json")
        await load_conversation(agent, tmp_path / "a.json")
        await agent.run("Second.")
        await save_conversation(agent, tmp_path / "b.json")
        found = await conversation(agent)
        assert [run.task for run in found] == ["First.", "Second."]
        assert agent.memory
        before = list(agent.memory.messages)
        await load_conversation(agent, tmp_path / "b.json")
        assert agent.memory.messages == before[-len(agent.memory.messages) :]
        await agent.reset()
        with pytest.raises(UsageError, match="There is no conversation to save yet"):
            await save_conversation(agent, tmp_path / "c.json")
        assert len(await journal.runs()) == 2, "the journal keeps what happened, once"


async def test_a11_without_a_journal_the_runs_are_given(tmp_path: Path) -> None:
    async with CodeAgent(ScriptedModel(*ONE), sandbox=ChildKernel(), journal=None) as agent:
        run = await agent.run("First.")
        with pytest.raises(UsageError, match="keeps no journal, so its runs are on no record: give them, runs="):
            await save_conversation(agent, tmp_path / "a.json")
        await save_conversation(agent, tmp_path / "a.json", runs=[run])
        (again,) = await load_conversation(agent, tmp_path / "a.json")
        assert again.events == run.events
        await save_conversation(agent, tmp_path / "b.json")
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()


async def test_a11_an_edit_drops_a_run_and_replaces_a_reply(journal: Journal) -> None:
    model = ScriptedModel(*ONE, reply("final_answer('b')"), reply("final_answer(x)"))
    async with CodeAgent(model, sandbox=ChildKernel(), journal=journal) as agent:
        first = await agent.run("First.")
        await agent.run("Second.")

        def edit(runs: list[Run]) -> list[Run]:
            return [
                Run(replace(e, text="Edited.") if isinstance(e, ReplyReceived) and e.step == 1 else e for e in r.events)
                for r in runs
                if r.task != "Second."
            ]

        (edited,) = await edit_conversation(agent, edit)
        assert edited.id == first.id
        run = await agent.run("Third.")
        assert run.answer == 41, "the variables stay"
        sent = model.asked[-1]
        assert Message("assistant", "Edited.") in sent
        assert "Second." not in told(sent)
        assert "x = 41" not in told(sent)
        assert "started anew" not in told(sent)
        assert (await journal.run(first.id)).events == first.events, "the record is what happened"


async def test_a11_old_steps_are_forgotten_tasks_and_answers_stay(journal: Journal) -> None:
    codes = ("print('step one')", "print('step two')", "final_answer('A1')", "final_answer('A2')", "final_answer(3)")
    model = ScriptedModel(*map(reply, codes))
    async with CodeAgent(model, sandbox=ChildKernel(), journal=journal) as agent:
        await agent.run("First.")
        await agent.run("Second.")
        await forget_steps(agent, keep=2)
        await agent.run("Third.")
        sent = told(model.asked[-1])
        for gone in ("step one", "step two"):
            assert gone not in sent
        for kept in ("Task: First.", "final_answer('A1')", "answer: A1", "final_answer('A2')", "answer: A2"):
            assert kept in sent
        await forget_steps(agent, keep=0)
        assert agent.memory
        assert not [message for message in agent.memory.messages if message.role == "assistant"]
        await forget_steps(agent, keep=99)


async def test_a11_function_calls_keep_their_results(journal: Journal, tmp_path: Path) -> None:
    @tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    model = ScriptedModel([ToolUse("c1", "add", '{"a": 1, "b": 2}')], [ToolUse("c2", "final_answer", '{"answer": 3}')])
    agent = ToolCallingAgent(model, tools=[add], journal=journal)
    await agent.run("Add.")
    path = await save_conversation(agent, tmp_path / "calls.json")
    other = ScriptedModel([ToolUse("c3", "final_answer", '{"answer": 4}')])
    second = ToolCallingAgent(other, tools=[add], journal=None)
    await load_conversation(second, path)
    await second.run("Go on.")
    assert Message("tool", "3", call_id="c1") in other.asked[0]


async def test_a11_secrets_are_not_in_the_file(tmp_path: Path) -> None:
    run_of = CodeAgent(ScriptedModel(reply("final_answer('hunter2-hunter2')")), sandbox=ChildKernel(), journal=None)
    async with run_of as agent:
        run = await agent.run("Say it.")
        secret = Secret("hunter2-hunter2")
        path = await save_conversation(agent, tmp_path / "chat.json", runs=[run])
    assert secret.reveal() not in path.read_text()
    assert "<secret>" in path.read_text()


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda runs: None, "The edit must give runs, not NoneType."),
        (lambda runs: ["x"], "The edit must give runs, not str."),
        (lambda runs: [Run(runs[0].events[1:])], "must begin with its RunStarted event"),
        (lambda runs: [Run([*runs[0].events, *runs[0].events])], "must begin with its RunStarted event"),
        (lambda runs: [Run([runs[0].events[0], *reversed(runs[0].events[1:])])], "are out of order"),
    ],
)
async def test_a11_an_edit_that_is_none_is_refused_and_changes_nothing(
    journal: Journal, edit: Callable[[list[Run]], Any], said: str
) -> None:
    async with CodeAgent(ScriptedModel(*ONE), sandbox=ChildKernel(), journal=journal) as agent:
        await agent.run("First.")
        memory, known_as = agent.memory, agent.conversation
        with pytest.raises(UsageError) as caught:
            await edit_conversation(agent, edit)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
        assert (agent.memory, agent.conversation) == (memory, known_as)


@pytest.mark.parametrize("keep", [-1, 1.5, True, "2"])
async def test_a11_a_number_of_steps_that_is_none_is_refused(keep: Any) -> None:
    with pytest.raises(UsageError, match="keep must be a whole number of steps from 0"):
        await forget_steps(CodeAgent(ScriptedModel("x"), sandbox=NoSandbox(), journal=None), keep=keep)


async def test_a11_an_agent_at_work_is_left_alone(tmp_path: Path) -> None:
    async with (
        CodeAgent(ScriptedModel(*ONE), sandbox=ChildKernel(), journal=None) as agent,
        aclosing(agent.stream("First.")) as events,
    ):
        await anext(events)
        with pytest.raises(UsageError, match="at work"):
            await load_conversation(agent, tmp_path / "none.json")


RUN = {"kind": "run_started", "run_id": "r", "conversation": "c", "task": "t"}
FILES = st.one_of(
    st.binary(),
    st.text().map(str.encode),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.just(RUN),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["kind", "step"]), inner),
    ).map(lambda runs: json.dumps({"format": "cellwright-conversation", "version": 1, "runs": runs}).encode()),
)


@given(body=FILES)
async def test_a11_garbage_is_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    path = tmp_path_factory.mktemp("garbage") / "chat.json"
    path.write_bytes(body)
    agent = CodeAgent(ScriptedModel("x"), sandbox=NoSandbox(), journal=None)
    try:
        runs = await load_conversation(agent, path)
    except UsageError as error:
        assert "\n" not in str(error)
        assert agent.memory is None
    else:
        assert all(run.started for run in runs)


async def test_a11_a_file_that_is_not_there_or_newer_or_cannot_be_written_is_said(tmp_path: Path) -> None:
    agent = CodeAgent(ScriptedModel("x"), sandbox=NoSandbox(), journal=None)
    with pytest.raises(UsageError, match=r"Can't read .*none.json: No such file"):
        await load_conversation(agent, tmp_path / "none.json")
    newer = tmp_path / "newer.json"
    newer.write_text('{"format": "cellwright-conversation", "version": 99, "runs": []}')
    with pytest.raises(UsageError, match="has version 99, this Cellwright reads 1"):
        await load_conversation(agent, newer)
    run = Run()
    with pytest.raises(UsageError, match="Can't write"):
        await save_conversation(agent, tmp_path / "no" / "folder.json", runs=[run])
