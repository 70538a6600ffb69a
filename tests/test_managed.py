"""Row A6: managed agents, each with its own memory and sandbox, nested, counted, stopped and never shared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cellwright import CodeAgent, Limits, ScriptedModel, ToolCallingAgent, tool
from cellwright.errors import ToolDefinitionError
from cellwright.events import (
    ActionDecided,
    ActionFinished,
    Event,
    Nested,
    ReplyDelta,
    ReplyReceived,
    RunEnded,
    RunStarted,
    ToolCalled,
)
from cellwright.facts import ToolUse, Usage
from cellwright.journal import Journal
from cellwright.models.base import Message
from cellwright.run import Run
from cellwright.sandbox.child import ChildKernel
from cellwright.sandbox.isolation import Isolation, Level

STOP_SECONDS = 0.5
TEN = [f"helper_{number}" for number in range(10)]


def reply(code: str) -> str:
    return f"Go.\n```python\n{code}\n```"


def call(name: str, arguments: str = '{"task": "Go."}', call_id: str = "") -> ToolUse:
    return ToolUse(call_id or f"c_{name}", name, arguments)


def final(answer: str) -> list[ToolUse]:
    return [call("final_answer", f'{{"answer": {answer}}}')]


def endless() -> ScriptedModel:
    return ScriptedModel("Thinking. " * 4000, seconds=0.02, piece=10)


def threads(names: Sequence[str]) -> str:
    """Code that calls agents in threads, at the same time."""
    return (
        "from concurrent.futures import ThreadPoolExecutor\n"
        f"with ThreadPoolExecutor({len(names)}) as pool:\n"
        f"    results = list(pool.map(lambda ask: ask('Go.'), [{', '.join(names)}]))\n"
    )


class Agents:
    """Makes agents with one journal, and closes all of them."""

    def __init__(self, journal: Journal, stack: AsyncExitStack) -> None:
        self.journal, self._stack = journal, stack

    async def code(self, *replies: str, model: ScriptedModel | None = None, **options: object) -> CodeAgent:
        """A code agent that is called `coder`."""
        return await self._kept(CodeAgent, model or ScriptedModel(*map(reply, replies)), {"name": "coder", **options})

    async def calling(
        self, *replies: Sequence[ToolUse], model: ScriptedModel | None = None, **options: object
    ) -> CodeAgent:
        """A tool-calling agent that is called `caller`."""
        named = {"name": "caller", **options}
        return await self._kept(ToolCallingAgent, model or ScriptedModel(*replies), named)

    async def _kept(self, kind: type[CodeAgent], model: ScriptedModel, options: dict[str, object]) -> CodeAgent:
        given = {"journal": self.journal, "description": "Does a task.", **options}
        return await self._stack.enter_async_context(kind(model, **given))  # type: ignore[arg-type]


@pytest.fixture
async def agents(tmp_path: Path) -> AsyncIterator[Agents]:
    async with AsyncExitStack() as stack:
        yield Agents(Journal(tmp_path / "journal.sqlite"), stack)


async def all_events(agent: CodeAgent, task: str = "Go.", **options: object) -> tuple[Run, list[Event]]:
    events = [event async for event in agent.stream(task, **options)]  # type: ignore[arg-type]
    return Run([event for event in events if not event.is_live]), events


def nested(events: Sequence[Event], name: str) -> list[Event]:
    """The events of the agent of that name, at whatever depth."""
    found: list[Event] = []
    for event in events:
        if isinstance(event, Nested):
            found += [event.event] if event.agent == name else nested([event.event], name)
    return found


def spent_by(events: Sequence[Event]) -> int:
    """Tokens of all replies among the events, nested ones included."""
    below = [event.event for event in events if isinstance(event, Nested)]
    own = sum(event.usage.total for event in events if isinstance(event, ReplyReceived))
    return own + (spent_by(below) if below else 0)


# ---- called like a tool ---------------------------------------------------------------------------------------------


async def test_a6_an_agent_is_called_like_a_tool(agents: Agents) -> None:
    inner = await agents.code("final_answer(x * 2)")
    code = "x = 1\nd = coder('Double x.', {'x': 21})\nfinal_answer([d, x])"
    outer = await agents.code(code, managed_agents=[inner], name="outer")
    run, events = await all_events(outer, "Ask the coder.")
    assert run.answer == [42, 1], "its sandbox is its own"
    (started,) = (event for event in nested(events, "coder") if isinstance(event, RunStarted))
    assert (started.task, started.caller) == ("Double x.", run.id)
    own = await agents.journal.run(started.run_id)
    assert own.answer == 42
    assert run.totals.usage.total == spent_by(events) > own.totals.usage.total > 0
    (called,) = (event for event in run.events if isinstance(event, ToolCalled))
    assert called.result == 42


def test_a6_a_managed_agent_needs_a_name_and_a_description() -> None:
    nameless = CodeAgent(ScriptedModel("x"), journal=None)
    with pytest.raises(ToolDefinitionError, match="needs a name and a description"):
        CodeAgent(ScriptedModel("x"), journal=None, managed_agents=[nameless])


async def test_a6_a_tool_calling_agent_manages_a_code_agent(agents: Agents) -> None:
    inner = await agents.code("final_answer(6 * 7)")
    outer = await agents.calling([call("coder")], final('"result_1"'), managed_agents=[inner], name="outer")
    run, events = await all_events(outer)
    assert (run.status, run.answer) == ("success", 42)
    assert run.totals.usage.total == spent_by(events)


async def test_a6_a_code_agent_manages_a_tool_calling_agent(agents: Agents) -> None:
    @tool
    def triple(n: int) -> int:
        """Three times n."""
        return 3 * n

    inner = await agents.calling([call("triple", '{"n": 14}')], final('"result_1"'), tools=[triple])
    outer = await agents.code("final_answer(caller('Go.'))", managed_agents=[inner], name="outer")
    run, events = await all_events(outer)
    assert (run.status, run.answer) == ("success", 42)
    assert run.totals.usage.total == spent_by(events)


@pytest.mark.parametrize(("above", "below"), [("process", "bwrap"), ("bwrap", "process"), ("auto", "auto")])
async def test_a6_each_has_the_isolation_it_was_given(agents: Agents, above: Level, below: Level) -> None:
    inner = await agents.code("final_answer(42)", sandbox=ChildKernel(isolation=Isolation(below)))
    outer = await agents.code(
        "final_answer(coder('Go.'))", sandbox=ChildKernel(isolation=Isolation(above)), managed_agents=[inner],
        name="outer",
    )  # fmt: skip
    run, events = await all_events(outer)
    assert run.answer == 42
    (started,) = (event for event in nested(events, "coder") if isinstance(event, RunStarted))
    levels = [event.sandbox.isolation for event in (run.started, started) if event and event.sandbox]
    assert [(level == "process") for level in levels] == [above == "process", below == "process"]
    assert all(wanted in ("auto", level) for wanted, level in zip([above, below], levels, strict=True))


async def test_a6_a_failed_call_says_why_and_what_the_best_guess_was(agents: Agents) -> None:
    model = ScriptedModel(reply("print(6)"), "It seems to be 6.")
    inner = await agents.code(model=model, limits=Limits(steps=1))
    outer = await agents.code("coder('Go.')", "final_answer(1)", managed_agents=[inner], name="outer")
    run, _ = await all_events(outer)
    assert run.steps[0].error
    said = run.steps[0].error.evalue
    assert "coder ended without an answer (out_of_steps)" in said
    assert said.endswith("Its best guess: It seems to be 6.")


# ---- nested events --------------------------------------------------------------------------------------------------


async def test_a6_nested_events_arrive_in_order_and_are_those_on_record(agents: Agents) -> None:
    inner = await agents.code("print(1)", "final_answer(2)")
    outer = await agents.code("final_answer(coder('Go.'))", managed_agents=[inner], name="outer")
    heard: list[Event] = []
    outer.listeners.append(heard.append)
    run, events = await all_events(outer)
    assert heard == events
    below = nested(events, "coder")
    stored = [event for event in below if not event.is_live]
    assert [event.seq for event in stored] == list(range(len(stored)))
    assert isinstance(stored[0], RunStarted)
    assert isinstance(stored[-1], RunEnded)
    assert (await agents.journal.run(stored[0].run_id)).events == stored
    assert any(isinstance(event, ReplyDelta) for event in below), "the stream is seen live"
    at = [index for index, event in enumerate(events) if isinstance(event, Nested)]
    decided = next(index for index, event in enumerate(events) if isinstance(event, ActionDecided))
    called = next(index for index, event in enumerate(events) if isinstance(event, ToolCalled))
    assert decided < at[0] <= at[-1] < called, "between the action that calls and the result of the call"
    assert not any(isinstance(event, Nested) for event in (await agents.journal.run(run.id)).events)


async def test_a6_the_agents_own_listeners_hear_each_call_once(agents: Agents) -> None:
    heard: list[Event] = []
    inner = await agents.calling(final("1"), listeners=[heard.append])
    twice = [call("caller", call_id="c1"), call("caller", call_id="c2")]
    outer = await agents.calling(twice, final("2"), managed_agents=[inner], name="outer")
    run, events = await all_events(outer)
    assert run.status == "success"
    own, shown = [
        [event.run_id for event in heard_of if isinstance(event, RunStarted)]
        for heard_of in (heard, nested(events, "caller"))
    ]
    assert len(own) == 2
    assert sorted(own) == sorted(shown)
    assert inner.listeners == [heard.append]


# ---- nothing is shared ----------------------------------------------------------------------------------------------


async def test_a6_one_agent_twice_at_the_same_time_shares_nothing(agents: Agents) -> None:
    inner = await agents.code("import time; time.sleep(0.5)\nseen = 'seen' in globals()\nfinal_answer([x, seen])")
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(2) as pool:\n"
        "    results = list(pool.map(lambda n: coder('Go.', {'x': n}), [1, 2]))\n"
        "final_answer(results)"
    )
    outer = await agents.code(code, managed_agents=[inner], name="outer")
    run, events = await all_events(outer)
    assert run.answer == [[1, False], [2, False]]
    conversations = [event.conversation for event in nested(events, "coder") if isinstance(event, RunStarted)]
    assert len(set(conversations)) == 2


async def test_a6_two_callers_at_once_share_nothing(agents: Agents, tmp_path: Path) -> None:
    inner = await agents.code("import time; time.sleep(0.5)\nseen = 'seen' in globals()\nfinal_answer(seen)")
    other = Journal(tmp_path / "other.sqlite")
    first = await agents.code("final_answer(coder('One.'))", managed_agents=[inner], name="first")
    second = await agents.code("final_answer(coder('Two.'))", managed_agents=[inner], name="second", journal=other)
    runs = await asyncio.gather(all_events(first), all_events(second))
    for (run, events), journal, task in zip(runs, (agents.journal, other), ("One.", "Two."), strict=True):
        assert run.answer is False
        (started,) = (event for event in nested(events, "coder") if isinstance(event, RunStarted))
        assert (started.task, started.caller) == (task, run.id)
        assert (await journal.run(started.run_id)).status == "success", "on record where its caller's run is"
        assert [summary.task for summary in await journal.runs()] == [task, "Go."]
    assert inner.journal is agents.journal


async def test_a6_two_callers_one_after_another_share_nothing(agents: Agents) -> None:
    inner = await agents.code("n = globals().get('n', 0) + 1\nfinal_answer(n)")
    first = await agents.code("final_answer(coder('Go.'))", managed_agents=[inner], name="first")
    second = await agents.calling([call("coder")], final('"result_1"'), managed_agents=[inner], name="second")
    assert (await first.run("Go.")).answer == 1
    assert (await first.run("Again.")).answer == 2, "for the same conversation its variables are there"
    assert (await second.run("Go.")).answer == 1, "for another they are not"
    await first.reset()
    assert (await first.run("Anew.")).answer == 1


async def test_a6_each_call_begins_a_new_chat(agents: Agents) -> None:
    model = ScriptedModel(reply("final_answer(1)"))
    inner = await agents.code(model=model)
    outer = await agents.code("final_answer(coder('One.') + coder('Two.'))", managed_agents=[inner], name="outer")
    assert (await outer.run("Go.")).answer == 2
    assert "Two." in model.asked[1][-1].content
    assert "One." not in str(model.asked[1])


async def test_a6_an_agent_that_is_at_work_for_a_person_is_called_as_another(agents: Agents) -> None:
    inner = await agents.code("import time; time.sleep(1)\nfinal_answer('x' in globals())")
    outer = await agents.code("final_answer(coder('Go.', {'x': 1}))", managed_agents=[inner], name="outer")
    own, run = await asyncio.gather(inner.run("Mine."), outer.run("Go."))
    assert (own.answer, run.answer) == (False, True)


async def test_a6_results_of_a_tool_calling_agent_are_its_own(agents: Agents) -> None:
    @tool
    async def double(n: int) -> int:
        """Twice n."""
        await asyncio.sleep(0.2)
        return 2 * n

    class Doubling(ScriptedModel):
        """Doubles the number in its task."""

        async def stream(self, messages: Sequence[Message], sampling: object):  # type: ignore[no-untyped-def]
            asked = messages[-1]
            self.replies = (
                final('"result_1"')
                if asked.role == "tool"
                else [call("double", f'{{"n": {asked.content.split("Double ")[1][0]}}}')],
            )
            async for part in super().stream(messages, sampling):  # type: ignore[arg-type]
                yield part

    inner = await agents.calling(model=Doubling(), tools=[double])
    calls = [call("caller", f'{{"task": "Double {n}"}}', f"c{n}") for n in range(1, 6)]
    outer = await agents.calling(calls, final('"result_1"'), managed_agents=[inner], name="outer")
    run, _ = await all_events(outer)
    results = {event.call_id: event.result for event in run.events if isinstance(event, ToolCalled)}
    assert results == {f"c{n}": 2 * n for n in range(1, 6)}


# ---- at the same time -----------------------------------------------------------------------------------------------


async def test_a6_ten_at_once_take_as_long_as_one(agents: Agents) -> None:
    helpers = [await agents.calling(model=ScriptedModel(final("1"), seconds=1.0), name=name) for name in TEN]
    outer = await agents.calling([call(name) for name in TEN], final("10"), managed_agents=helpers, name="outer")
    begun = time.monotonic()
    run, events = await all_events(outer)
    assert run.status == "success"
    assert time.monotonic() - begun < 2.5, "one after another they take ten seconds"
    assert run.totals.usage.total == spent_by(events)
    assert len({event.run_id for event in events if isinstance(event, Nested)}) == 10


async def test_a6_warm_up_starts_the_sandboxes_of_managed_agents_too(agents: Agents) -> None:
    lowest = await agents.code("final_answer(1)", name="lowest")
    inner = await agents.code("final_answer(1)", managed_agents=[lowest])
    outer = await agents.code("final_answer(1)", managed_agents=[inner], name="outer")
    outer.warm_up()
    async with asyncio.timeout(60):
        while not all(agent.sandbox.is_running for agent in (outer, inner, lowest)):
            await asyncio.sleep(0.05)
    await outer.aclose()
    assert not any(agent.sandbox.is_running for agent in (outer, inner, lowest)), "and its end ends them"


# ---- stop -----------------------------------------------------------------------------------------------------------


async def stopped(agent: CodeAgent, begun: Callable[[Sequence[Event]], bool]) -> tuple[Run, list[Event], float]:
    """Stop the run shortly after it has begun what is to be stopped; the run, its events, the seconds it took."""
    events: list[Event] = []
    stopping = 0.0

    def stop() -> None:
        nonlocal stopping
        stopping = time.monotonic()
        agent.stop()

    is_waiting = False
    async for event in agent.stream("Go."):
        events.append(event)
        if not is_waiting and begun(events):
            is_waiting = True
            asyncio.get_running_loop().call_later(0.3, stop)
    return Run([event for event in events if not event.is_live]), events, time.monotonic() - stopping


async def assert_interrupted(agents: Agents, events: Sequence[Event], name: str) -> Run:
    """The run of the agent of that name has ended as interrupted, before its caller's did, and is on record so."""
    below = nested(events, name)
    started = next(event for event in below if isinstance(event, RunStarted))
    on_record = await agents.journal.run(started.run_id)
    assert (on_record.status, on_record.reason) == ("interrupted", "Stopped by the user.")
    assert on_record.events == [event for event in below if not event.is_live]
    assert isinstance(events[-1], RunEnded)
    assert events[-1].totals.usage.total == spent_by(events), "the caller's totals hold its tokens"
    return on_record


