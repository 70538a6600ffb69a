"""Bad input of every kind: one line that says what to do, the agent stays usable, the journal has the run so far."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cellwright import CodeAgent, Limits, ScriptedModel
from cellwright.errors import CellwrightError, UsageError
from cellwright.journal import Journal
from cellwright.models.providers import LiteLLMModel
from cellwright.run import Run
from cellwright.sandbox.child import ChildKernel
from fake_provider import FakeProvider


def reply(code: str) -> str:
    return f"Go.\n```python\n{code}\n```"


FINE = ScriptedModel(reply("final_answer('fine')"))


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[CodeAgent]:
    async with CodeAgent(
        FINE, sandbox=ChildKernel(workspace=tmp_path), journal=Journal(tmp_path / "journal.sqlite")
    ) as made:
        yield made


async def all_is_well_after(agent: CodeAgent, run: Run) -> None:
    """The run's message is one line, its events are in the journal, and the agent does the next task."""
    assert "\n" not in run.reason
    assert isinstance(agent.journal, Journal)
    assert (await agent.journal.run(run.id)).events == run.events
    await is_usable(agent)


async def is_usable(agent: CodeAgent) -> None:
    agent.model = ScriptedModel(reply("final_answer('fine')"))
    after = await agent.run("Go on.")
    assert (after.status, after.answer) == ("success", "fine")


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("", "The task is empty"),
        ("  \n\t ", "The task is empty"),
        ("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "binary data"),
        ("\x01\x02\x03" * 100, "binary data"),
        ("word " * 200_000, "200,000 are allowed"),
    ],
    ids=["empty", "blank", "png", "control", "1MB"],
)
async def test_a_task_that_is_none(agent: CodeAgent, task: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        await agent.run(task)
    assert "\n" not in str(error.value)
    await is_usable(agent)


@pytest.mark.parametrize("name", ["nonsense", "nobody/nothing", ""])
async def test_an_unknown_model(agent: CodeAgent, name: str) -> None:
    agent.model = name
    try:
        run = await agent.run("Go.")
        assert run.status == "failed"
        message = run.reason
    except CellwrightError as error:
        message = str(error)
    assert message
    assert "\n" not in message
    await is_usable(agent)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("wrong_key", "refused the key"),
        ("unknown_model", "Unknown model"),
        ("context", "longer than"),
        ("cut", "did not answer"),
        ("malformed", "did not answer"),
    ],
)
async def test_a_provider_that_fails(agent: CodeAgent, mode: str, said: str) -> None:
    async with FakeProvider(mode) as provider:
        agent.model = LiteLLMModel("openai/x", api_base=provider.base_url, api_key="k")
        run = await agent.run("Go.")
    assert run.status == "failed"
    assert said in run.reason
    await all_is_well_after(agent, run)


async def test_a_provider_that_never_ends(agent: CodeAgent) -> None:
    async with FakeProvider("endless") as provider:
        agent.model = LiteLLMModel("openai/x", api_base=provider.base_url, api_key="k")
        run = await agent.run("Go.", limits=Limits(reply_tokens=50, steps=2))
    assert run.status in ("failed", "out_of_steps", "success")
    assert len(run.steps) <= 3
    await all_is_well_after(agent, run)


@pytest.mark.parametrize(
    "text", ["", "Yes.", "\x00\x01\ufffd", "```python\n", "```json\n{}\n```", "a\ud83db", "`" * 500, "<think>" * 50]
)
async def test_a_model_that_writes_no_code(agent: CodeAgent, text: str) -> None:
    agent.model = ScriptedModel(text)
    run = await agent.run("Go.")
    assert (run.status, len(run.steps)) == ("failed", 3)
    assert "no code 3 times" in run.reason
    assert "\n" not in run.reason
    await is_usable(agent)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [("exit()", "ok"), ("import os; os._exit(1)", "died"), ("x = (", "error"), ("raise SystemExit(1)", "error")],
)
async def test_code_that_wants_to_end_it_all(agent: CodeAgent, code: str, outcome: str) -> None:
    agent.model = ScriptedModel(reply(code), reply("final_answer('still here')"))
    run = await agent.run("Go.")
    assert (run.status, run.answer, run.steps[0].outcome) == ("success", "still here", outcome)
    await all_is_well_after(agent, run)


async def test_code_that_never_ends(agent: CodeAgent) -> None:
    agent.model = ScriptedModel(reply("while True: pass"))
    run = await agent.run("Go.", limits=Limits(action_seconds=0.3))
    assert run.status == "failed"
    assert [step.outcome for step in run.steps] == ["timeout"] * 3
    await all_is_well_after(agent, run)


async def test_a_tool_that_hangs_is_stopped(tmp_path: Path) -> None:
    called = asyncio.Event()

    async def hang() -> None:
        """Hang."""
        called.set()
        await asyncio.sleep(600)

    journal = Journal(tmp_path / "journal.sqlite")
    model = ScriptedModel(reply("hang()"))
    async with CodeAgent(model, sandbox=ChildKernel(workspace=tmp_path), journal=journal, tools=[hang]) as agent:
        running = asyncio.create_task(agent.run("Go."))
        await called.wait()
        agent.stop()
        run = await running
        assert run.status == "interrupted"
        await all_is_well_after(agent, run)


async def test_a_tool_that_raises_is_an_observation(tmp_path: Path) -> None:
    def fail() -> None:
        """Fail."""
        raise KeyError("nothing\nthere")

    journal = Journal(tmp_path / "journal.sqlite")
    model = ScriptedModel(reply("fail()"), reply("final_answer(1)"))
    async with CodeAgent(model, sandbox=ChildKernel(workspace=tmp_path), journal=journal, tools=[fail]) as agent:
        run = await agent.run("Go.")
        assert run.answer == 1
        assert "fail failed: KeyError" in model.asked[1][-1].content
        await all_is_well_after(agent, run)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "cellwright-test", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can't be mounted here (needs root)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_ends_the_run_in_words(small_disk: Path, tmp_path: Path) -> None:
    journal = Journal(small_disk / "journal.sqlite")
    model = ScriptedModel(*(reply(f"print('{n}' * 30_000)") for n in range(9)))
    sandbox = ChildKernel(workspace=tmp_path)
    agent = CodeAgent(model, sandbox=sandbox, journal=journal)
    (small_disk / "filler").write_bytes(b"0" * 150_000)
    run = await agent.run("Print.")
    assert run.status == "failed"
    assert "the disk is full" in run.reason
    assert "\n" not in run.reason
    stored = await journal.run(run.id)
    assert stored.events == run.events[: len(stored.events)]
    assert len(stored.events) > 3, "the run so far stays"
    (small_disk / "filler").unlink()
    await is_usable(agent)
    await agent.aclose()
