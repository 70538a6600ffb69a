"""The embedded model, for real: its server, its form of reply, its end. Needs the pulled file."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cellwright.errors import ContextFull, ModelFileError, ModelUnavailable
from cellwright.models import embedded
from cellwright.models.base import Message, ReplyEnd, ReplyPart, Sampling, Text
from cellwright.models.embedded import EmbeddedModel
from cellwright.models.providers import loaded_litellm

ASK = [Message("system", "You are a Python agent."), Message("user", "Task: What is 2**10?")]


@pytest.fixture
async def model() -> AsyncIterator[EmbeddedModel]:
    model = EmbeddedModel()
    yield model
    await model.aclose()


@pytest.fixture
def empty_cache(tmp_path: Path) -> Iterator[None]:
    saved = os.environ.get("CELLWRIGHT_MODELS")
    os.environ["CELLWRIGHT_MODELS"] = str(tmp_path)
    yield
    if saved is None:
        del os.environ["CELLWRIGHT_MODELS"]
    else:
        os.environ["CELLWRIGHT_MODELS"] = saved


async def reply(model: EmbeddedModel, messages: list[Message] = ASK, tokens: int | None = None) -> list[ReplyPart]:
    return [part async for part in model.stream(messages, Sampling(max_tokens=tokens))]


async def server_of(model: EmbeddedModel) -> subprocess.Popen[str]:
    return (await asyncio.wrap_future(embedded._server.start(id(model)))).process


def test_c3_examples_alternate_and_have_the_form_of_a_reply() -> None:
    examples = EmbeddedModel().examples
    assert [message.role for message in examples] == ["user", "assistant"] * (len(examples) // 2)
    for message in examples[1::2]:
        assert message.content.startswith("Thought: ")
        assert message.content.count("```") == 2
        assert message.content.endswith("\n```")
        compile(message.content.split("```python\n")[1].removesuffix("```"), "example", "exec")


async def test_c3_without_the_file_it_says_how_to_get_it(empty_cache: None) -> None:
    # Wait for the import: pytest turns warnings into errors between tests, in the middle of what a thread imports.
    await loaded_litellm()
    model = EmbeddedModel()
    model.warm_up()
    with pytest.raises(ModelFileError, match="cellwright model pull"):
        await reply(model)
    await model.aclose()


@pytest.mark.model
async def test_c3_a_reply_is_a_thought_and_one_fence_and_costs_nothing(model: EmbeddedModel) -> None:
    parts = await reply(model)
    text = "".join(part.text for part in parts if isinstance(part, Text))
    assert text.startswith("Thought: ")
    assert text.count("```") == 2
    assert text.endswith("```")
    end = parts[-1]
    assert isinstance(end, ReplyEnd)
    assert end.cost == 0.0
    assert end.usage
    assert end.usage.completion > 5
    assert end.model.startswith("qwen2.5-coder-1.5b")


@pytest.mark.model
async def test_c3_users_share_one_server_and_the_last_one_ends_it(model: EmbeddedModel) -> None:
    other = EmbeddedModel()
    process = await server_of(model)
    assert await server_of(other) is process
    await model.aclose()
    assert process.poll() is None
    await other.aclose()
    assert process.poll() == 0


@pytest.mark.model
async def test_c3_closing_a_stream_stops_the_generation(model: EmbeddedModel) -> None:
    stream = model.stream([Message("user", "Task: Write a very long program.")], Sampling())
    async for _ in stream:
        break
    await stream.aclose()
    started = time.monotonic()
    await reply(model, tokens=2)
    assert time.monotonic() - started < 5  # the rest of the long reply would take a minute


@pytest.mark.model
async def test_c3_a_server_that_dies_in_mid_reply_is_replaced(model: EmbeddedModel) -> None:
    process = await server_of(model)
    with pytest.raises(ModelUnavailable, match="next use starts a new one"):
        async for _ in model.stream(ASK, Sampling()):
            process.kill()
    assert process.wait() == -signal.SIGKILL
    assert await reply(model, tokens=2)


@pytest.mark.model
async def test_c3_a_conversation_that_is_too_long_says_so(model: EmbeddedModel) -> None:
    with pytest.raises(ContextFull, match="embedded"):
        await reply(model, [Message("user", "word " * 9000)])


@pytest.mark.model
def test_c3_the_server_outlives_an_interrupt_but_not_its_parent() -> None:
    program = (
        "import asyncio, os, signal, sys, time\n"
        "from cellwright.models import embedded\n"
        "running = embedded._server.start(1).result()\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "os.killpg(0, signal.SIGINT); time.sleep(0.3)\n"
        "assert running.process.poll() is None\n"
        "print(running.process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, start_new_session=True
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stderr == ""
    server = int(done.stdout)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{server}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{server}").exists()