@pytest.mark.parametrize("kind", ["calling", "code"])
async def test_a6_stop_during_a_managed_agents_model_stream(agents: Agents, kind: str) -> None:
    inner = await agents.code(model=endless())
    outer = (
        await agents.code("coder('Go.')", managed_agents=[inner], name="outer")
        if kind == "code"
        else await agents.calling([call("coder")], managed_agents=[inner], name="outer")
    )
    run, events, seconds = await stopped(
        outer, lambda events: sum(isinstance(event, ReplyDelta) for event in nested(events, "coder")) > 5
    )
    assert seconds <= STOP_SECONDS
    assert run.status == "interrupted"
    assert run.steps[-1].outcome == "interrupted"
    below = await assert_interrupted(agents, events, "coder")
    (received,) = (event for event in below.events if isinstance(event, ReplyReceived))
    assert received.text.startswith("Thinking. Thinking.")
    assert received.usage.estimated
    assert received.usage.completion == len(received.text) // 4 > 0
    assert below.totals.usage == received.usage
    assert run.totals.usage.estimated
    assert isinstance(inner.model, ScriptedModel)
    assert inner.model.was_cut == 1, "nobody pays for what is thrown away"
    assert not inner.is_working
    assert not inner.loan.is_out


async def test_a6_stop_while_a_managed_agents_code_sleeps(agents: Agents) -> None:
    inner = await agents.code("kept = 1\nimport time; time.sleep(600)", "final_answer(kept)")
    outer = await agents.code("mine = 2\ncoder('Go.')", "final_answer([mine, coder('Go.')])", managed_agents=[inner])
    run, events, seconds = await stopped(
        outer, lambda events: any(isinstance(event, ActionDecided) for event in nested(events, "coder"))
    )
    assert seconds <= STOP_SECONDS
    assert run.status == "interrupted"
    below = await assert_interrupted(agents, events, "coder")
    assert below.steps[-1].outcome == "interrupted"
    assert (await outer.run("Go on.")).answer == [2, 1], "both and their variables are there still"


