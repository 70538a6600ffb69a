"""Providers through litellm, against a provider on loopback that misbehaves as real ones do."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from cellwright.errors import ContextFull, ModelError, ModelKeyError, ModelUnavailable, UnknownModel
from cellwright.facts import Usage
from cellwright.models.base import Message, Model, Reasoning, ReplyEnd, ReplyPart, Sampling, Text
from cellwright.models.providers import LiteLLMModel, loaded_litellm
from fake_provider import THOUGHT_AND_CODE, FakeProvider

ASK = [Message("system", "You are terse."), Message("user", "What is 6 * 7?")]


def model_of(provider: FakeProvider, name: str = "openai/x", **options: float) -> LiteLLMModel:
    return LiteLLMModel(name, api_base=provider.base_url, api_key="k", **options)  # type: ignore[arg-type]


async def reply(model: Model, sampling: Sampling | None = None) -> list[ReplyPart]:
    return [part async for part in model.stream(ASK, sampling or Sampling())]


def text_of(parts: list[ReplyPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


@pytest.fixture
def no_keys() -> Iterator[None]:
    """The environment without any provider's key."""
    saved = {name: os.environ.pop(name) for name in list(os.environ) if name.endswith("_API_KEY")}
    yield
    os.environ.update(saved)


async def test_a_reply_streams_and_ends_with_what_it_used() -> None:
    async with FakeProvider() as provider:
        parts = await reply(model_of(provider), Sampling(temperature=0.0, max_tokens=99, more={"seed": 3}))
    assert text_of(parts) == THOUGHT_AND_CODE
    assert len(parts) > 5
    end = parts[-1]
    assert isinstance(end, ReplyEnd)
    assert end.usage == Usage(100, 20, cached=64, reasoning=8)
    assert end.model == "x-2026-01-01"
    assert end.cost is None
    sent = provider.requests[0]
    assert sent["messages"] == [{"role": m.role, "content": m.content} for m in ASK]
    assert (sent["temperature"], sent["max_tokens"], sent["seed"]) == (0.0, 99, 3)
    assert provider.keys == ["bearer k"]


async def test_a_known_price_is_worked_out() -> None:
    async with FakeProvider() as provider:
        model = model_of(provider, "openai/gpt-4o")
        end = (await reply(model))[-1]
    assert isinstance(end, ReplyEnd)
    assert end.cost is not None
    assert 0 < end.cost < 0.01
    usage, cost = model.count(ASK, THOUGHT_AND_CODE)
    assert usage.estimated
    assert 10 < usage.prompt < 60
    assert 10 < usage.completion < 40
    assert cost
    assert 0 < cost < 0.01


async def test_no_usage_from_the_provider_is_no_usage() -> None:
    async with FakeProvider("silent_usage") as provider:
        end = (await reply(model_of(provider)))[-1]
    assert isinstance(end, ReplyEnd)


async def test_reasoning_is_kept_apart() -> None:
    async with FakeProvider("reasoning") as provider:
        parts = await reply(model_of(provider))
    assert parts[0] == Reasoning("Six times seven.")
    assert text_of(parts) == THOUGHT_AND_CODE


async def test_a_busy_provider_is_asked_again_when_it_says() -> None:
    async with FakeProvider("busy_once") as provider:
        started = time.monotonic()
        parts = await reply(model_of(provider))
    assert text_of(parts) == THOUGHT_AND_CODE
    assert len(provider.requests) == 2
    assert time.monotonic() - started >= 1.0  # Retry-After


async def test_a_broken_provider_is_given_up_on() -> None:
    async with FakeProvider("broken") as provider:
        with pytest.raises(ModelUnavailable, match=r"openai/x did not answer: .*asked 3 times") as caught:
            await reply(model_of(provider, retries=2))
    assert len(provider.requests) == 3
    assert "\n" not in str(caught.value)


async def test_a_provider_that_is_down_is_named() -> None:
    model = LiteLLMModel("openai/x", api_base="http://127.0.0.1:9/v1", retries=1)
    with pytest.raises(ModelUnavailable, match="Run the cell again"):
        await reply(model)


async def test_a_reply_that_breaks_off_is_not_asked_for_again() -> None:
    async with FakeProvider("cut") as provider:
        got: list[ReplyPart] = []
        with pytest.raises(ModelUnavailable):
            async for part in model_of(provider).stream(ASK, Sampling()):
                got.append(part)
    assert text_of(got)
    assert THOUGHT_AND_CODE.startswith(text_of(got))
    assert len(provider.requests) == 1


async def test_garbage_from_the_provider_is_a_model_error() -> None:
    async with FakeProvider("malformed") as provider:
        with pytest.raises(ModelError) as caught:
            await reply(model_of(provider, retries=0))
    assert "\n" not in str(caught.value)


async def test_silence_is_not_waited_for_without_end() -> None:
    async with FakeProvider("slow", delay=30) as provider:
        with pytest.raises(ModelUnavailable):
            await asyncio.wait_for(reply(model_of(provider, silence=0.3, retries=0)), 10)


async def test_a_wrong_key_is_said_at_once() -> None:
    async with FakeProvider("wrong_key") as provider:
        with pytest.raises(ModelKeyError, match="refused the key for openai/x"):
            await reply(model_of(provider))
    assert len(provider.requests) == 1


async def test_a_missing_key_is_named_before_anything_is_sent(no_keys: None) -> None:
    with pytest.raises(ModelKeyError, match="set ANTHROPIC_API_KEY"):
        await reply(LiteLLMModel("anthropic/claude-sonnet-4-5"))
    with pytest.raises(ModelKeyError, match="set GEMINI_API_KEY"):
        await reply(LiteLLMModel("gemini/gemini-2.5-flash"))


async def test_a_misspelt_model_gets_the_nearest_name(no_keys: None) -> None:
    with pytest.raises(UnknownModel, match="did you mean 'anthropic/claude-sonnet-4-5'"):
        await reply(LiteLLMModel("antropic/claude-sonnet-4-5"))
    async with FakeProvider("unknown_model") as provider:
        with pytest.raises(UnknownModel, match="did you mean 'openai/gpt-4o'"):
            await reply(model_of(provider, "openai/gpt-4oo"))


async def test_a_conversation_that_is_too_long_says_so() -> None:
    async with FakeProvider("context") as provider:
        with pytest.raises(ContextFull):
            await reply(model_of(provider))


async def test_closing_the_stream_closes_the_connection() -> None:
    async with FakeProvider("endless") as provider:
        stream = model_of(provider).stream(ASK, Sampling())
        async for part in stream:
            assert isinstance(part, Text)
            break
        await stream.aclose()
        await asyncio.wait_for(provider.closed_early.wait(), 2)


@pytest.mark.parametrize("mode", ["endless", "slow"])
async def test_cancelling_closes_the_connection(mode: str) -> None:
    await loaded_litellm()
    async with FakeProvider(mode) as provider:
        task = asyncio.create_task(reply(model_of(provider)))
        while not provider.requests:
            await asyncio.sleep(0.01)
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - started < 2.0
        await asyncio.wait_for(provider.closed_early.wait(), 2)


def test_the_import_is_lazy_quiet_and_done_once() -> None:
    program = (
        "import asyncio, sys, time\n"
        "from cellwright.models.providers import LiteLLMModel, loaded_litellm\n"
        "assert 'litellm' not in sys.modules\n"
        "began = time.monotonic(); LiteLLMModel('openai/x').warm_up(); assert time.monotonic() - began < 0.2\n"
        "async def main():\n"
        "    first, second = await asyncio.gather(loaded_litellm(), loaded_litellm())\n"
        "    assert first is second\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
