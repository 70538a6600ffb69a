"""Providers through litellm, against a provider on loopback that misbehaves as real ones do."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cellwright.approval import Approval, Question, Said
from cellwright.errors import (
    ConfigError,
    ContextFull,
    ModelError,
    ModelFileError,
    ModelKeyError,
    ModelUnavailable,
    UnknownModel,
)
from cellwright.facts import ToolUse, Usage
from cellwright.models import choice
from cellwright.models.base import Message, Model, Reasoning, ReplyEnd, ReplyPart, Sampling, Text
from cellwright.models.embedded import EmbeddedModel
from cellwright.models.fallback import FallbackModel
from cellwright.models.providers import LiteLLMModel, loaded_litellm
from cellwright.models.reach import reachable
from cellwright.models.replay import ReplayModel
from cellwright.models.scripted import ScriptedModel
from cellwright.tool_calling import ToolCallingAgent
from fake_provider import THOUGHT_AND_CODE, USAGE, FakeProvider

ASK = [Message("system", "You are terse."), Message("user", "What is 6 * 7?")]


def model_of(provider: FakeProvider, name: str = "openai/x", **options: Any) -> LiteLLMModel:
    return LiteLLMModel(name, api_base=provider.base_url, api_key="k", **options)


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


async def test_c1_a_reply_streams_and_ends_with_what_it_used() -> None:
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


async def test_c4_a_known_price_is_worked_out() -> None:
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


async def test_c4_no_usage_from_the_provider_is_no_usage() -> None:
    async with FakeProvider("silent_usage") as provider:
        end = (await reply(model_of(provider)))[-1]
    assert isinstance(end, ReplyEnd)


async def test_reasoning_is_kept_apart() -> None:
    async with FakeProvider("reasoning") as provider:
        parts = await reply(model_of(provider))
    assert parts[0] == Reasoning("Six times seven.")
    assert text_of(parts) == THOUGHT_AND_CODE


async def test_c1_a_busy_provider_is_asked_again_when_it_says() -> None:
    async with FakeProvider("busy_once") as provider:
        started = time.monotonic()
        parts = await reply(model_of(provider))
    assert text_of(parts) == THOUGHT_AND_CODE
    assert len(provider.requests) == 2
    assert time.monotonic() - started >= 1.0  # Retry-After


async def test_c1_a_broken_provider_is_given_up_on() -> None:
    async with FakeProvider("broken") as provider:
        with pytest.raises(ModelUnavailable, match=r"openai/x did not answer: .*asked 3 times") as caught:
            await reply(model_of(provider, retries=2))
    assert len(provider.requests) == 3
    assert "\n" not in str(caught.value)


async def test_c1_a_provider_that_is_down_is_named() -> None:
    model = LiteLLMModel("openai/x", api_base="http://127.0.0.1:9/v1", retries=1)
    with pytest.raises(ModelUnavailable, match="Run the cell again"):
        await reply(model)


async def test_c1_a_reply_that_breaks_off_is_not_asked_for_again() -> None:
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


async def test_c1_silence_is_not_waited_for_without_end() -> None:
    async with FakeProvider("slow", delay=30) as provider:
        with pytest.raises(ModelUnavailable):
            await asyncio.wait_for(reply(model_of(provider, silence=0.3, retries=0)), 10)


async def test_c6_a_wrong_key_is_said_at_once() -> None:
    async with FakeProvider("wrong_key") as provider:
        with pytest.raises(ModelKeyError, match="refused the key for openai/x"):
            await reply(model_of(provider))
    assert len(provider.requests) == 1


async def test_c6_a_missing_key_is_named_before_anything_is_sent(no_keys: None) -> None:
    with pytest.raises(ModelKeyError, match="set ANTHROPIC_API_KEY"):
        await reply(LiteLLMModel("anthropic/claude-sonnet-4-5"))
    with pytest.raises(ModelKeyError, match="set GEMINI_API_KEY"):
        await reply(LiteLLMModel("gemini/gemini-2.5-flash"))


async def test_c6_a_misspelt_model_gets_the_nearest_name(no_keys: None) -> None:
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


# ---- what else providers do ------------------------------------------------------------------------------------------


async def test_c1_a_provider_that_stays_busy_is_given_up_on_after_the_waits_it_asked_for() -> None:
    async with FakeProvider("busy", retry_after="0.6") as provider:
        with pytest.raises(ModelUnavailable, match=r"Slow down.*\(asked 2 times\)"):
            await reply(model_of(provider, retries=1))
    assert provider.times[1] - provider.times[0] >= 0.6


async def test_a_date_as_retry_after_is_no_failure() -> None:
    async with FakeProvider("busy_once", retry_after="Wed, 21 Oct 2026 07:28:00 GMT") as provider:
        assert text_of(await reply(model_of(provider))) == THOUGHT_AND_CODE


async def test_a_reply_that_was_as_long_as_it_may_be_says_so() -> None:
    for mode, expected in (("truncated", True), ("ok", False)):
        async with FakeProvider(mode) as provider:
            end = (await reply(model_of(provider)))[-1]
        assert isinstance(end, ReplyEnd)
        assert end.is_truncated is expected


async def test_c4_tokens_from_the_cache_cost_what_the_table_says() -> None:
    prices = (await loaded_litellm()).model_cost["gpt-4o"]
    async with FakeProvider() as provider:
        end = (await reply(model_of(provider, "openai/gpt-4o")))[-1]
    assert isinstance(end, ReplyEnd)
    cached, fresh, written = 64, 100 - 64, 20
    assert end.cost == pytest.approx(
        cached * prices["cache_read_input_token_cost"]
        + fresh * prices["input_cost_per_token"]
        + written * prices["output_cost_per_token"]
    )


WRONG = [
    {},
    {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
    {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 7},
    {"prompt_tokens": -5, "completion_tokens": 20, "total_tokens": 15},
    {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "prompt_tokens_details": None},
    {**USAGE, "prompt_tokens_details": {"cached_tokens": 5000}, "completion_tokens_details": {"reasoning_tokens": -1}},
    {"prompt_tokens": "many", "completion_tokens": 2, "total_tokens": 12},
    None,
    "a lot",
]


@pytest.mark.parametrize("usage", WRONG, ids=str)
async def test_c4_wrong_usage_spoils_no_reply(usage: object) -> None:
    async with FakeProvider(usage=usage) as provider:
        parts = await reply(model_of(provider, "openai/gpt-4o"))
    assert text_of(parts) == THOUGHT_AND_CODE
    end = parts[-1]
    assert isinstance(end, ReplyEnd)
    assert end.cost is None or end.cost >= 0
    if end.usage:
        assert min(end.usage.prompt, end.usage.completion, end.usage.cached, end.usage.reasoning) >= 0
        assert end.usage.cached <= end.usage.prompt


CALLS = [("call_a", "weather", '{"city": "Köln", "days": 3}'), ("call_b", "weather", '{"city": "Bonn"}')]


@pytest.mark.parametrize("form", ["pieces", "one_index", "bare"])
async def test_function_calls_are_put_together(form: str) -> None:
    async with FakeProvider(calls=CALLS, form=form, reply="I look.") as provider:
        parts = await reply(model_of(provider))
    calls = [part for part in parts if isinstance(part, ToolUse)]
    assert [(call.name, call.arguments) for call in calls] == [(name, arguments) for _, name, arguments in CALLS]
    assert len({call.id for call in calls}) == 2
    assert all(call.id for call in calls)
    if form != "bare":
        assert [call.id for call in calls] == ["call_a", "call_b"]
    assert text_of(parts) == "I look."
    assert isinstance(parts[-1], ReplyEnd)


async def test_a_reply_of_calls_only_that_breaks_off_is_asked_for_again() -> None:
    async with FakeProvider("cut", calls=CALLS, reply="") as provider:
        with pytest.raises(ModelUnavailable, match="asked 2 times"):
            await reply(model_of(provider, retries=1))


async def test_the_tool_calling_agent_works_through_a_provider() -> None:
    def two_calls_then_the_answer(request: dict[str, Any]) -> list[tuple[str, str, str]]:
        results = [message["content"] for message in request["messages"] if message["role"] == "tool"]
        if not results:
            return [("", "double", '{"number": 20}'), ("", "double", '{"number": 1}')]
        return [("", "final_answer", f'{{"answer": {sum(map(int, results))}}}')]

    def double(number: int) -> int:
        """Double a number.

        Args:
            number: Any number.
        """
        return 2 * number

    async with (
        FakeProvider(reply="", calls=two_calls_then_the_answer) as provider,
        ToolCallingAgent(model_of(provider), tools=[double], journal=None) as agent,
    ):
        run = await agent.run("Double 20 and 1, and add.")
    assert (run.status, run.answer) == ("success", 42)
    assert [len(step.calls) for step in run.steps] == [2, 0]
    assert [tool["function"]["name"] for tool in provider.requests[0]["tools"]] == ["double", "final_answer"]
    said = provider.requests[1]["messages"][-3:]
    assert [message["role"] for message in said] == ["assistant", "tool", "tool"]
    assert [call["id"] for call in said[0]["tool_calls"]] == [message["tool_call_id"] for message in said[1:]]
    assert len({message["tool_call_id"] for message in said[1:]}) == 2
    assert run.totals.usage == Usage(200, 40, cached=128, reasoning=16)


async def test_a4_every_function_call_is_answered_when_the_conversation_goes_on() -> None:
    """OpenAI refuses a conversation in which one is not: that of the answer, or one that was stopped while it asked."""
    asked = asyncio.Event()

    async def never(_: Question) -> Said:
        asked.set()
        answer: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
        return await answer

    def one() -> int:
        """One."""
        return 1

    calls = [[("", "final_answer", '{"answer": 1}')], [("", "one", "{}"), ("", "one", "{}")]]
    async with (
        FakeProvider(reply="", calls=lambda request: calls[len(provider.requests) % 2 - 1]) as provider,
        ToolCallingAgent(model_of(provider), tools=[one], journal=None) as agent,
    ):
        assert (await agent.run("Say 1.")).answer == 1
        agent.approve = Approval("ask", never)
        stopped = asyncio.create_task(agent.run("Call."))
        await asyncio.wait_for(asked.wait(), 20)
        agent.stop()
        assert (await stopped).status == "interrupted"
        agent.approve = None
        assert (await agent.run("Say it again.")).answer == 1
    said = provider.requests[-1]["messages"]
    ids = [call["id"] for message in said for call in message.get("tool_calls") or ()]
    answers = [message["tool_call_id"] for message in said if message["role"] == "tool"]
    assert len(ids) == 3
    assert answers == ids


async def test_what_a_model_can_read_is_known_from_the_table() -> None:
    litellm = await loaded_litellm()
    assert LiteLLMModel("openai/gpt-4o").context_tokens == litellm.model_cost["gpt-4o"]["max_input_tokens"]
    assert LiteLLMModel("openai/x").context_tokens is None


# ---- fallbacks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["broken", "wrong_key", "busy"])
async def test_c1_the_next_model_is_asked_when_one_cannot_be_had(mode: str) -> None:
    async with FakeProvider(mode, retry_after="0") as bad, FakeProvider() as good:
        first, second = model_of(bad, "openai/first", retries=0), model_of(good, "openai/second")
        model = FallbackModel(first, second)
        parts = await reply(model)
    assert text_of(parts) == THOUGHT_AND_CODE
    assert isinstance(parts[-1], ReplyEnd)
    assert parts[-1].model == "x-2026-01-01"
    assert (len(bad.requests), len(good.requests)) == (1, 1)
    assert model.name == "openai/first,openai/second"


async def test_the_first_model_answers_alone_where_it_can() -> None:
    second = ScriptedModel("second")
    parts = await reply(FallbackModel(ScriptedModel("first"), second))
    assert (text_of(parts), second.asked) == ("first", [])


async def test_no_other_model_goes_on_where_one_broke_off() -> None:
    async with FakeProvider("cut") as bad:
        second = ScriptedModel("second")
        with pytest.raises(ModelUnavailable):
            await reply(FallbackModel(model_of(bad), second))
    assert second.asked == []


@pytest.mark.parametrize(("mode", "error"), [("context", ContextFull), ("unknown_model", UnknownModel)])
async def test_what_another_model_would_not_mend_is_said(mode: str, error: type[ModelError]) -> None:
    async with FakeProvider(mode) as bad:
        second = ScriptedModel("second")
        with pytest.raises(error):
            await reply(FallbackModel(model_of(bad), second))
    assert second.asked == []


async def test_when_none_answers_all_are_named_in_one_line() -> None:
    async with FakeProvider("broken") as one, FakeProvider("wrong_key") as two:
        model = FallbackModel(model_of(one, "openai/first", retries=0), model_of(two, "openai/second"))
        with pytest.raises(ModelUnavailable) as caught:
            await reply(model)
    said = str(caught.value)
    assert "openai/first did not answer" in said
    assert "refused the key for openai/second" in said
    assert "\n" not in said


async def test_closing_a_fallback_closes_the_connection_beneath() -> None:
    async with FakeProvider("endless") as provider:
        stream = FallbackModel(model_of(provider), ScriptedModel("second")).stream(ASK, Sampling())
        await anext(stream)
        await stream.aclose()
        await asyncio.wait_for(provider.closed_early.wait(), 2)


async def test_c4_tokens_of_a_cut_reply_are_counted_by_the_model_that_answered() -> None:
    async with FakeProvider("broken") as bad:
        model = FallbackModel(model_of(bad, "openai/gpt-4o", retries=0), ScriptedModel("free"))
        await reply(model)
        assert model.count(ASK, "free")[1] == 0.0
    assert FallbackModel(LiteLLMModel("openai/gpt-4o"), ScriptedModel("free")).count(ASK, "hello")[1]


async def test_c1_names_with_a_comma_make_a_fallback(no_keys: None) -> None:
    model = choice.create("anthropic/claude-sonnet-4-5, embedded")
    assert isinstance(model, FallbackModel)
    assert model.name == "anthropic/claude-sonnet-4-5,embedded"
    assert isinstance(model.models[1], EmbeddedModel)
    assert model.examples == EmbeddedModel().examples
    assert isinstance(choice.create("replay:a,b"), ReplayModel)
    with pytest.raises(ConfigError, match="twice"):
        choice.create("openai/x,openai/x")
    with pytest.raises(UnknownModel):
        choice.create("openai/x,")


async def test_a_fallback_is_chosen_when_one_of_its_models_can_be_had(no_keys: None) -> None:
    os.environ["OPENAI_API_KEY"] = "k"
    try:
        chosen = await choice.choose("anthropic/claude-sonnet-4-5,openai/gpt-4o")
        assert chosen.model.name == "anthropic/claude-sonnet-4-5,openai/gpt-4o"
        with pytest.raises(UnknownModel, match="antropic"):
            await choice.choose("openai/gpt-4o,antropic/claude-sonnet-4-5")
    finally:
        del os.environ["OPENAI_API_KEY"]
    with pytest.raises((ModelKeyError, ModelFileError), match="ANTHROPIC_API_KEY"):
        await choice.choose("anthropic/claude-sonnet-4-5,openai/gpt-4o")


# ---- what can be reached ---------------------------------------------------------------------------------------------


async def test_c6_what_the_keys_at_hand_can_reach_is_listed(no_keys: None) -> None:
    os.environ["ANTHROPIC_API_KEY"] = "k"
    try:
        found = await reachable()
    finally:
        del os.environ["ANTHROPIC_API_KEY"]
    ready = [one.name for one in found if one.is_ready]
    assert ready[0] == choice.default_model(await loaded_litellm(), "ANTHROPIC_API_KEY")
    assert found[0].why == "ANTHROPIC_API_KEY is set; its default"
    hosted = [name for name in ready if name.startswith("anthropic/")]
    assert 2 <= len(hosted) <= 6
    assert len(set(ready)) == len(ready)
    for name in hosted:
        await LiteLLMModel(name, api_key="k").check()
    assert not any(name.startswith("openai/") for name in ready)
    assert [one.name for one in found][-2:] == ["embedded", "replay:RUN"]


async def test_c2_the_models_of_a_local_ollama_are_listed(no_keys: None) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"models": [{"name": "qwen2.5-coder:7b"}]}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        writer.write(body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    saved = os.environ.get("OLLAMA_HOST")
    os.environ["OLLAMA_HOST"] = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        found = await reachable()
    finally:
        del os.environ["OLLAMA_HOST"]
        if saved:
            os.environ["OLLAMA_HOST"] = saved
        server.close()
    assert found[0].name == "ollama_chat/qwen2.5-coder:7b"
    assert found[0].is_ready