async def test_a6_stop_while_ten_are_at_work(agents: Agents) -> None:
    helpers = [await agents.calling(model=endless(), name=name) for name in TEN]
    outer = await agents.code(threads(TEN), managed_agents=helpers, name="outer")

    def all_stream(events: Sequence[Event]) -> bool:
        streaming = {
            event.agent for event in events if isinstance(event, Nested) and isinstance(event.event, ReplyDelta)
        }
        return len(streaming) == len(TEN)

    run, events, seconds = await stopped(outer, all_stream)
    assert seconds <= STOP_SECONDS
    assert run.status == "interrupted"
    for name in TEN:
        await assert_interrupted(agents, events, name)
    assert (await outer.run_by_hand("print(5)")).steps[-1].text == "5"


async def test_a6_stop_reaches_two_levels_down(agents: Agents) -> None:
    lowest = await agents.calling(model=endless(), name="lowest")
    middle = await agents.calling([call("lowest")], managed_agents=[lowest], name="middle")
    top = await agents.calling([call("middle")], managed_agents=[middle], name="top")
    run, events, seconds = await stopped(
        top, lambda events: sum(isinstance(event, ReplyDelta) for event in nested(events, "lowest")) > 5
    )
    assert seconds <= STOP_SECONDS
    assert run.status == "interrupted"
    low = await assert_interrupted(agents, events, "lowest")
    mid = await assert_interrupted(agents, events, "middle")
    assert run.totals.usage.total > mid.totals.usage.total > low.totals.usage.total > 0
    assert low.started
    assert mid.started
    assert (low.started.caller, mid.started.caller) == (mid.id, run.id)


async def test_a6_two_levels_of_code_agents(agents: Agents) -> None:
    lowest = await agents.code("final_answer(x + 1)", name="lowest")
    middle = await agents.code("final_answer(lowest('Go.', {'x': x}) * 2)", managed_agents=[lowest], name="middle")
    top = await agents.code("final_answer(middle('Go.', {'x': 20}))", managed_agents=[middle], name="top")
    run, events = await all_events(top)
    assert run.answer == 42
    assert run.totals.usage.total == spent_by(events)
    assert {type(event) for event in nested(events, "lowest")} >= {RunStarted, ReplyReceived, RunEnded}


# ---- limits ---------------------------------------------------------------------------------------------------------


class Costly(ScriptedModel):
    def count(self, messages: Sequence[Message], reply: str) -> tuple[Usage, float | None]:
        return Usage(1000, 100), 0.25


@pytest.mark.parametrize(
    ("limits", "status"), [(Limits(tokens=5000, cost=None), "out_of_tokens"), (Limits(cost=1.0), "out_of_money")]
)
@pytest.mark.parametrize("kind", ["calling", "code"])
async def test_a6_a_limit_that_is_reached_below_ends_both(
    agents: Agents, limits: Limits, status: str, kind: str
) -> None:
    @tool
    def look() -> str:
        """Look."""
        return str(time.monotonic())

    lifted = Limits(tokens=None, cost=None)
    inner = await agents.calling(model=Costly([call("look", "{}")]), tools=[look], limits=lifted)
    again = Costly([call("caller")]) if kind == "calling" else Costly(reply("caller('Go.')"))
    make = agents.calling if kind == "calling" else agents.code
    outer = await make(model=again, managed_agents=[inner], limits=limits, name="outer")
    run, events = await all_events(outer)
    (ended,) = (event for event in nested(events, "caller") if isinstance(event, RunEnded))
    assert (ended.status, run.status) == (status, status)
    spent = run.totals.usage.total if status == "out_of_tokens" else run.totals.cost
    most = limits.tokens if status == "out_of_tokens" else limits.cost
    assert most
    assert most <= spent <= most * 1.3, "at most one reply beyond"
    assert len(again.asked) == 1, "and nothing more is asked for"
    assert "ended without an answer" in run.steps[0].text


async def test_a6_ten_at_once_share_what_their_caller_has_left(agents: Agents) -> None:
    @tool
    async def look() -> str:
        """Look."""
        await asyncio.sleep(0.05)
        return str(time.monotonic())

    models = [Costly([call("look", "{}")]) for _ in TEN]
    helpers = [
        await agents.calling(model=model, tools=[look], name=name, limits=Limits(cost=None, tokens=None))
        for name, model in zip(TEN, models, strict=True)
    ]
    outer = await agents.calling(
        model=Costly([call(name) for name in TEN]), managed_agents=helpers, limits=Limits(cost=5.0), name="outer"
    )
    run, events = await all_events(outer)
    assert run.status == "out_of_money"
    assert 5.0 <= run.totals.cost <= 5.0 + 10 * 0.25, "each may be in the middle of one reply"
    ends = [event.event.status for event in events if isinstance(event, Nested) and isinstance(event.event, RunEnded)]
    assert ends == ["out_of_money"] * 10


@pytest.mark.parametrize("kind", ["calling", "code"])
async def test_a6_time_that_is_up_below_ends_both(agents: Agents, kind: str) -> None:
    inner = await agents.calling(model=endless())
    again = ScriptedModel([call("caller")]) if kind == "calling" else ScriptedModel(reply("caller('Go.')"))
    make = agents.calling if kind == "calling" else agents.code
    outer = await make(model=again, managed_agents=[inner], limits=Limits(seconds=3.0), name="outer")
    await outer.sandbox.start()
    begun = time.monotonic()
    run, events = await all_events(outer)
    assert 2.5 < time.monotonic() - begun < 5.0
    (ended,) = (event for event in nested(events, "caller") if isinstance(event, RunEnded))
    assert (ended.status, run.status) == ("out_of_time", "out_of_time")
    assert run.totals.usage.total == spent_by(events)
    assert len(again.asked) == 1


async def test_a6_an_action_that_takes_too_long_ends_the_agent_that_it_called(agents: Agents) -> None:
    inner = await agents.calling(model=endless())
    outer = await agents.code(
        "caller('Go.')", "final_answer(1)", managed_agents=[inner], limits=Limits(action_seconds=1.0), name="outer"
    )
    run, events = await all_events(outer)
    assert (run.status, run.steps[0].outcome) == ("success", "timeout")
    (ended,) = (event for event in nested(events, "caller") if isinstance(event, RunEnded))
    assert (ended.status, ended.reason) == ("interrupted", "Its caller did not wait any longer.")


async def test_a6_the_agents_own_limits_hold_too(agents: Agents) -> None:
    inner = await agents.code("print(1)", limits=Limits(tokens=1))
    outer = await agents.code("coder('Go.')", "final_answer(1)", managed_agents=[inner], name="outer")
    run, _ = await all_events(outer)
    assert run.status == "success"
    assert "coder ended without an answer (out_of_tokens)" in run.steps[0].text
    (finished, *_) = (event for event in run.events if isinstance(event, ActionFinished))
    assert finished.outcome == "error"
